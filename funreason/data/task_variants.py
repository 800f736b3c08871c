"""Variants of a task, made by rule: without the needed tools, with other tools, without a value, with masked names.

Most collections of calls hold next to no case where no call is right, and a model that never sees one calls always. The
first three kinds make such cases. The fourth, function masking (Hammer, https://arxiv.org/abs/2410.04587), leaves only
descriptions to choose a tool by. Each function takes a task and returns its variant, or None where the kind cannot be
made of it for sure: a wrong label costs more than a missing one. A variant's id ends in `~KIND`, and its flags name the
kind and the task that it was made from.
"""

from __future__ import annotations

import keyword
import random
import re
import string
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from funreason.types import Call, Task

REFUSALS = (
    "None of the functions on offer can do this.",
    "I have no function that could do what you ask for.",
    "No available function fits this request.",
    "The functions that I was given cannot help with this.",
)
QUESTIONS = (
    "Could you tell me the {label}?",
    "Which {label} should I use?",
    "To do this I need the {label}. What is it?",
    "What is the {label}?",
)
GENERIC = frozenset(
    "get find search list set add create make update delete remove fetch retrieve calculate compute check by for of "
    "the a an api v1 v2 v3 data info information details detail all new with from to and or in on is it this that "
    "given function returns return provides specific based using user".split()
)
"""Words in names and descriptions that say nothing about what a tool is for."""
SAME_SHARE = 0.5
"""Two tools that have this share of their words in common may do the same."""
MAX_CHARS = 20_000
"""Values are only removed from queries up to this length."""
INDEXED = 60
"""Of the tools that share a word, how many are looked at."""

_WORD = re.compile(r"[^\W\d_]*[^\W\d_A-Za-z][^\W\d_]*|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
"""A part of a name in camelCase or snake_case; a word with letters beyond ASCII is one part."""
_UNIT = re.compile(r"\s*(%|°[CF]?|[A-Za-zµ]+(?:²|/\w+)?)")
_UNITS = frozenset(
    "% ° °c °f percent kg g mg lb lbs m cm mm km mi ft in² m² km² l ml h hr hrs min mins s sec secs ms km/h mph m/s v "
    "w kw kwh a gb mb tb ha usd eur gbp dollar euro pound minute hour second day night week month year meter metre "
    "kilometer kilometre centimeter mile inch foot feet kilogram gram milligram liter litre milliliter degree celsius "
    "fahrenheit watt volt ampere ohm hectare people person guest ticket".split()
)
"""What may follow a number as its unit; a plural's `s` aside."""
_LAST_WORD = re.compile(r"([\w']+)[\s:,=]*\Z")
_CONNECTING = frozenset(
    "a an the of is as to at in on for from by with and named called titled number no id its it's my our using set be "
    "should equal equals being around about than under into near value".split()
)
_CONDITIONS = frozenset({
    "$ref", "$defs", "definitions", "dependentRequired", "dependentSchemas", "allOf", "oneOf", "anyOf", "if", "not",
    "patternProperties",
})  # fmt: skip
"""Keywords of a schema that may name properties elsewhere than where they are defined."""
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def without_needed_tools(task: Task, rng: random.Random) -> Task | None:
    """The task without the tools that its calls need, and without those that might do the same; [] is right then.

    None where no tool would be left.
    """
    needed = _needed(task)
    left = [tool for tool in task.tools if not any(may_replace(tool, other) for other in needed)]
    return _without_call(task, "irrelevance", left, rng) if needed and left else None


def with_other_tools(task: Task, tools: ToolIndex, rng: random.Random) -> Task | None:
    """The task with as many tools of other tasks, alike but not able to do the same; [] is right then.

    None where there are not enough of them.
    """
    needed = _needed(task)
    if not needed:
        return None
    others = tools.alike(needed, len(task.tools), rng)
    return _without_call(task, "other_tools", others, rng) if others else None


def without_value(task: Task, rng: random.Random) -> Task | None:
    """The task without a required value: taken out of the query with the words that lead to it; asking for it is right.

    None unless there is one call, one user's message, and a value that the query holds once, word for word.
    """
    needed = _needed(task)
    if len(needed) != 1 or len(task.reference or ()) != 1 or len(task.messages) != 1:
        return None
    call, query = (task.reference or [])[0], task.query
    if len(query) > MAX_CHARS or "respectively" in query.lower():
        return None
    properties = needed[0]["parameters"].get("properties") or {}
    names = [
        name
        for name in needed[0]["parameters"].get("required") or []
        if name in call.arguments
        and isinstance(properties.get(name), dict)
        and not {"default", "enum", "const"} & properties[name].keys()
    ]
    rng.shuffle(names)
    for name in names:
        others = [value for key, value in call.arguments.items() if key != name]
        left = _query_without(query, call.arguments[name], others, name, call.name)
        if left is not None:
            label = label_of(name)
            thinking = task.reference_thinking and f"{call.name} fits, but the {label} that it requires is not given."
            return _made(
                task,
                "missing_value",
                messages=(msgspec.structs.replace(task.messages[0], content=left),),
                reference=[],
                reference_text=rng.choice(QUESTIONS).format(label=label),
                reference_thinking=thinking,
                category="missing_value",
            )
    return None


def masked(task: Task, rng: random.Random) -> Task | None:
    """The task with meaningless names for its functions and for their described parameters; its calls follow.

    None where a needed function has no description, or the query names it.
    """
    needed = _needed(task)
    if not needed or any(len(tool["description"].split()) < 3 or tool["name"] in task.query for tool in needed):
        return None
    taken = {tool["name"] for tool in task.tools}
    tools, names, trees = [], dict[str, str](), dict[str, _Renaming]()
    for tool in task.tools:
        name = names[tool["name"]] = _meaningless(("func", "fn", "tool", ""), taken, rng)
        parameters, trees[tool["name"]] = _masked_schema(tool["parameters"], rng)
        tools.append({**tool, "name": name, "parameters": parameters})
    calls = [
        Call(names[call.name], trees[call.name].applied(call.arguments))
        for call in task.reference or []
        if call.name in names
    ]
    thinking = task.reference_thinking
    for old, new in names.items() if thinking else ():
        thinking = re.sub(rf"(?<![\w.]){re.escape(old)}(?!\w)", new, thinking or "")
    if thinking and not all(names[tool["name"]] in thinking for tool in needed):
        thinking = None
    return _made(task, "masking", tools=tools, reference=calls, reference_thinking=thinking, names={})


class ToolIndex:
    """The tools of many tasks by their words, to find alike ones."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        tools = {(tool["name"], tool["description"]): tool for task in tasks for tool in task.tools}
        self._tools = [_Words.of(tool) for tool in tools.values()]
        self._by_word: dict[str, list[_Words]] = {}
        for words in self._tools:
            for word in words.all:
                self._by_word.setdefault(word, []).append(words)

    def alike(self, needed: Sequence[dict[str, Any]], count: int, rng: random.Random) -> list[dict[str, Any]]:
        """Up to `count` tools that share words with the needed ones and cannot do the same; the most alike first.

        A tool that shares a telling word of its name with a needed one is left out: it might do the same.
        """
        known = [_Words.of(tool) for tool in needed]
        wanted = frozenset[str]().union(*(words.all for words in known))
        telling = frozenset[str]().union(*(words.name for words in known))
        rows = sorted((self._by_word.get(word, []) for word in sorted(wanted)), key=len)
        found: dict[str, _Words] = {}
        for row in [*rows[:8], self._tools]:
            for words in rng.sample(row, min(len(row), INDEXED)):
                if telling.isdisjoint(words.name) and not any(words.may_replace(other) for other in known):
                    found.setdefault(words.tool["name"], words)
        best = sorted(found.values(), key=lambda words: -len(wanted & words.all))
        return [words.tool for words in best[:count]]


def may_replace(tool: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether a tool might do what the other does: one name or description, or half of their words in common."""
    return _Words.of(tool).may_replace(_Words.of(other))


class _Words(NamedTuple):
    """A tool with the telling words of its name, and of name and description, in lower case."""

    tool: dict[str, Any]
    name: frozenset[str]
    all: frozenset[str]

    @classmethod
    def of(cls, tool: dict[str, Any]) -> _Words:
        name = frozenset(word.lower() for word in _WORD.findall(tool["name"])) - GENERIC
        described = frozenset(word.lower() for word in _WORD.findall(tool["description"])) - GENERIC
        return cls(tool, name, name | described)

    def may_replace(self, other: _Words) -> bool:
        one, two = self.tool, other.tool
        if one["name"] == two["name"] or (one["description"] and one["description"] == two["description"]):
            return True
        return len(self.all & other.all) >= SAME_SHARE * max(1, len(self.all | other.all))


def label_of(name: str) -> str:
    """A parameter's name in words: `departure_date` and `departureDate` are `departure date`."""
    return " ".join(word.lower() for word in _WORD.findall(name)) or name


def holds(text: str, value: Any) -> bool:
    """Whether a text holds a value word for word, its case aside; a number also in words up to twelve."""
    return any(True for _ in _places(text, value)) or (
        type(value) is int
        and 0 <= value < len(_NUMBER_WORDS)
        and _NUMBER_WORDS[value] in re.findall(r"\w+", text.lower())
    )


def _needed(task: Task) -> list[dict[str, Any]]:
    """The offered tools that the right calls use; none unless all are offered and nothing was called before."""
    if not task.reference or any(message.calls or message.role == "tool" for message in task.messages):
        return []
    names = {call.name for call in task.reference}
    tools = [tool for tool in task.tools if tool["name"] in names]
    return tools if len(tools) == len(names) else []


def _without_call(task: Task, kind: str, tools: list[dict[str, Any]], rng: random.Random) -> Task:
    names = {tool["name"] for tool in tools}
    return _made(
        task,
        kind,
        tools=tools,
        reference=[],
        reference_text=rng.choice(REFUSALS),
        reference_thinking=task.reference_thinking and "None of the functions on offer does what is asked for.",
        category="irrelevance",
        names={name: original for name, original in task.names.items() if name in names},
    )


def _made(task: Task, kind: str, **fields: Any) -> Task:
    flags = [*task.flags, f"augment.{kind}", f"augment.from:{task.id}"]
    return msgspec.structs.replace(task, id=f"{task.id}~{kind}", flags=flags, **fields)


def _places(text: str, value: Any) -> Iterator[re.Match[str]]:
    """Where a text holds a string or number as a whole."""
    if isinstance(value, str) and value.strip():
        pattern = rf"(?<!\w){re.escape(value.strip())}(?!\w)"
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        digits = {repr(value), f"{value:,}", f"{value:g}"} | ({str(int(value))} if value == int(value) else set())
        pattern = rf"(?<![\w.,-])[$€£]?(?:{'|'.join(map(re.escape, digits))})(?![\w-]|[.,]\d)"
        pattern = rf"{pattern}|(?<![\w.,-])(?:{'|'.join(map(re.escape, digits))})(?=[a-zA-Z%°])"
    else:
        return
    yield from re.finditer(pattern, text, re.IGNORECASE)


def _query_without(query: str, value: Any, others: list[Any], name: str, function: str) -> str | None:
    """The query without a value and the words that lead to it; None where that cannot be done cleanly."""
    places = list(_places(query, value))
    if len(places) != 1:
        return None
    start, end = places[0].span()
    is_number = not isinstance(value, str) or re.fullmatch(r"[\d.,]+", value) is not None
    if not is_number and (len(value.strip()) < 3 or (len(value) < 5 and query[start:end] != value.strip())):
        return None  # a country code such as "it" is found in a pronoun
    if "-" in (query[start - 1 : start], query[end : end + 1]):
        return None  # part of a compound, such as "23-year-old"
    while start and end < len(query) and query[start - 1] in "'\"“‘([" and query[end] in "'\"”’)]":
        start, end = start - 1, end + 1
    if is_number and (unit := _UNIT.match(query, end)) and {unit[1].lower(), unit[1].lower()[:-1]} & _UNITS:
        end = unit.end()
    leading = _CONNECTING | (set(label_of(name).split()) - set(label_of(function).split()))
    while (word := _LAST_WORD.search(query, max(0, start - 40), start)) and word[1].lower() in leading:
        start = word.start()
    left = _tidied(query[:start], query[end:])
    kept = [each for each in _scalars(others) if holds(query, each)]
    if len(left.split()) < 3 or holds(left, value) or not all(holds(left, each) for each in kept):
        return None
    if isinstance(value, str):  # a part of it that stays would give it away, unless it belongs to another value
        told = {word.lower() for word in re.findall(r"\w{4,}", left)}
        own = {word.lower() for word in re.findall(r"\w{4,}", value)}
        return None if told & own - {word for each in kept for word in re.findall(r"\w+", str(each).lower())} else left
    return left


def _tidied(before: str, after: str) -> str:
    """Two parts of a query joined, without the blanks, commas and empty sentences that a removed value leaves."""
    joined = f"{before.rstrip()} {after.lstrip()}"
    joined = re.sub(r"\s+([,.?!;:])", r"\1", joined)
    joined = re.sub(r"[,;:]+(?=[,.?!;:])|(?<=[.?!])[.,;:]+", "", joined)
    joined = re.sub(r"(?<=[.?!])\s*[.?!](?=\s|$)", "", joined)
    joined = re.sub(r"\s{2,}", " ", joined).strip(" ,;:")
    joined = re.sub(r"^[.?!]\s*", "", joined)
    return joined[:1].upper() + joined[1:] if before[:1].isupper() or not before.strip() else joined


def _scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _scalars(part)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield value


class _Renaming(NamedTuple):
    """New names for the keys of an object, each with those for the keys inside it; lists are passed through."""

    keys: dict[str, tuple[str, _Renaming]]

    def applied(self, value: Any) -> Any:
        """The value under the new names."""
        if isinstance(value, list | tuple):
            return [self.applied(part) for part in value]
        if not isinstance(value, dict):
            return value
        return {
            self.keys[key][0] if key in self.keys else key: self.keys[key][1].applied(part)
            if key in self.keys
            else part
            for key, part in value.items()
        }


def _masked_schema(schema: dict[str, Any], rng: random.Random) -> tuple[dict[str, Any], _Renaming]:
    """A schema whose described properties have meaningless names, at every depth; as it is where it has conditions."""
    if not _CONDITIONS.isdisjoint(schema) or ("items" in schema and "properties" in schema):
        return schema, _Renaming({})
    if isinstance(schema.get("items"), dict):
        items, renaming = _masked_schema(schema["items"], rng)
        return {**schema, "items": items}, renaming
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return schema, _Renaming({})
    taken, renamed, keys = set(properties), dict[str, Any](), dict[str, tuple[str, _Renaming]]()
    style = rng.choice(("arg", "param", "p", ""))
    for name, inner in properties.items():
        described = isinstance(inner, dict) and bool(str(inner.get("description") or "").strip())
        new = _meaningless((style,), taken, rng) if described else name
        renamed[new], inside = _masked_schema(inner, rng) if isinstance(inner, dict) else (inner, _Renaming({}))
        keys[name] = (new, inside)
    needed = schema.get("required")
    needed = [name for name in needed if isinstance(name, str)] if isinstance(needed, list) else []
    required = [keys[name][0] if name in keys else name for name in needed]
    return {**schema, "properties": renamed, "required": required}, _Renaming(keys)


def _meaningless(prefixes: Sequence[str], taken: set[str], rng: random.Random) -> str:
    """A name that says nothing and is not taken yet; it is from then on."""
    while True:
        prefix = rng.choice(prefixes)
        name = f"{prefix}_{rng.randint(1, 999)}" if prefix else "".join(rng.choices(string.ascii_lowercase, k=6))
        if name not in taken and not keyword.iskeyword(name):
            taken.add(name)
            return name
