"""The trainer of reinforcement learning: an optimizer step each time the samples of a step have ended.

It answers two messages. A sample is kept. `Drained` says that all samples asked for have ended: where too few groups
carry a signal the trainer asks for more prompts, a bounded number of times; otherwise it makes one step and sends the
new weights to the generator. After the round's last step, or when something went wrong, it sends a `Candidate` to the
evaluator: a candidate with a failure is rolled back.

What a step did is logged as `PolicyUpdated` once its weights and optimizer state are on disk. A run that was killed
before that line makes the step again, from the same samples and the same state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from funreason.agents.rollouts import MIXED, RolloutGroup, groups_of, prefix, refusals, step_metrics
from funreason.agents.selection import StaleError
from funreason.bus.agent import Emit
from funreason.calls.call_format import CallFormat
from funreason.config import Reinforcement
from funreason.config.reinforcement import GrpoSettings
from funreason.errors import NothingToLearn
from funreason.record.events import Event, LogMessage, OptimizerStep, PolicyUpdated, TrainingSetSelected, WeightsTrained
from funreason.record.rounds import RoundState
from funreason.record.sample_files import KEPT, Credit, SampleFiles
from funreason.training.types import NotFinite
from funreason.types import Candidate, Drained, MorePrompts, Sample, Stepped, Weights
from funreason.weights import WeightStore

TRUNCATED_ALARM = 0.05
"""The share of truncated answers above which a warning is due, as AReaL has it: lengths may be running away."""


class StepRequest(NamedTuple):
    """One optimizer step: the groups with a signal, and the weights that answered them.

    `start` are the weights accepted before the round: the optimizer's state in the checkpoints begins from them, and
    they are the reference policy.
    """

    round: int
    step: int
    groups: list[RolloutGroup]
    policy: Weights
    start: Weights


class StepOutcome(NamedTuple):
    """What a step made: its weights, its metrics, and what each rollout was learned from."""

    weights: Weights
    metrics: dict[str, float]
    credits: list[Credit]


class PolicyTrainer:
    """Keeps samples; answers `Drained` with `MorePrompts`, `Stepped` or a `Candidate`.

    Args:
        keep: takes each sample that has its reward.
        learn: makes one optimizer step and saves; called in a thread.
        files: the samples of the round, for a run that is resumed.
        past: what the record held of the round when the run was started or resumed.
        form: how answers are written, for the metrics.
    """

    def __init__(
        self,
        keep: Callable[[Sample], Awaitable[None]],
        learn: Callable[[StepRequest], StepOutcome],
        files: SampleFiles,
        settings: Reinforcement,
        loss: GrpoSettings,
        weights: WeightStore,
        write: Callable[[Event], None],
        past: RoundState | None,
        form: CallFormat,
    ) -> None:
        self.keep = keep
        self.learn = learn
        self.files = files
        self.settings = settings
        self.loss = loss
        self.weights = weights
        self.write = write
        self.form = form
        self._samples: dict[str, Sample] | None = None
        """The kept samples of the step under way, by id; None until they have been read from the files."""
        done = past.policy.step if past is not None and past.policy is not None else 0
        self._metrics = [step.metrics for step in past.steps if step.step <= done] if past is not None else []
        """Those of the round's steps so far."""
        self._warned = False

    async def __call__(self, message: Sample | Drained) -> Any:
        """Take one sample, or learn from those of the step, which have all ended."""
        if not isinstance(message, Drained):
            await self.keep(message)
            if self._samples is not None:
                self._samples[message.id] = message
            return None
        if message.stop or message.step > self.settings.steps_per_round or self.weights.trained(message.round):
            return Emit("candidate", self._candidate(message.round, message.stop))
        groups = groups_of(self._of_step(message).values(), self.settings.group_size, message.asked)
        useful = [group for group in groups if group.has_signal]
        missing = self.settings.prompts_per_step - len(useful)
        if missing > 0 and message.wave < self.settings.max_resample:
            return Emit("more", MorePrompts(message.round, message.step, message.wave + 1, missing))
        stop = await self._step(message, groups, useful)
        self._samples = {}
        if stop or message.step == self.settings.steps_per_round:
            return Emit("candidate", self._candidate(message.round, stop))
        return Emit("stepped", Stepped(message.round, message.step, self.weights.policy))

    def _of_step(self, message: Drained) -> dict[str, Sample]:
        if self._samples is None:
            mine = prefix(message.round, message.step)
            self._samples = {s.id: s for kind in KEPT for s in self.files.get(kind) if s.id.startswith(mine)}
        return self._samples

    async def _step(self, message: Drained, groups: list[RolloutGroup], useful: list[RolloutGroup]) -> str:
        """Learn from the groups with a signal; why the round must end, "" where it need not."""
        round, step, policy = message.round, message.step, self.weights.policy
        metrics = step_metrics(groups, self.form)
        metrics["groups_incomplete"] += message.asked - len(groups)  # a prompt that does not fit has no sample at all
        metrics |= {"groups_resampled": float(message.asked - self.settings.prompts_per_step)}
        metrics |= {"seconds_sample": round_to_ms(message.seconds)}
        stop, outcome = "", StepOutcome(policy, {}, [])
        if useful:
            require_fresh(useful, policy)
            request = StepRequest(round, step, useful, policy, self.weights.accepted)
            try:
                outcome = await asyncio.to_thread(self.learn, request)
            except NotFinite as error:
                stop = f"step {step} failed: {error}"
        metrics |= outcome.metrics
        self._metrics.append(metrics)
        self._warn(round, step, metrics)
        stop = stop or self._alarm(step, metrics)
        for credit in outcome.credits or credits_of(useful, step):
            self.files.append_credit(credit)
        for credit in credits_of([group for group in groups if not group.has_signal], step):
            self.files.append_credit(credit)
        steps = self.settings.steps_per_round
        finite = {name: value for name, value in metrics.items() if value - value == 0}
        self.write(OptimizerStep(round=round, step=step, steps=steps, metrics=finite))
        self.weights.stepped(outcome.weights, idle=not useful)
        self.write(
            PolicyUpdated(
                round=round,
                step=step,
                weights=outcome.weights.id,
                prompts=message.prompts,
                idle=self.weights.idle_steps,
                stop=stop,
            )
        )
        if not stop and self.weights.idle_steps >= self.settings.max_idle_steps:
            raise NothingToLearn(self._idle_reason())
        return stop

    def _alarm(self, step: int, metrics: Mapping[str, float]) -> str:
        """Why the round must be rolled back; "" where it need not."""
        settings, at = self.settings, f"at step {step}"
        for name, value, limit, key in (
            ("the KL divergence from the accepted weights", metrics.get("kl"), settings.kl_stop, "kl_stop"),
            ("the mean entropy", metrics.get("entropy"), settings.entropy_stop, "entropy_stop"),
        ):
            if value is not None and limit is not None and not value <= limit:
                return f"{name} is {value:.3g} nats per token {at}; reinforcement.{key} allows {limit:g}"
        floor = settings.refusal_floor
        rate = refusals(self._metrics, settings.refusal_window)
        if floor is not None and rate is not None and rate < floor:
            return (
                f"{100 * rate:.1f} % of the answers refuse where no call is right, over {settings.refusal_window} "
                f"steps {at}; reinforcement.refusal_floor asks for {100 * floor:g} %: the model learns to call always"
            )
        return ""

    def _warn(self, round: int, step: int, metrics: Mapping[str, float]) -> None:
        """Say once a round what makes its rewards or its bonus worth little."""
        said = []
        if metrics.get("truncated_rate", 0) > TRUNCATED_ALARM:
            said.append(f"{100 * metrics['truncated_rate']:.0f} % of the answers were cut off, and earn nothing")
        if self.loss.bonus is not None and metrics.get("unthought_rate") == 1:
            said.append("no answer has a thinking, so E is 0 for all and the bonus of EGPO does nothing")
        if said and not self._warned:
            self._warned = True
            self.write(LogMessage(level="warning", text=f"step {step}: {'; '.join(said)}", round=round))

    def _idle_reason(self) -> str:
        last = self._metrics[-1]
        counts = ", ".join(f"{int(last[f'groups_{fate}'])} {fate}" for fate in ("all_right", "all_wrong", "incomplete"))
        return (
            f"{self.weights.idle_steps} steps in a row had no group whose answers were rewarded differently (the last "
            f"one: {counts} of {self.settings.group_size} answers each), so nothing can be learned. All wrong: let the "
            "model learn to call first (`start:`), or give easier tasks. All right: give harder tasks. Both: check the "
            f"reward with `funreason reward audit {self.settings.reward}`."
        )

    def _candidate(self, round: int, stop: str) -> Candidate:
        weights = self.weights.trained(round)
        if weights is None:
            weights = self.weights.policy
            credits = self.files.credits().values()
            learned, steps = [c for c in credits if c.fate == MIXED], len({c.step for c in credits})
            self.write(TrainingSetSelected(round=round, kept=len(credits), trained=len(learned)))
            self.write(WeightsTrained(round=round, weights=weights.id, examples=len(learned), steps=steps))
        return Candidate(round, weights, failure=stop)


def require_fresh(groups: Sequence[RolloutGroup], policy: Weights) -> None:
    """StaleError for a sample of other weights than those that are trained: its ratio would be another policy's."""
    for sample in (sample for group in groups for sample in group.samples):
        if sample.weights_id != policy.id:
            raise StaleError(
                f"sample {sample.id} was made by {sample.weights_id or 'no named weights'}, and the step trains "
                f"{policy.id}: a step learns only from samples of its own weights. Remove what draws others from the "
                "graph."
            )


def credits_of(groups: Sequence[RolloutGroup], step: int) -> list[Credit]:
    """What the rollouts of groups that were not learned from got: their rewards, and no advantage."""
    return [
        Credit(sample.id, step, group.fate, reward)
        for group in groups
        for sample, reward in zip(group.samples, group.rewards, strict=True)
    ]


def round_to_ms(seconds: float) -> float:
    """Seconds to the millisecond."""
    return round(seconds, 3)
