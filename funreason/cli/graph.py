"""`funreason graph`: check and draw the graph of agents."""

from __future__ import annotations

from funreason.agents.judges.llm.factory import judged_by, uses_llm
from funreason.bus.drawing import to_mermaid, to_text
from funreason.cli.app import AnySetting, ConfigName
from funreason.cli.config import read_config
from funreason.record.plain import plain
from funreason.runtime.graph import loop_graph


def graph(*, config: ConfigName = "default", mermaid: bool = False, settings: AnySetting = None) -> int:
    """Check the graph of agents and draw it.

    Parameters
    ----------
    mermaid
        As Mermaid text instead of a drawing for the terminal.
    """
    read = read_config(config, {}, settings)
    found, fcdr = loop_graph(read), read.fcdr
    print(plain(to_mermaid(found) if mermaid else to_text(found), lines=True))
    if uses_llm(fcdr) and not mermaid:
        print("\n".join(plain(f"judge of {stage}: {who}") for stage, who in judged_by(fcdr).items()))
    return 0
