"""share-gpt: `{"conversations": [{"from", "value"}], "system", "tools"}`, as LLaMA-Factory reads it.

The last `gpt` (or `function_call`) turn is the answer, thinking split off; everything before it is the query. A
dialogue of several turns becomes one query with a speaker's name before each turn. The system text is not read: the
project writes its own prompt around the tools.
"""

from __future__ import annotations

from typing import Any

from funreason.calls.thinking import split_thinking
from funreason.data.records import RecordRead, RecordRefused, query_text, record_id, tools_field
from funreason.types import Task

_ANSWERING = frozenset({"gpt", "assistant", "function_call"})
_ASKING = frozenset({"human", "user"})


def matches(record: dict[str, Any]) -> bool:
    """Whether the record has share-gpt's key."""
    return "conversations" in record


def read(record: dict[str, Any], line: int) -> RecordRead:
    """The record's task and the answer's own text; raises RecordRefused."""
    turns = _turns(record["conversations"])
    answered = turns[-1][0] in _ANSWERING
    raw = turns.pop()[1] if answered else None
    split = split_thinking(raw) if raw is not None else None
    task = Task.of(
        id=record_id(record, line),
        query=query_text(dialogue(turns)),
        tools=tools_field(record.get("tools")),
        reference_thinking=split.thinking if split else None,
        category=str(record.get("category") or ""),
        source=str(record.get("source") or ""),
    )
    return RecordRead(task, split.answer, unparsed=split.closed) if split else RecordRead(task)


def dialogue(turns: list[tuple[str, str]]) -> str:
    """Turns (speaker, text) as one query: the text alone when one user spoke, else a line with a name for each turn."""
    if len(turns) == 1 and turns[0][0] in _ASKING:
        return turns[0][1]
    if not any(speaker in _ASKING for speaker, _ in turns):
        raise RecordRefused("query.empty", "no user speaks before the answer")
    return "\n".join(f"{'user' if speaker in _ASKING else speaker}: {text}" for speaker, text in turns)


def _turns(found: Any) -> list[tuple[str, str]]:
    if not isinstance(found, list) or not found:
        raise RecordRefused("query.empty", "conversations must be a list of at least one turn")
    turns = []
    for index, turn in enumerate(found):
        if (
            not isinstance(turn, dict)
            or not isinstance(turn.get("from"), str)
            or not isinstance(turn.get("value"), str)
        ):
            raise RecordRefused(
                "query.bad", f"conversations[{index}] must be an object with `from` and `value` as text"
            )
        if turn["from"] != "system":
            turns.append((turn["from"], turn["value"]))
    if not turns:
        raise RecordRefused("query.empty", "conversations hold only a system turn")
    return turns
