"""Spellings of types, read as JSON Schema.

`str`, `int, optional`, `List[Union[int, float]]`, `list(str)`, `Tuple[float, float]`, `Optional[str]`, `HashMap`,
`STRING` each become a `type`, lists with `items` where the spelling gives them. An unknown word (`date`, `np.ndarray`,
`Callable`) constrains nothing: better no check than a wrong one.
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


def type_schema(spelling: str) -> dict[str, Any]:
    """The JSON Schema part (`type`, `items`, `anyOf`) of a type's spelling; empty when nothing is known."""
    if len(spelling) > _MAX_CHARS:
        return {}
    return dict(_schema(_OPTIONAL.sub("", spelling), 0))


def is_optional(spelling: str) -> bool:
    """Whether the spelling itself says that the parameter may be left out."""
    return bool(_OPTIONAL.search(spelling)) or spelling.strip().lower().startswith("optional")


@lru_cache(maxsize=4096)
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
