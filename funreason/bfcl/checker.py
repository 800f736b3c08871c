"""The verdict on one output: valid or not, and the official error type.

`check` agrees with the leaderboard's own code on every case. Where that code raises, the verdict is invalid with an
error type `crash:…`; nothing here raises because of an output. `check_any` scores the same calls read leniently.

`decode` is the step before any language: it strips backticks, newlines and spaces, these three only, and adds a bracket
where one is missing at either end. A tab, a carriage return, a language tag on a code fence or a think tag is enough to
fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from funreason.bfcl.cases import Case
from funreason.bfcl.categories import Language, Undecodable
from funreason.bfcl.java import decode_java
from funreason.bfcl.javascript import decode_javascript
from funreason.bfcl.python_calls import Decoded, decode_python
from funreason.calls.call_format import CallFormat
from funreason.calls.lenient import parse_any
from funreason.calls.parse import CallSyntaxError
from funreason.calls.tools import ToolFormatError, normalise_tools
from funreason.types import Call

MAX_CHARS = 100_000
"""Longer outputs count as undecodable; the syntax tree of a text takes some hundred times its size."""

_DECODERS: dict[Language, Callable[[str], list[Decoded] | None]] = {
    "python": decode_python,
    "java": decode_java,
    "javascript": decode_javascript,
}


_CRASHES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)
"""What the official code dies of on odd outputs or docs."""


class Result(NamedTuple):
    """The verdict. `error_type` is None when valid; `calls` is None when the output could not be decoded."""

    valid: bool
    error_type: str | None
    calls: list[Decoded] | None


def check(case: Case, output: str) -> Result:
    """Score `output` as the official command would. Raises BfclError only for a missing grammar (Java, JavaScript)."""
    asks_whether = case.answer is None
    try:
        calls = decode(output) if asks_whether else decode(output, case.language)
    except Undecodable:
        return _check_relevance(case, None) if asks_whether else Result(False, "ast_decoder:decoder_failed", None)
    if asks_whether:
        return _check_relevance(case, calls)
    if calls is None:
        return Result(False, "ast_decoder:decoder_wrong_output_format", None)
    return check_calls(case, calls)


def check_in(case: Case, output: str, form: CallFormat) -> Result:
    """Score `output` with its calls read strictly in `form`; under the pythonic form exactly as `check` does."""
    return check(case, output) if form.pythonic else _check_read(case, lambda: form.parse(output, _tools(case)))


def check_any(case: Case, output: str) -> Result:
    """Score `output` with its calls read in any usual format: JSON, tags, fences. Java and JavaScript stay strict."""
    return (
        check(case, output) if case.language != "python" else _check_read(case, lambda: parse_any(output, _tools(case)))
    )


def _check_read(case: Case, read: Callable[[], list[Call]]) -> Result:
    try:
        calls: list[Decoded] = [{call.name: call.arguments} for call in read()]
    except CallSyntaxError:
        if case.answer is None:
            return _check_relevance(case, None)
        return Result(False, "ast_decoder:decoder_failed", None)
    return check_calls(case, calls)


def _tools(case: Case) -> list[dict[str, Any]]:
    """A case's functions as normalised tools, for dialects that write values without their types."""
    try:
        return normalise_tools(case.functions)
    except ToolFormatError:
        return []


def check_calls(case: Case, calls: list[Decoded]) -> Result:
    """Score decoded calls. Each expected call, in order, takes the first call left that fits; no choice is undone."""
    if case.answer is None:
        return _check_relevance(case, calls)
    try:
        kind = next((kind for kind in ("parallel", "multiple") if kind in case.category), "simple")
        expected = 1 if kind == "simple" else len(case.answer)
        if kind != "parallel":
            error = f"{kind}_function_checker:wrong_count"
            error = case.rules[0].error(calls[0]) if len(calls) == expected else error
        elif len(calls) != expected:
            error = "parallel_function_checker_no_order:wrong_count"
        else:
            error, left = "", list(calls)
            for rule in case.rules:
                place = next((place for place, call in enumerate(left) if not rule.error(call)), None)
                if place is None:
                    error = "parallel_function_checker_no_order:cannot_find_match"
                    break
                del left[place]
    except _CRASHES as crash:
        error = f"crash:{type(crash).__name__}"
    return Result(not error, error or None, calls)


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


def _check_relevance(case: Case, calls: list[Decoded] | None) -> Result:
    if case.category.endswith("irrelevance"):
        return Result(False, "irrelevance_error:decoder_success", calls) if calls else Result(True, None, calls)
    return Result(True, None, calls) if calls else Result(False, "relevance_error:decoder_failed", calls)
