"""`funreason toolbox`: write embedded or composed tasks to a file, and show what they are."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table

from funreason.cli import terminal
from funreason.cli.app import AsJson

if TYPE_CHECKING:
    from funreason.types import Task


def toolbox_make(
    split: str,
    /,
    *,
    out: Path,
    count: int = 1000,
    seed: int = 0,
    format: Literal["xlam", "sharegpt", "openai", "bfcl"] = "xlam",
) -> int:
    """Write tasks of the toolbox, or composed ones, to a file.

    Parameters
    ----------
    split
        `composed_train`, `composed_dev`, `composed_gate`, or a split of the toolbox such as `new_train`.
    out
        A new file; for bfcl a new folder, which gets possible_answer/ as well.
    count
        How many tasks.
    seed
        The same seed gives the same tasks.
    format
        The form to write.
    """
    from funreason.bfcl.suites import write_suite
    from funreason.config import TOOLBOX, ConfigError
    from funreason.data.writers import convert
    from funreason.sources.tasks import toolbox_tasks

    if out.exists():
        raise ConfigError(f"--out {out} is there already; give a fresh path")
    tasks = toolbox_tasks(f"{TOOLBOX}{split}", count, seed)
    console = terminal.console(soft_wrap=True)
    if format == "bfcl":
        for path in write_suite(tasks, out, prefix="TOOLBOX"):
            console.print(f"wrote {path}", markup=False, highlight=False)
        return 0
    written, rejected = convert(tasks, format, out)
    console.print(f"{written} tasks written to {out}, {len(rejected)} rejected", markup=False, highlight=False)
    for refusal in rejected[:3]:
        console.print(f"  {refusal.id}: {refusal.message}", markup=False, highlight=False)
    return 0


def toolbox_show(
    split: str = "composed_train", /, *, count: int = 2000, seed: int = 0, samples: int = 3, json: AsJson = False
) -> int:
    """Show what a split's tasks are: tools, categories, kinds of parameters, and how the rule judges take the
    references.

    Parameters
    ----------
    split
        `composed_train`, `composed_dev`, `composed_gate`, or a split of the toolbox such as `new_train`.
    count
        How many tasks to draw.
    seed
        The seed they are drawn with.
    samples
        How many tasks to print.
    """
    from funreason.config import TOOLBOX
    from funreason.sources.tasks import toolbox_tasks

    before = time.perf_counter()
    tasks = toolbox_tasks(f"{TOOLBOX}{split}", count, seed)
    seconds = time.perf_counter() - before
    facts = [*_facts(tasks), ("seconds per 10,000 tasks", f"{seconds / count * 10_000:.1f}")]
    if json:
        shown = [{"id": t.id, "category": t.category, "query": t.query} for t in tasks[:samples]]
        terminal.print_json({"split": split, "count": count, "seed": seed, "facts": dict(facts), "tasks": shown})
        return 0
    console = terminal.console(soft_wrap=True)
    table = Table("what", "value", title=f"{split}, {count} tasks, seed {seed}")
    for what, value in facts:
        table.add_row(what, value)
    console.print(table)
    for task in tasks[:samples]:
        console.print(f"\n{task.category}: {task.query}", markup=False, highlight=False)
        for tool in task.tools:
            names = ", ".join(tool["parameters"]["properties"])
            console.print(f"  {tool['name']}({names})", markup=False, highlight=False)
        right = task.reference_text or [f"{call.name}({call.arguments})" for call in task.reference or []]
        console.print(f"  -> {right}", markup=False, highlight=False)
    return 0


def _facts(tasks: list[Task]) -> Iterator[tuple[str, str]]:
    tools = {tool["name"]: tool for task in tasks for tool in task.tools}
    parameters = [(tool, *pair) for tool in tools.values() for pair in tool["parameters"]["properties"].items()]
    yield "tools that occur", str(len(tools))
    yield "tools on offer, mean", f"{mean(len(task.tools) for task in tasks):.1f}"
    yield "words in a query, mean", f"{mean(len(task.query.split()) for task in tasks):.1f}"
    yield "words in a tool's description, mean", f"{mean(len(t['description'].split()) for t in tools.values()):.1f}"
    yield "parameters of a tool, mean", f"{len(parameters) / len(tools):.1f}"
    kinds: dict[str, Callable[[dict[str, Any], str, dict[str, Any]], bool]] = {
        "optional": lambda tool, name, shape: name not in tool["parameters"]["required"],
        "with a default": lambda tool, name, shape: "default" in shape,
        "with an enum": lambda tool, name, shape: "enum" in shape or "enum" in shape.get("items", {}),
        "objects": lambda tool, name, shape: shape.get("type") == "object",
        "lists": lambda tool, name, shape: shape.get("type") == "array",
        "lists of objects": lambda tool, name, shape: shape.get("items", {}).get("type") == "object",
    }
    for kind, has in kinds.items():
        yield f"parameters {kind}", _share(sum(has(*each) for each in parameters), len(parameters))
    for category, number in Counter(task.category for task in tasks).most_common():
        yield f"category {category}", _share(number, len(tasks))
    yield "calls for a task with calls, mean", f"{mean(len(t.reference) for t in tasks if t.reference):.2f}"
    judged = [task for task in tasks if task.reference]
    for stage, passes in asyncio.run(_passes(judged)).items():
        yield f"references that pass stage {stage}", _share(passes, len(judged))


async def _passes(tasks: list[Task]) -> dict[str, int]:
    """How many references each of the five stages passes, every stage asked about every reference."""
    from funreason.agents.judges.rules.stages import (
        CotJudge,
        judge_format,
        judge_parameters,
        judge_query_tool,
        judge_response,
    )
    from funreason.agents.references import reference_sample
    from funreason.types import Outcome

    judges: dict[str, Any] = {
        "1 response": judge_response,
        "2 query_tool": judge_query_tool,
        "3 cot": CotJudge(),
        "4 parameters": judge_parameters,
        "5 format": judge_format,
    }
    samples = [reference_sample(task, task.id) for task in tasks]
    return {
        stage: sum([(await judge(sample)).outcome == Outcome.PASS for sample in samples])
        for stage, judge in judges.items()
    }


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
