"""`<invoke>` tags: Claude's before `tool_use` blocks, and MiniMax M2's, which are the same in another wrapper."""

from __future__ import annotations

import re
from collections.abc import Sequence

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.json_shapes import nothing_skipped
from funreason.calls.dialects.tags import Tags, read_tags, write_tags
from funreason.calls.dialects.untyped import typed_call
from funreason.calls.parse import CallSyntaxError
from funreason.types import Call

_TAGS = Tags(
    begin="<invoke",
    call=re.compile(r"<invoke\s+name\s*=\s*[\"']?([^\"'<>\n]{1,200})[\"']?\s*>"),
    call_end="</invoke>",
    parameter=re.compile(r"<parameter\s+name\s*=\s*[\"']?([^\"'<>\n]{1,200})[\"']?\s*>"),
    parameter_end="</parameter>",
)
_PREFIXED = "antml:"
_PREFIX = re.compile(rf"(</?){_PREFIXED}")
_OLDEST = re.compile(r"<invoke>\s*<tool_name>([^<>\n]{1,200})</tool_name>\s*<parameters>")
_KEY = re.compile(r"\s*<([^\s<>/\"'=]{1,200})>")
_ENDS = ("</function_calls>", "</minimax:tool_call>")
_PARAMETER = '<parameter name="{name}">{value}</parameter>\n'


def _read(text: str, tools: Tools) -> list[Call]:
    text = _PREFIX.sub(r"\1", text)
    return _read_oldest(text, tools) if _OLDEST.search(text) else read_tags(text, _TAGS, tools, _ENDS)


def _read_oldest(text: str, tools: Tools) -> list[Call]:
    """Claude 2's form, where a parameter's name is its tag."""
    calls, place = [], 0
    while (found := _OLDEST.search(text, place)) is not None:
        nothing_skipped(text, place, found.start(), (_TAGS.begin,))
        raw: dict[str, str] = {}
        place = found.end()
        while (key := _KEY.match(text, place)) is not None:
            end = text.find(f"</{key[1]}>", key.end())
            if end < 0:
                raise CallSyntaxError("form.syntax", f"{found[1]}: </{key[1]}> is missing", place)
            raw[key[1]] = text[key.end() : end]
            place = end + len(key[1]) + 3
        calls.append(typed_call(found[1].strip(), raw, tools))
    nothing_skipped(text, place, len(text), (_TAGS.begin,))
    return calls


def _write(calls: Sequence[Call], tools: Tools, opening: str, closing: str) -> str:
    return f"{opening}\n{write_tags(calls, tools, _HEAD, _PARAMETER, '</invoke>')}\n{closing}"


_HEAD = '<invoke name="{name}">\n'

ANTHROPIC_XML = Dialect(
    name="anthropic_xml",
    serves="Claude 2 and 3 in text form",
    example=(
        '<function_calls>\n<invoke name="get_weather">\n<parameter name="city">Oslo</parameter>\n</invoke>\n'
        "</function_calls>"
    ),
    marks=("<function_calls>", "<invoke", f"<{_PREFIXED}"),
    opening=re.compile(rf"<(?:{_PREFIXED})?invoke(?:>|\s+name)"),
    read=_read,
    write=lambda calls, tools: _write(calls, tools, "<function_calls>", _ENDS[0]),
    typed=False,
)
MINIMAX = Dialect(
    name="minimax",
    serves="MiniMax M2",
    example=(
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Oslo</parameter>\n</invoke>\n'
        "</minimax:tool_call>"
    ),
    marks=("<minimax:tool_call>",),
    read=_read,
    write=lambda calls, tools: _write(calls, tools, "<minimax:tool_call>", _ENDS[1]),
    typed=False,
)
