"""The words that values are made of: names, places, things, and made-up words.

Nearly half of all string values are made-up words: a model cannot have learned them, it has to copy them
from the query. A fifth of all values (by a hash of the text) is held out: training splits never use them,
dev and gate splits use nothing else.
"""

from __future__ import annotations

import random
import zlib

__all__ = ["FIRST_NAMES", "LAST_NAMES", "PLACES", "THINGS", "held_out", "made_up"]

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


def held_out(text: str) -> bool:
    """Whether a value is kept from training, by a stable hash of its lower-cased text."""
    return zlib.crc32(text.lower().encode()) % HELD_OUT_SHARE == 0


def made_up(rng: random.Random) -> str:
    """A word of two or three syllables that no list holds."""
    middle = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.choice((1, 1, 2))))
    return middle + rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(ENDINGS)
