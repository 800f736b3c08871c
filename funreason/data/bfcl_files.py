"""BFCL's files: `{"id", "question", "function"}` a line, the answers in `possible_answer/` beside the file.

Source: https://github.com/ShishirPatil/gorilla, berkeley-function-call-leaderboard. Each parameter has a list of right
values there; the first that is not "" (which means: may be left out) becomes the reference. Only the first turn is
read. A gate scores with the `bfcl` package; this reader is for such files brought as tasks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from funreason.data.files import raw_records
from funreason.data.formats import dialogue
from funreason.data.records import DataError, RecordRead, RecordRefused, query_text, record_id, tools_field
from funreason.types import Call, Task


def matches(record: dict[str, Any]) -> bool:
    """Whether the record has BFCL's keys."""
    return "question" in record and "function" in record


def read(record: dict[str, Any], line: int, answers: dict[str, Any] | None = None) -> RecordRead:
    """The record's task, its reference from `answers` (see `possible_answers`); raises RecordRefused."""
    name = record_id(record, line)
    category = name.rpartition("_")[0]
    reference: list[Call] | None = None
    if "irrelevance" in category:
        reference = []
    elif answers and name in answers:
        reference = _reference(answers[name])
    query = query_text(_first_turn(record["question"]))
    tools = tools_field(record["function"])
    return RecordRead(Task.of(name, query, tools, reference, category=category, source="bfcl"))


def possible_answers(path: Path) -> dict[str, Any]:
    """The ground truths by id for the question file `path`; empty when there is no file of answers."""
    beside = path.parent / "possible_answer" / path.name
    if not beside.exists():
        return {}
    found: dict[str, Any] = {}
    for raw in raw_records(beside):
        try:
            record = raw.value()
        except RecordRefused as error:
            raise DataError(f"{beside}, line {raw.line}: {error.message}") from error
        if not isinstance(record, dict) or not isinstance(record.get("id"), str):
            raise DataError(f"{beside}, line {raw.line}: an object with id and ground_truth was expected")
        found[record["id"]] = record.get("ground_truth")
    return found


def _first_turn(question: Any) -> str:
    turn = question[0] if isinstance(question, list) and question else question
    if isinstance(turn, str):
        return turn
    messages = turn if isinstance(turn, list) else [turn]
    spoken = [(m.get("role"), m.get("content")) for m in messages if isinstance(m, dict)]
    if not spoken or not all(isinstance(role, str) and isinstance(text, str) for role, text in spoken):
        raise RecordRefused("query.bad", "question must be a list of turns, each a list of messages")
    return dialogue([(str(role), str(text)) for role, text in spoken if role != "system"])


def _reference(truth: Any) -> list[Call]:
    if not isinstance(truth, list) or not all(isinstance(item, dict) and len(item) == 1 for item in truth):
        raise RecordRefused("answers.not_calls", "ground_truth must be a list of objects with one name each")
    calls = []
    for name, parameters in (pair for item in truth for pair in item.items()):
        if not isinstance(parameters, dict) or not all(isinstance(values, list) for values in parameters.values()):
            raise RecordRefused("answers.not_calls", f"{name}: each parameter needs a list of right values")
        # "" first means that the parameter may only be left out.
        first = {key: _plain(values[0]) for key, values in parameters.items() if values and values[0] != ""}
        calls.append(Call(name, {key: value for key, value in first.items() if value != ""}))
    return calls


def _plain(value: Any) -> Any:
    # Inside a dict every value is again a list of right values.
    if isinstance(value, dict):
        return {k: _plain(v[0]) for k, v in value.items() if isinstance(v, list) and v and v[0] != ""}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [_plain(item) for item in value]
    return value
