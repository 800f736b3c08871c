"""Mutants: faults put into the code that decides, one at a time, and whether a test notices.

    python benchmarks/mutants.py [--count 200] [--seed 0] [--out benchmarks/results/mutants.md]

A fixed seed chooses lines, as many from each file of `FILES`, and for each line one fault: a comparison, a boundary, an
arithmetic or boolean operator, a constant, a returned value, a statement, the order of two arguments. The `TESTS` run
once with every statement of those files counted, so that a mutant is tried only with tests that execute it: the
quickest first, up to `--seconds` of recorded time. The counts are kept in `--map` for the next time.

All work happens in a copy of the checkout, where the fault lies in the file itself, so that processes which a test
starts have it too. Every mutant gets a process of its own, forked from one that has imported everything and collected
the tests: there the code of the functions is exchanged. Where Python executes the statement on import, a fresh session
imports the file with its fault. The first failure ends a mutant, and so does time without an end.

A mutant that changes nothing anyone could see is listed by hand in `EQUIVALENT`. The exit code is 1 when fewer than
`AT_LEAST` of the others were noticed. Tests marked `slow` or `engine` and those of other files are not run, so a fault
that only they would notice survives here.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import accumulate, zip_longest
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
AT_LEAST = 0.9
FILES = (
    "agents/judges/rules/cot_check", "agents/judges/rules/data_rules", "agents/judges/rules/grounding",
    "agents/judges/rules/numbers", "agents/judges/rules/numerals", "agents/judges/rules/stages",
    "agents/judges/rules/words", "agents/rollouts", "agents/selection", "bfcl/checker", "bfcl/expected",
    "bfcl/intervals", "bus/routing", "bus/scheduler", "calls/compare", "calls/parse", "calls/schema", "calls/tools",
    "data/forms/bfcl", "data/forms/dialogues", "data/forms/messages", "data/forms/questions", "data/normalising",
    "data/reading", "data/records", "gate/contamination", "gate/items", "gate/rule", "objectives/grpo",
    "objectives/rewards", "objectives/srml", "record/integrity", "record/log", "runtime/resume",
    "training/chunked_cross_entropy", "training/lm_head", "training/loss_stats", "weights",
)  # fmt: skip
"""The code that decides, below `funreason/`."""
TESTS = (
    "test_bfcl_checker", "test_bfcl_decode", "test_bfcl_files", "test_bfcl_hostile", "test_bfcl_scores",
    "test_bfcl_values", "test_bus", "test_bus_faults", "test_bus_invariants", "test_calls", "test_calls_schema",
    "test_contamination", "test_converting", "test_dialogues", "test_durable", "test_egpo_data", "test_files",
    "test_gate", "test_gate_forgetting", "test_gate_prompts", "test_gpu_choices", "test_grounding",
    "test_growth", "test_hdr", "test_hostile", "test_integrity", "test_judges", "test_metrics",
    "test_objectives_grpo", "test_objectives_srml", "test_readers", "test_recall", "test_record",
    "test_record_format", "test_reinforcement", "test_resume", "test_rewards", "test_round", "test_selection",
    "test_sources", "test_staleness", "test_strangers", "test_tool_names", "test_tool_schemas",
    "test_training_engine", "test_training_head", "test_training_lm_head", "test_turns", "test_types",
)  # fmt: skip
"""Tests of that code, below `tests/`."""
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "calls/parse",
        "_SURE_BITS = 14_000",
        "_SURE_BITS = (14000 + 1)",
    ): "So many bits have fewer than 4,300 digits too.",
    (
        "gate/rule",
        "p=mcnemar_exact(gained, lost),",
        "p=mcnemar_exact(lost, gained),",
    ): "The exact test of McNemar is the same for both orders.",
    (
        "agents/selection",
        "seed: int = 0,",
        "seed: int = (0 + 1),",
    ): "One seed ranks as well as another, and a run gives its own.",
    (
        "agents/judges/rules/grounding",
        "return _remembered(text) if len(text) <= _CACHED_CHARS else _remembered_long(text)",
        "return _remembered(text) if (len(text) > _CACHED_CHARS) else _remembered_long(text)",
    ): "Both caches hold the same evidence; the second only holds fewer.",
    (
        "bfcl/intervals",
        "low = 0.0 if correct == 0 else max(0.0, middle - half)",
        "low = 0.0 if correct == 0 else max(middle - half, 0.0)",
    ): "The larger of two numbers does not depend on their order.",
    (
        "calls/schema",
        "left = 10 * MOST_STEPS",
        "left = (10 + 1) * MOST_STEPS",
    ): "A bound against work without end; how many steps it is, no one is promised.",
    (
        "data/normalising",
        "return False",
        "return None",
    ): "Only asked for as a condition.",
    (
        "gate/contamination",
        "return len(left) == len(right) and all(_variants(*pair) for pair in zip(left, right, strict=True))",
        "return len(left) == len(right) and all(_variants(*pair) for pair in zip(left, right, strict=False))",
    ): "Both have the same length by then.",
}
"""By file, line and changed line: why nobody can tell the two apart."""
MEMORY = 14 * 2**30
WARM = ("pydantic", "torch", "transformers.models.qwen2.modeling_qwen2", "yaml")
"""Libraries that every session is forked with: importing them takes longer than most tests."""
NOT_EXCHANGED = 71
"""The exit code where a function's code could not be exchanged, because it shares other names with its outer one."""
MOST_IMPORTED, MOST_FILES = 150, 2
"""Tests and files for a mutant that needs a session of its own: collecting them takes longer than running them."""
COMPARISONS: dict[type, type] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
}  # fmt: skip
BOUNDARIES: dict[type, type] = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
ARITHMETIC: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
ORDERED = ("isinstance", "issubclass", "re.compile", "cast", "getattr", "setattr", "TypeVar")
"""Calls whose arguments nobody confuses."""
COUNTER = "funreason_mutant_hits"


class Mutant(NamedTuple):
    """One fault: where it is, what replaces the bytes from `start` to `end`, and the line of its statement."""

    file: str
    line: int
    operator: str
    start: int
    end: int
    text: str
    statement: int

    def apply(self, source: bytes) -> bytes:
        """The source of the file with the fault."""
        return source[: self.start] + self.text.encode() + source[self.end :]


class Trial(NamedTuple):
    """What became of a mutant: the test that noticed it or "", how many tests ran, seconds."""

    noticed: str
    tests: int
    seconds: float


# --- which faults there are ---


def mutants(file: str, source: bytes) -> list[Mutant]:
    """Every fault that the operators find in a file."""
    starts = [0]
    for line in source.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    found: list[Mutant] = []

    def add(node: Any, operator: str, text: str, statement: int) -> None:
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        lines = "\n" * (node.end_lineno - node.lineno)  # what follows keeps its line numbers
        text = f"{text[:-1]}{lines})" if text.endswith(")") else text + lines
        found.append(Mutant(file, node.lineno, operator, start, end, text, statement))

    def visit(node: ast.AST, statement: int, function: bool) -> None:
        if isinstance(node, ast.JoinedStr | ast.Raise | ast.Import | ast.ImportFrom | ast.pattern | ast.Assert):
            if isinstance(node, ast.Raise) and function:
                add(node, "deleted statement", "pass", node.lineno)
            return
        if isinstance(node, ast.stmt):
            statement = node.lineno
        inner = []
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns", "decorator_list"):
                inner += [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, ast.AST)]
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return
        for operator, replaced in _faults(node, function):
            if replaced != ast.unparse(node):
                add(node, operator, replaced, statement)
        if isinstance(node, ast.If | ast.IfExp | ast.While) and not isinstance(node.test, ast.Compare | ast.Constant):
            add(node.test, "condition", f"(not ({ast.unparse(node.test)}))", statement)
        function = function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in inner:
            visit(child, statement, function)

    visit(ast.parse(source), 0, False)
    return found


def _faults(node: ast.AST, function: bool) -> Iterator[tuple[str, str]]:
    """What an operator makes of a node: its name and the new text."""
    if isinstance(node, ast.Compare):
        for name, table in (("comparison", COMPARISONS), ("boundary", BOUNDARIES)):
            if other := table.get(type(node.ops[0])):
                yield name, f"({ast.unparse(ast.Compare(node.left, [other(), *node.ops[1:]], node.comparators))})"
    elif isinstance(node, ast.BinOp) and (other := ARITHMETIC.get(type(node.op))):
        text = isinstance(node.left, ast.Constant | ast.JoinedStr) and not isinstance(
            getattr(node.left, "value", ""), int | float
        )
        if not text:
            yield "arithmetic", f"({ast.unparse(ast.BinOp(node.left, other(), node.right))})"
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "boolean", f"({ast.unparse(ast.BoolOp(other, node.values))})"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "boolean", f"(bool({ast.unparse(node.operand)}))"
    elif isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, bool):
            yield "constant", str(not value)
        elif isinstance(value, int | float):
            yield "constant", f"({value!r} + 1)"
        elif isinstance(value, str) and function and not any(map(str.isspace, value)):  # with blanks: a message
            yield "constant", repr(f"{value}x")
    elif (
        isinstance(node, ast.Return)
        and node.value
        and not (isinstance(node.value, ast.Constant) and node.value.value is None)
    ):
        yield "return", "return None"
    elif function and isinstance(node, ast.Expr | ast.AugAssign | ast.Continue | ast.Break | ast.Delete):
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Yield | ast.YieldFrom)):
            yield "deleted statement", "pass"
    elif function and isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Name | ast.Tuple):
        yield "deleted statement", "pass"
    elif isinstance(node, ast.Call) and len(node.args) > 1 and ast.unparse(node.func) not in ORDERED:
        one, other, *more = node.args
        if not isinstance(one, ast.Starred) and not isinstance(other, ast.Starred):
            yield "swapped arguments", ast.unparse(ast.Call(node.func, [other, one, *more], node.keywords))


def chosen(sources: dict[str, bytes], count: int, seed: int) -> list[Mutant]:
    """As many lines from each file as `count` allows, and one fault for each line."""
    lines: dict[str, list[Mutant]] = {}
    for file, source in sources.items():
        draw = random.Random(f"{seed} {file}")  # a change of one file leaves the choice in the others
        by_line: dict[int, dict[str, list[Mutant]]] = defaultdict(lambda: defaultdict(list))
        for mutant in mutants(file, source):
            by_line[mutant.line][mutant.operator].append(mutant)
        found = [draw.choice(group[draw.choice(sorted(group))]) for _, group in sorted(by_line.items())]
        draw.shuffle(found)
        lines[file] = found
    taken: list[Mutant] = []
    while len(taken) < count and any(lines.values()):
        taken += [found.pop() for found in lines.values() if found]
    return sorted(taken[:count])


# --- which tests execute a statement ---


def counted(file: str, source: bytes, keys: list[tuple[str, int]]) -> str:
    """The file with every statement inside a function counted; `keys` gets file and line of each counter."""
    tree = ast.parse(source)

    def count(body: list[ast.stmt]) -> list[ast.stmt]:
        made: list[ast.stmt] = []
        for i, each in enumerate(body):
            if not (i == 0 and isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)):
                made += ast.parse(f"__hits__[{len(keys)}] = 1").body
                keys.append((file, each.lineno))
            made.append(each)
        return made

    for node in list(ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for inner in list(ast.walk(node)):
                if getattr(inner, "counted", False):
                    continue
                for field in ("body", "orelse", "finalbody"):
                    body = getattr(inner, field, None)
                    if isinstance(body, list) and body and not isinstance(inner, ast.ClassDef):
                        setattr(inner, field, count(body))
                inner.counted = True  # type: ignore[attr-defined]
    at = next((i for i, each in enumerate(tree.body) if not _is_first(each)), len(tree.body))
    tree.body[at:at] = ast.parse(f"from {COUNTER} import HITS as __hits__").body
    return ast.unparse(ast.fix_missing_locations(tree))


def _is_first(node: ast.stmt) -> bool:
    """Whether nothing may come before a statement: a docstring, an import from the future."""
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return text or (isinstance(node, ast.ImportFrom) and node.module == "__future__")


HITS = '''"""Counts statements; a process that a test starts leaves its counts in a file when it ends."""
import atexit, os, pathlib
HITS = bytearray({size})
if os.environ.get("MUTANT_HITS_PARENT") != str(os.getpid()):
    @atexit.register
    def leave():
        (pathlib.Path(os.environ["MUTANT_HITS"]) / str(os.getpid())).write_bytes(bytes(HITS))
'''


class Recorder:
    """A plugin of pytest that keeps which counters each test raised, how long it took and whether it passed."""

    def __init__(self, hits: bytearray, left: Path, out: Path) -> None:
        self.hits, self.left, self.out = hits, left, out
        self.tests: dict[str, dict[str, Any]] = {}
        self.on_import: list[int] = []
        self.caches: list[Any] = []
        self.of_fixture: dict[int, set[int]] = {}

    def _take(self) -> set[int]:
        found = {i for i, hit in enumerate(self.hits) if hit}
        self.hits[:] = bytes(len(self.hits))
        for file in self.left.iterdir():
            found |= {i for i, hit in enumerate(file.read_bytes()) if hit}
            file.unlink()
        return found

    def pytest_collection_finish(self) -> None:
        """What importing raised is no test's; what a cache holds would be counted for its first test only."""
        self.on_import = sorted(self._take())
        self.caches = caches()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        """A test's own counters, and those of the fixtures it shares."""
        self._take()
        for cache in self.caches:
            cache.cache_clear()
        start = sum(os.times()[:4])
        yield
        used = self._take()
        fixtures = getattr(item, "_fixtureinfo", None)
        for definitions in fixtures.name2fixturedefs.values() if fixtures else ():
            for each in definitions:
                used |= self.of_fixture.get(id(each), set())
        test = self.tests.setdefault(item.nodeid, {"passed": True})
        test["seconds"], test["hits"] = round(sum(os.times()[:4]) - start, 3), sorted(used)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """What a shared fixture raised."""
        before = bytes(self.hits)
        yield
        if fixturedef.scope != "function":  # its other tests depend on it as much as the one that ran first
            used = {i for i, hit in enumerate(self.hits) if hit and not before[i]}
            self.of_fixture.setdefault(id(fixturedef), set()).update(used)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Whether a test passed."""
        test = self.tests.setdefault(report.nodeid, {"passed": True})
        test["passed"] = test["passed"] and report.outcome == "passed"

    def pytest_sessionfinish(self) -> None:
        """Write all."""
        self.out.write_text(json.dumps({"tests": self.tests, "on_import": self.on_import}))


# --- the copy, and sessions of pytest in it ---


class Copy:
    """A copy of the checkout in which tests run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.scratch = folder / ROOT.name, folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, stdout=subprocess.PIPE, check=True
        )
        for name in listed.stdout.decode().split("\0"):
            if name and (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, self.folder / name)
        if (shared := ROOT.parent / "shared").exists():
            (folder / "shared").symlink_to(shared.resolve())

    def path(self, file: str) -> Path:
        """Where a module of `FILES` is in the copy."""
        return self.folder / "funreason" / f"{file}.py"

    def write(self, file: str, text: bytes) -> None:
        """Write a module's source; what Python has compiled of it goes away."""
        path = self.path(file)
        path.write_bytes(text)
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()

    def session(self, tests: Sequence[str], plugin: Callable[[], Any], wait_s: float) -> int | None:
        """Run pytest in a forked process; its exit code, or None when it took longer than `wait_s`."""

        def play() -> int:
            os.setsid()
            with (self.scratch / "printed").open("w") as printed:
                os.dup2(printed.fileno(), 1)
                os.dup2(printed.fileno(), 2)
            own = (ROOT, ROOT / "benchmarks")
            sys.path[:] = [str(self.folder), *(p for p in sys.path if Path(p or ".").resolve() not in own)]
            os.chdir(self.folder)
            os.environ["PYTHONPATH"] = str(self.folder)
            ways = ["-p", "no:xdist", "-p", "no:cacheprovider", "--tb=short", f"--basetemp={self.scratch / 'tmp'}"]
            ways += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of libraries that are there already
            return int(pytest.main([*ways, "-m", "not engine and not slow", *tests], plugins=[plugin()]))

        return forked(play, wait_s)

    def printed(self) -> str:
        """The end of what the last session printed."""
        return (self.scratch / "printed").read_text(errors="replace")[-3000:]


def forked(play: Callable[[], int], wait_s: float) -> int | None:
    """The exit code of `play` in a process of its own; None when it took longer and was ended."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = play()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    end = time.monotonic() + wait_s
    status: int | None = None
    while status is None and time.monotonic() < end:
        done, ended = os.waitpid(child, os.WNOHANG)
        status = ended if done else None
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # with what the tests left running
    if status is None:
        os.waitpid(child, 0)
    return None if status is None else os.waitstatus_to_exitcode(status)


def record(copy: Copy, sources: dict[str, bytes]) -> dict[str, Any]:
    """Run the tests once, with statements counted: the counters' places, and each test's counters and seconds."""
    keys: list[tuple[str, int]] = []
    for file, source in sources.items():
        copy.write(file, counted(file, source, keys).encode())
    left, out = copy.scratch / "left", copy.scratch / "tests.json"
    left.mkdir()
    (copy.folder / f"{COUNTER}.py").write_text(HITS.format(size=len(keys)))

    def plugin() -> Recorder:
        os.environ |= {"MUTANT_HITS": str(left), "MUTANT_HITS_PARENT": str(os.getpid())}
        return Recorder(importlib.import_module(COUNTER).HITS, left, out)

    code = copy.session([f"tests/{name}.py" for name in TESTS], plugin, 7200)
    if not out.exists():
        raise SystemExit(f"the tests ended with {code} before their counts were written:\n{copy.printed()}")
    for file, source in sources.items():
        copy.write(file, source)
    return {"keys": keys, "printed": copy.printed(), **json.loads(out.read_text())}


class Related:
    """Which tests execute a mutant's statement, from the counts of a recording."""

    def __init__(self, counts: dict[str, Any]) -> None:
        self.places: dict[tuple[str, int], int] = {(file, line): i for i, (file, line) in enumerate(counts["keys"])}
        self.on_import = set(counts["on_import"])
        self.seconds: dict[str, float] = {name: test["seconds"] for name, test in counts["tests"].items()}
        self.by_counter: dict[int, list[str]] = defaultdict(list)
        for name, test in sorted(counts["tests"].items(), key=lambda pair: pair[1]["seconds"]):
            if test["passed"]:
                for i in test["hits"]:
                    self.by_counter[i].append(name)

    def is_imported(self, mutant: Mutant) -> bool:
        """Whether Python executes the statement while it imports the file."""
        place = self.places.get((mutant.file, mutant.statement))
        return place is None or place in self.on_import

    def tests(self, mutant: Mutant, seconds: float, *, imported: bool = False) -> list[str]:
        """The quickest tests that execute it, up to `seconds`; those of its whole file for one that is `imported`."""
        place = self.places.get((mutant.file, mutant.statement))
        places = [i for (file, _), i in self.places.items() if file == mutant.file] if imported else [place]
        found = {name for i in places if i is not None for name in self.by_counter[i]}
        quickest = sorted(found, key=lambda name: (self.seconds[name], name))
        return quickest[: bisect_right(list(accumulate(self.seconds[name] for name in quickest)), seconds)]


class Results:
    """A file with what became of each mutant, one line each, so that an interrupted run continues."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[Mutant, Trial]:
        """All of them."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return {Mutant(*mutant): Trial(*trial) for mutant, trial in map(json.loads, lines)}

    def add(self, mutant: Mutant, trial: Trial) -> None:
        """Write one down."""
        with self.path.open("a") as file:
            file.write(json.dumps([mutant, trial]) + "\n")


class Trials:
    """A plugin of pytest that tries mutants instead of running the collected tests once."""

    def __init__(
        self,
        taken: Sequence[Mutant],
        sources: dict[str, bytes],
        copy: Copy,
        related: Related,
        seconds: float,
        results: Results,
    ) -> None:
        self.taken, self.sources, self.copy, self.related, self.limit = taken, sources, copy, related, seconds
        self.results, self.failed = results, list[str]()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note a failure."""
        if report.outcome == "failed":
            self.failed.append(report.nodeid)

    def pytest_runtestloop(self, session: Any) -> bool:
        """Try each mutant in a process forked from here."""
        functions: dict[tuple[str, str, int], list[Any]] = defaultdict(list)
        for function in objects(FunctionType):
            code = function.__code__
            functions[code.co_filename, code.co_qualname, code.co_firstlineno].append(function)
        remembered = caches()
        items = {item.nodeid: item for item in session.items}
        for mutant in self.taken:
            chosen = [items[name] for name in self.related.tests(mutant, self.limit) if name in items]
            took = sum(self.related.seconds[item.nodeid] for item in chosen)
            source = mutant.apply(self.sources[mutant.file])
            changed = list(codes(compile(source, str(self.copy.path(mutant.file)), "exec", dont_inherit=True)))
            start = time.monotonic()
            self.copy.write(mutant.file, source)
            note = self.copy.scratch / "noticed"
            note.write_text("")

            def play(
                chosen: list[Any] = chosen, changed: list[CodeType] = changed, note: Path = note, took: float = took
            ) -> int:
                os.setpgid(0, 0)
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
                most = int(10 + 2 * took)
                resource.setrlimit(resource.RLIMIT_CPU, (most, most))
                for code in changed:
                    for function in functions[code.co_filename, code.co_qualname, code.co_firstlineno]:
                        if len(code.co_freevars) != len(function.__code__.co_freevars):
                            return NOT_EXCHANGED
                        function.__code__ = code
                for cache in remembered:
                    cache.cache_clear()
                for item, following in zip_longest(chosen, chosen[1:]):
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                    if self.failed:
                        note.write_text(self.failed[0])
                        return 1
                return 0

            code = forked(play, 60 + 20 * took) if chosen else 0
            self.copy.write(mutant.file, self.sources[mutant.file])
            # What was not noticed may still show in what the file makes of it on import.
            if code != NOT_EXCHANGED and not (code == 0 and self.related.is_imported(mutant)):
                took = round(time.monotonic() - start, 2)
                self.results.add(mutant, Trial(note.read_text() or _end(code), len(chosen), took))
        return True


def objects(kind: type) -> list[Any]:
    """All objects of a type, and of none derived from it: lazy modules warn when they are asked for their class."""
    return [thing for thing in gc.get_objects() if type(thing) is kind]


def caches() -> list[Any]:
    """The cached functions of the package."""
    return [each for each in objects(type(lru_cache(abs))) if str(each.__module__).startswith("funreason")]


def _end(code: int | None) -> str:
    """What the end of a process says of the mutant in it; "" for nothing."""
    if code in (None, -signal.SIGXCPU, -signal.SIGKILL):
        return "no end"
    return f"exit code {code}" if code else ""


def codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and all inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def imported(mutant: Mutant, source: bytes, copy: Copy, related: Related, seconds: float) -> Trial:
    """Try a mutant that takes effect on import, with a session of pytest for itself."""
    tests, start, failed = related.tests(mutant, seconds, imported=True), time.monotonic(), copy.scratch / "noticed"
    often = Counter(name.partition("::")[0] for name in tests)
    files = [file for file, _ in often.most_common(MOST_FILES)]
    tests = [name for name in tests if name.partition("::")[0] in files][:MOST_IMPORTED]
    failed.write_text("")

    class First:
        def pytest_collection_modifyitems(self, items: list[Any]) -> None:
            places = {name: place for place, name in enumerate(tests)}
            items[:] = sorted((each for each in items if each.nodeid in places), key=lambda each: places[each.nodeid])

        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.outcome == "failed":
                failed.write_text(report.nodeid)
                os._exit(1)

    copy.write(mutant.file, mutant.apply(source))
    code = copy.session(files, First, 60 + 8 * sum(related.seconds[name] for name in tests)) if tests else 0
    copy.write(mutant.file, source)
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise SystemExit(f"no test was found:\n{copy.printed()}")
    return Trial(failed.read_text() or _end(code), len(tests), round(time.monotonic() - start, 2))


# --- the table ---


def changed(mutant: Mutant, source: bytes) -> tuple[str, str]:
    """The first line that a mutant changes, before and after."""
    at = mutant.line - 1
    return source.decode().split("\n")[at].strip(), mutant.apply(source).decode().split("\n")[at].strip()


def table(trials: dict[Mutant, Trial], sources: dict[str, bytes], command: str, took: str) -> tuple[str, float]:
    """The report in Markdown, and the share of mutants noticed."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ).stdout
    equal = {
        m: EQUIVALENT[m.file, *changed(m, sources[m.file])]
        for m in trials
        if (m.file, *changed(m, sources[m.file])) in EQUIVALENT
    }
    tested = {m: trial for m, trial in trials.items() if m not in equal}
    noticed = sum(bool(trial.noticed) for trial in tested.values())
    share = noticed / max(len(tested), 1)
    lines = ["# Mutants", "", f"`{command}`, commit {commit.strip()}, {took}.", ""]
    lines += [
        f"{len(trials)} mutants, {len(equal)} equivalent. Noticed: {noticed} of {len(tested)} others, {share:.1%}.",
        "",
    ]
    for title, of in (("file", lambda m: f"`{m.file}.py`"), ("fault", lambda m: m.operator)):
        lines += [f"| {title} | mutants | equivalent | noticed | survived |", "|---|---:|---:|---:|---:|"]
        for name in sorted({of(m) for m in trials}):
            mine = [m for m in trials if of(m) == name]
            same, seen = sum(m in equal for m in mine), sum(m in tested and bool(tested[m].noticed) for m in mine)
            lines.append(f"| {name} | {len(mine)} | {same} | {seen} | {len(mine) - same - seen} |")
        lines.append("")
    lines += ["## Survivors", ""]
    for mutant, trial in tested.items():
        if not trial.noticed:
            before, after = changed(mutant, sources[mutant.file])
            lines.append(
                f"- `{mutant.file}.py:{mutant.line}`, {mutant.operator}, {trial.tests} tests: `{before}` → `{after}`"
            )
    lines += ["", "## Equivalent", ""]
    for mutant, reason in equal.items():
        before, after = changed(mutant, sources[mutant.file])
        lines.append(f"- `{mutant.file}.py:{mutant.line}`: `{before}` → `{after}`. {reason}")
    return "\n".join(lines).rstrip() + "\n", share


def main() -> None:
    """Choose the mutants, run the tests that execute them, print and write the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument(
        "--seconds", type=float, default=8.0, help="recorded time of the tests that run for one mutant"
    )
    options.add_argument("--only", default="", help="a pattern: only these files")
    options.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    options.add_argument("--map", type=Path, default=Path(tempfile.gettempdir()) / "funreason-mutants.json")
    options.add_argument(
        "--results", type=Path, help="a file with a line for each mutant tried, which is not tried again"
    )
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    sources = {file: (ROOT / "funreason" / f"{file}.py").read_bytes() for file in FILES}
    taken = [m for m in chosen(sources, given.count, given.seed) if re.search(given.only, m.file)]
    if given.list:
        for mutant in taken:
            print(
                f"{mutant.file}.py:{mutant.line} {mutant.operator}:",
                *changed(mutant, sources[mutant.file]),
                sep="\n    ",
            )
        return
    with tempfile.TemporaryDirectory(prefix="funreason-mutants-") as folder:
        copy = Copy(Path(folder))
        if given.map.exists():
            counts = json.loads(given.map.read_text())
        else:
            counts = record(copy, sources)
            given.map.write_text(json.dumps(counts))
            print(counts["printed"][-1500:], flush=True)
        for name in WARM:
            importlib.import_module(name)
        related = Related(counts)
        results = Results(given.results or copy.scratch / "results.jsonl")
        known = results.read()
        now = [mutant for mutant in taken if mutant not in known]
        tests = [f"tests/{name}.py" for name in TESTS]
        trials_of = partial(Trials, now, sources, copy, related, given.seconds, results)
        code = copy.session(tests, trials_of, 36_000) if now else 0
        if code != 0:
            raise SystemExit(f"the session ended with {code}:\n{copy.printed()}")
        known = results.read()
        for mutant in (mutant for mutant in taken if mutant not in known):
            results.add(mutant, imported(mutant, sources[mutant.file], copy, related, given.seconds))
        known = results.read()
        trials = {mutant: known[mutant] for mutant in taken}
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = f"{(used.ru_utime + used.ru_stime) / 60:.1f} minutes of CPU"
    words = "python benchmarks/mutants.py " + " ".join(sys.argv[1:])
    text, share = table(trials, sources, words.strip(), took)
    print(text)
    if given.out:
        given.out.write_text(text)
    sys.exit(share < AT_LEAST)


if __name__ == "__main__":
    main()
