"""References inside JSON Schema, and schemas that hold together read as one.

`Schemas.whole` is one schema with its reference followed and its `allOf` merged. Recursive schemas, and ones that would
double at each step, cost no more than their size. References are JSON pointers into the root (`#/$defs/Span`, `~0` and
`~1` included), the root itself (`#`), or an anchor; another document is never fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

Schema = dict[str, Any]

DEFINITIONS = ("$defs", "definitions", "components", "defs")
_NOTES = frozenset({"title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly"})
_MAX_HOPS = 40


class Schemas:
    """The schemas of one root, each read as a whole. Keep it as long as what it returned: results are shared."""

    def __init__(self, root: Schema) -> None:
        self.root = root
        self._whole: dict[int, tuple[Any, Schema]] = {}
        self._anchors: dict[str, Schema] = {}

    def whole(self, schema: Any, depth: int = 0) -> Schema:
        """`schema` with its reference followed and its `allOf` merged; {} for what constrains nothing.

        Parts that cannot be merged (two enums, two patterns) stay in `allOf`.
        """
        if not isinstance(schema, dict):
            return {"not": {}} if schema is False else {}
        if "$ref" not in schema and "allOf" not in schema:
            return schema
        known = self._whole.get(id(schema))
        if known is not None:
            return known[1]
        self._whole[id(schema)] = schema, {}  # a schema that leads back to itself adds nothing to itself
        out = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
        parts = list(schema["allOf"]) if isinstance(schema.get("allOf"), list) else []
        if isinstance(schema.get("$ref"), str):
            parts.insert(0, target(schema["$ref"], self.root, self._anchors))
        wholes = [out, *(self.whole(part, depth + 1) for part in parts if depth < _MAX_HOPS)]
        while len(wholes) > 1:  # in pairs, so that none is copied once for each of the others
            pairs = [wholes[at : at + 2] for at in range(0, len(wholes), 2)]
            wholes = [_both(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
        (out,) = wholes
        self._whole[id(schema)] = schema, out
        return out

    def plain(self, schema: Any) -> Schema:
        """`whole`, and where all that is left open is null or one other schema, that one with `nullable`."""
        found = self.whole(schema)
        for key in ("anyOf", "oneOf"):
            options = found.get(key)
            if isinstance(options, list) and options:
                wholes = [self.whole(option) for option in options]
                others = [option for option in wholes if option.get("type") != "null"]
                if len(others) == 1:
                    nullable = {"nullable": True} if len(wholes) > 1 else {}
                    return _both({name: value for name, value in found.items() if name != key}, others[0]) | nullable
        return found


def target(reference: str, root: Schema, anchors: dict[str, Schema] | None = None) -> Any:
    """What a local reference (`#/$defs/Span`, `#`, `#anchor`) means in `root`; None when it means nothing there.

    `anchors` is filled with all of the root's at the first need; give the same one again for the same root.
    """
    if not reference.startswith("#"):
        return None
    pointer = unquote(reference[1:])
    if pointer and not pointer.startswith("/"):
        anchors = {} if anchors is None else anchors
        if not anchors:
            places = (root[key].values() for key in DEFINITIONS if isinstance(root.get(key), dict))
            for each in (each for place in places for each in place if isinstance(each, dict)):
                for name in (each.get("$anchor"), str(each.get("$id"))[1:]):
                    if isinstance(name, str):
                        anchors.setdefault(name, each)
        return anchors.get(pointer)
    found: Any = root
    for token in pointer.split("/")[1:]:
        token = token.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and token.isascii() and token.isdecimal() and len(token) < 6:
            found = found[int(token)] if int(token) < len(found) else None
        else:
            found = found.get(token) if isinstance(found, dict) else None
    return found if isinstance(found, dict | bool) else None


def _both(first: Schema, second: Schema) -> Schema:
    """One schema for what both ask; notes such as a description are the first's where both have one."""
    out = {**second, **first}
    unmerged: list[Schema] = []
    parts: list[Schema] = out["allOf"] if isinstance(out.get("allOf"), list) else []
    for key, one in first.items():
        two = second.get(key, one)
        if one == two:
            continue
        if key == "properties" and isinstance(one, dict) and isinstance(two, dict):
            other = {name: two[name] for name in one if name in two and one[name] != two[name]}
            out[key] = {**one, **two, **{name: {"allOf": [one[name], each]} for name, each in other.items()}}
        elif key == "required" and isinstance(one, list) and isinstance(two, list):
            known = {name for name in one if isinstance(name, str)}
            out[key] = [*one, *(name for name in two if name not in (known if isinstance(name, str) else one))]
        elif key == "allOf" and isinstance(one, list) and isinstance(two, list):
            parts = [*one, *two]
        elif key == "type":
            ones, twos = words_of(one), words_of(two)
            for words in (ones, twos):
                if "number" in words:
                    words.append("integer")
            both = dict.fromkeys(word for word in ones if word in twos)
            kinds = [word for word in both if word != "integer" or "number" not in both]
            out[key] = kinds[0] if len(kinds) == 1 else kinds
        elif key == "additionalProperties":
            out[key] = False if False in (one, two) else one if two is True else two
        elif key not in _NOTES and not key.startswith(("x-", "$")):
            unmerged.append({key: two})
    if parts or unmerged:
        out["allOf"] = [*parts, *unmerged]
    return out


def with_definitions(root: Schema, outside: tuple[Schema, ...]) -> Schema:
    """`root` with the definitions it refers to and lacks: those of schemas inside it, and of the objects `outside`."""
    wanted = [ref for schema in _parts(root) if isinstance(ref := schema.get("$ref"), str)]
    missing = [ref for ref in wanted if ref.startswith("#/") and target(ref, root) is None]
    if not missing:
        return root
    out = dict(root)
    for place in (*_parts(root), *outside):
        for key in DEFINITIONS:
            if isinstance(place.get(key), dict) and any(ref.startswith(f"#/{key}/") for ref in missing):
                own = out.get(key) if isinstance(out.get(key), dict) else {}
                out[key] = _joined(own or {}, place[key])
    return out


def _joined(own: Schema, other: Schema, depth: int = 0) -> Schema:
    joined = {**other, **own}
    for key in own if depth < 2 else ():  # components/schemas/NAME
        if key in other and isinstance(own[key], dict) and isinstance(other[key], dict) and key == "schemas":
            joined[key] = _joined(own[key], other[key], depth + 1)
    return joined


def _parts(schema: Any) -> Iterator[Schema]:
    """Every dict inside a schema, itself first. Not deeper than JSON is read, so without bounds of its own."""
    waiting = [schema]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def words_of(kind: Any) -> list[str]:
    """The types that a schema's `type` names."""
    kinds = kind if isinstance(kind, list) else [kind]
    return [word for word in kinds if isinstance(word, str)]
