"""How weights are changed, and what a round learns from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from funreason.config.models import Endpoint, References
from funreason.config.section import Count, Section, Share

Beta = Annotated[float, Field(ge=0, lt=1)]


class Launch(Section):
    """In how many processes an update runs. They are started for it and end with it."""

    processes: Count = 1
    """One for each GPU, as a rule; on a CPU they share the threads."""
    strategy: Literal["none", "ddp", "fsdp2", "zero2", "zero3"] = "none"
    """How the model lies over them. `ddp`: each has all of it. `zero2`: gradients and moments in slices. `zero3`,
    `fsdp2`: the weights too. `zero2` and `zero3` need DeepSpeed. `none`: one process, the one that runs the loop."""

    @model_validator(mode="after")
    def _several_need_a_strategy(self) -> Launch:
        if self.processes > 1 and self.strategy == "none":
            raise ValueError(f"{self.processes} processes need a strategy: ddp, fsdp2, zero2 or zero3")
        return self


class Lora(Section):
    """Low-rank adapters: few weights learn, on one small GPU; they are merged into plain weights at the end."""

    rank: Count = 16
    """The rank of each adapter's two matrices: higher learns more and needs more memory."""
    alpha: Count = 32
    """The adapters' scale is alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of an adapter's inputs that is zeroed in training."""
    targets: list[str] = []
    """Names of linear modules, such as q_proj; by default every linear module but the head."""


class Update(Section):
    """How weights are trained: in the supervised start and in every round."""

    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3e-4
    """The highest learning rate, reached after the warm-up."""
    epochs: Count = 1
    """Passes over the training set."""
    batch_size: Count = 16
    """Samples per optimizer step."""
    lr_warmup_steps: Annotated[int, Field(ge=0)] = 8
    """Steps over which the learning rate rises to `lr`."""
    lr_warmup_ratio: Share | None = None
    """The same as a share of all steps; overrides `lr_warmup_steps`."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after the warm-up, down to `min_lr_ratio`."""
    min_lr_ratio: Share = 0.0
    """The learning rate at the end of `linear` and `cosine`, as a share of `lr`."""
    adam_betas: tuple[Beta, Beta] = (0.9, 0.98)
    """AdamW's decay rates of the gradient's mean and of its square."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's weight decay; biases and norms have none."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """The norm that a step's gradient is clipped to."""
    alpha: Share = 0.7
    """The weight of thinking in the loss; 1 - alpha is the weight of the result."""
    alpha_mode: Literal["fixed", "proportional", "learnable"] = "fixed"
    """`fixed`: `alpha` as given. `proportional`: the share of thinking tokens, which is plain fine-tuning. `learnable`:
    trained with the weights, from `alpha` on."""
    alpha_lr: Annotated[float, Field(gt=0)] = 0.05
    """The learning rate of a learnable alpha."""
    alpha_bounds: tuple[Share, Share] = (0.1, 0.9)
    """The range of a learnable alpha."""
    loss_reduction: Literal["sample", "token"] = "sample"
    """`sample`: mean over samples of each sample's loss; `token`: mean over all tokens of the batch."""
    max_length: Count = 2048
    """Longer samples are refused, not cut."""
    micro_tokens: Count | None = None
    """Tokens per forward pass, padding included: memory against speed, no influence on the result. Default: 4,096 on a
    CPU; on a GPU as many as its free memory holds, 32,768 at most."""
    lm_head: Literal["auto", "naive", "chunked"] = "auto"
    """`chunked` never holds all logits at once, `naive` does; `auto` is chunked where the model allows, and on a GPU
    the fastest that fits, measured at the start. No influence on the result."""
    lm_head_chunk: Count | None = None
    """Tokens whose logits are held at a time; by default as many as fill 80 MiB, on a GPU 512 MiB."""
    packing: Literal["auto", "never", "always"] = "auto"
    """Several samples in one row, none attending to another, instead of padding samples of similar length. `auto`:
    with flash and flex attention. No influence on the result."""
    prefix_sharing: Literal["auto", "never", "always"] = "auto"
    """Run the prompt of several samples once, its completions after it in the same row. `auto`: where it saves a
    quarter of a batch's tokens and the model allows. No influence on the result."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: a third slower, a fraction of the memory."""
    compile: Literal["auto", "never", "always"] = "auto"
    """Fuse the operations of each decoder layer with `torch.compile`. `auto`: on a GPU, in an update long enough to
    repay it, and only where the first batch shows that it is faster and computes the same."""
    lora: Lora | None = None
    """Train adapters instead of all weights; needs the extra `lora`."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 20
    """Steps between two checkpoints: what a kill costs at most. 0 saves one only when the run is asked to stop."""
    replay: References | None = None
    """Old references mixed in against forgetting."""
    launch: Launch = Launch()

    @model_validator(mode="after")
    def _alpha_within_its_bounds(self) -> Update:
        low, high = self.alpha_bounds if self.alpha_mode == "learnable" else (0.0, 1.0)
        if not low <= self.alpha <= high:
            raise ValueError(f"alpha is {self.alpha}; a learnable alpha must lie within alpha_bounds, [{low}, {high}]")
        return self


class Teacher(Section):
    """The model that writes thinking for references, with `thinking: model` only: it answers their queries at servers.

    Its answers are judged as every sample is. An answer that passes and makes the reference's calls gives its thinking.
    """

    endpoints: list[Endpoint] = []
    """Servers with the teacher. Default: those of `sample.endpoints`."""
    samples_per_reference: Count = 1
    """Answers to each reference's query; the first usable one is taken."""
    temperature: Annotated[float, Field(gt=0)] = 0.6
    """The temperature of its answers."""
    max_new_tokens: Count = 2048
    """Longest answer in tokens, thinking included."""
    fallback: Literal["template", "none", "drop"] = "template"
    """What becomes of a reference without a usable answer: a rationale by rule, no thinking, or it is not learnt."""


class SupervisedStart(Section):
    """Training on references before the first round, as in the paper."""

    references: References | None = None
    """Default: none, the rounds start from the model as it is."""
    thinking: Literal["none", "template", "model"] = "none"
    """What references without thinking are learnt with: nothing, a short rationale by rule (`template`) that names the
    function and where each value comes from, or the thinking of another model (`model`), see `teacher`."""
    teacher: Teacher = Teacher()
    update: Update = Update()


class Train(Section):
    """What a round is trained on."""

    data: Literal["judged", "unfiltered", "references"] = "judged"
    """`judged`: samples that passed all judges. `unfiltered` (the model's first attempts as they are) and `references`
    are controls; `exact_counts` gives them the same amounts of data."""
    init_from: Literal["accepted", "base"] = "accepted"
    """Start each round's update from the weights accepted last, or from the base model."""
    max_per_task: Count = 2
    """Most samples of one task."""
    max_solved_share: Share = 1.0
    """Leave out tasks of which a larger share of first attempts passed: the model can do them already."""
    exact_counts: list[dict[str, Annotated[int, Field(ge=0)]]] = []
    """For controls: train round k on exactly `exact_counts[k-1][category]` samples of each category.
    Default: on all."""
    max_category_share: dict[str, Share] = {}
    """The largest share of a round's samples a category may have. Keeps the easiest category from taking over."""
    update: Update = Update()
