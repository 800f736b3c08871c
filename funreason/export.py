"""Exports a run as folders to publish: `model/`, `data/`, `llamafactory/`, and chat messages where they are asked for.

The export is built under another name and renamed at the end, so an existing folder is complete. The run is only read.
A run of `refine` has data and no model.

Each sample is one flat row, as it ended, with what one needs to trust or to leave out each. What has no fixed shape
(tools, verdicts) is JSON in a text column, so that every row of every run has the same columns. As chat messages a
sample is read back before it is written, and one that would not come back the same is left out and counted.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from funreason.calls.names import original_answer, original_task, original_tools
from funreason.calls.parse import CallSyntaxError
from funreason.cards import COLUMNS, INTEGERS, dataset_card, describe, messages_card, model_card, read_scores
from funreason.data.forms.dialogues import read_openai, read_sharegpt, write_openai
from funreason.data.records import RecordRead, RecordRefused
from funreason.data.writers import RecordsFile, as_sharegpt, read_back, write_sharegpt
from funreason.display.verdict import evidence_in, verdict
from funreason.record.folder import RecordError, RunFolder, is_refining, is_within, remove_drafts
from funreason.record.sample_files import KEPT
from funreason.record.state import State
from funreason.types import Sample
from funreason.weights import START

DATASET = "funreason"


MESSAGES = ("messages", "openai")
"""Forms of chat messages: what trainers such as TRL's take, and what OpenAI's fine-tuning takes."""


class Exported(NamedTuple):
    """What was written: rows of data, by origin, and which weights; "" without a model.

    `rejected` counts, by form and reason, the samples that a form of chat messages cannot carry, and `without` by form
    those whose thinking it has no place for.
    """

    folder: Path
    rows: int
    origins: Counter[str]
    weights: str
    rejected: Mapping[str, Counter[str]] = {}
    without: Mapping[str, int] = {}


def export_run(
    run: RunFolder,
    to: Path,
    *,
    license: str | None = None,
    data_license: str | None = None,
    base_model: str | None = None,
    language: Sequence[str] = (),
    scores: Sequence[Path] = (),
    formats: Sequence[str] = (),
) -> Exported:
    """Write the accepted model and the refined data of `run` into the new folder `to`. RecordError when it cannot.

    Args:
        base_model: the base model's name on a hub, where the run knows only a folder.
        scores: folders with `scores.json` that `funreason eval` wrote for these weights.
        formats: of `MESSAGES`, each becomes a folder `to/<form>`.
    """
    if to.exists():
        raise RecordError(f"--out {to} is there already; give a fresh folder")
    state = run.state()
    weights = None if is_refining(run) else accepted(run, state)
    about = describe(run, state, weights, license, data_license, base_model, language)
    found = verdict(state, evidence_in(run))
    measured = [read_scores(folder, about.weights) for folder in scores]
    draft = to.with_name(f".{to.name}.new-{os.getpid()}")
    remove_drafts(to)
    try:
        draft.mkdir(parents=True)
        if weights is not None:
            # Readable by all, as a new file is.
            shutil.copytree(weights, draft / "model", copy_function=shutil.copyfile)
            card = model_card(state, about, found, measured)
            (draft / "model" / "README.md").write_text(card, encoding="utf-8")
        origins: Counter[str] = Counter()

        def rows() -> Iterator[dict[str, Any]]:
            for kind, sample in refined(run, state):
                origins[sample.origin] += 1
                yield row(kind, sample)

        (draft / "data").mkdir()
        count = write_parquet(draft / "data" / "train.parquet", rows())
        (draft / "data" / "README.md").write_text(dataset_card(state, about, count, origins), encoding="utf-8")
        file = draft / "llamafactory" / f"{DATASET}.jsonl"
        write_sharegpt(file, (sample for _, sample in refined(run, state)))
        # LLaMA-Factory's description of a data set (its data/README.md, "Sharegpt Format").
        columns = {"messages": "conversations", "system": "system", "tools": "tools"}
        info = {DATASET: {"file_name": file.name, "formatting": "sharegpt", "columns": columns}}
        (file.parent / "dataset_info.json").write_text(json.dumps(info, indent=2))
        rejected: dict[str, Counter[str]] = {}
        without: dict[str, int] = {}
        for form in dict.fromkeys(formats):
            made = write_messages(draft / form / "train.jsonl", (sample for _, sample in refined(run, state)), form)
            rejected[form], without[form] = made.rejected, made.without
            card = messages_card(about, form, made.rows, sum(made.rejected.values()), made.without)
            (draft / form / "README.md").write_text(card, encoding="utf-8")
        draft.replace(to)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return Exported(to, count, origins, about.weights, rejected, without)


def accepted(run: RunFolder, state: State) -> Path:
    """The folder of the weights that the run accepted last. RecordError when there are none."""
    for path in (run.path / "model", run.weights / state.weights if is_within(state.weights or "") else None):
        if path is not None and path.is_dir():
            return path.resolve()
    raise RecordError(f"{run.path} has accepted no weights of its own yet: there is no model to export")


SLICE = 5_000
"""Rows written at a time, so that memory does not grow with the run."""


def refined(run: RunFolder, state: State) -> Iterator[tuple[str, Sample]]:
    """(kind, sample) for every sample that the run kept, in the order of rounds; each once.

    Without the start's: those are a teacher's answers, of which references took the thinking.
    """
    for k in sorted(state.rounds.keys() - {START}):
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


class MessagesWritten(NamedTuple):
    """How many samples a file of chat messages has, which it cannot carry, and how many lost their thinking."""

    rows: int
    rejected: Counter[str]
    without: int


def write_messages(path: Path, samples: Iterable[Sample], form: str) -> MessagesWritten:
    """Write samples as `{"messages", "tools"}`, a line each; calls are `tool_calls`, thinking `reasoning_content`.

    In the form `messages` arguments are objects, which chat templates write as JSON themselves, a sample has its `id`,
    and what is not to be learned again has `weight: 0`. In the form `openai` arguments are JSON texts, as the API has
    them, and thinking is left out and counted, for which its fine-tuning has no place. RecordError when it cannot be
    written.
    """
    rejected, without = Counter[str](), 0
    with RecordsFile(path) as file:
        for sample in samples:
            try:
                original = read_sharegpt(as_sharegpt(sample), 1)
                if form == "openai":
                    turns = tuple(turn.resolved(original.offered) for turn in original.turns)
                    without += any(turn.message.thinking for turn in turns)
                    turns = tuple(turn._replace(message=replace(turn.message, thinking=None)) for turn in turns)
                    record = read_back(replace(original, turns=turns), write_openai, read_openai)
                    file.put({key: record[key] for key in ("messages", "tools") if record[key]})
                else:
                    file.put(read_back(original, chat_record, read_openai))
            except (RecordRefused, CallSyntaxError) as error:
                rejected[error.reason] += 1
    return MessagesWritten(file.count, rejected, without)


def chat_record(read: RecordRead) -> dict[str, Any]:
    """A record as messages with arguments as objects, which chat templates write as JSON, and no content of null."""
    record = write_openai(read)
    for message in record["messages"]:
        message["content"] = message["content"] or ""
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return {key: record[key] for key in ("id", "messages", "tools")}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _text(text: str) -> str:
    """Parquet's text is UTF-8: a lone surrogate is replaced, as no encoder would take it."""
    return text.encode("utf-8", "replace").decode()
