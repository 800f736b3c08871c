"""The record's format has a number: a run of another one is refused in one sentence, wherever it is opened."""

import json
import re

import pytest
from recorded import Recording

from funreason.cli import main
from funreason.record.folder import open_run
from funreason.record.log import FORMAT, EventLog, FormatError, LogReader

FORMATS = {"none": None, "one": 1, "newer": FORMAT + 1}


@pytest.fixture
def runs(tmp_path):
    """A folder with a finished run, `run`, and a way to give its record another format."""
    recording = Recording(tmp_path / "run")
    recording.round(1)
    recording.log.close()
    recording.folder.heartbeat("finished")
    return tmp_path


def reformat(runs, number):
    for path in (runs / "run" / "events").glob("*.jsonl"):
        header, *lines = path.read_text().splitlines(keepends=True)
        assert json.loads(header) == {"kind": "log", "format": FORMAT}
        first = [] if number is None else [json.dumps({"kind": "log", "format": number}) + "\n"]
        path.write_text("".join([*first, *lines]))


def test_each_log_file_begins_with_the_format(tmp_path):
    EventLog(tmp_path).close()
    EventLog(tmp_path, "requeue").close()
    for path in tmp_path.glob("*.jsonl"):
        assert path.read_text() == '{"kind":"log","format":2}\n'
    assert list(LogReader(tmp_path).events()) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            "none",
            "in format 1, and this version reads format 2: open it with the version that wrote it, or start a new",
        ),
        ("one", "in format 1, and this version reads format 2: open it with the version that wrote it, or start a new"),
        ("newer", "in format 3, and this version reads format 2: open it with a newer version of funreason"),
    ],
)
def test_a_record_of_another_format_is_refused_with_what_to_do(runs, found, said):
    reformat(runs, FORMATS[found])
    for read in (lambda: open_run("run", runs), lambda: list(LogReader(runs / "run" / "events").events())):
        with pytest.raises(FormatError, match=re.escape(f"{runs / 'run'} was recorded {said}")):
            read()


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["status", "--json"],
        ["watch"],
        ["replay"],
        ["report"],
        ["dlq", "list"],
        ["dlq", "requeue"],
        ["dlq", "show"],
        ["loop", "--resume"],
        ["refine", "--resume"],
        ["whatif"],
        ["runs", "verify"],
        ["runs", "prune"],
        ["export", "--out", "copy"],
        ["track", "--tracker", "tensorboard"],
    ],
)
def test_every_command_that_opens_a_run_refuses_it(runs, capsys, command):
    reformat(runs, None)
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as left:
        main([*command, str(runs / "run")])
    assert left.value.code not in (0, None)
    assert "was recorded in format 1, and this version reads format 2" in " ".join(capsys.readouterr().err.split())
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before


def test_the_list_of_runs_shows_the_format_of_one_it_cannot_read(runs, capsys):
    reformat(runs, None)
    other = Recording(runs / "readable")
    other.round(1)
    other.folder.heartbeat("finished")
    with pytest.raises(SystemExit) as left:
        main(["runs", "list", "--run-dir", str(runs)])
    assert left.value.code == 0
    rows = {line.split()[0]: line.split()[1:3] for line in capsys.readouterr().out.splitlines()[1:]}
    assert rows["run"] == ["format", "1"]
    assert rows["readable"][0] == "finished"
