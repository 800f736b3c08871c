"""What a form of records is, and the parts of a record that all forms share: id, tools, marks, unknown keys."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from funreason.data.records import ReadTurn, RecordRead, RecordRefused, record_id, tools_field

Record = dict[str, Any]
MARKS = ("category", "source")
COMMON = frozenset({"id", "tools", "functions", "flags", *MARKS})
"""Keys that mean the same in every form."""


class Form(NamedTuple):
    """A form of records, as the table of known forms shows it."""

    name: str
    serves: str
    """Which data sets and programs have it."""
    keys: str
    """The keys it is known by, for people."""
    carries: str
    """What is carried beside question, tools and answer."""
    matches: Callable[[Record], bool]
    read: Callable[[Record, int], RecordRead]
    """The record on a line (1-based) as it is; raises RecordRefused."""
    write: Callable[[RecordRead], Record] | None = None
    """A record in this form; raises RecordRefused for one that does not fit. None where it is only read."""


def offered_tools(record: Record) -> list[dict[str, Any]]:
    """The tools of a record, or the older `functions` where it has none; raises RecordRefused."""
    tools = record.get("tools")
    return tools_field(record.get("functions") if empty(tools) else tools)


def record_read(
    record: Record, line: int, turns: list[ReadTurn], tools: list[dict[str, Any]], own: Collection[str], left: list[str]
) -> RecordRead:
    """A record of these turns. Keys that are neither common nor the form's `own` are counted in `left`."""
    left += [str(key) for key, value in record.items() if key not in COMMON and key not in own and not empty(value)]
    if not empty(record.get("functions")) and record.get("tools") not in (None, "", [], {}, record["functions"]):
        left.append("functions")
    marks = dict.fromkeys(MARKS, "")
    for key in MARKS:
        value = record.get(key)
        if isinstance(value, str | int):
            marks[key] = str(value or "")
        elif not empty(value):
            left.append(key)
    flags = record.get("flags")
    if not isinstance(flags, list):
        left += [] if empty(flags) else ["flags"]
        flags = []
    if not tools and any("<tools>" in t.message.content or '"parameters"' in t.message.content for t in turns):
        left.append("tools.in_text")
    if not any(turn.message.role == "user" and turn.message.content for turn in turns):
        raise RecordRefused("query.empty", "no user says anything, so there is no question to answer")
    return RecordRead(
        record_id(record, line),
        tuple(turns),
        tools,
        marks["category"],
        marks["source"],
        tuple(map(str, flags)),
        tuple(left),
    )


def marks_of(read: RecordRead) -> Record:
    """The keys of a record's marks, those that say something."""
    return known_only(category=read.category, source=read.source, flags=list(read.flags))


def known_only(**fields: Any) -> Record:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value}


def empty(value: Any) -> bool:
    """Whether a field says nothing, as one that a table filled in does: null, "", [] or {}."""
    return value is None or (isinstance(value, str | list | dict) and not value)
