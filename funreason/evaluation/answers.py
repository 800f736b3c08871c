"""Which cases an evaluation asks, and a model's answers to them.

A suite is the official data, a split of the embedded toolbox, or a folder in BFCL's form. A toolbox suite is what the
gate of the default run measures on: the same number of items, drawn with the same seed, whatever the run's own. It is
written beside the results and read from there again, so that results stay comparable when the toolbox changes.

Answers are one line a case in `outputs.jsonl`, so that an interrupted evaluation resumes by id. They are greedy.
Everything up to the last `</think>` is cut when an answer is written, as the leaderboard's own handlers do, since a
scorer must not see thinking. A prompt that leaves no room in the context gets an empty answer, marked as such: it fails
where a call is wanted, and counts as "no call" where none is. A sampler that returns answers one by one is asked for
all of them at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from funreason.bfcl import BfclError, Case, check, load_cases
from funreason.bfcl.cases import case_task, leaderboard_task
from funreason.bfcl.categories import CATEGORIES, FORMER_NAMES
from funreason.bfcl.suites import write_suite
from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.calls.thinking import THINK_TAGS, Tags
from funreason.config import ConfigError
from funreason.gate.items import OFFICIAL as OFFICIAL
from funreason.policies.prompts import NO_VARIABLES, prompt_text, task_dialogue
from funreason.policies.protocol import Completion, Dialogue, Request, Sampler, Streaming
from funreason.policies.template_check import check_prompts
from funreason.sources.tasks import TOOLBOX, toolbox_tasks

TOOLBOX_ITEMS, TOOLBOX_SEED = 400, 0
KEPT = "suite"
"""The folder inside a result folder that holds the suite, where it was made for it."""

Cases = dict[str, Case]


class CaseSelection(NamedTuple):
    """The cases to score, and why any of the suite's categories is left out."""

    cases: Cases
    notes: list[str]


def load_suite(name: str, folder: Path) -> Cases:
    """The cases of a suite by id. ConfigError says which names there are; a toolbox suite is written into `folder`."""
    kept = folder / KEPT
    if kept.is_dir():
        return load_cases(kept)
    if name == OFFICIAL:
        return load_cases()
    if name.startswith(TOOLBOX):
        write_suite(toolbox_tasks(name, TOOLBOX_ITEMS, TOOLBOX_SEED), kept, name.removeprefix(TOOLBOX))
        return load_cases(kept)
    if not Path(name).exists():
        raise ConfigError(f"--suite {name}: expected {OFFICIAL}, {TOOLBOX}<split>, or a folder in BFCL's form")
    return load_cases(name)


def require_limit(limit: int | None) -> None:
    """ConfigError for a limit under 1."""
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit is {limit}; it must be at least 1")


def select(cases: Mapping[str, Case], categories: Sequence[str] | None, limit: int | None) -> CaseSelection:
    """The cases of these categories (default all), at most `limit` of each, that can be scored here.

    ConfigError for a category that is unknown or that the suite does not have, and for a limit under 1.
    """
    require_limit(limit)
    there = [name for name in CATEGORIES if any(case.category == name for case in cases.values())]
    wanted = there
    if categories is not None:
        asked = [FORMER_NAMES.get(name, name) for name in categories]
        absent = [name for name in asked if name not in there]
        if absent or not asked:
            raise ConfigError(f"--categories: the suite has no category {absent[0]!r}; it has {', '.join(there)}")
        wanted = [name for name in there if name in asked]
    notes, taken = [], Cases()
    for category in wanted:
        group = [case for case in cases.values() if case.category == category]
        try:
            if group[0].language != "python":
                check(group[0], "[f()]")  # raises where the grammar is not installed
        except BfclError as error:
            notes.append(f"{category} is not run: {error}")
        else:
            taken |= {case.id: case for case in group[:limit]}
    if not taken:
        raise ConfigError("nothing can be scored here: " + "; ".join(notes))
    if limit is not None:
        notes.append(f"at most {limit} cases of each category: a quick look, no leaderboard number")
    return CaseSelection(taken, notes)


def digest(cases: Mapping[str, Case]) -> str:
    """A short hash of what a suite asks: two results can be compared when it is equal."""
    asked = [[case.id, case.category, case.question, case.functions, case.answer] for case in cases.values()]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]


CHUNK = 32
"""Cases answered between two writes, where the sampler names no better number: what an interruption costs at most."""


class Question(Protocol):
    """What is asked: a case of a suite, or a task of another kind."""

    @property
    def id(self) -> str:
        """The key of its answer."""
        ...


PromptOf = Callable[[Any], str | Dialogue]
"""A question as a prompt."""


class CaseAnswer(msgspec.Struct, frozen=True):
    """One case answered. `output` is what is scored, `text` all that the model wrote."""

    id: str
    output: str
    text: str = ""
    fits: bool = True
    truncated: bool = False
    fault: str = ""
    """Why the server gave no answer to this case alone."""


def prompter(
    style: str,
    tokenizer: Any,
    *,
    tags: Tags = THINK_TAGS,
    variables: Mapping[str, Any] = NO_VARIABLES,
    call_format: CallFormat = PYTHONIC,
) -> PromptOf:
    """How a case becomes a prompt: `bfcl` as the leaderboard asks, `native` and `text` as the loop and its gate do.

    Without a tokenizer a case becomes the dialogue, which the sampler's server renders.
    """
    task_of, shown = (leaderboard_task, "plain") if style == "bfcl" else (case_task, style)
    how: dict[str, Any] = {"style": shown, "tags": tags, "variables": variables, "call_format": call_format}
    if tokenizer is None:
        return lambda case: task_dialogue(task_of(case), **how)
    return lambda case: prompt_text(task_of(case), tokenizer, **how)


def check_cases(
    style: str,
    tokenizer: Any,
    cases: Iterable[Case],
    **how: Any,
) -> list[str]:
    """Check that the prompts of `cases` are whole, as `check_prompts` does for tasks; its notes.

    `how` is what `prompter` takes. Nothing is checked without a tokenizer: the server renders the prompts.
    """
    if tokenizer is None:
        return []
    task_of, shown = (leaderboard_task, "plain") if style == "bfcl" else (case_task, style)
    return check_prompts(tokenizer, map(task_of, cases), style=shown, **how)


def answer_cases(
    sampler: Sampler,
    prompt_of: PromptOf,
    cases: Sequence[Question],
    path: Path,
    on_progress: Callable[[int], object] = lambda count: None,
    *,
    tags: Tags = THINK_TAGS,
) -> dict[str, CaseAnswer]:
    """The answers to `cases`: those in `path` already, and new ones, which are appended to it.

    `on_progress` is called with how many more are done. Raises BfclError for lines of `path` that are not answers.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = path.read_bytes() if path.exists() else b""
    if data and not data.endswith(b"\n"):  # cut off by a kill: this case is answered again
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
    answers = read_answers(path) if path.exists() else {}
    todo = [case for case in cases if case.id not in answers]
    on_progress(len(cases) - len(todo))
    with path.open("ab", buffering=0) as file:
        for completed in _completions(sampler, prompt_of, todo):
            new = []
            for case, completion in completed:
                if completion is None:
                    new.append(CaseAnswer(case.id, "", fits=False))
                    continue
                if isinstance(completion, str):
                    new.append(CaseAnswer(case.id, "", fault=completion))
                    continue
                text = completion.text
                new.append(CaseAnswer(case.id, cut_thinking(text, tags), text, truncated=completion.truncated))
            file.write(b"".join(msgspec.json.encode(answer) + b"\n" for answer in new))
            answers |= {answer.id: answer for answer in new}
            on_progress(len(new))
    return {case.id: answers[case.id] for case in cases}


def read_answers(path: Path) -> dict[str, CaseAnswer]:
    """The answers in `path` by id. BfclError names a line that is no answer, or that repeats an id."""
    decoder = msgspec.json.Decoder(CaseAnswer)
    answers: dict[str, CaseAnswer] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            answer = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BfclError(f'{path}:{number}: expected an answer {{"id", "output", …}}: {error}') from error
        if answer.id in answers:
            raise BfclError(f"{path}:{number}: the id {answer.id!r} is on an earlier line already")
        answers[answer.id] = answer
    return answers


def known_only(path: Path, answers: Mapping[str, CaseAnswer], cases: Iterable[str]) -> None:
    """Raise BfclError when `path` answers what the suite does not ask."""
    unknown = sorted(answers.keys() - set(cases))
    if unknown:
        raise BfclError(f"{path}: {len(unknown)} answers belong to no case of the suite, the first is {unknown[0]!r}")


def answer_notes(answers: Mapping[str, CaseAnswer], cases: Mapping[str, Case]) -> list[str]:
    """What a reader of the score should know: prompts that did not fit, answers that were cut."""
    notes = []
    unfit = [answer.id for answer in answers.values() if not answer.fits]
    if unfit:
        credited = sum(cases[case_id].category.endswith("irrelevance") for case_id in unfit)
        notes.append(
            f"{len(unfit)} prompts left no room for an answer in the model's context: their outputs are empty, "
            f'and {credited} of them count as right, because an empty output is "no call"'
        )
    faults = [answer for answer in answers.values() if answer.fault]
    if faults:
        credited = sum(cases[answer.id].category.endswith("irrelevance") for answer in faults)
        notes.append(
            f"{len(faults)} cases got no answer that can be read: their outputs are empty, and {credited} of them "
            f'count as right, because an empty output is "no call". The first, {faults[0].id}: {faults[0].fault}'
        )
    cut = sum(answer.truncated for answer in answers.values())
    return [*notes, f"{cut} {'answer was' if cut == 1 else 'answers were'} cut at the token limit"] if cut else notes


def cut_thinking(text: str, tags: Tags = THINK_TAGS) -> str:
    """The text after the last closing tag; all of it where there is none."""
    _, closed, tail = text.rpartition(tags[1])
    return tail.lstrip("\n") if closed else text


def _completions(
    sampler: Sampler, prompt_of: PromptOf, cases: Sequence[Question]
) -> Iterator[list[tuple[Question, Completion | str | None]]]:
    """Cases with their completions, as they come; None where the prompt does not fit, a server's fault as text."""
    if isinstance(sampler, Streaming):
        unfit, faults = set(range(len(cases))), dict[int, str]()
        requests = [_request(case, prompt_of) for case in cases]
        for place, (completion, *_) in sampler.answers(
            requests, lambda place, fault: faults.update({place: str(fault)})
        ):
            unfit.remove(place)
            yield [(cases[place], completion)]
        yield [(cases[place], faults.get(place)) for place in sorted(unfit)]
        return
    todo, size = iter(cases), getattr(sampler, "rows_at_once", None) or CHUNK
    while chunk := list(islice(todo, size)):
        requests = [_request(case, prompt_of) for case in chunk]
        short = [request for request in requests if not sampler.too_long(request)]
        found = {request.id: answers[0] for request, answers in zip(short, sampler.sample(short), strict=True)}
        yield [(case, found.get(case.id)) for case in chunk]


def _request(case: Question, prompt_of: PromptOf) -> Request:
    prompt = prompt_of(case)
    if isinstance(prompt, Dialogue):
        return Request(id=case.id, prompt="", n=1, seed=0, greedy=True, dialogue=prompt)
    return Request(id=case.id, prompt=prompt, n=1, seed=0, greedy=True)
