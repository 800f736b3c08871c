"""The regenerator: another answer for a sample that stage 4 or 5 sent back. It asks no model but the sampler.

Four ways, tried in the configured order:
- rerender: what parses in some format is written in the one the model is taught. The meaning stays, so only stage 5
  judges again.
- rewrite: what an LLM judge offered in place of the answer it refused. Its thinking was judged against another call.
- resample: the model answers the query again. Nothing of the old answer is left, so all stages judge again.
- repair: the reference's calls are written out. That is supervised data and marked so; the thinking is kept only if
  it leads to them. Where resampling comes before it in the order, it waits for the last attempt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from funreason.agents.judges.rules.cot_check import thinking_problem
from funreason.agents.judges.rules.verdicts import calls_in
from funreason.bus.agent import Emit
from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.calls.render import CallRenderError, render_call
from funreason.types import Call, Sample, Task, changed

Resample = Callable[[list[Sample]], Awaitable[list[Sample]]]
FORMAT_STAGE = "format"
WAYS = ("rerender", "rewrite", "resample", "repair")


class Regenerator:
    """Answers a batch of samples, each already on its next attempt, with one `Emit` for each.

    Outcomes: `reformatted` (another form of the same calls), `rewritten` (a judge's or the reference's calls),
    `resampled` (a new answer of the sampler), `exhausted` (nothing more can be tried).
    """

    def __init__(
        self,
        resample: Resample | None,
        *,
        order: Sequence[str] = WAYS,
        max_attempts: int = 3,
        form: CallFormat = PYTHONIC,
    ) -> None:
        unknown = [way for way in order if way not in WAYS]
        if unknown:
            raise ValueError(f"regenerate: {unknown[0]!r} is not known; choose from {', '.join(WAYS)}")
        self.resample = resample
        self.order = tuple(way for way in order if way != "resample" or resample is not None)
        self.max_attempts = max_attempts
        self.form = form

    async def __call__(self, samples: list[Sample]) -> list[Emit]:
        """One `Emit` per sample, in order; all samples that need the sampler go to it in one call."""
        answers = [self._without_model(sample) for sample in samples]
        waiting = [sample for sample, answer in zip(samples, answers, strict=True) if answer is None]
        fresh = {new.id: new for new in await self.resample(waiting)} if waiting and self.resample else {}
        return [answer or _fresh(sample, fresh) for sample, answer in zip(samples, answers, strict=True)]

    def _without_model(self, sample: Sample) -> Emit | None:
        """The first way that works; None when it is the sampler's turn."""
        for way in self.order:
            if way == "resample":
                yields = resampling_yields(self.order, sample.attempt, self.max_attempts)
                if not (yields and repaired(sample, self.form) is not None):
                    return None
                continue
            emit = _WITHOUT_MODEL[way](sample, self.form)
            if emit is not None:
                return emit
        return Emit("exhausted", sample)


def resampling_yields(order: Sequence[str], attempt: int, max_attempts: int) -> bool:
    """Whether resampling makes room for the repair after it in the order, if there is one: on the last attempt."""
    return attempt >= max_attempts - 1 and "resample" in order and "repair" in order[order.index("resample") :]


def rerendered(sample: Sample, form: CallFormat = PYTHONIC) -> Emit | None:
    """The sample with its own calls in the right form, when it was its form that failed and it can be read."""
    if not sample.verdicts or sample.verdicts[-1].stage != FORMAT_STAGE:
        return None
    calls = calls_in(sample.answer, sample.task.tools)
    text = _rendered(calls, sample, form) if calls else None
    if text is None or text == sample.answer:
        return None
    return Emit("reformatted", changed(sample, answer=text, origin="rerendered"))


def rewritten(sample: Sample, form: CallFormat = PYTHONIC) -> Emit | None:
    """The sample with the answer that the last judge offered, when there is one that can be read and is another."""
    offered = sample.verdicts[-1].answer if sample.verdicts else None
    tools = sample.task.tools
    calls, old = calls_in(offered, tools) if offered else None, calls_in(sample.answer, tools)
    text = _rendered(calls, sample, form) if calls else None
    if text is None or text == sample.answer:
        return None
    same = bool(old) and text == _rendered(old or (), sample, form)
    if same and sample.verdicts[-1].stage != FORMAT_STAGE:
        return None  # stage 4 refused this very meaning
    return Emit("reformatted" if same else "rewritten", changed(sample, answer=text, origin="rewritten"))


def repaired(sample: Sample, form: CallFormat = PYTHONIC) -> Emit | None:
    """The sample with the reference's calls as its answer, when there are any and they can be written."""
    reference = sample.task.reference
    text = _rendered(reference, sample, form) if reference else None
    if reference is None or text is None or text == sample.answer:
        return None
    thinking = _thinking(sample, reference)
    return Emit("rewritten", changed(sample, answer=text, thinking=thinking, origin="repaired", truncated=False))


def plain_thinking(reference: Sequence[Call]) -> str:
    """One sentence per call that names it and its values; the last resort, where there is no other thinking."""
    return " ".join(f"The query asks for {render_call(call)}." for call in reference)


def _thinking(sample: Sample, reference: Sequence[Call]) -> str | None:
    if sample.thinking is None:
        return None
    task: Task = sample.task
    for thinking in (sample.thinking, task.reference_thinking):
        if thinking and thinking_problem(thinking, reference, task.tools) is None:
            return thinking
    return plain_thinking(reference)


_WITHOUT_MODEL: dict[str, Callable[[Sample, CallFormat], Emit | None]] = {
    "rerender": rerendered,
    "rewrite": rewritten,
    "repair": repaired,
}


def _rendered(calls: Sequence[Call], sample: Sample, form: CallFormat) -> str | None:
    try:
        return form.render(calls, sample.task.tools)
    except CallRenderError:
        return None


def _fresh(sample: Sample, fresh: dict[str, Sample]) -> Emit:
    new = fresh.get(sample.id)
    return Emit("resampled", new) if new is not None else Emit("exhausted", sample)
