"""BFCL's files: `{"id", "question", "function"}` a line, the answers in `possible_answer/` beside the file.

Source: https://github.com/ShishirPatil/gorilla, berkeley-function-call-leaderboard. Each parameter has a list of right
values there; the first that is not "" (which means: may be left out) becomes the reference, and that there were others
is counted. A question without its answer is refused, as is one of several turns: its answers are the states of a
simulated world. A gate scores with the `bfcl` package; this reader is for such files brought as tasks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from funreason.calls.names import to_callable
from funreason.data.files import raw_records
from funreason.data.forms.form import Form, Record, record_read
from funreason.data.forms.messages import Conversation
from funreason.data.records import DataError, ReadTurn, RecordRead, RecordRefused, record_id, tools_field
from funreason.types import Call, Message

KEYS = ("question", "function")


class PossibleAnswers(NamedTuple):
    """The ground truths of a file of answers by id, and the ids with their lines in the order of the file."""

    path: Path
    truths: dict[str, Any]
    places: list[tuple[int, str]]


def read_bfcl(record: Record, line: int, answers: PossibleAnswers | None = None, place: int = 0) -> RecordRead:
    """The record as it is, its reference from `answers`; raises RecordRefused.

    `place` counts the questions of the file from 0: it says which answer was meant where the ids differ.
    """
    name = record_id(record, line)
    category = name.rpartition("_")[0]
    talk, question = Conversation(tools_field(record.get("function"))), record["question"]
    several = isinstance(question, list) and len(question) > 1 and all(isinstance(turn, list) for turn in question)
    if several or "function" not in record:
        raise RecordRefused("question.several_turns", "questions of several turns are not read, only single ones")
    turn = question[0] if isinstance(question, list) and question else question
    if isinstance(turn, str):
        talk.say("user", turn)
    elif isinstance(turn, dict | list) and turn:
        talk.read(question if isinstance(turn, dict) else turn, "question")
    else:
        raise RecordRefused("query.bad", "question must be a list of turns, each a list of messages")
    reference: list[Call] | None = None
    if "irrelevance" in category:
        reference = []
    elif answers is not None and name in answers.truths:
        reference = _reference(answers.truths[name], talk.left)
    elif answers is not None and "relevance" not in category:
        there, other = answers.places[place] if place < len(answers.places) else (0, "")
        found = f"its line {there} answers {other!r}" if there else "it has fewer answers than there are questions"
        raise RecordRefused(
            "answers.other_id", f"line {line} asks {name!r}, and {answers.path} has no answer to it: {found}"
        )
    turns = talk.turns
    if reference is not None:
        turns = [
            *turns,
            ReadTurn(Message("assistant", "", calls=tuple(to_callable(reference, talk.tools.names))), known=True),
        ]
    marked = {**record, "category": category, "source": "bfcl"}
    return record_read(marked, line, turns, talk.tools, KEYS, talk.left)


def possible_answers(path: Path) -> PossibleAnswers | None:
    """The answers to the question file `path`; None when there is no file of them. Raises DataError."""
    beside = path.parent / "possible_answer" / path.name
    if not beside.exists():
        return None
    found = PossibleAnswers(beside, {}, [])
    for raw in raw_records(beside):
        try:
            record = raw.value()
        except RecordRefused as error:
            raise DataError(f"{beside}, line {raw.line}: {error.message}") from error
        if not isinstance(record, dict) or not isinstance(record.get("id"), str):
            raise DataError(f"{beside}, line {raw.line}: an object with id and ground_truth was expected")
        found.truths[record["id"]] = record.get("ground_truth")
        found.places.append((raw.line, record["id"]))
    return found


def _reference(truth: Any, left: list[str]) -> list[Call]:
    if not isinstance(truth, list) or not all(isinstance(item, dict) and len(item) == 1 for item in truth):
        raise RecordRefused("answers.not_calls", "ground_truth must be a list of objects with one name each")
    calls = []
    for name, parameters in (pair for item in truth for pair in item.items()):
        if not isinstance(parameters, dict) or not all(isinstance(values, list) for values in parameters.values()):
            raise RecordRefused("answers.not_calls", f"{name}: each parameter needs a list of right values")
        # "" first means that the parameter may only be left out.
        first = {key: _plain(values[0]) for key, values in parameters.items() if values and values[0] != ""}
        calls.append(Call(name, {key: value for key, value in first.items() if value != ""}))
        if any(len(values) > 1 for values in parameters.values()):
            left.append("ground_truth.alternatives")
    return calls


def _plain(value: Any) -> Any:
    # Inside a dict every value is again a list of right values.
    if isinstance(value, dict):
        return {k: _plain(v[0]) for k, v in value.items() if isinstance(v, list) and v and v[0] != ""}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [_plain(item) for item in value]
    return value


BFCL = Form(
    "bfcl",
    "the Berkeley leaderboard",
    "question, function",
    "system text; the first possible answer of each parameter",
    # Questions of several turns have `involved_classes` instead of functions.
    lambda record: "question" in record and ("function" in record or "involved_classes" in record),
    read_bfcl,
)
