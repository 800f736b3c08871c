"""Exports a run as folders to publish: `model/`, `data/`, `llamafactory/`.

The export is built under another name and renamed at the end, so an existing folder is complete. The run is only read.

Each sample is one flat row, as it ended, with what one needs to trust or to leave out each. What has no fixed shape
(tools, verdicts) is JSON in a text column, so that every row of every run has the same columns.

The cards of the model and of the data set are made from the run's record alone. A card claims nothing that is not in
the record, and says what is unknown: a licence is only named when given.
"""

from __future__ import annotations

import html
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from funreason.calls.names import original_answer, original_task, original_tools
from funreason.data.writers import write_sharegpt
from funreason.display.verdict import RunVerdict, evidence_in, verdict
from funreason.record.folder import RecordError, RunFolder, is_within, read_settings, remove_drafts
from funreason.record.plain import plain
from funreason.record.sample_files import KEPT
from funreason.record.state import State
from funreason.types import Sample
from funreason.weights import START

DATASET = "funreason"


class Exported(NamedTuple):
    """What was written: rows of data, by origin, and which weights."""

    folder: Path
    rows: int
    origins: Counter[str]
    weights: str


def export_run(run: RunFolder, to: Path, *, license: str | None = None, data_license: str | None = None) -> Exported:
    """Write the accepted model and the refined data of `run` into the new folder `to`. RecordError when it cannot."""
    if to.exists():
        raise RecordError(f"--out {to} is there already; give a fresh folder")
    state = run.state()
    weights = accepted(run, state)
    config = read_settings(run)
    base, tasks = (str(config.get(part, {}).get("path", "unknown")) for part in ("model", "tasks"))
    about = About(run.name, base, tasks, license, data_license, weights.name)
    found = verdict(state, evidence_in(run))
    draft = to.with_name(f".{to.name}.new-{os.getpid()}")
    remove_drafts(to)
    try:
        shutil.copytree(weights, draft / "model", copy_function=shutil.copyfile)  # readable by all, as a new file is
        (draft / "model" / "README.md").write_text(model_card(state, about, found), encoding="utf-8")
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
        draft.replace(to)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return Exported(to, count, origins, weights.name)


def accepted(run: RunFolder, state: State) -> Path:
    """The folder of the weights that the run accepted last. RecordError when there are none."""
    for path in (run.path / "model", run.weights / state.weights if is_within(state.weights or "") else None):
        if path is not None and path.is_dir():
            return path.resolve()
    raise RecordError(f"{run.path} has accepted no weights of its own yet: there is no model to export")


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


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _text(text: str) -> str:
    """Parquet's text is UTF-8: a lone surrogate is replaced, as no encoder would take it."""
    return text.encode("utf-8", "replace").decode()


GATE = (
    "Old and new weights of each round on the same held-out items; the interval (Wilson, 95 %) is of the new, p is "
    "McNemar's, exact. A suite that a gate reads every round flatters what it lets through."
)


class About(NamedTuple):
    """What a card needs beside the record: names and licences, as given or as in the configuration."""

    name: str
    base: str
    tasks: str
    license: str | None
    data_license: str | None
    weights: str


def model_card(state: State, about: About, found: RunVerdict | None = None) -> str:
    """The model's README in Markdown, with front matter as hubs read it; `found` says how the run turned out."""
    head = {
        "license": about.license or "unknown",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["function-calling", "tool-use", "funreason"],
    }
    rounds = [(k, r) for k, r in sorted(state.rounds.items()) if r.nodes and k != START]
    origins = sorted({origin for _, r in rounds for origin in r.origins})
    lines = [f"| round | trained on | {' | '.join(origins)} |", f"|---|---|{'---|' * len(origins)}"]
    for k, r in rounds:
        trained = r.chosen.trained if r.chosen else 0
        lines.append(f"| {k} | {trained} | {' | '.join(str(r.origins[o]) for o in origins)} |")
    supervised = ""
    if (start := state.rounds.get(START)) and start.chosen:
        supervised = (
            f"Before the rounds it was trained on {start.chosen.trained} reference answers, which is supervised "
            "training."
        )
        if start.fates:
            kept = sum(start.fates[fate] for fate in KEPT)
            supervised += f" Their thinking was taken from {kept} judged answers of another model."
    parts = [
        _front(head),
        f"# {_md(about.name)}",
        f"A function-calling model: {_code(about.base)}, trained by FunReason on its own judged answers to the queries "
        f"of {_code(about.tasks)}. Weights {_code(about.weights)}.",
        "\n".join(f"- {_md(line)}" for line in (found.title, *found.sentences)) if found else "",
        supervised,
        f"## Gate\n\n{GATE}\n\n{_gate_table(state)}",
        "## Data\n\nAnswers of the model that passed five stages of judgement. *Repaired* and *reference* answers are "
        "supervised: they were written from known right answers.\n\n" + "\n".join(lines),
        "## Licence\n\n" + _licences(about),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def dataset_card(state: State, about: About, rows: int, origins: Counter[str]) -> str:
    """The data set's README in Markdown; `rows` and `origins` are of what was written."""
    head = {
        "license": about.data_license or "unknown",
        "task_categories": ["text-generation"],
        "tags": ["function-calling", "tool-use", "funreason"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "train.parquet"}]}],
    }
    columns = "\n".join(f"| `{name}` | {text} |" for name, text in COLUMNS.items())
    counts = "\n".join(f"| {_md(origin)} | {count} |" for origin, count in origins.most_common())
    parts = [
        _front(head),
        f"# Refined samples of {_md(about.name)}",
        f"{rows} answers to queries of {_code(about.tasks)} that a model gave itself and five stages of judgement "
        "kept: rows of one run, not a benchmark. A query may occur more than once.",
        f"| origin | rows |\n|---|---|\n{counts}",
        f"| column | what it holds |\n|---|---|\n{columns}",
        "## Licence\n\n" + _licences(about),
    ]
    return "\n\n".join(parts) + "\n"


def _front(head: dict[str, Any]) -> str:
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---"


def _gate_table(state: State) -> str:
    lines = ["| round | suite | items | old | new | 95 % | p | decision |", "|---|---|---|---|---|---|---|---|"]
    for k, r in sorted(state.rounds.items()):
        if r.gate is None:
            continue
        name = "start" if k == 0 else str(k)
        for suite, s in r.gate.by_slice.items():
            old, new = (f"{100 * right / max(1, s.total):.1f}" for right in (s.old, s.new))
            score = f"{s.total} | {old} | {new} | {100 * s.low:.1f}–{100 * s.high:.1f} | {s.p:.3f}"
            lines.append(f"| {name} | {_md(suite)} | {score} | {r.gate.decision} |")
            both = r.gate.balance_by_slice.get(suite)
            if both and both.has_both:
                balanced = f" | {100 * both.old:.1f} | {100 * both.new:.1f} |  | {both.p:.3f} |  |"
                lines.append(f"| {name} | {_md(suite)}, mean of calls and refusals |{balanced}")
        for suite, t in r.gate.text.items():
            bits = f"{t.tokens} tokens | {t.old:.4f} | {t.new:.4f} |  |  |  |"
            lines.append(f"| {name} | {_md(suite)}, bits per byte | {bits}")
    return "\n".join(lines)


def _licences(about: About) -> str:
    model, data = (f"{_md(word)}" if word else "not stated" for word in (about.license, about.data_license))
    return (
        f"Model: {model}. Data: {data}. Both follow from those of {_code(about.base)} and of {_code(about.tasks)}, "
        "look them up before you publish this."
    )


def _md(text: str) -> str:
    escaped = html.escape(plain(text), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|#" else c for c in escaped)


def _code(text: str) -> str:
    return f"`{plain(text).replace('`', chr(39)).replace('|', '/')}`"
