"""Finds the numbers in a text, in any spelling.

`numbers_in` returns every possible reading. It serves to check whether a value has any support, where a spurious number
costs little and a missing one is a false alarm. `named_numbers` returns only numbers that are whole tokens.

Digits with separators, currency and percent signs; words (`twenty-five`, `a dozen`, `two and a half million`);
ordinals; month and weekday names.
"""

from __future__ import annotations

import re

from funreason.agents.judges.rules.aliases import CALENDAR, ONES, SCALES, TENS

_DIGITS = re.compile(
    r"(?<![\d.])(-?)(\d{1,3}(?:,\d{2,3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?:\s*(%|percent|[a-z]+)\b)?|(\.\d+)"
)
_CLOCK = re.compile(r"\b(\d{1,2})(?:[:.h](\d{2}))?(?::(\d{2}))?\s*(a\.?m\b|p\.?m\b|o'?clock\b)?")
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
"""Words that usually mean something other than a month or weekday."""
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
    """Every number that `text` (case-folded) may mean."""
    found: set[float] = set()
    _digits(text, found)
    _words(text, found)
    return frozenset(found)


def named_numbers(text: str) -> frozenset[float]:
    """The numbers that are whole tokens of `text` (case-folded): not 7 in `x7` or `1.7`, and only -7 in `-7`."""
    found: set[float] = set()
    for match in _WHOLE.finditer(text):
        negative = match[1] or _MINUS.search(text[max(0, match.start() - 12) : match.start()])
        listed = text[max(0, match.start() - 1) : match.start()] in ("[", "(")
        for number in _in_units(_apart(match[2], listed=listed), match[3] or match[4] or ""):
            found.add(-number if negative else number)
    _whole_words(text, found)
    return frozenset(found)


def scaled(numbers: frozenset[float], text: str) -> frozenset[float]:
    """The same numbers in other units, for units that `text` mentions (4 % is 0.04, 2 hours are 120)."""
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


def _apart(digits: str, *, listed: bool) -> list[float]:
    """The numbers of `1,250`, of `1,2,3` and, where a bracket opens before it, of both readings of `100,200`."""
    parts = digits.split(",")
    grouped = [float(digits.replace(",", "")[:300])] if _GROUPED.fullmatch(digits) else []
    if grouped and not listed:
        return grouped
    return grouped + [float(part[:300]) for part in parts if _ONE_NUMBER.fullmatch(part)]


def _in_units(numbers: list[float], unit: str) -> list[float]:
    """The numbers, and the last one converted by its unit: 4 % is 0.04, 50k is 50,000, 2 hours are 120 minutes."""
    if not numbers or not unit:
        return numbers
    if unit in SCALES:
        return [*numbers, numbers[-1] * SCALES[unit]]
    factors = {factor for pattern, factors in _UNITS if pattern.fullmatch(unit) for factor in factors}
    return [*numbers, *[round(numbers[-1] * factor, 9) for factor in factors]]


def _whole_words(text: str, found: set[float]) -> None:
    """Numbers in words, each run of words as one number: `twenty-five` names 25 and neither 20 nor 5."""
    total = current = 0.0
    spoken = False
    sign = 1
    for token in [*_RUN.findall(text), "."]:
        part = None if token in _ARTICLES else _PARTS.get(token)
        if part is not None and spoken and not _goes_on(current, part):
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


def _goes_on(current: float, part: float) -> bool:
    """Whether a number word continues the one before it: `twenty five` does, `five twenty` are two numbers."""
    if part < 1:
        return current % 1 == 0
    return current % 100 == 0 or (part < 10 and current % 100 >= 20 and current % 10 == 0)
