"""Refined samples as flat rows, with what one needs to trust or to leave out each; and the Parquet file of them.

Each sample is one row, as it ended. What has no fixed shape (tools, verdicts) is JSON in a text column, so that every
row of every run has the same columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from funreason.calls.names import original_answer, original_task, original_tools
from funreason.record.folder import RecordError, RunFolder
from funreason.record.sample_files import KEPT
from funreason.record.state import State
from funreason.types import Sample

COLUMNS = {
    "id": "the sample's id in the run",
    "round": "the round that drew it",
    "category": "of its task, where known",
    "source": "where its task came from",
    "query": "what was asked: the words of the user",
    "messages": "JSON: the conversation before the answer, with system text, earlier calls and results",
    "tools": "JSON: the tools offered",
    "thinking": "the model's reasoning; empty when it gave none",
    "answer": "the calls as `[f(a=v)]` or as `model.call_format` says, or text where no call is right",
    "kind": "`kept`: calls that passed five stages; `text`: an answer in words",
    "origin": "`sampled`, `rerendered`, `resampled`, `rewritten`: the model's own; `repaired`, `reference`: supervised",
    "attempt": "how many attempts before this one failed",
    "weights": "the weights that made it",
    "verdicts": "JSON: each judge's verdict",
}
"""The columns and what they hold; all but `INTEGERS` are text."""
INTEGERS = ("round", "attempt")
SLICE = 5_000
"""Rows written at a time, so that memory does not grow with the run."""


def refined(run: RunFolder, state: State) -> Iterator[tuple[str, Sample]]:
    """(kind, sample) for every sample that the run kept, in the order of rounds; each once."""
    for k in sorted(state.rounds):
        for kind in KEPT:
            ended = {sample.id: sample for sample in run.texts(k).get(kind)}
            yield from ((kind, sample) for sample in ended.values())


def row(kind: str, sample: Sample) -> dict[str, Any]:
    """One sample as a row of `COLUMNS`."""
    task = sample.task
    return {
        "id": sample.id,
        "round": sample.round,
        "category": task.category,
        "source": task.source,
        "query": _text(task.query),
        "messages": _text(json.dumps(msgspec.to_builtins(original_task(task).messages), ensure_ascii=False)),
        "tools": _json(original_tools(task.tools, task.names)),
        "thinking": _text(sample.thinking or ""),
        "answer": _text(original_answer(sample.answer, task.names)),
        "kind": kind,
        "origin": sample.origin,
        "attempt": sample.attempt,
        "weights": sample.weights_id,
        "verdicts": _json(sample.verdicts),
    }


def write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write `rows` of `COLUMNS` to `path`; how many there were. RecordError when pyarrow is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise RecordError("Parquet needs the extra `export`: pip install 'funreason[export]'") from error
    schema = pa.schema([(name, pa.int64() if name in INTEGERS else pa.string()) for name in COLUMNS])
    count = 0
    with pq.ParquetWriter(str(path), schema, compression="zstd") as writer:
        rest = iter(rows)
        while part := list(islice(rest, SLICE)):
            writer.write_table(pa.Table.from_pylist(part, schema=schema))
            count += len(part)
    return count


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _text(text: str) -> str:
    """Parquet's text is UTF-8: a lone surrogate is replaced, as no encoder would take it."""
    return text.encode("utf-8", "replace").decode()
