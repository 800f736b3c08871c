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

RunName = Annotated[str | None, Parameter(help="The run's name or folder. Default: the newest.")]
AnyRun = Annotated[str | None, Parameter(help="The run's name or folder. Default: all.")]
RunDir = Annotated[Path, Parameter(help="Where runs lie.")]
Reason = Annotated[str, Parameter(help="Only reasons like this, for example 'schema.*'.")]
ConfigName = Annotated[str, Parameter(help="A YAML file, or a name in configs/.")]
DataFile = Annotated[Path, Parameter(help="xLAM, share-gpt, OpenAI or BFCL form; .json, .jsonl, .gz.")]
Strict = Annotated[bool, Parameter(help="Refuse a file with one malformed record, instead of leaving that record out.")]
NoCache = Annotated[
    bool,
    Parameter(negative="", help="Ask the LLM judges everything anew: no verdict is read from the cache, none is kept."),
]
Setting = Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=False)]
"""One changed setting; a command that has an example of its own says it in its docstring."""
AnySetting = Annotated[
    Setting, Parameter(help="Change one setting, such as --set sample.samples_per_task=8. Can be given several times.")
]
