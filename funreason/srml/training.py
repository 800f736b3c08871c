"""The training: effective batches of a fixed number of samples, one AdamW step each, checkpoints, reports.

Batches follow from the seed and the learning rate from the step, so a resumed training needs no more than weights,
moments and a step number. On a CPU set OMP_WAIT_POLICY=passive and KMP_BLOCKTIME=0 before Python starts: threads that
spin while waiting cost a loaded machine most of its speed.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from funreason.srml import checkpoint
from funreason.srml.accumulation import Accumulation
from funreason.srml.adapters import adapted
from funreason.srml.alpha import weighting
from funreason.srml.batches import plan_epoch
from funreason.srml.errors import NotFinite, TrainingError
from funreason.srml.examples import Example, StepReport, Strategy, TrainReport, TrainSettings
from funreason.srml.lanes import Lanes, lanes_for
from funreason.srml.layout import Layout, layout_for
from funreason.srml.optimizer import learning, rate
from funreason.srml.packing import packs
from funreason.srml.parts import Encoded, encode_examples
from funreason.srml.processes import Processes, join
from funreason.srml.progress import Progress, part_fields
from funreason.srml.tally import Tally
from funreason.srml.vocabulary import Vocabulary

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
    strategy: Strategy = "none",
    compute: str = "float32",
    keep: Callable[[Layout, Processes], None] | None = None,
) -> TrainReport:
    """Train `model` in place on `examples`, and report.

    `on_step` hears of every step. With `checkpoint_dir`, a training that was interrupted goes on where it stood and
    ends with the same weights (on one thread, to the bit). `stop` is asked after each step; True saves and returns a
    report with `finished` False. Examples that cannot be used are listed in the report; TrainingError when none can,
    when the settings make no sense; NotFinite when the loss stays so.

    In processes that a launcher started, all call this alike; `strategy` says how the model lies over them, and
    `compute` in what precision it is run there (see `layout_for`). Under one, `model` is taken over and of no use
    afterwards: `keep` is called in every process when the training has finished, to take the weights out.
    """
    started = time.perf_counter()
    _require_sense(settings)
    usable, encoded, refused = encode_examples(examples, tokenizer, settings.max_length, settings.think_tags)
    processes, alone = join(model.device), strategy == "none"
    with _threads(settings.threads), adapted(model, settings, merge=alone), _training(model, settings):
        vocabulary, packed = Vocabulary(model, settings), packs(model, settings)
        layout = layout_for(strategy, model, settings, processes, compute)
        pad_id = tokenizer.pad_token_id if isinstance(tokenizer.pad_token_id, int) else 0
        alpha = weighting(settings)
        count = lanes_for(model) if alone and processes.size == 1 else 1
        lanes = Lanes(count, [*learning(model).values(), *alpha.learning()], processes.device)
        accumulation = Accumulation(
            layout, processes, vocabulary, alpha, settings, pad_id=pad_id, packed=packed, lanes=lanes
        )
        training = Training(accumulation, usable, encoded, settings, checkpoint_dir)
        how = _how(vocabulary, packed, lanes, settings)
        resumed_from, finished = training.run(on_step, resume, stop)
        if finished and keep is not None:
            keep(layout, processes)
    return TrainReport(
        steps=training.steps,
        examples=len(usable),
        refused=refused,
        refused_steps=training.progress.refused,
        alpha=training.weighting.number(),
        seconds=time.perf_counter() - started,
        resumed_from=resumed_from,
        finished=finished,
        how=how,
        **part_fields(training.progress.means(), training.progress.tally),
    )


class Training:
    """One training over encoded examples; `run` once."""

    def __init__(
        self,
        accumulation: Accumulation,
        examples: list[Example],
        encoded: list[Encoded],
        settings: TrainSettings,
        checkpoint_dir: Path | None,
    ) -> None:
        self.accumulation, self.layout, self.processes = accumulation, accumulation.layout, accumulation.processes
        self.weighting = accumulation.weighting
        self.examples, self.encoded, self.settings = examples, encoded, settings
        self.folder = checkpoint_dir
        self.lengths = [len(sample.ids) for sample in encoded]
        self.steps = settings.epochs * math.ceil(len(encoded) / settings.batch_size)
        self.print = checkpoint.fingerprint(examples, settings)
        self.progress = Progress()
        self.halved_to: int | None = None

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
            stopped = step < self.steps and self.processes.any_says(stop is not None and stop())
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
        whole = self.halved_to is None
        loss, tally = self._gather(examples, [self.encoded[index] for index in batch])
        now, sound = rate(step, self.steps, self.settings), bool(torch.isfinite(loss).all())
        norm = self.layout.step(now, sound)
        taken = sound and math.isfinite(norm)
        self.weighting.step(taken)
        report = StepReport(
            step=step,
            steps=self.steps,
            alpha=self.weighting.number(),
            lr=now,
            grad_norm=norm,
            seconds=time.perf_counter() - started,
            refused=() if taken else tuple(example.id for example in examples),
            halved_to=self.halved_to if whole else None,
            **part_fields(loss.tolist(), tally),
        )
        return report, tally

    def _gather(self, examples: list[Example], encoded: list[Encoded]) -> tuple[Tensor, Tally]:
        try:
            return self.accumulation.gather(examples, encoded)
        except torch.OutOfMemoryError as error:
            self._halve(error)
        # Behind the handler: the error holds the frames whose tensors must go first.
        return self._gather(examples, encoded)

    def _halve(self, error: torch.OutOfMemoryError) -> None:
        """Forget what the batch had gathered, and go on in passes of half the tokens. TrainingError the second time.

        Processes that work in step cannot halve one by one, so with several the first time is the end.
        """
        tokens = self.accumulation.settings.micro_tokens
        if self.halved_to is not None or self.processes.size > 1:
            raise TrainingError(
                f"out of memory with {tokens} padded tokens in a forward pass; the last checkpoint is kept. "
                "Lower update.micro_tokens or update.max_length, or ask `funreason plan` what fits."
            ) from error
        self.layout.step(0.0, False)
        self.weighting.step(False)
        self.halved_to = max(1, tokens // 2)
        self.accumulation.settings = msgspec.structs.replace(self.settings, micro_tokens=self.halved_to)
        if self.processes.device.type == "cuda":
            torch.cuda.empty_cache()

    def _note(self, report: StepReport, tally: Tally) -> None:
        self.progress.add(report, tally)
        if self.progress.refused_in_a_row == REFUSED_IN_A_ROW:
            raise NotFinite(
                f"steps {report.step - REFUSED_IN_A_ROW + 1} to {report.step}: loss or gradient not finite "
                f"(last batch: {', '.join(report.refused[:8])}). "
                f"Lower lr (now {self.settings.lr}) or check the weights."
            )

    def _restore(self, resume: bool) -> int:
        if self.folder is None:
            return 0
        if not resume:
            if self.processes.first:
                checkpoint.forget(self.folder)
            return 0
        position = checkpoint.restore(self.folder, self.layout, self.print)
        if position is None:
            return 0
        self.weighting.restore(position.alpha)
        return position.step

    def _save(self, step: int, stopped: bool) -> None:
        every = self.settings.checkpoint_every
        due = stopped or step == self.steps or (every > 0 and step % every == 0)
        if self.folder is not None and due:
            position = checkpoint.Position(step, self.weighting.state())
            checkpoint.save(self.folder, self.layout, position, self.print, write=self.processes.first)


def _how(vocabulary: Vocabulary, packed: bool, lanes: Lanes, settings: TrainSettings) -> str:
    rows = "packed" if packed else "of like length padded"
    waits = os.environ.get("OMP_WAIT_POLICY", "not set")
    return (
        f"head: {vocabulary.said}; samples {rows}, up to {settings.micro_tokens:,} tokens a pass; "
        f"{torch.get_num_threads()} threads in {lanes.count} lane{'s' * (lanes.count > 1)}, OMP_WAIT_POLICY {waits}"
    )


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
