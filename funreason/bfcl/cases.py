"""Cases: a question, the functions offered and the possible answers, by id; how they are asked; the official data.

Question and answer files are aligned line by line, and the ids must agree: the official tools trust the position
alone, and a shifted file would score every case against another's answer. Any folder of files in BFCL's form with
`possible_answer/` beside them is a suite, whatever precedes the category in their names.

`fetch` gets the official files once, as a wheel of 2 MB through pip, of which only the single-turn files are kept. The
checksum is pinned, because another release of the data is another benchmark; no benchmark file is part of this project.
The unpacked folder appears by one rename, so if it exists it is whole.

The prompt of the leaderboard's prompting mode has its role and its parts, in our own wording. One system message gives
the task, how to answer, and the functions as indented JSON. A system message in the case follows it after a blank line,
and the case's dialogue is kept as it is. Functions say which language their values are written in; for Java and
JavaScript every value is announced as a string that holds source text of the real type. Scoring sees none of this: it
reads the functions as they are.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from funreason.bfcl.categories import (
    CATEGORIES,
    BfclError,
    Language,
    category_of,
    has_answers,
    is_other_test,
    language_of,
    read_lines,
)
from funreason.bfcl.expected import FunctionRule, rules_for
from funreason.calls.tools import ToolFormatError, normalise_tools
from funreason.types import Message, Task
from funreason.wheels import WheelError, download_wheel, require_sha256, user_cache

REQUIREMENT = "bfcl-eval==2026.3.23"
SHA256 = "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a"
PREFIX = "BFCL_v4_"
ANSWERS = "possible_answer"
DOWNLOAD_LIMIT_S = 300
_INSIDE = "bfcl_eval/data/"
_FOLDER = "bfcl-2026.3.23"
INSTRUCTION = """\
You are an expert in solving requests with functions. You are given a request and a set of functions. Decide which \
calls, one or several, fulfil the request, and make them.
If none of the functions can serve the request, say so. If the request lacks a value that a function requires, say \
which one is missing.

Answer with calls only, all of them in one pair of square brackets, every argument by its name:
[first_function(name=value, other_name=value), second_function(name=value)]
Write no other text beside the calls.

The conversation may go on over several turns. In each turn, call whatever is needed until the request of that turn is \
fulfilled as far as the functions allow.

These are the functions, as JSON:
"""

LANGUAGE_HINTS: dict[Language, str] = {
    "python": "The values follow the syntax of Python 3.",
    "java": "The values follow the syntax of Java (SDK 8).",
    "javascript": "The values follow the syntax of JavaScript.",
}


@dataclass(frozen=True)
class Case:
    """One test case.

    `functions` are the raw docs. `answer` holds `{function: {parameter: [possible values]}}` for each expected call; it
    is None for the categories that only ask whether to call at all (relevance and irrelevance).
    """

    id: str
    category: str
    question: list[list[dict[str, Any]]]
    functions: list[dict[str, Any]]
    answer: list[dict[str, dict[str, Any]]] | None

    @property
    def messages(self) -> list[dict[str, str]]:
        """The dialogue as `{"role", "content"}`, as a chat API takes it. BfclError where it cannot be read."""
        return case_messages(self)

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The functions as a chat API takes them: `{"type": "function", "function": {…}}`, with JSON Schema.

        BfclError where they cannot be read.
        """
        return [{"type": "function", "function": tool} for tool in case_task(self).tools]

    @cached_property
    def language(self) -> Language:
        """The language its calls are written in."""
        return language_of(self.category)

    @cached_property
    def rules(self) -> list[FunctionRule]:
        """What each expected call must satisfy, made on first use. Raises as the official code would on broken docs."""
        return rules_for(self.category, self.functions, self.answer or [], self.language)


def load_cases(path: str | Path | None = None) -> dict[str, Case]:
    """All cases under `path`, by id in file order; without a path, the fetched official data.

    `path` is a folder of `<anything><category>.json` (or `.jsonl`) files with `possible_answer/` beside them, or one
    such file. Raises BfclError naming file and line for what is missing, doubled, misaligned or not JSON.
    """
    root = fetched_data() if path is None else Path(path)
    cases: dict[str, Case] = {}
    for file, category in question_files(root):
        questions = list(_entries(file, ("question", "function")))
        answers = _answers(file, [(line, entry["id"]) for line, entry in questions]) if has_answers(category) else []
        for place, (_, entry) in enumerate(questions):
            if entry["id"] in cases:
                raise BfclError(f"{file}: another file of this suite has the id {entry['id']!r} too; make ids unique")
            answer = answers[place] if answers else None
            cases[entry["id"]] = Case(entry["id"], category, entry["question"], entry["function"], answer)
    return cases


def question_files(root: Path) -> list[tuple[Path, str]]:
    """The question files under `root` with their categories, in the leaderboard's order.

    Raises BfclError when there are none, or when a file's name ends in no category.
    """
    if not root.exists():
        raise BfclError(f"{root}: there is no such file or folder")
    files = [root] if root.is_file() else sorted(root.glob("*.json")) + sorted(root.glob("*.jsonl"))
    found = []
    for file in files:
        if is_other_test(file.stem):
            continue
        category = category_of(file.stem)
        if category is None:
            known = ", ".join(CATEGORIES)
            raise BfclError(f"{file}: its name must end with a category to say how it is checked; one of {known}")
        found.append((file, category))
    if not found:
        raise BfclError(f"{root}: expected files named <prefix>_<category>.json, found none")
    return sorted(found, key=lambda pair: CATEGORIES.index(pair[1]))


def fetch(wheel: Path | None = None, cache: Path | None = None) -> Path:
    """The folder of official files, fetched if it is not there yet.

    `wheel` is a local copy of the wheel, then no network is used; `cache` replaces the user's cache folder.
    Raises BfclError that says what to do when offline, or when the wheel is not the pinned one.
    """
    folder = data_folder(cache)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        made = Path(scratch) / "data"
        offline = "give it here: funreason bfcl fetch --wheel FILE"
        try:
            packed = wheel or download_wheel(REQUIREMENT, Path(scratch), limit_s=DOWNLOAD_LIMIT_S, offline=offline)
            require_sha256(Path(packed), SHA256, REQUIREMENT)
        except WheelError as error:
            raise BfclError(str(error)) from error
        wanted = [f"{PREFIX}{category}.json" for category in CATEGORIES]
        wanted += [f"{ANSWERS}/{PREFIX}{category}.json" for category in CATEGORIES if has_answers(category)]
        with zipfile.ZipFile(packed) as archive:
            for name in wanted:
                target = made / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(_INSIDE + name))
        try:
            made.rename(folder)
        except OSError:  # another process was faster: its folder passed the same checksum
            if not folder.is_dir():
                raise
            shutil.rmtree(made)
    return folder


def data_folder(cache: Path | None = None) -> Path:
    """Where the official files are once they are fetched."""
    return (user_cache() if cache is None else cache) / _FOLDER


def fetched_data() -> Path:
    """The folder of official files. Raises BfclError when they are not fetched: this never uses the network."""
    folder = data_folder()
    if not folder.is_dir():
        raise BfclError(f"{folder}: the official data is not here yet; run: funreason bfcl fetch")
    return folder


def _answers(file: Path, questions: list[tuple[int, str]]) -> list[list[dict[str, dict[str, Any]]]]:
    """The possible answers to the questions of `file`, given as (line, id), checked against them one by one."""
    path = file.parent / ANSWERS / file.name
    if not path.is_file():
        raise BfclError(f"{path}: the possible answers to {file.name} are expected here")
    answers = list(_entries(path, ("ground_truth",)))
    for (number, wanted), (line, entry) in zip(questions, answers, strict=False):
        if entry["id"] != wanted:
            raise BfclError(
                f"{path}:{line}: expected the answer to {wanted!r} ({file.name}:{number}), found {entry['id']!r}; "
                "write the answers in the order of the questions"
            )
    if len(questions) != len(answers):
        raise BfclError(f"{path}: expected {len(questions)} answers, one for each question, found {len(answers)}")
    for line, entry in answers:
        answer = entry["ground_truth"]
        fits = all(
            isinstance(call, dict) and len(call) == 1 and all(isinstance(given, dict) for given in call.values())
            for call in answer
        )
        if not fits or not answer:
            raise BfclError(
                f"{path}:{line}: ground_truth must be a list of {{function: {{parameter: [values]}}}}, one a call"
            )
    return [entry["ground_truth"] for _, entry in answers]


def _entries(path: Path, keys: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The numbered entries of a file, each with a list under every one of `keys` and an id of its own."""
    seen: dict[str, int] = {}
    for number, entry in read_lines(path):
        for key in keys:
            if not isinstance(entry.get(key), list):
                raise BfclError(
                    f"{path}:{number}: expected a list under {key!r}, found {type(entry.get(key)).__name__}"
                )
        if entry["id"] in seen:
            raise BfclError(f"{path}:{number}: the id {entry['id']!r} is on line {seen[entry['id']]} already")
        seen[entry["id"]] = number
        yield number, entry


def case_task(case: Case) -> Task:
    """A case as a task for the model's own prompt: all its messages, and its functions as tools.

    Gate and `funreason eval` both ask this. BfclError when messages or functions cannot be read.
    """
    messages = tuple(Message(m["role"], m["content"]) for m in case_messages(case))
    try:
        return Task(case.id, messages, normalise_tools(case.functions), category=case.category)
    except ToolFormatError as error:
        raise BfclError(f"case {case.id!r}: {error}") from error


def leaderboard_task(case: Case) -> Task:
    """A case as the leaderboard's prompting mode asks it: functions in the system message, no tools."""
    asked = tuple(Message(message["role"], message["content"]) for message in prompt_messages(case))
    return Task(case.id, asked, [], category=case.category)


def prompt_messages(case: Case) -> list[dict[str, str]]:
    """The system message and the dialogue of a case. BfclError when its messages are not role and text."""
    dialogue = case_messages(case)
    system = INSTRUCTION + json.dumps(hinted(case), indent=4, ensure_ascii=False)
    if dialogue and dialogue[0]["role"] == "system":
        system, dialogue = f"{system}\n\n{dialogue[0]['content']}", dialogue[1:]
    return [{"role": "system", "content": system}, *dialogue]


def case_messages(case: Case) -> list[dict[str, str]]:
    """The messages of a case's question, checked. BfclError names the case."""
    messages = []
    for turn in case.question:
        if not isinstance(turn, list):
            raise BfclError(
                f"case {case.id!r}: each turn of its question must be a list of messages, found {turn!r:.80}"
            )
        for message in turn:
            fits = isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))
            if not fits:
                raise BfclError(
                    f'case {case.id!r}: expected a message with "role" and "content" as texts, found {message!r:.80}'
                )
            messages.append({"role": message["role"], "content": message["content"]})
    return messages


def hinted(case: Case) -> list[dict[str, Any]]:
    """The function docs as a model is shown them; the case's own are not changed. BfclError when one is no object."""
    language = case.language
    made = []
    for doc in case.functions:
        if not isinstance(doc, dict):
            raise BfclError(f"case {case.id!r}: each function must be an object, found {doc!r:.80}")
        shown = {**doc, "description": f"{doc.get('description', '')} {LANGUAGE_HINTS[language]}".strip()}
        parameters = doc.get("parameters")
        if language != "python" and isinstance(parameters, dict) and isinstance(parameters.get("properties"), dict):
            properties = {name: _as_text(schema, language) for name, schema in parameters["properties"].items()}
            shown["parameters"] = {**parameters, "properties": properties}
        made.append(shown)
    return made


def _as_text(schema: Any, language: Language) -> Any:
    """A parameter of Java or JavaScript as text, with its real type in the description."""
    if not isinstance(schema, dict):
        return schema
    name = "Java" if language == "java" else "JavaScript"
    hint = f"Give {name} source text of type {schema.get('type')}, as a string."
    items = schema.get("items")
    if isinstance(items, dict) and "type" in items:
        hint += f" Its elements are of type {items['type']}."
    if isinstance(schema.get("properties"), dict):
        hint += f" Its properties: {json.dumps(schema['properties'], ensure_ascii=False)}"
    kept = {key: value for key, value in schema.items() if key not in ("items", "properties", "required")}
    return {**kept, "type": "string", "description": f"{schema.get('description', '')} {hint}".strip()}
