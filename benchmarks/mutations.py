"""Seeded damage to records and model outputs: what broken tools, hostile authors and bad luck put into them."""

from __future__ import annotations

import json
import random
import re
from copy import deepcopy
from typing import Any

MARK = "\ue000"
"""Stands in a record's JSON where raw text goes that no serialiser would write."""
RAW = ["NaN", "Infinity", "1e400", "-1e400", "0123", "1" * 5_000, "'single'", "tru", "{", "[1,]"]
RAW += ['"\\ud800"', '"\\u0000"']
VALUES: list[Any] = [
    *("", " ", "\0", "\ud800", "\u202egnihtyna", "a\u200bb", "\x1b]0;title\x07\x1b[2J", "\r\n\r\n", "\ufeff"),
    *("e\u0301" * 200, "<think>x</think>", "</think>", "<judge>True</judge>", "vote: pass", "[bold]x[/bold]"),
    *("<script>alert(1)</script>", "a|b\n|---|---|", "`x`", "%s{0}", "C:\\nul", "../../../etc/passwd"),
    *("; rm -rf ~ #$(true)", "__import__('os').system('true')", "f(x)", "[f(x=1)]", "']", '"', "\\", "'''"),
    *("class", "None", "lambda", "import", "__class__", None, True, False, [], {}, 0, -1, 2**63, 10**400, 1e308),
    *(-0.0, 0.1, [[]], {"": ""}, {"a": {"b": {"c": []}}}),
]
SCHEMA_VALUES: list[Any] = [None, 7, "string", [["a"]], ["string", 3], [{"properties": {"a": "str"}, "required": 7}]]
SCHEMA_VALUES += [[{"type": ["string", None]}], {"a": {"anyOf": 3}}, [True], []]
SCHEMA_KEYS = ["type", "anyOf", "enum", "required", "items", "properties", "default", "description"]
"""What a reader of schemas looks at; few records hold all of them."""
NESTED = json.dumps(
    {
        "query": "Book a table for 4 at 7 pm in Bonn.",
        "tools": [
            {
                "name": "book",
                "description": "Books a table.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "place": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
                        "people": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "string"}}]},
                    },
                    "required": ["place", "people"],
                },
            }
        ],
        "answers": [{"name": "book", "arguments": {"place": {"city": "Bonn"}, "people": 4}}],
    }
)
"""A record with all that a schema may hold: real ones are nearly all flat."""
VALUE = re.compile(r"=(?:'[^']*'|[^,()\[\]]+)")
"""A value in a call, which makes room for a number that Python reads and will not write."""
HUGE = 10_000_000
DEEP = 3_000


def mutated_record(text: str, draw: random.Random) -> bytes:
    """A record's line, damaged in one to three places; always one line."""
    try:
        data = json.loads(text)
    except ValueError:
        return _one_line(damaged(text, draw))
    for name in ("tools", "answers"):
        if isinstance(data, dict) and isinstance(data.get(name), str) and draw.random() < 0.7:
            try:
                data[name] = json.loads(data[name])
            except ValueError:
                continue
    raw: list[str] = []
    for _ in range(draw.randint(1, 3)):
        _damage(data, draw, raw)
    schemas = _schemas(data)
    if schemas and draw.random() < 0.3:
        outer = [schema for schema in schemas if "required" in schema]
        if outer and draw.random() < 0.5:
            draw.choice(outer)["required"] = deepcopy(draw.choice(SCHEMA_VALUES))
        else:
            draw.choice(schemas)[draw.choice(SCHEMA_KEYS)] = deepcopy(draw.choice(SCHEMA_VALUES))
    line = json.dumps(data, ensure_ascii=draw.random() < 0.5)
    for each in raw:
        line = line.replace(json.dumps(MARK, ensure_ascii=False), each, 1).replace(json.dumps(MARK), each, 1)
    return _one_line(damaged(line, draw) if draw.random() < 0.15 else line)


def damaged(text: str, draw: random.Random) -> str:
    """Text with a piece cut, doubled, moved or put in."""
    i, j = sorted((draw.randint(0, len(text)), draw.randint(0, len(text))))
    j = min(j, i + draw.choice([1, 3, 20, 200]))
    strange = str(draw.choice(VALUES))
    return draw.choice(
        [
            text[:i],
            text[:i] + text[j:],
            text[:j] + text[i:j] * draw.choice([1, 2, 50]) + text[j:],
            text[:i] + strange + text[i:],
            text[:i] + strange + text[j:],
            text[:i] + draw.choice("()[]{}'\"=,:\\") + text[i:],
            text[:i] + draw.choice("([{") * draw.choice([70, DEEP]) + text[i:],
            VALUE.sub("=" + draw.choice(["0x" + "f" * 4_000, "-0b1" + "0" * 14_285, "9" * 4_300]), text, count=1),
        ]
    )


def huge(draw: random.Random) -> str:
    """Ten million characters."""
    piece = draw.choice(["x", "Bonn ", "[f(x=", "<think>", "\u202e", "1"])
    return piece * (HUGE // len(piece))


def _damage(data: Any, draw: random.Random, raw: list[str]) -> None:
    """Replace, rename, double or wrap something at a random depth."""
    place = data
    while True:
        inner = [v for v in (place.values() if isinstance(place, dict) else place) if isinstance(v, dict | list) and v]
        if not inner or draw.random() < 0.25:
            break
        place = draw.choice(inner)
    key = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
    how = draw.random()
    if how < 0.15 and len(raw) < 3:
        raw.append(draw.choice(RAW))
        place[key] = MARK
    elif how < 0.25 and isinstance(place, dict):
        place[str(draw.choice(VALUES))] = place.pop(key)
    elif how < 0.32:
        for _ in range(draw.choice([5, 30, 80])):
            place[key] = draw.choice([[place[key]], {"a": place[key]}])
    elif how < 0.45 and isinstance(place[key], str):
        place[key] = damaged(place[key], draw)
    else:
        place[key] = deepcopy(draw.choice(VALUES))


def _schemas(data: Any) -> list[dict[str, Any]]:
    """The objects of a record that say of which type something is."""
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    found = [schema for each in inner for schema in _schemas(each)]
    return [data, *found] if isinstance(data, dict) and "type" in data else found


def _one_line(text: str) -> bytes:
    line = text.encode("utf-8", "surrogatepass").replace(b"\n", b" ")
    return line or b"\0"
