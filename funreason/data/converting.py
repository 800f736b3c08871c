"""Records from one form to another: xLAM, share-gpt, OpenAI chat, TRL.

Every record is read back before it is written and compared with what was read of the original: its id, each message
with role, text, calls, thinking and name, whether it is to be learned, its tools and marks. One that would not come
back the same (a call whose name cannot be written, thinking that closes its own tag) is rejected with the parts that
would change. What the original has and its reader does not carry is counted by the reading, so nothing changes
silently. BFCL's form keeps less than the others: question, tools and right calls, under new ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from funreason.calls.parse import CallSyntaxError
from funreason.data.forms.known import FORMS
from funreason.data.records import ReadTurn, RecordRead, RecordRefused, Refusal, record_of
from funreason.data.writers import RecordsFile
from funreason.types import Message, Task

PARTS = ("id", "tools", "names", "category", "source", "flags")
"""What a record has to keep on its way, beside its turns."""


def convert(records: Iterable[RecordRead | Task], form: str, path: Path) -> tuple[int, list[Refusal]]:
    """Write `records` to `path` in `form`, one at a time; returns how many were written and which were rejected.

    KeyError for a form that is not known or only read. What `records` raises is raised, and no file is left then.
    """
    write, read = FORMS[form].write, FORMS[form].read
    if write is None:
        raise KeyError(form)
    rejected: list[Refusal] = []
    try:
        with RecordsFile(path) as file:
            for place, found in enumerate(records, 1):
                original = record_of(found) if isinstance(found, Task) else found
                try:
                    original = _resolved(original)
                    record = write(original)
                    again = _resolved(read(json.loads(json.dumps(record)), 1))
                    if changed := _changed(original, again):
                        raise RecordRefused("convert.changed", f"{', '.join(changed)} would not come back the same")
                    file.put(record)
                except (RecordRefused, CallSyntaxError) as error:
                    rejected.append(Refusal(place, original.id, error.reason, error.message))
    except BaseException:
        path.with_name(path.name + ".part").unlink(missing_ok=True)
        raise
    return file.count, rejected


def _resolved(record: RecordRead) -> RecordRead:
    """The record with the calls in its texts read; raises CallSyntaxError or RecordRefused."""
    return replace(record, turns=tuple(turn.resolved(record.offered) for turn in record.turns))


def _changed(original: RecordRead, again: RecordRead) -> list[str]:
    """The parts of a record that differ; a turn by its number, from 1."""
    parts = [part for part in PARTS if getattr(original, part) != getattr(again, part)]
    if len(original.turns) != len(again.turns):
        return [*parts, f"the number of turns ({len(original.turns)}, then {len(again.turns)})"]
    for number, (one, other) in enumerate(zip(original.turns, again.turns, strict=True), 1):
        if one.trained != other.trained or one.closed != other.closed or _known(one) != _known(other):
            parts.append(f"how turn {number} is marked")
        for field in Message.__struct_fields__:
            if (getattr(one.message, field) or None) != (getattr(other.message, field) or None):
                parts.append(f"{field} of turn {number}")
    return parts


def _known(turn: ReadTurn) -> bool:
    """Whether an assistant's turn says what to call, if only that nothing is."""
    return turn.known and turn.message.role == "assistant"
