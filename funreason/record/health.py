"""How well judges judge: errors on canaries, and agreement with themselves, folded from events.

Rates are shares of what was asked and answered; None, not 0, where nothing was.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from funreason.record.events import AskedTwice, Examined


@dataclass(slots=True)
class JudgeHealth:
    """One judge in one round: its canaries, and samples it was asked twice."""

    bad: int = 0
    passed: int = 0
    good: int = 0
    dropped: int = 0
    errors: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    twice: int = 0
    agreed: int = 0
    seen: set[tuple[str, int]] = field(default_factory=set)
    """Samples and attempts asked twice: a run that goes on after a kill asks some of them again."""

    @property
    def tried(self) -> bool:
        """Whether it was shown canaries."""
        return bool(self.bad or self.good or self.errors)

    @property
    def false_pass(self) -> float | None:
        """The share of known bad samples that passed."""
        return self.passed / self.bad if self.bad else None

    @property
    def false_drop(self) -> float | None:
        """The share of known good samples that did not pass."""
        return self.dropped / self.good if self.good else None

    @property
    def agreement(self) -> float | None:
        """The share of samples asked twice that got the same outcome twice."""
        return self.agreed / self.twice if self.twice else None

    def examined(self, event: Examined) -> None:
        """Take an examination; a later one replaces an earlier one of the same round."""
        self.bad, self.passed, self.good, self.dropped = event.bad, event.passed, event.good, event.dropped
        self.errors, self.missed = event.errors, Counter(event.missed)

    def asked_twice(self, event: AskedTwice) -> None:
        """Count a sample once, however often the log has it."""
        here = (event.sample, event.attempt)
        if here not in self.seen:
            self.seen.add(here)
            self.twice += 1
            self.agreed += event.first == event.second

    def summary(self) -> dict[str, Any]:
        """As plain JSON data."""
        counts = ("bad", "passed", "good", "dropped", "errors", "twice", "agreed")
        rates = ("false_pass", "false_drop", "agreement")
        return {name: getattr(self, name) for name in (*counts, *rates)} | {"missed": dict(self.missed)}
