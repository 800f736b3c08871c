"""The records that `refine` was given, as its folder remembers them: where they lay, and a hash of what was read.

A run that goes on must judge the very same ones: its verdicts name a sample by its id alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from funreason.record.folder import RecordError, RunFolder, write_json
from funreason.record.settings import RECORDS, REFINED, is_refining
from funreason.record.state import State
from funreason.record.types import Sample


def note_records(out: RunFolder, file: Path, samples: Sequence[Sample]) -> None:
    """Write down where the records lie and what they hold."""
    write_json(out.path / RECORDS, {"path": str(file.resolve()), "samples": len(samples), "sha256": _hash(samples)})


def records_file(out: RunFolder) -> Path:
    """Where the records lay. RecordError when the folder is not of a `refine` that had begun."""
    return Path(_noted(out)["path"])


def require_same(out: RunFolder, file: Path, samples: Sequence[Sample], past: State) -> None:
    """Raise RecordError unless these are the samples that the run began with."""
    noted = _noted(out)
    if noted["sha256"] == _hash(samples):
        return
    here = {sample.id for sample in samples}
    judged = {sample for _, sample in past.ended}.union(*(r.in_hand for r in past.rounds.values()))
    gone = sorted(judged - here)
    what = f"{len(gone)} samples that were judged are not in it, such as {gone[0]!r}" if gone else "some are changed"
    raise RecordError(
        f"{file} does not hold the records that {out.path} began with: {what}; it has {len(samples)} samples, and "
        f"the run began with {noted['samples']} of {noted['path']}. Give that file as it was, or refine this one into "
        "another --out."
    )


def _noted(out: RunFolder) -> dict[str, Any]:
    path = out.path / RECORDS
    if not path.exists() or not is_refining(out):
        raise RecordError(
            f"{out.path} has no {REFINED} and {RECORDS}, so there is no refining to go on with. A loop goes on with "
            "`funreason loop --resume`; else refine the file into another --out."
        )
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _hash(samples: Sequence[Sample]) -> str:
    digest, encoder = hashlib.sha256(), msgspec.json.Encoder()
    for sample in samples:
        digest.update(encoder.encode(sample) + b"\n")
    return digest.hexdigest()
