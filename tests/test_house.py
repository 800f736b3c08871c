"""The house: doors, floors, no cycles, nothing heavy at import."""

import ast
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "funreason"
FLOORS = {
    "calls": 0, "record": 0,
    "models": 1, "bfcl": 1, "data": 1, "bus": 1,
    "agents": 2,
    "config": 3, "objectives": 3, "training": 3, "loops": 3,
    "tui": 4, "trackers": 4, "export": 4, "commands": 5, "cli": 6, "__main__": 7, "__init__": 7,
}  # fmt: skip
HEAVY = ("torch", "transformers", "accelerate", "vllm", "textual", "deepspeed", "aiohttp", "tenacity")


def imports() -> list[tuple[str, str]]:
    """(importing part, imported part) for every import inside the package, wherever it stands in a file."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        here = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [(here, name.split(".")[1]) for name in names if name.startswith("funreason.")]
    return [(a, b) for a, b in found if a != b]


@pytest.mark.parametrize("door", ["agents", "loops", "tui", "configs"])
def test_each_door_opens_on_its_folder(door):
    assert (ROOT / door).is_symlink()
    assert (ROOT / door).resolve() == PACKAGE / door
    assert any((ROOT / door).iterdir())


def test_an_import_only_ever_goes_down():
    uphill = {(a, b) for a, b in imports() if FLOORS[b] > FLOORS[a]}
    assert not uphill


def test_the_dashboard_reads_the_record_and_nothing_else():
    assert {b for a, b in imports() if a == "tui"} <= {"record"}


def test_trackers_read_the_record_and_nothing_else():
    assert {b for a, b in imports() if a == "trackers"} <= {"record"}


def test_the_bus_knows_only_the_record():
    assert {b for a, b in imports() if a == "bus"} <= {"record"}


def test_there_is_no_import_cycle_between_parts():
    graph = nx.DiGraph(imports())
    assert nx.is_directed_acyclic_graph(graph), nx.find_cycle(graph)


def test_agents_never_import_each_other():
    agents = {
        "generator",
        "response",
        "query_tool",
        "cot",
        "parameters",
        "format",
        "regenerator",
        "trainer",
        "evaluator",
    }
    for name in agents:
        tree = ast.parse((PACKAGE / "agents" / f"{name}.py").read_text())
        modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not {f"funreason.agents.{other}" for other in agents - {name}} & modules


def test_every_module_says_what_it_is():
    silent = [
        p for p in PACKAGE.rglob("*.py") if p.read_text().strip() and not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert not silent


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom funreason.cli import app\napp(['--help'], result_action='return_value')\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_configuration_agents_and_data_load_no_torch():
    code = (
        "import sys\nimport funreason.config, funreason.loops.graphs, funreason.loops.refine, funreason.bfcl\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
