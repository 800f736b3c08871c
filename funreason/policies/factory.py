"""Builds policies, samplers and endpoint pools from the configuration, with one budget and usage events for all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from functools import partial
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from funreason.config import Config, Endpoint
from funreason.config.models import Address, Model
from funreason.errors import ModelError
from funreason.hub import model_name
from funreason.policies.endpoint.budget import SharedBudget, SpendMeter, Spent
from funreason.policies.fetched_models import MODELS, fetched_folder
from funreason.policies.hub_models import hub_folder
from funreason.policies.native_format import call_format_of
from funreason.policies.policy import GenerateRequest, Policy
from funreason.policies.protocol import Completion, Sampler, Sync
from funreason.policies.vllm.engine import prepare
from funreason.record.events import EndpointUsage
from funreason.record.state import State
from funreason.stop import StopRequest, cancelled_by_stop
from funreason.types import Weights

if TYPE_CHECKING:
    from funreason.policies.endpoint.pool import EndpointPool
    from funreason.policies.endpoint.sampler import EndpointSampler

PolicyForRound = Callable[[int], Policy]
"""Gives the policy that samples in a round."""
NEEDED = ("aiohttp", "tenacity")


class ServedPolicy(Policy):
    """Samples from endpoints, that is, from another model than the trained one. Calls `tell` after each request."""

    def __init__(self, sampler: EndpointSampler, tokenizer: Any, report: Callable[[], None], **how: Any) -> None:
        super().__init__(sampler, tokenizer, **how)
        self.report = report

    async def generate(self, requests: Sequence[GenerateRequest], *, greedy: bool = False) -> list[list[Completion]]:
        """The completions of each request, in order."""
        try:
            return await super().generate(requests, greedy=greedy)
        finally:
            self.report()

    async def load(self, weights: Weights) -> None:
        """Nothing to do: new weights are the learner's alone."""


class UsageReporter:
    """Writes what a `SpendMeter` has spent as usage events of `node`."""

    def __init__(self, meter: SpendMeter, node: str, write: Callable[[EndpointUsage], None]) -> None:
        self.meter, self.node, self.write = meter, node, write
        self._reported = meter.spent

    def report(self, round: int) -> None:
        """Write what was spent since the last event, if anything."""
        spent = self.meter.spent
        fresh, self._reported = spent.since(self._reported), spent
        if fresh != Spent():
            self.write(EndpointUsage(round=round, node=self.node, **msgspec.structs.asdict(fresh)))


def import_in_background() -> None:
    """Import the HTTP client in a thread: reading the certificates takes long."""

    def load() -> None:
        with suppress(ImportError):  # `endpoint_pool` says what to install
            import_module("aiohttp")

    Thread(target=load, daemon=True).start()


def budget_of(config: Config, past: State | None = None) -> SharedBudget:
    """The run's budget, minus what its record says is spent."""
    spent = Spent(**past.paid()) if past is not None else None
    return SharedBudget(config.budget.tokens, config.budget.requests, spent)


def endpoint_pool(endpoints: Sequence[Endpoint], budget: SharedBudget) -> EndpointPool:
    """The servers as one pool. ModelError for a wrong address, an unset key or a missing extra."""
    try:
        from funreason.policies.endpoint.pool import EndpointPool
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        raise ModelError(f"endpoints need {error.name}: pip install 'funreason[endpoint]'") from error
    return EndpointPool(
        [Address(e.url, e.model, e.key_env, e.concurrency, e.timeout_s, e.json_schema, e.extra) for e in endpoints],
        budget,
    )


def endpoint_sampler(config: Config, budget: SharedBudget) -> EndpointSampler | None:
    """A connected sampler over `sample.endpoints`; None if there are none. ModelError when no server answers."""
    sampler = _sampler(config, budget)
    if sampler is not None:
        sampler.connect()
    return sampler


async def connected_sampler(config: Config, budget: SharedBudget, stop: StopRequest) -> EndpointSampler | None:
    """Like `endpoint_sampler`; Interrupted when a stop is requested before the servers have answered."""
    sampler = _sampler(config, budget)
    if sampler is not None:
        async with sampler.pool as pool:
            await cancelled_by_stop(pool.connect(), stop)
    return sampler


def _sampler(config: Config, budget: SharedBudget) -> EndpointSampler | None:
    sampling = config.sample
    if not sampling.endpoints:
        return None
    pool = endpoint_pool(sampling.endpoints, budget)
    from funreason.policies.endpoint.sampler import EndpointSampler

    return EndpointSampler(
        pool,
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        tags=config.model.think_tags,
        call_format=call_format_of(config.model),
    )


def served_policy(config: Config, sampler: EndpointSampler, tokenizer: Any, report: Callable[[], None]) -> Policy:
    """A policy that asks the servers. The `tokenizer` is used only with `sample.render: local`."""
    own = tokenizer if config.sample.render == "local" else None
    model = config.model
    return ServedPolicy(
        sampler,
        own,
        report,
        style=model.prompt,
        seed=config.seed,
        tags=model.think_tags,
        variables=model.template,
        call_format=call_format_of(model),
    )


def teacher_config(config: Config) -> Config:
    """The configuration under which the teacher of the supervised start samples: `start.teacher` in place of `sample`.

    A teacher with servers of its own has its own chat template there, so none of the learner's template variables.
    """
    teacher = config.start.teacher
    changes: dict[str, Any] = {
        "samples_per_task": teacher.samples_per_reference,
        "temperature": teacher.temperature,
        "max_new_tokens": teacher.max_new_tokens,
        "top_p": 1.0,
    }
    model = config.model
    if teacher.endpoints:
        changes |= {"endpoints": teacher.endpoints, "render": "server"}
        model = model.model_copy(update={"template": {}})
    return config.model_copy(update={"model": model, "sample": config.sample.model_copy(update=changes)})


def policy_for_round(
    config: Config,
    learner: Policy,
    sampler: EndpointSampler | None,
    write: Callable[[EndpointUsage], None],
    node: str = "generator",
) -> PolicyForRound:
    """The policy of each round: the trained model, or endpoints in its place, whose usage is recorded as `node`'s.

    Hard-data rounds after the first sample at `hdr.temperature`, with top_p 1.
    """
    hard, temperature = config.samples_hard_tasks, config.hdr.temperature
    if sampler is None:
        longest = config.sample.max_new_tokens
        return lambda round: learner.with_temperature(temperature, longest) if hard(round) else learner
    account, cooler = UsageReporter(sampler.pool.meter, node, write), copy(sampler)
    cooler.temperature, cooler.top_p = temperature, 1.0

    def served(round: int) -> Policy:
        asked = cooler if hard(round) else sampler
        return served_policy(config, asked, learner.tokenizer, partial(account.report, round))

    return served


class SamplerChoice(NamedTuple):
    """The sampler that a configuration comes to on this machine, and why."""

    name: Literal["huggingface", "vllm"]
    why: str

    def __str__(self) -> str:
        return f"sampler: {self.name}, {self.why}"


def choose_sampler(model: Model) -> SamplerChoice:
    """The sampler for `model.sampler`; nothing is imported to find out."""
    if model.sampler != "auto":
        return SamplerChoice(model.sampler, "as configured")
    if model.device == "cuda":
        if find_spec("vllm") is not None:
            return SamplerChoice("vllm", "the default on a GPU where vLLM is installed")
        return SamplerChoice("huggingface", "because vLLM is not installed: pip install 'funreason[vllm]'")
    if model.device.startswith("cuda"):
        return SamplerChoice(
            "huggingface", f"because vLLM takes no device {model.device}; CUDA_VISIBLE_DEVICES with device cuda does"
        )
    return SamplerChoice("huggingface", f"the default on device {model.device}")


EMBEDDED_MODEL = "toolbox"


def build_policy(config: Config, choice: SamplerChoice | None = None) -> tuple[Policy, Weights]:
    """The policy of the trained model, and its base weights. `choice` is `choose_sampler`'s by default."""
    wait_passively()
    choice = choice or choose_sampler(config.model)
    if choice.name == "vllm":
        prepare(config.model.device, compiled=config.model.vllm.enforce_eager is False)
    from funreason.policies.cpu_threads import keep_freed_memory, use_threads
    from funreason.policies.model_files import load_model, load_tokenizer, weights_id_of

    use_threads(config.model.threads)
    keep_freed_memory()
    path, notes = model_folder(config.model.path, config.model.dtype)
    model = load_model(path, config.model.device, config.model.dtype)
    tokenizer = load_tokenizer(path, model)
    base = Weights(weights_id_of(model), path)
    try:
        sampler, started = _local_sampler(config, choice, base, model, tokenizer)
    except ModelError as error:
        if config.model.sampler != "auto" or choice.name != "vllm":
            raise
        choice = SamplerChoice("huggingface", f"because vLLM cannot be used: {error}")
        sampler, started = _local_sampler(config, choice, base, model, tokenizer)
    policy = Policy(
        sampler,
        tokenizer,
        style=config.model.prompt,
        seed=config.seed,
        tags=config.model.think_tags,
        variables=config.model.template,
        started=started,
        call_format=call_format_of(config.model),
    )
    graphs = getattr(sampler, "graphs", None)
    said = str(choice) if graphs is None else f"{choice}; {graphs.description}"
    policy.notes = [*notes, said] if config.model.device != "cpu" else notes
    return policy, base


def _local_sampler(
    config: Config, choice: SamplerChoice, base: Weights, model: Any, tokenizer: Any
) -> tuple[Sampler, Sync | None]:
    settings, sampling = config.model, config.sample
    given: dict[str, Any] = {
        "weights_id": base.id,
        "max_new_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if choice.name == "huggingface":
        from funreason.policies.huggingface.sampler import HuggingFaceSampler

        return HuggingFaceSampler(
            model, tokenizer, token_budget=sampling.batch_tokens, cuda_graphs=settings.cuda_graphs, **given
        ), None
    from funreason.policies.vllm.engine import EngineSettings
    from funreason.policies.vllm.sampler import VllmSampler

    engine = EngineSettings(**settings.vllm.model_dump())
    sampler = VllmSampler(
        base.folder, model, tokenizer, device=settings.device, dtype=settings.dtype, settings=engine, **given
    )
    return sampler, sampler.started


def wait_passively() -> None:
    """Let idle OpenMP threads sleep instead of spin, which slows a shared machine down. Call before importing torch."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("KMP_BLOCKTIME", "0")


def model_folder(name: str, dtype: str = "float32") -> tuple[Path, list[str]]:
    """The folder with the model's safetensors, and what a reader should know of it.

    A GGUF file is converted, as `dtype`, by the first call. Raises ModelError for what cannot be trained.
    """
    from funreason.policies.gguf_files import converted, gguf_of
    from funreason.policies.weight_formats import require_model_folder, require_trainable

    path = model_path(name)
    if name in MODELS and not path.exists():
        raise ModelError(f"{name} is not fetched yet; run: funreason models fetch {name}")
    file = gguf_of(path)
    if file is None:
        return path, require_trainable(require_model_folder(path))
    folder = converted(file, dtype)
    return folder, [f"weights read from {file.name}, as {dtype} in {folder}"]


def model_path(name: str) -> Path:
    """The folder of a model: a path, the embedded model's, or where a fetched model or the hub's cache has it."""
    if name == EMBEDDED_MODEL:
        return Path(str(files("funreason.data.toolbox") / "base"))
    if (on_hub := model_name(name)) is not None and (folder := hub_folder(on_hub)) is not None:
        return folder
    fetched = fetched_folder(name) if name in MODELS else None
    return Path(name) if fetched is None or Path(name).exists() else fetched
