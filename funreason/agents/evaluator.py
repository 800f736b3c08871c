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
from funreason.gate.rule import Rule, SuiteComparison, SuiteResult, by_category, compare, decide, pooled
from funreason.policies.policy import GenerateRequest, Policy
from funreason.record.events import GateDecided
from funreason.record.folder import write_json, write_whole
from funreason.types import Candidate, Weights

START = 0


class Evaluator:
    """Answers `updated` with `gated`."""

    def __init__(
        self,
        policy: Policy,
        suites: list[GateSuite],
        rule: Rule,
        folder: Path,
        write: Callable[[GateDecided], None],
    ) -> None:
        self.policy = policy
        self.suites = suites
        self.rule = rule
        self.folder = folder
        self.write = write
        self.accepted: Weights | None = None
        self.start: Mapping[str, SuiteResult] = {}

    async def __call__(self, message: object) -> str:
        """The evaluator takes no samples; it is asked by signal."""
        raise TypeError("the evaluator answers the signal `updated`, it takes no samples: check the graph's edges")

    async def on_signal(self, name: str, candidate: Candidate) -> tuple[str, Weights]:
        """Measure the candidate, compare, decide; the answer is which weights to go on with."""
        old, new = self.accepted, Weights(candidate.weights_id, candidate.folder)
        if old is None:
            raise RuntimeError("the evaluator was asked to compare before `set_baseline`")
        old_marks, new_marks = await self.measure(old), await self.measure(new)
        word = self._decide(candidate.round, old.id == new.id, old_marks, new_marks)
        gated = self._gated(candidate.round, old.id, new.id, old_marks, new_marks, word)
        self.write(gated)
        if gated.decision == "promote":
            self.accepted = new
        return "gated", self.accepted or old

    async def refuse(self, round: int, reason: str) -> Weights:
        """Say `rollback` for an update that gave no weights to measure; the answer is which weights to go on with."""
        here = self.accepted
        if here is None:
            raise RuntimeError("the evaluator was asked to refuse before `set_baseline`")
        marks = await self.measure(here)
        self.write(self._gated(round, here.id, here.id, marks, marks, ("rollback", reason)))
        return here

    async def set_baseline(self, weights: Weights) -> None:
        """Take `weights` as those to beat, and as the height guards are held to."""
        self.start = await self.measure(weights)
        self.accepted = weights

    def baseline_event(self) -> GateDecided:
        """The measurement of the start as an event: nothing was compared, nothing decided."""
        if self.accepted is None:
            raise RuntimeError("`set_baseline` comes first")
        here = self.accepted.id
        return self._gated(START, here, here, self.start, self.start, ("start", "measured, nothing compared"))

    async def measure(self, weights: Weights) -> dict[str, SuiteResult]:
        """The marks of every suite under `weights`, measured now or read from an earlier measurement."""
        path = self.folder / f"{weights.id}.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        for suite in self.suites:
            if suite.name not in found:
                await self.policy.load(weights)
                found[suite.name] = list(await self._mark(suite))
                write_json(path, found)
        return {suite.name: SuiteResult(*found[suite.name]) for suite in self.suites}

    async def _mark(self, suite: GateSuite) -> SuiteResult:
        asks = [GenerateRequest(case.id, task) for case, task in zip(suite.cases, suite.tasks, strict=True)]
        completions = await self.policy.generate(asks, greedy=True)
        outputs = [self.policy.split(answers[0].text).answer for answers in completions]
        self._keep_outputs(suite, [answers[0].text for answers in completions])
        return SuiteResult(
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

    def _pairs(self, old: Mapping[str, SuiteResult], new: Mapping[str, SuiteResult]) -> list[SuiteComparison]:
        return [
            SuiteComparison(s.name, s.role, old[s.name], new[s.name], self.start[s.name].accuracy) for s in self.suites
        ]

    def _decide(
        self, round: int, same: bool, old: Mapping[str, SuiteResult], new: Mapping[str, SuiteResult]
    ) -> tuple[str, str]:
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
        old: Mapping[str, SuiteResult],
        new: Mapping[str, SuiteResult],
        word: tuple[str, str],
    ) -> GateDecided:
        pairs = self._pairs(old, new)
        old_all, new_all = pooled([p for p in pairs if p.role == "decide"] or pairs)
        return GateDecided(
            round=round,
            decision=word[0],
            reason=word[1],
            old_weights=old_id,
            new_weights=new_id,
            overall=compare(old_all, new_all),
            by_category=by_category(old_all, new_all),
            by_slice={p.name: compare(p.old, p.new) for p in pairs},
        )
