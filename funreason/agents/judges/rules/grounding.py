"""Checks whether a text supports a value (stage 2: the query and the values of the calls).

A value is supported if the text contains it in any usual spelling: other case, quotes or plurals, numbers in words,
percent for a fraction, another date or clock format, a code for a word (CN for China). Only values without any support
are reported. Values that need world knowledge, such as the coordinates of a city, have none.
"""

from __future__ import annotations

import re
from functools import lru_cache
from math import isfinite
from typing import Any

from rapidfuzz import fuzz

from funreason.agents.judges.rules.aliases import CODES, MONTHS
from funreason.agents.judges.rules.dates import COMPACT_DATES, Day, agrees, days_in
from funreason.agents.judges.rules.numbers import numbers_in, scaled, times_in
from funreason.agents.judges.rules.text import (
    CAMEL,
    MOST_PARTS,
    WORD,
    has_weight,
    is_initials,
    of_another_script,
    shortens,
    stem,
)

_NUMBER = re.compile(r"\s*[-+]?[$€£¥]?\s*[-+]?(\d[\d,]*\.?\d*|\.\d+)\s*([^\d\s]{0,12})\s*$")
_TIME = re.compile(
    r"(?:^|[\sT])(\d{1,2})(?::(\d{2})(?::\d{2}(?:\.\d+)?)?\s*(?:[ap]\.?m\.?|z|[+-]\d\d:?\d\d)?|\s*[ap]\.?m\.?)\s*$",
    re.IGNORECASE,
)
_DURATION = re.compile(r"\b(?:night|day|week|month)s?\b")
_ENDS_OF_MONTH = (1, 28, 29, 30, 31)
_ENDS_OF_YEAR = ((1, 1), (12, 31))
_ONLY_DATE = re.compile(r"[\d\s:/.+TZapm-]+", re.IGNORECASE)
_DATE = re.compile(r"\s*(\d{4})[-/.](\d{1,2})(?:[-/.](\d{1,2}))?(?!\d)|\s*(\d{1,2})[-/.](\d{1,2})[-/.](\d{2,4})(?!\d)")
_RELATIVE = re.compile(
    r"\b(?:today|tonight|tomorrow|yesterday|now|currently|weekend|christmas|easter|thanksgiving|halloween)\b|\bend of\b"
    r"|\b(?:next|last|this|past|coming|previous|upcoming|current|following)\s+(?:\w+\s+)?(?:day|week|month|year|quarter"
    r"|season|spring|summer|autumn|fall|winter|morning|evening|night|afternoon|decade)s?\b"
    r"|\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b|\bago\b|\bfrom now\b|\bnew year"
)
"""Words for dates that rules cannot resolve, because the day of the query is unknown."""
_FEW_EXEMPT = frozenset({0.0, 1.0, -1.0})
_LONG = 60
_FUZZY = 83.0
_CACHED_CHARS = 20_000


class Evidence:
    """A text prepared for these checks. Expensive parts are computed on first use."""

    def __init__(self, text: str) -> None:
        self.text = text.casefold()
        self.words = frozenset(WORD.findall(self.text))
        self.squashed = "".join(WORD.findall(self.text))
        self._stems: frozenset[str] | None = None
        self._numbers: frozenset[float] | None = None
        self._scaled: frozenset[float] | None = None

    @property
    def stems(self) -> frozenset[str]:
        """The words without their endings, camelCase split."""
        if self._stems is None:
            self._stems = frozenset(map(stem, self.words))
        return self._stems

    @property
    def numbers(self) -> frozenset[float]:
        """Every number that the text may mean."""
        if self._numbers is None:
            self._numbers = numbers_in(self.text)
        return self._numbers

    def supports_number(self, value: float) -> bool:
        """Whether the text names the number, in words, digits or another unit."""
        if value in self.numbers:
            return True
        if self._scaled is None:
            self._scaled = scaled(self.numbers, self.text)
        return round(value, 9) in self._scaled

    def supports(self, value: Any) -> bool:
        """Whether the text supports the value. One supported word of a string is enough."""
        if value is None or isinstance(value, bool):
            return True
        if isinstance(value, int | float):
            return self._supports_count(value) or self._is_year_of_now(value)
        if isinstance(value, str):
            return self._supports_text(value.strip())
        return unsupported(self, value) is None

    def _supports_count(self, value: float) -> bool:
        if value in _FEW_EXEMPT or self.supports_number(value):
            return True
        if COMPACT_DATES[0] <= value <= COMPACT_DATES[1] and self._supports_compact_date(int(value)):
            return True
        if -value in self.numbers or (abs(value) < 10**15 and str(value) in self.words):
            return True
        return isinstance(value, float) and any(_rounds(value, near) or _rounds(near, value) for near in self.numbers)

    def _supports_compact_date(self, value: int) -> bool:
        date = _DATE.match(f"{value // 10_000}-{value // 100 % 100}-{value % 100}")
        return date is not None and self._supports_date(date)

    def _is_year_of_now(self, value: float) -> bool:
        return 1990 <= value <= 2100 and bool(_RELATIVE.search(self.text))

    def _supports_text(self, value: str) -> bool:
        low = value.casefold()
        words = WORD.findall(low)
        if not words or low in self.words:
            return True
        if self._has_squashed("".join(words)):
            return True
        formed = self._supports_form(value, low)
        if formed is not None:
            return formed
        if self._supports_code(low):
            return True
        return self._supports_words(value, words, low)

    def _has_squashed(self, squashed: str) -> bool:
        """Whether the letters and digits occur in a row, not cut off inside a number."""
        if len(squashed) <= 3 or squashed not in self.squashed:
            return False
        at = self.squashed.find(squashed)
        while at >= 0:
            ends = (self.squashed[at - 1 : at] + squashed[0], squashed[-1] + self.squashed[at + len(squashed) :][:1])
            if not any(len(pair) == 2 and pair.isdecimal() for pair in ends):
                return True
            at = self.squashed.find(squashed, at + 1)
        return False

    def _supports_form(self, value: str, low: str) -> bool | None:
        """Numbers, dates and times given as strings; None for any other value."""
        if not (low[0].isdecimal() or low[0] in "-+$€£¥."):
            return None
        number = _NUMBER.match(value)
        if number and (self._supports_count(_float(number[1])) or self._is_year_of_now(_float(number[1]))):
            return True
        date, time = _DATE.match(value), _TIME.search(value)
        if date and _ONLY_DATE.fullmatch(value):
            return self._supports_date(date)
        return self._supports_time(time) if time else None

    def _supports_time(self, match: re.Match[str]) -> bool:
        return (int(match[1]) % 12, int(match[2] or 0)) in times_in(self.text)

    def _supports_date(self, match: re.Match[str]) -> bool:
        if _RELATIVE.search(self.text):
            return True
        said = days_in(self.text)
        days = days_in(match[0])
        if said and _DURATION.search(self.text) and any(self._has_some_parts(day) for day in days):
            return True
        return any(agrees(day, said) or self._has_parts(day) for day in days)

    def _has_some_parts(self, day: Day) -> bool:
        """Whether all parts but one occur: "three nights from July 15th" ends on a day that is not named."""
        return sum(part is None or float(part) in self.numbers for part in day) >= 2

    def _has_parts(self, day: Day) -> bool:
        """Whether the parts occur separately. Ends of a month or year need no day ("in March" is from 03-01)."""
        asked = [day.year, day.month, day.day]
        if day.day in _ENDS_OF_MONTH:
            asked[2] = None
            if (day.month, day.day) in _ENDS_OF_YEAR:
                asked[1] = None
        return all(part is None or float(part) in self.numbers for part in asked)

    def _supports_code(self, low: str) -> bool:
        if any(word in self.words or (len(word) > 5 and word in self.text) for word in CODES.get(low, ())):
            return True
        if any(sign in self.text for sign in CODES.get(low, ()) if not sign.isalnum()):
            return True
        if not (2 <= len(low) <= 4 and low.isalpha()):
            return False
        return any(shortens(low, word) for word in self.words) or is_initials(low, self.text)

    def _supports_words(self, value: str, words: list[str], low: str) -> bool:
        if of_another_script(low, self.text):
            return True
        # An id such as 6Hk0q7 is one word; only a name without digits is taken apart at its capitals.
        apart = value if any(char.isdecimal() for char in value) else CAMEL.sub(" ", value)
        parts = [part for part in map(str.casefold, WORD.findall(apart)) if has_weight(part)]
        parts = (parts or words)[:MOST_PARTS]
        if any(map(self._has_part, parts)):
            return True
        if not 5 <= len(low) <= _LONG or any(char.isdecimal() for char in low):  # image2 is not nearly image3
            return False
        return fuzz.partial_ratio(low, self.text[:_CACHED_CHARS], score_cutoff=_FUZZY) > 0

    def _has_part(self, part: str) -> bool:
        if part in self.words or stem(part) in self.stems:
            return True
        if part.isdecimal():
            return float(part[:300]) in self.numbers
        if len(part) in (2, 3) and part[1:].isdecimal():  # Q3 for the third quarter
            return float(part[1:]) in self.numbers
        if part[:3] in self.words and any(name.startswith(part) or name == part for name in MONTHS):
            return True
        return len(part) > 4 and part in self.squashed


def evidence_of(text: str) -> Evidence:
    """The prepared evidence of a text; cached if it is not long, because k samples share one query."""
    return _remembered(text) if len(text) <= _CACHED_CHARS else Evidence(text)


_remembered = lru_cache(maxsize=512)(Evidence)


def unsupported(evidence: Evidence, value: Any, depth: int = 0) -> Any:
    """The first part of a value without support, or None. Lists and dicts are checked by element, dict keys are not."""
    if isinstance(value, list | tuple | dict) and depth < 8:
        parts = value.values() if isinstance(value, dict) else value
        for part in parts:
            found = unsupported(evidence, part, depth + 1)
            if found is not None:
                return found
        return None
    return None if evidence.supports(value) else value


def _rounds(exact: float, short: float) -> bool:
    """Whether `short` has decimals and is `exact` rounded to that many."""
    places = len(f"{short:.9f}".rstrip("0").partition(".")[2])
    return places > 0 and isfinite(exact) and round(exact, places) == short


def _float(digits: str) -> float:
    return float(digits.replace(",", "")[:300])
