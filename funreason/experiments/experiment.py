"""What an experiment is: arms, rows of a table, comparisons, and the paper's numbers. Data only.

An arm is a configuration with changes; it may begin with the weights of another arm, and train on as many samples as
another arm did. A scale says at which size the arms are played: a configuration, its changes, and the columns that its
test suites give. A moment names weights along an arm: `base`, `start` (after supervised training), `round 1`, `last`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["calls", "refusals", "balanced", "non-live", "live", "overall", "text"]


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """As the value of a setting: the path of a file that is written before the arm is played; `text` names which."""

    text: Literal["references_without_thinking", "familiar_dialogues"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One configuration of an experiment: `changes` by dotted key, `at_scale` further ones by the scale's name.

    `starts_from` names the arm whose last weights this one begins with, in place of a supervised start. `counts_of`
    names the arm whose rounds say on how many samples of each category this one trains.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    starts_from: str = ""
    counts_of: str = ""
    at_scale: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class ArmPoint(NamedTuple):
    """Weights along an arm."""

    arm: str
    moment: str = "last"

    def __str__(self) -> str:
        return self.arm if self.moment == "last" else f"{self.arm}, {self.moment}"


class Row(NamedTuple):
    """A line of the table, with what the paper reports in its place."""

    label: str
    point: ArmPoint
    paper: str = ""


class ArmDifference(NamedTuple):
    """A difference that is asked for: the mean of some points minus the mean of others, on the same items."""

    label: str
    one: tuple[ArmPoint, ...]
    other: tuple[ArmPoint, ...]


class TableColumn(NamedTuple):
    """A number of the table: which items of which suite are counted, in percent; `text` is bits per byte."""

    name: str
    suite: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Scale:
    """At which size arms are played. `configs`: the first is played unless another is asked for."""

    name: str
    text: str
    configs: tuple[str, ...]
    changes: Mapping[str, Any]
    columns: tuple[TableColumn, ...]
    gpu: str = ""


@dataclass(frozen=True, slots=True)
class Experiment:
    """One table or figure of a paper.

    `method` is one that the configuration must know; `picture` draws the rows as a curve, a recorded `series` by
    optimizer step, or each row with its interval.
    """

    name: str
    title: str
    question: str
    source: str
    arms: tuple[Arm, ...]
    rows: tuple[Row, ...]
    comparisons: tuple[ArmDifference, ...]
    note: str = ""
    method: str = "srml"
    picture: Literal["curve", "series", "rows"] = "rows"
    series: str = ""

    def arm(self, name: str) -> Arm:
        """The arm of this name; KeyError for another name."""
        found = {arm.name: arm for arm in self.arms}
        return found[name]
