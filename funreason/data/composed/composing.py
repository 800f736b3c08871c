"""Composed tasks: a query, the tools on offer, the exact calls, in BFCL's categories.

`simple`, `multiple`, `parallel`, `parallel_multiple` and `irrelevance` are asked in whole sentences; their `live_`
twins offer more tools and are typed as people type: chatty, with typos, without capitals. Distractors are alike:
another operation on the same thing, the same operation on another thing of the theme. Train, dev and gate share neither
a tool nor a phrase (`wordings.of_split`), and so no query.

Where several calls are right, the schema says so: a parameter that the reference leaves out may be passed with its
default, and one that it passes with the default may be left out.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from funreason.data.composed.operations import ComposedTool, all_tools, article, words_of
from funreason.data.composed.value_kinds import VALUE, Spoken, distinct, draw, listed_or_one, unmarked
from funreason.data.composed.wordings import (
    AGAIN,
    CHATTY,
    CLAUSES,
    CLOSERS,
    CONTEXTS,
    KEYS,
    LEADS,
    LINKS,
    PHRASES,
    REFUSALS,
    SENTENCES,
    of_split,
)
from funreason.data.toolbox.tasks import drawn_categories
from funreason.data.toolbox.values import listed
from funreason.types import Call, Task

SPLITS = ("train", "dev", "gate")
SHARES = {
    "simple": 0.16, "multiple": 0.16, "parallel": 0.1, "parallel_multiple": 0.1, "irrelevance": 0.12,
    "live_simple": 0.08, "live_multiple": 0.14, "live_parallel": 0.03, "live_parallel_multiple": 0.03,
    "live_irrelevance": 0.08,
}  # fmt: skip
"""The categories, with their shares where none are asked for."""
OFFERED = {
    "simple": (1, 1), "multiple": (2, 4), "parallel": (1, 1), "parallel_multiple": (2, 4), "irrelevance": (1, 2),
    "live_multiple": (3, 7), "live_irrelevance": (1, 4),
}  # fmt: skip
"""The least and most tools on offer; a live category without an entry has those of its twin."""
INCOMPLETE = frozenset({"search", "report", "compare", "statistics", "estimate", "rate", "alert", "recommend"})
"""Operations whose phrases need a clause to be a sentence."""
GIVEN_SHARE = 0.5
"""Of optional parameters: how many a query gives."""
SHORT_FORMS = {
    "please": "pls", "you": "u", "thanks": "thx", "because": "cos", "with": "w/", "and": "&", "are": "r",
    "number": "no", "don't": "dont", "it's": "its", "I'd": "id", "I'm": "im", "can't": "cant",
}  # fmt: skip
_KEPT = re.compile(f"({VALUE[0]}[^{VALUE[1]}]*{VALUE[1]})")
_WORD = re.compile(r"[A-Za-z']+")


class _Request(NamedTuple):
    """One request: the tool, its arguments with the words for them, and the text that asks."""

    tool: ComposedTool
    drawn: dict[str, Spoken]
    text: str

    @property
    def call(self) -> Call:
        return Call(self.tool.name, {name: one.value for name, one in self.drawn.items()})


class _Pool(NamedTuple):
    """A split's tools, and which are alike."""

    tools: tuple[ComposedTool, ...]
    by_entity: dict[str, list[ComposedTool]]
    by_theme: dict[str, list[ComposedTool]]
    by_operation: dict[str, list[ComposedTool]]


def compose(split: str, n: int, seed: int, *, shares: dict[str, float] | None = None) -> list[Task]:
    """`n` tasks of `split` (`train`, `dev` or `gate`), the same for the same seed, no query twice.

    `shares` are shares of the categories (default: SHARES), met exactly up to rounding. Raises ValueError for an
    unknown split or category, and for shares that add up to nothing.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
    rng, seen = random.Random(f"composed/{split}:{seed}"), set[str]()
    tasks = []
    for number, category in enumerate(drawn_categories(n, shares or SHARES, SHARES, rng)):
        composer = _Composer(split, category, rng)
        task = composer.task()
        while task.query in seen:
            task = composer.task()
        seen.add(task.query)
        name = f"composed_{split}_{category}_{seed}_{number}"
        tasks.append(
            Task(
                name, task.messages, task.tools, task.reference, task.reference_text, task.reference_thinking, category,
                f"toolbox/composed_{split}",
            )
        )  # fmt: skip
    return tasks


@cache
def tools_of(split: str) -> tuple[ComposedTool, ...]:
    """The tools that only this split uses: about two thirds for training, a sixth each for dev and gate."""
    chosen = {0: "dev", 1: "gate"}
    return tuple(tool for tool in all_tools() if chosen.get(zlib.crc32(tool.name.encode()) % 6, "train") == split)


class _Composer:
    """Makes tasks of one category for one split."""

    def __init__(self, split: str, category: str, rng: random.Random) -> None:
        self.split, self.category, self.rng, self.pool = split, category, rng, _pool(split)
        self.live = category.startswith("live_")
        self.plain = category.removeprefix("live_")

    def task(self) -> Task:
        """One task, its id, category and source left empty."""
        rng, (least, most) = self.rng, OFFERED.get(self.category) or OFFERED[self.plain]
        wanted = rng.choice(self.pool.tools)
        if self.plain == "irrelevance":
            request = self._ask(wanted)
            offered = self._others([wanted], rng.randint(least, most), refused=True)
            text = rng.choice(REFUSALS).format(do=wanted.does)
            thinking = f"Need to {wanted.does}. No function on offer does that."
            return self._task([request], offered, [], text, thinking)
        used = [wanted]
        if self.plain == "parallel":
            requests = self._repeated(wanted)
        elif self.plain == "parallel_multiple":
            used += self._others(used, rng.choice((1, 1, 2)))
            requests = [self._ask(tool) for tool in used]
            if rng.random() < 0.25:
                requests[-1:] = self._repeated(used[-1])
        else:
            requests = [self._ask(wanted)]
        spare = self._others(used, max(0, rng.randint(least, most) - len(used)))
        wanted_acts = " and ".join(dict.fromkeys(request.tool.does for request in requests))
        reasons = []
        for request in requests:
            given = [f"{name} is {_shown(one)}" for name, one in request.drawn.items()]
            reasons.append(f"{request.tool.name} fits: {', '.join(given)}" if given else f"{request.tool.name} fits")
        thinking = f"Need to {wanted_acts}. {'; '.join(reasons)}."
        return self._task(requests, [*used, *spare], [request.call for request in requests], None, thinking)

    def _task(
        self,
        requests: Sequence[_Request],
        offered: list[ComposedTool],
        calls: list[Call],
        text: str | None,
        thinking: str,
    ) -> Task:
        self.rng.shuffle(offered)
        rng = self.rng
        first, *others = [request.text for request in requests if request.text]
        linked = [first]
        for other in others:
            if other.startswith("\x00"):  # continues the request before it
                linked.append(other[1:])
                continue
            keeps = other.startswith(("I ", "I'", VALUE[0]))
            linked.append(self._pick(LINKS).format(s=other if keeps else other[0].lower() + other[1:]))
        if rng.random() < (0.5 if self.live else 0.2):
            linked.insert(0, self._pick(CONTEXTS).format(**words_of(requests[0].tool.entity)))
        if rng.random() < (0.25 if self.live else 0.08):
            linked.append(self._pick(CLOSERS))
        query = " ".join(linked)
        if self.live:
            if rng.random() < 0.3:
                query = f"{self._pick(CHATTY)} {query}"
            query = noisy(query, rng)
        return Task.of(
            "",
            unmarked(query),
            [tool.schema for tool in offered],
            calls,
            reference_text=text,
            reference_thinking=thinking,
        )

    def _pick(self, phrases: Sequence[str]) -> str:
        return self.rng.choice(of_split(tuple(phrases), self.split))

    def _ask(self, tool: ComposedTool) -> _Request:
        drawn = self._draw(tool)
        return _Request(tool, drawn, self._text(tool, drawn))

    def _draw(self, tool: ComposedTool) -> dict[str, Spoken]:
        rng = self.rng
        given = [slot for slot in tool.slots if slot.required or rng.random() < GIVEN_SHARE]
        if tool.operation == "update" and len(given) < 2:
            given = [*given, rng.choice([slot for slot in tool.slots if slot not in given])]
        names = {slot.name for slot in given}
        return {slot.name: draw(slot.kind, rng) for slot in tool.slots if slot.name in names}

    def _repeated(self, tool: ComposedTool) -> list[_Request]:
        """Two to four calls of one tool: several things in one sentence, or one sentence after the other."""
        rng, count = self.rng, self.rng.choice((2, 2, 2, 3, 3, 4))
        key = next((slot for slot in tool.slots if slot.role in ("key", "where")), None)
        drawn = self._draw(tool)
        if key is not None and rng.random() < 0.65:
            keys = distinct(key.kind, count, rng)
            shared = drawn | {key.name: Spoken(None, listed([one.said for one in keys]))}
            text = self._text(tool, shared, several=key.role == "key")
            return [
                _Request(tool, drawn | {key.name: one}, text if place == 0 else "") for place, one in enumerate(keys)
            ]
        requests = [_Request(tool, drawn, self._text(tool, drawn))]
        for _ in range(20):  # a tool of a few choices may run out of other calls
            if len(requests) == count:
                break
            again = {slot.name: draw(slot.kind, rng) for slot in tool.slots if slot.name in drawn}
            if any(request.call.arguments == {n: one.value for n, one in again.items()} for request in requests):
                continue
            said = [self._clause(tool, name, one) for name, one in again.items()]
            requests.append(_Request(tool, again, "\x00" + self._pick(AGAIN).format(clauses=listed_or_one(said))))
        return requests

    def _text(self, tool: ComposedTool, drawn: dict[str, Spoken], *, several: bool = False) -> str:
        """The sentences of one request."""
        rng, words = self.rng, words_of(tool.entity, tool.measure)
        phrase = self._pick(PHRASES[tool.operation])
        held, clauses = {"key": self._pick(KEYS["unnamed"]).format(**words)}, []
        for slot in (slot for slot in tool.slots if slot.name in drawn):
            said = drawn[slot.name].said
            if slot.role:
                held[slot.role] = self._named(tool, said, several) if slot.role == "key" else said
            else:
                clauses.append(slot.name)
        if len(clauses) > 1 and rng.random() < 0.4:
            rng.shuffle(clauses)
        inside = min(len(clauses), rng.choice((0, 1, 2, 2, 3)))
        if tool.operation in INCOMPLETE:
            inside = max(inside, min(1, len(clauses)))
        parts = [self._clause(tool, name, drawn[name]) for name in clauses[:inside]]
        more = f" {listed_or_one(parts)}" if parts else ""
        do = phrase.removeprefix("?").format(more=more, **(words | held))
        if phrase.startswith("?"):
            text = do
        else:
            text = self._pick(LEADS).format(do=do, Do=do[0].upper() + do[1:])
        sentences = [text]
        for slot in (slot for name in clauses[inside:] for slot in tool.slots if slot.name == name):
            one = drawn[slot.name]
            forms = SENTENCES.get(_form(slot.kind.name, slot.label, one.value)) or SENTENCES["value"]
            sentences.append(self._worded(forms, slot.label, one))
        return " ".join(sentences)

    def _named(self, tool: ComposedTool, said: str, several: bool) -> str:
        form = "several" if several else "code" if tool.entity.key.kind.name == "code" else "named"
        return self._pick(KEYS[form]).format(v=said, **words_of(tool.entity))

    def _clause(self, tool: ComposedTool, name: str, one: Spoken) -> str:
        slot = next(slot for slot in tool.slots if slot.name == name)
        if slot.role == "key":
            return self._named(tool, one.said, several=False)
        if slot.role:
            return one.said
        return self._worded(CLAUSES[_form(slot.kind.name, slot.label, one.value)], slot.label, one)

    def _worded(self, phrases: Sequence[str], label: str, one: Spoken) -> str:
        return self._pick(phrases).format(label=label, Label=label[0].upper() + label[1:], a=article(label), v=one.said)

    def _others(self, wanted: list[ComposedTool], count: int, *, refused: bool = False) -> list[ComposedTool]:
        """Distractors, mostly alike; `refused` leaves out tools that could be taken to do what is wanted."""
        rng, chosen = self.rng, list[ComposedTool]()
        first = wanted[0]
        near = [self.pool.by_entity[first.entity.name], self.pool.by_theme[first.entity.theme]]
        near += [self.pool.by_operation[first.operation], list(self.pool.tools)]
        tries = 0
        while len(chosen) < count:
            tries += 1
            tool = rng.choice(rng.choices(near, weights=(5, 4, 3, 2))[0] if tries < 20 else self.pool.tools)
            act = tool.operation, tool.entity.name, tool.measure
            if tool in chosen or tool in wanted or act in [(x.operation, x.entity.name, x.measure) for x in wanted]:
                continue
            if refused and tool.entity == first.entity and tool.family == first.family:
                continue
            chosen.append(tool)
        return chosen


def _form(kind: str, label: str, value: Any) -> str:
    """Which clauses and sentences fit a value."""
    match kind:
        case "flag":
            return "yes" if value else "no"
        case "is":
            return "is" if value else "is not"
        case "n" | "money" | "percent":
            return "measured"
        case "count" if (label.endswith("s") or " per " in label) and not label.startswith("number"):
            return "counted"
        case "date":
            return "when"
        case "time":
            return "clock"
        case "phrase":
            return "text"
        case "range":
            return "span"
        case "period" | "address":
            return kind
        case "tags" | "fields" | "changes":
            return "several"
    return "value"


def _shown(one: Spoken) -> str:
    """A value in the thinking: each part of it, and what the query says where that reads differently."""
    value, said = one.value, unmarked(one.said)
    if isinstance(value, dict):
        return " and ".join(f"{key} {part}" for key, part in value.items())
    if isinstance(value, list):
        return " and ".join(_shown(Spoken(part, str(part))) for part in value)
    text = str(value)
    return text if not said or said.replace(",", "") == text else f"{said}, so {text}"


@cache
def _pool(split: str) -> _Pool:
    tools = tools_of(split)
    pool = _Pool(tools, {}, {}, {})
    for tool in tools:
        pool.by_entity.setdefault(tool.entity.name, []).append(tool)
        pool.by_theme.setdefault(tool.entity.theme, []).append(tool)
        pool.by_operation.setdefault(tool.operation, []).append(tool)
    return pool


def noisy(text: str, rng: random.Random) -> str:
    """The text with one to three kinds of noise outside the marked values."""
    kinds = rng.sample(("lower", "typos", "short", "ending", "spaces"), rng.choice((1, 2, 2, 3)))
    parts = _KEPT.split(text)
    for place in range(0, len(parts), 2):
        if "short" in kinds:
            parts[place] = _WORD.sub(
                lambda word: SHORT_FORMS.get(word[0], word[0]) if rng.random() < 0.5 else word[0], parts[place]
            )
        if "typos" in kinds:
            parts[place] = _WORD.sub(lambda word: typo(word[0], rng) if rng.random() < 0.12 else word[0], parts[place])
        if "lower" in kinds:
            parts[place] = parts[place].lower()
        if "spaces" in kinds and rng.random() < 0.3:
            parts[place] = parts[place].replace(", ", rng.choice((" , ", ",", "  ")))
    if "ending" in kinds:
        parts[-1] = parts[-1].rstrip(".?!")
    return "".join(parts)


def typo(word: str, rng: random.Random) -> str:
    """The word with two letters swapped, one left out or one doubled; short words stay."""
    if len(word) < 5:
        return word
    at = rng.randint(1, len(word) - 3)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return rng.choice((swapped, word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]))
