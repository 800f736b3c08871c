"""`funreason config` and `graph`: print, validate and draw a configuration. Also: what a resumed run may change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from funreason.cli import terminal
from funreason.cli.app import AnySetting, AsJson, ConfigName, Trust
from funreason.record.plain import plain
from funreason.trust import remember, require

if TYPE_CHECKING:
    from funreason.config import Config

OUTSIDE = ("budget.", "sample.endpoints=", "fcdr.llm.endpoints=")
"""Settings that a resumed run may change: what it may still spend, and where its servers are now."""


def config_show(name: ConfigName = "default", /, *, settings: AnySetting = None, json: AsJson = False) -> int:
    """Print the resolved configuration, defaults included."""
    from funreason.config import dump_config

    config = read_config(name, {}, settings)
    if json:
        terminal.print_json(config.model_dump(mode="json"))
    else:
        print(dump_config(config), end="")
    return 0


def config_check(name: ConfigName = "default", /, *, trust: Trust = False, settings: AnySetting = None) -> int:
    """Validate a configuration, its graph and its judges, without starting anything."""
    from funreason.agents.judges.registry import check_judges
    from funreason.policies.factory import choose_sampler
    from funreason.runtime.graph import loop_graph

    config = read_config(name, {}, settings)
    graph = loop_graph(config)
    require_trusted(config, trust=trust, settings=settings)
    check_judges(config)
    terminal.console().print(
        f"{name}: fine. {len(graph.nodes)} nodes, {len(graph.edges)} edges, {config.planned_rounds} rounds."
    )
    if config.model.device != "cpu":
        terminal.console().print(str(choose_sampler(config.model)), markup=False)
    return 0


def read_config(name: str, given: dict[str, object], settings: list[str] | None) -> Config:
    """A configuration with changes from options and from --set; --set wins."""
    from funreason.config import load_config, parse_setting

    return load_config(name, given | dict(parse_setting(text) for text in settings or []))


def require_trusted(config: Config, *, trust: bool = False, settings: list[str] | None = None) -> None:
    """Raise TrustError for code that a configuration names and that may not run. Nothing is loaded.

    With `trust` it may, and so may what `settings`, the texts of --set, name.
    """
    from funreason.plugins import files_of

    named = {entry.agent: f"the agent {entry.name}" for entry in config.agents if ":" in entry.agent}
    if ":" in config.reinforcement.reward or config.reinforcement.reward.endswith(".py"):
        named[config.reinforcement.reward] = "the reward"
    named |= {name: "the dialect" for name in (config.model.call_format, *config.model.dialects) if ":" in name}
    for spec, what in named.items():
        files = files_of(spec)
        if trust or any(spec in text for text in settings or ()):
            remember(files)
        require(files, f"{what} {spec!r}")


def require_same_judges(old: Config, new: Config) -> None:
    """Raise ConfigError when other models would judge: a resumed run may move its judges, not replace them."""
    from funreason.config import ConfigError

    before, after = ({each.model for each in config.fcdr.llm.endpoints} for config in (old, new))
    if before != after:
        named = [", ".join(sorted(map(str, models))) or "none" for models in (before, after)]
        raise ConfigError(
            f"fcdr.llm.endpoints name the models {named[1]}, but the run's are {named[0]}: give each its model's name. "
            "Other judges are another run."
        )


def graph(
    *, config: ConfigName = "default", mermaid: bool = False, settings: AnySetting = None, json: AsJson = False
) -> int:
    """Check the graph of agents and draw it.

    Parameters
    ----------
    mermaid
        As Mermaid text instead of a drawing for the terminal.
    """
    from funreason.agents.judges.llm.factory import accepted_by, judged_by, uses_llm
    from funreason.bus.graph import to_mermaid, to_text
    from funreason.runtime.graph import loop_graph

    read = read_config(config, {}, settings)
    found, fcdr = loop_graph(read), read.fcdr
    if json:
        edges = [{"from": e.source, "outcome": e.outcome, "to": e.target} for e in found.edges]
        judges = dict(judged_by(fcdr)) if uses_llm(fcdr) else {}
        terminal.print_json({"nodes": [node.name for node in found.nodes], "edges": edges, "judged_by": judges})
        return 0
    print(plain(to_mermaid(found) if mermaid else to_text(found), lines=True))
    if uses_llm(fcdr) and not mermaid:
        print("\n".join(plain(f"judge of {stage}: {who}") for stage, who in judged_by(fcdr).items()))
    if read.resamples_hard_tasks and not mermaid:
        print(plain(f"\nhard tasks are accepted by {accepted_by(read)}", lines=True))
    return 0
