"""What a dialect is: the spelling of calls that one family of models or data sets uses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from funreason.calls.parse import CallSyntaxError, check_bounds
from funreason.calls.render import CallRenderError
from funreason.types import Call

Tools = Sequence[Mapping[str, Any]]
"""Normalised tools (`calls.tools`), or none where they are unknown."""

_FAULTS = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)

Read = Callable[[str, Tools], list[Call] | None]
Write = Callable[[Sequence[Call], Tools], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One spelling of calls.

    A plug-in gives the same fields. `read` and `write` get the offered tools, because some dialects write a value
    without its type: `<parameter=zip>07745</parameter>` is text or a number as the tool says.
    """

    name: str
    """Its name in a configuration, such as `hermes`."""
    serves: str
    """The models and data sets that write it, for readers of the documentation."""
    example: str
    """One call, as it is written."""
    marks: tuple[str, ...]
    """Texts of which one is in everything written in this dialect: a cheap test before `opening` and `read`.

    Without marks, a dialect is never looked for in a text: another one reads what it writes.
    """
    read: Read
    """Text and tools → the calls. Raises CallSyntaxError, or returns None, for what is not in this dialect.

    Text before and after the calls is ignored where marks enclose them, and refused where the calls are the whole text.
    """
    opening: re.Pattern[str] | None = None
    """What a text must hold to be an attempt at this dialect. None: a mark is enough."""
    write: Write | None = None
    """Calls and tools → the text. None for a dialect that is only read."""
    typed: bool = True
    """Whether a value is written with its type, so that a text can be read without the tools."""
    whole: bool = False
    """Whether the calls are the whole text, so that a mark and `opening` count at its beginning alone."""

    def attempted_at(self, text: str) -> int:
        """Where the first attempt at this dialect begins; -1 where there is none."""
        if self.whole:
            return 0 if text.startswith(self.marks) and (self.opening is None or self.opening.match(text)) else -1
        places = [place for mark in self.marks if (place := text.find(mark)) >= 0]
        if not places or self.opening is None:
            return min(places, default=-1)
        found = self.opening.search(text)
        return found.start() if found is not None else -1

    def parse(self, text: str, tools: Tools = ()) -> list[Call]:
        """The calls in `text`. Raises CallSyntaxError where it is not in this dialect."""
        check_bounds(text)
        try:
            calls = self.read(text.strip(), tools)
        except CallSyntaxError:
            raise
        except _FAULTS as error:  # of a plug-in: one text that it cannot read must not end a run
            why = f"the reader of {self.name} failed: {type(error).__name__}: {error}"
            raise CallSyntaxError("form.reader_failed", why) from error
        if calls is None:
            raise CallSyntaxError("form.syntax", f"not written as {self.name} is: {self.example}")
        return calls

    def render(self, calls: Sequence[Call], tools: Tools = ()) -> str:
        """`calls` in this dialect: what is returned is read back as the same calls, with the same tools.

        Raises CallRenderError where that cannot be, and for a dialect that is only read.
        """
        if self.write is None:
            raise CallRenderError(f"calls are read in the dialect {self.name}, but cannot be written in it")
        try:
            text = self.write(calls, tools)
            back = self.parse(text, tools)
        except (ValueError, TypeError, RecursionError) as error:
            raise CallRenderError(f"{_names(calls)} cannot be written as {self.name}: {error}") from error
        # repr tells 1 from True and 1.0, which are equal.
        if back != list(calls) or repr(back) != repr(list(calls)):
            raise CallRenderError(
                f"{_names(calls)} cannot be written as {self.name}: it would be read back as {back!r:.200}"
            )
        return text


def _names(calls: Sequence[Call]) -> str:
    return ", ".join(call.name for call in calls) or "no call"
