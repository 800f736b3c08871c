"""The configuration: what a YAML file may say, in the order of a round.

Unknown keys are refused with the nearest known one. Every field has one sentence saying what changes with it;
`funreason config show` prints the whole with these sentences' values resolved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from rapidfuzz import process

from funreason.models.address import Address
from funreason.models.errors import ModelError

CONFIGS = Path(__file__).parent / "configs"
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


OWN_TASKS = "tasks"
"""As a source of references: the run's own tasks, without those held back for the gate."""


class ConfigError(Exception):
    """A configuration that cannot be used; the message says where and what to write instead."""


class Section(BaseModel):
    """A group of settings; refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Vllm(Section):
    """The vLLM engine; read only where `model.sampler` is `vllm`."""

    max_model_len: Count | None = None
    """Longest prompt and completion together, in tokens; by default the model's own context."""
    max_num_seqs: Count = 256
    """Completions decoded at once."""
    kv_cache_gb: Annotated[float, Field(gt=0)] | None = None
    """Memory for keys and values; by default 2 on a CPU, on a GPU what `gpu_memory_utilization` leaves."""
    gpu_memory_utilization: Share = 0.5
    """The engine's share of a GPU's memory; the trainer and the proof's copy of the model need the rest."""
    enforce_eager: bool | None = None
    """Compile and capture nothing; by default on a CPU only, where a compiler costs more seconds than it saves."""
    tensor_parallel: Count = 1
    """GPUs the engine's model is spread over."""


class Model(Section):
    """Which model learns."""

    path: str = "toolbox"
    """A folder with safetensors and a tokenizer, or `toolbox`, the small model that comes with the package."""
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    prompt: Literal["native", "text"] = "native"
    """`native` hands the tools to the model's chat template; `text` writes them into a system message."""
    think_tags: tuple[str, str] = ("<think>", "</think>")
    """What opens and what closes the thinking, in the model's own words."""
    template: dict[str, Any] = {}
    """Variables of the model's chat template, such as `enable_thinking: true` or a fixed `date_string`."""
    threads: int | None = None
    """CPU threads for sampling and training; by default as many as there are cores."""
    sampler: Literal["huggingface", "vllm"] = "huggingface"
    """Who writes completions: transformers in this process, or a vLLM engine that takes each round's weights alive."""
    vllm: Vllm = Vllm()

    @field_validator("think_tags")
    @classmethod
    def _two_tags(cls, tags: tuple[str, str]) -> tuple[str, str]:
        if not all(tag and tag == tag.strip() for tag in tags) or tags[0] in tags[1] or tags[1] in tags[0]:
            raise ValueError("expected two different tags without blanks around them, neither inside the other")
        return tags


class Endpoint(Section):
    """An OpenAI-compatible server that answers."""

    url: str
    """Its base address, usually ending with /v1."""
    model: str | None = None
    """The name the server knows the model by; by default the only one it lists."""
    key_env: str | None = None
    """The NAME of the environment variable that holds the key; the key itself stands nowhere."""
    concurrency: Count = 16
    """Requests on their way at once; several endpoints share the work by who has the least to do."""
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """How long one request may take before it is tried again."""
    json_schema: bool | None = None
    """Whether the server keeps to a JSON schema; by default yes for vLLM, no for others."""
    extra: dict[str, Any] = {}
    """Goes into the body of every request as it stands, for what only this server knows."""

    @model_validator(mode="after")
    def _usable(self) -> Endpoint:
        try:
            Address(self.url, key_env=self.key_env)
        except ModelError as error:  # said here and not by pydantic, which would quote an address that holds a secret
            raise ConfigError(str(error)) from None
        return self


class Budget(Section):
    """What a run may spend at endpoints, retries included; reaching it stops the run, which can be taken up again."""

    tokens: Count | None = None
    """Prompt and answer tokens together."""
    requests: Count | None = None


class Tasks(Section):
    """Where queries come from."""

    path: str = "toolbox:new_train"
    """A data file, or `toolbox:<split>` for the embedded domain."""
    per_round: Count | None = None
    """How many tasks a round samples; each round takes new ones while there are any.

    By default all records of a file, or 500 of the embedded domain.
    """
    mix: dict[str, Share] = {}
    """Shares of the categories, embedded domain only; by default equal."""
    strict: bool = False
    """Refuse the whole file when one record is malformed, instead of leaving that record out."""


class References(Section):
    """Supervised samples made from reference answers."""

    path: str
    """`toolbox:<split>`, a data file, or (for the warm-up) `tasks`: the run's own tasks that have a reference."""
    count: Annotated[int, Field(ge=0)]
    mix: dict[str, Share] = {}
    """Shares of the categories, embedded domain only; by default equal."""


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
    alpha: Count = 32
    """The adapters' scale is alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: list[str] = []
    """Names of linear modules, such as q_proj; by default every linear module but the head."""


class Update(Section):
    """How weights are changed; used by warm-up and by every round."""

    lr: Annotated[float, Field(gt=0)] = 3e-4
    epochs: Count = 1
    batch: Count = 16
    """Samples per optimiser step."""
    warmup_steps: Annotated[int, Field(ge=0)] = 8
    """Steps over which the rate rises to `lr`."""
    warmup_ratio: Share | None = None
    """The same as a share of all steps; where given, `warmup_steps` is not asked."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    alpha: Share = 0.7
    """The weight of thinking in the loss; 1 - alpha is the weight of the result."""
    alpha_mode: Literal["fixed", "proportional", "learnable"] = "fixed"
    average: Literal["sample", "token"] = "sample"
    max_length: Count = 2048
    """Longer samples are refused, not cut."""
    micro_tokens: Count = 4096
    """Tokens per forward pass, padding included: memory against speed, no influence on the result."""
    head: Literal["auto", "naive", "chunked"] = "auto"
    """The vocabulary head: `chunked` never holds all logits at once, `naive` does; `auto` is chunked where the model
    allows. No influence on the result."""
    head_chunk: Count | None = None
    """Tokens whose logits are held at a time; by default as many as fill 80 MiB, on a GPU 512 MiB."""
    pack: Literal["auto", "never", "always"] = "auto"
    """Samples one behind the other in one row, none seeing another, instead of padding those of like length. `auto`:
    under flash and flex attention. No influence on the result."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: a third slower, a fraction of the memory."""
    lora: Lora | None = None
    """Train adapters instead of all weights; needs the extra `lora`."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 20
    """Steps between two checkpoints: what a kill costs at most. 0 saves one only when the run is asked to stop."""
    replay: References | None = None
    """Old references mixed in against forgetting."""
    launch: Launch = Launch()


class Warmup(Section):
    """The first training, on references, before any sampling (the paper's own order)."""

    references: References | None = None
    """None: no warm-up."""
    update: Update = Update()


class Sampling(Section):
    """How the generator samples."""

    k: Count = 4
    """Completions per task."""
    temperature: Annotated[float, Field(gt=0)] = 0.9
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Count = 160
    """Longest completion in tokens, while sampling and on the gate's items."""
    batch_tokens: Count = 131_072
    """Tokens whose keys and values are held at once while sampling: memory against speed."""
    max_staleness: Annotated[int, Field(ge=0)] | None = 0
    """How many updates old the weights behind a sample may be for it to be trained on; null: any weights at all."""
    endpoints: list[Endpoint] = []
    """Servers that answer in place of the model that learns; the gate still asks that one. Empty: it answers itself."""
    render: Literal["server", "here"] = "server"
    """Who makes prompts for endpoints: the server's chat template, or `here` the one of model.path (same model)."""


class JudgeEntry(Section):
    """A judge of your own."""

    name: str
    agent: str
    """`module:name`, `path/to/file.py:name` or the name of an installed agent: an async function from a Sample to a
    Verdict or a word."""
    after: str = "cot"
    """The node behind which it stands."""
    edge: str = "pass"
    """The outcome of that node whose edge it stands on; its own `pass` goes on to where that edge led."""
    seconds: Annotated[float, Field(gt=0)] = 60.0
    """How long it may take over a sample; then it has failed on it."""
    outcomes: dict[str, str] = {}
    """Its outcomes beyond pass, drop and error, and the node each leads to; also for those three, to lead elsewhere.

    A way back costs the sample an attempt.
    """
    stage: Literal["response", "query_tool", "cot", "parameters", "format"] | None = None
    """The stage whose question it asks, and whose bad canaries it is tried on; null: on good ones only."""


class Canaries(Section):
    """Known good and known bad samples, made from references: the judges are tried on them before each round."""

    share: Share = 0.02
    """How many a round has, as a share of its samples, but at least ten good and ten bad ones a judge; 0: none."""
    path: str = OWN_TASKS
    """Where their references come from: `tasks`, the run's own; a data file; or `toolbox:<split>`."""
    max_false_pass: Share | None = None
    """A judge that lets a larger share of the bad ones pass stops the round; null: none does."""
    max_false_drop: Share | None = None
    """A judge that keeps a larger share of the good ones from passing stops the round; null: none does."""


Judging = Literal["rules", "llm", "both"]


class JudgedBy(Section):
    """Who judges each stage; one word stands for all five.

    `both`: rules first, and a language model only for what rules cannot tell (docs/llm-judges.md).
    """

    response: Judging = "rules"
    query_tool: Judging = "rules"
    cot: Judging = "rules"
    parameters: Judging = "rules"
    format: Judging = "rules"

    @model_validator(mode="before")
    @classmethod
    def _one_word(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given not in get_args(Judging):
            raise ValueError(f"expected one of {', '.join(get_args(Judging))}, or a mapping from stages to these")
        return dict.fromkeys(cls.model_fields, given)


class LlmJudges(Section):
    """The language models that judge where `judging` says so: each one here has a vote."""

    model: str | None = None
    """A model folder, `toolbox`, or `self`: the model in use judges itself."""
    endpoints: list[Endpoint] = []
    """Servers to ask. Those of one model share its questions; each other model is a judge more."""
    temperature: Annotated[float, Field(ge=0)] = 0.1
    """0 takes the likeliest token each time."""
    max_tokens: Count = 2048
    """Longest reply in tokens, reasoning included."""
    draws: Count = 1
    """Replies drawn from each model, each with a vote."""
    accept: Literal["unanimous", "majority", "mean"] = "unanimous"
    """Whose yes counts: that of all votes, of more than half, or a mean score of at least `threshold`."""
    threshold: Share = 0.5
    """For `accept: mean` only."""
    asks: Count = 2
    """How often a model is asked for a reply that can be read."""
    concurrency: Count = 64
    """Questions under way at once."""
    cache: bool = True
    """Keep rulings in the user's cache folder, and do not ask again for what was ruled on before."""
    cache_entries: Count = 200_000
    """Rulings kept; the least recently used go first."""


class Fcdr(Section):
    """Judging and repairing."""

    graph: str = "fcdr"
    """The graph file: a name in configs/ or a path."""
    skip: list[str] = []
    """Stages left out of the graph: what led to one leads to where its `pass` went."""
    move: dict[str, str] = {}
    """Stages set elsewhere, each behind the `pass` of the one named: `{query_tool: cot}`."""
    max_attempts: Count = 3
    regenerate: list[Literal["rerender", "rewrite", "resample", "repair"]] = [
        "rerender",
        "rewrite",
        "resample",
        "repair",
    ]
    """What the regenerator may try, in this order. `rewrite` takes an LLM judge's answer, `repair` the reference's:
    supervised data."""
    require_thinking: bool = True
    """Drop answers without thinking; off for data that has none."""
    judging: JudgedBy = JudgedBy()
    llm: LlmJudges = LlmJudges()
    judges: list[JudgeEntry] = []
    error_limit: Share = 0.2
    """A judge that errs more often than this stops the round."""
    canaries: Canaries = Canaries()
    agreement: Share = 0.02
    """The share of judgements that are made twice, to tell whether a judge agrees with itself; 0: none."""
    workers: Count = 64

    @model_validator(mode="before")
    @classmethod
    def _votes_in_short(cls, data: Any) -> Any:
        """`fcdr.accept` and `fcdr.threshold` say the same as those of `fcdr.llm`."""
        short = {key: data[key] for key in ("accept", "threshold") if key in data} if isinstance(data, dict) else {}
        if not short or not isinstance(data.get("llm", {}), dict):
            return data
        return {key: value for key, value in data.items() if key not in short} | {"llm": data.get("llm", {}) | short}


class Train(Section):
    """What a round learns from."""

    learn_from: Literal["judged", "unfiltered", "references"] = "judged"
    """`unfiltered` (own first attempts as they came) and `references` are controls; `counts` makes them fair."""
    init_from: Literal["accepted", "base"] = "accepted"
    """Start each round's update from the weights accepted last, or anew from the first ones."""
    per_task: Count = 2
    """At most this many kept samples of one task are trained on."""
    most_solved: Share = 1.0
    """Leave out tasks of which a larger share of first attempts was kept: they teach next to nothing new."""
    counts: list[dict[str, Annotated[int, Field(ge=0)]]] = []
    """For controls: train round k on counts[k-1][category] samples of each category. Empty: on all."""
    quotas: dict[str, Share] = {}
    """The largest share of a round's samples each category may have; keeps the easiest class from taking over."""
    update: Update = Update()


class Suite(Section):
    """A set of gate items."""

    path: str
    """A folder of BFCL-format files, `toolbox:<split>`, or `tasks:held_out` to hold back part of the task file."""
    count: Count | None = None
    seed: int = 0
    """Which items an embedded suite draws. It does not follow the run's seed: runs are compared on the same items."""
    role: Literal["decide", "guard", "watch"] = "decide"
    """`decide`: its accuracy promotes. `guard`: it only forbids, when it falls too far. `watch`: only reported."""


class Contamination(Section):
    """What to do with training tasks whose query stands in the gate."""

    mode: Literal["drop", "report"] = "drop"
    """`drop` leaves them out; `report` trains on them all the same. Both count them in the round's table."""
    near: Annotated[float, Field(ge=0.5, le=1)] | None = 0.8
    """How alike the letters of two queries must be to count as near duplicates, if beyond that no word of substance
    differs; null looks for exact duplicates only."""

    @model_validator(mode="before")
    @classmethod
    def _mode_alone(cls, given: Any) -> Any:
        return {"mode": given} if isinstance(given, str) else given


class Gate(Section):
    """When new weights are kept."""

    suites: dict[str, Suite] = {}
    min_gain: float = 0.0
    """Points the deciding suite must gain (more than this) for a promotion."""
    significant: bool = False
    """Ask for an exact McNemar p of at most `p` as well."""
    p: Share = 0.05
    max_category_loss: float = 5.0
    """A category that falls by more points than this, with p at most `p`, refuses the round."""
    max_guard_loss: float = 5.0
    """A guard suite that falls more points than this below its value before the first round refuses the round."""
    contamination: Contamination = Contamination()
    """Training tasks whose query stands in the gate: the rounds' own, the warm-up's and those of the replay."""


class Config(Section):
    """A whole run."""

    rounds: Count = 3
    seed: int = 0
    run_dir: Path = Path("runs")
    name: str | None = None
    """The run's folder under run_dir; by default made from the date."""
    model: Model = Model()
    tasks: Tasks = Tasks()
    warmup: Warmup = Warmup()
    sample: Sampling = Sampling()
    fcdr: Fcdr = Fcdr()
    train: Train = Train()
    gate: Gate = Gate()
    budget: Budget = Budget()


def load_config(path: str | Path, changes: dict[str, Any] | None = None) -> Config:
    """Read a configuration by path or by its name in configs/; `changes` maps dotted keys to values and wins."""
    file = find_config(path)
    try:
        data = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not readable YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{file} must hold a mapping of settings, found {type(data).__name__}")
    for key, value in (changes or {}).items():
        _set(data, key, value)
    return check_config(data, str(file))


def find_config(path: str | Path) -> Path:
    """The file of a configuration; ConfigError lists the names in configs/."""
    for file in (Path(path), CONFIGS / f"{path}.yaml"):
        if file.is_file():
            return file
    known = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml")))
    raise ConfigError(f"no configuration {path}: neither a file nor one of {known}")


def check_config(data: dict[str, Any], where: str) -> Config:
    """Validate plain data; ConfigError names every wrong key, what was expected and the nearest known key."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        lines = [_sentence(e) for e in error.errors()]
        raise ConfigError("\n".join(f"{where}: {line}" for line in lines)) from error


def parse_setting(text: str) -> tuple[str, Any]:
    """`key=value` from the command line; the value is read as YAML."""
    key, found, value = text.partition("=")
    if not found:
        raise ConfigError(f"--set {text}: expected key=value, such as sample.k=8")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not readable YAML: {error}") from error


def dump_config(config: Config) -> str:
    """The configuration as YAML, every default spelled out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=120)


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        inner = data.setdefault(part, {})
        if inner is None:
            inner = data[part] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {key}: {part} is {inner!r}, not a group of settings")
        data = inner
    data[last] = value


def _sentence(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{key} is {error['input']!r}: {error['msg']}"
    known = _known_keys(error["loc"][:-1])
    best = process.extractOne(str(error["loc"][-1]), known)
    nearest = f" Did you mean {best[0]}?" if best and best[1] >= 55 else ""
    return f"unknown key {key}.{nearest} Known here: {', '.join(known)}."


def _known_keys(path: tuple[Any, ...]) -> list[str]:
    section: type[Section] = Config
    for part in path:
        field = section.model_fields.get(str(part))
        if field is None:
            continue  # a list index or the key of a mapping: stay with its item type
        section = _section_of(field.annotation) or section
    return list(section.model_fields)


def _section_of(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section_of(inner)
        if found:
            return found
    return None
