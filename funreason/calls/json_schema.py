"""Parameters of tools as JSON Schema: what a source wrote is kept, and read so that a call can be checked against it.

`read_parameters` takes JSON Schema in any of its spellings (without a top-level `type`, as JSON text, as a list of
named parameters, in Google's capitals) and flat parameters (`{name: schema}`, xLAM's). It changes only what a reader
would trip over: types become JSON Schema's words, the root always has `type`, `properties` and `required`, a root that
is a reference or an `allOf` is merged, and definitions from outside the parameters are moved beside them. Every other
key stays: `$defs`, `additionalProperties`, formats, titles, defaults, examples, `x-…`.

References stay as they are and can all be resolved inside the parameters. One that cannot be (another document, a name
that is defined nowhere) constrains nothing: it is taken out and counted in `left`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from funreason.calls.parse import CallSyntaxError, parse_expression, read_literal
from funreason.calls.pointers import DEFINITIONS, Schema, Schemas, target, with_definitions, words_of
from funreason.calls.strict_json import JsonRefused, read_json
from funreason.calls.type_words import is_optional, type_schema

_NESTED_TYPES = frozenset({"object", "dict"})
_CHOICES = ("enum", "choices")
_OPTIONS = ("anyOf", "oneOf", "allOf")
_INNER = ("additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedProperties")
_NAMED = ("patternProperties", "dependentSchemas", *DEFINITIONS)
_MORE_THAN_A_TYPE = frozenset({"items", "prefixItems", "properties", "const", "$ref"}).union(
    _CHOICES, _OPTIONS, _INNER, _NAMED
)
_READ = _MORE_THAN_A_TYPE | {"type", "required"}
_NULL_IS_A_VALUE = frozenset({"default", "const", "example"})
"""Elsewhere a null is what Arrow writes for a key that a row does not have."""
_MAX_DEPTH = 32
_MOST_IN_A_ROW = 1000
_LITERAL_WORDS = {"true": True, "false": False, "null": None}

REF_LEFT = "tools.reference"
TYPE_LEFT = "tools.type"
OPTIONS_LEFT = "tools.options"


class ToolFormatError(ValueError):
    """Tools that cannot be understood; the message says which tool and which part. `reason` is a word such as `bad`."""

    def __init__(self, message: str, reason: str = "bad") -> None:
        super().__init__(message)
        self.reason = reason


def data_in(text: str, where: str, wanted: str = "an object") -> Any:
    """The value of JSON text, of several JSON values after each other as a list, or of Python literals.

    Nothing is run. Raises ToolFormatError.
    """
    try:
        return read_json(text)
    except JsonRefused as error:
        if error.reason == "json.broken":
            with suppress(CallSyntaxError):
                return read_literal(parse_expression(text.strip()), _LITERAL_WORDS)
            with suppress(JsonRefused):
                return _in_a_row(text)
        raise ToolFormatError(
            f"{where} must be {wanted}, or its text as JSON: {error.message}", error.reason.partition(".")[2]
        ) from error


def _in_a_row(text: str) -> list[Any]:
    found: list[Any] = []
    while text := text.strip(" \t\r\n,"):
        try:
            found.append(read_json(text))
            break
        except JsonRefused as error:
            end = error.position
            if not 0 < end < len(text) or len(found) >= _MOST_IN_A_ROW:
                raise
            found.append(read_json(text[:end]))
            text = text[end:]
    return found


def read_parameters(raw: Any, where: str, left: list[str], outside: tuple[Schema, ...] = ()) -> Schema:
    """Parameters as `{"type": "object", "properties", "required", …}`; raises ToolFormatError naming the place.

    `left` collects what could not be used. `outside` are the objects around the parameters, the nearest first, in which
    definitions are looked for that the parameters refer to and do not have.
    """
    if isinstance(raw, str):
        raw = data_in(raw, f"{where}.parameters") if raw.strip() else None
    if isinstance(raw, dict) and set(raw) == {"json"} and isinstance(raw["json"], dict | str):  # Bedrock's wrapping
        return read_parameters(raw["json"], where, left, outside)
    if isinstance(raw, list):
        raw = _listed(raw, where)
    if not raw:
        return {"type": "object", "properties": {}, "required": []}
    if not isinstance(raw, dict):
        raise ToolFormatError(f"{where}.parameters must be an object, found {type(raw).__name__}")
    flat = not _is_json_schema(raw)
    if flat:
        beside = {
            key
            for key in ("$defs", "definitions")
            if isinstance(raw.get(key), dict) and raw[key] and all(isinstance(each, dict) for each in raw[key].values())
        }
        raw = {
            "properties": {name: raw[name] for name in raw if name not in beside},
            **{key: raw[key] for key in beside},
        }
    reader = _Reader(raw)
    made = reader.flat(raw, where) if flat else reader.root_schema(where)
    if REF_LEFT in reader.left:
        found = with_definitions(raw, outside)
        if found is not raw:
            reader = _Reader(found)
            made = reader.flat(found, where) if flat else reader.root_schema(where)
    left += reader.left
    if made.keys().isdisjoint(("$ref", *_OPTIONS)):
        properties = made.get("properties", {})
        required = [name for name in made.get("required", ()) if name in properties]
        return {"type": "object", "properties": properties, "required": required} | {
            key: value for key, value in made.items() if key not in ("type", "properties", "required")
        }
    # Read again: what a root refers to may be in a place that is not read as a schema.
    return _as_root(_Reader(_as_root(made)).root_schema(where))


def _is_json_schema(raw: Schema) -> bool:
    """Whether parameters are one JSON Schema, and not parameters by name, whose names may be a schema's words."""
    kind = raw.get("type")
    if kind is not None:
        words = kind if isinstance(kind, list) else [kind]
        return any(isinstance(word, str) and word.lower() in _NESTED_TYPES for word in words)
    properties = raw.get("properties")
    if isinstance(properties, dict):
        if all(isinstance(each, dict | bool) or each is None for each in properties.values()):
            return True
        if isinstance(raw.get("required"), list) and all(isinstance(each, str) for each in properties.values()):
            return True
    marks = (raw.get("required"), *(raw.get(key) for key in _OPTIONS))
    return (
        any(isinstance(mark, list) for mark in marks)
        or isinstance(raw.get("additionalProperties"), bool)
        or (isinstance(raw.get("$ref"), str) and not raw["$ref"].isidentifier())
        or (isinstance(raw.get("$schema"), str) and ":" in raw["$schema"])
    )


def _listed(raw: list[Any], where: str) -> Schema:
    """A list of parameters (`{"name", "type", "description", "required"}`, or names alone) as parameters by name."""
    out: Schema = {}
    for index, each in enumerate(raw):
        each = {"name": each} if isinstance(each, str) else each
        name = each.get("name") if isinstance(each, dict) else None
        if not isinstance(name, str) or not name:
            raise ToolFormatError(f"{where}.parameters[{index}] must be an object with a name")
        if name in out:
            raise ToolFormatError(f"{where}.parameters[{index}]: a second parameter is named {name!r}")
        schema = {key: value for key, value in each.items() if key not in ("name", "schema")}
        out[name] = (each["schema"] | schema) if isinstance(each.get("schema"), dict) else schema  # OpenAPI's objects
    return out


class _Reader:
    """Reads the schemas of one root."""

    def __init__(self, root: Schema) -> None:
        self.root = root
        self.left: list[str] = []
        self.anchors: dict[str, Schema] = {}

    def flat(self, root: Schema, where: str) -> Schema:
        properties, required = {}, []
        for name, schema in root["properties"].items():
            if schema is None:
                continue
            if not isinstance(schema, dict | str):
                kind = type(schema).__name__
                raise ToolFormatError(f"{where}.{name} must be an object or a type's name, found {kind}")
            properties[name] = self.schema(schema, f"{where}.{name}", 0)
            if not isinstance(schema, dict):
                needed = not is_optional(schema)
            elif isinstance(schema.get("required"), bool):
                needed = schema["required"]
            else:
                spelling = schema.get("type")
                description = str(schema.get("description", "")).lstrip("([ ").lower()
                marked = description.startswith("optional") or (isinstance(spelling, str) and is_optional(spelling))
                needed = "default" not in schema and not marked
            if needed:
                required.append(name)
        around = {key: self.named(value, f"{where}.{key}", 0) for key, value in root.items() if key in DEFINITIONS}
        return {"type": "object", "properties": properties, "required": required} | around

    def root_schema(self, where: str) -> Schema:
        return self.schema(self.root, f"{where}.parameters", 0, root=True)

    def schema(self, raw: Any, where: str, depth: int, root: bool = False) -> Schema:
        """One schema in the one form; raises ToolFormatError."""
        if isinstance(raw, str):
            raw = {"type": raw}
        if isinstance(raw, bool):
            return {} if raw else {"not": {}}
        if not isinstance(raw, dict):
            raise ToolFormatError(f"{where} must be an object or a type's name, found {type(raw).__name__}")
        if depth > _MAX_DEPTH:
            raise ToolFormatError(f"{where} nests deeper than {_MAX_DEPTH}")
        if _MORE_THAN_A_TYPE.isdisjoint(raw) and None not in raw.values():  # by far the most
            out = dict(raw)
            required = out.pop("required", None)
            if isinstance(required, list) and any(isinstance(name, str) for name in required):
                out["required"] = [name for name in required if isinstance(name, str)]
            return out | self.type_part(out.pop("type", None), where)
        out = {
            key: value
            for key, value in raw.items()
            if key not in _READ and (value is not None or key in _NULL_IS_A_VALUE)
        }
        for key in _OPTIONS:
            options = raw.get(key)
            if options is not None:
                read = self.options(options, f"{where}.{key}", depth, every=key != "allOf")
                out |= {key: read} if read else {}
        out |= self.type_part(raw.get("type"), where)
        out |= self.reference(raw.get("$ref"))
        self.values(raw, out)
        for key in ("items", "prefixItems"):
            found = raw.get(key)
            if isinstance(found, dict | str):
                out[key] = self.schema(found, f"{where}[]", depth + 1)
            elif isinstance(found, list) and all(isinstance(each, dict | str | bool) for each in found):
                out[key] = [self.schema(each, f"{where}[{i}]", depth + 1) for i, each in enumerate(found)]
            elif isinstance(found, bool):
                out[key] = found
        for key in _INNER:
            if isinstance(raw.get(key), dict):
                out[key] = self.schema(raw[key], f"{where}.{key}", depth + 1)
            elif isinstance(raw.get(key), bool):
                out[key] = raw[key]
        for key in _NAMED:
            if isinstance(raw.get(key), dict):
                out[key] = self.named(raw[key], f"{where}.{key}", depth)
        out |= self.properties(raw, where, depth, root)
        if root and "const" in out and out["const"] is None:
            del out["const"]  # what a tool takes is an object, and Arrow fills in nulls
        return out

    def properties(self, raw: Schema, where: str, depth: int, root: bool) -> Schema:
        found, required = raw.get("properties"), raw.get("required")
        if root and found and not isinstance(found, dict):
            raise ToolFormatError(f"{where}.properties must be an object, found {type(found).__name__}")
        names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        if not isinstance(found, dict) or all(each is None for each in found.values()):
            return {"required": names} if names else {}
        inner = depth if root else depth + 1
        read = {
            name: self.schema(schema, f"{where}.{name}", inner) for name, schema in found.items() if schema is not None
        }
        if not isinstance(required, list):  # JSON Schema's third draft has it on the property
            names = [name for name, each in found.items() if isinstance(each, dict) and each.get("required") is True]
        if "$ref" not in raw and "allOf" not in raw:
            names = [name for name in names if name in read]
        return {"properties": read, "required": names}

    def options(self, found: Any, where: str, depth: int, every: bool) -> list[Schema]:
        # One unknown option could be anything (JSON Schema's `true` is), so it makes the whole unknown.
        readable = [isinstance(option, dict | str) for option in found] if isinstance(found, list) else []
        if not readable or not (all(readable) if every else any(readable)):
            if not (isinstance(found, list) and True in found):
                self.left.append(OPTIONS_LEFT)
            return []
        return [
            self.schema(each, f"{where}[{i}]", depth + 1)
            for i, each in enumerate(found)
            if isinstance(each, dict | str)
        ]

    def named(self, found: Any, where: str, depth: int) -> Any:
        """Definitions by name; those of OpenAPI are one level further down."""
        if not isinstance(found, dict):
            return found
        out = dict(found)
        if where.endswith(".components"):
            return out | (
                {"schemas": self.named(found["schemas"], f"{where}.schemas", depth)} if "schemas" in found else {}
            )
        for name, each in found.items():
            if isinstance(each, dict):
                with suppress(ToolFormatError):  # perhaps nothing refers to it
                    out[name] = self.schema(each, f"{where}.{name}", depth + 1)
        return out

    def values(self, raw: Schema, out: Schema) -> None:
        """The values that a schema names: `enum`, `choices` as one, `const`."""
        enum = next((raw[key] for key in _CHOICES if isinstance(raw.get(key), list) and raw[key]), None)
        if enum is not None:
            out["enum"] = enum
        elif raw.get("enum"):
            self.left.append(OPTIONS_LEFT)
        if raw.get("choices") is not None:
            out["choices"] = raw["choices"]
        if "const" in raw and (raw["const"] is not None or "type" not in raw or "null" in words_of(out.get("type"))):
            out["const"] = raw["const"]

    def reference(self, found: Any) -> Schema:
        if not isinstance(found, str) or not found:
            return {}
        if target(found, self.root, self.anchors) is not None:
            return {"$ref": found}
        self.left.append(REF_LEFT)
        return {}

    def type_part(self, spelling: Any, where: str) -> Schema:
        if spelling is None:
            return {}
        if isinstance(spelling, str):
            found = type_schema(spelling)
            if found:
                return found
        elif isinstance(spelling, list) and all(isinstance(word, str) for word in spelling):
            found = type_schema(" | ".join(spelling)) if len(spelling) > 1 else type_schema("".join(spelling))
        else:
            raise ToolFormatError(f"{where}.type must be a type's name, found {type(spelling).__name__}")
        if not found and "any" not in str(spelling).lower():
            self.left.append(TYPE_LEFT)
        return found


def _as_root(made: Schema) -> Schema:
    """The root with its properties first: its own, those it refers to, and those of its options."""
    schemas = Schemas(made)
    whole = schemas.whole(made)
    properties, required = dict(_properties(whole)), whole.get("required")
    rest = {key: value for key, value in whole.items() if key not in ("type", "properties", "required")}
    for key in ("anyOf", "oneOf"):
        if not isinstance(rest.get(key), list):
            continue
        options = rest[key] = [schemas.whole(option) for option in rest[key]]
        found: dict[str, list[Any]] = {}
        for option in options:
            for name, schema in _properties(option).items():
                found.setdefault(name, []).append(schema)
        for name, several in found.items():
            by_text: dict[str, Any] = {}  # comparing each with all before it would take the square of their number
            for each in several:
                by_text.setdefault(json.dumps(each, sort_keys=True, default=repr), each)
            distinct = list(by_text.values())
            properties.setdefault(name, distinct[0] if len(distinct) == 1 else {"anyOf": distinct})
    needed = (
        [name for name in required if isinstance(name, str) and name in properties]
        if isinstance(required, list)
        else []
    )
    return {"type": "object", "properties": properties, "required": needed} | rest


def _properties(schema: Mapping[str, Any]) -> Schema:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}
