"""SRML in another trainer: `SrmlLoss` is the `compute_loss_func` of transformers' `Trainer` and TRL's `SFTTrainer`.

These trainers give their loss one micro-batch and one number, the learned tokens of the whole optimizer step. SRML
divides by samples and by tokens of each part, counted over all micro-batches and processes of the step. Trainer draws
the micro-batches of a step before the first forward pass, in `get_batch_samples`; there the loss counts them. The same
watch on `log` adds the parts to the trainer's logs. Both methods are wrapped once, for all trainers, and do nothing in
a trainer with another loss.

The loss itself is the objective of `funreason.training`, so that both take the same steps.
"""

from __future__ import annotations

import functools
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Trainer, TrainerCallback

from funreason.calls.dialects.catalogue import candidates, dialect_named
from funreason.calls.thinking import THINK_TAGS, Tags
from funreason.config.updates import Update
from funreason.objectives.protocol import (
    IGNORE,
    NONE,
    RESULT,
    THINK,
    Example,
    LossShare,
    TokenOutputs,
    TokenTargets,
)
from funreason.objectives.srml import LossDenominators, LossReduction, Srml
from funreason.policies.prompts import closes_thinking, end_of_turn, opens_thinking

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KNOWN_TAGS: tuple[Tags, ...] = (
    THINK_TAGS,
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<longcat_think>", "</longcat_think>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # OpenThinker, Sky-T1
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant"),  # gpt-oss
    ("<|channel>thought", "<channel|>"),  # Gemma 4
    ("<thought>", "</thought>"),  # EXAONE Deep
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
)
"""Tags of thinking that chat templates write, looked for in this order."""
CONTEXT_TOKENS = 32
"""Tokens of the prompt that are read to see whether it opens or closes the thinking."""
PARTS = ("think", "result")
PLAIN = Example("", "", None, "")


class DrawnBatch(NamedTuple):
    """Labels [B, T] as the trainer drew them, and the learned tokens of their S samples."""

    labels: Tensor
    targets: TokenTargets


@dataclass(slots=True)
class TrainerStep:
    """One optimizer step: the micro-batches still to come, and what the whole of it is divided by.

    Attributes:
        token_count: the number that the trainer passes with each of them.
        scale: what a share is multiplied by, so that the trainer's mean over processes is their sum.
        terms: [2], the shares of the parts' means so far, on this process.
        slope: the derivative of the shares so far by the logit of alpha.
    """

    waiting: deque[DrawnBatch]
    denominators: LossDenominators
    token_count: int | None
    scale: float
    terms: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
    slope: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))


class PartMeans:
    """Running means of the two parts over steps; a step without a part does not count for it."""

    def __init__(self) -> None:
        self._sums, self._counts = [0.0, 0.0], [0, 0]

    def add(self, *means: float | None) -> None:
        """Count one step's means of thinking and result."""
        for i, mean in enumerate(means):
            if mean is not None:
                self._sums[i] += mean
                self._counts[i] += 1

    def values(self) -> dict[str, float]:
        """The means so far, by part."""
        return {part: self._sums[i] / self._counts[i] for i, part in enumerate(PARTS) if self._counts[i]}


class SrmlLoss:
    """SRML as a drop-in loss: `SFTTrainer(..., compute_loss_func=SrmlLoss(tokenizer, alpha=0.7))`.

    Exact under gradient accumulation and over the processes of DDP, FSDP and ZeRO: each optimizer step is the one that
    `funreason.training` takes on the same samples. The trainer's logs get `loss_think` and `loss_result` (nats per
    token: the means of the parts over the step's samples, averaged over the steps since the last log) and `alpha`.

    In every run of learned tokens (label not -100) the thinking ends with the last closing tag; a run without one is
    all result, or all thinking where the thinking was opened and then cut off. Training takes rows packed with
    `position_ids` apart again; an evaluation counts each row as one sample.

    Args:
        tokenizer: the model's; its chat template says which tags enclose the thinking.
        alpha: the weight of thinking: a number from 0 to 1, `proportional` (plain fine-tuning), or `learnable`.
        average: `sample` or `token`; see `srml_loss`.
        tags: the tags of thinking, where the template does not show them. `SrmlLoss.tags` has those in use.
        dialect: the name of the dialect of calls, such as `hermes`, or `any`. With it, text before the first call is
            thinking in a run without tags. Default: it is result, as in `funreason.training`.
        alpha_start, alpha_lr, alpha_bounds: of a learnable alpha, which is kept in the trainer's checkpoints.

    Raises ValueError for an alpha that is none of these. Source: arXiv 2505.20192, section on MSL.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        alpha: float | Literal["proportional", "learnable"] = 0.7,
        *,
        average: LossReduction = "sample",
        tags: Tags | None = None,
        dialect: str | None = None,
        alpha_start: float = 0.7,
        alpha_lr: float = 0.05,
        alpha_bounds: tuple[float, float] = (0.1, 0.9),
    ) -> None:
        named = alpha in ("proportional", "learnable")
        if not named and (isinstance(alpha, str) or not 0 <= alpha <= 1):
            raise ValueError(f"alpha is {alpha!r}; use a number from 0 to 1, 'proportional' or 'learnable'.")
        update: dict[str, Any] = {"alpha": alpha_start if named else alpha, "alpha_mode": alpha if named else "fixed"}
        update |= {"loss_reduction": average, "alpha_lr": alpha_lr, "alpha_bounds": alpha_bounds}
        self.objective = Srml(Update.model_validate(update))
        self.tokenizer = tokenizer
        self.tags = tags_of(tokenizer) if tags is None else tags
        self.dialect = None if dialect in (None, "any") else dialect_named(str(dialect))
        self._reads_calls = dialect is not None
        self._end = end_of_turn(tokenizer)
        self._texts: dict[int, str] = {}
        self._step: TrainerStep | None = None
        self._means = PartMeans()
        self._evaluated = torch.zeros(4, dtype=torch.float64)
        self.think: float | None = None
        """The mean loss of thinking in the last optimizer step; None where it had none."""
        self.result: float | None = None
        """The mean loss of the result in the last optimizer step; None where it had none."""
        _watch_trainers()

    @property
    def alpha(self) -> float | None:
        """The weight of thinking now; None under `proportional`, where every sample has its own."""
        return self.objective.state_metrics().get("alpha")

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """The loss of one micro-batch, or its share of the trainer's step: a scalar that carries the gradient.

        Args:
            outputs: of the model, with `logits` [B, T, V].
            labels: [B, T], unshifted; -100 is not learned.
            num_items_in_batch: the learned tokens of the whole step, as the trainer counts them.

        Raises ValueError where the step has micro-batches that the loss was not shown.
        """
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs.logits
        if logits is None or logits.shape[:2] != labels.shape:
            raise ValueError(
                f"expected logits [B, T, V] for labels {list(labels.shape)}, found "
                f"{'none' if logits is None else list(logits.shape)}. The model must return all its logits: leave "
                "use_liger_kernel off."
            )
        kind = torch.promote_types(logits.dtype, torch.float32)
        count, step = _as_int(num_items_in_batch), self._step
        if step is not None and torch.is_grad_enabled() and count == step.token_count:
            share = self._share(logits, self._next(step, labels), step.denominators)
            step.terms += share.terms.cpu()
            for theta in self.objective.parameters():
                slope = torch.autograd.grad(share.total, theta, retain_graph=True, allow_unused=True)[0]
                step.slope += 0.0 if slope is None else slope
            return (share.total * step.scale).to(kind)
        targets = self._targets(labels)
        denominators = _denominators([targets])
        share = self._share(logits, targets, denominators)
        learned, shifted = int((labels != IGNORE).sum()), int((labels[:, 1:] != IGNORE).sum())
        factor = 1.0
        if not torch.is_grad_enabled():
            # An evaluation is a mean over samples, each process with its own; Trainer multiplies by their number
            # where it counted tokens over all of them.
            weights = torch.tensor(self._part_weights(denominators), dtype=torch.float64)
            self._evaluated += torch.cat([share.terms.cpu() * weights, weights])
            factor = 1.0 if count in (None, learned, shifted) else 1.0 / _world_size()
        elif count not in (None, learned, shifted):
            if self.objective.mode != "proportional" or self.objective.average != "token":
                raise ValueError(
                    f"num_items_in_batch is {count}, and these labels have {learned}: the step has other "
                    "micro-batches, whose samples SRML has to count. Pass the loss as compute_loss_func of "
                    "transformers' Trainer, or use srml_loss_share in a custom loop."
                )
            factor = shifted / max(count or 0, 1)
        return (share.total * factor).to(kind)

    def parts(self, labels: Tensor, input_ids: Tensor | None = None, owners: Tensor | None = None) -> Tensor:
        """What each position of `labels` [B, T] is: 0 none, 1 thinking, 2 result; [B, T].

        `input_ids` [B, T] show where a prompt opens or closes the thinking. `owners` [B, T] is the sample of each
        position, where rows hold several.
        """
        parts = torch.full(labels.shape, NONE)  # on the CPU: it is filled run by run
        seen = None if input_ids is None else input_ids.tolist()
        whose = None if owners is None else owners.tolist()
        for row, values in enumerate(labels.tolist()):
            for start, stop in _runs(values, None if whose is None else whose[row]):
                first = max(0, start - CONTEXT_TOKENS)
                before = "" if seen is None else "".join(map(self._text, seen[row][first:start]))
                thinking = self._thinking(values[start:stop], before)
                parts[row, start : start + thinking] = THINK
                parts[row, start + thinking : stop] = RESULT
        return parts.to(labels.device)

    def start_step(self, trainer: Trainer, batches: Sequence[Mapping[str, Any]], token_count: Any) -> None:
        """Count the micro-batches of the trainer's next step; called by the trainer.

        ValueError for batches whose samples cannot be told apart or whose prompts are learned, and for kinds of
        parallelism that split a sample.
        """
        _check_trainer(trainer)
        watches = (callback for callback in trainer.callback_handler.callbacks if isinstance(callback, StepWatch))
        if not any(watch.loss is self for watch in watches):
            trainer.add_callback(StepWatch(self, trainer))
            self.train_begins(trainer.state)
        waiting = deque(self._micro_batch(batch, trainer) for batch in batches)
        here = _denominators([batch.targets for batch in waiting])
        columns = [here.samples, here.with_think, here.with_result, here.think_tokens, here.result_tokens]
        # Whole numbers: a device may have no float64, and float32 cannot count all tokens.
        total = _summed(torch.tensor(columns, dtype=torch.int64), trainer.accelerator).tolist()
        # Trainer multiplies by the number of processes itself where it counts tokens over all of them.
        once = trainer.args.average_tokens_across_devices
        scale = 1.0 if once else float(trainer.accelerator.num_processes)
        self._step = TrainerStep(waiting, LossDenominators(*map(float, total)), _as_int(token_count), scale)

    def end_step(self, trainer_state: Any, accelerator: Any) -> None:
        """After an optimizer step: learn alpha, and keep the parts for the log; called by the trainer."""
        step, self._step = self._step, None
        if step is None:
            return
        found = _summed(torch.cat([step.terms, step.slope.view(1)]), accelerator)
        for theta in self.objective.parameters():
            theta.grad = found[2].clone()
            self.objective.step(not accelerator.optimizer_step_was_skipped)
            trainer_state.stateful_callbacks[type(self).__name__] = self.objective.state_dict()
        weights = self._part_weights(step.denominators)
        self.think, self.result = (float(found[i]) if weights[i] else None for i in range(2))
        self._means.add(self.think, self.result)

    def train_begins(self, trainer_state: Any) -> None:
        """At the start of a training: forget the last one; where it resumes, alpha is the checkpoint's."""
        self._step, self._means = None, PartMeans()
        kept = (trainer_state.stateful_callbacks or {}).get(type(self).__name__)
        if kept is not None:
            self.objective.load_state_dict(kept)

    def add_to_logs(self, logs: dict[str, float], accelerator: Any) -> None:
        """Add the parts to what the trainer is about to log; called by the trainer."""
        if "loss" in logs:
            logs.update({f"loss_{part}": mean for part, mean in self._means.values().items()})
            self._means = PartMeans()
            logs.update(self.objective.state_metrics())
            return
        for name in [key for key in logs if key.endswith("_loss") and key != "train_loss"][:1]:
            sums = _summed(self._evaluated, accelerator).tolist()
            self._evaluated = torch.zeros_like(self._evaluated)
            logs.update({f"{name}_{part}": sums[i] / sums[2 + i] for i, part in enumerate(PARTS) if sums[2 + i]})

    def _share(self, logits: Tensor, targets: TokenTargets, denominators: LossDenominators) -> LossShare:
        chosen = logits.flatten(0, 1)[targets.where]
        chosen = chosen.to(torch.promote_types(chosen.dtype, torch.float32))
        losses = functional.cross_entropy(chosen, targets.labels, reduction="none")
        outputs = TokenOutputs(losses, -losses.detach(), None)
        return self.objective.loss(outputs, targets, [PLAIN] * targets.counts.shape[1], denominators)

    def _part_weights(self, counted: LossDenominators) -> tuple[float, float]:
        """What the means of thinking and result are means over."""
        if self.objective.average == "token":
            return counted.think_tokens, counted.result_tokens
        return counted.with_think, counted.with_result

    def _next(self, step: TrainerStep, labels: Tensor) -> TokenTargets:
        micro_batch = step.waiting.popleft() if step.waiting else None
        if micro_batch is None or not torch.equal(micro_batch.labels.to(labels.device), labels):
            raise ValueError(
                f"these labels {list(labels.shape)} are not the next micro-batch that the trainer drew. SRML needs "
                "whole samples, in the order drawn: leave out what changes or splits batches before the loss."
            )
        targets = micro_batch.targets
        moved = (targets.where, targets.labels, targets.part, targets.sample, targets.counts)
        return TokenTargets(*(tensor.to(labels.device) for tensor in moved))

    def _micro_batch(self, batch: Mapping[str, Any], trainer: Trainer) -> DrawnBatch:
        labels, positions = batch.get("labels"), batch.get("position_ids")
        if not isinstance(labels, Tensor) or labels.ndim != 2:
            raise ValueError("a batch has no labels [B, T]; SRML learns from labels, -100 for the prompt.")
        owners = None
        if isinstance(positions, Tensor) and positions.shape == labels.shape:
            begins = positions == 0
            begins[:, 0] = True
            owners = begins.flatten().long().cumsum(0).view_as(labels) - 1
        elif getattr(trainer.args, "packing", False):
            raise ValueError(
                "packing is on and the batch has no position_ids, so its samples cannot be told apart. Use "
                "packing_strategy='bfd', or packing=False."
            )
        ids, mask = batch.get("input_ids"), batch.get("attention_mask")
        if isinstance(ids, Tensor) and ids.shape == labels.shape:
            read = torch.ones_like(labels, dtype=torch.bool)
            if isinstance(mask, Tensor) and mask.shape == labels.shape:
                read = mask.bool()
            rows = torch.arange(len(labels), device=labels.device).unsqueeze(1).expand_as(labels)
            own = rows if owners is None else owners
            size = int(own.max()) + 1 if own.numel() else 0
            learned, prompt = (
                torch.bincount(own[read & chosen], minlength=size) for chosen in (labels != IGNORE, labels == IGNORE)
            )
            unlearned = 0 if owners is None else 1  # collators that pack leave out each sample's first token
            if bool(((learned > 1) & (prompt <= unlearned)).any()):
                raise ValueError(
                    "a sample is learned from its first token on, so its prompt would count as thinking. Set the "
                    "prompt's labels to -100: in TRL, use columns prompt and completion, or assistant_only_loss=True."
                )
        else:
            ids = None
        return DrawnBatch(labels, self._targets(labels, ids, owners))

    def _targets(self, labels: Tensor, ids: Tensor | None = None, owners: Tensor | None = None) -> TokenTargets:
        samples = len(labels) if owners is None or not owners.numel() else int(owners.max()) + 1
        return TokenTargets.of(labels, self.parts(labels, ids, owners), owners, samples)

    def _thinking(self, ids: Sequence[int], before: str) -> int:
        """How many of the learned tokens `ids` after the text `before` are thinking."""
        texts = [self._text(token) for token in ids]
        text, boundary = "".join(texts), 0
        if closes_thinking(before, self.tags):
            return 0
        if self.tags[1] in text:
            boundary = text.rfind(self.tags[1]) + len(self.tags[1])
        elif opens_thinking(before, self.tags) or text.lstrip().startswith(self.tags[0]):
            return len(ids) - (ids[-1] == self._end)  # cut off while thinking
        elif self._reads_calls:
            asked = candidates(text) if self.dialect is None else [self.dialect]
            boundary = min((at for dialect in asked if (at := dialect.attempted_at(text)) > 0), default=0)
        end = 0
        for count, piece in enumerate(texts):
            end += len(piece)
            if end > boundary:  # a token that spans the end of the thinking belongs to the result
                return count
        return len(ids)

    def _text(self, token: int) -> str:
        if token not in self._texts:
            known = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
            self._texts[token] = str(self.tokenizer.decode([token], **known)) if token >= 0 else ""
        return self._texts[token]


class StepWatch(TrainerCallback):
    """Shows a trainer's steps to its `SrmlLoss`."""

    def __init__(self, loss: SrmlLoss, trainer: Trainer) -> None:
        self.loss, self.trainer = loss, trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See `SrmlLoss.train_begins`."""
        self.loss.train_begins(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See `SrmlLoss.end_step`."""
        self.loss.end_step(state, self.trainer.accelerator)


def tags_of(tokenizer: PreTrainedTokenizerBase) -> Tags:
    """The tags of thinking that the tokenizer's chat template writes, or that its vocabulary has; else `<think>`."""
    template = tokenizer.chat_template or ""
    written = "\n".join(map(str, template.values())) if isinstance(template, dict) else str(template)
    added = tokenizer.get_added_vocab()
    for tags in KNOWN_TAGS:
        if all(tag in written for tag in tags):
            return tags
    return next((tags for tags in KNOWN_TAGS if all(tag in added for tag in tags)), THINK_TAGS)


def _runs(labels: Sequence[int], owners: Sequence[int] | None) -> Iterator[tuple[int, int]]:
    """Start and end of every run of learned tokens; a run belongs to one sample."""
    start = None
    for at in range(len(labels) + 1):
        learned = at < len(labels) and labels[at] != IGNORE
        if start is not None and (not learned or (owners is not None and owners[at] != owners[start])):
            yield start, at
            start = None
        if learned and start is None:
            start = at


def _denominators(batches: Iterable[TokenTargets]) -> LossDenominators:
    total = LossDenominators(0.0, 0.0, 0.0, 0.0, 0.0)
    for targets in batches:
        for (think, result), samples in Counter(map(tuple, targets.counts.t().tolist())).items():
            total += LossDenominators.of_counts(think, result, samples)
    return total


def _watch_trainers() -> None:
    """Let every `Trainer` show its batches and its logs to the `SrmlLoss` it has; once."""
    if hasattr(Trainer.get_batch_samples, "__wrapped__"):
        return
    draw, log = Trainer.get_batch_samples, Trainer.log

    @functools.wraps(draw)
    def get_batch_samples(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        batches, token_count = draw(self, *args, **kwargs)
        if isinstance(self.compute_loss_func, SrmlLoss):
            self.compute_loss_func.start_step(self, batches, token_count)
        return batches, token_count

    @functools.wraps(log)
    def log_with_parts(self: Trainer, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if isinstance(self.compute_loss_func, SrmlLoss):
            self.compute_loss_func.add_to_logs(logs, self.accelerator)
        log(self, logs, *args, **kwargs)

    for method in (get_batch_samples, log_with_parts):
        setattr(Trainer, method.__name__, method)  # `wraps` has given it the name


def _check_trainer(trainer: Trainer) -> None:
    """ValueError for a trainer whose processes do not each have whole samples of their own."""
    if trainer.args.n_gpu > 1:
        raise ValueError(
            f"the trainer would use {trainer.args.n_gpu} GPUs by torch.nn.DataParallel, which sums the loss wrongly. "
            "Start it with `torchrun` or `accelerate launch`, or make one GPU visible (CUDA_VISIBLE_DEVICES=0)."
        )
    sizes = {"tensor": trainer.get_tp_size(), "context": trainer.get_cp_size(), "sequence": trainer.get_sp_size()}
    for name, size in sizes.items():
        if size > 1:
            raise ValueError(
                f"{name} parallelism of {size}: SrmlLoss needs whole samples that no other process has. Use DDP, FSDP "
                "or ZeRO."
            )


def _summed(values: Tensor, accelerator: Any) -> Tensor:
    """`values` added up over processes, on the CPU."""
    if accelerator.num_processes == 1:
        return values
    small = values if values.dtype == torch.int64 else values.float()
    total: Tensor = accelerator.reduce(small.to(accelerator.device), "sum")
    return total.to(values)


def _as_int(count: Any) -> int | None:
    return int(count.flatten()[0]) if isinstance(count, Tensor) else count


def _world_size() -> int:
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
