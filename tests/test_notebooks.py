"""The notebooks in examples/ run from top to bottom, in a running event loop, as a notebook's kernel runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(path.stem for path in EXAMPLES.glob("*.ipynb"))
KERNEL = """
import ast, asyncio, inspect, json, sys

async def play(path):
    space = {"__name__": "__main__"}
    for number, cell in enumerate(json.load(open(path))["cells"]):
        if cell["cell_type"] == "code":
            name = f"{path}, cell {number}"
            code = compile("".join(cell["source"]), name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            found = eval(code, space)
            if inspect.isawaitable(found):
                await found

asyncio.run(play(sys.argv[1]))
"""


def test_there_is_a_notebook_for_each_of_five_tasks():
    assert NOTEBOOKS == ["own-data", "own-judge", "read-a-run", "score-outputs", "srml-in-trl"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_without_outputs(name):
    data = json.loads((EXAMPLES / f"{name}.ipynb").read_text())
    assert data["nbformat"] == 4
    assert not [cell for cell in data["cells"] if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.engine
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_from_top_to_bottom(name, tmp_path):
    if name == "srml-in-trl" and not os.environ.get("CI"):
        pytest.importorskip("trl", reason="TRL comes with the extra `dev`")
    done = subprocess.run(
        [sys.executable, "-c", KERNEL, str(EXAMPLES / f"{name}.ipynb")],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Warning" not in done.stderr
    assert not list(tmp_path.iterdir())
