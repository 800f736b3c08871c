"""Whether thinking leads to its calls: stage 3's question, also asked by the regenerator before it keeps thinking.

Three things can be decided by rule: each called function is named, each value is named, and the thinking does not end
in another call than the answer's.

A value is named when the thinking holds it in whole tokens (`7` is not in `17`, in `-7` or in `x7`; `AB-1234` is not in
`AB-12345`), which is stricter than stage 2's question of support. What may differ: case, quotes, a plural, the order of
a name's words, a number in words, percent for a fraction, a day or a time in another spelling, a listed code (`Fri`,
`de`). Nothing is taken for a spelling mistake, and the parts of a date must agree together.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

from funreason.agents.judges.rules.numbers import (
    COMPACT_DATES,
    Day,
    agrees,
    clocks_in,
    days_in,
    named_numbers,
    number_of,
    same_float,
)
from funreason.agents.judges.rules.numerals import in_english, inflects, languages_of
from funreason.agents.judges.rules.scripts import Folded, has_blankless, plain, row_end
from funreason.agents.judges.rules.words import CAMEL, CODES, MONTHS, MOST_PARTS, WEEKDAYS, WORD, has_weight, leaves
from funreason.calls.compare import same_call
from funreason.calls.lenient import parse_any
from funreason.calls.names import MAX_NAME
from funreason.calls.parse import CallSyntaxError
from funreason.calls.schema import SchemaProblem, tools_by_name
from funreason.types import Call

_NUMBER = re.compile(r"([-+]?)[$€£¥]?(\d[\d,]*(?:\.\d+)?|\.\d+)\s*(%|[^\W\d_]{0,12})")
_DATE_OR_TIME = re.compile(r"[\d\s:/.,+tzapm-]+|[a-z\d\s,.]*\b(?:19|20)\d\d")
_SHORT_FORMS = {name[:3]: name for name in (*MONTHS, *WEEKDAYS)}
_BETWEEN = 4
_LONG = 60
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_LAST_CALL = re.compile(r"\[?[A-Za-z_][\w.]*\([^\n]*\)\]?$")
_LAST_BLOCK = re.compile(r"^[ \t]*(?:<tool_call>|[\[{])", re.MULTILINE)
_LATIN_NAME = re.compile(r"(?<![A-Za-z_])[A-Z][a-z]{2,}(?![A-Za-z_])")
_TAIL_CHARS = 2000
_MOST_STEPS = 200_000
"""Words that are tried for the phrases of all values together; then phrases count as not there."""
_BLOCKS = 8
"""How many lines that open a bracket are tried, from the last on, as the start of an ending over several lines."""


def thinking_problem(thinking: str, calls: Sequence[Call], tools: list[dict[str, Any]]) -> SchemaProblem | None:
    """None when the thinking leads to the calls, else the first problem.

    Codes: `cot.function_not_named`, `cot.value_not_named`, `cot.ends_in_another_call`.
    """
    for call in calls:
        if not names_function(thinking, call.name):
            return SchemaProblem("cot.function_not_named", f"the thinking does not name {call.name}")
    naming = NamedValues(thinking, {name for call in calls for name in (call.name, *call.arguments)})
    offered = tools_by_name(tools)
    for call in calls:
        tool = offered.get(call.name)
        properties = tool["parameters"]["properties"] if tool else {}
        for name, value in call.arguments.items():
            if "default" in properties.get(name, {}) and str(properties[name]["default"]) == str(value):
                continue
            found = unnamed(naming, value)
            if found is not None:
                message = f"the thinking does not give {call.name}.{name}={found!r:.80}"
                return SchemaProblem("cot.value_not_named", message)
    text, ending = _last_calls(thinking[-_TAIL_CHARS:].rstrip(" \n\t.`*"))
    for call in ending:
        tool = offered.get(call.name)
        if tool is not None and all(same_call(other, call, tool) is not None for other in calls):
            return SchemaProblem("cot.ends_in_another_call", f"the thinking ends in {text[:120]}")
    return None


def names_function(thinking: str, name: str) -> bool:
    """Whether the thinking holds the name as a whole, in its own case, or taken apart into its words.

    Letters of a script without blanks may touch a Latin name, as Chinese writes it; a name in such a script may touch
    others of its letters.
    """
    if len(name) > MAX_NAME:  # no tool has such a name
        return False
    at = thinking.find(name)
    while at >= 0:
        end = at + len(name)
        before = thinking[at - 1 : at] if at else ""
        if not _continues(before, name[:1]) and not _continues(thinking[end : end + 1], name[-1:]):
            return True
        at = thinking.find(name, at + 1)
    words = [word.lower() for word in _WORD.findall(name)]
    if len(words) < 2:
        return False
    return re.search(r"\b" + r"[\W_]+".join(map(re.escape, words)) + r"\b", thinking.lower(), re.ASCII) is not None


class NamedValues:
    """A thinking prepared for questions of naming; costly parts are worked out when first asked for."""

    def __init__(self, text: str, identifiers: Collection[str] = ()) -> None:
        """`identifiers` are Latin words that are no names of things: those of functions and parameters."""
        self._original, self._identifiers = text, identifiers
        self.text = plain(text)
        self._steps = _MOST_STEPS
        self.words = frozenset(WORD.findall(self.text)) | frozenset(map(plain, WORD.findall(_apart(text))))

    @cached_property
    def folded(self) -> Folded:
        """The thinking for questions in its own language."""
        return Folded(self.text, inflects=inflects(self._languages))

    @cached_property
    def english(self) -> str:
        """The thinking; in another language, after it the same with its numbers, days and times in English."""
        english = in_english(self.text, self._languages)
        return f"{self.text}\n{english}" if english else self.text

    @cached_property
    def numbers(self) -> frozenset[float]:
        """The numbers it names, each as a whole."""
        return named_numbers(self.english)

    @cached_property
    def days(self) -> frozenset[Day]:
        """The days it names."""
        return days_in(self.english)

    @cached_property
    def times(self) -> frozenset[tuple[int, int]]:
        """The times of day it names."""
        return clocks_in(self.english)

    @cached_property
    def _languages(self) -> frozenset[str]:
        return languages_of(self.text)

    def names(self, value: Any) -> bool:
        """Whether the thinking names the value; None and booleans need no naming, containers are taken apart."""
        if value is None or isinstance(value, bool):
            return True
        if isinstance(value, int | float):
            compact = COMPACT_DATES[0] <= value <= COMPACT_DATES[1]
            if value in self.numbers or (isinstance(value, float) and same_float(value, self.numbers)):
                return True
            return compact and agrees_all(days_in(str(value)), self)
        if isinstance(value, str):
            return self._names_text(value.strip())
        return unnamed(self, value) is None

    def _names_text(self, value: str) -> bool:
        low = plain(value)
        if not value.isascii():
            value = low
        words = WORD.findall(low)[:MOST_PARTS]
        if not words:
            return low in self.text
        if self._phrase(words) or self._names_form(low):
            return True
        codes = CODES.get(low, ())
        if any(code in self.words or (" " in code and code in self.text) for code in codes):
            return True
        if any(code in self.text for code in codes if not code[0].isalnum()):
            return True
        if _SHORT_FORMS.get(low) in self.words or (low in _SHORT_FORMS.values() and low[:3] in self.words):
            return True
        if not (low.isascii() and self.text.isascii() and not self._languages):
            if self.folded.holds(low):
                return True
            spelled = in_english(low, self._languages)
            days, times = (days_in(spelled), clocks_in(spelled)) if spelled else (frozenset(), frozenset())
            if (days or times) and (not days or agrees_all(days, self)) and times <= self.times:
                return True
            # A transliteration or a translation, its numbers aside. A thinking in another script that writes a name in
            # Latin letters would write this one so too.
            may_translate = self.folded.is_of_another_script(low) and "@" not in low and "://" not in low
            if may_translate and (self._identifiers_only or not low.isascii()):
                digits = filter(str.isdecimal, WORD.findall(low)[:MOST_PARTS])
                if all(number_of(part) in self.numbers for part in digits):
                    return True
        if " " not in low and any(char.isdecimal() for char in low):  # an id or a number: only the whole of it will do
            several = {part for part in low.split(",", MOST_PARTS)[:MOST_PARTS] if part}
            return "," in low and len(several) > 0 and all(map(self._names_text, several))
        parts = [part for part in map(str.casefold, WORD.findall(_apart(value))) if has_weight(part)][:MOST_PARTS]
        found = 0
        for word in parts or words:
            if word.isdecimal():
                found += number_of(word) in self.numbers
            else:
                found += word in self.words or f"{word}s" in self.words or (word[-1] == "s" and word[:-1] in self.words)
        return found >= len(parts or words) * (0.5 if len(value) > _LONG else 1.0)

    def _phrase(self, words: list[str]) -> bool:
        """Whether the words appear in a row as whole tokens, whatever punctuation is between them.

        By hand and not by a pattern: each value would need another one, and compiling it costs more than all the rest.
        """
        text = self.text
        if not self.words.issuperset(words):
            return False
        if len(words) == 1 and not (words[0][0].isdecimal() or words[0][-1].isdecimal()):
            return True
        start = text.find(words[0])
        while start >= 0 and self._steps > 0:
            self._steps -= len(words)
            before = text[start - 1] if start else ""
            if text[start].isdecimal():  # a number has no sign, point or digit group before it
                in_number = before == "," and start > 1 and text[start - 2].isdecimal()
                begins = not (before.isalnum() or (before and before in "_.−-") or in_number)
            else:
                begins = not before.isalnum()
            end = row_end(text, start, words, _BETWEEN) if begins else -1
            if end >= 0:
                after = text[end : end + 1]
                if not text[end - 1].isdecimal():
                    ends = not after.isalnum()
                else:  # a number continues after a point, a comma or a dash, if digits follow
                    continues = after and after in "-.," and text[end + 1 : end + 2].isdecimal()
                    ends = not (after.isalnum() or after == "_" or continues)
                if ends:
                    return True
            start = text.find(words[0], start + 1)
        return False

    def _names_form(self, low: str) -> bool:
        """Whether a number, day or time that comes as a string is named."""
        number = _NUMBER.fullmatch(low)
        if number:
            value = number_of(number[2]) * (-1 if number[1] == "-" else 1)
            if value in self.numbers and (not number[3] or number[3] in self.text):
                return True
        if not _DATE_OR_TIME.fullmatch(low):
            return False
        days, times = days_in(low), clocks_in(low)
        if not days and not times:
            return False
        return (not days or agrees_all(days, self)) and times <= self.times | ({(0, 0)} if days else set())

    @cached_property
    def _identifiers_only(self) -> bool:
        """Whether no Latin word but an identifier begins with a capital."""
        return set(_LATIN_NAME.findall(self._original)) <= set(self._identifiers)


def agrees_all(days: frozenset[Day], naming: NamedValues) -> bool:
    """Whether one reading of a value's day is named whole: its year too, beside the day or elsewhere."""
    return any(
        agrees(day, naming.days) and (day.year is None or day in naming.days or float(day.year) in naming.numbers)
        for day in days
    )


def unnamed(naming: NamedValues, value: Any) -> Any:
    """The first part of a value that is not named, or None. Dict keys are not asked."""
    return next((part for part in leaves(value) if not naming.names(part)), None)


def _continues(char: str, edge: str) -> bool:
    """Whether a neighbour of a name belongs to the same word as the name's `edge`."""
    return bool(char) and (char.isalnum() or char == "_") and not has_blankless(char) and not has_blankless(edge)


def _apart(text: str) -> str:
    """The text with camelCase names taken apart."""
    return CAMEL.sub(" ", text)


def _last_calls(tail: str) -> tuple[str, list[Call]]:
    """The calls that a text ends in, with their own text: a list or JSON over lines, a tagged call, or a line's end."""
    if tail.endswith(("]", "}", "</tool_call>")):
        starts = [match.start() for match in _LAST_BLOCK.finditer(tail)]
        for start in reversed(starts[-_BLOCKS:]):
            calls = _read(tail[start:].strip())
            if calls:
                return tail[start:].strip(), calls
    found = _LAST_CALL.search(tail.rsplit("\n", 1)[-1])
    if not found:
        return "", []
    text = found[0] if found[0].startswith("[") == found[0].endswith("]") else found[0].strip("[]")
    return text, _read(text)


def _read(text: str) -> list[Call]:
    try:
        return parse_any(text)
    except CallSyntaxError:
        return []
