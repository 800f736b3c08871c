"""Values: what a query says, and what the call must then hold.

Each kind draws a pair `(value, said)`. The familiar kinds are copied as they are. The unseen themes add codes, times
and lists of numbers, and three kinds that must be rewritten: `few` (number words to integers), `clock` (to 24 hours)
and `weekday` (to its short form).

Nearly half of all string values are made-up words: a model cannot have learned them, it has to copy them from the
query. A fifth of all values (by a hash of the text) is held out: training splits never use them, dev and gate splits
use nothing else.
"""

from __future__ import annotations

import random
import zlib
from typing import Any, NamedTuple

HELD_OUT_SHARE = 5
"""One value in five is kept from training."""

ONSETS = "b br c cl d dr f fl g gr h j k kr l m n p pl qu r s sk st t tr v w z".split()
VOWELS = "a e i o u ai ea io".split()
ENDINGS = "b ck d f g l m n nd p r rn s sk t x".split()

FIRST_NAMES = (
    "Anna Ben Clara David Emma Felix Grace Hugo Irene Jonas Karin Leo Maria Nora Oscar Paula Quinn Rosa Simon Tara "
    "Ursula Victor Wanda Xaver Yara Zoe Adam Bella Carl Diana Erik Fiona Georg Helen Ivan Julia"
).split()
LAST_NAMES = (
    "Abel Berg Cole Dale Eklund Frost Glass Holm Iverson Jensen Keller Lund Moss North Olsen Park Quist Reed Stone "
    "Thorn Ulrich Vance West Young Ziegler Baker Carter Dixon"
).split()
PLACES = (
    "Berlin Oslo Lima Cairo Tokyo Paris Rome Delhi Quito Accra Dublin Prague Vienna Boston Denver Austin Kyoto Lagos "
    "Porto Madrid Geneva Warsaw Athens Havana Bogota Nairobi Lisbon Turin Basel Bergen"
).split()
THINGS = (
    "apple lamp basil river mirror candle pepper silver window honey rocket garlic marble violet cotton ginger tiger "
    "pencil saddle button carpet lemon walnut harbor cinnamon ladder pumpkin feather anchor cherry barrel olive "
    "magnet copper blanket mango helmet coffee spinach tulip"
).split()

MADE_UP_SHARE = 0.45
NUMBER_WORDS = "two three four five six seven eight nine".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

JSON_TYPES: dict[str, dict[str, Any]] = {
    "word": {"type": "string"},
    "person": {"type": "string"},
    "city": {"type": "string"},
    "text": {"type": "string"},
    "date": {"type": "string"},
    "count": {"type": "integer"},
    "amount": {"type": "integer"},
    "price": {"type": "number"},
    "words": {"type": "array", "items": {"type": "string"}},
    "flag": {"type": "boolean"},
    "choice": {"type": "string"},
    "few": {"type": "integer"},
    "clock": {"type": "string"},
    "time": {"type": "string"},
    "weekday": {"type": "string"},
    "code": {"type": "string"},
    "numbers": {"type": "array", "items": {"type": "integer"}},
}
"""The JSON Schema type of each kind; a choice gets its `enum` from the tool."""

CLOSED = ("few", "clock", "weekday", "flag", "choice")
"""Kinds with so few values that holding some out would make them unlearnable."""


class Drawn(NamedTuple):
    """A value for the call, and the words for it in the query."""

    value: Any
    said: str


def draw(kind: str, rng: random.Random, *, unseen: bool) -> Drawn:
    """A value of a kind; `unseen` draws from the held-out fifth.

    Lists hold only such items; closed kinds have nothing held out. Choices and flags are drawn by their parameter.
    """
    while True:
        match kind:
            case "price":
                price = rng.randint(11, 999) / 10
                drawn = Drawn(price, repr(price))
            case "count" | "amount":
                number = rng.randint(2, 99) if kind == "count" else rng.randint(100, 9999)
                drawn = Drawn(number, str(number))
            case "few":
                number = rng.randint(2, 9)
                drawn = Drawn(number, NUMBER_WORDS[number - 2])
            case "clock":
                hour, half = rng.randint(1, 9), rng.choice(("am", "pm", "pm"))
                drawn = Drawn(f"{hour + (12 if half == 'pm' else 0):02}:00", f"{hour} {half}")
            case "weekday":
                day = rng.choice(WEEKDAYS)
                drawn = Drawn(day[:3], day)
            case "words":
                words = rng.sample([made_up(rng) for _ in range(3)] + rng.sample(THINGS, 4), rng.choice((2, 2, 3)))
                drawn = Drawn(words, listed(words))
            case "numbers":
                numbers = [rng.randint(11, 199) for _ in range(rng.choice((2, 3)))]
                drawn = Drawn(numbers, listed([str(number) for number in numbers]))
            case _:
                text = _text(kind, rng)
                drawn = Drawn(text, text)
        items = drawn.value if isinstance(drawn.value, list) else [drawn.said]
        if kind in CLOSED or all(held_out(str(item)) == unseen for item in items):
            return drawn


def held_out(text: str) -> bool:
    """Whether a value is kept from training, by a stable hash of its lower-cased text."""
    return zlib.crc32(text.lower().encode()) % HELD_OUT_SHARE == 0


def made_up(rng: random.Random) -> str:
    """A word of two or three syllables that no list holds."""
    middle = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.choice((1, 1, 2))))
    return middle + rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(ENDINGS)


def listed(words: list[str]) -> str:
    """`a and b`, or `a, b and c`."""
    return ", ".join(words[:-1]) + " and " + words[-1]


def _text(kind: str, rng: random.Random) -> str:
    """A value that the query quotes as it is."""
    match kind:
        case "word":
            word = made_up(rng) if rng.random() < MADE_UP_SHARE else rng.choice(THINGS)
            return word.capitalize() if rng.random() < 0.3 else word
        case "person":
            first = made_up(rng).capitalize() if rng.random() < MADE_UP_SHARE else rng.choice(FIRST_NAMES)
            return first if rng.random() < 0.6 else f"{first} {rng.choice(LAST_NAMES)}"
        case "city":
            return made_up(rng).capitalize() if rng.random() < MADE_UP_SHARE else rng.choice(PLACES)
        case "text":
            return " ".join(_text("word", rng).lower() for _ in range(rng.choice((1, 2, 2))))
        case "date":
            return f"20{rng.randint(20, 29)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
        case "time":
            return f"{rng.randint(6, 22):02}:{rng.randint(0, 11) * 5:02}"
        case "code":
            letters = "".join(rng.choice("BCDFGHJKLMNPRSTVWXZ") for _ in range(2))
            return f"{letters}-{rng.randint(100, 999)}"
    raise ValueError(f"values of kind {kind!r} are drawn by their parameter")
