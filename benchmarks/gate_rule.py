"""How often the gate promotes noise, and how often it sees a real gain: a simulation of its rule.

    python benchmarks/gate_rule.py [--runs 1000] [--items 400 800 1200] [--unstable 0.12 0.26]

A model answers stable items always alike and unstable ones by a fair coin of each set of weights; `unstable` is their
share, so two sets of weights of equal skill differ on half as many items. A fifth of the items want no call. A true
gain of 3 points turns stable wrong items right, calls and refusals alike. `false` is the share of runs of three rounds
with at least one promotion where nothing changed; `power` the share of first rounds promoted where the gain is real.

The rules: `level P` is the gate's own (`gate.promote_p: P`), on the same items each round; `fresh P` draws new items
for each round and measures both weights on them; `two rounds P` pools a held candidate's items with the next one's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from funreason.bfcl.intervals import balanced_exact
from funreason.config import Gate
from funreason.gate.rule import SuiteComparison, SuiteResult, by_kind, decide

RIGHT, REFUSALS, ROUNDS, GAIN = 0.45, 0.2, 3, 0.03


class World:
    """Items of one gate, and what weights of a given skill answer on them."""

    def __init__(self, draw: np.random.Generator, items: int, unstable: float) -> None:
        self.draw, self.items, self.share = draw, items, unstable
        self.refusals = int(items * REFUSALS)
        self.fresh()

    def fresh(self) -> None:
        """Draw other items of the same kind."""
        self.unstable = self.draw.random(self.items) < self.share
        self.stable = self.draw.random(self.items) < RIGHT
        self.order = self.draw.random(self.items)

    def answers(self, skill: float) -> list[bool]:
        """What is right under new weights that are `skill` better than the first (a share of all items)."""
        learnt = self.order < skill / ((1 - self.share) * (1 - RIGHT))
        coin = self.draw.random(self.items) < 0.5
        right: list[bool] = np.where(self.unstable, coin, self.stable | learnt).tolist()
        return right

    def result(self, right: list[bool]) -> SuiteResult:
        """As the gate sees it."""
        calls = self.items - self.refusals
        return SuiteResult(["irrelevance"] * self.refusals + ["simple"] * calls, right, right)

    def promoted(self, old: list[bool], new: list[bool], level: float) -> bool:
        """The gate's word."""
        before, after = self.result(old), self.result(new)
        pair = SuiteComparison("gate", "decision", before, after, before)
        return decide(Gate(promote_p=level), [pair])[0] == "promote"

    def counts(self, old: list[bool], new: list[bool]) -> list[tuple[int, int, int]]:
        """Gained, lost and items of the calls and of the refusals."""
        scores = by_kind(self.result(old), self.result(new)).values()
        return [(score.gained, score.lost, score.total) for score in scores]


def level_rule(world: World, level: float, gain: float, rounds: int) -> bool:
    """Whether anything is promoted in `rounds` rounds on the same items."""
    old = world.answers(0.0)
    return any(world.promoted(old, world.answers(gain), level) for _ in range(rounds))


def fresh_rule(world: World, level: float, gain: float, rounds: int) -> bool:
    """The same on new items each round."""
    for _ in range(rounds):
        world.fresh()
        if world.promoted(world.answers(0.0), world.answers(gain), level):
            return True
    return False


def two_rounds_rule(world: World, level: float, gain: float, rounds: int) -> bool:
    """The same where a held candidate's items count again in the next round."""
    old, before = world.answers(0.0), [(0, 0, 0), (0, 0, 0)]
    for _ in range(rounds):
        now = world.counts(old, world.answers(gain))
        pooled = [tuple(a + b for a, b in zip(one, other, strict=True)) for one, other in zip(before, now, strict=True)]
        if sum((g - lost) / n for g, lost, n in pooled) > 0 and balanced_exact(pooled) <= level:
            return True
        before = now
    return False


RULES: dict[str, tuple[Callable[[World, float, float, int], bool], float]] = {
    "level 1 (any gain)": (level_rule, 1.0),
    "level 0.2": (level_rule, 0.2),
    "level 0.1": (level_rule, 0.1),
    "level 0.08": (level_rule, 0.08),
    "level 0.06": (level_rule, 0.06),
    "level 0.05": (level_rule, 0.05),
    "fresh 0.1": (fresh_rule, 0.1),
    "fresh 0.08": (fresh_rule, 0.08),
    "two rounds 0.08": (two_rounds_rule, 0.08),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--items", type=int, nargs="*", default=[400, 800, 1200])
    parser.add_argument("--unstable", type=float, nargs="*", default=[0.12, 0.26])
    given = parser.parse_args()
    print("| items | differ by chance | rule | false in 3 rounds | power at +3 points |\n|---|---|---|---|---|")
    for items in given.items:
        for unstable in given.unstable:
            for name, (rule, level) in RULES.items():
                draw = np.random.default_rng(0)
                worlds = [World(draw, items, unstable) for _ in range(given.runs)]
                false = sum(rule(world, level, 0.0, ROUNDS) for world in worlds) / given.runs
                power = sum(rule(world, level, GAIN, 1) for world in worlds) / given.runs
                print(f"| {items} | {unstable / 2:.0%} | {name} | {false:.1%} | {power:.1%} |", flush=True)


if __name__ == "__main__":
    main()
