"""What a played arm reached, read from its run folder into plain data that a results file keeps.

Every item's result is kept, so that tables and intervals can be made again without the run. BFCL's rule for irrelevance
takes any output that cannot be read as a call for a refusal, a garbled call as well, and a weak model wins many items
so. A refusal counts here only *in words*: where the answer does not look like a call either.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from funreason.bfcl.categories import wants_refusal
from funreason.bfcl.scores import LIVE_AST, NON_LIVE_AST, SIMPLE
from funreason.calls.lenient import looks_like_calls
from funreason.calls.thinking import split_thinking
from funreason.experiments.experiment import TableColumn
from funreason.record.folder import RunFolder
from funreason.record.log import RecordError
from funreason.record.rounds import RoundState

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
"""One letter for each category of a suite, so that a results file stays small."""


@dataclass(slots=True)
class ArmResult:
    """What one arm reached with one seed, as plain JSON data.

    `right[moment][suite]` has one letter for each item, `1` where it is right; `items[suite]` names the categories and
    has each item's, as a place in `DIGITS`. `bits[moment][suite]`: bits per byte of a suite of text. `series` is the
    recorded metric by optimizer step, of the first round that has it. `think_share`: thinking's share of the trained
    tokens of that round, which is the proportional alpha. `command`, `commit`, `cpu_s` and `wall_s`: what
    made the numbers; `resumed` says that the seconds are only those since the arm was resumed.
    """

    arm: str
    seed: int
    key: str
    run: str
    command: str
    commit: str
    cpu_s: float
    wall_s: float
    resumed: bool = False
    trained: list[int] = field(default_factory=list)
    by_category: list[dict[str, int]] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    right: dict[str, dict[str, str]] = field(default_factory=dict)
    bits: dict[str, dict[str, float]] = field(default_factory=dict)
    series: dict[str, list[float]] = field(default_factory=dict)
    think_share: float | None = None
    weights: dict[str, str] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """As plain JSON data."""
        return asdict(self)

    def categories(self, suite: str) -> list[str]:
        """The category of each item of a suite."""
        kept = self.items[suite]
        return [kept["names"][DIGITS.index(letter)] for letter in kept["of"]]


def measure(folder: RunFolder, **known: Any) -> ArmResult:
    """Read a finished run; `known` are the fields that the run's record does not hold.

    RecordError where the run has not measured its start, so that there is nothing to read.
    """
    state = folder.state()
    rounds = [state.rounds[k] for k in sorted(state.rounds) if state.rounds[k].ended]
    if not rounds or rounds[0].gate is None:
        raise RecordError(f"{folder.path} has no measured start: the arm was interrupted. The same command resumes it.")
    found = ArmResult(
        **known,
        trained=[r.chosen.trained if r.chosen else 0 for r in rounds],
        by_category=[r.chosen.by_category if r.chosen else {} for r in rounds],
        decisions=[r.gate.decision if r.gate else "" for r in rounds],
        series=_series(rounds),
    )
    steps = next((r.steps for r in rounds if r.steps), [])
    think, result = (sum(s.metrics.get(f"{part}_tokens", 0.0) for s in steps) for part in ("think", "result"))
    found.think_share = round(think / (think + result), 4) if think + result else None
    found.weights = {"base": rounds[0].gate.old_weights, "start": rounds[0].weights}
    found.weights |= {f"round {k}": r.weights for k, r in enumerate(rounds[1:], start=1)}
    found.weights["last"] = rounds[-1].weights
    for moment, weights in found.weights.items():
        found.right[moment], found.bits[moment] = {}, {}
        kept = json.loads((folder.path / "gate" / f"{weights}.json").read_text(encoding="utf-8"))
        for suite, result in kept.items():
            if len(result) == 1:  # documents: nats, tokens, bytes
                nats, length = (sum(document[i] for document in result[0]) for i in (0, 2))
                found.bits[moment][suite] = nats / math.log(2) / length
                continue
            categories, right = result[0], result[1]
            names = sorted(set(categories))
            found.items[suite] = {"names": names, "of": "".join(DIGITS[names.index(name)] for name in categories)}
            outputs = folder.path / "gate" / "outputs" / weights / f"{suite}.jsonl"
            lines = outputs.read_text(encoding="utf-8").splitlines() if outputs.exists() else []
            answers = [split_thinking(json.loads(line)["output"]).answer for line in lines]
            found.right[moment][suite] = "".join(
                "1" if ok and not (wants_refusal(name) and looks_like_calls(answer)) else "0"
                for name, ok, answer in zip(categories, right, answers or [""] * len(right), strict=True)
            )
    return found


def _series(rounds: Sequence[RoundState]) -> dict[str, list[float]]:
    """The metrics that a figure shows, by optimizer step, each from the first round that has it."""
    found: dict[str, list[float]] = {}
    for name in ("alpha", "loss_think", "loss_result", "reward"):
        for each in rounds:
            values = [round(step.metrics[name], 4) for step in each.steps if name in step.metrics]
            if values:
                found[name] = values
                break
    return found


def groups(column: TableColumn, categories: Sequence[str]) -> list[tuple[float, list[int]]]:
    """A column as a weighted mean of groups of items: (weight, places of the items); empty where an item is missing.

    Weights are those of BFCL: non-live is the mean of four kinds, simple being the mean of three languages; live
    counts every item alike; overall is the mean of both.
    """
    by_name: dict[str, list[int]] = {}
    for place, name in enumerate(categories):
        by_name.setdefault(name, []).append(place)
    refusals = [place for place, name in enumerate(categories) if wants_refusal(name)]
    calls = [place for place, name in enumerate(categories) if not wants_refusal(name)]
    live = [place for name in LIVE_AST for place in by_name.get(name, [])]
    weights: Mapping[str, float] = {name: 1 / 12 if name in SIMPLE else 1 / 4 for name in NON_LIVE_AST}
    non_live = [(weights[name], by_name[name]) for name in NON_LIVE_AST if name in by_name]
    complete = len(non_live) == len(NON_LIVE_AST)
    match column.kind:
        case "calls":
            found = [(1.0, calls)]
        case "refusals":
            found = [(1.0, refusals)]
        case "balanced":
            found = [(0.5, calls), (0.5, refusals)]
        case "non-live":
            found = non_live if complete else []
        case "live":
            found = [(1.0, live)]
        case "overall":
            found = [*((weight / 2, places) for weight, places in non_live), (0.5, live)] if complete else []
        case _:
            found = []
    return found if all(places for _, places in found) else []


def score(column: TableColumn, result: ArmResult, moment: str) -> float | None:
    """A column's number at a moment, in percent (or bits per byte); None where it was not measured."""
    if column.kind == "text":
        return result.bits.get(moment, {}).get(column.suite)
    right = result.right.get(moment, {}).get(column.suite)
    if right is None:
        return None
    parts = groups(column, result.categories(column.suite))
    if not parts:
        return None
    return 100 * sum(weight * sum(right[i] == "1" for i in places) / len(places) for weight, places in parts)
