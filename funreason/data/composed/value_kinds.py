"""Values of the composed tools: what a query says, and what the call must then hold.

A `Kind` says how a value is drawn, written in the query and described in a schema. Whatever the query does not give
word for word follows from it and the parameter's description alone: a date in the stated format, minutes for hours, a
fraction for a percentage, digits for a number word. `VALUE` marks where a value is in a query while it is composed, so
that noise never touches one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, NamedTuple

from funreason.data.toolbox.values import LAST_NAMES, listed, made_up

VALUE = ("\x02", "\x03")
"""The marks before and after a value in a text under composition."""

FIRST_NAMES = (
    "Amara Bao Chiara Dmitri Eilidh Farah Gustavo Hana Imran Jürgen Kwame Leilani Mateus Niamh Océane Priya Rafaël "
    "Sanna Tomás Uchenna Véronique Wen Ximena Yusuf Zofia Anders Beatriz Callum Dalia Esra Finnur Gwen Henrik Ingrid "
    "Jorge Katya Lars Mina Noor Olga Pavel Rosalind Søren Teresa Umberto Viola Wiebke Yannick Zainab"
).split()
FAMILY_NAMES = (
    LAST_NAMES
    + (
        "Álvarez Bianchi Çelik Dvořák Eriksen Fernández García Haddad Ibrahim Jovanović Kowalski Laurent Müller "
        "Nakamura Okafor Petrov Quispe Rossi Şahin Takahashi Usman Vargas Wójcik Yamada Zhang Novák Lindqvist Moreau "
        "Adeyemi"
    ).split()
)
CITIES = (
    "Aarhus|Bilbao|Cusco|Dakar|Eindhoven|Fukuoka|Gdańsk|Hobart|Izmir|Jaipur|Kraków|León|Malmö|Nantes|Oaxaca|Perth|"
    "Quebec City|Rosario|São Paulo|Tbilisi|Utrecht|Valparaíso|Windhoek|Xalapa|Yerevan|Zagreb|Addis Ababa|Buenos Aires|"
    "Cape Town|Dar es Salaam|New Orleans|Kuala Lumpur|San Diego|Hamburg|Glasgow|Antwerp|Bordeaux|Chicago|Leipzig|Osaka"
).split("|")
COUNTRIES = (
    "Argentina|Botswana|Chile|Denmark|Estonia|Finland|Ghana|Hungary|Iceland|Jordan|Kenya|Latvia|Morocco|Norway|Oman|"
    "Peru|Romania|Slovenia|Thailand|Uruguay|Vietnam|Zambia|New Zealand|Costa Rica|Sri Lanka|South Korea"
).split("|")
ADJECTIVES = (
    "silent golden northern hidden broken crimson early gentle hollow ivory lonely misty narrow older patient quiet "
    "rapid scarlet tidy upper vivid western amber bright copper distant eastern frozen"
).split()
NOUNS = (
    "harbor lantern meadow orchard compass river winter garden mirror bridge falcon island journey kingdom ladder "
    "mountain needle ocean palace question shadow tower valley window anchor bell canyon dune ember forest"
).split()
PLACES = "hall annex depot pavilion station square terrace wing gallery court".split()
STREETS = "Street Avenue Lane Road Terrace Square".split()
SUFFIXES = "Works|Partners|& Sons|Systems|Trading|Logistics|Labs|Group|Holdings".split("|")
MATERIALS = "oak wool cotton steel ceramic linen bamboo leather glass cork".split()
THINGS = "stool vase blanket kettle bowl jacket clock shelf basket lantern".split()
FIELDS = "data product finance safety marketing network quality research".split()
ROLES = "analyst engineer manager assistant planner auditor designer coordinator".split()
LEVELS = "junior senior lead deputy".split()
COLORS = "navy blue|dark green|pearl white|burgundy|mustard yellow|charcoal|turquoise|coral|lavender|olive".split("|")
STATES = "ready late damaged approved incomplete missing expensive excellent delayed welcome".split()
SUBJECTS = (
    "the paperwork|the second delivery|our visit|the new schedule|the colour|the service|the invoice|the view|"
    "the packaging|the evening slot|the main entrance|the follow-up"
).split("|")
TOPICS = "review planning kickoff budget handover training retrospective interview".split()
MONTHS = "January February March April May June July August September October November December".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
NUMBER_WORDS = "two three four five six seven eight nine ten eleven twelve".split()
LANGUAGES = {
    "German": "de", "Spanish": "es", "French": "fr", "Italian": "it", "Portuguese": "pt", "Dutch": "nl",
    "Polish": "pl", "Swedish": "sv", "Turkish": "tr", "Japanese": "ja", "Korean": "ko", "Greek": "el",
}  # fmt: skip


class Unit(NamedTuple):
    """A unit: its name in words, the range of ordinary values, decimals, and a larger unit people say instead."""

    words: str
    low: int
    high: int
    decimals: int = 0
    larger: str = ""
    factor: int = 1


UNITS = {
    "kg": Unit("kilograms", 1, 140, 1),
    "g": Unit("grams", 50, 9000, 0, "kg", 1000),
    "mg": Unit("milligrams", 5, 900),
    "m": Unit("meters", 2, 900, 1),
    "cm": Unit("centimeters", 5, 240),
    "mm": Unit("millimeters", 20, 900),
    "km": Unit("kilometers", 2, 900, 1),
    "ha": Unit("hectares", 2, 400, 1),
    "m²": Unit("square meters", 18, 400),
    "°C": Unit("degrees Celsius", 12, 95),
    "°": Unit("degrees", 5, 85),
    "km/h": Unit("kilometers per hour", 20, 240),
    "m/s": Unit("meters per second", 2, 90, 1),
    "l/s": Unit("liters per second", 3, 600),
    "V": Unit("volts", 3, 400),
    "Ω": Unit("ohms", 5, 900),
    "A": Unit("amperes", 2, 32, 1),
    "W": Unit("watts", 40, 900),
    "kW": Unit("kilowatts", 20, 300),
    "kWh": Unit("kilowatt-hours", 100, 9000),
    "N/m": Unit("newtons per meter", 20, 900),
    "kPa": Unit("kilopascals", 80, 900),
    "h": Unit("hours", 2, 12),
    "min": Unit("minutes", 15, 240, 0, "h", 60),
    "s": Unit("seconds", 20, 600, 0, "min", 60),
    "day": Unit("days", 2, 30),
    "month": Unit("months", 6, 60),
    "year": Unit("years", 2, 90),
    "dB": Unit("decibels", 30, 90),
    "ml": Unit("milliliters", 50, 900),
    "GB": Unit("gigabytes", 2, 512),
}
DATE_FORMATS = ("YYYY-MM-DD", "YYYY-MM-DD", "YYYY-MM-DD", "DD/MM/YYYY", "MM/DD/YYYY", "DD.MM.YYYY")
CURRENCIES = {"US dollars": ("$", "dollars"), "euros": ("€", "euros"), "pounds": ("£", "pounds")}
TEXTS = frozenset(
    "person title code phrase email phone job street city country company place team group topic product word ticker "
    "version host color".split()
)
"""Kinds whose value is a text that the query gives word for word."""
NUMBERS = frozenset("n money percent count rating year".split())
COMPOUND = frozenset("tags fields names range changes period contact address items records".split())
"""Kinds whose value is a list or an object."""
REWORDED = frozenset("date time language weekday choice flag is".split())
"""Kinds whose value is a text or a truth value that the query may give in other words."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value. `detail` is what its name takes (`code(LN)`), `style` the format that its description states."""

    name: str
    detail: str = ""
    style: str = ""
    parts: tuple[tuple[str, Kind], ...] = ()

    @property
    def options(self) -> list[str]:
        """The values of a choice."""
        return self.detail.split("|")

    @property
    def is_number(self) -> bool:
        """Whether it is a measured or counted quantity."""
        return self.name in NUMBERS


class Spoken(NamedTuple):
    """A value for the call, and the words for it in the query, the value marked in them."""

    value: Any
    said: str


def kind_of(text: str, label: str = "") -> Kind:
    """The kind written as `name` or `name(detail)`; an empty text means the kind that the label names."""
    name, _, detail = (text or label).partition("(")
    known = name in TEXTS or name in NUMBERS or name in COMPOUND or name in REWORDED
    return Kind(name if known else "word", detail.removesuffix(")"))


def styled(kind: Kind, rng: random.Random) -> Kind:
    """The kind with the format that one tool asks for."""
    styles: dict[str, tuple[str, ...]] = {
        "date": DATE_FORMATS,
        "percent": ("percent", "percent", "fraction"),
        "money": tuple(CURRENCIES),
        "language": ("name", "name", "code"),
        "weekday": ("whole", "whole", "short"),
    }
    parts = tuple((label, styled(part, rng)) for label, part in kind.parts)
    if kind.name == "period":  # both ends of a period are written alike
        parts = tuple((label, parts[0][1]) for label, _ in parts)
    return Kind(kind.name, kind.detail, rng.choice(styles.get(kind.name, ("",))), parts)


def schema_of(kind: Kind) -> dict[str, Any]:
    """The JSON Schema of a kind, without a description."""
    match kind.name:
        case "flag" | "is":
            return {"type": "boolean"}
        case "count" | "rating" | "year":
            return {"type": "integer"}
        case "money" | "percent":
            return {"type": "number"}
        case "n":
            unit = UNITS[kind.detail]
            return {"type": "number" if unit.decimals or unit.larger == "kg" else "integer"}
        case "choice":
            return {"type": "string", "enum": kind.options}
        case "weekday":
            return {"type": "string", "enum": [day[:3] if kind.style == "short" else day for day in WEEKDAYS]}
        case "tags":
            return {"type": "array", "items": {"type": "string"}}
        case "fields":
            return {"type": "array", "items": {"type": "string", "enum": kind.options}}
        case "names":
            return {"type": "array", "items": {"type": "string"}}
        case "items" | "records":
            return {"type": "array", "items": _object(kind)}
    return _object(kind) if kind.parts else {"type": "string"}


def hint_of(kind: Kind) -> str:
    """What a description has to say for the value to be exact: a unit, a format, a range; "" where nothing."""
    match kind.name:
        case "date":
            return f"in {kind.style} format"
        case "time":
            return "in 24-hour HH:MM format"
        case "money":
            return f"in {kind.style}"
        case "n":
            return f"in {UNITS[kind.detail].words}"
        case "percent":
            return "as a fraction between 0 and 1" if kind.style == "fraction" else "in percent"
        case "rating":
            return "from 1 to 10"
        case "language":
            return "as a two-letter ISO 639-1 code" if kind.style == "code" else "as its English name"
        case "weekday" if kind.style == "short":
            return "as its first three letters"
        case "email":
            return "as an email address"
    return ""


def draw(kind: Kind, rng: random.Random) -> Spoken:
    """A value of the kind with the words for it."""
    match kind.name:
        case "date":
            drawn = _dated(_day(rng), kind, rng)
        case "time":
            hour, minute = rng.randint(7, 21), rng.choice((0, 0, 15, 30, 45))
            exact, half = f"{hour:02}:{minute:02}", "am" if hour < 12 else "pm"
            short = f"{(hour - 1) % 12 + 1}{f':{minute:02}' if minute else ''} {half}"
            drawn = Spoken(exact, rng.choice((exact, short, short)))
        case "language":
            language = rng.choice(list(LANGUAGES))
            drawn = Spoken(LANGUAGES[language] if kind.style == "code" else language, language)
        case "weekday":
            day = rng.choice(WEEKDAYS)
            drawn = Spoken(day[:3] if kind.style == "short" else day, day)
        case "choice":
            option = rng.choice(kind.options)
            drawn = Spoken(option, option.replace("_", " "))
        case "flag" | "is":
            drawn = Spoken(rng.random() < 0.75, "")
        case name if name in NUMBERS:
            drawn = _number(kind, rng)
        case name if name in COMPOUND:
            drawn = _compound(kind, rng)
        case _:
            text = _text(kind, rng)
            drawn = Spoken(text, text)
    return drawn if VALUE[0] in drawn.said else Spoken(drawn.value, marked(drawn.said))


def distinct(kind: Kind, count: int, rng: random.Random) -> list[Spoken]:
    """`count` values of a kind, no two alike."""
    drawn: dict[str, Spoken] = {}
    while len(drawn) < count:
        one = draw(kind, rng)
        drawn[str(one.value).casefold()] = one
    return list(drawn.values())


def listed_or_one(words: list[str]) -> str:
    """The words as a list, or the only one."""
    return listed(words) if len(words) > 1 else words[0]


def marked(text: str) -> str:
    """The text as a value: noise leaves it alone."""
    return f"{VALUE[0]}{text}{VALUE[1]}"


def unmarked(text: str) -> str:
    """The text without the marks of values."""
    return text.replace(VALUE[0], "").replace(VALUE[1], "")


def number_text(value: float) -> str:
    """The digits of a number, with separators from ten thousand on."""
    return f"{value:,}" if value >= 10_000 else str(value)


def _object(kind: Kind) -> dict[str, Any]:
    properties = {}
    for label, part in kind.parts:
        hint = hint_of(part)
        text = f"The {label}{f', {hint}' if hint else ''}."
        properties[label.replace(" ", "_")] = schema_of(part) | {"description": text}
    required = [] if kind.name == "changes" else list(properties)
    return {"type": "object", "properties": properties, "required": required}


def _day(rng: random.Random) -> tuple[int, int, int]:
    return rng.randint(2019, 2029), rng.randint(1, 12), rng.randint(1, 28)


def _dated(at: tuple[int, int, int], kind: Kind, rng: random.Random) -> Spoken:
    """A day in the kind's format, said in one of the ways people write dates."""
    year, month, day = at
    value = kind.style or DATE_FORMATS[0]
    for part, text in (("YYYY", str(year)), ("MM", f"{month:02}"), ("DD", f"{day:02}")):
        value = value.replace(part, text)
    name, ending = MONTHS[month - 1], {1: "st", 2: "nd", 3: "rd"}.get(day % 10 if day not in (11, 12, 13) else 0, "th")
    said = (
        f"{name} {day}, {year}", f"{day} {name} {year}", f"{name} {day}{ending}, {year}", f"{year}-{month:02}-{day:02}",
        f"the {day}{ending} of {name} {year}", value,
    )  # fmt: skip
    return Spoken(value, rng.choice(said))


def _text(kind: Kind, rng: random.Random) -> str:
    """A text of one of TEXTS."""
    match kind.name:
        case "person":
            return f"{rng.choice(FIRST_NAMES)} {rng.choice(FAMILY_NAMES)}"
        case "title":
            adjective, noun, other = (rng.choice(words).title() for words in (ADJECTIVES, NOUNS, NOUNS))
            forms = (
                f"The {adjective} {noun}",
                f"{noun} of the {other}",
                f"{adjective} {noun}",
                f"A {noun} in {other}land",
            )
            return rng.choice(forms)
        case "code":
            number, prefix = rng.randint(1000, 99_999), kind.detail
            short = f"{prefix}-{number % 1000:03}-{number % 9}"
            codes = f"{prefix}-{number}", f"{prefix}{number}", short, f"{prefix}/{number}"
            return codes[sum(map(ord, prefix)) % len(codes)]  # one form for all codes of a kind
        case "phrase":
            verb = ("is", "was", "looks")
            return f"{rng.choice(SUBJECTS)} {rng.choice(verb)} {rng.choice(STATES)}".capitalize()
        case "email":
            name = rng.choice([name for name in FIRST_NAMES if name.isascii()]).lower()
            return f"{name}.{made_up(rng)}@{rng.choice(('example.org', 'example.com', 'mail.example'))}"
        case "phone":
            numbers = f"555-{rng.randint(1000, 9999)}", f"+{rng.randint(20, 99)} 555 {rng.randint(10000, 99999)}"
            return rng.choice(numbers)
        case "job":
            return f"{rng.choice(LEVELS)} {rng.choice(FIELDS)} {rng.choice(ROLES)}"
        case "street":
            return f"{rng.randint(2, 240)} {rng.choice(NOUNS).title()} {rng.choice(STREETS)}"
        case "city":
            return rng.choice(CITIES)
        case "country":
            return rng.choice(COUNTRIES)
        case "company":
            return f"{made_up(rng).title()} {rng.choice(SUFFIXES)}"
        case "place":
            return f"{rng.choice(ADJECTIVES)} {rng.choice(PLACES)}".title()
        case "team":
            return f"{rng.choice(NOUNS)} {rng.choice(NOUNS)}s".title()
        case "group":
            return f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}s".title()
        case "topic":
            return f"{rng.choice(NOUNS)} {rng.choice(TOPICS)}".capitalize()
        case "product":
            return f"{rng.choice(MATERIALS)} {rng.choice(THINGS)}"
        case "word":
            return made_up(rng).capitalize()
        case "ticker":
            return "".join(rng.sample("BCDFGHKLMNPRSTVXZ", 4))
        case "version":
            return f"{rng.randint(1, 9)}.{rng.randint(0, 40)}.{rng.randint(1, 20)}"
        case "host":
            return f"{made_up(rng)}-{rng.randint(2, 99):02}.example.net"
        case "color":
            return rng.choice(COLORS)
    raise KeyError(f"no values are known of the kind {kind.name!r}")


def _number(kind: Kind, rng: random.Random) -> Spoken:
    """A number of one of NUMBERS, with its digits or words."""
    value: float
    match kind.name:
        case "count":
            value = rng.choice((rng.randint(2, 12), rng.randint(2, 60), rng.randint(2, 400)))
            return Spoken(value, NUMBER_WORDS[value - 2] if value <= 12 and rng.random() < 0.4 else str(value))
        case "money":
            sign, words = CURRENCIES[kind.style or "US dollars"]
            whole = rng.choice((rng.randint(5, 99), rng.randint(100, 999), rng.randint(10, 900) * 100))
            value = whole + rng.choice((0, 0, 0, 0.5, 0.25, 0.75))
            value = int(value) if value == int(value) else value
            text = number_text(value) if value == int(value) else f"{value:,.2f}"
            return Spoken(value, rng.choice((f"{sign}{text}", f"{text} {words}", f"{sign}{text}")))
        case "percent":
            value = rng.choice((rng.randint(2, 90), rng.randint(4, 190) / 2))
            value = int(value) if value == int(value) else value
            exact = round(value / 100, 6) if kind.style == "fraction" else value
            return Spoken(exact, rng.choice((f"{value}%", f"{value} percent")))
        case "n":
            unit = UNITS[kind.detail]
            if unit.larger and rng.random() < 0.3:
                many = rng.randint(2, max(2, unit.high // unit.factor))
                return Spoken(many * unit.factor, f"{many} {rng.choice((UNITS[unit.larger].words, unit.larger))}")
            value = rng.randint(unit.low, unit.high)
            if unit.decimals and rng.random() < 0.5:
                value = round(value + rng.randint(1, 9) / 10, 1)
            short = kind.detail if kind.detail not in ("day", "month", "year") else unit.words
            gap = "" if short == "°" else " "
            return Spoken(value, rng.choice((f"{value}{gap}{short}", f"{value} {unit.words}")))
        case "rating":
            value = rng.randint(2, 10)
        case _:
            value = rng.randint(int(kind.detail or 1905), 2024)  # a year
    return Spoken(value, str(value))


def _compound(kind: Kind, rng: random.Random) -> Spoken:
    """A list or an object of one of COMPOUND, with the words for each of its parts."""
    match kind.name:
        case "tags":
            tags = rng.sample(ADJECTIVES, rng.choice((2, 2, 3)))
            return Spoken(tags, listed([marked(tag) for tag in tags]))
        case "fields":
            fields = rng.sample(kind.options, min(len(kind.options), 2))
            return Spoken(fields, listed_or_one([marked(field.replace("_", " ")) for field in fields]))
        case "names":
            names = distinct(kind.parts[0][1], rng.choice((2, 2, 3)), rng)
            return Spoken([one.value for one in names], listed([one.said for one in names]))
        case "range":
            one = two = Spoken(0, "")
            while one.value == two.value:
                pair = (draw(kind.parts[0][1], rng) for _ in range(2))
                one, two = sorted(pair, key=lambda each: float(each.value))
            return Spoken({"min": one.value, "max": two.value}, f"between {one.said} and {two.said}")
        case "period":
            days = sorted(_day(rng) for _ in range(2))
            ends = [_dated(day, part, rng) for day, (_, part) in zip(days, kind.parts, strict=True)]
            value = {_key(label): end.value for (label, _), end in zip(kind.parts, ends, strict=True)}
            return Spoken(value, f"from {marked(ends[0].said)} to {marked(ends[1].said)}")
        case "address":
            street, city = _text(Kind("street"), rng), rng.choice(CITIES)
            code = str(rng.randint(10_000, 99_999))
            return Spoken({"street": street, "postal_code": code, "city": city}, marked(f"{street}, {code} {city}"))
        case "items":
            goods = rng.sample(kind.options, rng.choice((2, 2, 3)))
            counted = [(thing, _number(Kind("count"), rng)) for thing in goods]
            items = [{"item": thing, "quantity": count.value} for thing, count in counted]
            return Spoken(items, listed([f"{marked(count.said)} {marked(thing)}" for thing, count in counted]))
        case "records":
            rows, texts = [], []
            for first in distinct(kind.parts[0][1], rng.choice((2, 2, 3)), rng):
                drawn = {label: draw(part, rng) for label, part in kind.parts[1:]}
                rows.append(
                    {_key(kind.parts[0][0]): first.value} | {_key(label): one.value for label, one in drawn.items()}
                )
                texts.append(f"{first.said} ({', '.join(f'{label} {one.said}' for label, one in drawn.items())})")
            return Spoken(rows, listed(texts))
        case "changes":
            some = rng.sample(kind.parts, min(len(kind.parts), rng.choice((1, 2, 2))))
            drawn = {label: draw(part, rng) for label, part in some}
            said = listed_or_one([f"{label} {one.said}" for label, one in drawn.items()])
        case _:  # a contact: a name, and how to reach it
            drawn = {label: draw(part, rng) for label, part in kind.parts}
            name, way = (one.said for one in drawn.values())
            said = f"{name} ({way})"
    return Spoken({_key(label): one.value for label, one in drawn.items()}, said)


def _key(label: str) -> str:
    return label.replace(" ", "_")
