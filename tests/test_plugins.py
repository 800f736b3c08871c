"""Agents of one's own: loaded when a run starts, refused with their own error."""

import asyncio

import pytest

from funreason.agents.plugins import PluginError, load_agent
from funreason.record.types import Sample, Task

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
    return Sample(id="s", task=Task(id="t", query="q", tools=[]), answer=answer)


@pytest.mark.parametrize(("name", "answers"), [("Strict", ["drop", "pass"]), ("keep", ["pass", "pass"])])
def test_a_function_and_a_class_are_both_agents(file, name, answers):
    agent = load_agent(f"{file}:{name}")
    assert [asyncio.run(agent(sample(a))) for a in ("[f(x=7)]", "[f(x=8)]")] == answers


def test_an_agent_can_be_named_by_module():
    from funreason.agents.format import judge_format

    assert load_agent("funreason.agents.format:judge_format") is judge_format


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
    from funreason.agents.cot import CotJudge

    assert isinstance(load_agent("cot"), CotJudge)


def test_a_name_that_nobody_offers_is_refused_with_those_there_are():
    with pytest.raises(PluginError, match=r"name of an installed agent\. Installed are response, query_tool"):
        load_agent("no_such_judge")


def test_a_module_that_leaves_at_import_is_refused_like_any_other(tmp_path):
    path = tmp_path / "leaves.py"
    path.write_text("raise SystemExit(3)\n")
    with pytest.raises(PluginError, match="SystemExit: 3"):
        load_agent(f"{path}:x")
