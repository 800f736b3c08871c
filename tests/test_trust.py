"""What a stranger's configuration or run names is data until its user says that it may run."""

import os
import subprocess
import sys

import pytest

from funreason.cli import main
from funreason.plugins import files_of, load_object
from funreason.trust import TrustError, is_remembered, remember, rule

JUDGE = "from pathlib import Path\nPath({mark!r}).touch()\nasync def judge(sample):\n    return 'pass'\n"


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/funreason/trusted"


@pytest.fixture
def world(tmp_path):
    """A judge's file that leaves a mark when it is imported, and a configuration that names it."""
    mark, file, config = tmp_path / "mark", tmp_path / "mine.py", tmp_path / "theirs.yaml"
    file.write_text(JUDGE.format(mark=str(mark)))
    config.write_text(f"agents:\n  - {{name: mine, agent: '{file}:judge', after: cot}}\n")
    return mark, file, config


def said(capsys, *words):
    """The exit code of a command, and its standard error."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code, capsys.readouterr().err


def test_checking_a_configuration_runs_nothing_that_it_names_and_says_which_file_it_would(world, capsys):
    mark, file, config = world
    code, text = said(capsys, "config", "check", config)
    assert code == 2
    assert str(file) in text
    assert "--trust" in text
    assert not mark.exists()


def test_trust_is_given_once_and_lost_when_the_file_changes(world, capsys):
    mark, file, config = world
    assert said(capsys, "config", "check", config, "--trust")[0] == 0
    assert mark.exists()
    mark.unlink()
    assert said(capsys, "config", "check", config)[0] == 0
    assert mark.exists()
    mark.unlink()
    file.write_text(file.read_text() + "# changed\n")
    assert said(capsys, "config", "check", config)[0] == 2
    assert not mark.exists()


def test_a_copy_of_a_trusted_file_elsewhere_is_not_trusted(world, tmp_path):
    _, file, _ = world
    remember([file])
    (tmp_path / "other").mkdir()
    copy = tmp_path / "other" / file.name
    copy.write_bytes(file.read_bytes())
    assert is_remembered(file)
    assert not is_remembered(copy)


def test_what_the_command_line_itself_names_is_trusted(world, capsys):
    mark, file, _ = world
    setting = f"agents=[{{name: mine, agent: '{file}:judge', after: cot}}]"
    assert said(capsys, "config", "check", "--set", setting)[0] == 0
    assert mark.exists()


@pytest.mark.parametrize("key", ["model.dialects=[{}:X]", "model.call_format={}:X", "reinforcement.reward={}:X"])
def test_dialects_and_rewards_are_code_as_well(world, tmp_path, capsys, key):
    mark, file, config = world
    section, _, value = key.format(file).partition(".")
    config.write_text(f"{section}:\n  {value.replace('=', ': ', 1)}\n")
    code, text = said(capsys, "config", "check", config)
    assert code == 2
    assert str(file) in text
    assert not mark.exists()


def test_a_module_of_the_working_directory_is_a_file_and_an_installed_one_is_not(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pack").mkdir()
    for name in ("__init__.py", "inner.py"):
        (tmp_path / "pack" / name).write_text("X = 1\n")
    assert files_of("pack.inner:X") == [tmp_path / "pack/__init__.py", tmp_path / "pack/inner.py"]
    assert files_of("funreason.agents.judges.rules.stages:judge_format") == []
    assert files_of("json.decoder:JSONDecoder") == []
    assert files_of("nowhere.at.all:X") == []
    with rule("remembered"), pytest.raises(TrustError, match=r"pack/__init__\.py and .*inner\.py.*--trust"):
        load_object("pack.inner:X", "agent")
    assert "pack" not in sys.modules


def test_a_new_run_remembers_what_it_names_and_a_program_is_asked_nothing(world):
    _, file, _ = world
    assert load_object(f"{file}:judge", "agent")
    assert not is_remembered(file)
    with rule("named"):
        load_object(f"{file}:judge", "agent")
    with rule("remembered"):
        assert load_object(f"{file}:judge", "agent")


def test_a_memory_that_others_can_write_counts_for_nothing(world, own_state):
    _, file, _ = world
    remember([file])
    assert own_state.stat().st_mode & 0o777 == 0o600
    own_state.chmod(0o622)
    assert not is_remembered(file)


def test_a_home_that_cannot_be_written_stops_nothing(world, own_state):
    _, file, _ = world
    own_state.parent.parent.write_text("a file where the folder should be")
    with rule("named"):
        assert load_object(f"{file}:judge", "agent")
    assert not is_remembered(file)


def test_at_a_terminal_it_asks_and_takes_only_yes(world, tmp_path):
    mark, _, config = world
    code = "import os, pty, sys\nsys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    command = [sys.executable, "-c", code, sys.executable, "-m", "funreason", "config", "check", str(config)]
    for answer, wanted in ((b"n\n", 2), (b"y\n", 0)):
        done = subprocess.run(command, input=answer, capture_output=True, env=os.environ, check=False, timeout=120)
        assert b"Run it? [y/N]" in done.stdout, done
        assert done.returncode == wanted, done.stdout
        assert mark.exists() == (wanted == 0)
