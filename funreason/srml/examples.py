"""What goes into a training and what comes out: examples, settings, reports. Data only; no torch here."""

from __future__ import annotations

from typing import Literal

import msgspec

from funreason.calls.thinking import THINK_TAGS, Tags

AlphaMode = Literal["fixed", "proportional", "learnable"]
Average = Literal["sample", "token"]
Schedule = Literal["linear", "cosine", "constant"]
HeadChoice = Literal["auto", "naive", "chunked"]
Pack = Literal["auto", "never", "always"]
Strategy = Literal["none", "ddp", "fsdp2", "zero2", "zero3"]


class Example(msgspec.Struct, frozen=True):
    """A finished prompt and the completion to learn; `weight` scales the sample within its batch."""

    id: str
    prompt: str
    thinking: str | None
    answer: str
    weight: float = 1.0
    origin: str = ""
    round: int = 0
    attempt: int = 0


class LoraSettings(msgspec.Struct, frozen=True):
    """Low-rank adapters (arXiv 2106.09685): their rank, their scale `alpha / rank`, and the modules they stand on."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    """Names of linear modules, such as q_proj; none: every linear module but the head."""


class TrainSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to train. `batch_size` is in samples and fixed; `micro_tokens` only decides how a batch is cut.

    The paper's preset is batch 512, lr 4e-5, warm-up 0.05, alpha 0.7 (arXiv 2505.20192).
    """

    epochs: int = 1
    batch_size: int = 32
    micro_tokens: int = 4096
    """Tokens per forward pass, padding included; no influence on the result."""
    head: HeadChoice = "auto"
    """How the vocabulary head is taken; no influence on the result. See `srml.vocabulary`."""
    head_chunk: int | None = None
    """Tokens whose logits are held at a time; None: as many as fill 80 MiB on a CPU, 512 MiB on a GPU."""
    pack: Pack = "auto"
    """Whether samples share rows; no influence on the result. See `srml.packing`."""
    lr: float = 4e-5
    warmup_ratio: float = 0.05
    warmup_steps: int | None = None
    """Overrides `warmup_ratio` where given."""
    schedule: Schedule = "linear"
    final_lr_ratio: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    alpha_mode: AlphaMode = "fixed"
    alpha: float = 0.7
    alpha_lr: float = 0.05
    alpha_bounds: tuple[float, float] = (0.1, 0.9)
    average: Average = "sample"
    max_length: int = 2048
    think_tags: Tags = THINK_TAGS
    gradient_checkpointing: bool = False
    """Compute activations a second time instead of keeping them; no influence on the result."""
    lora: LoraSettings | None = None
    """Train adapters alone, merged into the weights at the end; None trains all weights."""
    seed: int = 0
    threads: int | None = None
    """CPU threads inside one operation; None leaves torch's own choice."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0 saves only when stopped early and at the end."""


class PartLoss(msgspec.Struct, frozen=True):
    """Mean cross-entropy per token of each part over some group of samples; None where the group has no such token."""

    think: float | None
    result: float | None
    think_tokens: int
    result_tokens: int


class StepReport(msgspec.Struct, frozen=True):
    """One optimiser step. `think` and `result` are averaged as the loss is; the splits are per-token means."""

    step: int
    steps: int
    loss: float
    think: float | None
    result: float | None
    alpha: float | None
    """The weight of thinking; None under `proportional`, where every sample has its own."""
    lr: float
    think_tokens: int
    result_tokens: int
    grad_norm: float
    seconds: float
    by_origin: dict[str, PartLoss]
    by_round: dict[int, PartLoss]
    by_attempt: dict[int, PartLoss]
    refused: tuple[str, ...] = ()
    """Ids of the batch when its loss or gradient was not finite and the step was not taken."""
    halved_to: int | None = None
    """Padded tokens per forward pass from here on, when memory ran out in this step."""


class Refusal(msgspec.Struct, frozen=True):
    """An example that was not trained on, and why."""

    id: str
    reason: str
    message: str


class TrainReport(msgspec.Struct, frozen=True):
    """A whole training. Losses are means over the steps this call took, `loss` 0 when it took none."""

    steps: int
    examples: int
    refused: list[Refusal]
    refused_steps: int
    loss: float
    think: float | None
    result: float | None
    alpha: float | None
    think_tokens: int
    result_tokens: int
    by_origin: dict[str, PartLoss]
    by_round: dict[int, PartLoss]
    by_attempt: dict[int, PartLoss]
    seconds: float
    resumed_from: int = 0
    finished: bool = True
    how: str = ""
    """In words: how the head was taken, how samples were put together, on how many threads."""
