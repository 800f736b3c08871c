"""`funreason config`: show and check a configuration."""

from __future__ import annotations

from funreason.commands import terminal
from funreason.config import Config, dump_config, load_config, parse_setting


def read_config(name: str, given: dict[str, object], settings: list[str]) -> Config:
    """A configuration with changes from options and from --set; --set wins."""
    return load_config(name, given | dict(parse_setting(text) for text in settings))


def show_config(name: str, settings: list[str]) -> int:
    """Print the resolved configuration."""
    print(dump_config(read_config(name, {}, settings)), end="")
    return 0


def check(name: str, settings: list[str]) -> int:
    """Check configuration, graph and judges."""
    from funreason.loops.graphs import loop_graph
    from funreason.loops.judging import check_judges

    config = read_config(name, {}, settings)
    graph = loop_graph(config.fcdr)
    check_judges(config.fcdr)
    terminal.console().print(
        f"{name}: fine. {len(graph.nodes)} nodes, {len(graph.edges)} edges, {config.rounds} rounds."
    )
    return 0
