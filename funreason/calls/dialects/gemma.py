"""FunctionGemma's and Gemma 4's braces without quotes. The code of Gemma 2 and 3 is in `python_frames`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from funreason.calls.dialects.dialect import Dialect
from funreason.calls.dialects.framed import some
from funreason.calls.dialects.json_shapes import after_blanks, nothing_skipped
from funreason.calls.dialects.tags import typed_value
from funreason.calls.parse import MAX_DEPTH, CallSyntaxError
from funreason.types import Call

_SCALAR_END = re.compile(r"[,}\]]")


class _Braces:
    """Reads `{key:value, …}` where strings are between `quote` marks and keys are bare."""

    def __init__(self, text: str, quote: str) -> None:
        self.text = text
        self.quote = quote

    def object_at(self, place: int, depth: int = 0) -> tuple[dict[str, Any], int]:
        """The object whose inside begins at `place`, and where what follows it begins."""
        out: dict[str, Any] = {}
        while True:
            place = after_blanks(self.text, place)
            if self.text.startswith("}", place):
                return out, place + 1
            if self.text.startswith(self.quote, place):
                key, place = self._string_at(place)
                place = after_blanks(self.text, place)
                if not self.text.startswith(":", place):
                    raise self._broken(place)
            else:
                end = self.text.find(":", place, place + 400)
                if end < 0:
                    raise self._broken(place)
                key, place = self.text[place:end].strip().strip("\"'"), end
            if not key or key in out:
                raise CallSyntaxError("form.repeated_keyword", f"the key {key!r} is empty or given twice", place)
            out[key], place = self._value_at(after_blanks(self.text, place + 1), depth + 1)
            place = after_blanks(self.text, place)
            if self.text.startswith(",", place):
                place += 1
            elif not self.text.startswith("}", place):
                raise self._broken(place)

    def _value_at(self, place: int, depth: int) -> tuple[Any, int]:
        if depth > MAX_DEPTH:
            raise CallSyntaxError("form.too_deep", f"nested deeper than {MAX_DEPTH}", place)
        if self.text.startswith(self.quote, place):
            return self._string_at(place)
        if self.text.startswith("{", place):
            return self.object_at(place + 1, depth)
        if self.text.startswith("[", place):
            out: list[Any] = []
            place = after_blanks(self.text, place + 1)
            while not self.text.startswith("]", place):
                value, place = self._value_at(place, depth + 1)
                out.append(value)
                place = after_blanks(self.text, place)
                if self.text.startswith(",", place):
                    place = after_blanks(self.text, place + 1)
                elif not self.text.startswith("]", place):
                    raise self._broken(place)
            return out, place + 1
        end = _SCALAR_END.search(self.text, place)
        if end is None:
            raise self._broken(place)
        return typed_value(self.text[place : end.start()].strip(), None), end.start()

    def _string_at(self, place: int) -> tuple[str, int]:
        start = place + len(self.quote)
        end = self.text.find(self.quote, start)
        if end < 0:
            raise CallSyntaxError("form.syntax", f"a string is opened with {self.quote} and never closed", place)
        return self.text[start:end], end + len(self.quote)

    def _broken(self, place: int) -> CallSyntaxError:
        return CallSyntaxError("form.syntax", f"{self.text[place : place + 20]!r} is neither a key nor a value", place)


def _read(text: str, head: re.Pattern[str], begin: str, quote: str) -> list[Call]:
    calls, place, braces = [], 0, _Braces(text, quote)
    while (found := head.search(text, place)) is not None:
        nothing_skipped(text, place, found.start(), (begin,))
        arguments, place = braces.object_at(found.end())
        calls.append(Call(found[1].strip(), arguments))
    nothing_skipped(text, place, len(text), (begin,))
    if not calls:
        raise CallSyntaxError("form.syntax", "call:name{…} was expected")
    return calls


def _written(value: Any, quote: str) -> str:
    if isinstance(value, str):
        return f"{quote}{value}{quote}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_written(item, quote)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_written(item, quote) for item in value) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _write(calls: Sequence[Call], opening: str, closing: str, quote: str) -> str:
    return "".join(f"{opening}call:{call.name}{_written(call.arguments, quote)}{closing}" for call in some(calls))


_FUNCTION_GEMMA = re.compile(r"<start_function_call>\s*+call:\s*+([^<>{}\n]{1,200})\{")
_GEMMA4 = re.compile(r"<\|tool_call>\s*+call:\s*+([^<>{}\n]{1,200})\{")
_GEMMA4_QUOTE = '<|"|>'
FUNCTION_GEMMA = Dialect(
    name="functiongemma",
    serves="FunctionGemma",
    example="<start_function_call>call:get_weather{city:<escape>Oslo<escape>}<end_function_call>",
    marks=("<start_function_call>",),
    read=lambda text, tools: _read(text, _FUNCTION_GEMMA, "<start_function_call>", "<escape>"),
    write=lambda calls, tools: _write(calls, "<start_function_call>", "<end_function_call>", "<escape>"),
)
GEMMA4 = Dialect(
    name="gemma4",
    serves="Gemma 4",
    example='<|tool_call>call:get_weather{city:<|"|>Oslo<|"|>}<tool_call|>',
    marks=("<|tool_call>",),
    read=lambda text, tools: _read(text, _GEMMA4, "<|tool_call>", _GEMMA4_QUOTE),
    write=lambda calls, tools: _write(calls, "<|tool_call>", "<tool_call|>", _GEMMA4_QUOTE),
)
