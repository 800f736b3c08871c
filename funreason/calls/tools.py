"""Tool descriptions of four data sets, turned into one form.

In: xLAM's flat `{param: {"type": "int, optional"}}`, OpenAI's `{"type": "function", "function": {…}}`, BFCL's `{"type":
"dict", "properties"}`, plain JSON Schema. Out: `{"name", "description", "parameters": {"type": "object", "properties":
{param: schema}, "required": [param]}}`, with everything the record gives about a parameter kept beside its type. The
rule for flat parameters (xLAM): required unless the type says optional, a default is given, or the description begins
with "[Optional]" as API-Bank's do; an explicit `required` on the parameter wins over all.

Type spellings become JSON Schema: `str`, `int, optional`, `List[Union[int, float]]`, `list(str)`, `Tuple[float,
float]`, `Optional[str]`, `HashMap`, `String` each become a `type`, lists with `items` where the spelling gives them. An
unknown word (`date`, `np.ndarray`, `Callable`) constrains nothing: better no check than a wrong one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_WORDS = {
    **dict.fromkeys(("str", "string", "text", "char", "character", "varchar"), "string"),
    **dict.fromkeys(("int", "integer", "long", "short", "byte", "bigint"), "integer"),
    **dict.fromkeys(("float", "number", "double", "numeric", "decimal"), "number"),
    **dict.fromkeys(("bool", "boolean"), "boolean"),
    **dict.fromkeys(("list", "array", "tuple", "set", "arraylist", "sequence", "iterable"), "array"),
    **dict.fromkeys(("dict", "object", "hashmap", "map", "dictionary", "mapping"), "object"),
    **dict.fromkeys(("none", "null", "nonetype"), "null"),
}
_OPTIONAL = re.compile(r"[,(;\s]\s*(?:optional|default\b[^,]*)\)?\s*$", re.IGNORECASE)
_GENERIC = re.compile(r"\s*(?:typing\.)?(\w+)\s*[\[(<](.*)[\])>]\s*$", re.DOTALL)
_MAX_CHARS = 200
_NESTED_TYPES = frozenset({"object", "dict"})
_KEPT_LISTS = ("enum", "choices")
_MORE_THAN_A_TYPE = frozenset({"required", "items", "properties", "anyOf", *_KEPT_LISTS})
_MAX_DEPTH = 16


class ToolFormatError(ValueError):
    """Tools that cannot be understood; the message says which tool and which part."""


def normalise_tools(raw: Any) -> list[dict[str, Any]]:
    """Tools in the one form. Raises ToolFormatError saying where; two tools of one name are refused as well."""
    if isinstance(raw, dict):
        raw = [raw]
    if not isinstance(raw, list):
        raise ToolFormatError(f"tools must be a list of objects, found {type(raw).__name__}")
    tools: list[dict[str, Any]] = []
    names: set[str] = set()
    for index, item in enumerate(raw):
        where = f"tools[{index}]"
        if isinstance(item, dict) and isinstance(item.get("function"), dict):
            item = item["function"]
        if not isinstance(item, dict):
            raise ToolFormatError(f"{where} must be an object, found {type(item).__name__}")
        name, description = item.get("name"), item.get("description")
        if not isinstance(name, str) or not name.strip():
            raise ToolFormatError(f"{where} has no name")
        parameters = _parameters(item.get("parameters", item.get("inputSchema")), f"{where} ({name})")
        if name in names:
            raise ToolFormatError(f"{where}: a second tool is named {name!r}; names must differ")
        names.add(name)
        described = description if isinstance(description, str) else ""
        tools.append({"name": name, "description": described, "parameters": parameters})
    return tools


def type_schema(spelling: str) -> dict[str, Any]:
    """The JSON Schema part (`type`, `items`, `anyOf`) of a type's spelling; empty when nothing is known."""
    if len(spelling) > _MAX_CHARS:
        return {}
    return dict(_parsed(spelling))


def is_optional(spelling: str) -> bool:
    """Whether the spelling itself says that the parameter may be left out."""
    return bool(_OPTIONAL.search(spelling)) or spelling.strip().lower().startswith("optional")


@lru_cache(maxsize=4096)
def _parsed(spelling: str) -> tuple[tuple[str, Any], ...]:
    return tuple(_schema(_OPTIONAL.sub("", spelling), 0).items())


def _schema(spelling: str, depth: int) -> dict[str, Any]:
    word = spelling.strip().strip("\"'").lower()
    if word in _WORDS:
        return {"type": _WORDS[word]}
    if depth > 4:
        return {}
    generic = _GENERIC.match(spelling)
    if not generic:
        pieces = _split(spelling, "|") if "|" in spelling else re.split(r"\s+or\s+", spelling)
        return _union([_schema(piece, depth + 1) for piece in pieces]) if len(pieces) > 1 else {}
    head, pieces = generic[1].lower(), _split(generic[2], ",")
    if head == "optional":
        return _union([_schema(pieces[0], depth + 1), {"type": "null"}])
    if head == "union":
        return _union([_schema(piece, depth + 1) for piece in pieces])
    kind = _WORDS.get(head)
    if kind != "array":
        return {"type": kind} if kind else {}
    items = _union([_schema(piece, depth + 1) for piece in pieces if piece not in ("...", "")])
    return {"type": "array", "items": items} if items else {"type": "array"}


def _union(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    # One unknown part makes the whole unknown: it could be anything.
    if not schemas or not all(schemas):
        return {}
    distinct = [schema for index, schema in enumerate(schemas) if schema not in schemas[:index]]
    if len(distinct) == 1:
        return distinct[0]
    if all(set(schema) == {"type"} for schema in distinct):
        return {"type": [schema["type"] for schema in distinct]}
    return {"anyOf": distinct}


def _split(text: str, mark: str) -> list[str]:
    pieces, depth, start = [], 0, 0
    for index, char in enumerate(text):
        if char in "[(<":
            depth += 1
        elif char in "])>":
            depth -= 1
        elif char == mark and depth == 0:
            pieces.append(text[start:index].strip())
            start = index + 1
    return [*pieces, text[start:].strip()]


def _parameters(raw: Any, where: str) -> dict[str, Any]:
    if raw is None or raw == [] or raw == {}:
        return {"type": "object", "properties": {}, "required": []}
    if not isinstance(raw, dict):
        raise ToolFormatError(f"{where}.parameters must be an object, found {type(raw).__name__}")
    if isinstance(raw.get("type"), str) and raw["type"].lower() in _NESTED_TYPES:
        return _nested(raw, f"{where}.parameters", 0)
    properties, required = {}, []
    for name, schema in raw.items():
        properties[name] = _property(schema, f"{where}.{name}", 0)
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
    return {"type": "object", "properties": properties, "required": required}


def _nested(raw: dict[str, Any], where: str, depth: int) -> dict[str, Any]:
    properties = raw.get("properties") or {}
    required = raw.get("required") or []
    if not isinstance(properties, dict):
        raise ToolFormatError(f"{where}.properties must be an object, found {type(properties).__name__}")
    if not isinstance(required, list):
        required = []
    return {
        "type": "object",
        "properties": {name: _property(schema, f"{where}.{name}", depth) for name, schema in properties.items()},
        # A name may be anything in a broken schema, a list too, which no dict can be asked for.
        "required": [name for name in required if isinstance(name, str) and name in properties],
    }


def _property(raw: Any, where: str, depth: int) -> dict[str, Any]:
    if isinstance(raw, str):
        raw = {"type": raw}
    if not isinstance(raw, dict):
        raise ToolFormatError(f"{where} must be an object or a type's name, found {type(raw).__name__}")
    if depth > _MAX_DEPTH:
        raise ToolFormatError(f"{where} nests deeper than {_MAX_DEPTH}")
    if _MORE_THAN_A_TYPE.isdisjoint(raw):
        out = dict(raw)
        return out | _type_part(out.pop("type", None), where)
    out = {key: value for key, value in raw.items() if key not in ("type", "required", "items", "properties")}
    options = out.pop("anyOf", None)
    # One unknown option could be anything (JSON Schema's `true` is), so it makes the whole unknown.
    if isinstance(options, list) and options and all(isinstance(option, dict | str) for option in options):
        out["anyOf"] = [_property(each, f"{where}.anyOf[{i}]", depth + 1) for i, each in enumerate(options)]
    out |= _type_part(raw.get("type"), where)
    enum = next((raw[key] for key in _KEPT_LISTS if isinstance(raw.get(key), list) and raw[key]), None)
    out.pop("enum", None)
    if enum is not None:
        out["enum"] = enum
    if isinstance(raw.get("items"), dict | str):
        out["items"] = _property(raw["items"], f"{where}[]", depth + 1)
    if isinstance(raw.get("properties"), dict) and raw["properties"]:
        inner = _nested(raw, where, depth + 1)
        out |= {"properties": inner["properties"], "required": inner["required"]}
    return out


def _type_part(spelling: Any, where: str) -> dict[str, Any]:
    if spelling is None:
        return {}
    if isinstance(spelling, str):
        return type_schema(spelling)
    if isinstance(spelling, list) and all(isinstance(word, str) for word in spelling):
        return type_schema(" | ".join(spelling)) if len(spelling) > 1 else type_schema("".join(spelling))
    raise ToolFormatError(f"{where}.type must be a type's name, found {type(spelling).__name__}")
