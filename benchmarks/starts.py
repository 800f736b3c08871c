"""Runs that are a supervised start and nothing else, and tables that compare such runs item by item.

`start_only` plays one: a configuration's start, then a round that trains on nothing. What is measured are the weights
that the start trained, whatever the gate decided about them. `table` and `differences` put several arms, each over the
same seeds and the same items, side by side: calls right, refusals right, and their mean, the balanced accuracy.
"""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evidence import KEEP_ALL

from funreason.bfcl.categories import wants_refusal
from funreason.config import load_config
from funreason.loops.self_refinement import new_run, play
from funreason.record.folder import RunFolder
from funreason.stop import StopRequest

NO_ROUNDS: dict[str, Any] = {
    "rounds": 1,
    "train.data": "references",
    "train.exact_counts": [{}],
    "train.update.replay": None,
    "train.max_category_share": {},
    "fcdr.regenerate": [],
}
"""One round that samples nothing and trains on nothing: a configuration cannot have none."""


class Start(NamedTuple):
    """What the start of one run came to. `marks` has, for each suite, the categories and whether each item is right."""

    arm: str
    seed: int
    trained: int
    cpu_s: int
    marks: dict[str, tuple[list[str], list[bool]]]
    messages: list[str]


def start_only(arm: str, seed: int, changes: dict[str, Any], *, config: str, runs: Path, tag: str) -> Start:
    """Play one run, or read it back when it is there already."""
    name = f"{tag}-{arm.replace(', ', '-')}-{seed}"
    settings = load_config(
        config, NO_ROUNDS | KEEP_ALL | changes | {"name": name, "seed": seed, "run_dir": str(runs), "model.threads": 1}
    )
    folder = RunFolder(runs / name)
    cost = folder.path / "cost.json"
    if not cost.exists():
        began = time.process_time()
        folder = new_run(settings)
        asyncio.run(play(settings, folder, StopRequest()))
        cost.write_text(json.dumps({"cpu_s": round(time.process_time() - began)}))
    state = folder.state()
    start = state.rounds[0]
    assert start.gate is not None
    assert start.chosen is not None
    marks = json.loads((folder.path / "gate" / f"{start.gate.new_weights}.json").read_text())
    found = Start(
        arm,
        seed,
        start.chosen.trained,
        json.loads(cost.read_text())["cpu_s"],
        {suite: (names, right) for suite, (names, right, _) in marks.items()},
        messages(folder),
    )
    shares = {suite: f"{scores(found, suite)[2]:.1f}" for suite in found.marks}
    print(json.dumps({"arm": arm, "seed": seed, "trained": found.trained, "cpu_s": found.cpu_s} | shares), flush=True)
    return found


def messages(folder: RunFolder) -> list[str]:
    """What the record's messages say, for those that speak of the data."""
    from funreason.record.events import LogMessage
    from funreason.record.log import LogReader

    texts = [event.text for event in LogReader(folder.events).events() if isinstance(event, LogMessage)]
    return [text for text in texts if "data.augment" in text or "thinking" in text]


def scores(start: Start, suite: str) -> tuple[float, float, float]:
    """Calls right, refusals right and their mean, in percent; nan where a suite has no such items."""
    names, right = start.marks[suite]
    kinds = [
        100 * statistics.fmean(found)
        if (found := [ok for n, ok in zip(names, right, strict=True) if rule(n)])
        else math.nan
        for rule in (lambda name: not wants_refusal(name), wants_refusal)
    ]
    known = [share for share in kinds if not math.isnan(share)]
    return kinds[0], kinds[1], statistics.fmean(known)


def table(starts: Sequence[Start], suites: Sequence[str]) -> str:
    """One line an arm: means over its seeds, as `calls / refusals = balanced` where a suite has both."""
    head = "| arm | references | " + " | ".join(suites) + " | CPU-s a run |"
    lines = [head, "|---" * (len(suites) + 3) + "|"]
    for arm in dict.fromkeys(start.arm for start in starts):
        rows = [start for start in starts if start.arm == arm]
        cells = []
        for suite in suites:
            calls, refusals, both = (
                statistics.fmean(column) for column in zip(*(scores(r, suite) for r in rows), strict=True)
            )
            one = math.isnan(calls) or math.isnan(refusals)
            cells.append(f"{both:.1f}" if one else f"{calls:.1f} / {refusals:.1f} = {both:.1f}")
        trained = ", ".join(str(n) for n in dict.fromkeys(r.trained for r in rows))
        cost = round(statistics.fmean(r.cpu_s for r in rows))
        lines.append(f"| {arm} | {trained} | {' | '.join(cells)} | {cost} |")
    return "\n".join(lines)


def differences(starts: Sequence[Start], pairs: Sequence[tuple[str, str]], suites: Sequence[str]) -> str:
    """For each pair of arms and each suite the difference of the balanced accuracy, of calls and of refusals."""
    lines = [
        "| difference, points | suite | calls | refusals | balanced (95 % over items) | each seed |",
        "|---" * 6 + "|",
    ]
    for one, other in pairs:
        for suite in suites:
            calls, refusals, balanced, seeds = difference(starts, one, other, suite)
            lines.append(f"| {one} − {other} | {suite} | {calls} | {refusals} | {balanced} | {seeds} |")
    return "\n".join(lines)


def difference(starts: Sequence[Start], one: str, other: str, suite: str) -> tuple[str, str, str, str]:
    """Paired by item and averaged over seeds; the interval treats items as drawn, the seeds are listed apart."""
    pairs = [
        (a.marks[suite], b.marks[suite])
        for a in starts
        for b in starts
        if a.arm == one and b.arm == other and a.seed == b.seed
    ]
    names = pairs[0][0][0]
    per_seed = [[x - y for x, y in zip(a[1], b[1], strict=True)] for a, b in pairs]
    kinds = [[i for i, name in enumerate(names) if wants_refusal(name) == refusal] for refusal in (False, True)]
    means, variances, shown = [], [], []
    for places in kinds:
        items = [100 * statistics.fmean(seed[i] for seed in per_seed) for i in places]
        if not items:
            shown.append("–")
            continue
        means.append(statistics.fmean(items))
        variances.append(statistics.variance(items) / len(items))
        shown.append(f"{means[-1]:+.1f}")
    mean, half = statistics.fmean(means), 1.96 * math.sqrt(sum(variances)) / len(variances)
    seeds = ", ".join(
        f"{statistics.fmean(100 * statistics.fmean(seed[i] for i in places) for places in kinds if places):+.1f}"
        for seed in per_seed
    )
    return shown[0], shown[1], f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})", seeds
