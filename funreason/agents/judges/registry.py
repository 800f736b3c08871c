"""The judges of a run, by node: the five stages by rules, by language models or both, and custom ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funreason.agents.judges.custom import USUAL, CustomJudge, declared, load_agent
from funreason.agents.judges.llm.acceptance import PANEL, AcceptancePanel
from funreason.agents.judges.llm.factory import require_judges
from funreason.agents.judges.llm.judge import BOTH, FACTS, LlmJudge, ModelUnlessTrivial, RulesThenModel
from funreason.agents.judges.llm.panel import Panel
from funreason.agents.judges.rules.stages import (
    CotJudge,
    FormatJudge,
    judge_parameters,
    judge_query_tool,
    judge_response,
)
from funreason.config import AgentEntry, Config, ConfigError
from funreason.policies.native_format import call_format_of

Judge = Callable[..., Any]
JUDGE_TIMEOUT_S = 60.0
ROUND_AGENTS = ("approval",)
"""Agents of the package that receive a round's message, never samples."""


def check_judges(config: Config) -> None:
    """Raise PluginError or ConfigError for judges that cannot be loaded or are not configured completely."""
    own_judges(config)
    require_judges(config.fcdr)
    form = call_format_of(config.model)
    if config.fcdr.stages.format == "llm" and not form.pythonic:
        raise ConfigError(
            f"model.call_format is {form.name}, and fcdr.stages.format is llm: the judge's prompt knows only the "
            "pythonic form. Set fcdr.stages.format=rules, which decides the form completely."
        )


def judges(config: Config, panel: Panel | None = None) -> dict[str, Judge]:
    """The five stage judges (rules, `panel` or both), that of hard-data rounds, and the custom ones, by node name."""
    rules: dict[str, Judge] = {
        "response": judge_response,
        "query_tool": judge_query_tool,
        "cot": CotJudge(require=config.fcdr.require_thinking),
        "parameters": judge_parameters,
        "format": FormatJudge(call_format_of(config.model)),
    }
    found = dict(rules)
    if config.resamples_hard_tasks:
        found[PANEL] = AcceptancePanel(panel, config.hdr)
    for stage, by in config.fcdr.stages.model_dump().items():
        if by == "rules":
            continue
        assert panel is not None, f"{stage} is judged by {by}, so it takes a panel"
        model = LlmJudge(stage, panel)
        if by == "both":
            found[stage] = RulesThenModel(rules[stage], model, BOTH[stage])
        else:
            found[stage] = ModelUnlessTrivial(rules[stage], model, FACTS[stage]) if stage in FACTS else model
    return found | own_judges(config)


def own_judges(config: Config) -> dict[str, Judge]:
    """The custom judges, by node name."""
    return {entry.name: own_judge(entry) for entry in config.agents if entry.agent not in ROUND_AGENTS}


def own_judge(entry: AgentEntry) -> CustomJudge:
    """A custom judge. ConfigError when it declares an outcome that its entry gives no target."""
    agent = load_agent(entry.agent, entry.settings)
    loose = sorted(declared(agent) - {*USUAL, *entry.outcomes})
    if loose:
        raise ConfigError(
            f"agents: {entry.name} may answer {', '.join(map(repr, loose))}, but its entry gives no target for that. "
            f"Name a node for each: `outcomes: {{{loose[0]}: regenerator}}`."
        )
    return CustomJudge(entry.name, agent, entry.timeout_s or JUDGE_TIMEOUT_S)
