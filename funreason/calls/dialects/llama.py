"""Llama's special forms: what follows `<|python_tag|>`, and `<function=name>{…}</function>`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.framed import read_frames, some, with_parameters
from funreason.calls.dialects.json_shapes import after_blanks, json_at, json_text, nothing_skipped, read_arguments
from funreason.calls.parse import CallSyntaxError
from funreason.types import Call

_TAG = "<|python_tag|>"
_ENDS = ("<|eom_id|>", "<|eot_id|>")
_FUNCTION = re.compile(r"<function=([^<>{}\n]{1,200})>")
_FUNCTION_ENDS = ("</function>", "<|eom_id|>", "<|eot_id|>", "<function>")


def _read_python_tag(text: str, tools: Tools) -> list[Call]:
    calls = read_frames(text, _TAG, _ENDS, tools)
    known = {tool["name"] for tool in tools}
    # A built-in tool is called by its method: brave_search.call(query=…).
    return [
        Call(call.name.removesuffix(".call"), call.arguments)
        if call.name.endswith(".call") and call.name not in known
        else call
        for call in calls
    ]


def _write_python_tag(calls: Sequence[Call], tools: Tools) -> str:
    return _TAG + "; ".join(map(with_parameters, some(calls)))


def _read_function_tag(text: str, tools: Tools) -> list[Call]:
    calls, place = [], 0
    while (found := _FUNCTION.search(text, place)) is not None:
        nothing_skipped(text, place, found.start(), ("<function=",))
        start = after_blanks(text, found.end())
        if text[start : start + 1] != "{":
            raise CallSyntaxError("form.syntax", f"{found[1]}: its arguments as JSON were expected", start)
        value, place = json_at(text, start)
        calls.append(Call(found[1].strip(), read_arguments(value, found[1])))
        place = after_blanks(text, place)
        end = next((mark for mark in _FUNCTION_ENDS if text.startswith(mark, place)), "")
        if not end and place < len(text) and not text.startswith("<function=", place):
            raise CallSyntaxError("form.between_calls", f"</function> was expected, found {text[place : place + 20]!r}")
        place += len(end)
    nothing_skipped(text, place, len(text), ("<function=",))
    if not calls:
        raise CallSyntaxError("form.syntax", "no call after <function=")
    return calls


def _write_function_tag(calls: Sequence[Call], tools: Tools) -> str:
    return "\n".join(f"<function={call.name}>{json_text(call.arguments)}</function>" for call in some(calls))


PYTHON_TAG = Dialect(
    name="llama_python_tag",
    serves="Llama 3.1 and later with built-in tools: JSON, or calls as Python writes them",
    example='<|python_tag|>{"name": "get_weather", "parameters": {"city": "Oslo"}}',
    marks=(_TAG,),
    read=_read_python_tag,
    write=_write_python_tag,
)
FUNCTION_TAG = Dialect(
    name="llama_function",
    serves="Llama 3.1's prompt for custom tools, Functionary 3.1",
    example='<function=get_weather>{"city": "Oslo"}</function>',
    marks=("<function=",),
    read=_read_function_tag,
    write=_write_function_tag,
)
