"""Agents of one's own: loaded when a run starts, refused with their own error."""

import asyncio
import os
import subprocess
import sys

import pytest

from funreason.agents.judges.custom import load_agent
from funreason.plugins import PluginError
from funreason.types import Sample, Task

GOOD = """
class Strict:
    async def __call__(self, sample):
        return "drop" if "7" in sample.answer else "pass"

async def keep(sample):
    return "pass"

def not_async(sample):
    return "pass"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    return path


def sample(answer: str) -> Sample:
    return Sample.of(id="s", task=Task.of(id="t", query="q", tools=[]), answer=answer)


@pytest.mark.parametrize(("name", "answers"), [("Strict", ["drop", "pass"]), ("keep", ["pass", "pass"])])
def test_a_function_and_a_class_are_both_agents(file, name, answers):
    agent = load_agent(f"{file}:{name}")
    assert [asyncio.run(agent(sample(a))) for a in ("[f(x=7)]", "[f(x=8)]")] == answers


def test_an_agent_can_be_named_by_module():
    from funreason.agents.judges.rules.stages import judge_format

    assert load_agent("funreason.agents.judges.rules.stages:judge_format") is judge_format


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nocolon", "expected `module:name`"),
        ("{file}:missing", "has no 'missing'; it has Strict, keep, not_async"),
        ("{file}:not_async", "`async def` is missing"),
        ("{file}x.py:keep", "there is no file"),
        ("no.such.module:keep", "No module named 'no'"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(file, spec, said):
    with pytest.raises(PluginError, match=said):
        load_agent(spec.format(file=file))


def test_a_plugin_that_fails_at_import_is_named_with_its_traceback(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("1 / 0\n")
    with pytest.raises(PluginError, match=r"broken\.py failed:\n[\s\S]*ZeroDivisionError"):
        load_agent(f"{path}:x")


@pytest.mark.parametrize(("body", "said"), [("self, limit", "missing 1 required"), ("self, x=1 / 0", "ZeroDivision")])
def test_a_class_that_cannot_be_built_is_named_with_its_own_error(tmp_path, body, said):
    path = tmp_path / "needs.py"
    path.write_text(f"class Needs:\n    def __init__({body}): ...\n    async def __call__(self, sample): ...\n")
    with pytest.raises(PluginError, match=rf"needs\.py[\s\S]*{said}"):
        load_agent(f"{path}:Needs")


def test_a_class_whose_making_raises_is_refused(tmp_path):
    path = tmp_path / "raises.py"
    path.write_text("class Raises:\n    def __init__(self):\n        raise OSError('no licence')\n")
    with pytest.raises(PluginError, match=r"built without arguments, and Raises\(\) failed:[\s\S]*no licence"):
        load_agent(f"{path}:Raises")


def test_a_judge_of_the_package_can_be_named_by_its_stage():
    from funreason.agents.judges.rules.stages import CotJudge

    assert isinstance(load_agent("cot"), CotJudge)


def test_a_name_that_nobody_offers_is_refused_with_those_there_are():
    with pytest.raises(PluginError, match=r"name of an installed agent\. Installed agents: response, query_tool"):
        load_agent("no_such_judge")


def test_a_module_that_leaves_at_import_is_refused_like_any_other(tmp_path):
    path = tmp_path / "leaves.py"
    path.write_text("raise SystemExit(3)\n")
    with pytest.raises(PluginError, match="SystemExit: 3"):
        load_agent(f"{path}:x")


def test_a_file_may_hold_a_dataclass_whose_annotations_are_read_late(tmp_path):
    path = tmp_path / "late.py"
    head = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    path.write_text(
        f"{head}@dataclass\nclass Late:\n    word: str = 'pass'\n    async def __call__(self, sample):\n"
        "        return self.word\n"
    )
    assert asyncio.run(load_agent(f"{path}:Late")(sample("[]"))) == "pass"


def test_two_files_of_one_name_are_two_modules(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"async def judge(sample):\n    return {folder!r}\n")
    one, two = (load_agent(f"{tmp_path / folder / 'mine.py'}:judge") for folder in ("one", "two"))
    assert [sys.modules[agent.__module__].judge for agent in (one, two)] == [one, two]


def test_a_file_that_fails_leaves_no_module_behind(tmp_path):
    path = tmp_path / "half_made.py"
    path.write_text("1 / 0\n")
    with pytest.raises(PluginError):
        load_agent(f"{path}:x")
    assert not [name for name in sys.modules if "half_made" in name]


def test_a_traceback_begins_with_the_plug_ins_own_line(tmp_path):
    path = tmp_path / "settings.py"
    path.write_text("import json\nSETTINGS = json.loads('{oops')\n")
    with pytest.raises(PluginError) as error:
        load_agent(f"{path}:x")
    lines = [line.strip() for line in str(error.value).splitlines()]
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[2].startswith(f'File "{path}", line 2')
    assert lines[3] == "SETTINGS = json.loads('{oops')"
    assert lines[-1].startswith("json.decoder.JSONDecodeError: ")


def test_a_very_deep_traceback_is_told_by_its_two_ends(tmp_path):
    path = tmp_path / "deep.py"
    path.write_text("def a():\n    b()\n\ndef b():\n    a()\n\na()\n")
    with pytest.raises(PluginError) as error:
        load_agent(f"{path}:x")
    assert f'File "{path}", line 7' in str(error.value)
    assert "lines left out" in str(error.value)
    assert "RecursionError" in str(error.value)
    assert len(str(error.value).splitlines()) < 50


def console(cwd, spec):
    """`funreason agents test` as its console script runs it, which has no working directory to import from."""
    code = "import sys; sys.argv[0] = 'funreason'; from funreason.cli import main; main()"
    command = [sys.executable, "-P", "-c", code, "agents", "test", spec]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=os.environ)


def test_a_module_may_lie_in_the_working_directory_and_a_file_beside_its_helpers(tmp_path):
    (tmp_path / "beside_the_judge.py").write_text("WORD = 'pass'\n")
    judge = (
        "from beside_the_judge import WORD\nclass Mine:\n    async def __call__(self, sample):\n        return WORD\n"
    )
    (tmp_path / "judge_from_here.py").write_text(judge)
    (tmp_path / "elsewhere").mkdir()
    for cwd, spec in ((tmp_path, "judge_from_here:Mine"), (tmp_path / "elsewhere", "../judge_from_here.py:Mine")):
        done = console(cwd, spec)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_class_is_built_with_the_settings_of_its_entry(tmp_path):
    path = tmp_path / "words.py"
    path.write_text(
        "class AtMost:\n    def __init__(self, words=200):\n        self.words = words\n"
        "    async def __call__(self, sample):\n        return 'pass'\n"
        "async def plain(sample):\n    return 'pass'\n"
    )
    assert load_agent(f"{path}:AtMost", {"words": 3}).words == 3
    assert load_agent(f"{path}:AtMost").words == 200
    with pytest.raises(PluginError, match="with the settings wrods, and AtMost"):
        load_agent(f"{path}:AtMost", {"wrods": 3})
    with pytest.raises(PluginError, match="is a function and takes no settings"):
        load_agent(f"{path}:plain", {"words": 3})
