"""Splits: which tasks may be drawn for what, disjoint by construction.

A query belongs to one bucket, by a hash of its words in sorted order, so that a query and its re-ordered or
re-punctuated twin are never separated; each split owns its buckets. Beyond that, dev and gate splits use values that
training never draws (`values.held_out`) and a way of asking for each tool that training never uses.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import msgspec

from funreason.data.toolbox.augment import invented, renamed
from funreason.data.toolbox.tasks import CATEGORIES, build_task
from funreason.data.toolbox.tools import Tool, familiar_tools, unseen_tools
from funreason.types import Task

BUCKETS = 20
RENAMED_SHARE, INVENTED_SHARE = 0.35, 0.35
"""Of the pre-training tasks: how many have their tools renamed, and how many use invented tools only."""


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
