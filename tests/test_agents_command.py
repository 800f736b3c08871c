"""`funreason agents`: what can be named by a word, the contract test, and an example package really installed."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import command_line
import pytest

from funreason.agents.judges.contract import adversarial_samples, clauses
from funreason.agents.judges.custom import JUDGES, load_agent
from funreason.record.folder import RunFolder
from funreason.runtime.graph import read_graph_file

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "no-pii"
AGENTS = '''
import asyncio, time
from funreason.bus.agent import Emit

asked = 0

async def careful(sample):
    """Passes all."""
    await asyncio.sleep(0)
    return "pass"

async def encodes(sample):
    sample.answer.encode()
    return "pass"

async def undeclared(sample):
    return "perhaps"

async def declares(sample):
    return Emit("perhaps", sample)

declares.outcomes = ("perhaps",)

async def blocks(sample):
    time.sleep(0.3 if sample.id == "nasty/prose" else 0)
    return "pass"

async def moody(sample):
    global asked
    asked += 1
    return "pass" if asked % 2 else "drop"

moody.deterministic = True

async def writes(sample):
    sample.task.tools.append({})
    return "pass"

async def silent(sample):
    return None

async def leaves(sample):
    raise SystemExit(0)

async def never(sample):
    while sample.id == "nasty/prose":
        pass
    return "pass"

async def waits(sample):
    if sample.id == "nasty/prose":
        await asyncio.sleep(3600)
    return "pass"

async def tires(sample):
    if times_asked(sample) > 2:
        raise RuntimeError("the server is tired")
    return "pass"

async def stalls(sample):
    if times_asked(sample) > 2:
        await asyncio.sleep(3600)
    return "pass"

async def wants_two(sample, other):
    return "pass"

async def cancels(sample):
    raise asyncio.CancelledError

class Odd(BaseException):
    pass

async def odd(sample):
    raise Odd("no exception of the usual kind")

async def impatient(sample):
    async with asyncio.timeout(0):
        await asyncio.sleep(3600)

counts = {}

def times_asked(sample):
    counts[sample.id] = counts.get(sample.id, 0) + 1
    return counts[sample.id]
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(AGENTS)
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which pip has installed the example, and a package whose module cannot be imported."""
    work = tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE, work / "no-pii")
    broken = work / "broken"
    broken.mkdir()
    (broken / "oh_no.py").write_text("import sys\nsys.exit('no licence found')\n")
    entry = '[project.entry-points."funreason.agents"]\nbroken = "oh_no:judge"\n'
    tools = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    project = '[project]\nname = "oh-no"\nversion = "3.0"\n[tool.setuptools]\npy-modules = ["oh_no"]\n'
    (broken / "pyproject.toml").write_text(tools + project + entry)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    for package in ("no-pii", "broken"):
        subprocess.run([*pip, "--target", str(work / "site"), str(work / package)], check=True, capture_output=True)
    return work / "site"


def funreason(*arguments, site=None, cwd=None):
    with patch.object(sys, "path", [*([str(site)] if site else []), *sys.path]):
        return command_line.funreason(*arguments, env={"COLUMNS": "200"}, cwd=cwd)


def signs(spec, outcomes=()) -> dict[str, str]:
    found = asyncio.run(clauses(load_agent(str(spec)), outcomes))
    return {clause.name: clause.sign for clause in found}


@pytest.mark.parametrize("stage", JUDGES)
def test_the_five_judges_keep_the_contract(stage):
    outcomes = read_graph_file("fcdr").node(stage).outcomes
    assert "broken" not in signs(stage, outcomes).values()


@pytest.mark.parametrize(
    ("name", "clause"),
    [
        ("careful", None),
        ("declares", None),
        ("encodes", "answers"),
        ("silent", "answers"),
        ("leaves", "answers"),
        ("tires", "answers"),
        ("wants_two", "answers"),
        ("cancels", "answers"),
        ("odd", "answers"),
        ("impatient", "answers"),
        ("undeclared", "outcomes"),
        ("moody", "deterministic"),
        ("blocks", "event loop"),
        ("writes", "samples"),
    ],
)
def test_each_breach_of_the_contract_breaks_its_own_clause(file, name, clause):
    broken = {clause for clause, sign in signs(f"{file}:{name}").items() if sign == "broken"}
    assert broken == ({clause} if clause else set())


@pytest.mark.parametrize("name", ["never", "waits"])
def test_a_judge_that_never_answers_is_cut_and_named(file, name, monkeypatch):
    monkeypatch.setattr("funreason.agents.judges.contract.LIMIT_S", 0.5)
    found = {clause.name: clause for clause in asyncio.run(clauses(load_agent(f"{file}:{name}")))}
    assert found["answers"].sign == "broken"
    assert "nasty/prose" in found["answers"].said


def test_a_judge_that_stalls_only_when_its_speed_is_taken_is_cut_and_named(file, monkeypatch):
    monkeypatch.setattr("funreason.agents.judges.contract.LIMIT_S", 0.5)
    found = {clause.name: clause for clause in asyncio.run(clauses(load_agent(f"{file}:stalls")))}
    assert found["answers"].sign == "broken"
    assert "asked again: no answer within" in found["answers"].said


def test_a_judge_that_raises_a_timeout_of_its_own_is_not_said_to_be_late(file):
    found = {clause.name: clause for clause in asyncio.run(clauses(load_agent(f"{file}:impatient")))}
    assert "all 81 samples asked" in found["answers"].said
    assert "no answer within" not in found["answers"].said


def test_breaking_off_the_contract_test_is_no_fault_of_the_judge(file):
    async def broken_off():
        under_way = asyncio.create_task(clauses(load_agent(f"{file}:waits")))
        await asyncio.sleep(0.5)
        under_way.cancel()
        await under_way

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(broken_off())


def test_thirty_kinds_of_nasty_samples_are_tried_and_each_has_a_name_of_its_own():
    names = [sample.id for sample in adversarial_samples()]
    assert len(names) == len(set(names)) >= 30


def test_a_contract_report_names_what_is_broken_and_leaves_with_one(file):
    done = funreason("agents", "test", f"{file}:encodes")
    assert done.returncode == 1
    assert "nasty/lone surrogate" in done.stdout
    assert "surrogates not allowed" in done.stdout
    assert "the contract is broken" in done.stdout
    assert funreason("agents", "test", f"{file}:careful").returncode == 0


def test_an_agent_that_cannot_be_loaded_fails_its_contract_with_its_own_error(tmp_path):
    done = funreason("agents", "test", tmp_path / "none.py:judge")
    assert done.returncode == 1
    assert "there is no file" in done.stdout


def test_the_list_names_every_offer_with_its_package_and_what_is_broken_with_its_error(site):
    done = funreason("agents", "list", site=site)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.split()[1:2] == ["funreason"] for line in lines) == len(JUDGES)
    assert next(line for line in lines if line.startswith("no_pii")).split()[1:3] == ["funreason-no-pii", "0.1.0"]
    assert next(line for line in lines if line.startswith("broken")).split()[1:3] == ["oh-no", "3.0"]
    assert "SystemExit: no licence found" in done.stdout


def test_a_broken_plug_in_disturbs_no_other_command(site):
    for arguments in (["--help"], ["config", "check"], ["graph"]):
        done = funreason(*arguments, site=site)
        assert done.returncode == 0, done.stderr
        assert "licence" not in done.stdout + done.stderr


def test_listing_agents_loads_nothing_heavy():
    code = (
        "import sys\nfrom funreason.cli import app\napp(['agents', 'list'], result_action='return_value')\n"
        "print([m for m in ('torch', 'transformers', 'vllm', 'textual') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_example_package_is_installed_keeps_the_contract_and_judges_in_a_run_by_its_name(site, tmp_path):
    done = funreason("agents", "test", "no_pii", site=site)
    assert done.returncode == 0, done.stdout
    assert "✓  deterministic" in done.stdout
    tool = {"name": "send_mail", "parameters": {"to": {"type": "str"}}}
    record = {"tools": json.dumps([tool]), "query": "write to ann@example.org"}
    answers = ["ann@example.org", "bob@example.org"]
    file = tmp_path / "mail.jsonl"
    calls = [json.dumps([{"name": "send_mail", "arguments": {"to": to}}]) for to in answers]
    file.write_text("".join(json.dumps(record | {"id": i, "answers": call}) + "\n" for i, call in enumerate(calls)))
    judge = "agents=[{name: pii, agent: no_pii, after: response}]"
    done = funreason("refine", file, "--out", tmp_path / "out", "--set", judge, site=site)
    assert done.returncode == 0, done.stderr
    r = RunFolder(tmp_path / "out").state().rounds[1]
    assert r.nodes["pii"].outcomes == {"pass": 1, "drop": 1}
    assert r.dead_reasons == {"pii.email": 1}
    assert r.fates["kept"] == 1
