"""Tools: read from the two theme files, with the ways people ask for them; renamed or invented for the pre-training.

A parameter is written `KIND`, or `KIND? CLAUSE` when it may be left out; `familiar.yaml` explains the form.
A tool can show itself as a schema; asking for it is the matter of `tasks`.

A model that always sees `book_table` learns that name by heart; one that sees the same request under a new name
each time learns to read the schema. Invented tools go further: their description, too, is new, so the only way
from query to tool is through the words they share.
"""

from __future__ import annotations

import dataclasses
import random
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from funreason.data.toolbox.values import JSON_TYPES, THINGS, Drawn, draw, made_up

SPEC = re.compile(r"(?P<kind>\w+)(?:\((?P<choices>[^)]*)\))?(?P<optional>\?)?\s*(?P<rest>.*)")
VERBS = (
    "add ask bring build call carry change check clean close collect count cut draw drop fill fix get give guard hide "
    "hold keep lift list load lock make mark mix move name note open pack paint pick place press pull push put read "
    "roll run scan sell send set share show sort start stop store swap take test tie touch turn use wash watch weigh "
    "wrap write"
).split()
NOUNS = (
    "bag ball bank bell bird boat bottle box bridge bus chair clock coat coin cup door dress drum engine farm fence "
    "file flag floor game gate glass group hat house key lamp letter line list machine map meter model page paper "
    "pipe plan plate pool radio ring road roof rope shelf ship shoe sign stone tank tape team tent tower toy tree wall "
    "wheel yard"
).split()
SLOTS = (
    "age area base code color cost count date depth end factor goal group height id input item kind label level limit "
    "length mark mass mode name note number owner part phase place power rank rate reason result role score shape side "
    "size source speed start state step target term title topic total type unit user value weight width word zone"
).split()
KINDS = ("word", "word", "person", "city", "text", "date", "count", "amount", "price", "words")
HOW = ("with {p} {v}", "{p} {v}", "{p} is {v}", "{p} of {v}", "for {p} {v}", "and {p} {v}")
LEADS = ("{d} {w}.", "Please {d} {w}.", "I want to {d} {w}.", "Can you {d} {w}?", "I need to {d}, {w}.", "{w}, {d}.")


@dataclass(frozen=True, slots=True)
class ToolParameter:
    """One parameter. `clause` joins the query when an optional value is given; the value replaces `{}` in it."""

    name: str
    kind: str
    required: bool = True
    clause: str = "{}"
    choices: tuple[tuple[Any, str], ...] = ()

    @classmethod
    def parse(cls, name: str, text: str) -> ToolParameter:
        """The parameter written as `KIND`, `KIND? CLAUSE`, `choice(a, b=words)` or `flag YES / NO`.

        Raises ValueError.
        """
        found = SPEC.fullmatch(text)
        if found is None or found["kind"] not in JSON_TYPES:
            raise ValueError(f"parameter {name}: {text!r} must be KIND, KIND? CLAUSE or choice(a, b)")
        required, rest = not found["optional"], found["rest"]
        if found["kind"] == "flag":
            yes, no = rest.split(" / ")
            return cls(name, "flag", required, "{}", ((True, yes), (False, no)))
        choices = []
        for one in filter(None, (found["choices"] or "").split(", ")):
            value, _, said = one.partition("=")
            choices.append((value, said or value))
        return cls(name, found["kind"], required, rest or "{}", tuple(choices))

    def draw(self, rng: random.Random, *, unseen: bool) -> Drawn:
        """A value and how the query says it; for choices and flags, one of the tool's own."""
        if self.choices:
            return Drawn(*rng.choice(self.choices))
        return draw(self.kind, rng, unseen=unseen)

    def schema(self) -> dict[str, Any]:
        """The parameter's JSON Schema."""
        schema = dict(JSON_TYPES[self.kind])
        return schema | {"enum": [value for value, _ in self.choices]} if self.kind == "choice" else schema


@dataclass(frozen=True, slots=True)
class Tool:
    """One function: its name, what it does in a few words, its parameters and the ways to ask for it."""

    theme: str
    name: str
    does: str
    parameters: tuple[ToolParameter, ...]
    says: tuple[str, ...]

    def schema(self) -> dict[str, Any]:
        """The tool in the normalised form of `Task.tools`."""
        properties = {parameter.name: parameter.schema() for parameter in self.parameters}
        required = [parameter.name for parameter in self.parameters if parameter.required]
        shape = {"type": "object", "properties": properties, "required": required}
        return {"name": self.name, "description": self.does, "parameters": shape}


@cache
def familiar_tools() -> tuple[Tool, ...]:
    """The tools of the themes that the base model is pre-trained on."""
    return _read("familiar.yaml")


@cache
def unseen_tools() -> tuple[Tool, ...]:
    """The tools of the themes that the base model never meets."""
    return _read("unseen.yaml")


def _read(name: str) -> tuple[Tool, ...]:
    themes = yaml.safe_load((files(__package__) / name).read_text(encoding="utf-8"))
    return tuple(
        Tool(
            theme,
            name,
            spec["does"],
            tuple(ToolParameter.parse(parameter, text) for parameter, text in spec["takes"].items()),
            tuple(spec["says"]),
        )
        for theme, tools in themes.items()
        for name, spec in tools.items()
    )


def renamed(tool: Tool, rng: random.Random, made_up_share: float = 0.0) -> Tool:
    """The same tool under a random name and random parameter names; what it does and how it is asked for stay.

    `made_up_share` of the parameter names are made-up words instead of plain ones.
    """
    names = _slots(len(tool.parameters), rng, made_up_share)
    fresh = dict(zip([parameter.name for parameter in tool.parameters], names, strict=True))
    parameters = tuple(dataclasses.replace(parameter, name=fresh[parameter.name]) for parameter in tool.parameters)
    slots = {old: "{" + new + "}" for old, new in fresh.items()}
    says = tuple(way.format(**slots) for way in tool.says)
    return dataclasses.replace(tool, name=_name(rng), parameters=parameters, says=says)


def invented(rng: random.Random, made_up_share: float = 0.0) -> Tool:
    """A tool that does not exist: random words for what it does, one to four parameters, asked for by their names."""
    thing = rng.choice((rng.choice(NOUNS), rng.choice(NOUNS), rng.choice(THINGS), made_up(rng)))
    verb = rng.choice(VERBS) if rng.random() < 0.8 else made_up(rng)
    does = f"{verb} {rng.choice(('a', 'the', 'my'))} {thing}"
    name = rng.choice((f"{verb}_{thing}", f"{thing}_{verb}", _name(rng)))
    parameters = []
    for slot in _slots(rng.choice((1, 2, 2, 3, 3, 4)), rng, made_up_share):
        if rng.random() < 0.2:
            choices = tuple((word, word) for word in rng.sample(THINGS, 3))
            parameters.append(ToolParameter(slot, "choice", True, "{}", choices))
        else:
            clause = rng.choice(HOW).replace("{p}", slot).replace("{v}", "{}")
            parameters.append(ToolParameter(slot, rng.choice(KINDS), rng.random() < 0.8, clause))
    ways = []
    for _ in range(2):
        required = [parameter for parameter in parameters if parameter.required]
        rng.shuffle(required)
        parts = [rng.choice(HOW).format(p=one.name, v="{" + one.name + "}") for one in required]
        words = rng.choice((" ", ", ")).join(parts) or "now"
        text = rng.choice(LEADS).format(d=does, w=words)
        ways.append(text if text.startswith("{") else text[0].upper() + text[1:])
    return Tool(f"invented {does}", name, does, tuple(parameters), tuple(ways))


def _slots(count: int, rng: random.Random, made_up_share: float) -> list[str]:
    names = rng.sample(SLOTS, count)
    if not made_up_share:
        return names
    slots = []
    for name in names:
        if rng.random() < made_up_share:
            word = made_up(rng)
            name = rng.choice((word, word, f"{word}_{name}", f"{name}_{word}"))
        slots.append(name)
    return slots


def _name(rng: random.Random) -> str:
    parts = [rng.choice((rng.choice(VERBS), rng.choice(NOUNS), made_up(rng))) for _ in range(rng.choice((1, 2, 2, 3)))]
    return "_".join(parts)
