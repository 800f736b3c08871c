"""What a base install says: one sentence with the extra to install, never a traceback."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from funreason.cli.terminal import explain

RECORD = {
    "query": "Weather in Oslo?",
    "tools": [{"name": "get_weather", "description": "w", "parameters": {"city": {"type": "str", "description": "c"}}}],
    "answers": [{"name": "get_weather", "arguments": {"city": "Oslo"}}],
}
SERVER = "[{url: http://127.0.0.1:9/v1, model: x}]"
NEEDS = {
    "loop --rounds 1": "train",
    "demo": "train",
    "loop --method egpo --rounds 1": "train",
    "loop --tui": "tui",
    "loop --rounds 1 --track tensorboard": "train",
    "refine data.jsonl --out judged --set fcdr.stages=both --set fcdr.llm.model=toolbox": "train",
    f"refine data.jsonl --out asked --set fcdr.stages=both --set 'fcdr.llm.endpoints={SERVER}'": "endpoint",
    "refine data.jsonl.zst --out packed": "files",
    "refine data.parquet --out table": "files",
    "train data.jsonl": "train",
    "eval --suite toolbox:new_dev --limit 1": "train",
    "reward bins data.jsonl --out bins": "train",
    "watch refined": "tui",
    "watch refined --serve": "serve",
    "replay refined": "tui",
    "track refined --tracker tensorboard": "tensorboard",
    "track refined --tracker wandb": "wandb",
    "track refined --tracker trackio": "trackio",
    "models fetch smollm2-135m": "gguf",
}
"""Commands that a base install cannot run, and the extra that each needs."""
NEEDS_NOTHING = [
    "refine data.jsonl --out refined --quiet",
    "status refined",
    "report refined",
    "dlq list refined",
    "whatif refined",
    "runs list --run-dir .",
    "plan",
    "graph",
    "config show",
    "config check",
    "agents list",
    "models list",
    "reward list",
    "reward audit egpo",
]
BASE_INSTALL = """
import contextlib, io, json, shlex, sys, threading
from importlib.machinery import PathFinder

class WithoutExtras(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else PathFinder.find_spec(name, path, target)

HIDDEN, commands = json.loads(sys.argv[1]), json.loads(sys.argv[2])
sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutExtras
from funreason.cli import main
for command in commands:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(shlex.split(command))
        except SystemExit as end:
            code = end.code
    print(json.dumps([command, code, err.getvalue()]), file=sys.__stdout__, flush=True)
"""


def extras() -> dict[str, list[str]]:
    """The packages of each extra but `dev`, as they are imported."""
    found: dict[str, list[str]] = {}
    for requirement in map(Requirement, metadata.requires("funreason") or []):
        extra = re.search(r'extra == "([\w-]+)"', str(requirement.marker))
        if extra is not None and extra[1] != "dev":
            found.setdefault(extra[1], []).append(requirement.name.replace("-", "_").lower())
    return found


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, tuple[int, str]]:
    """Exit code and standard error of every command above, in a process that finds no package of an extra."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "data.jsonl").write_text(json.dumps(RECORD) + "\n")
    (folder / "data.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd\x20\x01\x09\x00\x00{")
    (folder / "data.parquet").write_bytes(b"PAR1" + b"\0" * 16 + b"PAR1")
    hidden = [name for names in extras().values() for name in names if name != "numpy"]  # scipy brings numpy
    commands = [*NEEDS_NOTHING, *NEEDS]
    done = subprocess.run(
        [sys.executable, "-c", BASE_INSTALL, json.dumps(hidden), json.dumps(commands)],
        cwd=folder,
        env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")},  # a model fetched before would be found
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=600,  # a busy machine takes its time
    )
    found = {command: (code, err) for command, code, err in map(json.loads, done.stdout.splitlines())}
    assert list(found) == commands, done.stderr
    return found


@pytest.mark.parametrize(("command", "extra"), NEEDS.items())
def test_a_missing_extra_is_one_sentence_that_names_it(said, command, extra):
    code, err = said[command]
    assert code in (1, 2)
    assert err.startswith("funreason: ")
    assert err.endswith(f"pip install 'funreason[{extra}]'\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", NEEDS_NOTHING)
def test_what_needs_no_extra_runs_without_any(said, command):
    code, err = said[command]
    assert (code, err) == (0, "")


@pytest.mark.parametrize("package", sorted({name for names in extras().values() for name in names}))
def test_every_package_of_an_extra_is_traced_to_one(capsys, package):
    assert explain(ModuleNotFoundError(f"No module named {package!r}", name=package)) == 1
    extra = re.search(r"pip install 'funreason\[([\w-]+)\]'\n$", capsys.readouterr().err)
    assert extra is not None
    assert package in extras()[extra[1]]


@pytest.mark.parametrize("name", ["funreason.nowhere", "torch.nowhere", "my_judge", None])
def test_any_other_missing_module_keeps_its_traceback(capsys, name):
    explain(ModuleNotFoundError(f"No module named {name!r}", name=name))
    err = capsys.readouterr().err
    assert "ModuleNotFoundError" in err
    assert "pip install" not in err
