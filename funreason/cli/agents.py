"""`funreason agents`: list installed judges, test one against the contract of judges."""

from __future__ import annotations

import asyncio
import inspect

from rich.table import Table
from rich.text import Text

from funreason.cli import terminal
from funreason.cli.app import AsJson
from funreason.record.plain import plain

OK, FAILED = 0, 1
SIGNS = {"kept": ("✓", "green"), "broken": ("✗", "red"), "reported": ("·", "dim")}


def agents_list(*, json: AsJson = False) -> int:
    """List the judges of this package and of installed packages; broken ones with their error."""
    from funreason.agents.judges.custom import load_agent, offers
    from funreason.plugins import PluginError

    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("agent", "from", "what it does"):
        table.add_column(head, overflow="fold")
    faults = []
    rows = []
    for offer in offers():
        rows.append({"agent": offer.name, "from": offer.distribution, "version": offer.version, "error": None})
        try:
            agent = load_agent(offer.name)
        except PluginError as error:
            rows[-1]["error"] = str(error)
            said = Text("✗ cannot be used, see below", style="red")
            faults.append(str(error))
        else:
            kind = agent if inspect.isroutine(agent) else type(agent)
            rows[-1]["about"] = (inspect.getdoc(kind) or offer.spec).splitlines()[0]
            said = Text(plain(str(rows[-1]["about"])))
        table.add_row(Text(plain(offer.name)), Text(plain(f"{offer.distribution} {offer.version}")), said)
    if json:
        terminal.print_json(rows)
        return OK
    console = terminal.console()
    console.print(table)
    for fault in faults:
        console.print(Text(plain(f"\n{fault}", lines=True), style="red"))
    return OK


def agents_test(agent: str, /, *, json: AsJson = False) -> int:
    """Test a judge on ordinary and adversarial samples: outcomes, determinism, event loop, speed. Exit code 1: failed.

    Parameters
    ----------
    agent
        my_judge.py:no_pii, package.module:name, or the name of an installed agent.
    """
    from funreason.agents.judges.contract import Clause, broken, clauses
    from funreason.agents.judges.custom import load_agent
    from funreason.plugins import PluginError
    from funreason.runtime.graph import read_graph_file

    console = terminal.console()
    try:
        judge = load_agent(agent)
    except PluginError as error:
        found = [Clause("loads", "broken", str(error))]
    else:
        # What the default graph lets a judge of this name answer; nothing for one that is not in it.
        nodes = read_graph_file("fcdr").nodes
        outcomes = next((node.outcomes for node in nodes if node.name == agent), ())
        found = [Clause("loads", "kept", "and it is async"), *asyncio.run(clauses(judge, outcomes))]
    if json:
        terminal.print_json({"agent": agent, "kept": not broken(found), "clauses": [c._asdict() for c in found]})
        return FAILED if broken(found) else OK
    table = Table(box=None, pad_edge=False, show_header=False)
    for clause in found:
        sign, colour = SIGNS[clause.sign]
        table.add_row(Text(sign, style=colour), clause.name, Text(plain(clause.said, lines=True)))
    console.print(table)
    console.print(f"{plain(agent)}: {'the contract is broken' if broken(found) else 'keeps the contract'}")
    return FAILED if broken(found) else OK
