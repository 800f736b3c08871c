"""GLM: keys and values in tags of their own, and ChatGLM3's code that calls `tool_call`."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.framed import some
from funreason.calls.dialects.json_shapes import WORDS, after_blanks, nothing_skipped
from funreason.calls.dialects.untyped import raw_value, typed_call
from funreason.calls.parse import CallSyntaxError, parse_expression, read_call
from funreason.types import Call

_NAME = re.compile(r"<tool_call>\s*+([^\s<>{}\[\]()\"',:]{1,200}+)\s*+(?=<arg_key>|</tool_call>|$)")
_PAIR = re.compile(r"<arg_key>([^<>\n]{1,200})</arg_key>\s*<arg_value>")
_CODE = re.compile(r"(?<!\S)([^\s`(]{1,200}+)[ \t]*+\n\s*+```(?:python)?[ \t]*+\n\s*+(tool_call\()")


def _read(text: str, tools: Tools) -> list[Call]:
    calls, place = [], 0
    while (found := _NAME.search(text, place)) is not None:
        nothing_skipped(text, place, found.start(), ("<tool_call>",))
        raw: dict[str, str] = {}
        place = found.end()
        while (pair := _PAIR.match(text, after_blanks(text, place))) is not None:
            end = text.find("</arg_value>", pair.end())
            if end < 0:
                raise CallSyntaxError("form.syntax", f"{found[1]}: </arg_value> is missing", place)
            key = pair[1].strip()
            if key in raw:
                raise CallSyntaxError("form.repeated_keyword", f"{found[1]}: {key} is given twice", place)
            raw[key] = text[pair.end() : end]
            place = end + len("</arg_value>")
        place = after_blanks(text, place)
        if place < len(text) and not text.startswith(("</tool_call>", "<tool_call>"), place):
            raise CallSyntaxError("form.syntax", f"{found[1]}: {text[place : place + 20]!r} is no argument", place)
        calls.append(typed_call(found[1], raw, tools))
    nothing_skipped(text, place, len(text), ("<tool_call>",))
    if not calls:
        raise CallSyntaxError("form.syntax", "no name after <tool_call>")
    return calls


def _write(calls: Sequence[Call], tools: Tools) -> str:
    def inside(call: Call) -> str:
        pairs = (
            f"<arg_key>{key}</arg_key>\n<arg_value>{raw_value(value)}</arg_value>\n"
            for key, value in call.arguments.items()
        )
        return f"{call.name}\n{''.join(pairs)}"

    return "\n".join(f"<tool_call>{inside(call)}</tool_call>" for call in some(calls))


def _read_code(text: str, tools: Tools) -> list[Call]:
    found = _CODE.search(text)
    if found is None:
        raise CallSyntaxError("form.syntax", "a name and tool_call(…) in a code fence were expected")
    code = text[found.start(2) :].strip().removesuffix("```")
    node = parse_expression(code.strip())
    if not isinstance(node, ast.Call):
        raise CallSyntaxError("form.not_a_call", "tool_call(…) was expected")
    return [Call(found[1], read_call(node, WORDS).arguments)]


GLM = Dialect(
    name="glm",
    serves="GLM 4.5 to 4.7",
    example="<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n</tool_call>",
    marks=("<tool_call>",),
    opening=_NAME,
    read=_read,
    write=_write,
    typed=False,
)
CHATGLM = Dialect(
    name="chatglm",
    serves="ChatGLM3",
    example="get_weather\n```python\ntool_call(city='Oslo')\n```",
    marks=("tool_call(",),
    opening=_CODE,
    read=_read_code,
)
