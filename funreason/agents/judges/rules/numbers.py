"""The numbers, days and times of day in a text, however it spells them.

`numbers_in` offers every reading: its question is whether a value has any support at all, so a number too many costs
little and a number too few is a false alarm. `named_numbers` gives only numbers that appear as wholes. Both read digits
with separators, currency and percent signs; words (`twenty-five`, `a dozen`, `two and a half million`); ordinals; month
and weekday names.

A text may leave the year of a day out, a value may leave the day of the month out; what both give must agree.
`03/04/2023` is read in both orders. `clocks_in` reads a time without `am`, `pm` or a word such as `evening` on the
24-hour clock; `times_in` leaves morning or evening open.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from funreason.agents.judges.rules.words import CALENDAR, MONTHS, ONES, SCALES, TENS

_DIGITS = re.compile(
    r"(?<![\d.])(-?)(\d{1,3}(?:,\d{2,3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?:\s*(%|percent|[a-z]+)\b)?|(\.\d+)"
)
_HALF_DAY_CLOCK = re.compile(r"\b(\d{1,2})(?:[:.h](\d{2}))?(?::(\d{2}))?\s*(a\.?m\b|p\.?m\b|o'?clock\b)?")
_WORD = re.compile(r"[a-z]+")
_WHOLE = re.compile(
    r"(?<![\w.])(?<![^\W\d]-)(?<!\d,)([-−]?)[$€£¥]?(\.?\d(?:[\d.,]*\d)?(?:e[-+]?\d+)?)(?:\s?(%)|\s?([a-z]*))(?!\w)"
)
_ONE_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?")
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,2}(?:,\d\d)+,\d{3}(?:\.\d+)?")
_RUN = re.compile(r"[a-z]+|[^\sa-z-]")
_MINUS = re.compile(r"\b(?:minus|negative)\s+$")
_PARTS = {**ONES, **TENS}
_ARTICLES = frozenset({"a", "an"})
_AMBIGUOUS = frozenset({"may", "mar", "sat", "sun", "march"})
"""Words that are more often something else than a month or a weekday."""
_UNITS = (
    (re.compile(r"percent|per cent|%|cents?\b|rate|ratio|probability|confidence|discount"), (0.01, 100.0)),
    (re.compile(r"hours?|minutes?|\bmins?\b|\bhrs?\b|seconds?|\bsecs?\b"), (60.0, 3600.0, 1 / 60, 1000.0)),
    (re.compile(r"\bdays?|weeks?|nights?"), (7.0, 24.0, 86400.0)),
    (re.compile(r"years?|annual|decades?|months?"), (12.0, 365.0, 30.0, 10.0, 1 / 12)),
    (
        re.compile(r"\bk?m\b|\bk?g\b|kilo|met(?:er|re)s?|grams?|lit(?:er|re)s?|\bcm\b|\bmm\b|\bml\b"),
        (1000.0, 0.001, 100.0, 0.01),
    ),
    (re.compile(r"inch|f(?:ee|oo)t|dozen"), (12.0,)),
)


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


_EXACT_DIGITS = 15
"""Longer numbers are compared as integers: a float would not tell their last digits apart."""
_MOST_DIGITS = 4_300


class Day(NamedTuple):
    """A calendar day as far as it is given."""

    year: int | None
    month: int
    day: int | None


def number_of(digits: str) -> float:
    """The number of a run of digits, which may have commas and a point; an int where a float would not hold all digits.

    NaN, which equals nothing, for more digits than Python reads.
    """
    plain = digits.replace(",", "")
    if len(plain) <= _EXACT_DIGITS or not plain.isdecimal():
        return float(plain[:300])
    return int(plain) if len(plain) <= _MOST_DIGITS else math.nan


def same_float(value: float, numbers: Iterable[float]) -> bool:
    """Whether one of the long integers is what `value`, a float, may have been before it lost its last digits."""
    if abs(value) < 10**_EXACT_DIGITS:
        return False
    return any(isinstance(number, int) and abs(number) < 10**300 and float(number) == value for number in numbers)


def numbers_in(text: str) -> frozenset[float]:
    """Every number that `text` (case-folded) may be read to name."""
    found: set[float] = set()
    for match in _DIGITS.finditer(text):
        if match[4]:
            found.add(float(match[4][:300]))
            continue
        value = number_of(match[2])
        found.add(value)
        if match[1]:
            found.add(-value)
        if match[3] in SCALES:
            found.add(value * SCALES[match[3]])
    # Number words in a row as one number and each alone; month and weekday names by their place.
    total = current = 0.0
    running = False
    for word in _WORD.findall(text):
        part = _PARTS.get(word)
        if part is not None:
            if running and word in _ARTICLES:  # "two and a half": the article counts nothing
                continue
            current += part
            running = True
            found.update((part, current, total + current))
        elif word in SCALES:
            if not running:
                found.add(float(SCALES[word]))
                continue
            current *= SCALES[word]
            found.add(total + current)
            if SCALES[word] >= 1000:
                total, current = total + current, 0.0
        elif running and word != "and":
            total = current = 0.0
            running = False
        if word in CALENDAR:
            found.add(float(CALENDAR[word]))
    return frozenset(found)


def named_numbers(text: str) -> frozenset[float]:
    """The numbers that `text` (case-folded) holds as wholes: `x7` and `1.7` name no 7, `-7` names only -7."""
    found: set[float] = set()
    for match in _WHOLE.finditer(text):
        negative = match[1] or _MINUS.search(text[max(0, match.start() - 12) : match.start()])
        # `1,250` is one number and `1,2,3` are three; `100,200` after a bracket may be either.
        numbers = [number_of(match[2])] if _GROUPED.fullmatch(match[2]) else []
        if not numbers or text[max(0, match.start() - 1) : match.start()] in ("[", "("):
            numbers += [number_of(part) for part in match[2].split(",") if _ONE_NUMBER.fullmatch(part)]
        unit = match[3] or match[4] or ""
        # What the unit after the last number makes of it: 4 % is 0.04, 50k is 50,000, 2 hours 120 minutes.
        if numbers and unit in SCALES:
            numbers = [*numbers, numbers[-1] * SCALES[unit]]
        elif numbers and unit:
            factors = {factor for pattern, factors in _UNITS if pattern.fullmatch(unit) for factor in factors}
            last = numbers[-1] if abs(numbers[-1]) < 10**300 else math.nan
            numbers = [*numbers, *[round(last * factor, 9) for factor in factors]]
        for number in numbers:
            found.add(-number if negative else number)
    _add_whole_words(text, found)
    return frozenset(found)


def scaled(numbers: frozenset[float], text: str) -> frozenset[float]:
    """The same numbers in other units, for those units that `text` speaks of (4 % is 0.04, 2 hours are 120)."""
    factors = {factor for pattern, factors in _UNITS if pattern.search(text) for factor in factors}
    return frozenset(round(number * factor, 9) for number in numbers if abs(number) < 10**300 for factor in factors)


def times_in(text: str) -> frozenset[tuple[int, int]]:
    """Times of day as (hour 0 to 11, minute): whether morning or evening is left open."""
    found = {(0, 0)} if "noon" in text or "midnight" in text else set()
    for match in _HALF_DAY_CLOCK.finditer(text):
        hour, minute = int(match[1]), int(match[2] or 0)
        if hour < 25 and minute < 60:
            found.add((hour % 12, minute))
    return frozenset(found)


def days_in(text: str) -> frozenset[Day]:
    """Every day that `text` (case-folded) may be read to name, with what it gives of it."""
    found = {_day(y, m, d) for pattern in (_BIG_FIRST, _COMPACT) for y, m, d in pattern.findall(text)}
    for a, b, year in _BIG_LAST.findall(text):
        found |= {_day(year, a, b), _day(year, b, a)}
    found |= {_day(year, month, day) for day, month, year in _DAY_FIRST.findall(text)}
    found |= {_day(year, month, day) for month, day, year in _MONTH_FIRST.findall(text)}
    found |= {_day(year, month, "") for month, year in _MONTH_YEAR.findall(text)}
    return frozenset(day for day in found if day is not None)


def agrees(day: Day, said: Collection[Day]) -> bool:
    """Whether one of the days `said` is `day`, the year where both give one."""
    if day.year is not None:
        return day in said or day._replace(year=None) in said
    return any((other.month, other.day) == (day.month, day.day) for other in said)


def clocks_in(text: str) -> frozenset[tuple[int, int]]:
    """Times of day that `text` (case-folded) names, as (hour 0 to 23, minute); a bare number is none."""
    found = {(12, 0)} if re.search(r"\bnoon\b", text) else set()
    if "midnight" in text:
        found.add((0, 0))
    late = bool(_LATE.search(text))
    for hour_text, minute_text, half in _CLOCK.findall(text):
        hour, minute, half = int(hour_text), int(minute_text or 0), half.strip()
        if not (minute_text or half) or hour >= 24 or minute >= 60:
            continue
        if half[:1] in ("a", "p"):
            found.add((hour % 12 + (12 if half[0] == "p" else 0), minute))
            continue
        found.add((hour, minute))
        if (half or late) and hour <= 12:  # either half of the day
            found.add(((hour + 12) % 24, minute))
    return frozenset(found)


def _add_whole_words(text: str, found: set[float]) -> None:
    """Numbers in words, each run of words as one number: `twenty-five` names 25 and neither 20 nor 5."""
    total = current = 0.0
    spoken = False
    sign = 1
    for token in [*_RUN.findall(text), "."]:
        part = None if token in _ARTICLES else _PARTS.get(token)
        if part is not None and spoken:
            # `twenty five` is one number, `five twenty` are two.
            if part < 1:
                continues = current % 1 == 0
            else:
                continues = current % 100 == 0 or (part < 10 and current % 100 >= 20 and current % 10 == 0)
            if not continues:
                found.add(sign * (total + current))
                total = current = 0.0
        if part is not None:
            current, spoken = current + part, True
        elif token in SCALES and len(token) > 2:
            current = (current or 1.0) * SCALES[token]
            spoken = True
            if SCALES[token] >= 1000:
                total, current = total + current, 0.0
        elif not (spoken and token in ("and", *_ARTICLES)):
            if spoken:
                found.add(sign * (total + current))
            total = current = 0.0
            spoken, sign = False, -1 if token in ("minus", "negative") else 1
        if len(token) > 2 and token in CALENDAR and token not in _AMBIGUOUS:
            found.add(float(CALENDAR[token]))


def _day(year: str, month: str, day: str) -> Day | None:
    number = _MONTH_OF.get(month[:3]) or int(month)
    if not 1 <= number <= 12 or (day and not 1 <= int(day) <= 31):
        return None
    full = int(year) + 2000 if len(year) == 2 else int(year or 0)
    return Day(full or None, number, int(day) if day else None)
