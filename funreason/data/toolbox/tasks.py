"""Tasks: a query, the tools on offer and the right answer, in four categories.

simple: one tool on offer, one call. multiple: two to four on offer, one call. parallel: one to three on offer,
two or three calls, mostly of one tool. irrelevance: one to three on offer, none of which fits.
Distractors come as often from the wanted tool's own theme as from others, so a theme alone gives nothing away.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from funreason.data.toolbox.phrasing import Request, ask, query_text
from funreason.data.toolbox.thinking import refusal, thinking
from funreason.data.toolbox.tools import Tool
from funreason.record.types import Task

__all__ = ["CATEGORIES", "build_task"]

CATEGORIES = ("simple", "multiple", "parallel", "irrelevance")
SAME_TOOL_SHARE = 0.7
"""Of parallel tasks: how many call one tool again, as BFCL's parallel category does; the others call two tools."""


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
        return _parallel(wanted, tools, rng, unseen=unseen)
    if category == "irrelevance":
        others = _others(wanted, tools, rng.randint(1, 3), rng)
        return _refused([ask(wanted, rng, unseen=unseen)], others, rng)
    raise ValueError(f"category {category!r} is none of {', '.join(CATEGORIES)}")


def _parallel(wanted: Tool, tools: Sequence[Tool], rng: random.Random, *, unseen: bool) -> Task:
    if rng.random() < SAME_TOOL_SHARE:
        used = [wanted] * rng.choice((2, 2, 2, 3))
    else:
        used = [wanted, *_others(wanted, tools, 1, rng)]
    spare = [tool for tool in _others(wanted, tools, rng.randint(0, 1), rng) if tool not in used]
    requests = [ask(tool, rng, unseen=unseen) for tool in used]
    return _called(requests, [*dict.fromkeys(used), *spare], "parallel", rng)


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


def _called(requests: list[Request], offered: list[Tool], category: str, rng: random.Random) -> Task:
    rng.shuffle(offered)
    return Task(
        id="",
        query=query_text(requests, rng),
        tools=[tool.schema() for tool in offered],
        reference=[request.call for request in requests],
        reference_thinking=thinking(requests),
        category=category,
    )


def _refused(requests: list[Request], offered: list[Tool], rng: random.Random) -> Task:
    return Task(
        id="",
        query=query_text(requests, rng),
        tools=[tool.schema() for tool in offered],
        reference=[],
        reference_text=refusal(requests),
        reference_thinking=thinking(requests, offered=False),
        category="irrelevance",
    )
