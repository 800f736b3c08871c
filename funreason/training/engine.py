"""The training: batches of a fixed number of samples, one AdamW step each, checkpoints, reports.

The denominators of a batch are known before its first backward pass, and gradients are added, never averaged. So
neither the split into micro-batches nor the number of processes changes the result. Batches follow from the seed and
the learning rate from the step, so a resumed training needs only weights, moments and a step number.

On a CPU set OMP_WAIT_POLICY=passive and KMP_BLOCKTIME=0 before Python starts: threads that spin while waiting cost a
loaded machine most of its speed.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import accumulate, chain
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from funreason.calls.thinking import THINK_TAGS, Tags
from funreason.config.updates import Update
from funreason.objectives.protocol import NONE, Encoded, Example, LossShare, Objective
from funreason.policies.prompts import known_ids
from funreason.policies.tensor_cores import tensor_cores, uses_tf32
from funreason.training import checkpoint
from funreason.training.batches import (
    can_pack,
    collate,
    layout_refusal,
    pack,
    plan_epoch,
    plan_passes,
    prompt_sharing,
    share_prompts,
    worth_sharing,
)
from funreason.training.cpu_parallel import num_workers, run_parallel
from funreason.training.encoding import encode_examples
from funreason.training.layer_compile import FirstBatch, compiled_layers, sampled_gradient
from funreason.training.lm_head import LossHead
from funreason.training.lora import adapted
from funreason.training.loss_stats import LossStats, Quantiles, quantiles
from funreason.training.parallel import Parallel, Ranks, parallelized, trainable
from funreason.training.pass_size import choose_pass_size
from funreason.training.shared_attention import attending_with_shared_prompts
from funreason.training.types import NotFinite, StepReport, Strategy, TrainingError, TrainReport

REFUSED_IN_A_ROW = 3  # one bad batch may be chance; three mean that the weights or the learning rate are broken


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    update: Update,
    *,
    objective: Objective | None = None,
    seed: int = 0,
    think_tags: Tags = THINK_TAGS,
    threads: int | None = None,
    on_step: Callable[[StepReport], None] | None = None,
    checkpoint_dir: Path | None = None,
    continue_from: Path | None = None,
    resume: bool = True,
    stop: Callable[[], bool] | None = None,
    strategy: Strategy = "none",
    on_finish: Callable[[Parallel], None] | None = None,
) -> TrainReport:
    """Train `model` in place on `examples`.

    A model in bfloat16 runs in bfloat16, while its weights learn in float32 until the training ends.

    Args:
        objective: what is learned; by default SRML as `update` configures it.
        seed: decides batches, adapters and dropout.
        threads: CPU threads within one operation; None leaves torch's own choice.
        on_step: called with the report of every step.
        checkpoint_dir: an interrupted training is resumed from here and ends with the same weights (with one thread,
            to the bit). `resume=False` deletes what is there.
        continue_from: a folder with the checkpoint of another training, on other examples: this one begins with its
            weights, its optimizer's moments and its random state. Its step count and examples do not matter.
        stop: called after each step; if it returns True, a checkpoint is saved and the report has `finished` False.
        strategy: how the model is placed across the processes that a launcher started; all of them call this alike.
            `model` is of no use afterwards under a sharding strategy.
        on_finish: called on every rank when the training has finished, to take the weights out.

    Raises TrainingError when no example can be used or memory runs out, NotFinite when losses stay not finite.
    Unusable examples are listed in the report.
    """
    started = time.perf_counter()
    if objective is None:
        from funreason.objectives.srml import Srml

        objective = Srml(update)
    learned = [example for example, kept in zip(examples, objective.with_signal(examples), strict=True) if kept]
    if examples and not learned:
        raise TrainingError(
            f"nothing to train on: none of {len(examples)} samples carries a signal, because within each group all "
            "rewards are equal."
        )
    usable, encoded, refused = encode_examples(learned, tokenizer, update.max_length, think_tags)
    pad_id = tokenizer.pad_token_id if isinstance(tokenizer.pad_token_id, int) else 0
    ranks = Ranks.join(model.device)
    dtype, merge = model.dtype, strategy == "none"
    with torch_settings(model.device, dtype, threads), adapted(model, update.lora, seed, merge=merge):
        head = LossHead(model, update, known_ids(tokenizer), strategy=strategy)
        packed = can_pack(model, update.packing)
        may_share, why_not = prompt_sharing(model, update.prefix_sharing)
        sharing = update.prefix_sharing if may_share else "never"
        no_layout = layout_refusal(model) if may_share else "prompts are not shared"
        with (
            nullcontext() if no_layout else attending_with_shared_prompts(model),
            _train_mode(model, update.gradient_checkpointing),
            parallelized(model, update, ranks, strategy) as parallel,
        ):
            size = choose_pass_size(model, update, ranks, strategy, item=dtype.itemsize, head_chunk=head.held)
            training = Training(
                parallel, objective, head, usable, encoded, update, micro_tokens=size.tokens,
                pad_id=pad_id, packed=packed, sharing=sharing, no_layout=no_layout, seed=seed, folder=checkpoint_dir,
                fingerprint=checkpoint.fingerprint(
                    usable, update, seed, think_tags, str(dtype), objective.fingerprint
                ),
            )  # fmt: skip
            if continue_from is not None and checkpoint.restore(continue_from, parallel, None) is None:
                raise TrainingError(f"{continue_from} holds no checkpoint to continue from.")
            alone = ranks.size == 1 and strategy in ("none", "ddp")
            with compiled_layers(
                model, update.compile, training.try_first_batch, steps=training.steps, item=dtype.itemsize, alone=alone
            ) as layers:
                if layers.compiled:
                    training.workers = 1  # threads would wait for each other's compilation
                resumed_from, finished = training.run(on_step, resume, stop)
            if finished and on_finish is not None:
                on_finish(parallel)
        at_a_time = f"{training.workers} micro-batch{'es' * (training.workers > 1)} at a time"
        layout = "packed" if packed else "padded to similar lengths"
        if training.shared_batches:
            layout += f", with shared prompts in {training.shared_batches} batches"
            if training.why_dense:
                layout += f", some under a dense mask ({'; '.join(sorted(training.why_dense))})"
        elif why_not:
            layout += f", no shared prompts ({why_not})"
        how = (
            f"LM head: {head.description}; samples {layout}, up to "
            f"{size.tokens:,} tokens a pass ({size.why}); {layers.description}; {torch.get_num_threads()} threads, "
            f"{at_a_time}, OMP_WAIT_POLICY {os.environ.get('OMP_WAIT_POLICY', 'not set')}"
            f"{'; TF32 products' if uses_tf32(model.device, dtype) else ''}"
        )
    stats = training.stats
    means = {name: sum(values) / len(values) for name, values in stats.means.items()}
    return TrainReport(
        steps=training.steps,
        examples=len(usable),
        refused=refused,
        refused_steps=training.refused_steps,
        metrics=stats.metrics(means) | training.quantiles.metrics() | objective.state_metrics(),
        groups=stats.groups(),
        seconds=time.perf_counter() - started,
        resumed_from=resumed_from,
        finished=finished,
        how=how,
    )


def learning_rate(step: int, steps: int, update: Update) -> float:
    """The learning rate of `step` (1 … steps): a linear warm-up, then the schedule down to `min_lr_ratio`."""
    ratio = update.lr_warmup_ratio
    warmup = min(steps - 1, update.lr_warmup_steps if ratio is None else round(ratio * steps))
    if step <= warmup:
        return update.lr * step / warmup
    # The first step after the warm-up has the full rate, and one beyond the last would have none.
    left = (steps + 1 - step) / (steps - warmup) if steps > warmup else 1.0
    shape = {"constant": 1.0, "linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2}[update.schedule]
    floor = 1.0 if update.schedule == "constant" else update.min_lr_ratio
    return update.lr * (floor + (1 - floor) * shape)


class BatchLoss(NamedTuple):
    """What a batch cost, the same on every rank.

    Loss and `Objective.terms` by name, a row of `Objective.sums` per sample, and quantiles of `Objective.values`.
    """

    terms: dict[str, float]
    rows: list[list[float]]
    quantiles: dict[str, float]


class Training:
    """One training over encoded examples; call `run` once."""

    def __init__(
        self,
        parallel: Parallel,
        objective: Objective,
        head: LossHead,
        examples: list[Example],
        encoded: list[Encoded],
        update: Update,
        *,
        micro_tokens: int,
        pad_id: int,
        packed: bool,
        sharing: str,
        no_layout: str,
        seed: int,
        folder: Path | None,
        fingerprint: str,
    ) -> None:
        self.parallel, self.ranks, self.objective, self.head = parallel, parallel.ranks, objective, head
        self.examples, self.encoded, self.update = examples, encoded, update
        self.pad_id, self.packed, self.sharing, self.seed = pad_id, packed, sharing, seed
        self.shared_batches, self.no_layout = 0, no_layout
        self.why_dense: set[str] = set()
        self.folder, self.fingerprint = folder, fingerprint
        self.lengths = [len(sample.ids) for sample in encoded]
        self.steps = update.epochs * math.ceil(len(encoded) / update.batch_size)
        self.workers = num_workers(parallel.model) if self.ranks.size == 1 else 1
        self.micro_tokens = micro_tokens
        self.halved_to: int | None = None
        self.stats, self.quantiles = LossStats(objective), Quantiles()
        self.refused_steps = self.refused_in_a_row = 0

    def run(
        self, on_step: Callable[[StepReport], None] | None, resume: bool, stop: Callable[[], bool] | None
    ) -> tuple[int, bool]:
        """Take the remaining steps; returns the step it resumed from, and whether all were taken."""
        begun, every, folder = 0, self.update.checkpoint_every, self.folder
        if folder is not None and not resume and self.ranks.is_main:
            checkpoint.delete(folder)
        if folder is not None and resume:
            found = checkpoint.restore(folder, self.parallel, self.fingerprint)
            if found is not None:
                self.objective.load_state_dict(found.objective)
                begun = found.step
        size, seed = self.update.batch_size, self.seed
        epochs = (
            plan_epoch(self.lengths, batch_size=size, seed=seed, epoch=epoch) for epoch in range(self.update.epochs)
        )
        for step, batch in enumerate(chain.from_iterable(epochs), start=1):
            if step <= begun:
                continue
            report, stats = self._step(step, batch)
            if on_step is not None:
                on_step(report)
            if report.refused:
                self.refused_steps += 1
                self.refused_in_a_row += 1
            else:
                self.refused_in_a_row = 0
                self.stats.merge(stats)
            if self.refused_in_a_row == REFUSED_IN_A_ROW:
                raise NotFinite(
                    f"steps {step - REFUSED_IN_A_ROW + 1} to {step}: loss or gradient not finite "
                    f"(last batch: {', '.join(report.refused[:8])}). "
                    f"Lower lr (now {self.update.lr}) or check the weights."
                )
            stopped = step < self.steps and self.ranks.any_rank(stop is not None and stop())
            due = stopped or step == self.steps or (every > 0 and step % every == 0)
            if folder is not None and due:
                position = checkpoint.Position(step, self.objective.state_dict())
                checkpoint.save(folder, self.parallel, position, self.fingerprint)
            if stopped:
                return begun, False
        return begun, True

    def try_first_batch(self) -> FirstBatch:
        """Forward and backward of the first batch. Nothing is learned from it, and no random number is used up."""
        size, device = self.update.batch_size, self.ranks.device
        batch = plan_epoch(self.lengths, batch_size=size, seed=self.seed, epoch=0)[0]
        examples, encoded = [self.examples[index] for index in batch], [self.encoded[index] for index in batch]
        started = time.perf_counter()
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                losses = list(self._accumulated(examples, encoded).terms.values())
            seconds = time.perf_counter() - started
            return FirstBatch(seconds, losses, sampled_gradient(trainable(self.parallel.model).values()))
        finally:
            self.parallel.step(0.0, False)
            self.objective.step(False)

    def _step(self, step: int, batch: list[int]) -> tuple[StepReport, LossStats]:
        started = time.perf_counter()
        examples, encoded = [self.examples[index] for index in batch], [self.encoded[index] for index in batch]
        halved_before = self.halved_to is not None
        loss = self._accumulate(examples, encoded)
        lr, finite = learning_rate(step, self.steps, self.update), all(map(math.isfinite, loss.terms.values()))
        grad_norm = self.parallel.step(lr, finite)
        taken = finite and math.isfinite(grad_norm)
        self.objective.step(taken)
        stats = LossStats(self.objective)
        stats.add(examples, loss.rows)
        if taken:
            self.quantiles.add(loss.quantiles)
            for name, value in loss.terms.items():
                stats.means[name].append(value)
        seconds = time.perf_counter() - started
        tokens = sum(len(sample.labels) - sample.labels.count(-100) for sample in encoded)
        metrics = stats.metrics(loss.terms) | loss.quantiles | self.objective.state_metrics()
        metrics |= {"lr": lr, "grad_norm": grad_norm, "seconds": seconds, "tokens_per_s": tokens / max(seconds, 1e-9)}
        report = StepReport(
            step=step,
            steps=self.steps,
            metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
            groups=stats.groups(),
            refused=() if taken else tuple(example.id for example in examples),
            halved_to=None if halved_before else self.halved_to,
        )
        return report, stats

    def _accumulate(self, examples: list[Example], encoded: list[Encoded]) -> BatchLoss:
        """Leave the gradient of one batch in the parameters. If memory runs out, try once more with half the tokens."""
        try:
            return self._accumulated(examples, encoded)
        except torch.OutOfMemoryError as error:
            # Ranks that work in lockstep cannot halve one by one, so with several the first time is the end.
            if self.halved_to is not None or self.ranks.size > 1:
                raise TrainingError(
                    f"out of memory with {self.micro_tokens} padded tokens in a forward pass; the last checkpoint is "
                    "kept. Lower update.micro_tokens or update.max_length, or ask `funreason plan` what fits."
                ) from error
        # After the handler: the error holds the frames whose tensors must be freed first.
        self.parallel.step(0.0, False)
        self.objective.step(False)
        self.micro_tokens = self.halved_to = max(1, self.micro_tokens // 2)
        if self.ranks.device.type == "cuda":
            torch.cuda.empty_cache()
        return self._accumulate(examples, encoded)

    def _accumulated(self, examples: list[Example], encoded: list[Encoded]) -> BatchLoss:
        objective, device = self.objective, self.ranks.device
        denominators = objective.denominators(examples, encoded)
        terms = torch.zeros(1 + len(objective.terms), dtype=torch.float64, device=device)
        rows = torch.zeros(len(examples), len(objective.sums), dtype=torch.float64, device=device)
        # Quantiles do not add up over passes and ranks, but places do, one for each token, that all but one leave at 0.
        counts = [len(sample.parts) - 1 - sample.parts[1:].count(NONE) for sample in encoded]
        ends = list(accumulate(counts))
        values = torch.zeros(sum(counts), len(objective.values), dtype=torch.float64, device=device)

        shared = worth_sharing(encoded, self.sharing)
        self.shared_batches += shared

        def forward(piece: Sequence[int]) -> LossShare:
            chosen, samples = [examples[at] for at in piece], [encoded[at] for at in piece]
            if shared:
                batch = share_prompts(samples, pad_id=self.pad_id, device=device, dense=bool(self.no_layout) or None)
            elif self.packed and len(samples) > 1:
                batch = pack(samples, device=device)
            else:
                batch = collate(samples, pad_id=self.pad_id, device=device)
            targets, kept = batch.targets(len(samples))
            rule = objective.rule(targets, chosen, denominators)
            outputs = self.head.outputs(
                lambda: self.parallel.logits(batch.ids, kept, batch.positions, batch.mask, batch.layout), targets, rule
            )
            if why_dense := shared and (self.no_layout if batch.layout is None else batch.layout.fallback):
                self.why_dense.add(why_dense)
            return objective.loss(outputs, targets, chosen, denominators)

        for piece, share in self._passes(encoded, shared, forward):
            terms += torch.cat([share.total.detach().view(1), share.terms])
            rows[list(piece)] = share.sums
            if share.values is not None:
                places = chain.from_iterable(range(ends[at] - counts[at], ends[at]) for at in piece)
                values[list(places)] = share.values
        for parameter in objective.parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            # Each rank's loss was multiplied by their number (see `parallel`).
            parameter.grad = self.ranks.all_reduce_sum(gradient) / self.ranks.size
        together = self.ranks.all_reduce_sum(torch.cat([terms, rows.flatten(), values.flatten()])).cpu()
        terms, flat, all_values = torch.split(together, [len(terms), rows.numel(), values.numel()])
        return BatchLoss(
            dict(zip(("loss", *objective.terms), terms.tolist(), strict=True)),
            flat.view(rows.shape).tolist(),
            quantiles(objective.values, all_values.view(values.shape)),
        )

    def _passes(
        self, encoded: Sequence[Encoded], shared: bool, forward: Callable[[Sequence[int]], LossShare]
    ) -> Iterator[tuple[Sequence[int], LossShare]]:
        """Forward and backward of each of this rank's micro-batches: one by one, or one per worker thread at once."""
        num_shards = max(self.ranks.size, self.workers)
        # Worker threads share one memory, so together they hold no more than one pass may.
        micro_tokens = max(1, self.micro_tokens // self.workers)
        shards = plan_passes(
            encoded, num_shards=num_shards, micro_tokens=micro_tokens, packed=self.packed, shared=shared
        )
        if self.workers > 1:
            learned = [*trainable(self.parallel.model).values(), *self.objective.parameters()]
            yield from run_parallel(shards, forward, learned, self.ranks.device)
            return
        pieces = shards[self.ranks.rank]
        # A rank with fewer micro-batches than another runs idle passes, which add nothing.
        count = max(map(len, shards)) if self.parallel.lockstep else len(pieces)
        for number in range(count):
            last = number == count - 1
            with self.parallel.microbatch(last):
                if number >= len(pieces):
                    ids = torch.full((1, 2), self.pad_id, device=self.ranks.device)
                    self.parallel.backward(self.parallel.logits(ids, 1).sum() * 0.0, last)
                    continue
                share = forward(pieces[number])
                self.parallel.backward(share.total, last)
            yield pieces[number], share


@contextmanager
def _train_mode(model: PreTrainedModel, gradient_checkpointing: bool) -> Iterator[None]:
    was_training = model.training
    model.train()
    if gradient_checkpointing:
        # The re-entrant variant gives no gradient where the block's input needs none, as under frozen embeddings.
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    try:
        yield
    finally:
        model.train(was_training)
        if gradient_checkpointing:
            model.gradient_checkpointing_disable()  # type: ignore[no-untyped-call]


@contextmanager
def torch_settings(device: torch.device, dtype: torch.dtype, threads: int | None) -> Iterator[None]:
    """Threads, and TF32 for float32 on a GPU."""
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads or threads_before)
    try:
        with tensor_cores(device, dtype):
            yield
    finally:
        torch.set_num_threads(threads_before)
