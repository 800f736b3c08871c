"""Java source text, as the official decoder and converter read it: text to one call, and argument text to values.

`decode_java` has the official decoder's habits: the first method invocation in the tree is THE call, all values become
strings, class bodies are dropped, and node positions are bytes but cut a string of characters, so a letter beyond ASCII
shifts everything after it.

`java_value` reads an argument by its declared type; else the text stays a string. The readings are patterns, not a
parser, and their blind spots are part of the score: a comma inside a string splits it, an array's strings keep their
quotes, a long needs its L. Text longer than `MAX_CHARS` is not searched and stays a string.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from funreason.bfcl.categories import Undecodable
from funreason.bfcl.grammars import Node, parse_tree
from funreason.bfcl.python_calls import Decoded

MAX_CHARS = 16_384

_INTEGER = re.compile(r"-?\d+$")
_LONG = re.compile(r"-?\d+[lL]$")
_DOUBLE = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$")
_FLOAT = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?[fF]$")
_ARRAY = re.compile(r"new\s+\w+\[\]\s*\{(.*?)\}")
_AS_LIST = re.compile(r"new\s+ArrayList<\w*>\(Arrays\.asList\((.+?)\)\)")
_LIST_BODY = re.compile(r"new\s+ArrayList<\w*>\(\)\s*\{\{")
_LIST_EMPTY = re.compile(r"new\s+ArrayList<\w*>\(\)")
_ADD = re.compile(r"add\((.+?)\)")
_MAP = re.compile(r"new\s+HashMap<")
_MAP_BODY = re.compile(r">\s*\(\)\s*\{")
_MAP_EMPTY = re.compile(r"new\s+HashMap<.*?>\s*\(\)")
_BLANKS = re.compile(r"\s*")

_VERBATIM = frozenset({"identifier", "class_literal", "type_identifier", "method_invocation"})
_QUOTED = frozenset({"string_literal", "character_literal"})
_POSITIONAL = frozenset({"identifier", "class_literal"})
_PUNCTUATION = frozenset({",", "(", ")"})

TYPES: dict[str, type] = {
    "byte": int,
    "short": int,
    "integer": int,
    "float": float,
    "double": float,
    "long": int,
    "boolean": bool,
    "char": str,
    "Array": list,
    "ArrayList": list,
    "HashMap": dict,
    "String": str,
    "any": str,
    "Set": set,
    "Hashtable": dict,
    "Queue": list,
    "Stack": list,
}
"""A declared type's Python type. The last four have no reading, officially neither: they raise KeyError."""


def decode_java(text: str) -> list[Decoded] | None:
    """The call in bracketed `text`, or None when there is no call. Raises Undecodable on errors."""
    source = text[1:-1]
    try:
        return _SourceReader(source).first_call(parse_tree(source, "java"))
    except (IndexError, RecursionError) as error:
        raise Undecodable(f"an unusual syntax tree: {error}") from error


def java_value(text: str, kind: str, inner: str | None = None) -> Any:
    """`text` read as the declared `kind`, items as `inner`. Raises KeyError for a kind without a reading."""
    if kind not in ("Array", "ArrayList", "HashMap"):
        return _SCALARS[kind](text)
    if len(text) > MAX_CHARS:
        return text
    if kind == "HashMap":
        return _hash_map(text)
    items: list[str] | None
    if kind == "Array":
        found = _ARRAY.search(text)
        items = None if found is None else [item for part in found[1].split(",") if (item := part.strip())]
    else:
        items = _list_items(text)
    if items is None:
        return text
    if kind == "ArrayList" and inner in {"char", "String"}:
        return [item[1:-1] for item in items]
    return [java_value(item, inner) if inner else guessed_value(item) for item in items]


def guessed_value(text: str) -> Any:
    """`text` read without a declared type: boolean, string, long, float, any number, else itself."""
    if text in {"true", "false"}:
        return text == "true"
    if text.startswith('"') and text.endswith('"'):
        return text[1:-1]
    if _LONG.match(text):
        return int(text[:-1])
    if _FLOAT.match(text):
        return float(_without_suffix(text))
    return number_or_text(text)


def number_or_text(text: str) -> Any:
    """What Python's own int or float make of `text`, else the text."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _without_suffix(text: str) -> str:
    # The patterns' "$" also stands before a last line break, so the suffix may be last but one.
    return text[:-2] if text.endswith("\n") else text[:-1]


def _list_items(text: str) -> list[str] | None:
    """The items of `Arrays.asList(…)`, else the arguments of `add` in the first double-brace body."""
    listed = _AS_LIST.search(text)
    if listed is not None:
        return [item.strip() for item in listed[1].split(",")]
    opening = _LIST_BODY.search(text)
    if opening is not None:
        start = _after_blanks(text, opening.end())
        # The body has at least one character, and a blank will do for it.
        end = text.find("}}", start + 1)
        if end >= 0:
            return [item.strip() for item in _ADD.findall(text[start:end])]
        if start > opening.end() and text.startswith("}}", start):
            return []
    return [] if _LIST_EMPTY.search(text) else None


def _hash_map(text: str) -> Any:
    """The entries of `put("key", value)` calls; key and value may span quotes and commas but not a line's end."""
    opening = _MAP.search(text)
    body = _MAP_BODY.search(text, opening.end()) if opening else None
    end = text.find("}", body.end()) if body else -1
    if body is None or end < 0:
        return {} if _MAP_EMPTY.search(text) else text
    inside = text[body.end() : end].lstrip().removeprefix("{").strip()
    made, place = {}, inside.find('put("')
    while place >= 0:
        start = place + len('put("')
        line_end = _line_end(inside, start)
        comma, after = inside.find('",', start, line_end), place + 1
        while comma >= 0:
            value = _after_blanks(inside, comma + 2)
            closing = inside.find(")", value, _line_end(inside, value))
            if closing >= 0:
                made[inside[start:comma]] = guessed_value(inside[value:closing].strip())
                after = closing + 1
                break
            # A later comma on this line reaches the same line's end, unless only blanks lie between.
            comma = inside.rfind('",', comma + 1, line_end)
        place = inside.find('put("', after)
    return made


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _after_blanks(text: str, start: int) -> int:
    blanks = _BLANKS.match(text, start)
    return blanks.end() if blanks else start


def _number(pattern: re.Pattern[str], read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: read(text) if pattern.match(text) else text


_SCALARS: dict[str, Callable[[str], Any]] = {
    "byte": _number(_INTEGER, int),
    "short": _number(_INTEGER, int),
    "integer": _number(_INTEGER, int),
    "long": _number(_LONG, lambda text: int(_without_suffix(text))),
    "float": _number(_FLOAT, lambda text: float(_without_suffix(text))),
    "double": _number(_DOUBLE, float),
    "boolean": lambda text: text == "true" if text in {"true", "false"} else text,
    "char": lambda text: text,
    "String": lambda text: text,
    "any": lambda text: text,
}


class _SourceReader:
    """One source text and the ways to read a node of its tree."""

    def __init__(self, source: str) -> None:
        self.source = source

    def cut(self, node: Node | None) -> str:
        if node is None:
            raise Undecodable("a part of the expression is missing")
        return self.source[node.start_byte : node.end_byte]

    def first_call(self, node: Node) -> list[Decoded] | None:
        if node.type == "method_invocation":
            return self.call(node)
        for child in node.children:
            found = self.first_call(child)
            if found is not None:
                return found
        return None

    def call(self, node: Node) -> list[Decoded] | None:
        name = self.cut(node.child_by_field_name("name"))
        owner = node.child_by_field_name("object")
        if owner is not None:
            name = f"{self.cut(owner)}.{name}"
        arguments = node.child_by_field_name("arguments")
        return None if arguments is None else [{name: self.arguments(arguments)}]

    def arguments(self, node: Node) -> dict[str | None, str]:
        found: dict[str | None, str] = {}
        for child in node.children:
            if child.type == "assignment_expression":
                name, value = self.cut(child.children[0]), child.children[2]
            elif child.type in _POSITIONAL:
                name, value = None, child
            else:
                continue
            text = self.cut(value)[1:-1] if value.type in _QUOTED else self.inner(value)
            if name in found:
                raise Undecodable(f"two arguments for {name!r}")
            found[name] = text
        return found

    def inner(self, node: Node | None) -> str:
        if node is None:
            raise Undecodable("a part of the expression is missing")
        kind = node.type
        if kind in _QUOTED or kind in _VERBATIM:
            return self.cut(node)
        if kind == "array_creation_expression":
            return (
                f"new {self.inner(node.child_by_field_name('type'))}[]{self.inner(node.child_by_field_name('value'))}"
            )
        if kind == "object_creation_expression":
            return self.creation(node)
        if node.child_count == 0:
            return self.cut(node)
        return "".join([self.inner(child) for child in node.children])

    def creation(self, node: Node) -> str:
        kind = self.inner(node.child_by_field_name("type"))
        arguments = node.child_by_field_name("arguments")
        given = [] if arguments is None else arguments.children
        return f"new {kind}({', '.join([self.inner(child) for child in given if child.type not in _PUNCTUATION])})"
