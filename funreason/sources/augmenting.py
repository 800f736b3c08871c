"""Adds variants of a pool's tasks to it (`data.augment`): cases where no call is right, and masked names.

Made after tasks were held out for the gate and screened against it, and screened again, so that no variant brings what
the gate asks into training. Which tasks, tools and names are chosen depends on the seeds and the tasks alone.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from funreason.config import COMPOSED, TOOLBOX, Config
from funreason.data.task_variants import ToolIndex, masked, with_other_tools, without_needed_tools, without_value
from funreason.sources.tasks import Pool
from funreason.types import Task

ORDER = ("missing_value", "irrelevance", "masking", "other_tools")
"""The kind that fits the fewest tasks is made first; the last one makes up for what automatic shares could not make."""


def augmented(pool: Pool, config: Config, clean: Callable[[Sequence[Task]], list[Task]]) -> Pool:
    """The pool with the variants that `data.augment` asks for, and a sentence on them added to its summary.

    `clean` leaves out tasks that the gate asks too.
    """
    settings, path = config.data.augment, config.tasks.path
    if settings.automatic and path.startswith(TOOLBOX) and not path.startswith(COMPOSED):
        return pool  # these splits have their share of refusals, and results that were measured with them
    known = [task for task in pool.tasks if task.reference is not None]
    no_call = sum(not task.reference for task in known) / len(known) if known else 1.0
    shares = settings.shares(no_call)
    if not shares:
        return pool
    embedded = path.startswith(TOOLBOX)
    size = pool.per_round if embedded and pool.per_round else max(1, len(pool.tasks))
    tasks, made, wanted = list[Task](), Counter[str](), Counter[str]()
    each = {kind: round(share * size) for kind, share in shares.items()}
    for first in range(0, len(pool.tasks), size):
        block = pool.tasks[first : first + size]
        whole = each if len(block) == size else {kind: round(share * len(block)) for kind, share in shares.items()}
        found = _variants(block, whole, f"{config.seed}/{settings.seed}", fill=settings.automatic)
        new = clean([task for kind in found.values() for task in kind])
        wanted.update(whole)
        made.update({kind: len(variants) for kind, variants in found.items()})
        # Among the tasks, so that every round and the supervised start take some; the tasks keep their order.
        places = {task.id: random.Random(f"{config.seed}/{task.id}").uniform(0, len(block)) for task in new}
        places |= {task.id: place for place, task in enumerate(block)}
        tasks += sorted([*block, *new], key=lambda task: places[task.id])
    per_round = size + sum(each.values()) if embedded and pool.per_round else pool.per_round
    added = [
        f"{made[kind]} {kind}" + (f" (of {wanted[kind]} asked for)" if made[kind] < wanted[kind] else "")
        for kind in ORDER
        if kind in wanted
    ]
    summary = f"{pool.summary}. " if pool.summary else ""
    summary += f"data.augment added {', '.join(added)} to {len(pool.tasks)} tasks, "
    summary += f"of which {100 * no_call:.1f} % had no right call"
    new_places = {id(task): place for place, task in enumerate(tasks)}
    contaminated = [
        (new_places[id(pool.tasks[place])] if place < len(pool.tasks) else len(tasks), kind)
        for place, kind in pool.contaminated
    ]
    return replace(pool, tasks=tasks, per_round=per_round, summary=summary, contaminated=contaminated)


def _variants(block: Sequence[Task], wanted: dict[str, int], seed: str, *, fill: bool) -> dict[str, list[Task]]:
    """The variants of each kind, made of tasks that no other kind used as long as there are any."""
    makers = {"irrelevance": without_needed_tools, "missing_value": without_value, "masking": masked}
    if "other_tools" in wanted:
        tools = ToolIndex(block)
        makers["other_tools"] = lambda task, rng: with_other_tools(task, tools, rng)
    made: dict[str, list[Task]] = {}
    used: set[str] = set()
    for kind in (kind for kind in ORDER if kind in wanted):
        count = wanted[kind]
        if kind == "other_tools" and fill:
            count += sum(wanted[other] - len(made[other]) for other in ("missing_value", "irrelevance"))
        ranks = {
            task.id: hashlib.blake2b(f"{seed}/{kind}/{task.id}".encode(), digest_size=8).digest() for task in block
        }
        made[kind] = []
        for task in sorted(block, key=lambda task: (task.id in used, ranks[task.id])):
            if len(made[kind]) >= count:
                break
            variant = makers[kind](task, random.Random(f"{seed}/{kind}/{task.id}"))
            if variant is not None:
                made[kind].append(variant)
                used.add(task.id)
    return made
