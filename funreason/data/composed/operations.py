"""What can be done with a thing: every operation makes one tool for every entity that has what it needs.

An `Operation` gives a tool its verb, its description and its parameters; `wordings.py` has the ways to ask for it. How
a tool is spelled (snake case, dotted, camel case), which attributes it takes, what is required and how long its
description is follow from a random generator seeded with theme, entity and operation, so a tool is always the same.
"""

from __future__ import annotations

import keyword
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import yaml

from funreason.data.composed.value_kinds import Kind, hint_of, kind_of, schema_of, styled

SPELLINGS = ("snake", "snake", "snake", "snake", "dotted", "dotted", "camel", "pascal")
_ENTRY = re.compile(r"\s*([^:,]+?)\s*(?::([^,]+))?\s*(?:,|$)")


class Attribute(NamedTuple):
    """Something that is known of an entity: its label in words, and what kind of value it has."""

    label: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Entity:
    """A thing of a theme. `key` is what it is named by; `measures` can be estimated of it."""

    theme: str
    name: str
    key: Attribute
    attributes: tuple[Attribute, ...]
    measures: tuple[str, ...]
    goods: tuple[str, ...]

    @property
    def plural(self) -> str:
        """Several of them, in words."""
        return plural(self.name)


@dataclass(frozen=True, slots=True)
class Slot:
    """A parameter of a composed tool: its name, the words for it in a query, how its value is drawn.

    `role` is the place that a request's main phrase has for it (`key`, `who`, …), or "" where it comes as a clause.
    """

    name: str
    label: str
    kind: Kind
    role: str = ""
    required: bool = True
    default: Any = None


@dataclass(frozen=True, slots=True)
class ComposedTool:
    """A tool with what is needed to ask for it. `family` groups operations too close to be told apart when refused."""

    entity: Entity
    operation: str
    family: str
    does: str
    slots: tuple[Slot, ...]
    schema: dict[str, Any] = field(repr=False)
    measure: str = ""

    @property
    def name(self) -> str:
        """The function's name."""
        return str(self.schema["name"])


class _Draft:
    """The parameters of one tool while an operation chooses them."""

    def __init__(self, entity: Entity, rng: random.Random) -> None:
        self.entity, self.rng = entity, rng
        self.spelling = rng.choice(SPELLINGS)
        self.slots: list[Slot] = []

    def add(
        self,
        label: str,
        kind: Kind | str,
        role: str = "",
        *,
        required: bool = True,
        default: Any = None,
        name: str = "",
    ) -> None:
        """One more parameter; a second one of the same name is left out."""
        kind = styled(kind_of(kind) if isinstance(kind, str) else kind, self.rng)
        words = re.findall(r"\w+", name or label)
        if kind.name == "n" and kind.detail.isalpha() and kind.detail.isascii() and self.rng.random() < 0.25:
            words.append(kind.detail)
        name = "_".join(words)
        if self.spelling in ("camel", "pascal"):
            name = "".join([words[0], *(word[:1].upper() + word[1:] for word in words[1:])])
        if keyword.iskeyword(name):
            name = f"{self.entity.name.replace(' ', '_')}_{name}"
        if all(slot.name != name and slot.label != label for slot in self.slots):
            self.slots.append(Slot(name, label, kind, role, required, default))

    def key(self) -> None:
        """What the entity is named by, as the parameter that the main phrase holds."""
        label, kind = self.entity.key
        own = label if label.startswith(self.entity.name) else f"{self.entity.name} {label}"
        number = f"{self.entity.name} id" if kind.name == "code" else own
        self.add(label, kind, "key", name=self.rng.choice((label, own, number)))

    def attributes(
        self, least: int, most: int, *, optional: int = 0, only: Callable[[Kind], bool] | None = None
    ) -> None:
        """Some of the entity's attributes as clauses; `optional` more may be left out."""
        able = [each for each in self.entity.attributes if only is None or only(each.kind)]
        chosen = self.rng.sample(able, min(len(able), self.rng.randint(least, most) + optional))
        for place, (label, kind) in enumerate(chosen):
            required = place < max(least, len(chosen) - optional) and kind.name not in ("flag", "is")
            default: Any = None
            if not required:
                default = False if kind.name in ("flag", "is") else None
                if kind.name == "choice" and self.rng.random() < 0.6:
                    default = kind.options[0]
            self.add(label, kind, required=required, default=default)

    def maybe(self, share: float, label: str, kind: Kind | str, default: Any = None) -> None:
        """An optional parameter, with this probability."""
        if self.rng.random() < share:
            self.add(label, kind, required=False, default=default)

    def labels(self, able: Callable[[Kind], bool] = lambda kind: True) -> list[str]:
        """The names of the entity's attributes, as values of an enum."""
        return [label.replace(" ", "_") for label, kind in self.entity.attributes if able(kind)]

    def choose(self, operation: str) -> bool:
        """Add the parameters of an operation of the table; False when the entity lacks what it needs."""
        rng, entity = self.rng, self.entity
        match operation:
            case "lookup":
                self.key()
                self.maybe(0.5, "change history", "flag", False)
                if len(self.labels()) > 2:
                    self.maybe(0.35, "fields", Kind("fields", "|".join(self.labels())))
                self.maybe(0.25, "answer language", "language")
            case "search":
                self.attributes(1, 2, optional=rng.randint(0, 2))
                numbers = [each for each in entity.attributes if each.kind.name in ("n", "money")]
                if numbers and rng.random() < 0.6:
                    label, kind = rng.choice(numbers)
                    own = styled(kind, rng)
                    self.slots = [slot for slot in self.slots if slot.label != label]
                    ends = Kind("range", parts=(("min", own), ("max", own)))
                    self.add(label, ends, required=False, name=f"{label} range")
                self.maybe(0.6, "result limit", "count", 10)
                if len(self.labels()) > 1:
                    self.maybe(0.3, "sort field", f"choice({'|'.join(self.labels())})", self.labels()[0])
                return any(slot.required for slot in self.slots)
            case "create":
                self.key()
                self.attributes(1, 3, optional=rng.randint(0, 2))
                if rng.random() < 0.3:
                    way = rng.choice((("email", Kind("email")), ("phone", Kind("phone"))))
                    contact = Kind("contact", parts=(("name", Kind("person")), way))
                    self.add("contact person", contact, required=rng.random() < 0.5)
                self.maybe(0.3, "tags", "tags")
                self.maybe(0.25, "note", "phrase")
            case "update":
                self.key()
                able = [each for each in entity.attributes if each.kind.name not in ("flag", "is")]
                if len(able) > 1 and rng.random() < 0.4:
                    changes = Kind("changes", parts=tuple(able[:4]))
                    self.add("new values", changes, name=rng.choice(("changes", "new_values")))
                else:
                    self.attributes(1, 1, optional=rng.randint(1, 3))
                self.maybe(0.25, "audit comment", "phrase")
                return len(self.slots) > 1
            case "order":
                item = (("item", Kind("word")), ("quantity", Kind("count")))
                self.add("items", Kind("items", "|".join(entity.goods), parts=item), "what")
                self.key()
                if rng.random() < 0.6:
                    parts = (("street", Kind("street")), ("postal code", Kind("word")), ("city", Kind("city")))
                    self.add("delivery address", Kind("address", parts=parts), required=rng.random() < 0.6)
                self.maybe(0.5, "express delivery", "flag", False)
                self.maybe(0.4, "latest arrival", "date")
            case "batch":
                columns = [each for each in entity.attributes if each.kind.name not in ("flag", "is", "tags")][:2]
                records = Kind(
                    "records", parts=tuple((label, styled(kind, rng)) for label, kind in (entity.key, *columns))
                )
                self.add(f"list of {entity.plural}", records, "what", name=rng.choice(("entries", "records", "rows")))
                self.maybe(0.5, "duplicates", "flag", False)
                self.maybe(0.3, "source file", "host")
                return bool(columns)
            case "estimate":
                if any(each.kind.is_number for each in entity.attributes):
                    self.attributes(1, 3, only=lambda kind: kind.is_number)
                else:
                    self.key()
                self.maybe(0.35, "decimal places", "count", 2)
                self.maybe(0.25, "method", "choice(exact|approximate|conservative)", "exact")
                self.attributes(0, 0, optional=1, only=lambda kind: kind.name in ("flag", "is", "choice"))
            case "compare":
                self.add(f"{entity.name} {plural(entity.key.label)}", Kind("names", parts=(entity.key,)), "what")
                self.add("criterion", f"choice({'|'.join([*self.labels(), 'popularity', 'total_cost'])})")
                self.maybe(0.4, "chart", "flag", False)
            case "alert":
                self.key()
                metrics = [each.replace(" ", "_") for each in (*entity.measures, "activity", "error_rate")]
                self.add("metric", f"choice({'|'.join(metrics)})")
                self.add("threshold", "count")
                self.maybe(0.6, "direction", "choice(above|below)", "above")
                self.maybe(0.5, "alert channel", "choice(email|sms|push|pager)", "email")
            case "report":
                self.add("period", Kind("period", parts=(("start date", Kind("date")), ("end date", Kind("date")))))
                self.maybe(0.5, "output format", "choice(pdf|xlsx|html)", "pdf")
                if len(self.labels()) > 1:
                    self.maybe(0.5, "grouping", f"choice({'|'.join(self.labels())})")
                self.maybe(0.3, "report language", "language")
            case "statistics":
                place = rng.choice(("city", "country"))
                self.add("region", place, "where", name=rng.choice(("region", "location", "area")))
                self.add("reporting year", "year(1990)", name=rng.choice(("year", "reporting_year")))
                self.add("statistic", "choice(count|average|median|growth)", required=False, default="count")
            case "nearby":
                self.add("city", "city", "where", name=rng.choice(("city", "location", "near")))
                self.maybe(0.7, "search radius", "n(km)", 5)
                self.maybe(0.4, "minimum rating", "rating", 3)
                self.attributes(0, 0, optional=1, only=lambda kind: kind.name == "choice")
            case "recommend":
                self.add("audience", "choice(beginners|experts|families|students|professionals)")
                if rng.random() < 0.7:
                    self.add("budget", "money", required=rng.random() < 0.4)
                self.maybe(0.6, "number of suggestions", "count", 3)
                self.attributes(0, 0, optional=1, only=lambda kind: kind.name in ("choice", "flag", "is"))
            case _:
                self.key()
                for want in OPERATIONS[operation].wants:
                    if want.share < 1 and rng.random() >= want.share:
                        continue
                    required = want.share == 1 or (want.required > 0 and rng.random() < want.required)
                    kind_name = want.kind if isinstance(want.kind, str) else rng.choice(want.kind)
                    name = rng.choice(want.names) if want.names else ""
                    self.add(want.label, kind_name, want.role, required=required, default=want.default, name=name)
        return True


class Want(NamedTuple):
    """A parameter that an operation's tools may have besides the key.

    `share` is the probability that a tool has it. Where that is below 1 the parameter is optional; `required` is the
    probability that it is required all the same. Of several kinds or names a tool has one.
    """

    label: str
    kind: str | tuple[str, ...]
    role: str = ""
    share: float = 1.0
    required: float = 0.0
    default: Any = None
    names: tuple[str, ...] = ()


class Operation(NamedTuple):
    """What a kind of tool does: verbs for its name, phrases for its description, and its parameters.

    `wants` are the parameters besides the key; an operation without them has a case in `_Draft.choose`.
    """

    family: str
    verbs: tuple[str, ...]
    does: str
    texts: tuple[str, ...]
    wants: tuple[Want, ...] = ()
    several: bool = False
    """Whether the name speaks of several entities."""


OPERATIONS: dict[str, Operation] = {
    "lookup": Operation(
        "read",
        ("get", "fetch", "retrieve", "lookup"),
        "look up {a}",
        (
            "Retrieves everything that is on file about one {e}.",
            "Returns the stored details of {a}, identified by its {key}.",
            "Get the full {e} record for a given {key}.",
        ),
    ),
    "search": Operation(
        "read",
        ("search", "find", "query", "list"),
        "search for {es}",
        (
            "Searches the {theme} records for {es} that meet all of the given conditions.",
            "Find {es} by their properties.",
            "Returns a list of matching {es}, best match first.",
        ),
        several=True,
    ),
    "create": Operation(
        "write",
        ("add", "create", "register", "new"),
        "register {a}",
        (
            "Creates a new {e} in the {theme} system.",
            "Registers {a} together with its properties and returns its record.",
            "Adds one {e}. Fails if there is one with the same {key}.",
        ),
    ),
    "update": Operation(
        "change",
        ("update", "modify", "edit", "change"),
        "change {a}",
        (
            "Changes properties of an existing {e}. Only the given properties change.",
            "Update {a} that is identified by its {key}.",
            "Modifies the stored data of one {e}.",
        ),
    ),
    "cancel": Operation(
        "change",
        ("cancel", "delete", "remove", "close"),
        "cancel {a}",
        (
            "Cancels {a} for good. This cannot be undone.",
            "Removes the {e} with the given {key} from the {theme} system.",
            "Deletes one {e} and tells everybody concerned, if asked to.",
        ),
        (
            Want("reason", "phrase", share=0.55),
            Want("notification", "flag", share=0.4, default=True),
            Want("effective date", "date", share=0.3),
        ),
    ),
    "schedule": Operation(
        "plan",
        ("schedule", "book", "plan", "reserve"),
        "book an appointment for {a}",
        (
            "Books an appointment that concerns {a}.",
            "Schedules {a} on a given day.",
            "Reserves a slot for one {e} in the {theme} calendar.",
        ),
        (
            Want("appointment date", "date"),
            Want("starting time", "time", share=0.7, required=0.7),
            Want("planned length", "n(min)", share=0.5, default=60),
            Want("location", "place", share=0.35),
        ),
    ),
    "assign": Operation(
        "change",
        ("assign", "delegate", "handover"),
        "assign {a} to somebody",
        (
            "Makes a person responsible for {a}.",
            "Assigns an existing {e} to a member of the team.",
            "Hands {a} over to somebody else, with an optional deadline.",
        ),
        (
            Want("assignee", "person", role="who"),
            Want("deadline", "date", share=0.5),
            Want("priority", "choice(low|medium|high|urgent)", share=0.5, default="medium"),
        ),
    ),
    "share": Operation(
        "send",
        ("share", "send", "forward", "email"),
        "send {a} to somebody",
        (
            "Sends the record of {a} to one recipient.",
            "Shares {a} with somebody outside the {theme} system.",
            "Forwards a summary of one {e} as a file.",
        ),
        (
            Want("recipient", ("email", "email", "person"), role="who"),
            Want("file format", "choice(pdf|csv|html|docx)", share=0.5, default="pdf"),
            Want("message", "phrase", share=0.4),
            Want("attachments", "flag", share=0.25, default=True),
        ),
    ),
    "order": Operation(
        "buy",
        ("order_supplies_for", "buy_goods_for", "request_material_for", "procure_for"),
        "order supplies for {a}",
        (
            "Orders supplies that are booked on {a}.",
            "Places one order of several goods for a given {e}.",
            "Requests material for {a} from the {theme} storehouse.",
        ),
    ),
    "batch": Operation(
        "write",
        ("import", "batch_add", "bulk_create"),
        "import several {es}",
        (
            "Adds several {es} at once.",
            "Imports a list of {es}; each entry is an object.",
            "Creates many {es} in one step, in the order in which they are given.",
        ),
        several=True,
    ),
    "estimate": Operation(
        "compute",
        ("calculate", "estimate", "compute", "predict"),
        "calculate the {measure} of {a}",
        (
            "Calculates the {measure} of {a} from its properties.",
            "Estimates the {measure} for the given {e}.",
            "Computes the {measure} of one {e}. Nothing is stored.",
        ),
    ),
    "compare": Operation(
        "read",
        ("compare", "rank", "benchmark"),
        "compare {es}",
        (
            "Compares several {es} by one criterion.",
            "Ranks the given {es} against each other.",
            "Returns a table that puts {es} side by side.",
        ),
        several=True,
    ),
    "alert": Operation(
        "watch",
        ("monitor", "watch", "set_alert_for", "track"),
        "set an alert for {a}",
        (
            "Sets an alert on {a} that fires when a metric crosses a threshold.",
            "Watches one {e} and reports when a value is out of bounds.",
            "Monitors {a}.",
        ),
    ),
    "report": Operation(
        "report",
        ("report", "generate_report_on", "export", "summarize"),
        "write a report about {es}",
        (
            "Generates a report about all {es} in a period.",
            "Exports the {es} of a period as one document.",
            "Summarizes what happened to the {es} between two dates.",
        ),
        several=True,
    ),
    "rate": Operation(
        "review",
        ("rate", "review", "grade"),
        "rate {a}",
        ("Stores a rating of {a}.", "Adds a review with a score for one {e}.", "Rates the {e} with the given {key}."),
        (
            Want("score", "rating", names=("score", "stars", "rating")),
            Want("comment", "phrase", share=0.5),
            Want("reviewer name", "person", share=0.4),
        ),
    ),
    "statistics": Operation(
        "read",
        ("stats", "statistics", "count", "analyze"),
        "get statistics about {es}",
        (
            "Returns one statistic of all {es} in a region and a year.",
            "Counts or averages {es} by region.",
            "Statistics about {es} from the {theme} archive.",
        ),
        several=True,
    ),
    "check": Operation(
        "plan",
        ("check_availability_of", "is_free", "availability"),
        "check whether {a} is available",
        (
            "Tells whether {a} is available on a given day.",
            "Checks the availability of one {e}.",
            "Availability of {a} by its {key}.",
        ),
        (
            Want("requested date", "date"),
            Want("number of people", "count", share=0.5, default=2),
            Want("waiting list", "flag", share=0.3, default=False),
        ),
    ),
    "move": Operation(
        "change",
        ("move", "transfer", "relocate"),
        "move {a} to another place",
        (
            "Moves {a} to another location.",
            "Transfers one {e} to a new place and updates the inventory.",
            "Relocates the {e} with the given {key}.",
        ),
        (
            Want("new location", "place", role="who"),
            Want("moving date", "date", share=0.4),
            Want("handling", "choice(standard|careful|priority)", share=0.3, default="standard"),
        ),
    ),
    "nearby": Operation(
        "read",
        ("find_nearby", "locate", "nearest"),
        "find {es} near a city",
        ("Finds {es} near a city, nearest first.", "Locates {es} around a place.", "Lists the {es} close to a city."),
        several=True,
    ),
    "recommend": Operation(
        "advise",
        ("recommend", "suggest", "propose"),
        "recommend {es}",
        (
            "Recommends {es} for a kind of people.",
            "Suggests a few {es} that suit an audience and a budget.",
            "Proposes {es} from the {theme} catalogue.",
        ),
        several=True,
    ),
}

DETAILS = (
    "Names are compared without regard to case.",
    "Every call is written to the audit log of the {theme} department.",
    "The result is a JSON object that holds one entry for each property.",
    "Use another function if you need more than one {e} at a time.",
    "Callers need read access to the {theme} data; an error names the missing permission.",
    "Optional parameters that are left out keep their defaults.",
    "Results are cached for a few minutes, so very recent changes of {a} may be missing.",
    "This endpoint belongs to the second generation of the {theme} interface and replaces an older one.",
    "Requests about unknown {es} are answered with an empty result instead of an error.",
    "Give values exactly as the user states them.",
)


@cache
def entities() -> tuple[Entity, ...]:
    """All entities of all themes, in the order of the file."""
    found = []
    themes = yaml.safe_load((files(__package__) / "themes.yaml").read_text(encoding="utf-8"))
    for theme, entries in themes.items():
        goods = tuple(map(str, entries.pop("goods")))
        for name, text in entries.items():
            listed, _, measures = text.partition("->")
            pairs = [Attribute(label, kind_of(kind, label)) for label, kind in _ENTRY.findall(listed.strip())]
            names = tuple(measure.strip() for measure in measures.split(","))
            found.append(Entity(theme, name, pairs[0], tuple(pairs[1:]), names, goods))
    return tuple(found)


@cache
def all_tools() -> tuple[ComposedTool, ...]:
    """Every composed tool, no name twice."""
    made: dict[str, ComposedTool] = {}
    for entity in entities():
        for name in OPERATIONS:
            for measure in entity.measures if name == "estimate" else ("",):
                tool = _tool(entity, name, measure)
                if tool is not None and tool.name not in made:
                    made[tool.name] = tool
    return tuple(made.values())


def plural(words: str) -> str:
    """Several of what the words name."""
    if words.endswith(("s", "sh", "ch", "x")):
        return f"{words}es"
    return f"{words[:-1]}ies" if words[-1] == "y" and words[-2] not in "aeiou" else f"{words}s"


def article(words: str) -> str:
    """The words with `a` or `an`."""
    return f"{'an' if words[0].lower() in 'aeio' else 'a'} {words}"


def words_of(entity: Entity, measure: str = "") -> dict[str, str]:
    """What templates may say of an entity."""
    return {
        "e": entity.name,
        "es": entity.plural,
        "a": article(entity.name),
        "theme": entity.theme,
        "measure": measure,
        "key": entity.key.label.removeprefix(f"{entity.name} "),
    }


def _tool(entity: Entity, name: str, measure: str) -> ComposedTool | None:
    operation, rng = OPERATIONS[name], random.Random(f"{entity.theme}/{entity.name}/{name}/{measure}")
    draft = _Draft(entity, rng)
    if not draft.choose(name):
        return None
    words = words_of(entity, measure)
    text = rng.choice(operation.texts).format(**words)
    details = [each.format(**words) for each in rng.sample(DETAILS, rng.choice((0, 0, 0, 1, 1, 2, 3)))]
    subject = entity.plural if operation.several else entity.name
    spelled = [*rng.choice(operation.verbs).split("_"), *subject.split(), *measure.split()]
    match draft.spelling:
        case "snake":
            function = "_".join(spelled)
        case "dotted":
            function = f"{entity.theme.replace(' ', '_')}.{'_'.join(spelled)}"
        case "camel":
            function = spelled[0] + "".join(word.title() for word in spelled[1:])
        case _:
            function = "".join(word.title() for word in [*entity.theme.split(), *spelled])
    properties = {slot.name: _described(slot, entity, rng) for slot in draft.slots}
    schema = {
        "name": function,
        "description": " ".join([text, *details]),
        "parameters": {
            "type": "object",
            "properties": properties,
            "required": [slot.name for slot in draft.slots if slot.required],
        },
    }
    does = operation.does.format(**words)
    return ComposedTool(entity, name, operation.family, does, tuple(draft.slots), schema, measure)


def _described(slot: Slot, entity: Entity, rng: random.Random) -> dict[str, Any]:
    hint = hint_of(slot.kind)
    subject = f"The {slot.label}" if slot.role != "key" else f"The {entity.name}'s {slot.label}"
    if slot.kind.name in ("flag", "is"):
        subject = (
            f"Whether the {entity.name} is {slot.label}" if slot.kind.name == "is" else f"Whether to have {slot.label}"
        )
    form = rng.choice(("{s}{h}.", "{s}{h}.", "{s} of this {e}{h}.", "{s}{h}. Given by the user."))
    if slot.role == "key" or slot.kind.name in ("flag", "is"):
        form = "{s}{h}."
    text = form.format(s=subject, h=f", {hint}" if hint else "", e=entity.name)
    schema = schema_of(slot.kind)
    if slot.default is not None:
        schema["default"] = slot.default
        if rng.random() < 0.6:
            text += f" Default is {str(slot.default).lower() if isinstance(slot.default, bool) else slot.default}."
    elif not slot.required and rng.random() < 0.5:
        text = f"Optional. {text}"
    return schema | {"description": text}
