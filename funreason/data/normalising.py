"""A record as a form should see it: a person's own keys renamed, and nulls that a table filled in taken out.

`--input-map query=question,tools=functions`: the left side is the key that a form knows, the right side the key in the
file, with dots for nested keys (`answers=output.calls`); a number picks an item of a list. A key that itself holds a
dot is found first.

In Arrow every object of a column has the keys of all, null where it lacks one. `without_filled_nulls` takes such nulls
out:

- a null column hides nothing: it is absent;
- a null in a message, a call, a content part or a tool's description is an absent key, and so is a null property of a
  schema (`default`, `const` and examples may be null, unless the record was filled);
- a null argument is absent where the called tool has no such parameter. Where it has one, None is a value and stays;
  in a filled record it is absent unless the tool requires the parameter and lets it be null.

A record is filled when its file is a table of Arrow (Parquet, Arrow, a `datasets.Dataset`), or when it shows so itself:
it holds a null argument that its tool does not have, a null property, or null calls of a user. Such records were
written as JSON after they had been through Arrow. Arguments and schemas that are JSON text were never filled and are
not touched.

A list of objects that an older `datasets` turned into an object of lists (`{"role": [...], "content": [...]}`) is
turned back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funreason.calls.strict_json import JsonRefused, read_json
from funreason.data.records import DataError

_TOOLS = ("tools", "functions", "function")
_DIALOGUES = ("messages", "conversations", "prompt", "chosen", "rejected")
_FORM_KEYS = frozenset((*_DIALOGUES, "query", "question", "completion", "instruction", "answers"))
"""Keys by which a form is found: a null there is left to the table of forms, which looks at filled keys first."""
_UNCALLING = ("system", "developer", "user", "tool")
"""Roles that call nothing: only a table gives their messages a key for calls."""
_ARGUMENTS = ("arguments", "args", "parameters", "input")
_MAY_BE_NULL = frozenset({"default", "const", "example", "examples", "enum"})
_OF_NAMES = ("properties", "$defs", "definitions", "patternProperties")
"""Keys of a schema whose value has names, not keywords, as keys."""
_MISSING: Any = object()


def without_filled_nulls(record: Any, *, filled: bool = False) -> Any:
    """`record` without nulls that mean "absent". What is no dict is returned as it is."""
    if not isinstance(record, dict):
        return record
    for key in _DIALOGUES:
        columns = record.get(key)
        if not isinstance(columns, dict):
            continue
        lists = list(columns.values())
        if lists and all(isinstance(each, list) and len(each) == len(lists[0]) for each in lists):
            record = record | {key: [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]}
    if not _holds_null(record):
        return record
    known = _Tools(record)
    filled = (
        filled
        or any(_null_property(record.get(key)) for key in _TOOLS)
        or any(_foreign_null(value, known) for key, value in record.items() if key not in _TOOLS)
    )
    cleaned: dict[str, Any] = {}
    for key, value in record.items():
        if key in _TOOLS and isinstance(value, list):
            cleaned[key] = [_clean_tool(tool, filled) for tool in value if tool is not None]
        elif key in _TOOLS and isinstance(value, dict):
            cleaned[key] = _clean_tool(value, filled)
        elif value is not None or key in _FORM_KEYS:
            cleaned[key] = _clean_part(value, known, filled)
    return cleaned


class _Tools:
    """The parameters of a record's tools: for each tool its schema."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.schemas: dict[str, dict[str, Any]] = {}
        for key in _TOOLS:
            tools = _parsed(record.get(key))
            for tool in tools if isinstance(tools, list) else [tools]:
                tool = _parsed(tool)
                inner = tool.get("function", tool) if isinstance(tool, dict) else None
                if isinstance(inner, dict) and isinstance(inner.get("name"), str):
                    found = [_parsed(inner.get(name)) for name in ("parameters", "input_schema", "inputSchema")]
                    self.schemas[inner["name"]] = next((each for each in found if isinstance(each, dict)), {})

    def of(self, name: Any) -> dict[str, Any] | None:
        """The schema of the tool's parameters; None for a tool that is not offered."""
        return self.schemas.get(name) if isinstance(name, str) else None


def _parsed(value: Any) -> Any:
    """A value that may be given as JSON text; None for any other text."""
    if not isinstance(value, str):
        return value
    try:
        return read_json(value)
    except JsonRefused:
        return None


def _properties(schema: Any) -> tuple[dict[str, Any], frozenset[str]] | None:
    """The properties a schema names and those it requires; None when it leaves them open, or names them elsewhere."""
    if not isinstance(schema, dict) or any(key in schema for key in ("$ref", "allOf", "anyOf", "oneOf")):
        return None
    properties = schema.get("properties")
    if isinstance(properties, dict):
        required = schema.get("required")
        names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        return {name: each for name, each in properties.items() if each is not None}, frozenset(names)
    if schema.get("type") in ("object", "dict") or "additionalProperties" in schema:
        return None
    return {name: each for name, each in schema.items() if isinstance(each, dict)}, frozenset()  # xLAM's flat form


def _clean_arguments(value: Any, schema: Any, filled: bool) -> Any:
    if isinstance(value, list):
        items = schema.get("items") if isinstance(schema, dict) else None
        return [_clean_arguments(item, items, filled) for item in value]
    if not isinstance(value, dict):
        return value
    known = _properties(schema)
    cleaned = {}
    for key, item in value.items():
        if item is not None:
            cleaned[key] = _clean_arguments(item, known[0].get(key) if known else None, filled)
        elif known is None:
            if not filled:
                cleaned[key] = None
        elif key in known[0] and (not filled or (key in known[1] and _may_be_null(known[0][key]))):
            cleaned[key] = None
    return cleaned


def _may_be_null(schema: Any) -> bool:
    if not isinstance(schema, dict) or schema.get("nullable") or schema.keys() & {"anyOf", "oneOf", "enum", "$ref"}:
        return True
    kinds = schema.get("type")
    return "null" in kinds if isinstance(kinds, list) else kinds in (None, "null")


def _clean_part(value: Any, known: _Tools, filled: bool) -> Any:
    """A message, a call, a content part, or what lies around them."""
    if isinstance(value, list):
        return [_clean_part(item, known, filled) for item in value]
    if not isinstance(value, dict):
        return value
    called = _called(value)
    typed = filled or called or any(isinstance(value.get(key), str) for key in ("role", "from", "type"))
    cleaned = {}
    for key, item in value.items():
        if called and key == called:
            cleaned[key] = _clean_arguments(item, known.of(value["name"]), filled)
        elif item is not None:
            cleaned[key] = _clean_part(item, known, filled)
        elif not typed and "function" not in value:
            cleaned[key] = None
    return cleaned


def _called(value: dict[str, Any]) -> str:
    """The key of the arguments when `value` is a call; "" when it is not."""
    if not isinstance(value.get("name"), str):
        return ""
    return next((key for key in _ARGUMENTS if isinstance(value.get(key), dict)), "")


def _clean_tool(value: Any, filled: bool, *, names: bool = False) -> Any:
    """A tool's description, or a schema in it; `names` says that the keys of `value` are names of properties."""
    if isinstance(value, list):
        return [_clean_tool(item, filled) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: item
        if item is None or (key in _MAY_BE_NULL and not names)
        else _clean_tool(item, filled, names=key in _OF_NAMES)
        for key, item in value.items()
        if item is not None or (key in _MAY_BE_NULL and not names and not filled)
    }


def _null_property(value: Any) -> bool:
    if isinstance(value, list):
        return any(_null_property(item) for item in value)
    if not isinstance(value, dict):
        return False
    properties = value.get("properties")
    own = isinstance(properties, dict) and any(item is None for item in properties.values())
    return own or any(_null_property(item) for item in value.values())


def _foreign_null(value: Any, known: _Tools) -> bool:
    if isinstance(value, list):
        return any(_foreign_null(item, known) for item in value)
    if not isinstance(value, dict):
        return False
    if value.get("role") in _UNCALLING and "tool_calls" in value and value["tool_calls"] is None:
        return True
    called = _called(value)
    if called and (own := _properties(known.of(value["name"]))) is not None:
        return any(item is None and key not in own[0] for key, item in value[called].items())
    return any(_foreign_null(item, known) for item in value.values())


def _holds_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(item is None or _holds_null(item) for item in value.values())
    return isinstance(value, list) and any(item is None or _holds_null(item) for item in value)


def parse_input_map(text: str) -> dict[str, str]:
    """The map in `text`. Raises DataError when it cannot be read."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, sign, path = (word.strip() for word in part.partition("="))
        if not sign or not key or not path:
            raise DataError(f"--input-map: {part!r} must be KEY=KEY_IN_THE_FILE, as in query=question,tools=functions")
        if key in found:
            raise DataError(f"--input-map: {key} is given twice")
        found[key] = path
    if not found:
        raise DataError("--input-map is empty; give KEY=KEY_IN_THE_FILE, as in query=question,tools=functions")
    return found


class InputMap:
    """Renames the keys of records, and remembers which it found."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = dict(keys)
        self._unseen = set(self._keys.values())
        self._first: list[str] = []

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record under its new keys. A key that was renamed is no longer there under its old one."""
        self._first = self._first or list(record)
        values = {key: _at(record, path) for key, path in self._keys.items()}
        self._unseen -= {path for key, path in self._keys.items() if values[key] is not _MISSING}
        renamed = {path for path in self._keys.values() if path in record}
        rest = {key: value for key, value in record.items() if key not in renamed}
        return rest | {key: value for key, value in values.items() if value is not _MISSING}

    def require_seen(self, path: Any) -> None:
        """Raise DataError naming the keys that no record of the file `path` has."""
        missing = [f"{key}={name}" for key, name in self._keys.items() if name in self._unseen]
        if missing and self._first:
            keys = ", ".join(self._first[:12])
            raise DataError(f"{path}: --input-map {', '.join(missing)}: no record has that key; the first has {keys}")


def _at(value: Any, path: str) -> Any:
    """The value at a dotted path; `_MISSING` where there is none."""
    if isinstance(value, dict):
        if path in value:
            return value[path]
        head, dot, rest = path.partition(".")
        return _at(value[head], rest) if dot and head in value else _MISSING
    head, dot, rest = path.partition(".")
    if isinstance(value, list) and head.isdecimal() and int(head) < len(value):
        return _at(value[int(head)], rest) if dot else value[int(head)]
    return _MISSING
