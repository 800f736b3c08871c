"""Outputs that mean harm: no verdict raises, hangs or grows without bound."""

import random
import resource
import time

import pytest

from funreason.bfcl import Case, Result, check, check_any

DOC = {
    "name": "m.run",
    "parameters": {
        "type": "dict",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "array", "items": {"type": "string"}},
            "c": {"type": "dict"},
            "d": {"type": "any"},
        },
        "required": ["a"],
    },
}
ANSWER = [{"m.run": {"a": [10], "b": [["x"], ""], "c": [{"k": [1]}, ""], "d": ["y", ""]}}]
FRAGMENTS = [
    "'",
    '"',
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    "=",
    " ",
    "\n",
    "\\",
    "\0",
    "\ud800",
    "é",
    "`",
    "#",
    "//",
    "**",
]
FRAGMENTS += [
    "10**10**9",
    "'a'*10**9",
    "[0]*10**8",
    "1<<10**8",
    "lambda:",
    "f'{",
    "not ",
    "-",
    "...",
    "1e999",
    "0x",
    "\\N{",
]
FRAGMENTS += [
    "new HashMap<>() {{ put(",
    "new int[]{",
    "[[1],",
    "{a:",
    "=>",
    "`${",
    "/*",
    "*k",
    "**k",
    "x[",
    "\u2028",
    "1if 1",
]
FRAGMENTS += ["<think>", "</think>", "```python\n", "<tool_call>", '{"name":', "true", "None", "len('a')+1", "9" * 5000]
LONG = [
    mark * (1_000_000 // len(mark)) for mark in ("[", "(", "]", "f(", "-", "\0", "\ud800", "a.", "1,", "'", "\\", "{")
]


def world(category):
    kinds = {
        "simple_java": ("integer", "ArrayList", "HashMap", "any"),
        "simple_javascript": ("integer", "array", "dict", "any"),
    }
    doc = {**DOC, "parameters": {**DOC["parameters"], "properties": dict(DOC["parameters"]["properties"])}}
    for name, kind in zip("abcd", kinds.get(category, ()), strict=False):
        inner = "integer" if name == "b" and category == "simple_javascript" else "String"
        doc["parameters"]["properties"][name] = {"type": kind, "items": {"type": inner}}
    answer = None if category.endswith("relevance") else ANSWER
    return Case(f"{category}_0", category, [[{"role": "user", "content": "?"}]], [doc], answer)


CASES = [world(name) for name in ("simple_python", "multiple", "parallel", "irrelevance", "live_relevance")]
CASES += [world("simple_java"), world("simple_javascript")]


def mutated(rng):
    text = "[m.run(a=10, b=['x'], c={'k': 1}, d='y')]"
    for _ in range(rng.randint(1, 6)):
        place, size = rng.randrange(len(text) + 1), rng.choice([0, 0, 1, 3, 9])
        text = text[:place] + rng.choice(FRAGMENTS) * rng.choice([1, 1, 1, 2, 40]) + text[place + size :]
    return text


def test_ten_thousand_mutated_outputs_get_a_verdict_each():
    rng = random.Random(7)
    start = time.process_time()
    for number in range(10_000):
        output = mutated(rng)
        result = check(CASES[number % len(CASES)], output)
        assert isinstance(result, Result)
        assert result.valid is (result.error_type is None), output
    assert time.process_time() - start < 30


def test_random_characters_get_a_verdict_each():
    rng = random.Random(8)
    for number in range(2_000):
        output = "".join(
            chr(rng.choice([rng.randrange(128), rng.randrange(0x11_0000)])) for _ in range(rng.randrange(60))
        )
        a_case = CASES[number % len(CASES)]
        assert isinstance(check(a_case, output), Result)
        assert isinstance(check_any(a_case, output), Result)


@pytest.mark.parametrize("a_case", CASES, ids=lambda a_case: a_case.category)
def test_a_megabyte_of_one_mark_is_answered_quickly_and_in_little_memory(a_case):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    for output in LONG:
        for text in (output, output[:90_000]):
            assert isinstance(check(a_case, text), Result)
    assert time.process_time() - start < 15
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600 * 1024
