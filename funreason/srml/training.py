"""The training: effective batches of a fixed number of samples, one AdamW step each, checkpoints, reports.

Batches follow from the seed and the learning rate from the step, so a resumed training needs no more than weights,
moments and a step number. On a CPU set OMP_WAIT_POLICY=passive and KMP_BLOCKTIME=0 before Python starts: threads that
spin while waiting cost a loaded machine most of its speed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from funreason.srml import checkpoint
from funreason.srml.accumulation import Accumulation
from funreason.srml.adapters import adapted
from funreason.srml.alpha import Weighting, weighting
from funreason.srml.batches import plan_epoch
from funreason.srml.errors import TrainingError
from funreason.srml.examples import Example, StepReport, TrainReport, TrainSettings
from funreason.srml.optimizer import optimizer_for, rate
from funreason.srml.parts import Encoded, encode_examples
from funreason.srml.progress import Progress, part_fields
from funreason.srml.tally import Tally

REFUSED_IN_A_ROW = 3  # one bad batch may be chance; three mean that the weights or the rate are broken


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    settings: TrainSettings,
    *,
    on_step: Callable[[StepReport], None] | None = None,
    checkpoint_dir: Path | None = None,
    resume: bool = True,
    stop: Callable[[], bool] | None = None,
) -> TrainReport:
    """Train `model` in place on `examples`, and report.

    `on_step` hears of every step. With `checkpoint_dir`, a training that was interrupted goes on where it stood and
    ends with the same weights (on one thread, to the bit). `stop` is asked after each step; True saves and returns a
    report with `finished` False. Examples that cannot be used are listed in the report; TrainingError when none can,
    when the settings make no sense, or when the loss stays not finite.
    """
    started = time.perf_counter()
    _require_sense(settings)
    usable, encoded, refused = encode_examples(examples, tokenizer, settings.max_length, settings.think_tags)
    with _threads(settings.threads), adapted(model, settings), _training(model, settings):
        training = Training(model, tokenizer, usable, encoded, settings, checkpoint_dir)
        resumed_from, finished = training.run(on_step, resume, stop)
    return TrainReport(
        steps=training.steps,
        examples=len(usable),
        refused=refused,
        refused_steps=training.progress.refused,
        alpha=training.weighting.number(),
        seconds=time.perf_counter() - started,
        resumed_from=resumed_from,
        finished=finished,
        **part_fields(training.progress.means(), training.progress.tally),
    )


class Training:
    """One training over encoded examples; `run` once."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        examples: list[Example],
        encoded: list[Encoded],
        settings: TrainSettings,
        checkpoint_dir: Path | None,
    ) -> None:
        self.model, self.examples, self.encoded, self.settings = model, examples, encoded, settings
        self.folder = checkpoint_dir
        self.weighting: Weighting = weighting(settings)
        pad_id = tokenizer.pad_token_id if isinstance(tokenizer.pad_token_id, int) else 0
        self.accumulation = Accumulation(model, self.weighting, settings, pad_id)
        self.optimizer = optimizer_for(model, settings)
        self.lengths = [len(sample.ids) for sample in encoded]
        self.steps = settings.epochs * math.ceil(len(encoded) / settings.batch_size)
        self.print = checkpoint.fingerprint(examples, settings)
        self.progress = Progress()

    def run(
        self, on_step: Callable[[StepReport], None] | None, resume: bool, stop: Callable[[], bool] | None
    ) -> tuple[int, bool]:
        """Take the steps that are left; gives the step it began from, and whether all were taken."""
        begun = self._restore(resume)
        for step, batch in enumerate(self._batches(), start=1):
            if step <= begun:
                continue
            report, tally = self._step(step, batch)
            if on_step is not None:
                on_step(report)
            self._note(report, tally)
            stopped = step < self.steps and self.accumulation.any_says(stop is not None and stop())
            self._save(step, stopped)
            if stopped:
                return begun, False
        return begun, True

    def _batches(self) -> Iterator[list[int]]:
        size, seed = self.settings.batch_size, self.settings.seed
        for epoch in range(self.settings.epochs):
            yield from plan_epoch(self.lengths, batch_size=size, seed=seed, epoch=epoch)

    def _step(self, step: int, batch: list[int]) -> tuple[StepReport, Tally]:
        started = time.perf_counter()
        examples = [self.examples[index] for index in batch]
        loss, tally = self.accumulation.gather(examples, [self.encoded[index] for index in batch])
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.grad_clip))
        taken = math.isfinite(norm) and bool(torch.isfinite(loss).all())
        self._move(step, taken)
        report = StepReport(
            step=step,
            steps=self.steps,
            alpha=self.weighting.number(),
            lr=rate(step, self.steps, self.settings),
            grad_norm=norm,
            seconds=time.perf_counter() - started,
            refused=() if taken else tuple(example.id for example in examples),
            **part_fields(loss.tolist(), tally),
        )
        return report, tally

    def _move(self, step: int, taken: bool) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate(step, self.steps, self.settings)
        if taken:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.weighting.step(taken)

    def _note(self, report: StepReport, tally: Tally) -> None:
        self.progress.add(report, tally)
        if self.progress.refused_in_a_row == REFUSED_IN_A_ROW:
            raise TrainingError(
                f"steps {report.step - REFUSED_IN_A_ROW + 1} to {report.step}: loss or gradient not finite "
                f"(last batch: {', '.join(report.refused[:8])}). "
                f"Lower lr (now {self.settings.lr}) or check the weights."
            )

    def _restore(self, resume: bool) -> int:
        if self.folder is None:
            return 0
        if not resume:
            checkpoint.forget(self.folder)
            return 0
        position = checkpoint.restore(self.folder, self.model, self.optimizer, self.print)
        if position is None:
            return 0
        self.weighting.restore(position.alpha)
        return position.step

    def _save(self, step: int, stopped: bool) -> None:
        every = self.settings.checkpoint_every
        due = stopped or step == self.steps or (every > 0 and step % every == 0)
        if self.folder is not None and due and self.accumulation.accelerator.is_main_process:
            position = checkpoint.Position(step, self.weighting.state())
            checkpoint.save(self.folder, self.model, self.optimizer, position, self.print)


def _require_sense(settings: TrainSettings) -> None:
    for name, least in (("epochs", 1), ("batch_size", 1), ("micro_tokens", 1), ("max_length", 2)):
        if getattr(settings, name) < least:
            raise TrainingError(f"{name} is {getattr(settings, name)}; it must be at least {least}.")
    if settings.schedule not in ("linear", "cosine", "constant"):
        raise TrainingError(f"schedule is {settings.schedule!r}; use linear, cosine or constant.")
    # Written so that NaN is refused too.
    if not (settings.lr > 0 and settings.grad_clip > 0):
        raise TrainingError(f"lr is {settings.lr}, grad_clip {settings.grad_clip}; both must be above 0.")


@contextmanager
def _training(model: PreTrainedModel, settings: TrainSettings) -> Iterator[None]:
    was_training = model.training
    model.train()
    if settings.gradient_checkpointing:
        # The re-entrant way gives no gradient where the block's input needs none, as under frozen embeddings.
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    try:
        yield
    finally:
        model.train(was_training)
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_disable()  # type: ignore[no-untyped-call]


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
