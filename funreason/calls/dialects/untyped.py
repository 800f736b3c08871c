"""Values that a dialect writes without their type, as in `<parameter=zip>07745</parameter>`.

The tool's schema says what the text means. Without a schema a text that is JSON is read as JSON, any other is text. A
value that would be read back as another is not written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funreason.calls.dialects.dialect import Tools
from funreason.calls.dialects.json_shapes import json_text, literal
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


def typed_call(name: str, raw: Mapping[str, str], tools: Tools) -> Call:
    """A call whose arguments are texts, each read as its tool's schema says."""
    schemas = parameter_schemas(tools, name)
    return Call(name, {key: typed_value(text, schemas.get(key)) for key, text in raw.items()})


def typed_value(text: str, schema: Mapping[str, Any] | None) -> Any:
    """What `text` means under a parameter's schema; None where no schema is known."""
    kinds = _kinds(schema)
    if kinds == {"string"}:
        return text
    try:
        value = read_json(text)
    except JsonRefused:
        value = _python_value(text) if kinds - {"string"} else text
    if "string" in kinds and not _fits(value, kinds - {"string"}):
        return text
    return value


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


def _fits(value: Any, kinds: set[str]) -> bool:
    return any(
        isinstance(value, _OF_TYPE.get(kind, ())) and (not isinstance(value, bool) or kind == "boolean")
        for kind in kinds
    )


def _python_value(text: str) -> Any:
    """`True`, `None` or a list or dict in Python's syntax, which some models write where JSON is wanted."""
    if text in _PYTHON_WORDS:
        return _PYTHON_WORDS[text]
    try:
        return literal(text)
    except CallSyntaxError:
        return text
