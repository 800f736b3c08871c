"""The application that the commands register with, and what several of them take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

import funreason

RUNS = Path("runs")

app = App(
    name="funreason",
    help="A language model becomes a better function caller by judging, repairing and learning from its own calls.",
    version=funreason.__version__,
    help_format="plaintext",
)
dlq = App(name="dlq", help="Samples that failed: the dead letters of a run.")
runs_app = App(name="runs", help="All runs: look them over, check their files, free space.")
config_app = App(name="config", help="The configuration: look at it, check it.")
bfcl = App(name="bfcl", help="The leaderboard's data, and suites of your own in its form.")
agents = App(name="agents", help="Agents: which can be named by a word, and whether yours keeps the contract.")
app.command(agents)
app.command(dlq)
app.command(runs_app)
app.command(config_app)
app.command(bfcl)

Setting = Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=False)]
