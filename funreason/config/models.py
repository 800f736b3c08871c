"""Which model learns, who samples, and from what."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from funreason.config.address import Address
from funreason.config.section import ConfigError, Count, Mix, Section, Share
from funreason.errors import ModelError


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
    mix: Mix = {}
    """Shares of the categories, embedded domain only; by default equal."""
    strict: bool = False
    """Refuse the whole file when one record is malformed, instead of leaving that record out."""


class References(Section):
    """Supervised samples made from reference answers."""

    path: str
    """`toolbox:<split>`, a data file, or (for the warm-up) `tasks`: the run's own tasks that have a reference."""
    count: Annotated[int, Field(ge=0)]
    mix: Mix = {}
    """Shares of the categories, embedded domain only; by default equal."""


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
