"""Tools: read from the two theme files, with the ways people ask for them.

A parameter is written `KIND`, or `KIND? CLAUSE` when it may be left out; `familiar.yaml` explains the form.
A tool can show itself as a schema; asking for it is the matter of `tasks`.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from funreason.data.toolbox.values import JSON_TYPES, Drawn, draw

SPEC = re.compile(r"(?P<kind>\w+)(?:\((?P<choices>[^)]*)\))?(?P<optional>\?)?\s*(?P<rest>.*)")


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
