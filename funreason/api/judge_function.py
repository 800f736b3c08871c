"""A custom judge made of a function, sync or async: `judge`."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from funreason.agents.judges.contract import Clause, broken, clauses
from funreason.agents.judges.custom import offer_object
from funreason.api.inputs import run_to_end
from funreason.config import Config, ConfigError
from funreason.stop import StopRequest
from funreason.types import Outcome, Sample

JudgeFunction = Callable[[Sample], Any]


class Judge:
    """A custom judge made of a function; see `judge`."""

    def __init__(
        self, function: JudgeFunction, *, name: str, after: str, edge: str, outcomes: Mapping[str, str]
    ) -> None:
        functools.update_wrapper(self, function)
        self.function, self.name, self.after, self.edge = function, name, after, edge
        self.outcomes = tuple(outcomes)
        self._routes = dict(outcomes)

    async def __call__(self, sample: Sample) -> Any:
        """The function's answer; True and False mean `pass` and `drop`."""
        if inspect.iscoroutinefunction(self.function):
            answer = await self.function(sample)
        else:  # a slow function must not hold up the others
            answer = await asyncio.to_thread(self.function, sample)
        return (Outcome.PASS if answer else Outcome.DROP) if isinstance(answer, bool) else answer

    def test(self) -> JudgeReport:
        """Try the judge on ordinary and adversarial samples, as `funreason agents test` does."""
        return JudgeReport(self.name, run_to_end(clauses(self, self.outcomes), StopRequest()))

    def entry(self) -> dict[str, Any]:
        """The judge as an entry of the configuration's `agents`."""
        return {
            "name": self.name,
            "agent": offer_object(self.name, self),
            "after": self.after,
            "edge": self.edge,
            "outcomes": self._routes,
        }


@dataclass(frozen=True, repr=False)
class JudgeReport:
    """What a judge's test found, clause by clause. As text it is a table."""

    judge: str
    clauses: Sequence[Clause]

    @property
    def passed(self) -> bool:
        """Whether no clause is broken."""
        return not broken(self.clauses)

    def __str__(self) -> str:
        signs = {"kept": "✓", "broken": "✗"}
        rows = [f"{signs.get(clause.sign, '·')} {clause.name:<12} {clause.said}" for clause in self.clauses]
        return "\n".join([*rows, f"{self.judge} {'passes' if self.passed else 'fails'}"])

    def __repr__(self) -> str:
        return str(self)


@overload
def judge(function: JudgeFunction, /) -> Judge: ...


@overload
def judge(
    *, name: str | None = None, after: str = "cot", edge: str = "pass", outcomes: Mapping[str, str] | None = None
) -> Callable[[JudgeFunction], Judge]: ...


def judge(
    function: JudgeFunction | None = None,
    /,
    *,
    name: str | None = None,
    after: str = "cot",
    edge: str = "pass",
    outcomes: Mapping[str, str] | None = None,
) -> Judge | Callable[[JudgeFunction], Judge]:
    """Make a judge of a function, sync or async, from a `Sample` to a verdict.

        @judge(after="cot")
        def short(sample):
            return len((sample.thinking or "").split()) <= 200

    Args:
        name: the judge's node in the graph; default: the function's name.
        after: the node whose `edge` the judge is put on.
        edge: the outcome of that node.
        outcomes: outcomes beyond `pass`, `drop` and `error`, and the node each leads to.

    Returns:
        A judge for the `judges` of `refine` and `run_loop`. The function answers with True (pass), False (drop), an
        outcome's name or a `Verdict`.
    """

    def decorated(function: JudgeFunction) -> Judge:
        own = name or str(getattr(function, "__name__", type(function).__name__))
        return Judge(function, name=own, after=after, edge=edge, outcomes=outcomes or {})

    return decorated if function is None else decorated(function)


def with_judges(config: Config, judges: Sequence[Judge | JudgeFunction | str]) -> Config:
    """The configuration with these judges beside those it names."""
    entries: list[dict[str, Any]] = []
    for i, given in enumerate(judges):
        if isinstance(given, str):
            entries.append({"name": given.rpartition(":")[2] or f"judge_{i}", "agent": given})
        elif isinstance(given, Judge):
            entries.append(given.entry())
        elif callable(given):
            entries.append(judge(given).entry())
        else:
            raise ConfigError(f"judges[{i}] is {given!r}; give a function, a judge made by `judge`, or `module:name`.")
    if not entries:
        return config
    data, new = config.model_dump(), {entry["name"] for entry in entries}
    kept = [entry for entry in data["agents"] if entry["name"] not in new]  # of a run that is continued
    return Config.model_validate(data | {"agents": [*kept, *entries]})
