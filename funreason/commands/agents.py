"""`funreason agents`: which agents can be named by a word, and whether a judge keeps the contract."""

from __future__ import annotations

import asyncio
import inspect

from rich.table import Table
from rich.text import Text

from funreason.agents.judges.contract import Clause, broken, clauses
from funreason.agents.judges.installed import Offer, offers
from funreason.agents.judges.plugins import PluginError, load_agent
from funreason.commands import terminal
from funreason.record.plain import plain
from funreason.runtime.graph import read_graph_file

OK, FAILED = 0, 1
SIGNS = {"kept": ("✓", "green"), "broken": ("✗", "red"), "told": ("·", "dim")}


def list_agents() -> int:
    """Print what can be named, with the first line of its docstring; what cannot be loaded, with its error."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("agent", "from", "what it does"):
        table.add_column(head, overflow="fold")
    faults = []
    for offer in offers():
        said, fault = _loaded(offer)
        faults += [fault] if fault else []
        table.add_row(Text(plain(offer.name)), Text(plain(f"{offer.distribution} {offer.version}")), said)
    console = terminal.console()
    console.print(table)
    for fault in faults:
        console.print(Text(plain(f"\n{fault}", lines=True), style="red"))
    return OK


def check_agent(spec: str) -> int:
    """Print every clause of the contract for the agent that `spec` names; 1 when one is broken."""
    console = terminal.console()
    try:
        agent = load_agent(spec)
    except PluginError as error:
        found = [Clause("loads", "broken", str(error))]
    else:
        found = [Clause("loads", "kept", "and it is async"), *asyncio.run(clauses(agent, _in_graph(spec)))]
    table = Table(box=None, pad_edge=False, show_header=False)
    for clause in found:
        sign, colour = SIGNS[clause.sign]
        table.add_row(Text(sign, style=colour), clause.name, Text(plain(clause.said, lines=True)))
    console.print(table)
    console.print(f"{plain(spec)}: {'the contract is broken' if broken(found) else 'keeps the contract'}")
    return FAILED if broken(found) else OK


def _in_graph(name: str) -> tuple[str, ...]:
    """What the default graph lets a judge of this name answer; nothing for one that does not stand in it."""
    return next((node.outcomes for node in read_graph_file("fcdr").nodes if node.name == name), ())


def _loaded(offer: Offer) -> tuple[Text, str]:
    """What the list says about an offer, and the error when it cannot be used."""
    try:
        agent = load_agent(offer.name)
    except PluginError as error:
        return Text("✗ cannot be used, see below", style="red"), str(error)
    kind = agent if inspect.isroutine(agent) else type(agent)
    return Text(plain((inspect.getdoc(kind) or offer.spec).splitlines()[0])), ""
