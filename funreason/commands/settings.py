"""`funreason config`: show and check a configuration; and what of one a run that goes on may be given anew."""

from __future__ import annotations

from funreason.commands import terminal
from funreason.config import Config, ConfigError, dump_config, load_config, parse_setting

OUTSIDE = ("budget.", "sample.endpoints=", "fcdr.llm.endpoints=")
"""Settings that a run which goes on may be given anew: what it may still spend, and where its servers are by now."""


def read_config(name: str, given: dict[str, object], settings: list[str]) -> Config:
    """A configuration with changes from options and from --set; --set wins."""
    return load_config(name, given | dict(parse_setting(text) for text in settings))


def show_config(name: str, settings: list[str]) -> int:
    """Print the resolved configuration."""
    print(dump_config(read_config(name, {}, settings)), end="")
    return 0


def check(name: str, settings: list[str]) -> int:
    """Check configuration, graph and judges."""
    from funreason.agents.judges.registry import check_judges
    from funreason.runtime.graph import loop_graph

    config = read_config(name, {}, settings)
    graph = loop_graph(config)
    check_judges(config)
    terminal.console().print(
        f"{name}: fine. {len(graph.nodes)} nodes, {len(graph.edges)} edges, {config.rounds} rounds."
    )
    return 0


def require_same_judges(old: Config, new: Config) -> None:
    """Raise ConfigError when other models would judge: where they are served may change, who they are may not."""
    before, after = ({each.model for each in config.fcdr.llm.endpoints} for config in (old, new))
    if before != after:
        named = [", ".join(sorted(map(str, models))) or "none" for models in (before, after)]
        raise ConfigError(
            f"fcdr.llm.endpoints name the models {named[1]}, but the run's are {named[0]}: give each its model's name. "
            "Other judges are another run."
        )
