"""The evaluator: measures new weights on the gate's items and says whether they stay.

Each set of weights answers the suites once, greedily; its marks are kept in `gate/<weights id>.json`, so the
accepted weights are never measured twice and a resumed run repeats nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from funreason.bfcl import check, check_any
from funreason.gate.items import GateSuite
from funreason.gate.rule import Marks, Pair, Rule, by_category, compare, decide, pooled
from funreason.policies.policy import Ask, Policy
from funreason.record.events import Gated
from funreason.record.folder import write_json, write_whole
from funreason.types import Accepted, Candidate

START = 0


class Evaluator:
    """Answers `updated` with `gated`."""

    def __init__(
        self,
        policy: Policy,
        suites: list[GateSuite],
        rule: Rule,
        folder: Path,
        write: Callable[[Gated], None],
    ) -> None:
        self.policy = policy
        self.suites = suites
        self.rule = rule
        self.folder = folder
        self.write = write
        self.accepted: Accepted | None = None
        self.start: Mapping[str, Marks] = {}

    async def __call__(self, message: object) -> str:
        """The evaluator takes no samples; it is asked by signal."""
        raise TypeError("the evaluator answers the signal `updated`, it takes no samples: check the graph's edges")

    async def on_signal(self, name: str, candidate: Candidate) -> tuple[str, Accepted]:
        """Measure the candidate, compare, decide; the answer is which weights to go on with."""
        old, new = self.accepted, Accepted(candidate.weights_id, candidate.folder)
        if old is None:
            raise RuntimeError("the evaluator was asked to compare before `measure_start`")
        old_marks, new_marks = await self.measure(old), await self.measure(new)
        word = self._decide(candidate.round, old.weights_id == new.weights_id, old_marks, new_marks)
        gated = self._gated(candidate.round, old.weights_id, new.weights_id, old_marks, new_marks, word)
        self.write(gated)
        if gated.decision == "promote":
            self.accepted = new
        return "gated", self.accepted or old

    async def refuse(self, round: int, reason: str) -> Accepted:
        """Say `rollback` for an update that gave no weights to measure; the answer is which weights to go on with."""
        here = self.accepted
        if here is None:
            raise RuntimeError("the evaluator was asked to refuse before `measure_start`")
        marks = await self.measure(here)
        self.write(self._gated(round, here.weights_id, here.weights_id, marks, marks, ("rollback", reason)))
        return here

    async def measure_start(self, weights: Accepted) -> None:
        """Take `weights` as those to beat, and as the height guards are held to."""
        self.start = await self.measure(weights)
        self.accepted = weights

    def as_start(self) -> Gated:
        """The measurement of the start as an event: nothing was compared, nothing decided."""
        if self.accepted is None:
            raise RuntimeError("`measure_start` comes first")
        here = self.accepted.weights_id
        return self._gated(START, here, here, self.start, self.start, ("start", "measured, nothing compared"))

    async def measure(self, weights: Accepted) -> dict[str, Marks]:
        """The marks of every suite under `weights`, measured now or read from an earlier measurement."""
        path = self.folder / f"{weights.weights_id}.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        for suite in self.suites:
            if suite.name not in found:
                await self.policy.load(weights.folder, weights.weights_id)
                found[suite.name] = list(await self._mark(suite))
                write_json(path, found)
        return {suite.name: Marks(*found[suite.name]) for suite in self.suites}

    async def _mark(self, suite: GateSuite) -> Marks:
        asks = [Ask(case.id, task) for case, task in zip(suite.cases, suite.tasks, strict=True)]
        completions = await self.policy.ask(asks, greedy=True)
        outputs = [self.policy.split(answers[0].text).answer for answers in completions]
        self._keep_outputs(suite, [answers[0].text for answers in completions])
        return Marks(
            [case.category for case in suite.cases],
            [check(case, output).valid for case, output in zip(suite.cases, outputs, strict=True)],
            [check_any(case, output).valid for case, output in zip(suite.cases, outputs, strict=True)],
        )

    def _keep_outputs(self, suite: GateSuite, texts: list[str]) -> None:
        """Before the marks, and whole: where there are marks, there is what they were given for, once."""
        lines = [{"id": case.id, "output": text} for case, text in zip(suite.cases, texts, strict=True)]
        path = self.folder / "outputs" / self.policy.weights_id / f"{suite.name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, "".join(msgspec.json.encode(line).decode() + "\n" for line in lines))

    def _pairs(self, old: Mapping[str, Marks], new: Mapping[str, Marks]) -> list[Pair]:
        return [Pair(s.name, s.role, old[s.name], new[s.name], self.start[s.name].accuracy) for s in self.suites]

    def _decide(self, round: int, same: bool, old: Mapping[str, Marks], new: Mapping[str, Marks]) -> tuple[str, str]:
        if same:
            return "hold", "the weights did not change"
        pairs = self._pairs(old, new)
        if round == START:  # the warm-up is asked for and supervised: guards are held to what it leaves, not before
            pairs = [pair._replace(role="watch") if pair.role == "guard" else pair for pair in pairs]
        return decide(self.rule, pairs)

    def _gated(
        self,
        round: int,
        old_id: str,
        new_id: str,
        old: Mapping[str, Marks],
        new: Mapping[str, Marks],
        word: tuple[str, str],
    ) -> Gated:
        pairs = self._pairs(old, new)
        old_all, new_all = pooled([p for p in pairs if p.role == "decide"] or pairs)
        return Gated(
            round=round,
            decision=word[0],
            reason=word[1],
            old_weights=old_id,
            new_weights=new_id,
            overall=compare(old_all, new_all),
            by_category=by_category(old_all, new_all),
            by_slice={p.name: compare(p.old, p.new) for p in pairs},
        )
