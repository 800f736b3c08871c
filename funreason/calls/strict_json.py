"""JSON from outside, read without the surprises: every refusal has a reason and nothing half-read gets through.

Python's own reader takes NaN, Infinity, 1e400 (as infinity), repeated keys (the last wins) and lone surrogates;
each of those would become a wrong training sample or fail much later, so each is refused here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from funreason.calls.parse import MAX_DEPTH


class JsonRefused(ValueError):
    """JSON that is not read. `reason` is a dotted code; `position` the 0-based character, where known."""

    def __init__(self, reason: str, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.position = position


def read_json(text: str) -> Any:
    """The value of `text`. Raises JsonRefused: `json.broken`, `json.not_finite`, `json.repeated_key`,
    `json.surrogate`, `json.null_byte`, `json.too_deep`.
    """
    with _refusing(text):
        value = _DECODER.decode(text)
    _check_if_suspect(value, text)
    return value


def read_json_at(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at the character `start`, and where it ends; what follows is not looked at.

    Raises JsonRefused as `read_json` does.
    """
    with _refusing(text):
        value, end = _DECODER.raw_decode(text, start)
    _check_if_suspect(value, text[start:end])
    return value, end


@contextmanager
def _refusing(text: str) -> Iterator[None]:
    try:
        yield
    except json.JSONDecodeError as error:
        if text.startswith("\ufeff"):
            raise JsonRefused("json.broken", "not JSON: it begins with a byte-order mark") from error
        message = f"not JSON: {error.msg} at character {error.pos}"
        raise JsonRefused("json.broken", message, error.pos) from error
    except RecursionError as error:
        raise JsonRefused("json.too_deep", f"nested deeper than {MAX_DEPTH}") from error
    except JsonRefused:
        raise
    except ValueError as error:  # an integer of more than 4,300 digits
        raise JsonRefused("json.broken", f"not JSON: {error}") from error


def _check_if_suspect(value: Any, text: str) -> None:
    if "\\u" in text or not text.isascii() or "\0" in text or text.count("[") + text.count("{") > MAX_DEPTH:
        _check(value)


class _Strict(json.JSONDecoder):
    """Python's decoder, refusing what it would bend: repeated keys, NaN and Infinity, numbers too large for a float."""

    def __init__(self) -> None:
        super().__init__(object_pairs_hook=self.unique_keys, parse_constant=self.refused, parse_float=self.finite)

    @staticmethod
    def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise JsonRefused("json.repeated_key", f"the key {twice!r} is given twice in one object")
        return out

    @staticmethod
    def refused(word: str) -> Any:
        raise JsonRefused("json.not_finite", f"{word} is not JSON; leave the field out or write null")

    @staticmethod
    def finite(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise JsonRefused("json.not_finite", f"{digits[:40]} does not fit a float")
        return value


_DECODER = _Strict()


def _check(value: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise JsonRefused("json.too_deep", f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check(item, depth + 1)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise JsonRefused("json.null_byte", "a string holds a null byte")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise JsonRefused("json.surrogate", "a string holds half of a surrogate pair")
