"""Records from one form to another: xLAM, share-gpt, OpenAI chat, BFCL.

Every record is read back before it is written. One that would not come back as it was (a call whose name cannot be
written, thinking that closes its own tag) is rejected with the part that would change; nothing is changed silently.
BFCL's form keeps less than the others: query, tools and right calls, under new ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from funreason.calls.render import CallRenderError, render_calls
from funreason.calls.thinking import join_thinking
from funreason.data import openai, sharegpt, xlam
from funreason.data.records import RecordRead, RecordRefused, Refusal
from funreason.data.writers import write_records
from funreason.types import Task

PARTS = ("id", "query", "tools", "reference", "reference_text", "reference_thinking", "category", "source")
"""What a record has to keep on its way."""


class Form(NamedTuple):
    """A form of records: how a task is written in it, and read again."""

    write: Callable[[Task], dict[str, Any]]
    read: Callable[[dict[str, Any], int], RecordRead]


def convert(tasks: Iterable[Task], form: str, path: Path) -> tuple[int, list[Refusal]]:
    """Write `tasks` to `path` in `form`; returns how many were written and which were rejected.

    KeyError for an unknown form.
    """
    chosen, rejected, kept = FORMS[form], [], []
    for place, task in enumerate(tasks, 1):
        try:
            record = chosen.write(task)
            again = chosen.read(json.loads(json.dumps(record)), 1).whole()
            changed = [part for part in PARTS if getattr(again, part) != getattr(task, part)]
            if changed:
                raise RecordRefused("convert.changed", f"{', '.join(changed)} would not come back the same")
            kept.append(record)
        except (RecordRefused, CallRenderError) as error:
            reason = error.reason if isinstance(error, RecordRefused) else "convert.not_writable"
            rejected.append(Refusal(place, task.id, reason, str(error)))
    return write_records(path, kept), rejected


def _xlam(task: Task) -> dict[str, Any]:
    record: dict[str, Any] = {"id": task.id, "query": task.query, "tools": _json(task.tools)}
    if task.reference is not None:
        record["answers"] = _json([{"name": call.name, "arguments": call.arguments} for call in task.reference])
    return record | _known(cot=task.reference_thinking, response=task.reference_text, flags=task.flags) | _marks(task)


def _sharegpt(task: Task) -> dict[str, Any]:
    turns = [{"from": "human", "value": task.query}]
    if task.reference is not None:
        text = render_calls(task.reference) if task.reference else task.reference_text or ""
        turns.append({"from": "gpt", "value": join_thinking(task.reference_thinking, text)})
    return {"id": task.id, "conversations": turns, "system": "", "tools": _json(task.tools)} | _marks(task)


def _openai(task: Task) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "user", "content": task.query}]
    if task.reference is not None:
        answer: dict[str, Any] = {"role": "assistant", "content": task.reference_text or ""}
        if task.reference:
            calls = [{"name": call.name, "arguments": _json(call.arguments)} for call in task.reference]
            asked = [{"id": f"call_{i}", "type": "function", "function": call} for i, call in enumerate(calls)]
            answer |= {"content": None, "tool_calls": asked}
        messages.append(answer | _known(reasoning_content=task.reference_thinking))
    tools = [{"type": "function", "function": tool} for tool in task.tools]
    return {"id": task.id, "messages": messages, "tools": tools} | _marks(task)


def _marks(task: Task) -> dict[str, Any]:
    return _known(category=task.category, source=task.source)


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


FORMS = {
    "xlam": Form(_xlam, xlam.read),
    "sharegpt": Form(_sharegpt, sharegpt.read),
    "openai": Form(_openai, openai.read),
}
