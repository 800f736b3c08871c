"""Calls in Python's syntax between marks or in a code fence: Llama 4, LFM2, OLMo 3, Gorilla, NexusRaven, Gemma."""

from __future__ import annotations

import ast
import re

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.framed import as_python, enclosed, framed, joined, read_frames, some, unqualified
from funreason.calls.dialects.json_shapes import WORDS
from funreason.calls.parse import CallSyntaxError, parse_expression, read_call
from funreason.calls.render import render_calls
from funreason.types import Call

_FENCED_CALL = re.compile(r"```[\w-]*+\s*+(?:\[\s*+)?(?:[A-Za-z_][\w.]*\(|\{\s*[\"'])")
_TOOL_CODE = re.compile(r"```tool_code[ \t]*\n?")
_CHATGLM = re.compile(r"(?<!\S)([^\s`(]{1,200}+)[ \t]*+\n\s*+```(?:python)?[ \t]*+\n\s*+(tool_call\()")
_NEXUS = re.compile(r"^[ \t]*Call:\s*[\w.]+\(", re.MULTILINE)


LFM = framed(
    "lfm",
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    serves="Liquid's LFM2",
    example="<|tool_call_start|>[get_weather(city='Oslo')]<|tool_call_end|>",
    write=lambda calls, tools: f"<|tool_call_start|>{render_calls(some(calls))}<|tool_call_end|>",
)
LLAMA4 = framed(
    "llama4",
    "<|python_start|>",
    "<|python_end|>",
    serves="Llama 4",
    example="<|python_start|>[get_weather(city='Oslo')]<|python_end|>",
    write=lambda calls, tools: f"<|python_start|>{render_calls(some(calls))}<|python_end|>",
)
OLMO = framed(
    "olmo",
    "<function_calls>",
    "</function_calls>",
    serves="OLMo 3",
    example="<function_calls>\nget_weather(city='Oslo')\n</function_calls>",
    write=joined("<function_calls>\n", "\n</function_calls>", as_python),
)
GORILLA = framed(
    "gorilla",
    "<<function>>",
    serves="Gorilla OpenFunctions v2",
    example="<<function>>get_weather(city='Oslo')",
    write=enclosed("<<function>>", "", as_python),
)
NEXUS = framed(
    "nexus",
    "Call:",
    ("<bot_end>", ";"),
    serves="NexusRaven",
    example="Call: get_weather(city='Oslo')<bot_end>",
    attempt=_NEXUS,
)
FENCED = Dialect(
    name="fenced",
    serves="any model that puts its calls into a code fence",
    example='```json\n[{"name": "get_weather", "arguments": {"city": "Oslo"}}]\n```',
    marks=("```",),
    opening=_FENCED_CALL,
    read=lambda text, tools: read_fences(text, tools),
)


def read_fences(text: str, tools: Tools) -> list[Call]:
    """The calls of all code fences in `text`; a fence that holds anything else refuses the whole text."""
    return read_frames(re.sub(r"```[\w-]*[ \t]*(?=\n|\[|\{)", "```", text), "```", ("```",), tools)


def _read_tool_code(text: str, tools: Tools) -> list[Call]:
    calls: list[Call] = []
    for piece in _TOOL_CODE.split(text)[1:]:
        code = piece.rpartition("```")[0] or piece
        for line in filter(None, map(str.strip, code.splitlines())):
            node = parse_expression(line.rstrip(";"))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                node = node.args[0] if len(node.args) == 1 and not node.keywords else node
            nodes = node.elts if isinstance(node, ast.List) else [node]
            calls += [read_call(each, WORDS) for each in nodes]
    if not calls:
        raise CallSyntaxError("form.empty", "no call in the code")
    # Gemini's code calls the functions as methods of `default_api`.
    return unqualified(calls, tools, prefix="default_api.")


def _read_chatglm(text: str, tools: Tools) -> list[Call]:
    found = _CHATGLM.search(text)
    if found is None:
        raise CallSyntaxError("form.syntax", "a name and tool_call(…) in a code fence were expected")
    code = text[found.start(2) :].strip().removesuffix("```")
    node = parse_expression(code.strip())
    if not isinstance(node, ast.Call):
        raise CallSyntaxError("form.not_a_call", "tool_call(…) was expected")
    return [Call(found[1], read_call(node, WORDS).arguments)]


TOOL_CODE = Dialect(
    name="gemma_tool_code",
    serves="Gemma 2 and 3, Gemini's code",
    example="```tool_code\nget_weather(city='Oslo')\n```",
    marks=("```tool_code",),
    read=_read_tool_code,
    write=joined("```tool_code\n", "\n```", as_python),
)
CHATGLM = Dialect(
    name="chatglm",
    serves="ChatGLM3",
    example="get_weather\n```python\ntool_call(city='Oslo')\n```",
    marks=("tool_call(",),
    opening=_CHATGLM,
    read=_read_chatglm,
)
