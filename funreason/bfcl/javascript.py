"""JavaScript source text, as the official decoder and converter read it: text to one call, and argument text to values.

`decode_javascript` has the official decoder's habits: only a statement that is a call itself counts, and the first one
wins; an identifier or `true` without a name goes under the key None, while `false`, numbers and objects vanish.

`javascript_value` reads an argument by its declared type; else the text stays a string. The readings are patterns, not
a parser: an array ends at the first "]", an object at the first "}" of its line, every comma in an array splits. Two of
the official patterns take exponential or cubic time on hostile text; `_rows_end` and `_pairs` find the same matches in
one pass. Text longer than `MAX_CHARS` is not searched and stays a string.
"""

from __future__ import annotations

import re
from typing import Any

from funreason.bfcl.categories import Undecodable
from funreason.bfcl.grammars import Node, parse_tree
from funreason.bfcl.java import MAX_CHARS, number_or_text
from funreason.bfcl.python_calls import Decoded

_INTEGER = re.compile(r"-?\d+$")
_FLOAT = re.compile(r"-?\d+(?:\.\d+)?$")
_BIGINT = re.compile(r"-?\d+n$")
_ROWS_START = re.compile(r"(?:\[|(new\s+Array\())\s*\[")
_NEXT_ROW = re.compile(r"\s*,\s*\[")
_ARRAY = re.compile(r"\[(.*?)\]|new\s+Array\((.*?)\)")
_ROW = re.compile(r"\[(.*?)\]")
_OBJECT = re.compile(r"\{(.*?)\}")
_BLANKS = re.compile(r"\s*")
_POSITIONAL = frozenset({"identifier", "true"})

TYPES: dict[str, type] = {
    "String": str,
    "integer": int,
    "float": float,
    "Bigint": int,
    "Boolean": bool,
    "dict": dict,
    "array": list,
    "any": str,
}


def decode_javascript(text: str) -> list[Decoded] | None:
    """The call in bracketed `text`, or None when there is no call. Raises Undecodable on errors."""
    for statement in parse_tree(text[1:-1], "javascript").children:
        if statement.type != "expression_statement":
            continue
        call = next((node for node in statement.children if node.type == "call_expression"), None)
        if call is None:
            continue
        arguments: dict[str | None, str] = {}
        for child in call.children[1].children:
            if child.type == "assignment_expression":
                name, value = _text(child.children[0]), without_quotes(_text(child.children[2]))
            elif child.type in _POSITIONAL:
                name, value = None, _text(child)
            else:
                continue
            if name in arguments:
                raise Undecodable(f"two arguments for {name!r}")
            arguments[name] = value
        return [{_text(call.children[0]): arguments}]
    return None


def without_quotes(text: str) -> str:
    """`text` less one pair of equal outer quotes, if it has them."""
    return text[1:-1] if text[:1] in {"'", '"'} and text.endswith(text[0]) else text


def javascript_value(text: str, kind: str, inner: str | None = None) -> Any:
    """`text` read as the declared `kind`, an array's items as `inner`; unchanged where it does not fit."""
    if kind in {"array", "dict"}:
        code = text.strip()
        if len(code) > MAX_CHARS:
            return code
        if kind == "array":
            return _array(code, inner)
        found = _OBJECT.match(code)
        if found is None:
            return code
        made: dict[str, Any] = {}
        for key, value in _pairs(found[1]):
            value = value.strip()
            is_array = value.startswith("[") and value.endswith("]")
            made[key.strip().strip("'\"")] = _array(value, None) if is_array else guessed_value(value.strip("'\""))
        return made
    if kind == "String":
        return without_quotes(text)
    if kind == "Boolean":
        return text == "true" if text in {"true", "false"} else text
    if kind == "integer" and _INTEGER.match(text):
        return int(text)
    if kind == "float" and _FLOAT.match(text):
        return float(text)
    if kind == "Bigint" and _BIGINT.match(text):
        return int(text[:-1])
    return text


def guessed_value(text: str) -> Any:
    """`text` read without a declared type: boolean, quoted string, any number, else itself."""
    text = text.strip()
    if text in {"true", "false"}:
        return text == "true"
    if text[:1] in {"'", '"'} and text.endswith(text[0]):
        return text[1:-1]
    return number_or_text(text)


def _array(code: str, inner: str | None) -> Any:
    end = _rows_end(code)
    if end is not None:
        rows = [row.strip() for row in _ROW.findall(code[:end])]
        rows[0] = rows[0].removeprefix("[")
        return [[guessed_value(item) for item in row.split(",")] for row in rows]
    found = _ARRAY.match(code)
    if found is None:
        return code
    body = (found[1] if found[1] is not None else found[2]).strip()
    items = [item.strip() for item in body.split(",")] if body else []
    if not inner:
        return [guessed_value(item) for item in items]
    try:
        return [javascript_value(item, inner, "String" if item.startswith(("'", '"')) else None) for item in items]
    except ValueError:  # a number too long to read
        return code


def _rows_end(code: str) -> int | None:
    """Where an array of arrays ends, or None if `code` does not start with one.

    A row ends at a "]" on its own line, followed by another row or by the closing bracket. When a later row finds no
    end, no choice of earlier ends helps, so one forward pass is the whole search.
    """
    opening = _ROWS_START.match(code)
    if opening is None:
        return None
    closing = ")" if opening[1] else "]"
    place = opening.end()
    while True:
        end = code.find("]", place)
        if end < 0 or "\n" in code[place:end]:
            return None
        following = _NEXT_ROW.match(code, end + 1)
        if following is not None:
            place = following.end()
            continue
        after = _after_blanks(code, end + 1)
        if code.startswith(closing, after):
            return after + 1
        place = end + 1


def _pairs(line: str) -> list[tuple[str, str]]:
    """Key and value pairs of one line: a value runs to a comma that a key follows, or to the end."""
    found: list[tuple[str, str]] = []
    place = 0
    while True:
        while line.startswith(":", place):
            place += 1
        colon = line.find(":", place)
        if colon < 0:
            return found
        key, start = line[place:colon], _after_blanks(line, colon + 1)
        end = place = len(line)
        comma = line.find(",", start)
        while comma >= 0:
            following = line.find(",", comma + 1)
            colon = line.rfind(":", comma + 2, len(line) if following < 0 else following)
            if colon >= 0:
                # A key has at least one character before its colon, if need be a blank.
                end, place = comma, min(_after_blanks(line, comma + 1), colon - 1)
                break
            comma = following
        found.append((key, line[start:end]))


def _after_blanks(text: str, start: int) -> int:
    blanks = _BLANKS.match(text, start)
    return blanks.end() if blanks else start


def _text(node: Node) -> str:
    text: str = node.text.decode("utf-8")
    return text
