"""Exports a run as folders to publish: `model/`, `data/`, `llamafactory/`.

The export is built under another name and renamed at the end, so an existing folder is complete. The run is only read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from funreason.data.writers import write_sharegpt
from funreason.export.cards import About, dataset_card, model_card
from funreason.export.rows import refined, row, write_parquet
from funreason.record.folder import RecordError, RunFolder, read_settings
from funreason.record.state import State

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
        raise RecordError(f"--to {to} is there already; give a fresh folder")
    state = run.state()
    weights = accepted(run, state)
    config = read_settings(run)
    base, tasks = (str(config.get(part, {}).get("path", "unknown")) for part in ("model", "tasks"))
    about = About(run.name, base, tasks, license, data_license, weights.name)
    draft = to.with_name(f".{to.name}.{os.getpid()}.part")
    try:
        shutil.copytree(weights, draft / "model", copy_function=shutil.copyfile)  # readable by all, as a new file is
        (draft / "model" / "README.md").write_text(model_card(state, about), encoding="utf-8")
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
    for path in (run.path / "model", run.weights / state.weights if state.weights else None):
        if path is not None and path.is_dir():
            return path.resolve()
    raise RecordError(f"{run.path} has accepted no weights of its own yet: there is no model to export")
