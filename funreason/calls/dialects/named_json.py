"""Dialects that write the name outside of the JSON: `name<separator>{arguments}`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from funreason.calls.dialects.dialect import Dialect, Tools, Write
from funreason.calls.dialects.framed import some
from funreason.calls.dialects.json_shapes import (
    after_blanks,
    after_fence,
    json_at,
    json_text,
    nothing_skipped,
    read_arguments,
)
from funreason.calls.parse import CallSyntaxError
from funreason.types import Call

_MISTRAL = re.compile(
    r"\[TOOL_CALLS\]\s*+([^\s\[\]{}][^\[\]{}\n]{0,200})(?:\[CALL_ID\][^\[\]{}\n]{0,100})?(?:\[ARGS\])?"
)
_FUNCTIONARY = re.compile(r">>>([^\s<>{}()]{1,200})\n(?=\s*(?:\{|$))")
_HARMONY = re.compile(r"to=([^\s<>{}]{1,200}+)[^{}\n]{0,200}?<\|message\|>")
_HARMONY_OPENING = re.compile(r"<\|channel\|>\s*+\w{1,40}\s++to=|to=[^\s<>{}]{1,200}+\s*+<\|channel\|>")
_HARMONY_AFFIX = re.compile(r"^functions\.")
_KIMI = re.compile(r"<\|tool_call_begin\|>\s*+([^\s<>{}][^<>{}\n]{0,200})\s*+<\|tool_call_argument_begin\|>")
_KIMI_AFFIX = re.compile(r"^functions\.|:\d+$")
_FLOWER = re.compile(r"✿FUNCTION✿\s*+[:：]\s*+([^\n✿]{1,200})\n\s*+✿ARGS✿\s*+[:：]")
_FUNCTION = re.compile(r"<function=([^<>{}\n]{1,200})>")
_FUNCTION_ENDS = ("</function>", "<|eom_id|>", "<|eot_id|>", "<function>")
_REACT = re.compile(
    r"^[ \t]*+Action(?: \d+)?:[ \t]*+([^\n]{1,200}+)\n\s*+Action[ _]Input(?: \d+)?:[ \t]*", re.MULTILINE
)
_REACT_NEXT = re.compile(r"\n[ \t]*(?:Observation|Thought|Action|Final Answer)\b|```", re.IGNORECASE)
_BEGIN, _END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL, _CALL_END, _SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
# Models often write the marks with the bars and blocks of a keyboard.
_DEEPSEEK_MARK = r"<[｜|]tool[▁_ ]{}[｜|]>"
_V3 = re.compile(
    _DEEPSEEK_MARK.format("call[▁_ ]begin")
    + r"\s*+function\s*+"
    + _DEEPSEEK_MARK.format("sep")
    + r"\s*+([^\s<>{}`][^<>{}\n`]{0,200})(?=\s*+[`{])"
)
_V31 = re.compile(
    _DEEPSEEK_MARK.format("call[▁_ ]begin") + r"\s*+([^\s<>{}`][^<>{}\n`]{0,200})" + _DEEPSEEK_MARK.format("sep")
)
_DEEPSEEK_BEGINS = ("call▁begin", "call_begin", "call begin")
_DEEPSEEK_MARKS = (
    _BEGIN,
    "<｜tool_calls_begin｜>",
    "<|tool▁calls▁begin|>",
    "<|tool_calls_begin|>",
    _CALL,
    "<|tool_call_begin|>",
)


def read_named(
    text: str, head: re.Pattern[str], begins: tuple[str, ...], affix: re.Pattern[str] | None = None
) -> list[Call]:
    """The calls whose beginnings `head` finds; its first group is the name, and the arguments follow it as JSON.

    `affix` is what that group holds besides the name. A code fence around the JSON is skipped, and so is what is
    between one call's arguments and the next call, unless one of `begins` is there.
    """
    calls, place = [], 0
    while (found := head.search(text, place)) is not None:
        nothing_skipped(text, place, found.start(), begins)
        name = found[1].strip() if affix is None else affix.sub("", found[1].strip())
        if not name:
            raise CallSyntaxError("form.name", "the name is missing", found.start())
        start = after_fence(text, after_blanks(text, found.end()))
        if text[start : start + 1] != "{":
            raise CallSyntaxError("form.syntax", f"{name}: its arguments as JSON were expected", start)
        value, place = json_at(text, start)
        calls.append(Call(name, read_arguments(value, name)))
    nothing_skipped(text, place, len(text), begins)
    if not calls:
        raise CallSyntaxError("form.syntax", "no call with a name and arguments")
    return calls


def named(before: str, after: str = "", *, between: str = "", opening: str = "", closing: str = "") -> Write:
    """Writes each call as `before`, its arguments as JSON, and `after`.

    In `before`, `{name}` is the call's name and `{index}` its place, from 0.
    """

    def write(calls: Sequence[Call], tools: Tools) -> str:
        pieces = (
            before.format(name=call.name, index=index) + json_text(call.arguments) + after
            for index, call in enumerate(some(calls))
        )
        return f"{opening}{between.join(pieces)}{closing}"

    return write


MISTRAL_ARGS = Dialect(
    name="mistral_args",
    serves="Mistral Small 3.2, Magistral, Devstral: tokenizer v11 and later",
    example='[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}',
    marks=("[TOOL_CALLS]",),
    read=lambda text, tools: read_named(text, _MISTRAL, ("[TOOL_CALLS]",)),
    write=named("[TOOL_CALLS]{name}[ARGS]"),
)
FUNCTIONARY = Dialect(
    name="functionary",
    serves="Functionary 3.2",
    example='>>>get_weather\n{"city": "Oslo"}',
    marks=(">>>",),
    opening=_FUNCTIONARY,
    read=lambda text, tools: read_named(text, _FUNCTIONARY, (">>>",)),
    write=named(">>>{name}\n", between="\n"),
)
HARMONY = Dialect(
    name="harmony",
    serves="gpt-oss",
    example='<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>',
    marks=("<|channel|>", "to=functions."),
    opening=_HARMONY_OPENING,
    read=lambda text, tools: read_named(text, _HARMONY, ("to=functions.",), _HARMONY_AFFIX),
    write=named(
        "<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>",
        "<|call|>",
        between="<|start|>assistant",
    ),
)
KIMI = Dialect(
    name="kimi",
    serves="Kimi K2",
    example=(
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
        '{"city": "Oslo"}<|tool_call_end|><|tool_calls_section_end|>'
    ),
    marks=("<|tool_calls_section_begin|>", "<|tool_call_begin|>", "<|tool_call_section_begin|>"),
    read=lambda text, tools: read_named(text, _KIMI, ("<|tool_call_begin|>",), _KIMI_AFFIX),
    write=named(
        "<|tool_call_begin|>functions.{name}:{index}<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
        opening="<|tool_calls_section_begin|>",
        closing="<|tool_calls_section_end|>",
    ),
)
QWEN_AGENT = Dialect(
    name="qwen_agent",
    serves="Qwen 1.5 and 2 through Qwen-Agent",
    example='✿FUNCTION✿: get_weather\n✿ARGS✿: {"city": "Oslo"}',
    marks=("✿FUNCTION✿",),
    read=lambda text, tools: read_named(text, _FLOWER, ("✿FUNCTION✿",)),
    write=named("✿FUNCTION✿: {name}\n✿ARGS✿: ", between="\n"),
)
DEEPSEEK = Dialect(
    name="deepseek",
    serves="DeepSeek V3 and R1",
    example=f'{_BEGIN}{_CALL}function{_SEPARATOR}get_weather\n```json\n{{"city": "Oslo"}}\n```{_CALL_END}{_END}',
    marks=_DEEPSEEK_MARKS,
    read=lambda text, tools: read_named(text, _V3, _DEEPSEEK_BEGINS),
    write=named(f"{_CALL}function{_SEPARATOR}{{name}}\n```json\n", f"\n```{_CALL_END}", opening=_BEGIN, closing=_END),
)
DEEPSEEK_V31 = Dialect(
    name="deepseek_v31",
    serves="DeepSeek V3.1",
    example=f'{_BEGIN}{_CALL}get_weather{_SEPARATOR}{{"city": "Oslo"}}{_CALL_END}{_END}',
    marks=_DEEPSEEK_MARKS,
    read=lambda text, tools: read_named(text, _V31, _DEEPSEEK_BEGINS),
    write=named(f"{_CALL}{{name}}{_SEPARATOR}", _CALL_END, opening=_BEGIN, closing=_END),
)


def _read_react(text: str, tools: Tools) -> list[Call]:
    calls, place = [], 0
    while (found := _REACT.search(text, place)) is not None:
        nothing_skipped(text, place, found.start(), ("\nAction:",))
        name = found[1].strip().strip("`\"'").strip()
        start = after_fence(text, after_blanks(text, found.end()))
        value: Any
        if text[start : start + 1] == "{":
            try:
                value, place = json_at(text, start)
                calls.append(Call(name, read_arguments(value, name)))
                continue
            except CallSyntaxError:
                pass  # perhaps a Python dict
        end = _REACT_NEXT.search(text, start)
        place = end.start() if end else len(text)
        calls.append(Call(name, read_arguments(text[start:place].strip(), name)))
    nothing_skipped(text, place, len(text), ("\nAction:",))
    if not calls:
        raise CallSyntaxError("form.syntax", "`Action:` and `Action Input:` were expected")
    return calls


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


REACT = Dialect(
    name="react",
    serves="ReAct prompts, LangChain, Qwen's ReAct",
    example='Action: get_weather\nAction Input: {"city": "Oslo"}',
    marks=("Action",),
    opening=_REACT,
    read=_read_react,
    write=named("Action: {name}\nAction Input: ", between="\n"),
)
FUNCTION_TAG = Dialect(
    name="llama_function",
    serves="Llama 3.1's prompt for custom tools, Functionary 3.1",
    example='<function=get_weather>{"city": "Oslo"}</function>',
    marks=("<function=",),
    read=_read_function_tag,
    write=named("<function={name}>", "</function>", between="\n"),
)
