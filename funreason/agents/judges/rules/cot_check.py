"""Whether a thinking names a value: stage 3's question, which is stricter than stage 2's of support.

A value is named when it stands there in whole tokens (`7` is not in `17`, in `-7` or in `x7`; `AB-1234` is not in
`AB-12345`). What may differ: case, quotes, a plural, the order of a name's words, a number in words, percent for a
fraction, a day or a time in another spelling, a listed code (`Fri`, `de`). Nothing is taken for a spelling mistake,
and the parts of a date must agree together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from funreason.agents.judges.rules.aliases import CODES, MONTHS, WEEKDAYS
from funreason.agents.judges.rules.dates import COMPACT_DATES, Day, agrees, clocks_in, days_in
from funreason.agents.judges.rules.numbers import named_numbers
from funreason.agents.judges.rules.text import CAMEL, MOST_PARTS, WORD, has_weight, of_another_script
from funreason.calls.compare import same_call
from funreason.calls.lenient import parse_any
from funreason.calls.parse import CallSyntaxError
from funreason.calls.schema import SchemaProblem, tool_named
from funreason.types import Call

_NUMBER = re.compile(r"([-+]?)[$€£¥]?(\d[\d,]*(?:\.\d+)?|\.\d+)\s*(%|[^\W\d_]{0,12})")
_DATE_OR_TIME = re.compile(r"[\d\s:/.,+tzapm-]+|[a-z\d\s,.]*\b(?:19|20)\d\d")
_SHORT_FORMS = {name[:3]: name for name in (*MONTHS, *WEEKDAYS)}
_BETWEEN = 4
_LONG = 60


class Naming:
    """A thinking prepared for questions of naming; costly parts are worked out when first asked for."""

    def __init__(self, text: str) -> None:
        self.text = text.casefold()
        self.words = frozenset(WORD.findall(self.text)) | frozenset(map(str.casefold, WORD.findall(_apart(text))))

    @cached_property
    def numbers(self) -> frozenset[float]:
        """The numbers it names, each as a whole."""
        return named_numbers(self.text)

    @cached_property
    def days(self) -> frozenset[Day]:
        """The days it names."""
        return days_in(self.text)

    @cached_property
    def times(self) -> frozenset[tuple[int, int]]:
        """The times of day it names."""
        return clocks_in(self.text)

    def names(self, value: Any) -> bool:
        """Whether the thinking names the value; None and booleans need no naming, containers are taken apart."""
        if value is None or isinstance(value, bool):
            return True
        if isinstance(value, int | float):
            compact = COMPACT_DATES[0] <= value <= COMPACT_DATES[1]
            return value in self.numbers or (compact and agrees_all(days_in(str(value)), self))
        if isinstance(value, str):
            return self._names_text(value.strip())
        return unnamed(self, value) is None

    def _names_text(self, value: str) -> bool:
        low = value.casefold()
        words = WORD.findall(low)[:MOST_PARTS]
        if not words:
            return low in self.text
        if self._phrase(words) or self._names_form(low):
            return True
        if self._names_code(low) or of_another_script(low, self.text):
            return True
        if not _is_code(low):
            return self._has_words(value, words)
        several = [part for part in low.split(",")[:MOST_PARTS] if part]
        return len(several) > 1 and all(map(self._names_text, several))

    def _phrase(self, words: list[str]) -> bool:
        """Whether the words stand in a row as whole tokens, whatever punctuation is between them."""
        if not self.words.issuperset(words):
            return False
        if len(words) == 1 and not (words[0][0].isdecimal() or words[0][-1].isdecimal()):
            return True
        at = self.text.find(words[0])
        while at >= 0:
            if _begins(self.text, at) and _ends(self.text, _row_end(self.text, at, words)):
                return True
            at = self.text.find(words[0], at + 1)
        return False

    def _names_form(self, low: str) -> bool:
        """Numbers, days and times that come as strings."""
        number = _NUMBER.fullmatch(low)
        if number:
            value = float(number[2].replace(",", "")[:300]) * (-1 if number[1] == "-" else 1)
            if value in self.numbers and (not number[3] or number[3] in self.text):
                return True
        if not _DATE_OR_TIME.fullmatch(low):
            return False
        days, times = days_in(low), clocks_in(low)
        if not days and not times:
            return False
        return (not days or agrees_all(days, self)) and times <= self.times | ({(0, 0)} if days else set())

    def _names_code(self, low: str) -> bool:
        if any(other in self.words or (" " in other and other in self.text) for other in CODES.get(low, ())):
            return True
        if any(sign in self.text for sign in CODES.get(low, ()) if not sign[0].isalnum()):
            return True
        return _SHORT_FORMS.get(low) in self.words or (low in _SHORT_FORMS.values() and low[:3] in self.words)

    def _has_words(self, value: str, words: list[str]) -> bool:
        parts = [part for part in map(str.casefold, WORD.findall(_apart(value))) if has_weight(part)][:MOST_PARTS]
        found = [self._has_word(part) for part in parts or words]
        return sum(found) >= len(found) * (0.5 if len(value) > _LONG else 1.0)

    def _has_word(self, word: str) -> bool:
        if word.isdecimal():
            return float(word[:300]) in self.numbers
        return word in self.words or f"{word}s" in self.words or (word[-1] == "s" and word[:-1] in self.words)


def agrees_all(days: frozenset[Day], naming: Naming) -> bool:
    """Whether one reading of a value's day is named whole: its year too, beside the day or elsewhere."""
    return any(agrees(day, naming.days) and (day.year is None or _year_named(day, naming)) for day in days)


def _year_named(day: Day, naming: Naming) -> bool:
    return day in naming.days or float(day.year or 0) in naming.numbers


def unnamed(naming: Naming, value: Any, depth: int = 0) -> Any:
    """The first part of a value that is not named, or None. Dict keys are not asked."""
    if isinstance(value, list | tuple | dict) and depth < 8:
        parts = value.values() if isinstance(value, dict) else value
        return next((found for part in parts if (found := unnamed(naming, part, depth + 1)) is not None), None)
    return None if isinstance(value, list | tuple | dict) or naming.names(value) else value


# By hand and not by patterns: there would be another one for each value, and compiling it costs more than all the rest.


def _row_end(text: str, at: int, words: list[str]) -> int:
    """Where the words end that stand in a row from `at` on, at most `_BETWEEN` signs between two; -1 if they do not."""
    at += len(words[0])
    for word in words[1:]:
        most = at + _BETWEEN
        while at < most and at < len(text) and not text[at].isalnum():
            at += 1
        if not text.startswith(word, at):
            return -1
        at += len(word)
    return at


def _begins(text: str, at: int) -> bool:
    """Whether a whole token begins at `at`; a number has no sign, point or digit group before it."""
    before = text[at - 1] if at else ""
    if not text[at].isdecimal():
        return not before.isalnum()
    in_number = before == "," and at > 1 and text[at - 2].isdecimal()
    return not (before.isalnum() or (before and before in "_.−-") or in_number)


def _ends(text: str, at: int) -> bool:
    """Whether a whole token ends before `at`; a number goes on behind a point, a comma or a dash, if digits do."""
    if at < 0:
        return False
    behind = text[at : at + 1]
    if not text[at - 1].isdecimal():
        return not behind.isalnum()
    goes_on = behind and behind in "-.," and text[at + 1 : at + 2].isdecimal()
    return not (behind.isalnum() or behind == "_" or goes_on)


def _apart(text: str) -> str:
    """The text with camelCase names taken apart."""
    return CAMEL.sub(" ", text)


def _is_code(low: str) -> bool:
    """Whether a text is an id or a number of some sort: only the whole of it will do."""
    return " " not in low and any(char.isdecimal() for char in low)


# Whether a thinking leads to its calls: stage 3's question, also asked by the regenerator before it keeps a thinking.
#
# Three things can be told by rule: each called function is named, each value is there as whole tokens (`7` is not in
# `17`), and the thinking does not end in another call than the answer's.

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_LAST_CALL = re.compile(r"\[?[A-Za-z_][\w.]*\([^\n]*\)\]?$")
_LAST_BLOCK = re.compile(r"^[ \t]*(?:<tool_call>|[\[{])", re.MULTILINE)
_TAIL_CHARS = 2000
_BLOCKS = 8
"""How many lines that open a bracket are tried, from the last on, as the start of an ending over several lines."""


def thinking_problem(thinking: str, calls: Sequence[Call], tools: list[dict[str, Any]]) -> SchemaProblem | None:
    """None when the thinking leads to the calls. Codes: `cot.function_not_named`, `cot.value_not_named`,
    `cot.ends_in_another_call`.
    """
    for call in calls:
        if not names_function(thinking, call.name):
            return SchemaProblem("cot.function_not_named", f"the thinking does not name {call.name}")
    naming = Naming(thinking)
    for call in calls:
        missing = _missing_value(call, tool_named(tools, call.name), naming)
        if missing:
            return SchemaProblem("cot.value_not_named", missing)
    return _other_end(thinking, calls, tools)


def names_function(thinking: str, name: str) -> bool:
    """Whether the name stands in the thinking as a whole, in its own case, or taken apart into its words."""
    at = thinking.find(name)
    while at >= 0:
        before, after = thinking[at - 1 : at], thinking[at + len(name) : at + len(name) + 1]
        if not _continues(before) and not _continues(after):
            return True
        at = thinking.find(name, at + 1)
    words = [word.lower() for word in _WORD.findall(name)]
    if len(words) < 2:
        return False
    return re.search(r"\b" + r"[\W_]+".join(words) + r"\b", thinking.lower()) is not None


def _continues(char: str) -> bool:
    return bool(char) and (char.isalnum() or char == "_")


def _missing_value(call: Call, tool: dict[str, Any] | None, naming: Naming) -> str:
    properties = tool["parameters"]["properties"] if tool else {}
    for name, value in call.arguments.items():
        if "default" in properties.get(name, {}) and str(properties[name]["default"]) == str(value):
            continue
        found = unnamed(naming, value)
        if found is not None:
            return f"the thinking does not give {call.name}.{name}={found!r:.80}"
    return ""


def _other_end(thinking: str, calls: Sequence[Call], tools: list[dict[str, Any]]) -> SchemaProblem | None:
    text, ending = _last_calls(thinking[-_TAIL_CHARS:].rstrip(" \n\t.`*"))
    for call in ending:
        tool = tool_named(tools, call.name)
        if tool is not None and all(same_call(other, call, tool) is not None for other in calls):
            return SchemaProblem("cot.ends_in_another_call", f"the thinking ends in {text[:120]}")
    return None


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
