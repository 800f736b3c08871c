"""Raw text to calls: the step before any language, then the language's own decoder.

The step strips backticks, newlines and spaces, these three only, and adds a bracket where one is missing at either end.
So a tab, a carriage return, a language tag on a code fence or a think tag is enough to fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from funreason.bfcl.cases import Case
from funreason.bfcl.categories import Language, Undecodable
from funreason.bfcl.expected import FunctionRule
from funreason.bfcl.java import decode_java
from funreason.bfcl.javascript import decode_javascript
from funreason.bfcl.python_calls import Decoded, decode_python
from funreason.calls.lenient import parse_any
from funreason.calls.parse import CallSyntaxError

MAX_CHARS = 100_000
"""Longer outputs count as undecodable; the syntax tree of a text takes some hundred times its size."""

_DECODERS: dict[Language, Callable[[str], list[Decoded] | None]] = {
    "python": decode_python,
    "java": decode_java,
    "javascript": decode_javascript,
}


def decode(output: Any, language: Language = "python") -> list[Decoded] | None:
    """The calls in `output`; None when a Java or JavaScript text holds none. Raises Undecodable."""
    if not isinstance(output, str):
        raise Undecodable(f"expected text, found {type(output).__name__}")
    text = output.strip("`\n ")
    if len(text) > MAX_CHARS:
        raise Undecodable(f"the output has {len(text)} characters; at most {MAX_CHARS} are read")
    if not text.startswith("["):
        text = f"[{text}"
    if not text.endswith("]"):
        text = f"{text}]"
    return _DECODERS[language](text)


# The verdict on one output: valid or not, and the official word for what is wrong.
#
# `check` agrees with the leaderboard's own code on every case. Where that code raises, the verdict is invalid with an
# error type `crash:…`; nothing here raises because of an output. `check_any` asks the same of calls read leniently.

_CRASHES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


class Result(NamedTuple):
    """The verdict. `error_type` is None when valid; `calls` is None when the output could not be decoded."""

    valid: bool
    error_type: str | None
    calls: list[Decoded] | None


def check(case: Case, output: str) -> Result:
    """Score `output` as the official command would. Raises BfclError only for a missing grammar (Java, JavaScript)."""
    if case.answer is None:
        return _check_relevance(case, _python_calls(output))
    try:
        calls = decode(output, case.language)
    except Undecodable:
        return Result(False, "ast_decoder:decoder_failed", None)
    if calls is None:
        return Result(False, "ast_decoder:decoder_wrong_output_format", None)
    return check_calls(case, calls)


def check_any(case: Case, output: str) -> Result:
    """Score `output` with its calls read in any usual format: JSON, tags, fences. Java and JavaScript stay strict."""
    if case.language != "python":
        return check(case, output)
    try:
        calls: list[Decoded] = [{call.name: call.arguments} for call in parse_any(output)]
    except CallSyntaxError:
        if case.answer is None:
            return _check_relevance(case, None)
        return Result(False, "ast_decoder:decoder_failed", None)
    return _check_relevance(case, calls) if case.answer is None else check_calls(case, calls)


def check_calls(case: Case, calls: list[Decoded]) -> Result:
    """Score calls that are decoded already."""
    try:
        error = _error(case, calls)
    except _CRASHES as crash:
        error = f"crash:{type(crash).__name__}"
    return Result(not error, error or None, calls)


def _python_calls(output: Any) -> list[Decoded] | None:
    try:
        return decode(output)
    except Undecodable:
        return None


def _check_relevance(case: Case, calls: list[Decoded] | None) -> Result:
    if case.category.endswith("irrelevance"):
        return Result(False, "irrelevance_error:decoder_success", calls) if calls else Result(True, None, calls)
    return Result(True, None, calls) if calls else Result(False, "relevance_error:decoder_failed", calls)


def _error(case: Case, calls: list[Decoded]) -> str:
    if "parallel" in case.category:
        return _parallel_error(case, calls)
    kind = "multiple" if "multiple" in case.category else "simple"
    expected = len(case.answer or []) if kind == "multiple" else 1
    if len(calls) != expected:
        return f"{kind}_function_checker:wrong_count"
    return case.rules[0].error(calls[0])


def _parallel_error(case: Case, calls: list[Decoded]) -> str:
    """Each answer in order takes the first call left that fits; a choice is never taken back."""
    if len(calls) != len(case.answer or []):
        return "parallel_function_checker_no_order:wrong_count"
    left = list(calls)
    for rule in case.rules:
        place = _first_match(rule, left)
        if place is None:
            return "parallel_function_checker_no_order:cannot_find_match"
        del left[place]
    return ""


def _first_match(rule: FunctionRule, calls: list[Decoded]) -> int | None:
    return next((place for place, call in enumerate(calls) if not rule.error(call)), None)
