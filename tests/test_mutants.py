"""The mutants that `benchmarks/mutants.py` makes: each is a fault, in its line alone, and counting changes nothing."""

import sys
from types import ModuleType

import pytest

from benchmarks.mutants import COUNTER, ROOT, chosen, codes, counted, mutants

SOURCE = b'''"""A text."""
LIMIT = 3


def judged(values: list[int], least: int = 1) -> str:
    """What is said."""
    found = {}
    for value in values:
        if (value >= least and not
                value == 2):
            found[str(value)] = value + 1
            continue
        elif max(value, least) > LIMIT:
            raise ValueError(f"{value} is more than {LIMIT}")
        found.clear()
    return ",".join(found)
'''
OPERATORS = {
    "arithmetic": "(value - 1)",
    "boolean": "or",
    "boundary": "value > least",
    "comparison": "value != 2",
    "constant": "(3 + 1)",
    "deleted statement": "pass",
    "return": "return None",
    "swapped arguments": "max(least, value)",
}


def test_each_operator_makes_a_fault_that_python_reads_and_texts_are_left_alone():
    found = mutants("x", SOURCE)
    for operator, text in OPERATORS.items():
        assert any(mutant.operator == operator and text in mutant.text for mutant in found), operator
    for mutant in found:
        changed = mutant.apply(SOURCE)
        compile(changed, "x.py", "exec")
        assert changed != SOURCE
        assert b'"""What is said."""' in changed
        assert b"is more than" in changed or mutant.text == "pass"


def test_a_fault_leaves_all_other_lines_where_they_were():
    def places(source):
        return {code.co_qualname: code.co_firstlineno for code in codes(compile(source, "x.py", "exec"))}

    for mutant in mutants("x", SOURCE):
        changed = mutant.apply(SOURCE)
        assert changed.count(b"\n") == SOURCE.count(b"\n")
        assert places(changed) == places(SOURCE)


def test_a_seed_chooses_the_same_lines_and_a_change_of_one_file_leaves_the_others():
    name = "gate/rule"
    sources = {name: (ROOT / "funreason" / f"{name}.py").read_bytes(), "x": SOURCE}
    taken = chosen(sources, 12, 0)
    assert taken == chosen(sources, 12, 0) != chosen(sources, 12, 1)
    assert len({(mutant.file, mutant.line) for mutant in taken}) == 12
    other = chosen(sources | {"x": SOURCE + b"\n\nMORE = 7\n"}, 12, 0)
    assert [mutant for mutant in other if mutant.file == name] == [mutant for mutant in taken if mutant.file == name]


def test_counting_says_which_statements_ran_and_changes_no_result(monkeypatch):
    keys = []
    text = counted("x", SOURCE, keys)
    counter = ModuleType(COUNTER)
    counter.HITS = bytearray(len(keys))
    monkeypatch.setitem(sys.modules, COUNTER, counter)
    plain, watched = {}, {}
    exec(SOURCE, plain)  # noqa: S102
    exec(text, watched)  # noqa: S102
    assert watched["judged"]([5, 1]) == plain["judged"]([5, 1]) == "5,1"
    with pytest.raises(ValueError, match="4 is more than 3"):
        watched["judged"]([4], 7)
    lines = {line for (_, line), hit in zip(keys, counter.HITS, strict=True) if hit}
    assert {7, 8, 9, 11, 12, 13, 14, 16} == lines
