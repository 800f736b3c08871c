"""Calls as JSON in a pair of tags: Hermes, Qwen, Nemotron and the models that write like them."""

from __future__ import annotations

import re

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.framed import enclosed, framed, listed, read_frames
from funreason.calls.dialects.json_shapes import calls_from_json
from funreason.calls.parse import CallSyntaxError
from funreason.calls.strict_json import JsonRefused, read_json
from funreason.types import Call

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
    write=lambda calls, tools: f"<tool_calls>\n{enclosed('', '')(calls, tools)}\n</tool_calls>",
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
