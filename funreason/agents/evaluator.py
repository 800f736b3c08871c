"""The evaluator: measures new weights on the gate's items and decides whether they are accepted.

Each set of weights answers the suites once, greedily; its results are kept in `gate/<weights id>.json`, so the
accepted weights are never measured twice and a resumed run repeats nothing. The decision takes effect only when it has
come back to the generator: an agent on its way may still refuse it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec

from funreason.bfcl import check_any, check_in
from funreason.bfcl.categories import wants_refusal
from funreason.bus.agent import Emit
from funreason.calls.lenient import looks_like_calls
from funreason.config import ConfigError, Gate
from funreason.errors import BrokenWeights
from funreason.evaluation.sandbox import run_program
from funreason.evaluation.text import DocumentLoss, TextLoss, text_loss
from funreason.gate.items import GateSuite
from funreason.gate.rule import (
    SuiteComparison,
    SuiteResult,
    TextComparison,
    balance,
    by_category,
    compare,
    decide,
    pooled,
    without_skill,
)
from funreason.policies.policy import GenerateRequest, Policy
from funreason.record.events import GateDecided, LogMessage, TextScore
from funreason.record.folder import write_json, write_whole
from funreason.types import Candidate, Decision, Weights, refusal
from funreason.weights import START, WeightStore

Results = Mapping[str, SuiteResult | TextLoss]
"""What one set of weights reached, by suite."""


class Evaluator:
    """Answers a `Candidate` with a `Decision`.

    Args:
        read_model: the model in a folder of weights, for suites of text where the sampler runs no model of its own.
    """

    def __init__(
        self,
        policy: Policy,
        suites: list[GateSuite],
        rule: Gate,
        folder: Path,
        weights: WeightStore,
        write: Callable[[GateDecided | LogMessage], None],
        read_model: Callable[[Path], Any] | None = None,
    ) -> None:
        self.policy = policy
        self.suites = suites
        self.rule = rule
        self.folder = folder
        self.weights = weights
        self.write = write
        self.read_model = read_model

    async def __call__(self, candidate: Candidate) -> Emit:
        """Measure the candidate beside the accepted weights, compare, decide."""
        round, old = candidate.round, self.weights.accepted
        old_results = await self.measure(old)
        start = await self.measure(self.weights.start) if self.weights.start is not None else old_results
        refused = refusal(candidate.verdicts)
        failure = candidate.failure or (f"{refused.stage}: {refused.reason or 'refused'}" if refused else "")
        new, new_results = candidate.weights, old_results
        if not failure:
            try:
                new_results = await self.measure(candidate.weights)
            except BrokenWeights as error:
                if round == START:
                    raise
                failure = f"the update failed: {error}"
        if failure:
            new, decision, reason = old, "rollback", failure
        else:
            decision, reason = self._decide(round, old.id == new.id, old_results, new_results, start)
        self.write(self._event(round, old.id, new.id, old_results, new_results, start, decision, reason))
        return Emit("accepted", Decision(round, decision, reason, current=old, candidate=new))

    async def measure_base(self, *, as_start: bool, warn: bool = True) -> None:
        """Measure the weights the run starts with, before anything is trained.

        `as_start`: nothing will be trained before the first round, so this measurement is the record's start. `warn`
        writes a warning about a model that never calls, or always.
        """
        base = self.weights.base
        results = await self.measure(base)
        if warn and (text := without_skill(self._pairs(results, results, results))):
            self.write(LogMessage(level="warning", text=text, round=START))
        if as_start:
            said = ("start", "measured, nothing compared")
            self.write(self._event(START, base.id, base.id, results, results, results, *said))

    async def measure(self, weights: Weights) -> dict[str, SuiteResult | TextLoss]:
        """The results of every suite under `weights`, measured now or read from an earlier measurement."""
        path, unfinished = (self.folder / name for name in (f"{weights.id}.json", f".{weights.id}.partial"))
        found = json.loads(path.read_text()) if path.exists() else _unsealed(unfinished)
        missing = [suite for suite in self.suites if suite.name not in found]
        for suite in missing:
            await self.policy.load(weights)
            found[suite.name] = list(await self._measure(suite, weights))
            # Results are written once: a file that was marked as written must not change.
            if suite is missing[-1]:
                write_json(path, found)
            else:
                write_whole(unfinished, _sealed(found))
        unfinished.unlink(missing_ok=True)
        return {
            suite.name: TextLoss([DocumentLoss(*each) for each in found[suite.name][0]])
            if suite.kind == "text"
            else SuiteResult(*found[suite.name])
            for suite in self.suites
        }

    async def _measure(self, suite: GateSuite, weights: Weights) -> SuiteResult | TextLoss:
        if suite.kind == "text":
            return await asyncio.to_thread(self._read, suite.texts, weights)
        # Programs are asked for as `funreason eval` asks: without what a prompt for calls adds.
        style = "plain" if suite.programs else ""
        asks = [GenerateRequest(task.id, task, style=style) for task in suite.tasks]
        fitting = [ask for ask in asks if self.policy.fits(ask.task, style=style)]
        answers = dict(zip([ask.id for ask in fitting], await self.policy.generate(fitting, greedy=True), strict=True))
        if len(fitting) < len(asks):
            text = (
                f"{len(asks) - len(fitting)} of {len(asks)} prompts of {suite.name} leave no room for an answer in the "
                "context; they are not asked, which is wrong where an answer is wanted and right where none is"
            )
            self.write(LogMessage(level="warning", text=text))
        texts = [answers[ask.id][0].text if ask.id in answers else "" for ask in asks]
        # Outputs before results, and whole: where there are results, there is what they were given for.
        lines = [{"id": task.id, "output": text} for task, text in zip(suite.tasks, texts, strict=True)]
        path = self.folder / "outputs" / self.policy.weights_id / f"{suite.name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, "".join(msgspec.json.encode(line).decode() + "\n" for line in lines))
        outputs, form = [self.policy.split(text).answer for text in texts], self.policy.call_format
        if suite.programs:
            asked = zip(suite.programs, outputs, strict=True)
            passed = await asyncio.to_thread(lambda: [run_program(p.program(o), p.test).passed for p, o in asked])
            return SuiteResult([suite.kind] * len(passed), passed, passed)
        answered = list(zip(suite.cases, outputs, strict=True))
        strict = [check_in(case, output, form).valid for case, output in answered]
        any_format = [check_any(case, output).valid for case, output in answered]
        if self.rule.refusals == "strict" and not suite.official:
            # The leaderboard's rule credits what cannot be decoded, so a weak model would gain by garbling its calls.
            for place, (case, output) in enumerate(answered):
                if wants_refusal(case.category):
                    any_format[place] &= not looks_like_calls(output)
                    strict[place] &= any_format[place]
        return SuiteResult([case.category for case in suite.cases], strict, any_format)

    def _read(self, texts: list[str], weights: Weights) -> TextLoss:
        model: Any = getattr(self.policy.sampler, "model", None)
        with nullcontext() if model is not None else self.policy.offloaded():
            if model is None and self.read_model is not None:
                model = self.read_model(weights.folder)
            loss = TextLoss(list(text_loss(model, self.policy.tokenizer, texts)))
        if not loss.tokens:
            raise ConfigError("gate.suites: no document of a suite of text has two tokens, so nothing is predicted")
        if not math.isfinite(loss.bits_per_byte):
            raise BrokenWeights(f"the weights {weights.id} give held-out text a likelihood that is not finite")
        return loss

    def _pairs(self, old: Results, new: Results, start: Results) -> list[SuiteComparison]:
        found = [(s, old[s.name], new[s.name], start[s.name]) for s in self.suites]
        return [
            SuiteComparison(s.name, s.role, a, b, c, s.kind)
            for s, a, b, c in found
            if isinstance(a, SuiteResult) and isinstance(b, SuiteResult) and isinstance(c, SuiteResult)
        ]

    def _texts(self, old: Results, new: Results, start: Results) -> list[TextComparison]:
        found = [(s, old[s.name], new[s.name], start[s.name]) for s in self.suites]
        return [
            TextComparison(s.name, s.role, a, b, c)
            for s, a, b, c in found
            if isinstance(a, TextLoss) and isinstance(b, TextLoss) and isinstance(c, TextLoss)
        ]

    def _decide(self, round: int, same: bool, old: Results, new: Results, start: Results) -> tuple[str, str]:
        if same:
            return "hold", "the weights did not change"
        return decide(self.rule, self._pairs(old, new, start), self._texts(old, new, start), start=round == START)

    def _event(
        self,
        round: int,
        old_id: str,
        new_id: str,
        old: Results,
        new: Results,
        start: Results,
        decision: str,
        reason: str,
    ) -> GateDecided:
        pairs = self._pairs(old, new, start)
        old_all, new_all = pooled([p for p in pairs if p.role == "decision"] or pairs)
        return GateDecided(
            round=round,
            decision=decision,
            reason=reason,
            old_weights=old_id,
            new_weights=new_id,
            overall=compare(old_all, new_all),
            by_category=by_category(old_all, new_all),
            by_slice={p.name: compare(p.old, p.new) for p in pairs},
            balance=balance(old_all, new_all),
            balance_by_slice={p.name: balance(p.old, p.new) for p in pairs if p.kind == "bfcl"},
            text={
                t.name: TextScore(t.new.tokens, *(x.bits_per_byte for x in (t.old, t.new, t.start)))
                for t in self._texts(old, new, start)
            },
        )


def _sealed(results: Mapping[str, Any]) -> str:
    """The results of some suites after a hash of them: no manifest lists a file that is written again."""
    text = json.dumps(results)
    return f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def _unsealed(path: Path) -> dict[str, Any]:
    """The results of the suites that were measured before a kill; nothing where there are none, or they are damaged."""
    try:
        told, _, text = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, ValueError):
        return {}
    found: dict[str, Any] = json.loads(text) if hashlib.sha256(text.encode()).hexdigest() == told else {}
    return found
