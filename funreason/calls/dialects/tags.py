"""Calls as nested tags, `<invoke name="f"><parameter name="a">x</parameter></invoke>`, and the dialects that use them.

The text of a parameter is taken as it is: nothing is unescaped, since the models' own templates escape nothing. Its
type is mostly not written, as in `<parameter=zip>07745</parameter>`; the tool's schema says what the text means.
Without a schema a text that is JSON is read as JSON, any other is text. A value that would be read back as another is
not written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from funreason.calls.dialects.dialect import Dialect, Tools, Write
from funreason.calls.dialects.framed import some
from funreason.calls.dialects.json_shapes import after_blanks, json_text, literal, nothing_skipped
from funreason.calls.parse import CallSyntaxError
from funreason.calls.strict_json import JsonRefused, read_json
from funreason.types import Call

_PYTHON_WORDS = {"True": True, "False": False, "None": None}
_OF_TYPE: Mapping[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


class Tags(NamedTuple):
    """The patterns of a family's tags. `call` and `parameter` each have the name as their first group."""

    begin: str
    """How every call begins."""
    call: re.Pattern[str]
    call_end: str
    parameter: re.Pattern[str]
    parameter_end: str
    string: re.Pattern[str] | None = None
    """What in a parameter's tag says that its value is text, whatever the schema says."""
    padded: bool = True
    """Whether one line break after a parameter's opening tag, and one before its closing tag, are no part of it."""


def read_tags(text: str, tags: Tags, tools: Tools, ends: tuple[str, ...] = ()) -> list[Call]:
    """The calls in `text`; `ends` are the marks that end a call where its own end is missing."""
    calls, place = [], 0
    while (found := tags.call.search(text, place)) is not None:
        nothing_skipped(text, place, found.start(), (tags.begin,))
        raw: dict[str, str] = {}
        stated: dict[str, str] = {}
        name, place = found[1].strip(), found.end()
        while True:
            place = after_blanks(text, place)
            if text.startswith(tags.call_end, place):
                place += len(tags.call_end)
                break
            parameter = tags.parameter.match(text, place)
            if parameter is None:
                if place == len(text) or text.startswith(ends, place):
                    break
                raise CallSyntaxError("form.syntax", f"{name}: {text[place : place + 20]!r} is no parameter", place)
            end = text.find(tags.parameter_end, parameter.end())
            if end < 0:
                raise CallSyntaxError("form.syntax", f"{name}: {tags.parameter_end} is missing", place)
            key = parameter[1].strip()
            if key in raw:
                raise CallSyntaxError("form.repeated_keyword", f"{name}: {key} is given twice", place)
            value = text[parameter.end() : end]
            if tags.padded:
                value = value.removeprefix("\r").removeprefix("\n").removesuffix("\n").removesuffix("\r")
            raw[key] = value
            if tags.string is not None and tags.string.search(parameter.group()):
                stated[key] = value
            place = end + len(tags.parameter_end)
        call = typed_call(name, raw, tools)
        calls.append(Call(name, call.arguments | stated) if stated else call)
    nothing_skipped(text, place, len(text), (tags.begin,))
    if not calls:
        raise CallSyntaxError("form.syntax", f"no call in tags; {tags.begin} begins none")
    return calls


def tagged(head: str, parameter: str, tail: str, *, opening: str = "", closing: str = "") -> Write:
    """Writes calls in tags: `head`, a `parameter` for each argument, `tail`, all calls between `opening` and `closing`.

    `{name}` is the call's or the parameter's name, `{value}` the value, `{string}` whether it is text, true or false.
    """

    def write(calls: Sequence[Call], tools: Tools) -> str:
        written = (
            head.format(name=call.name)
            + "".join(
                parameter.format(name=key, value=raw_value(value), string=json_text(isinstance(value, str)))
                for key, value in call.arguments.items()
            )
            + tail
            for call in some(calls)
        )
        return opening + "\n".join(written) + closing

    return write


def typed_call(name: str, raw: Mapping[str, str], tools: Tools) -> Call:
    """A call whose arguments are texts, each read as its tool's schema says."""
    schemas = parameter_schemas(tools, name)
    return Call(name, {key: typed_value(text, schemas.get(key)) for key, text in raw.items()})


def typed_value(text: str, schema: Mapping[str, Any] | None) -> Any:
    """What `text` means under a parameter's schema; None where no schema is known."""
    kinds = _kinds(schema)
    if kinds == {"string"}:
        return text
    others = kinds - {"string"}
    value: Any = text
    try:
        value = read_json(text)
    except JsonRefused:
        if others:  # some models write Python's words, lists and dicts where JSON is wanted
            with suppress(CallSyntaxError):
                value = _PYTHON_WORDS[text] if text in _PYTHON_WORDS else literal(text)
    fits = any(
        isinstance(value, _OF_TYPE.get(kind, ())) and (not isinstance(value, bool) or kind == "boolean")
        for kind in others
    )
    return value if fits or "string" not in kinds else text


def raw_value(value: Any) -> str:
    """A value as it is written: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json_text(value)


def parameter_schemas(tools: Tools, name: str) -> Mapping[str, Any]:
    """The schemas of a tool's parameters, by name; empty where the tool is not known."""
    for tool in tools:
        if tool.get("name") == name:
            properties = tool.get("parameters", {}).get("properties", {})
            return properties if isinstance(properties, dict) else {}
    return {}


def _kinds(schema: Mapping[str, Any] | None) -> set[str]:
    """The types that a schema allows; empty where it does not say."""
    if not isinstance(schema, Mapping):
        return set()
    stated = schema.get("type")
    if isinstance(stated, str):
        return {stated, "null"} if schema.get("nullable") is True and stated != "string" else {stated}
    if isinstance(stated, list):
        return {kind for kind in stated if isinstance(kind, str)}
    options = schema.get("anyOf", schema.get("oneOf"))
    if isinstance(options, list) and options:
        each = [_kinds(option) for option in options]
        return set().union(*each) if all(each) else set()
    enum = schema.get("enum")
    if isinstance(enum, list) and enum and all(isinstance(choice, str) for choice in enum):
        return {"string"}
    return set()


_INVOKE = Tags(
    begin="<invoke",
    call=re.compile(r"<invoke\s+name\s*=\s*[\"']?([^\"'<>\n]{1,200})[\"']?\s*>"),
    call_end="</invoke>",
    parameter=re.compile(r"<parameter\s+name\s*=\s*[\"']?([^\"'<>\n]{1,200})[\"']?\s*>"),
    parameter_end="</parameter>",
)
_INVOKE_ENDS = ("</function_calls>", "</minimax:tool_call>")
_WRITTEN_INVOKE = ('<invoke name="{name}">\n', '<parameter name="{name}">{value}</parameter>\n', "</invoke>")
_PREFIXED = "antml:"
_PREFIX = re.compile(rf"(</?){_PREFIXED}")
_OLDEST = re.compile(r"<invoke>\s*<tool_name>([^<>\n]{1,200})</tool_name>\s*<parameters>")
_KEY = re.compile(r"\s*<([^\s<>/\"'=]{1,200})>")


def _read_invoke(text: str, tools: Tools) -> list[Call]:
    text = _PREFIX.sub(r"\1", text)
    if not _OLDEST.search(text):
        return read_tags(text, _INVOKE, tools, _INVOKE_ENDS)
    # Claude 2's form, where a parameter's name is its tag.
    calls, place = [], 0
    while (found := _OLDEST.search(text, place)) is not None:
        nothing_skipped(text, place, found.start(), (_INVOKE.begin,))
        raw: dict[str, str] = {}
        place = found.end()
        while (key := _KEY.match(text, place)) is not None:
            end = text.find(f"</{key[1]}>", key.end())
            if end < 0:
                raise CallSyntaxError("form.syntax", f"{found[1]}: </{key[1]}> is missing", place)
            raw[key[1]] = text[key.end() : end]
            place = end + len(key[1]) + 3
        calls.append(typed_call(found[1].strip(), raw, tools))
    nothing_skipped(text, place, len(text), (_INVOKE.begin,))
    return calls


ANTHROPIC_XML = Dialect(
    name="anthropic_xml",
    serves="Claude 2 and 3 in text form",
    example=(
        '<function_calls>\n<invoke name="get_weather">\n<parameter name="city">Oslo</parameter>\n</invoke>\n'
        "</function_calls>"
    ),
    marks=("<function_calls>", "<invoke", f"<{_PREFIXED}"),
    opening=re.compile(rf"<(?:{_PREFIXED})?invoke(?:>|\s+name)"),
    read=_read_invoke,
    write=tagged(*_WRITTEN_INVOKE, opening="<function_calls>\n", closing="\n</function_calls>"),
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
    read=_read_invoke,
    write=tagged(*_WRITTEN_INVOKE, opening="<minimax:tool_call>\n", closing="\n</minimax:tool_call>"),
    typed=False,
)

_FUNCTION = Tags(
    begin="<function=",
    call=re.compile(r"<function=\s*+([^<>{}\n]{1,200})>"),
    call_end="</function>",
    parameter=re.compile(r"<parameter=\s*+([^<>\n]{1,200})>"),
    parameter_end="</parameter>",
)
QWEN_CODER = Dialect(
    name="qwen_coder",
    serves="Qwen3-Coder, Qwen3-Next and later, Nemotron 3 Nano",
    example="<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>",
    marks=("<function=",),
    opening=re.compile(r"<function=[^<>\n]{1,200}>\s*+(?:<parameter=|</function>|$)"),
    read=lambda text, tools: read_tags(text, _FUNCTION, tools, ("</tool_call>",)),
    write=tagged(
        "<tool_call>\n<function={name}>\n", "<parameter={name}>\n{value}\n</parameter>\n", "</function>\n</tool_call>"
    ),
    typed=False,
)
SEED = Dialect(
    name="seed",
    serves="Seed-OSS",
    example=(
        "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Oslo</parameter>\n</function>\n</seed:tool_call>"
    ),
    marks=("<seed:tool_call>",),
    read=lambda text, tools: read_tags(text, _FUNCTION, tools, ("</seed:tool_call>",)),
    write=tagged(
        "<function={name}>\n",
        "<parameter={name}>{value}</parameter>\n",
        "</function>",
        opening="<seed:tool_call>\n",
        closing="\n</seed:tool_call>",
    ),
    typed=False,
)

_DSML = "｜DSML｜"
_INVOKE_DSML = Tags(
    begin=f"<{_DSML}invoke",
    call=re.compile(rf"<{_DSML}invoke\s+name=\"([^\"<>\n]{{1,200}})\"\s*>"),
    call_end=f"</{_DSML}invoke>",
    parameter=re.compile(rf"<{_DSML}parameter\s+name=\"([^\"<>\n]{{1,200}})\"(?:\s+string=\"(?:true|false)\")?\s*>"),
    parameter_end=f"</{_DSML}parameter>",
    string=re.compile(r"string=\"true\""),
)
DEEPSEEK_V32 = Dialect(
    name="deepseek_v32",
    serves="DeepSeek V3.2",
    example=(
        f'<{_DSML}function_calls>\n<{_DSML}invoke name="get_weather">\n<{_DSML}parameter name="city" string="true">Oslo'
        f"</{_DSML}parameter>\n</{_DSML}invoke>\n</{_DSML}function_calls>"
    ),
    marks=(f"<{_DSML}function_calls>", f"<{_DSML}invoke"),
    read=lambda text, tools: read_tags(text, _INVOKE_DSML, tools, (f"</{_DSML}function_calls>",)),
    write=tagged(
        f'<{_DSML}invoke name="{{name}}">\n',
        f'<{_DSML}parameter name="{{name}}" string="{{string}}">{{value}}</{_DSML}parameter>\n',
        f"</{_DSML}invoke>",
        opening=f"<{_DSML}function_calls>\n",
        closing=f"\n</{_DSML}function_calls>",
    ),
    typed=False,
)

_ARG_KEYS = Tags(
    begin="<tool_call>",
    call=re.compile(r"<tool_call>\s*+([^\s<>{}\[\]()\"',:]{1,200}+)\s*+(?=<arg_key>|</tool_call>|$)"),
    call_end="</tool_call>",
    parameter=re.compile(r"<arg_key>([^<>\n]{1,200})</arg_key>\s*<arg_value>"),
    parameter_end="</arg_value>",
    padded=False,
)
GLM = Dialect(
    name="glm",
    serves="GLM 4.5 to 4.7",
    example="<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n</tool_call>",
    marks=("<tool_call>",),
    opening=_ARG_KEYS.call,
    read=lambda text, tools: read_tags(text, _ARG_KEYS, tools, ("<tool_call>",)),
    write=tagged("<tool_call>{name}\n", "<arg_key>{name}</arg_key>\n<arg_value>{value}</arg_value>\n", "</tool_call>"),
    typed=False,
)
