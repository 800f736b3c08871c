"""Tasks of the toolbox: a query, the tools on offer, the right answer and the reasoning that leads to it, in splits.

simple: one tool on offer, one call. multiple: two to four on offer, one call. parallel: one to three on offer, two or
three calls, mostly of one tool. irrelevance: one to three on offer, none of which fits. Distractors come as often from
the wanted tool's own theme as from others, so a theme alone gives nothing away.

The reasoning first repeats what is wanted, in the words of a tool's description, then looks for a tool of that
description and names it with each value of its call; or it finds none. A value that must be rewritten is first quoted,
then rewritten (`seats seven is 7`). Naming comes before calling, so that the call is a copy of the reasoning, and so
that a judge can compare the two.

Splits are disjoint by construction. A query belongs to one bucket, by a hash of its words in sorted order, so that a
query and its re-ordered or re-punctuated twin are never separated; each split owns its buckets. Beyond that, dev and
gate splits use values that training never draws (`values.held_out`) and the last way of asking in a tool's list, which
training never uses.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from funreason.data.toolbox.tools import Tool, familiar_tools, invented, renamed, unseen_tools
from funreason.data.toolbox.values import Drawn
from funreason.types import Call, Task

CATEGORIES = ("simple", "multiple", "parallel", "irrelevance")
SAME_TOOL_SHARE = 0.7
"""Of parallel tasks: how many call one tool again, as BFCL's parallel category does; the others call two tools."""
OPTIONAL_SHARE = 0.5
LINKS = ("Also", "And then", "After that", "Then")
BUCKETS = 20
RENAMED_SHARE, INVENTED_SHARE = 0.35, 0.35
"""Of the pre-training tasks: how many have their tools renamed, and how many use invented tools only."""


def build_task(
    category: str, tools: Sequence[Tool], rng: random.Random, *, unseen: bool, wanted: Tool | None = None
) -> Task:
    """One task of `category` over `tools`, id and source left empty. `wanted` is the tool to ask for (default: any)."""
    wanted = wanted or rng.choice(tools)
    if category == "simple":
        return _called([ask(wanted, rng, unseen=unseen)], [wanted], category, rng)
    if category == "multiple":
        others = _others(wanted, tools, rng.randint(1, 3), rng)
        return _called([ask(wanted, rng, unseen=unseen)], [wanted, *others], category, rng)
    if category == "parallel":
        if rng.random() < SAME_TOOL_SHARE:
            used = [wanted] * rng.choice((2, 2, 2, 3))
        else:
            used = [wanted, *_others(wanted, tools, 1, rng)]
        spare = [tool for tool in _others(wanted, tools, rng.randint(0, 1), rng) if tool not in used]
        requests = [ask(tool, rng, unseen=unseen) for tool in used]
        return _called(requests, [*dict.fromkeys(used), *spare], category, rng)
    if category == "irrelevance":
        offered = _others(wanted, tools, rng.randint(1, 3), rng)
        requests = [ask(wanted, rng, unseen=unseen)]
        return Task.of(
            id="",
            query=query_text(requests, rng),
            tools=[tool.schema() for tool in offered],
            reference=[],
            reference_text=refusal(requests),
            reference_thinking=thinking(requests, offered=False),
            category="irrelevance",
        )
    raise ValueError(f"category {category!r} is none of {', '.join(CATEGORIES)}")


class ToolRequest(NamedTuple):
    """One request: the tool that fulfils it, its arguments with the words for them, the sentence that asks."""

    tool: Tool
    drawn: dict[str, Drawn]
    sentence: str

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the right call, in schema order."""
        return {name: one.value for name, one in self.drawn.items()}

    @property
    def call(self) -> Call:
        """The right call."""
        return Call(self.tool.name, self.arguments)


def ask(tool: Tool, rng: random.Random, *, unseen: bool) -> ToolRequest:
    """One request for `tool`; `unseen` uses held-out values and allows the held-out way of asking."""
    drawn: dict[str, Drawn] = {}
    for parameter in tool.parameters:
        if parameter.required or rng.random() < OPTIONAL_SHARE:
            drawn[parameter.name] = parameter.draw(rng, unseen=unseen)
    way = rng.choice(tool.says if unseen else tool.says[:-1])
    text = way.format(**{name: one.said for name, one in drawn.items()})
    body, end = text[:-1], text[-1]
    for parameter in tool.parameters:
        if parameter.name in drawn and not parameter.required:
            body += " " + parameter.clause.replace("{}", drawn[parameter.name].said)
    return ToolRequest(tool, drawn, body + end)


def query_text(requests: Sequence[ToolRequest], rng: random.Random) -> str:
    """The query that makes all the requests, one sentence each. A value that begins a sentence keeps its case."""
    first, *others = requests
    linked = [first.sentence]
    for request in others:
        sentence = request.sentence
        keeps_case = sentence.startswith(("I ", *(one.said for one in request.drawn.values())))
        linked.append(f"{rng.choice(LINKS)} {sentence if keeps_case else sentence[0].lower() + sentence[1:]}")
    return " ".join(linked)


def thinking(requests: Sequence[ToolRequest], *, offered: bool = True) -> str:
    """The reasoning that leads from the requests to their calls, or, when no tool is `offered` for them, to none."""
    wanted = " and ".join(dict.fromkeys(request.tool.does for request in requests))
    if not offered:
        return f"Need to {wanted}. None of the tools fits."
    parts, last = [], ""
    for request in requests:
        values = []
        for name, one in request.drawn.items():
            if isinstance(one.value, list):
                text = " and ".join(str(item) for item in one.value)
            elif isinstance(one.value, bool) or one.said == str(one.value):
                text = str(one.value)
            else:
                text = f"{one.said} is {one.value}"
            values.append(f"{name} {text}")
        shown = ", ".join(values)
        parts.append(f"and {shown}" if request.tool.name == last else f"{request.tool.name} fits: {shown}")
        last = request.tool.name
    return f"Need to {wanted}. {'; '.join(parts)}."


def refusal(requests: Sequence[ToolRequest]) -> str:
    """What is answered when no tool fits."""
    return f"No tool here can {requests[0].tool.does}."


def _others(wanted: Tool, tools: Sequence[Tool], count: int, rng: random.Random) -> list[Tool]:
    kin = [tool for tool in tools if tool.theme == wanted.theme and tool is not wanted]
    strangers = [tool for tool in tools if tool.theme != wanted.theme]
    chosen: list[Tool] = []
    while len(chosen) < count:
        pool = kin if kin and (not strangers or rng.random() < 0.5) else strangers
        tool = rng.choice(pool)
        if tool not in chosen:
            chosen.append(tool)
    return chosen


def _called(requests: list[ToolRequest], offered: list[Tool], category: str, rng: random.Random) -> Task:
    rng.shuffle(offered)
    return Task.of(
        id="",
        query=query_text(requests, rng),
        tools=[tool.schema() for tool in offered],
        reference=[request.call for request in requests],
        reference_thinking=thinking(requests),
        category=category,
    )


class ToolboxSplit(NamedTuple):
    """Where a split's tools come from, which buckets of queries it owns, and whether its values are held out.

    An augmented split renames and invents tools (`augment`); `made_up_names` is the share of their parameter names
    that are made-up words.
    """

    tools: Callable[[], tuple[Tool, ...]]
    buckets: range
    unseen: bool
    augmented: bool = False
    made_up_names: float = 0.0


SPLITS: dict[str, ToolboxSplit] = {
    "pretrain": ToolboxSplit(familiar_tools, range(12), False, augmented=True),
    "pretrain_harder": ToolboxSplit(familiar_tools, range(12), False, augmented=True, made_up_names=0.5),
    "old_replay": ToolboxSplit(familiar_tools, range(12, 16), False),
    "old_dev": ToolboxSplit(familiar_tools, range(16, 18), True),
    "old_gate": ToolboxSplit(familiar_tools, range(18, 20), True),
    "new_warmup": ToolboxSplit(unseen_tools, range(6), False),
    "new_train": ToolboxSplit(unseen_tools, range(6, 16), False),
    "new_dev": ToolboxSplit(unseen_tools, range(16, 18), True),
    "new_gate": ToolboxSplit(unseen_tools, range(18, 20), True),
}


def generate(split: str, n: int, seed: int, *, quotas: dict[str, float] | None = None) -> list[Task]:
    """`n` tasks of `split`, the same for the same seed, no query twice.

    `quotas` are shares of the categories (default: equal); they are met exactly, up to rounding. Raises ValueError
    for an unknown split or category, and for shares that add up to nothing.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
    rng, seen, chosen = random.Random(f"{split}:{seed}"), set[str](), SPLITS[split]
    tasks = []
    for number, category in enumerate(drawn_categories(n, quotas or dict.fromkeys(CATEGORIES, 1.0), CATEGORIES, rng)):
        while True:
            tools = chosen.tools()
            # Refusing is learned on familiar tools only: the base is meant to fail on new ones, not to decline them.
            if chosen.augmented and category != "irrelevance":
                luck = rng.random()
                if luck < INVENTED_SHARE:
                    tools = tuple(invented(rng, chosen.made_up_names) for _ in range(5))
                else:
                    tools = tuple(rng.sample(tools, 8))
                    if luck < INVENTED_SHARE + RENAMED_SHARE:
                        tools = tuple(renamed(tool, rng, chosen.made_up_names) for tool in tools)
            task = build_task(category, tools, rng, unseen=chosen.unseen)
            if task.query not in seen and bucket(task.query) in chosen.buckets:
                break
        seen.add(task.query)
        tasks.append(msgspec.structs.replace(task, id=f"{split}_{category}_{seed}_{number}", source=f"toolbox/{split}"))
    return tasks


def bucket(query: str) -> int:
    """Which of the buckets a query falls in; the order of its words, their case and the signs between do not matter."""
    words = sorted(re.findall(r"\w+", query.lower()))
    return zlib.crc32(" ".join(words).encode()) % BUCKETS


def drawn_categories(n: int, quotas: Mapping[str, float], known: Collection[str], rng: random.Random) -> list[str]:
    """`n` categories in random order, each as often as its share says. ValueError for one that is not `known`."""
    unknown = set(quotas) - set(known)
    if unknown:
        raise ValueError(f"category {sorted(unknown)[0]!r} is none of {', '.join(known)}")
    total = sum(quotas.values())
    if total <= 0:
        raise ValueError(f"the shares {quotas} add up to {total}, so no category could be drawn; give one more than 0")
    drawn: list[str] = []
    reached = 0.0
    for category, share in quotas.items():
        reached += share / total * n
        drawn += [category] * (round(reached) - len(drawn))
    rng.shuffle(drawn)
    return drawn
