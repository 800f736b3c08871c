"""The public face: what names versions, commands and files names the ones there are."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import funreason

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
CONSTRAINTS = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))

TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
VERBS = " ".join(re.findall(r"set -- (.+)", (ROOT / ".ci" / "run").read_text())).split()


def test_every_file_that_names_the_version_names_the_same():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {funreason.__version__, PYPROJECT["project"]["version"], str(cited["version"])} == {funreason.__version__}
    assert cited["license"] == PYPROJECT["project"]["license"]


def test_the_workflow_runs_every_verb_of_the_local_script_and_no_other():
    steps = [(job, step["run"]) for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
    called = set()
    for job, line in steps:
        called.update(job["strategy"]["matrix"].get("verb", []) if "matrix.verb" in line else line.split()[1:])
    assert sorted(called) == sorted(VERBS)
    assert all(line.startswith(".ci/run ") for _, line in steps)


def test_every_verb_is_a_target_of_the_makefile():
    assert VERBS
    assert set(VERBS) <= TARGETS


def test_the_python_versions_tested_are_the_ones_claimed():
    claimed = re.findall(r"Python :: (3\.\d+)", "\n".join(PYPROJECT["project"]["classifiers"]))
    assert WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"] == claimed
    assert PYPROJECT["project"]["requires-python"] == f">={claimed[0]}"
    images = re.findall(r"FROM python:(3\.\d+)", (ROOT / "Dockerfile").read_text())
    assert images
    assert set(images) <= set(claimed)


def test_the_commit_hooks_pin_what_the_constraints_pin():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    pins = dict(pin.split("==") for hook in hooks for pin in hook.get("additional_dependencies", []) if "==" in pin)
    assert {"ruff", "codespell", "validate-pyproject"} <= set(pins)
    assert pins["ruff"] == CONSTRAINTS["ruff"]
    assert {name: pin for name, pin in pins.items() if CONSTRAINTS.get(name, pin) != pin} == {}


def test_the_images_copy_only_what_the_build_may_see_and_ask_for_extras_that_exist():
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.MULTILINE) for name in line.split()]
    seen = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(set(copied)) == sorted(seen)
    assert all((ROOT / name).exists() for name in copied)
    extras = [name for listed in re.findall(r"funreason\[([\w,-]+)\]", dockerfile) for name in listed.split(",")]
    assert extras
    assert set(extras) <= set(PYPROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", "README.md"])
def test_every_link_and_verb_of_a_public_page_exists(page):
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert set(re.findall(r"(?:^|`|    )make ([\w-]+)", text, re.MULTILINE)) <= TARGETS
    extras = {name for listed in re.findall(r"\[([a-z,-]+)\]'", text) for name in listed.split(",")}
    assert extras <= set(PYPROJECT["project"]["optional-dependencies"])


def test_issue_forms_ask_for_something_and_give_each_field_a_name_once():
    forms = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
    assert forms
    for path in forms:
        fields = yaml.safe_load(path.read_text())["body"]
        assert any(field.get("validations", {}).get("required") for field in fields), path
        assert len({field["id"] for field in fields}) == len(fields), path
