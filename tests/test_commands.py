"""Every command: its place in the help, its examples, `--json` where it reads, and its exit code."""

import json
import shlex
import subprocess
import sys

import pytest
from command_line import funreason

from funreason.cli.app import COMMANDS, EXAMPLES, GROUPED, GROUPS, PANELS, RENAMED, app
from funreason.record.folder import RunFolder

EVERY = sorted([*COMMANDS, *GROUPED])
SCREENS = {"watch", "replay"}
WRITES = {"demo", "loop", "refine", "train", "report", "track", "export", "convert"}
WRITES |= {"dlq requeue", "runs prune", "bfcl fetch", "bfcl make", "models fetch", "toolbox make", "reward bins"}
SAYS_YES_OR_NO = {"config check"}
READS = set(EVERY) - SCREENS - WRITES - SAYS_YES_OR_NO
RUNS_LONG = ["loop", "refine", "train", "eval"]


def test_every_command_stands_in_one_panel_of_the_help():
    placed = [name for names in PANELS.values() for name in names]
    assert sorted(placed) == sorted([*COMMANDS, *GROUPS])
    told = funreason("--help").stdout
    assert [told.index(f" {panel} ─") for panel in PANELS] == sorted(told.index(f" {panel} ─") for panel in PANELS)


@pytest.mark.parametrize("name", EVERY)
def test_every_help_page_ends_with_two_examples_that_the_command_takes(name):
    assert len(set(EXAMPLES[name])) == 2
    page = funreason(*name.split(), "--help").stdout
    assert page.rstrip().endswith("\n".join(["Examples:", *(f"  {line}" for line in EXAMPLES[name])]))
    for line in EXAMPLES[name]:
        words = shlex.split(line)
        assert words[: 1 + len(name.split())] == ["funreason", *name.split()]
        command, _, _ = app.parse_args(words[1:], exit_on_error=False, print_error=False)
        assert command.__name__ in (name.replace(" ", "_"), {"eval": "evaluate"}.get(name))


@pytest.mark.parametrize("name", EVERY)
def test_an_option_is_called_alike_everywhere_and_reading_commands_have_json(name):
    page = funreason(*name.split(), "--help").stdout
    assert "--to " not in page
    assert "--no-json" not in page
    assert page.startswith(f"Usage: funreason {name} ")
    assert "[default: False]" not in page
    assert ("--json" in page) == (name in READS)
    assert ("--dry-run" in page) == (name in [*RUNS_LONG, "reproduce"])
    assert ("--verbose" in page) == (name in RUNS_LONG)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a data file, a run that refined it, and a suite."""
    folder = tmp_path_factory.mktemp("world")
    record = {
        "id": "1",
        "query": "Weather in Oslo?",
        "tools": [{"name": "get_weather", "description": "w", "parameters": {"city": {"type": "str"}}}],
        "answers": [{"name": "get_weather", "arguments": {"city": "Oslo"}}],
    }
    (folder / "data.jsonl").write_text(json.dumps(record) + "\n")
    assert funreason("refine", "data.jsonl", "--out", "runs/r", cwd=folder).returncode == 0
    assert funreason("bfcl", "make", "data.jsonl", "--out", "suite", cwd=folder).returncode == 0
    return folder


JSON = {
    "status": "status",
    "runs list": "runs list",
    "runs verify": "runs verify",
    "dlq list": "dlq list",
    "dlq show": "dlq show",
    "show": "show 1",
    "whatif": "whatif",
    "plan": "plan --config smoke",
    "graph": "graph",
    "config show": "config show",
    "bfcl validate": "bfcl validate suite",
    "models list": "models list",
    "reproduce": "reproduce --list",
    "toolbox show": "toolbox show new_dev --count 20",
    "agents list": "agents list",
    "agents test": "agents test response",
    "reward list": "reward list",
    "reward audit": "reward audit egpo --count 4",
}
"""A small call of each reading command; `eval` needs a model and is tested with its own."""


@pytest.mark.parametrize("name", sorted(READS - {"eval"}))
def test_a_reading_command_prints_nothing_but_json_when_asked(world, name):
    done = funreason(*JSON[name].split(), "--json", cwd=world)
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


def test_the_directory_of_runs_can_be_set_once_for_all_commands(world, tmp_path):
    runs = {"FUNREASON_RUNS": str(world / "runs")}
    assert json.loads(funreason("runs", "list", "--json", cwd=tmp_path, env=runs).stdout)
    assert funreason("status", "r", cwd=tmp_path, env=runs).returncode == 0
    elsewhere = funreason("status", "r", "--run-dir", tmp_path, cwd=tmp_path, env=runs)
    assert elsewhere.returncode == 1  # the option wins
    planned = funreason("loop", "--dry-run", "--config", "smoke", env=runs)
    assert f"folder: {world / 'runs'}" in planned.stdout
    finished = funreason("refine", "--resume", "r", cwd=tmp_path, env=runs)
    assert finished.returncode == 0
    assert f"{world / 'runs' / 'r'} is finished" in " ".join(finished.stderr.split())
    for command in ("loop", "demo", "watch", "report", "runs list"):
        assert "FUNREASON_RUNS" in funreason(*command.split(), "--help").stdout


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("lop", 'Unknown command "lop". Did you mean "loop"?'),
        ("loop --roundz 3", "Unknown option: --roundz. Did you mean --rounds? See: funreason loop --help"),
        ("dlq show --limit many", "See: funreason dlq show --help"),
        ("loop --config smke", "Did you mean smoke?"),
        ("loop --config smoke --run-dir /proc/x", "/proc/x: no such file or directory."),
        ("refine data.jsonl --out /proc/x", "/proc/x: no such file or directory."),
        ("loop --tasks nowhere.jsonl --run-dir out", "nowhere.jsonl: no such file"),
    ],
)
def test_every_error_is_a_line_that_begins_with_the_programs_name_and_nothing_is_announced_before(world, command, said):
    done = funreason(*command.split(), cwd=world)
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert said in done.stderr
    assert done.stderr.startswith("funreason: ")
    assert "╭" not in done.stderr
    assert "Errno" not in done.stderr


CODES = {
    "--version": 0,
    "lop": 2,
    "loop --roundz 3": 2,
    "loop --config nowhere": 2,
    "loop --dry-run --resume r": 2,
    "loop --dry-run --tasks nowhere.jsonl": 1,
    "loop --dry-run --config smoke": 0,
    "refine": 2,
    "refine nowhere.jsonl --out x": 1,
    "refine data.jsonl --dry-run": 0,
    "train nowhere.jsonl": 1,
    "eval --suite nowhere": 2,
    "eval --suite suite --dry-run": 0,
    "plan --gpu abacus": 2,
    "plan --config qwen2.5-coder-7b --gpus 1 --gpu rtx4090": 1,
    "reproduce table1": 2,
    "status nowhere": 1,
    "show nobody": 1,
    "whatif nowhere": 1,
    "replay --speed 0": 1,
    "report nowhere": 1,
    "export nowhere --out x": 1,
    "track --tracker abacus": 1,
    "convert nowhere.jsonl --format trl --out x": 1,
    "convert data.jsonl --format trl --out data.jsonl": 2,
    "dlq requeue": 1,
    "runs list --run-dir nowhere": 1,
    "config check --set sed=1": 2,
    "bfcl validate data.jsonl": 1,
    "models fetch nobody": 1,
    "toolbox make nowhere --out x": 2,
    "agents test nowhere.py:x": 1,
    "reward audit nowhere": 2,
}


@pytest.mark.parametrize("command", CODES)
def test_exit_codes_say_done_failed_or_wrong_usage(world, command):
    before = sorted(world.rglob("*"))
    done = funreason(*command.split(), cwd=world)
    assert done.returncode == CODES[command], done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr or CODES[command] < 2
    assert done.stdout or done.stderr
    assert not (done.stderr and CODES[command] == 0)
    assert sorted(world.rglob("*")) == before


def test_a_dry_run_says_what_would_be_done_and_a_data_files_faults(world):
    told = funreason("loop", "--dry-run", "--config", "smoke", cwd=world).stdout
    assert "48 of toolbox:new_train" in told
    assert "Nothing was started" in told
    (world / "bad.jsonl").write_text((world / "data.jsonl").read_text() + "{]\n")
    told = funreason("refine", "bad.jsonl", "--dry-run", cwd=world).stdout
    assert "samples: 1" in told
    assert "line 2: json.broken" in told


def test_what_a_refining_reports_goes_to_standard_output_and_its_notices_elsewhere(world):
    (world / "bad.jsonl").write_text((world / "data.jsonl").read_text() + "{]\n")
    done = funreason("refine", "bad.jsonl", "--out", "loud", cwd=world)
    assert "Stages:" in done.stdout
    assert "warning: " in done.stderr
    assert "At line 2: not JSON" in " ".join(done.stderr.split())
    assert "warning: " not in done.stdout
    done = funreason("refine", "data.jsonl", "--out", "quiet", "--quiet", cwd=world)
    assert "Stages:" in done.stdout
    assert done.stderr == ""
    assert "Judges judged" not in done.stdout
    assert "Judges judged" in funreason("refine", "data.jsonl", "--out", "all", "--verbose", cwd=world).stdout
    done = funreason("refine", "data.jsonl", "--out", "plain", cwd=world)
    assert "info: data.jsonl: 1 kept, none refused" in done.stderr
    assert "warning" not in done.stderr  # for nothing wrong


def test_a_misspelt_configuration_is_answered_with_the_nearest_name():
    assert "Did you mean smoke?" in funreason("config", "show", "smke").stderr
    assert "Did you mean" not in funreason("config", "show", "/tmp/nowhere.yaml").stderr


def test_the_first_line_of_what_if_is_the_difference(world):
    told = funreason("whatif", "--set", "fcdr.skip=[cot]", cwd=world).stdout
    assert told.splitlines()[0] == "kept 1 (+0) · unknown 0 · 1 judgements fewer"


@pytest.mark.parametrize("old", RENAMED)
def test_a_former_name_is_answered_with_the_new_one(old):
    done = funreason(*old.split(), "x")
    assert done.returncode == 2
    assert f"is called `funreason {RENAMED[old]}` now" in done.stderr


def test_a_description_is_filled_as_one_paragraph():
    words = " ".join(line.strip("│ ").strip() for line in funreason("eval", "--help").stdout.splitlines())
    assert "`toolbox` is the embedded one. [default: toolbox]" in words
    lines = [line.strip("│ ").strip() for line in funreason("eval", "--help").stdout.splitlines()]
    assert "process without" not in lines


def test_completion_knows_every_command_and_its_options():
    script = app.generate_completion(shell="bash")
    for words in (*COMMANDS, *GROUPS, "--dry-run", "--tracker"):
        assert words in script


def test_a_help_page_loads_what_it_prints_and_nothing_that_runs():
    heavy = ("pydantic", "msgspec", "networkx", "scipy", "numpy", "torch", "funreason.config", "funreason.record.log")
    code = (
        "import sys\nfrom funreason.cli.app import app\nfrom funreason.cli.app import EXAMPLES\n"
        "for name in EXAMPLES: app([*name.split(), '--help'], result_action='return_value')\n"
        f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_a_librarys_log_never_reaches_standard_output(capfd):
    code = (
        "import logging, sys\nfrom funreason.cli.terminal import library_logs\n"
        "library_logs(verbose={verbose})\nlog = logging.getLogger('DeepSpeed')\nlog.setLevel(logging.WARNING)\n"
        "log.addHandler(logging.StreamHandler(sys.stdout))\nlog.warning('a CPU'); log.error('broken')"
    )
    for verbose, said in ((False, "DeepSpeed: broken\n"), (True, "DeepSpeed: a CPU\nDeepSpeed: broken\n")):
        subprocess.run([sys.executable, "-c", code.format(verbose=verbose)], check=True)
        assert capfd.readouterr() == ("", said)


@pytest.mark.parametrize(("played", "code", "said"), [(0, 0, ""), (3, 0, "--seed gives another round"), (130, 130, "")])
def test_the_demo_ends_well_whatever_its_gate_decides(monkeypatch, played, code, said):
    monkeypatch.setattr("funreason.cli.loop.run_loop", lambda *given: played)
    done = funreason("demo", "--seed", "3")
    assert (done.returncode, done.stderr) == (code, "")
    assert said in done.stdout


@pytest.mark.slow
def test_the_demo_plays_a_whole_round_and_its_weights_are_promoted(tmp_path):
    done = funreason("demo", "--run-dir", tmp_path, "--name", "d")
    assert done.returncode == 0, done.stderr
    r = RunFolder(tmp_path / "d").state().rounds[1]
    assert r.gate.decision == "promote", r.gate.reason
    assert f"model {tmp_path / 'd' / 'model'}" in done.stdout
