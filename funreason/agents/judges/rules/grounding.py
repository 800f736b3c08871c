"""Whether a text supports a value: what stage 2 asks of the query and each value.

A value counts as supported when the text spells it in any of the ways people do: other case, quotes or plurals,
numbers in words, percent for a fraction, another date or clock format, a code for a word (CN for China). Only a
value with no support at all is reported. What a reader would need the world for (the coordinates of a city) has none.

A value is looked for as the language of the text writes it: see `scripts` and `numerals`. A name in a script that the
text is not written in may be a transliteration or a translation: `undecided` says so, and it counts as supported.
"""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from math import isfinite
from typing import Any

from rapidfuzz import fuzz

from funreason.agents.judges.rules.numbers import (
    COMPACT_DATES,
    Day,
    agrees,
    days_in,
    number_of,
    numbers_in,
    same_float,
    scaled,
    times_in,
)
from funreason.agents.judges.rules.numerals import ENGLISH, in_english, inflects, languages_of
from funreason.agents.judges.rules.scripts import Folded, folded, has_blankless, numbers_apart, plain
from funreason.agents.judges.rules.words import (
    CAMEL,
    CODES,
    MONTHS,
    MOST_PARTS,
    WORD,
    has_weight,
    is_initials,
    leaves,
    shortens,
    stem,
)

_NUMBER = re.compile(r"\s*+[-+]?[$€£¥]?\s*+[-+]?(\d[\d,]*+(?:\.\d*+)?|\.\d++)\s*+([^\d\s]{0,12})\s*$")
_TIME = re.compile(
    r"(?:^|[\sT])(\d{1,2})(?::(\d{2})(?::\d{2}(?:\.\d++)?)?\s*+(?:[ap]\.?m\.?|z|[+-]\d\d:?\d\d)?|\s*+[ap]\.?m\.?)\s*+$",
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
"""Words for a date that no rule can work out, because the day of the query is unknown."""
_FEW_EXEMPT = frozenset({0.0, 1.0, -1.0})
_LONG = 60
_FUZZY = 83.0
_CACHED_CHARS = 20_000
_MOST_OF_IT, _SOME = 0.6, 0.3
"""Shares of a value's words that a text in another language must have: up to 60 characters, and longer."""
_CUES = 2
_CODE_DIGITS = 3
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_DIGITS = re.compile(r"\d+")
_MOST_ALIKE = 400
"""Of the words that begin with the same letter, so many are compared with a short form."""
_CLOCK = re.compile(r"\d:\d\d")


class Evidence:
    """A text prepared for questions of support; costly parts are worked out when first asked for."""

    def __init__(self, text: str) -> None:
        self.text = plain(text)
        self.words = frozenset(WORD.findall(self.text))
        self.squashed = "".join(WORD.findall(self.text))
        self._scaled: frozenset[float] | None = None
        self._rounded: dict[int, frozenset[float]] = {}

    @cached_property
    def folded(self) -> Folded:
        """The text for questions in its own language."""
        return Folded(self.text, inflects=inflects(self._languages))

    @cached_property
    def english(self) -> str:
        """The text; in another language, after it the same with its numbers, days and times in English."""
        english = in_english(self.text, self._languages)
        return f"{self.text}\n{english}" if english else self.text

    @cached_property
    def is_english(self) -> bool:
        """Whether nothing shows that the text is in another language."""
        if self._languages:
            return False
        return self.text.isascii() or len(self.words & ENGLISH) >= _CUES

    @cached_property
    def stems(self) -> frozenset[str]:
        """The words without their endings, camelCase taken apart."""
        return frozenset(map(stem, self.words))

    @cached_property
    def numbers(self) -> frozenset[float]:
        """Every number the text may name."""
        return numbers_in(self.english)

    @cached_property
    def days(self) -> frozenset[Day]:
        """Every day the text may name."""
        return days_in(self.english)

    @cached_property
    def _times(self) -> frozenset[tuple[int, int]]:
        return times_in(self.english)

    @cached_property
    def _is_relative(self) -> bool:
        return _RELATIVE.search(self.english) is not None

    @cached_property
    def _has_duration(self) -> bool:
        return _DURATION.search(self.english) is not None

    @cached_property
    def _letters(self) -> frozenset[str]:
        return frozenset(self.text)

    @cached_property
    def _numbers_apart(self) -> str:
        return numbers_apart(self.squashed)

    @cached_property
    def _by_initial(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for word in dict.fromkeys(WORD.findall(self.text)):
            group = found.setdefault(word[0], [])
            if len(group) < _MOST_ALIKE:
                group.append(word)
        return found

    @cached_property
    def _by_decimals(self) -> dict[int, set[float]]:
        found: dict[int, set[float]] = {}
        for number in self.numbers:
            if isinstance(number, float) and (places := _decimals(number)):
                found.setdefault(places, set()).add(number)
        return found

    @cached_property
    def _languages(self) -> frozenset[str]:
        return languages_of(self.text)

    def supports_number(self, value: float) -> bool:
        """Whether the text names the number, in words, digits or another unit."""
        if value in self.numbers or (isinstance(value, float) and same_float(value, self.numbers)):
            return True
        if self._scaled is None:
            self._scaled = scaled(self.numbers, self.english)
        return round(value, 9) in self._scaled

    def supports(self, value: Any) -> bool:
        """Whether the text supports the value; of a string of several words one is enough."""
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
        if COMPACT_DATES[0] <= value <= COMPACT_DATES[1]:
            date = _DATE.match(f"{int(value) // 10_000}-{int(value) // 100 % 100}-{int(value) % 100}")
            if date is not None and self._supports_date(date):
                return True
        if -value in self.numbers or (abs(value) < 10**15 and str(value) in self.words):
            return True
        if not isinstance(value, float) or not isfinite(value):
            return False
        if any(round(value, places) in short for places, short in self._by_decimals.items()):  # 0.333 for 0.33
            return True
        places = _decimals(value)
        if places and places not in self._rounded:
            exact = (number for number in self.numbers if isinstance(number, float) and isfinite(number))
            self._rounded[places] = frozenset(round(number, places) for number in exact)
        return places > 0 and value in self._rounded[places]  # 0.33 for 0.333

    def _is_year_of_now(self, value: float) -> bool:
        return 1990 <= value <= 2100 and self._is_relative

    def undecided(self, value: str) -> bool:
        """Whether a text value may be a transliteration or a translation, so that comparing it decides nothing.

        Its numbers are compared all the same; ids and addresses are the same in every language.
        """
        low = plain(value)
        foreign = self.is_english and not any(
            char in self._letters for char in low if not char.isascii() and char.isalpha()
        )
        if not (foreign and _has_foreign(low)) and not self.folded.is_of_another_script(low):
            return False
        if "@" in low or "://" in low:
            return False
        for word in low.split()[:MOST_PARTS]:  # an id has letters and digits
            if sum(map(str.isdecimal, word)) >= _CODE_DIGITS and any(c.isascii() and c.isalpha() for c in word):
                return False
        return all(number_of(digits) in self.numbers for digits in _DIGITS.findall(low)[:MOST_PARTS])

    def _supports_text(self, value: str) -> bool:
        low = plain(value)
        if not value.isascii():
            value = low
        words = WORD.findall(low)
        if not words or low in self.words:
            return True
        # The letters and digits in a row; a row that begins or ends in a digit, to the end of that number.
        squashed = "".join(words)
        # One word of a language with blanks and endings is looked for as a word: Omsk is not in Tomsk.
        is_word = len(words) == 1 and not self.is_english and low.isalpha() and not has_blankless(low)
        if len(squashed) > 3 and not is_word and numbers_apart(squashed) in self._numbers_apart:
            return True
        if _ADDRESS.fullmatch(low):
            return False  # an address is there as it is, or invented
        formed = self._supports_form(value, low)
        if formed is not None:
            return formed
        codes = CODES.get(low, ())
        if any(word in self.words or (len(word) > 5 and word in self.text) for word in codes):
            return True
        if any(sign in self.text for sign in codes if not sign.isalnum()):
            return True
        is_code = self.is_english or value.isupper() or len(low) == 2
        is_short = 2 <= len(low) <= 4 and low.isalpha() and low.isascii() and is_code
        if is_short and (
            any(shortens(low, word) for word in self._by_initial.get(low[0], ()))
            or is_initials(low, self.text[:_CACHED_CHARS])
        ):
            return True
        if not self.is_english or _has_foreign(low):
            return self._supports_foreign(low, words)
        if not self.text.isascii() and self.undecided(low):
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

    def _supports_foreign(self, low: str, words: list[str]) -> bool:
        """The rest of `_supports_text` where text or value are not plain English."""
        if self.folded.holds(low):
            return True
        spelled = in_english(low, self._languages)
        if spelled:
            days, times = days_in(spelled), times_in(spelled)
            if days:
                return self._is_relative or any(agrees(day, self.days) for day in days)
            if times and _CLOCK.search(spelled):
                return times <= self._times
        if self.undecided(low):
            return True
        if any(char.isdecimal() for char in low) and " " not in low:
            return False
        if has_blankless(low):
            return self.folded.covers(low)
        parts = ([part for part in words if len(part) > 2 or part.isdecimal()] or words)[:MOST_PARTS]
        found = sum(map(self._has_part, parts))
        if found and found >= len(parts) * (_MOST_OF_IT if len(low) <= _LONG else _SOME):
            return True
        if not 6 <= len(low) <= _LONG or any(char.isdecimal() for char in low):
            return False
        return fuzz.partial_ratio(low, self.text[:_CACHED_CHARS], score_cutoff=_FUZZY) > 0

    def _supports_form(self, value: str, low: str) -> bool | None:
        """Numbers, dates and times that come as strings; None when the value is none of them."""
        if not (low[0].isdecimal() or low[0] in "-+$€£¥."):
            return None
        number = _NUMBER.match(value)
        if number and (self._supports_count(number_of(number[1])) or self._is_year_of_now(number_of(number[1]))):
            return True
        date, time = _DATE.match(value), _TIME.search(value)
        if date and _ONLY_DATE.fullmatch(value):
            return self._supports_date(date)
        return (int(time[1]) % 12, int(time[2] or 0)) in self._times if time else None

    def _supports_date(self, match: re.Match[str]) -> bool:
        if self._is_relative:
            return True
        said, days = self.days, days_in(match[0])
        # "Three nights from July 15th" ends on a day that is not named: all but one part is enough.
        if said and self._has_duration:
            for day in days:
                if sum(part is None or float(part) in self.numbers for part in day) >= 2:
                    return True
        for day in days:
            # The parts may be apart; the ends of a month or a year need none ("in March" is from 03-01).
            asked = [day.year, day.month, day.day]
            if day.day in _ENDS_OF_MONTH:
                asked[2] = None
                if (day.month, day.day) in _ENDS_OF_YEAR:
                    asked[1] = None
            if agrees(day, said) or all(part is None or float(part) in self.numbers for part in asked):
                return True
        return False

    def _has_part(self, part: str) -> bool:
        if part in self.words or stem(part) in self.stems:
            return True
        if part.isdecimal():
            return number_of(part) in self.numbers
        if not (self.is_english and part.isascii()) and self.folded.has_word(folded(part)):
            return True
        if len(part) in (2, 3) and part[1:].isdecimal():  # Q3 for the third quarter
            return float(part[1:]) in self.numbers
        if part[:3] in self.words and any(name.startswith(part) or name == part for name in MONTHS):
            return True
        return len(part) > 4 and self.is_english and part in self.squashed


def evidence_of(text: str) -> Evidence:
    """The prepared evidence of a text; cached, of long texts only a few, because k samples share one query."""
    return _remembered(text) if len(text) <= _CACHED_CHARS else _remembered_long(text)


_remembered = lru_cache(maxsize=512)(Evidence)
_remembered_long = lru_cache(maxsize=4)(Evidence)


def unsupported(evidence: Evidence, value: Any) -> Any:
    """The first part of a value without support, or None. Lists and dicts are taken apart, dict keys are not asked."""
    return next((part for part in leaves(value) if not evidence.supports(part)), None)


def undecided(evidence: Evidence, value: Any) -> bool:
    """Whether a value, or a part of it, is a name that only a model can compare with the text."""
    return any(
        isinstance(part, str) and evidence.undecided(part) and not evidence.folded.holds(plain(part))
        for part in leaves(value)
    )


def _has_foreign(low: str) -> bool:
    return any(not char.isascii() and char.isalpha() for char in low)


def _decimals(number: float) -> int:
    """How many decimals a number has, up to nine."""
    return len(f"{number:.9f}".rstrip("0").partition(".")[2])
