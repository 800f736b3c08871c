"""What a run came to, so that two runs can be compared: all that must not depend on how often it was broken off."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from funreason.record import events as ev
from funreason.record.folder import RunFolder, hash_file
from funreason.record.log import LogReader
from funreason.record.sample_files import CANARIES, ENDS

FLEETING = ("events", "run.json", "config.yaml")
"""What two runs of the same seed need not share: when things happened and by whom."""


def outcome(path: Path) -> dict[str, Any]:
    """Samples, weights, gate numbers, counts and files of a run, by name."""
    folder = RunFolder(path)
    state, rounds = folder.state(), sorted(path.glob("round-*"))
    told = list(LogReader(folder.events).events())
    found: dict[str, Any] = {
        "status": state.status,
        "life": (folder.writer_status() or ("none",))[0],
        "weights": {p.parent.name: hash_file(p) for p in sorted((path / "weights").glob("[!.]*/model.safetensors"))},
        "link": str((path / "model").readlink()),
        "gates": [_timeless(r.gate) for _, r in sorted(state.rounds.items())],
        "chosen": [_timeless(r.chosen) for _, r in sorted(state.rounds.items())],
        "steps": [[(s.step, _without_speed(s.metrics)) for s in r.steps] for _, r in sorted(state.rounds.items())],
        "refused": dict(state.refused),
        "gate marks": {p.name: json.loads(p.read_text()) for p in (path / "gate").glob("*.json")},
        "files": sorted(_files(path)),
        "judged twice": _twice((e.round, e.sample, e.attempt, e.node) for e in told if isinstance(e, ev.Judged)),
        "ended twice": _twice((e.round, e.sample) for e in told if isinstance(e, ev.SampleEnded)),
    }
    for folder_k in rounds:
        k = int(folder_k.name.removeprefix("round-"))
        for kind in ("sampled", *ENDS):
            found[f"round {k} {kind}"] = sorted(map(msgspec.json.encode, folder.texts(k).get(kind)))
        found[f"round {k} canaries"] = sorted(map(msgspec.json.encode, folder.texts(k).get(CANARIES)))
        found[f"round {k} judges"] = {name: health.summary() for name, health in state.rounds[k].health.items()}
        found[f"round {k} stages"] = {n: (dict(c.outcomes), dict(c.reasons)) for n, c in state.rounds[k].nodes.items()}
        found[f"round {k} fates"] = dict(state.rounds[k].fates)
        found[f"round {k} credits"] = sorted(map(str, folder.texts(k).credits().values()))
    for log in sorted((path / "gate").glob("outputs/*/*.jsonl")):
        found[f"outputs {log.parent.name} {log.name}"] = sorted(log.read_bytes().splitlines())
    return found


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """A line for each name under which the two are not the same."""
    wrong = []
    for name in sorted(expected.keys() | found.keys()):
        a, b = expected.get(name), found.get(name)
        if a != b:
            wrong.append(f"{name}: {_first_difference(a, b)}")
    return wrong


def _first_difference(a: Any, b: Any) -> str:
    if isinstance(a, list) and isinstance(b, list):
        gone, new = _less(a, b), _less(b, a)
        return f"{len(a)} → {len(b)}; missing {str(gone[:1])[:600]}; more {str(new[:1])[:600]}"
    return f"{str(a)[:600]} → {str(b)[:600]}"


def _less(a: list[Any], b: list[Any]) -> list[Any]:
    left = Counter(map(repr, b))
    return [x for x in a if (left.subtract([repr(x)]) or left[repr(x)] < 0)]


def _timeless(event: Any) -> Any:
    return None if event is None else msgspec.structs.replace(event, at=0.0)


def _without_speed(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("seconds") and name != "tokens_per_s"}


def _files(path: Path) -> list[str]:
    names = (p.relative_to(path).as_posix() for p in path.rglob("*"))
    return [name for name in names if name.split("/")[0] not in FLEETING]


def _twice(keys: Any) -> list[Any]:
    return sorted(key for key, count in Counter(keys).items() if count > 1)
