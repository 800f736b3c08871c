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
    "types": 0, "errors": 0, "stop": 0, "plugins": 0, "wheels": 0, "hub": 0, "trust": 0,
    "calls": 1, "record": 1, "weights": 2,
    "bus": 2, "bfcl": 2, "data": 2, "config": 3,
    "policies": 4, "environments": 5, "objectives": 4, "training": 5, "sources": 5,
    "plan": 5,
    "agents": 6, "evaluation": 6, "gate": 6, "runtime": 7, "replay": 7,
    "loops": 8, "experiments": 9,
    "display": 2, "tui": 3, "trackers": 9, "cards": 9, "export": 9, "srml": 10,
    "api": 10, "cli": 11, "__main__": 12, "__init__": 13,
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


def module_imports() -> list[tuple[str, str]]:
    """(module, imported module) for every import that runs when the file is imported."""
    trees = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
        for path in PACKAGE.rglob("*.py")
    }
    found = []
    for module, tree in trees.items():
        todo: list[ast.stmt] = list(tree.body)
        while todo:
            node = todo.pop()
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.If | ast.Try) and "TYPE_CHECKING" not in ast.unparse(node)[:20]:
                todo += [*node.body, *node.orelse]
            found += [(module, name) for name in names if name in trees and name != module]
    return found


@pytest.mark.parametrize("door", ["agents", "loops", "tui", "configs"])
def test_each_door_opens_on_its_folder(door):
    assert (ROOT / door).is_symlink()
    assert (ROOT / door).resolve() == PACKAGE / door
    assert any((ROOT / door).iterdir())


def test_an_import_only_ever_goes_down():
    uphill = {(a, b) for a, b in imports() if FLOORS[b] > FLOORS[a]}
    assert not uphill


@pytest.mark.parametrize(
    ("part", "may"),
    [
        ("tui", {"record", "types", "display"}),
        ("display", {"record", "types", "bfcl"}),
        ("trackers", {"record", "types"}),
        ("bus", {"types"}),
    ],
)
def test_what_only_shows_or_carries_imports_only_the_record_and_types(part, may):
    assert {b for a, b in imports() if a == part} <= may


def test_no_module_imports_itself_by_way_of_others():
    graph = nx.DiGraph(module_imports())
    circles = [sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1]
    assert not circles


def test_agents_never_import_each_other():
    names = ("generator", "regenerator", "trainer", "evaluator", "judges.rules.stages")
    agents = {f"funreason.agents.{name}" for name in names}
    assert not {(a, b) for a, b in module_imports() if a in agents and b in agents}


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


def test_the_table_of_commands_says_what_the_docstrings_say():
    code = (
        "import inspect\nfrom funreason.cli.app import COMMANDS, GROUPED, app\n"
        "for path, text in {**COMMANDS, **GROUPED}.items():\n"
        "    command = app\n"
        "    for word in path.split(): command = command[word]\n"
        "    said = inspect.getdoc(command.default_command).split('Parameters\\n---')[0]\n"
        "    paragraphs = [' '.join(part.split()) for part in said.strip().split('\\n\\n')]\n"
        "    assert text.split('\\n\\n') == paragraphs, path\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_configuration_agents_and_data_load_no_torch():
    code = (
        "import sys\nimport funreason.config, funreason.runtime.graph, funreason.loops.refine, funreason.bfcl\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
