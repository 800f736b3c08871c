"""The calls in a sample's answer, read leniently, for the judges that judge meaning and leave form to stage 5."""

from __future__ import annotations

from functools import lru_cache

from funreason.calls.anyformat import parse_any
from funreason.calls.bounds import CallSyntaxError
from funreason.record.types import Call

_CACHED_CHARS = 5_000
"""So that the cache holds a few megabytes at most."""


def calls_in(answer: str) -> tuple[Call, ...] | None:
    """The calls of an answer in any format, () for none, None when nobody can read it. Do not change what it returns.

    Short answers are cached, because four stages in a row ask it of the same one.
    """
    return _remembered(answer) if len(answer) <= _CACHED_CHARS else _read(answer)


def _read(answer: str) -> tuple[Call, ...] | None:
    try:
        return tuple(parse_any(answer))
    except CallSyntaxError:
        return None


_remembered = lru_cache(maxsize=1024)(_read)
