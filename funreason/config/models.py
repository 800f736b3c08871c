"""The model, its tasks, and how it is sampled: in this process, or at the `Address` of an OpenAI-compatible server.

The API key is read from the environment when needed and never appears in settings, reprs, logs or messages. An address
that contains a secret is refused, because addresses are written into the record.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
from pydantic import Field, field_validator, model_validator

from funreason.config.augmentation import Augment
from funreason.config.section import TOOLBOX, ConfigError, Count, Mix, Section, Share, strange_category
from funreason.errors import ModelError


class Address(msgspec.Struct, frozen=True):
    """A server. `url` is its base address, usually ending with /v1; `key_env` names an environment variable.

    `extra` is added unchanged to the body of every request. `supports_json_schema` says whether the server enforces a
    JSON schema (None: detect it). ModelError when the address is invalid or contains a secret.
    """

    url: str
    model: str | None = None
    key_env: str | None = None
    concurrency: int = 16
    timeout_s: float = 120.0
    supports_json_schema: bool | None = None
    extra: dict[str, Any] = {}

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.username or parts.password or parts.query:
            raise ModelError(
                f"the address of {parts.hostname} contains a user, a password or a query, which would be written into "
                "the record. Put the key into an environment variable and that variable's name into key_env."
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelError(f"url is {self.url!r}; expected the base address of a server: http://host:port/v1")
        if self.key_env is not None and not self.key_env.isidentifier():
            raise ModelError(
                f"key_env of {self.url} is not the NAME of an environment variable; do not give the key itself"
            )

    @property
    def base(self) -> str:
        """The address without a trailing slash."""
        return self.url.rstrip("/")

    @property
    def proxied(self) -> bool:
        """Whether the environment (`HTTPS_PROXY`, `NO_PROXY`) sets a proxy for it.

        Checked once, because aiohttp looks for one in a thread for each request, which costs more than the rest of it.
        """
        parts = urlsplit(self.url)
        return parts.scheme in getproxies() and not proxy_bypass(parts.hostname or "")

    def key(self) -> str | None:
        """The key from the environment. ModelError when the variable is unset or cannot be a key."""
        if self.key_env is None:
            return None
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            name = self.key_env if self.key_env.isupper() else "given"  # anything else may be the key itself
            raise ModelError(
                f"{self.base}: key_env is {name}, but that variable is not set. Export the key, and set key_env to the "
                "variable's NAME."
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ModelError(f"{self.base}: {self.key_env} cannot be a key: it holds spaces or unprintable characters")
        return key


class Vllm(Section):
    """The vLLM engine, where `model.sampler` is or becomes `vllm`."""

    max_model_len: Count | None = None
    """Longest prompt and completion together, in tokens. Default: the model's context length."""
    max_num_seqs: Count = 256
    """Completions decoded in one batch."""
    kv_cache_gb: Annotated[float, Field(gt=0)] | None = None
    """GiB of memory for keys and values. Default: 2 on a CPU, on a GPU what `gpu_memory_utilization` leaves."""
    gpu_memory_utilization: Share = 0.5
    """The engine's share of GPU memory. The trainer and the copy that checks synced weights need the rest."""
    enforce_eager: bool | None = None
    """Run without compilation and CUDA graphs. Default: on a CPU only, where compiling takes longer than it saves."""
    tensor_parallel: Count = 1
    """GPUs the engine splits the model over."""


class Model(Section):
    """The model that is trained."""

    path: str = "toolbox"
    """A folder with safetensors and a tokenizer, `ORG/NAME[@REVISION]` on a hub (see `download`), or `toolbox`: the
    small model included in the package."""
    device: str = "cpu"
    """`cpu`, `cuda`, or one GPU as `cuda:0`."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The precision of forward and backward passes and of the saved weights; the optimizer keeps float32."""
    prompt: Literal["native", "text"] = "native"
    """`native` passes the tools to the model's chat template; `text` writes them into a system message."""
    call_format: str = "pythonic"
    """How the model is taught to write calls: `pythonic`, `json`, `hermes`, any other dialect that can be written, or
    `native`, what its chat template writes. A custom dialect is named `module:NAME` or `path/to/file.py:NAME`."""
    dialects: list[str] = []
    """Custom dialects in which calls are read as well, each named `module:NAME` or `path/to/file.py:NAME`."""
    think_tags: tuple[str, str] = ("<think>", "</think>")
    """The tags before and after the model's chain of thought."""
    template: dict[str, Any] = {}
    """Variables of the model's chat template, such as `enable_thinking: true` or a fixed `date_string`."""
    threads: int | None = None
    """CPU threads for sampling and training. Default: one per core."""
    sampler: Literal["auto", "huggingface", "vllm"] = "auto"
    """`huggingface`: transformers in this process. `vllm`: an engine that loads each round's weights while running.
    `auto`: vLLM with `device: cuda` where it is installed, else transformers."""
    cuda_graphs: bool = True
    """In this process on a GPU, replay each decoding step as one recorded graph, where a proof at the start passed."""
    vllm: Vllm = Vllm()

    @field_validator("think_tags")
    @classmethod
    def _two_tags(cls, tags: tuple[str, str]) -> tuple[str, str]:
        if not all(tag and tag == tag.strip() for tag in tags) or tags[0] in tags[1] or tags[1] in tags[0]:
            raise ValueError("expected two different tags without spaces around them, neither contained in the other")
        return tags


class Endpoint(Section):
    """An OpenAI-compatible server."""

    url: str
    """Its base address, usually ending with /v1."""
    model: str | None = None
    """The model's name at the server. Default: the only model it lists."""
    key_env: str | None = None
    """The NAME of the environment variable that holds the API key. The key itself is never written anywhere."""
    concurrency: Count = 16
    """Requests in flight. With several endpoints each request goes to the least busy one."""
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds one request may take before it is retried."""
    json_schema: bool | None = None
    """Whether the server enforces a JSON schema. Default: true for vLLM, false for others."""
    extra: dict[str, Any] = {}
    """Added unchanged to the body of every request, for options specific to this server."""

    @model_validator(mode="after")
    def _usable(self) -> Endpoint:
        try:
            Address(self.url, key_env=self.key_env)
        except ModelError as error:  # not a ValueError: pydantic would quote an address that holds a secret
            raise ConfigError(str(error)) from None
        return self


class BudgetLimits(Section):
    """What a run may use at endpoints, retries included. A run that reaches a limit stops and can be resumed."""

    tokens: Count | None = None
    """Prompt and answer tokens together."""
    requests: Count | None = None
    """Requests sent."""


class Tasks(Section):
    """The tasks the model is trained on."""

    path: str = "toolbox:new_train"
    """A data file, `hf:ORG/NAME[:SPLIT][@REVISION]` on a hub (see `download`), or `toolbox:<split>` for the embedded
    domain."""
    per_round: Count | None = None
    """Tasks per round. Each round takes the next ones, and starts again after the last.

    Default: all records of a file, or 500 of the embedded domain.
    """
    mix: Mix = {}
    """Shares of the categories, for the embedded domain only. Default: equal shares."""
    strict: bool = False
    """Refuse the whole file when one record is malformed, instead of skipping that record."""

    @model_validator(mode="after")
    def _categories_of_the_split(self) -> Tasks:
        if wrong := strange_category(self.mix, self.path if self.path.startswith(TOOLBOX) else TOOLBOX):
            raise ValueError(f"mix is {self.mix!r}, and path is {self.path!r}: {wrong}")
        return self


class Data(Section):
    """How data files are read, and what is made of their tasks."""

    augment: Augment = Augment()
    """`auto`, `off`, or shares of the kinds of tasks that are made from others, such as `{irrelevance: 0.1}`."""

    turns: Literal["each", "last"] = "each"
    """Which answers of a dialogue are used: each turn that calls and the last answer, or the last answer alone."""
    input_map: dict[str, str] = {}
    """A form's key → the key in the file, dotted where it is nested: `{query: question, answers: out.calls}`.

    Default: the keys are those of the form.
    """


class References(Section):
    """Supervised samples made from reference answers."""

    path: str
    """`toolbox:<split>`, a data file, or (supervised start only) `tasks`: the run's own tasks that have a reference."""
    count: Annotated[int, Field(ge=0)]
    """How many are drawn."""
    mix: Mix = {}
    """Shares of the categories, for the embedded domain only. Default: equal shares."""

    @model_validator(mode="after")
    def _categories_of_the_split(self) -> References:
        if wrong := strange_category(self.mix, self.path if self.path.startswith(TOOLBOX) else TOOLBOX):
            raise ValueError(f"mix is {self.mix!r}, and path is {self.path!r}: {wrong}")
        return self


class Sampling(Section):
    """How the generator samples."""

    samples_per_task: Count = 4
    """Answers to each task in a round."""
    temperature: Annotated[float, Field(gt=0)] = 0.9
    """Divides the logits before a token is drawn: higher gives more varied answers."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw only from the most likely tokens that together have this probability. 1: from all."""
    max_new_tokens: Count = 160
    """Longest completion in tokens, for samples and for the gate's items."""
    batch_tokens: Count = 131_072
    """Tokens in one sampling batch, prompts included. More is faster and needs more memory."""
    max_staleness: Annotated[int, Field(ge=0)] | None = 0
    """Train only on samples whose weights are at most this many accepted updates old. Null: on all samples."""
    endpoints: list[Endpoint] = []
    """Servers that sample in place of the trained model. The gate always measures the trained model."""
    render: Literal["server", "local"] = "server"
    """Which chat template makes the prompts for endpoints: the server's, or `local`, that of `model.path`."""
