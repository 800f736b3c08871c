"""xLAM's form: `{"id", "query", "tools", "answers"}`, the last two as JSON strings or already parsed.

Source: https://huggingface.co/datasets/Salesforce/xlam-function-calling-60k. Beside it the keys `cot` (thinking),
`response` (text, when no call is right), `category`, `source` and `flags` are kept where a record has them.
A record without `answers` is a task whose right answer is unknown.
"""

from __future__ import annotations

from typing import Any

from funreason.data.records import RecordRead, calls_field, optional_text, query_text, record_id, tools_field
from funreason.types import Task


def matches(record: dict[str, Any]) -> bool:
    """Whether the record has xLAM's keys."""
    return "query" in record and ("tools" in record or "answers" in record)


def read(record: dict[str, Any], line: int) -> RecordRead:
    """The record's task; raises RecordRefused."""
    answers = record.get("answers")
    reference = None if answers is None else calls_field(answers, "answers")
    text = optional_text(record, "response")
    flags = record.get("flags")
    task = Task.of(
        id=record_id(record, line),
        query=query_text(record["query"]),
        tools=tools_field(record.get("tools")),
        reference=reference,
        reference_text=text,
        reference_thinking=optional_text(record, "cot"),
        category=str(record.get("category") or ""),
        source=str(record.get("source") or ""),
        flags=[str(flag) for flag in flags] if isinstance(flags, list) else [],
    )
    return RecordRead(task, text if reference == [] else None)
