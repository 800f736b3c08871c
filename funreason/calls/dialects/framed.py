"""Calls between two marks, such as `<tool_call>` and `</tool_call>`: most dialects are this with other marks.

Between the marks are JSON objects or lists, a Python dict, or calls as Python writes them. JSON is read from its first
bracket to the one that closes it, so a closing mark inside a string ends nothing. Where the closing mark is missing at
the end of the text, what is complete is read: a server cuts a stop string off. Text outside the marks is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from funreason.calls.dialects.dialect import Dialect, Tools, Write
from funreason.calls.dialects.json_shapes import (
    after_blanks,
    call_object,
    calls_from_json,
    calls_of,
    json_text,
    literal,
    values_at,
)
from funreason.calls.dialects.pythonic import loose_calls
from funreason.calls.parse import CallSyntaxError
from funreason.calls.render import CallRenderError, render_call
from funreason.types import Call

_FENCE = re.compile(r"```[\w-]*[ \t]*\n?")
MOST_CLOSINGS = 8
"""How many closing marks are tried as the end of calls in Python's syntax, where a string may hold one too."""


def framed(
    name: str,
    opening: str,
    closing: str | tuple[str, ...] = "",
    *,
    serves: str,
    example: str,
    write: Write | None = None,
    attempt: re.Pattern[str] | None = None,
) -> Dialect:
    """The dialect of calls after `opening` and up to one of `closing`; without a closing mark, up to what follows."""
    closings = (closing,) if isinstance(closing, str) else closing
    ends = tuple(mark for mark in closings if mark)
    return Dialect(
        name=name,
        serves=serves,
        example=example,
        marks=(opening,),
        opening=attempt,
        read=lambda text, tools: read_frames(text, opening, ends, tools),
        write=write,
    )


def read_frames(text: str, opening: str, closings: tuple[str, ...], tools: Tools) -> list[Call]:
    """The calls of all frames in `text`, in order. One frame that cannot be read refuses the whole text."""
    calls: list[Call] = []
    place = text.find(opening)
    while place >= 0:
        start = after_blanks(text, place + len(opening))
        following = text.find(opening, start)
        limit = following if following >= 0 else len(text)
        mentioned = text[start : start + 1] not in ("{", "[", "`") and following >= 0
        if (
            mentioned
            and closings
            and opening not in closings
            and not any(text.find(mark, start, limit) >= 0 for mark in closings)
        ):
            # "I use <tool_call> for this: <tool_call>…", or a mark that is written twice.
            place = following
            continue
        found, place = _frame(text, start, opening, closings, tools)
        calls += found
        place = text.find(opening, place)
    if not calls:
        raise CallSyntaxError("form.syntax", f"no calls after {opening}")
    return calls


def enclosed(opening: str, closing: str, inner: Callable[[Call], str] = call_object, between: str = "\n") -> Write:
    """Writes each call in a frame of its own."""

    def write(calls: Sequence[Call], tools: Tools) -> str:
        return between.join(f"{opening}{inner(call)}{closing}" for call in some(calls))

    return write


def listed(opening: str, closing: str = "", inner: Callable[[Call], str] = call_object) -> Write:
    """Writes all calls as one JSON list in one frame."""

    def write(calls: Sequence[Call], tools: Tools) -> str:
        return f"{opening}[{', '.join(map(inner, some(calls)))}]{closing}"

    return write


def some(calls: Sequence[Call]) -> Sequence[Call]:
    """`calls`; CallRenderError when there are none, which only a list can say."""
    if not calls:
        raise CallRenderError("no call has no form here")
    return calls


def with_parameters(call: Call) -> str:
    """`{"name": …, "parameters": {…}}`, as Llama 3 writes a call."""
    return call_object(call, arguments="parameters")


def as_python(call: Call) -> str:
    """`f(a=1)`."""
    return render_call(call)


def keyed(call: Call) -> str:
    """`{"f": {…}}`."""
    return f"{{{json_text(call.name)}: {json_text(call.arguments)}}}"


def _frame(text: str, start: int, opening: str, closings: tuple[str, ...], tools: Tools) -> tuple[list[Call], int]:
    """The calls of the frame whose inside begins at `start`, and where it ends."""
    fence = _FENCE.match(text, start)
    begin = after_blanks(text, fence.end()) if fence else start
    problem: CallSyntaxError | None = None
    if text[begin : begin + 1] in ("{", "["):
        try:
            values, end = values_at(text, begin)
            calls = calls_of(values, tools)
        except CallSyntaxError as error:
            problem = error  # a Python dict or list is tried below
        else:
            end = after_blanks(text, end, "`" if fence else "")
            closed = next((mark for mark in closings if text.startswith(mark, end)), "")
            if closed or not closings or end == len(text) or text.startswith(opening, end):
                return calls, end + len(closed)
            found = f"{text[end : end + 20]!r}"
            raise CallSyntaxError("form.between_calls", f"{closings[0]} was expected, found {found}", end)
    for cut, end in _cuts(text, begin, closings or ("\n",)):
        inside = cut.strip().strip("`").strip()
        try:
            return _in_python(inside, tools), end
        except CallSyntaxError as error:
            problem = problem or error
    assert problem is not None  # there is always a cut
    raise problem


def _in_python(text: str, tools: Tools) -> list[Call]:
    if not text:
        raise CallSyntaxError("form.empty", "nothing between the marks")
    try:
        return calls_from_json(literal(text), tools)
    except CallSyntaxError:
        return loose_calls(text)


def _cuts(text: str, start: int, closings: tuple[str, ...]) -> list[tuple[str, int]]:
    """What may be the inside of the frame, up to the first closing marks or to the end of the text."""
    cuts, place = [], start
    for _ in range(MOST_CLOSINGS):
        ends = [(at, mark) for mark in closings if (at := text.find(mark, place)) >= 0]
        if not ends:
            break
        at, mark = min(ends)
        place = at + len(mark)
        cuts.append((text[start:at], place))
    if not cuts or closings == ("\n",):
        cuts.append((text[start:], len(text)))
    return cuts
