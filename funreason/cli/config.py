"""`funreason config`: print and validate a configuration. Also: which settings a resumed run may change."""

from __future__ import annotations

from funreason.cli import terminal
from funreason.cli.app import AnySetting, ConfigName
from funreason.config import Config, ConfigError, dump_config, load_config, parse_setting

OUTSIDE = ("budget.", "sample.endpoints=", "fcdr.llm.endpoints=")
"""Settings that a resumed run may change: what it may still spend, and where its servers are now."""


def config_show(name: ConfigName = "default", /, *, settings: AnySetting = None) -> int:
    """Print the resolved configuration, defaults included."""
    print(dump_config(read_config(name, {}, settings)), end="")
    return 0


def config_check(name: ConfigName = "default", /, *, settings: AnySetting = None) -> int:
    """Validate a configuration, its graph and its judges, without starting anything."""
    from funreason.agents.judges.registry import check_judges
    from funreason.policies.factory import choose_sampler
    from funreason.runtime.graph import loop_graph

    config = read_config(name, {}, settings)
    graph = loop_graph(config)
    check_judges(config)
    terminal.console().print(
        f"{name}: fine. {len(graph.nodes)} nodes, {len(graph.edges)} edges, {config.rounds} rounds."
    )
    if config.model.device != "cpu":
        terminal.console().print(str(choose_sampler(config.model)), markup=False)
    return 0


def read_config(name: str, given: dict[str, object], settings: list[str] | None) -> Config:
    """A configuration with changes from options and from --set; --set wins."""
    return load_config(name, given | dict(parse_setting(text) for text in settings or []))


def require_same_judges(old: Config, new: Config) -> None:
    """Raise ConfigError when other models would judge: a resumed run may move its judges, not replace them."""
    before, after = ({each.model for each in config.fcdr.llm.endpoints} for config in (old, new))
    if before != after:
        named = [", ".join(sorted(map(str, models))) or "none" for models in (before, after)]
        raise ConfigError(
            f"fcdr.llm.endpoints name the models {named[1]}, but the run's are {named[0]}: give each its model's name. "
            "Other judges are another run."
        )
