"""Augmentation for the pre-training: other names for known tools, and tools that are invented on the spot.

A model that always sees `book_table` learns that name by heart; one that sees the same request under a new name
each time learns to read the schema. Invented tools go further: their description, too, is new, so the only way
from query to tool is through the words they share.
"""

from __future__ import annotations

import dataclasses
import random

from funreason.data.toolbox.tools import Tool, ToolParameter
from funreason.data.toolbox.values import THINGS, made_up

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
