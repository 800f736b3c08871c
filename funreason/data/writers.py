"""Writes kept samples for other trainers: share-gpt (LLaMA-Factory) and xLAM's form.

A path ending in `.json` gets one list, any other one record a line. Written to a temporary name and renamed, so a
reader never meets half a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from funreason.calls.parse import CallSyntaxError, parse_calls
from funreason.calls.thinking import join_thinking
from funreason.record.types import Sample

_encode = json.JSONEncoder(ensure_ascii=False).encode


def write_sharegpt(path: str | Path, samples: Iterable[Sample], *, system: str = "") -> int:
    """One `{"conversations", "system", "tools"}` a line, thinking in its tags; returns how many were written."""
    return _write(Path(path), samples, lambda sample: _sharegpt(sample, system))


def write_xlam(path: str | Path, samples: Iterable[Sample]) -> int:
    """One `{"id", "query", "tools", "answers"}` a line, the last two as JSON strings; returns how many were written.

    An answer that is ordinary text becomes `answers: []` with the text under `response`; thinking goes to `cot`.
    """
    return _write(Path(path), samples, _xlam)


def _sharegpt(sample: Sample, system: str) -> dict[str, Any]:
    turns = [
        {"from": "human", "value": sample.task.query},
        {"from": "gpt", "value": join_thinking(sample.thinking, sample.answer)},
    ]
    tools = _encode(sample.task.tools)
    return {"id": sample.id, "conversations": turns, "system": system, "tools": tools}


def _xlam(sample: Sample) -> dict[str, Any]:
    record: dict[str, Any] = {"id": sample.id, "query": sample.task.query}
    record["tools"] = _encode(sample.task.tools)
    try:
        calls = [{"name": call.name, "arguments": call.arguments} for call in parse_calls(sample.answer)]
    except CallSyntaxError:
        calls = []
        record["response"] = sample.answer
    record["answers"] = _encode(calls)
    if sample.thinking:
        record["cot"] = sample.thinking
    return record


def _write(path: Path, samples: Iterable[Sample], form: Callable[[Sample], dict[str, Any]]) -> int:
    return write_records(path, map(form, samples))


def write_records(path: Path, records: Iterable[dict[str, Any]]) -> int:
    """Write records as one list (`.json`) or one a line; returns how many there were."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    first, between, last = ("[\n", ",\n", "\n]\n") if path.suffix == ".json" else ("", "\n", "\n")
    count = 0
    with draft.open("w", encoding="utf-8") as stream:
        for record in records:
            stream.write((between if count else first) + _encode(record))
            count += 1
        stream.write(last if count else "[]\n" if first else "")
    draft.replace(path)
    return count
