"""Builds the panel of LLM judges of a run from its configuration.

It is built once, after the run's model. A run that is judged by rules alone has no panel and loads nothing for one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from funreason.agents.judges.llm.cache import VerdictCache, default_path
from funreason.agents.judges.llm.judge import DECIDABLE
from funreason.agents.judges.llm.panel import Panel
from funreason.config import Config, ConfigError, Endpoint, Fcdr, LlmJudges
from funreason.policies.endpoint.budget import SharedBudget
from funreason.policies.factory import UsageReporter, endpoint_pool
from funreason.policies.huggingface.chat import LocalChat
from funreason.policies.policy import Policy
from funreason.policies.protocol import ChatModel
from funreason.record.events import Event, JudgeUsage, LogMessage
from funreason.stop import StopRequest, cancelled_by_stop

if TYPE_CHECKING:
    from funreason.policies.endpoint.pool import EndpointPool

SELF = "self"


def uses_llm(fcdr: Fcdr) -> bool:
    """Whether any stage is judged by a language model."""
    return any(word != "rules" for word in fcdr.stages.model_dump().values())


def judged_by(fcdr: Fcdr) -> dict[str, str]:
    """What judges each stage, as text."""
    models = " and ".join(_names(fcdr.llm)) or "no model"
    words = {"rules": "rules", "llm": models, "both": f"rules, then {models} for what rules cannot decide"}
    stages = fcdr.stages.model_dump()
    return {stage: words["rules" if by == "both" and stage in DECIDABLE else by] for stage, by in stages.items()}


def require_judges(fcdr: Fcdr) -> None:
    """Raise ConfigError when a stage is set to `llm` or `both` but no model is named."""
    if not uses_llm(fcdr) or _names(fcdr.llm):
        return
    stages = ", ".join(name for name, word in fcdr.stages.model_dump().items() if word != "rules")
    raise ConfigError(
        f"fcdr.stages has a language model judge {stages}, but fcdr.llm names none. Set fcdr.llm.model to a model "
        "folder or to `self`, or set fcdr.llm.endpoints to servers: [{url: http://localhost:8000/v1}]."
    )


def panel_has_models(config: Config) -> bool:
    """Whether models decide which answers to hard tasks are accepted, in hard-data rounds."""
    return config.resamples_hard_tasks and bool(_names(config.fcdr.llm))


def accepted_by(config: Config) -> str:
    """Who accepts the answers of hard-data rounds, and by which rule, as text."""
    if not panel_has_models(config):
        return "references, as fcdr.llm names no model"
    return f"{' and '.join(_names(config.fcdr.llm))}, {config.hdr.accept}"


def build_panel(config: Config, policy: Policy | None, budget: SharedBudget) -> Panel | None:
    """The panel of a run, or None if rules judge alone. `policy` is the model in training, if there is one.

    ConfigError when no model is named, ModelError when one cannot be loaded or its address is unusable.
    """
    require_judges(config.fcdr)
    if not uses_llm(config.fcdr) and not panel_has_models(config):
        return None
    settings = config.fcdr.llm
    models: list[ChatModel] = []
    if settings.model == SELF and policy is not None:
        models.append(LocalChat(policy, f"self ({config.model.path})"))
    elif settings.model is not None:
        from funreason.policies.factory import build_policy

        path = config.model.path if settings.model == SELF else settings.model
        # Two vLLM engines cannot run in one process, and the first belongs to the model in training.
        own = config.model.model_copy(update={"path": path, "sampler": "huggingface"})
        judge, _ = build_policy(config.model_copy(update={"model": own}))
        models.append(LocalChat(judge, settings.model))
    served: dict[str | None, list[Endpoint]] = {}
    for endpoint in settings.endpoints:
        served.setdefault(endpoint.model, []).append(endpoint)
    pools = [endpoint_pool(each, budget) for each in served.values()]
    if pools:
        from funreason.policies.endpoint.sampler import EndpointChat

        models += map(EndpointChat, pools)
    cache = VerdictCache(default_path(), settings.cache_entries) if settings.cache else None
    return Panel(models, settings, config.seed, cache)


@asynccontextmanager
async def connected(panel: Panel | None, stop: StopRequest) -> AsyncIterator[None]:
    """Connect the panel's servers for the duration of the block. ModelError when one does not answer.

    Interrupted when a stop is requested before all have answered, which may take minutes.
    """
    async with AsyncExitStack() as stack:
        for pool in _pools(panel):
            await stack.enter_async_context(pool)
            await cancelled_by_stop(pool.connect(), stop)
        yield


@contextmanager
def recording_usage(panel: Panel | None, write: Callable[[Event], None]) -> Iterator[None]:
    """Write the panel's usage as events during the block; close its cache after it."""
    if panel is None:
        yield
        return
    accounts = [UsageReporter(pool.meter, "judges", write) for pool in _pools(panel)]

    def tell(asked: JudgeUsage) -> None:
        write(asked)
        for account in accounts:
            account.report(asked.round)

    panel.tally.write = tell
    try:
        yield
    finally:
        panel.tally.flush()
        if panel.cache is not None:
            panel.cache.close()
            if panel.cache.fault:
                write(LogMessage(level="warning", text=panel.cache.fault))


def shared_weights(panel: Panel, weights_id: str, round: int) -> LogMessage | None:
    """A warning if a judge has the same weights as the generator, else None."""
    names = [model.name for model in panel.models if model.weights_id == weights_id]
    if not names:
        return None
    text = (
        f"the LLM judge {', '.join(names)} shares its weights ({weights_id}) with the generator and will tend to "
        "agree with its own mistakes. Use another model as judge, or treat its verdicts with care."
    )
    return LogMessage(level="warning", text=text, round=round)


def _names(settings: LlmJudges) -> list[str]:
    servers = dict.fromkeys(each.model or each.url for each in settings.endpoints)
    return [*([settings.model] if settings.model else []), *servers]


def _pools(panel: Panel | None) -> list[EndpointPool]:
    models = panel.models if panel is not None else ()
    return [model.pool for model in models if hasattr(model, "pool")]
