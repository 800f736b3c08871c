"""Calls between two marks, such as `<tool_call>` and `</tool_call>`, and the dialects that put JSON there: most do.

Between the marks are JSON objects or lists, a Python dict, or calls as Python writes them. JSON is read from its first
bracket to the one that closes it, so a closing mark inside a string ends nothing. Where the closing mark is missing at
the end of the text, what is complete is read: a server cuts a stop string off. Text outside the marks is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress

from funreason.calls.dialects.dialect import Dialect, Tools, Write
from funreason.calls.dialects.json_shapes import (
    after_blanks,
    after_fence,
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
from funreason.calls.strict_json import JsonRefused, read_json
from funreason.types import Call

_ACTION = re.compile(r"^[ \t]*Action:\s*(?:```[\w-]*\s*)?[\[{]", re.MULTILINE)
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


def joined(
    opening: str = "", closing: str = "", inner: Callable[[Call], str] = call_object, between: str = "\n"
) -> Write:
    """Writes all calls one after another in one frame."""

    def write(calls: Sequence[Call], tools: Tools) -> str:
        return f"{opening}{between.join(map(inner, some(calls)))}{closing}"

    return write


def listed(opening: str = "", closing: str = "", inner: Callable[[Call], str] = call_object) -> Write:
    """Writes all calls as one JSON list in one frame."""
    return joined(f"{opening}[", f"]{closing}", inner, ", ")


def unqualified(calls: Sequence[Call], tools: Tools, *, prefix: str = "", suffix: str = "") -> list[Call]:
    """`calls` without what a family writes around every name; the name of an offered tool stays as it is."""
    known = {tool["name"] for tool in tools}
    return [
        call if call.name in known else Call(call.name.removeprefix(prefix).removesuffix(suffix), call.arguments)
        for call in calls
    ]


def some(calls: Sequence[Call]) -> Sequence[Call]:
    """`calls`; CallRenderError when there are none, which only a list can say."""
    if not calls:
        raise CallRenderError("no call has no form here")
    return calls


def with_parameters(call: Call) -> str:
    """`{"name": …, "parameters": {…}}`, as Llama 3 writes a call."""
    return call_object(call, arguments="parameters")


def with_tool_name(call: Call) -> str:
    """`{"tool_name": …, "parameters": {…}}`, as Cohere's models write a call."""
    return call_object(call, "tool_name", "parameters")


def as_python(call: Call) -> str:
    """`f(a=1)`."""
    return render_call(call)


def keyed(call: Call) -> str:
    """`{"f": {…}}`."""
    return f"{{{json_text(call.name)}: {json_text(call.arguments)}}}"


def _frame(text: str, start: int, opening: str, closings: tuple[str, ...], tools: Tools) -> tuple[list[Call], int]:
    """The calls of the frame whose inside begins at `start`, and where it ends."""
    begin = after_fence(text, start)
    problem: CallSyntaxError | None = None
    if text[begin : begin + 1] in ("{", "["):
        try:
            values, end = values_at(text, begin)
            calls = calls_of(values, tools)
        except CallSyntaxError as error:
            problem = error  # a Python dict or list is tried below
        else:
            end = after_blanks(text, end, "`" if begin > start else "")
            closed = next((mark for mark in closings if text.startswith(mark, end)), "")
            if closed or not closings or end == len(text) or text.startswith(opening, end):
                return calls, end + len(closed)
            found = f"{text[end : end + 20]!r}"
            raise CallSyntaxError("form.between_calls", f"{closings[0]} was expected, found {found}", end)
    for cut, end in _cuts(text, begin, closings or ("\n",)):
        inside = cut.strip().strip("`").strip()
        if not inside:
            problem = problem or CallSyntaxError("form.empty", "nothing between the marks")
            continue
        with suppress(CallSyntaxError):
            return calls_from_json(literal(inside), tools), end
        try:
            return loose_calls(inside), end
        except CallSyntaxError as error:
            problem = problem or error
    assert problem is not None  # there is always a cut
    raise problem


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


HERMES = framed(
    "hermes",
    "<tool_call>",
    "</tool_call>",
    serves="Hermes 2 and 3, Qwen 2.5 and 3, Granite 3.1 (a list) and 4, ERNIE 4.5; JSON or a Python dict in the tags",
    example='<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
    write=enclosed("<tool_call>\n", "\n</tool_call>"),
)
FUNCTION_CALL = framed(
    "function_call",
    "<function_call>",
    "</function_call>",
    serves="Granite 20B function calling, and prompts that ask for this tag",
    example='<function_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</function_call>',
    write=enclosed("<function_call>", "</function_call>"),
)
TOOL_CALLS = framed(
    "tool_calls",
    "<tool_calls>",
    "</tool_calls>",
    serves="MiniMax M1 (one call a line), Jamba and Hunyuan (a list)",
    example='<tool_calls>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_calls>',
    write=joined("<tool_calls>\n", "\n</tool_calls>"),
)
NVIDIA = framed(
    "nvidia",
    "<TOOLCALL>",
    "</TOOLCALL>",
    serves="NVIDIA Nemotron, When2Call",
    example='<TOOLCALL>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]</TOOLCALL>',
    write=listed("<TOOLCALL>", "</TOOLCALL>"),
)
LONGCAT = framed(
    "longcat",
    "<longcat_tool_call>",
    "</longcat_tool_call>",
    serves="LongCat Flash",
    example='<longcat_tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</longcat_tool_call>',
    write=enclosed("<longcat_tool_call>\n", "\n</longcat_tool_call>"),
)
TOOL_REQUEST = framed(
    "tool_request",
    "[TOOL_REQUEST]",
    "[END_TOOL_REQUEST]",
    serves="LM Studio's default for models without tools of their own",
    example='[TOOL_REQUEST]{"name": "get_weather", "arguments": {"city": "Oslo"}}[END_TOOL_REQUEST]',
    write=enclosed("[TOOL_REQUEST]", "[END_TOOL_REQUEST]"),
)
INTERNLM = framed(
    "internlm",
    "<|action_start|><|plugin|>",
    "<|action_end|>",
    serves="InternLM 2 and 2.5",
    example='<|action_start|><|plugin|>\n{"name": "get_weather", "parameters": {"city": "Oslo"}}<|action_end|>',
)
GRANITE = framed(
    "granite",
    "<|tool_call|>",
    ("<|/tool_call|>", "<|end_of_text|>", "<|end|>"),
    serves="Granite 3.0 to 3.3; without the closing mark",
    example='<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
    write=listed("<|tool_call|>"),
)
PHI = framed(
    "phi",
    "<|tool_call|>",
    "<|/tool_call|>",
    serves="Phi-4-mini",
    example='<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]<|/tool_call|>',
    write=listed("<|tool_call|>", "<|/tool_call|>"),
)
FUNCTOOLS = framed(
    "functools",
    "functools",
    serves="FireFunction v2, Phi-4-mini",
    example='functools[{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
    attempt=re.compile(r"functools\s*\[\s*(?:\{|$)"),
    write=listed("functools"),
)
APERTUS = framed(
    "apertus",
    "<|tools_prefix|>",
    "<|tools_suffix|>",
    serves="Apertus",
    example='<|tools_prefix|>[{"get_weather": {"city": "Oslo"}}]<|tools_suffix|>',
    write=listed("<|tools_prefix|>", "<|tools_suffix|>", keyed),
)
MISTRAL = framed(
    "mistral",
    "[TOOL_CALLS]",
    serves="Mistral 7B v0.3, Nemo, Small and Large up to tokenizer v7",
    example='[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
    write=listed("[TOOL_CALLS]"),
)
COMMAND_R = Dialect(
    name="command_r",
    serves="Command R and R+; smolagents and LangChain, which write JSON after `Action:`",
    example='Action: ```json\n[{"tool_name": "get_weather", "parameters": {"city": "Oslo"}}]\n```',
    marks=("Action:",),
    opening=_ACTION,
    read=lambda text, tools: (
        read_frames(text[found.start() :], "Action:", ("Observation:", "Grounded"), tools)
        if (found := _ACTION.search(text))
        else None
    ),
    write=listed("Action: ```json\n", "\n```", with_tool_name),
)
COMMAND_A = framed(
    "command_a",
    "<|START_ACTION|>",
    "<|END_ACTION|>",
    serves="Command R7B and Command A",
    example='<|START_ACTION|>[{"tool_name": "get_weather", "parameters": {"city": "Oslo"}}]<|END_ACTION|>',
    write=listed("<|START_ACTION|>", "<|END_ACTION|>", with_tool_name),
)
PYTHON_TAG = Dialect(
    name="llama_python_tag",
    serves="Llama 3.1 and later with built-in tools: JSON, or calls as Python writes them",
    example='<|python_tag|>{"name": "get_weather", "parameters": {"city": "Oslo"}}',
    marks=("<|python_tag|>",),
    # A built-in tool is called by its method: brave_search.call(query=…).
    read=lambda text, tools: unqualified(
        read_frames(text, "<|python_tag|>", ("<|eom_id|>", "<|eot_id|>"), tools), tools, suffix=".call"
    ),
    write=joined("<|python_tag|>", inner=with_parameters, between="; "),
)

_QUOTED = re.compile(r"\{\s*\"name\"\s*:\s*(\"[^\"\n]{1,200}\")\s*,\s*\"arguments\"\s*:\s*'")


def _read_glaive(text: str, tools: Tools) -> list[Call]:
    """Glaive puts the arguments' JSON into single quotes and escapes no apostrophe in it."""
    if _QUOTED.search(text) is None:
        return read_frames(text, "<functioncall>", ("</functioncall>", "<|endoftext|>"), tools)
    calls = []
    for piece in text.split("<functioncall>")[1:]:
        inside = piece.strip()
        found, end = _QUOTED.match(inside), inside.rfind("'")
        if found is None or end < found.end():
            raise CallSyntaxError("form.syntax", f"{inside[:40]!r} is not a call as Glaive writes it")
        try:
            name, arguments = read_json(found[1]), read_json(inside[found.end() : end])
        except JsonRefused as error:
            raise CallSyntaxError(error.reason, error.message, error.position) from error
        calls += calls_from_json({"name": name, "arguments": arguments}, tools)
    return calls


GLAIVE = Dialect(
    name="glaive",
    serves="Glaive function calling v2: the arguments are JSON in single quotes",
    example='<functioncall> {"name": "get_weather", "arguments": \'{"city": "Oslo"}\'}',
    marks=("<functioncall>",),
    read=_read_glaive,
)
