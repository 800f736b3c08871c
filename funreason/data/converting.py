"""Records from one form to another: xLAM, share-gpt, OpenAI chat, BFCL.

Every record is read back before it is written. One that would not come back as it was (a call whose name cannot be
written, thinking that closes its own tag) is rejected with the part that would change; nothing is changed silently.
BFCL's form keeps less than the others: query, tools and right calls, under new ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from funreason.calls.render import CallRenderError
from funreason.data.formats import FORMS
from funreason.data.records import RecordRefused, Refusal
from funreason.data.writers import RecordsFile
from funreason.types import Task

PARTS = ("id", "query", "tools", "reference", "reference_text", "reference_thinking", "category", "source")
"""What a record has to keep on its way."""


def convert(tasks: Iterable[Task], form: str, path: Path) -> tuple[int, list[Refusal]]:
    """Write `tasks` to `path` in `form`, one at a time; returns how many were written and which were rejected.

    KeyError for an unknown form. What `tasks` raises is raised, and no file is left then.
    """
    try:
        with RecordsFile(path) as file:
            rejected = list(_written(tasks, form, file))
    except BaseException:
        path.with_name(path.name + ".part").unlink(missing_ok=True)
        raise
    return file.count, rejected


def _written(tasks: Iterable[Task], form: str, file: RecordsFile) -> Iterator[Refusal]:
    """Write what comes back the same; the others, with the reason."""
    chosen = FORMS[form]
    for place, task in enumerate(tasks, 1):
        try:
            record = chosen.write(task)
            again = chosen.read(json.loads(json.dumps(record)), 1).whole()
            changed = [part for part in PARTS if getattr(again, part) != getattr(task, part)]
            if changed:
                raise RecordRefused("convert.changed", f"{', '.join(changed)} would not come back the same")
            file.put(record)
        except (RecordRefused, CallRenderError) as error:
            reason = error.reason if isinstance(error, RecordRefused) else "convert.not_writable"
            yield Refusal(place, task.id, reason, str(error))
