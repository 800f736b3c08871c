"""The training: effective batches of a fixed number of samples, cut into micro-batches, one AdamW step each.

The result does not depend on how a batch is cut, nor on the number of processes: denominators are known before the
first backward pass, and gradients are added up, not averaged. The learning rate is a function of the step alone, so
a resumed training needs no scheduler state. On a CPU set OMP_WAIT_POLICY=passive and KMP_BLOCKTIME=0 before Python
starts: threads that spin while waiting cost a loaded machine most of its speed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from accelerate.utils import gather_object  # type: ignore[import-untyped]
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from funreason.srml import checkpoint
from funreason.srml.alpha import Weighting, weighting
from funreason.srml.batches import Batch, collate, cut, plan_epoch
from funreason.srml.errors import TrainingError
from funreason.srml.examples import Example, StepReport, TrainReport, TrainSettings
from funreason.srml.loss import Normaliser, part_sums, weigh
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
    usable, encoded, refused = encode_examples(examples, tokenizer, settings.max_length)
    training = Training(model, tokenizer, usable, encoded, settings, checkpoint_dir)
    with _threads(settings.threads), _training(model):
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
        self.accelerator = Accelerator(cpu=model.device.type == "cpu")
        self.weighting: Weighting = weighting(settings)
        self.optimizer = optimizer_for(model, settings)
        self.lengths = [len(sample.ids) for sample in encoded]
        self.pad_id = tokenizer.pad_token_id if isinstance(tokenizer.pad_token_id, int) else 0
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
            report = self._step(step, batch)
            if on_step is not None:
                on_step(report)
            stopped = stop is not None and step < self.steps and stop()
            self._save(step, stopped)
            if stopped:
                return begun, False
        return begun, True

    def _batches(self) -> Iterator[list[int]]:
        size, seed = self.settings.batch_size, self.settings.seed
        for epoch in range(self.settings.epochs):
            yield from plan_epoch(self.lengths, batch_size=size, seed=seed, epoch=epoch)

    def _step(self, step: int, batch: list[int]) -> StepReport:
        started = time.perf_counter()
        mine = cut(batch, self.lengths, micro_tokens=self.settings.micro_tokens)
        mine = mine[self.accelerator.process_index :: self.accelerator.num_processes]
        loss, tally = self._gather(batch, mine)
        self._add_up_gradients()
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.grad_clip))
        taken = math.isfinite(norm) and bool(torch.isfinite(loss).all())
        self._move(step, taken)
        refused = () if taken else tuple(self.examples[index].id for index in batch)
        report = StepReport(
            step=step,
            steps=self.steps,
            alpha=self.weighting.number(),
            lr=rate(step, self.steps, self.settings),
            grad_norm=norm,
            seconds=time.perf_counter() - started,
            refused=refused,
            **part_fields(loss.tolist(), tally),
        )
        self._note(report, tally)
        return report

    def _gather(self, batch: list[int], pieces: list[list[int]]) -> tuple[Tensor, Tally]:
        # Backward over this process's pieces; gives [total, think, result] over all processes, and the tally.
        whole = Normaliser(0.0, 0.0, 0.0, 0.0, 0.0)
        for index in batch:
            whole += Normaliser.of_sample(self.encoded[index].parts, self.examples[index].weight)
        loss = torch.zeros(3, dtype=torch.float64, device=self.model.device)
        tally = Tally()
        for piece in pieces:
            collated = self._collate(piece)
            start = max(collated.first_trained - 1, 0)  # no logits for the prompt: nothing there is learnt
            labels, parts = collated.labels[:, start:], collated.parts[:, start:]
            output = self.model(input_ids=collated.ids, use_cache=False, logits_to_keep=labels.shape[1])
            sums = part_sums(output.logits, labels, parts)
            share = weigh(
                sums,
                alpha=self.weighting.for_loss(),
                normaliser=whole,
                average=self.settings.average,
                weights=collated.weights,
            )
            self.accelerator.backward(share.total)
            loss += torch.stack([share.total, share.think, share.result]).detach()
            tally.add([self.examples[index] for index in piece], sums)
        reduced: Tensor = self.accelerator.reduce(loss, "sum")
        return reduced, self._everyones(tally)

    def _everyones(self, tally: Tally) -> Tally:
        if self.accelerator.num_processes == 1:
            return tally
        together = Tally()
        for part in gather_object([tally]):
            together.merge(part)
        return together

    def _add_up_gradients(self) -> None:
        if self.accelerator.num_processes == 1:
            return
        own = [self.weighting.gradient()]
        for parameter in self.model.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)  # a process without a piece must take part all the same
            own.append(parameter.grad)
        for gradient in own:
            if gradient is not None:
                gradient.copy_(self.accelerator.reduce(gradient, "sum"))

    def _move(self, step: int, taken: bool) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate(step, self.steps, self.settings)
        if taken:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.weighting.step(taken)

    def _collate(self, piece: list[int]) -> Batch:
        samples = [self.encoded[index] for index in piece]
        weights = [self.examples[index].weight for index in piece]
        return collate(samples, weights, pad_id=self.pad_id, device=self.model.device)

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
        if self.folder is not None and due and self.accelerator.is_main_process:
            position = checkpoint.Position(step, self.weighting.state())
            checkpoint.save(self.folder, self.model, self.optimizer, position, self.print)


def _require_sense(settings: TrainSettings) -> None:
    for name, least in (("epochs", 1), ("batch_size", 1), ("micro_tokens", 1), ("max_length", 2)):
        if getattr(settings, name) < least:
            raise TrainingError(f"{name} is {getattr(settings, name)}; it must be at least {least}.")
    if settings.schedule not in ("linear", "cosine", "constant"):
        raise TrainingError(f"schedule is {settings.schedule!r}; use linear, cosine or constant.")
    if not (settings.lr > 0 and settings.grad_clip > 0):
        raise TrainingError(f"lr is {settings.lr}, grad_clip {settings.grad_clip}; both must be above 0.")


@contextmanager
def _training(model: PreTrainedModel) -> Iterator[None]:
    was_training = model.training
    model.train()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
