"""Calls as JSON and nothing else: plain objects and lists, and the messages of the large providers' interfaces."""

from __future__ import annotations

import re

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.framed import joined, listed, with_parameters
from funreason.calls.dialects.json_shapes import after_blanks, calls_from_json, calls_of, json_text, literal, values_at
from funreason.calls.parse import CallSyntaxError
from funreason.types import Call

_KEY = (
    r"[\"'](?:name|function|tool_calls|function_call|tool_name|function_name|tool|action|functionCall|toolUse|arguments"
    r"|tool_call|toolCall|api_name)[\"']"
)
ANYWHERE = re.compile(
    r"\{\s*[\"'](?:name|function|tool_name|tool|action)[\"']\s*:\s*[\"'][^\"'\n]{1,200}[\"']\s*,\s*"
    r"[\"'](?:arguments|parameters|args|input|tool_input|action_input)[\"']\s*:"
    r"|[\"'](?:tool_calls|function_call)[\"']\s*:\s*[\[{]|\"type\"\s*:\s*\"(?:tool_use|function_call)\""
)
"""A call in JSON within other text. It is an attempt, and only read where marks or a code fence enclose it."""
BEGINNING = re.compile(
    rf"\s*+(?:`{{1,3}}[\w-]*\s*+)?(?:\[\s*\{{|\{{\s*(?:{_KEY}|[\"'][^\"'\n]{{1,200}}[\"']\s*:\s*\{{))"
)


def attempts_json(text: str) -> bool:
    """Whether `text` begins as a call in JSON, or holds one."""
    return bool(BEGINNING.match(text) or ("{" in text and ANYWHERE.search(text)))


def json_calls(text: str, tools: Tools = ()) -> list[Call]:
    """The calls of a text that is one JSON value or several; a Python list or dict of the same shape is read too."""
    try:
        values, end = values_at(text, after_blanks(text, 0))
        if end != len(text):
            raise CallSyntaxError("form.syntax", f"{text[end : end + 20]!r} is after the calls", end)
        return calls_of(values, tools)
    except CallSyntaxError:
        if "'" not in text and "True" not in text and "False" not in text and "None" not in text:
            raise
        try:
            return calls_from_json(literal(text), tools)
        except CallSyntaxError:
            pass
        raise


JSON = Dialect(
    name="json",
    serves="xLAM, Hammer, APIGen, Glaive in share-gpt form, and any prompt that asks for JSON",
    example='[{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
    marks=("{", "["),
    whole=True,
    read=json_calls,
    write=lambda calls, tools: listed()(calls, tools) if calls else "[]",
)
OPENAI = Dialect(
    name="openai",
    serves="OpenAI's tool_calls and the older function_call, as JSON",
    example=(
        '{"tool_calls": [{"type": "function", "function": '
        '{"name": "get_weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}}]}'
    ),
    marks=(),
    whole=True,
    read=json_calls,
    write=listed(
        '{"tool_calls": ',
        "}",
        lambda call: (
            '{"type": "function", "function": '
            f'{{"name": {json_text(call.name)}, "arguments": {json_text(json_text(call.arguments))}}}}}'
        ),
    ),
)
ANTHROPIC = Dialect(
    name="anthropic",
    serves="Claude's tool_use blocks, as JSON",
    example='[{"type": "tool_use", "name": "get_weather", "input": {"city": "Oslo"}}]',
    marks=(),
    whole=True,
    read=json_calls,
    write=listed(
        inner=lambda call: (
            f'{{"type": "tool_use", "name": {json_text(call.name)}, "input": {json_text(call.arguments)}}}'
        )
    ),
)
LLAMA_JSON = Dialect(
    name="llama_json",
    serves="Llama 3.1, 3.2 and 3.3: several calls are separated by semicolons",
    example='{"name": "get_weather", "parameters": {"city": "Oslo"}}',
    marks=(),
    whole=True,
    read=json_calls,
    write=joined(inner=with_parameters, between="; "),
)
