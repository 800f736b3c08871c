"""The numbers a text speaks of, however it spells them.

Digits with separators, currency and percent signs; words (`twenty-five`, `a dozen`, `two and a half million`);
ordinals; month names; hours of the day, in both clocks. Every reading is offered: the question is whether a value
has any support at all, so a number too many costs little and a number too few is a false alarm.
"""

from __future__ import annotations

import re

from funreason.agents.aliases import CALENDAR, ONES, SCALES, TENS

_DIGITS = re.compile(
    r"(?<![\d.])(-?)(\d{1,3}(?:,\d{2,3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?:\s*(%|percent|[a-z]+)\b)?|(\.\d+)"
)
_CLOCK = re.compile(r"\b(\d{1,2})(?:[:.h](\d{2}))?(?::(\d{2}))?\s*(a\.?m\b|p\.?m\b|o'?clock\b)?")
_WORD = re.compile(r"[a-z]+")
_PARTS = {**ONES, **TENS}
_ARTICLES = frozenset({"a", "an"})
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


def numbers_in(text: str) -> frozenset[float]:
    """Every number that `text` (case-folded) may be read to name."""
    found: set[float] = set()
    _digits(text, found)
    _words(text, found)
    return frozenset(found)


def scaled(numbers: frozenset[float], text: str) -> frozenset[float]:
    """The same numbers in other units, for those units that `text` speaks of (4 % is 0.04, 2 hours are 120)."""
    factors = {factor for pattern, factors in _UNITS if pattern.search(text) for factor in factors}
    return frozenset(round(number * factor, 9) for number in numbers for factor in factors)


def times_in(text: str) -> frozenset[tuple[int, int]]:
    """Times of day as (hour 0 to 11, minute): whether morning or evening is left open."""
    found = {(0, 0)} if "noon" in text or "midnight" in text else set()
    for match in _CLOCK.finditer(text):
        hour, minute = int(match[1]), int(match[2] or 0)
        if hour < 25 and minute < 60:
            found.add((hour % 12, minute))
    return frozenset(found)


def _digits(text: str, found: set[float]) -> None:
    for match in _DIGITS.finditer(text):
        if match[4]:
            found.add(float(match[4]))
            continue
        value = float(match[2].replace(",", ""))
        found.add(value)
        if match[1]:
            found.add(-value)
        if match[3] in SCALES:
            found.add(value * SCALES[match[3]])


def _words(text: str, found: set[float]) -> None:
    """Number words in a row as one number and each alone; month and weekday names by their place."""
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
