"""Reads days and times of day from texts and values, so that the two can be compared.

A text may leave the year out, a value may leave the day out; what both give must agree. `03/04/2023` is read in both
orders. A time without `am`, `pm` or a word such as `evening` is read on the 24-hour clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from funreason.agents.judges.rules.aliases import MONTHS

COMPACT_DATES = (19_000_101, 21_001_231)
"""Integers between these may be days written as 20230317."""
_MONTH_OF = {name[:3]: place for place, name in enumerate(MONTHS, start=1)}
_MONTH = rf"({'|'.join(MONTHS)}|{'|'.join(name[:3] for name in MONTHS)}|sept)\b\.?"
_ORDINAL = r"(?:st|nd|rd|th)?"
_START, _END = r"(?<![\w.])", r"(?![-/.]?\d)"
_BIG_FIRST = re.compile(rf"{_START}(\d{{4}})[-/.](\d{{1,2}})(?:[-/.](\d{{1,2}}))?{_END}")
_BIG_LAST = re.compile(rf"{_START}(\d{{1,2}})[-/.](\d{{1,2}})[-/.](\d{{4}}|\d\d){_END}")
_COMPACT = re.compile(r"(?<!\w)((?:19|20)\d\d)([01]\d)([0-3]\d)(?!\w)")
_DAY_FIRST = re.compile(rf"(?<!\w)(\d{{1,2}}){_ORDINAL}(?:\s+of)?[\s-]+(?:the\s+)?{_MONTH}(?:[,\s-]+(\d{{4}})\b)?")
_MONTH_FIRST = re.compile(
    rf"(?<!\w){_MONTH}[\s-]+(?:the\s+)?(\d{{1,2}}){_ORDINAL}(?![\w:])(?:[,\s]+(?:of\s+)?(\d{{4}})\b)?"
)
_MONTH_YEAR = re.compile(rf"(?<!\w){_MONTH}(?:\s+of)?[,\s-]+(\d{{4}})\b")
_CLOCK = re.compile(
    r"(?<![\w:.])(\d{1,2})(?:(?:[:h]|\.(?=\d\d\s*[ap]\.?m))(\d{2})(?::\d{2}(?:\.\d+)?)?)?"
    r"(\s*(?:a\.?m\b|p\.?m\b|o['’]?clock\b))?(?![\w:])"
)
_LATE = re.compile(r"afternoon|evening|night")


class Day(NamedTuple):
    """A calendar day; parts that are not given are None."""

    year: int | None
    month: int
    day: int | None


def days_in(text: str) -> frozenset[Day]:
    """Every day that `text` (case-folded) may be read to name, with what it gives of it."""
    found = {_day(y, m, d) for pattern in (_BIG_FIRST, _COMPACT) for y, m, d in pattern.findall(text)}
    for a, b, year in _BIG_LAST.findall(text):
        found |= {_day(year, a, b), _day(year, b, a)}
    found |= {_day(year, month, day) for day, month, year in _DAY_FIRST.findall(text)}
    found |= {_day(year, month, day) for month, day, year in _MONTH_FIRST.findall(text)}
    found |= {_day(year, month, "") for month, year in _MONTH_YEAR.findall(text)}
    return frozenset(day for day in found if day is not None)


def agrees(day: Day, said: Iterable[Day]) -> bool:
    """Whether one of the days `said` is `day`, the year where both give one."""
    return any(
        (other.month, other.day) == (day.month, day.day) and (other.year in (day.year, None) or day.year is None)
        for other in said
    )


def clocks_in(text: str) -> frozenset[tuple[int, int]]:
    """Times of day that `text` (case-folded) names, as (hour 0 to 23, minute). A bare number is not a time."""
    found = {(12, 0)} if re.search(r"\bnoon\b", text) else set()
    if "midnight" in text:
        found.add((0, 0))
    late = bool(_LATE.search(text))
    for hour, minute, half in _CLOCK.findall(text):
        if (minute or half) and int(hour) < 24 and int(minute or 0) < 60:
            found |= _hours(int(hour), int(minute or 0), half.strip(), late)
    return frozenset(found)


def _hours(hour: int, minute: int, half: str, late: bool) -> set[tuple[int, int]]:
    if half[:1] in ("a", "p"):
        return {(hour % 12 + (12 if half[0] == "p" else 0), minute)}
    either = half or late
    return {(hour, minute), ((hour + 12) % 24, minute)} if either and hour <= 12 else {(hour, minute)}


def _day(year: str, month: str, day: str) -> Day | None:
    number = _MONTH_OF.get(month[:3]) or int(month)
    if not 1 <= number <= 12 or (day and not 1 <= int(day) <= 31):
        return None
    full = int(year) + 2000 if len(year) == 2 else int(year or 0)
    return Day(full or None, number, int(day) if day else None)
