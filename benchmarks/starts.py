"""Runs that are a supervised start and nothing else, and tables that compare such runs item by item.

`start_only` plays one: a configuration's start, then a round that trains on nothing. What is measured are the weights
that the start trained, whatever the gate decided about them. `table` and `differences` put several arms, each over the
same seeds and the same items, side by side: calls right, refusals right, and their mean, the balanced accuracy.

BFCL's rule for irrelevance takes any output that cannot be read as a call for a refusal, a garbled call as well. A weak
model wins many items so. Beside that rule, refusals are counted *in words*: what is right and does not look like calls.
"""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evidence import KEEP_ALL

from funreason.bfcl.categories import wants_refusal
from funreason.calls.lenient import looks_like_calls
from funreason.calls.thinking import split_thinking
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
    "gate.refusals": "bfcl",
}
"""One round that samples nothing and trains on nothing: a configuration cannot have none."""


Marks = tuple[list[str], list[bool]]


class Start(NamedTuple):
    """What the start of one run came to.

    `marks` has, for each suite, the categories and whether each item is right; `words` the same with refusals in words.
    """

    arm: str
    seed: int
    trained: int
    cpu_s: int
    marks: dict[str, Marks]
    words: dict[str, Marks]
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
        reuse_base(folder, runs, tag)
        asyncio.run(play(settings, folder, StopRequest()))
        cost.write_text(json.dumps({"cpu_s": round(time.process_time() - began)}))
    state = folder.state()
    start = state.rounds[0]
    assert start.gate is not None
    assert start.chosen is not None
    weights = start.gate.new_weights
    results = json.loads((folder.path / "gate" / f"{weights}.json").read_text())
    marks = {suite: (names, right) for suite, (names, right, _) in results.items()}
    answers = folder.path / "gate" / "outputs" / weights
    found = Start(
        arm,
        seed,
        start.chosen.trained,
        json.loads(cost.read_text())["cpu_s"],
        marks,
        {suite: in_words(mark, answers / f"{suite}.jsonl") for suite, mark in marks.items()},
        messages(folder),
    )
    shares = {suite: f"{scores(mark)[2]:.1f}" for suite, mark in found.marks.items()}
    print(json.dumps({"arm": arm, "seed": seed, "trained": found.trained, "cpu_s": found.cpu_s} | shares), flush=True)
    return found


def reuse_base(folder: RunFolder, runs: Path, tag: str) -> None:
    """Copy the results of the base model from another run of these arms: the same weights on the same items."""
    done = next(runs.glob(f"{tag}-*/cost.json"), None)
    if done is not None:
        gate = RunFolder(done.parent).state().rounds[0].gate
        assert gate is not None
        (folder.path / "gate").mkdir(exist_ok=True)
        shutil.copy(done.parent / "gate" / f"{gate.old_weights}.json", folder.path / "gate")


def in_words(marks: Marks, outputs: Path) -> Marks:
    """The marks without refusals that look like calls which cannot be read."""
    answers = [split_thinking(json.loads(line)["output"]).answer for line in outputs.read_text().splitlines()]
    names, right = marks
    return names, [
        ok and not (wants_refusal(name) and looks_like_calls(answer))
        for name, ok, answer in zip(names, right, answers, strict=True)
    ]


def messages(folder: RunFolder) -> list[str]:
    """What the record's messages say, for those that speak of the data."""
    from funreason.record.events import LogMessage
    from funreason.record.log import LogReader

    texts = [event.text for event in LogReader(folder.events).events() if isinstance(event, LogMessage)]
    return [text for text in texts if "data.augment" in text or "thinking" in text]


def scores(marks: Marks) -> tuple[float, float, float]:
    """Calls right, refusals right and their mean, in percent; nan where a suite has no such items."""
    found = [
        statistics.fmean(items)
        if (items := [100 * ok for name, ok in zip(*marks, strict=True) if rule(name)])
        else math.nan
        for rule in (lambda name: not wants_refusal(name), wants_refusal)
    ]
    return found[0], found[1], statistics.fmean(share for share in found if not math.isnan(share))


def table(starts: Sequence[Start], suites: Sequence[str]) -> str:
    """One line an arm, means over its seeds: `calls / refusals (in words)`, what a suite has of them."""
    lines = ["| arm | references | " + " | ".join(suites) + " | CPU-s a run |", "|---" * (len(suites) + 3) + "|"]
    for arm in dict.fromkeys(start.arm for start in starts):
        rows = [start for start in starts if start.arm == arm]
        cells = []
        for suite in suites:
            calls, refusals, _ = map(statistics.fmean, zip(*(scores(r.marks[suite]) for r in rows), strict=True))
            words = statistics.fmean(scores(r.words[suite])[1] for r in rows)
            shown = [] if math.isnan(calls) else [f"{calls:.1f}"]
            cells.append(" / ".join(shown if math.isnan(refusals) else [*shown, f"{refusals:.1f} ({words:.1f})"]))
        trained = ", ".join(str(n) for n in dict.fromkeys(r.trained for r in rows))
        cost = round(statistics.fmean(r.cpu_s for r in rows))
        lines.append(f"| {arm} | {trained} | {' | '.join(cells)} | {cost} |")
    return "\n".join(lines)


def differences(starts: Sequence[Start], pairs: Sequence[tuple[str, str]], suites: Sequence[str]) -> str:
    """For each pair of arms and each suite the differences of calls, refusals and their mean, under both rules."""
    head = "| difference, points | suite | calls | refusals (in words) | balanced, 95 % over items; each seed |"
    lines = [f"{head} balanced in words |", "|---" * 6 + "|"]
    for one, other in pairs:
        both = [start for start in starts if start.arm in (one, other)]
        for suite in suites:
            marks = {(start.arm, start.seed): start.marks[suite] for start in both}
            words = {(start.arm, start.seed): start.words[suite] for start in both}
            calls, refusals, balanced = difference(marks, one, other)
            _, said, plain = difference(words, one, other)
            told = refusals if refusals == "–" else f"{refusals} ({said})"
            lines.append(f"| {one} − {other} | {suite} | {calls} | {told} | {balanced} | {plain} |")
    return "\n".join(lines)


def difference(marks: Mapping[tuple[str, int], Marks], one: str, other: str) -> tuple[str, str, str]:
    """Paired by item and averaged over seeds; the interval treats items as drawn, the seeds are listed apart."""
    seeds = sorted(seed for arm, seed in marks if arm == one)
    names = marks[one, seeds[0]][0]
    per_seed = [
        [100 * (x - y) for x, y in zip(marks[one, seed][1], marks[other, seed][1], strict=True)] for seed in seeds
    ]
    kinds = [[i for i, name in enumerate(names) if wants_refusal(name) == refusal] for refusal in (False, True)]
    items = [[statistics.fmean(seed[i] for seed in per_seed) for i in places] for places in kinds]
    shown = [f"{statistics.fmean(each):+.1f}" if each else "–" for each in items]
    known = [each for each in items if each]
    mean = statistics.fmean(map(statistics.fmean, known))
    half = 1.96 * math.sqrt(sum(statistics.variance(each) / len(each) for each in known)) / len(known)
    apart = ", ".join(
        f"{statistics.fmean(statistics.fmean(seed[i] for i in places) for places in kinds if places):+.1f}"
        for seed in per_seed
    )
    return shown[0], shown[1], f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f}); {apart}"
