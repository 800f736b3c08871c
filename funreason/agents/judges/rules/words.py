"""Words, and what judges know about them: codes that stand for words, number words, endings, abbreviations, initials.

Codes cover languages, countries, currencies, calendar words and small numbers. A code that is missing here costs at
worst one false alarm of stage 2; codes that shorten a word of the query (CN for China, TSLA for Tesla, fr for French)
are recognised by rule and need no entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

CODES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "de": ("german", "germany", "deutsch", "allemand", "aleman", "alemán", "tedesco", "almanca"),
        "es": ("spanish", "spain", "español", "spanisch", "spanische", "espagnol", "spagnolo", "ispanyolca"),
        "nl": ("dutch", "netherlands", "holland"),
        "zh": ("chinese", "mandarin", "china", "chinesisch", "chinois", "chino", "çince", "中文", "汉语"),
        "el": ("greek",),
        "ja": ("japanese", "japanisch", "japonais", "japonés", "japonca"),
        "sv": ("swedish",),
        "hr": ("croatian", "croatia"),
        "ch": ("switzerland", "swiss"),
        "at": ("austria", "austrian"),
        "za": ("south africa",),
        "kr": ("korea", "korean"),
        "gb": ("britain", "british", "england", "united kingdom", "uk"),
        "uk": ("britain", "british", "england", "united kingdom"),
        "us": (
            "america",
            "american",
            "united states",
            "usa",
            "u.s.",
            "vereinigte staaten",
            "états-unis",
            "estados unidos",
        ),
        "usa": ("america", "american", "united states", "us", "u.s."),
        "uae": ("emirates",),
        "en": ("english", "englisch", "englische", "anglais", "inglés", "inglese", "ingilizce"),
        "usd": ("dollar", "dollars", "dolar", "dólar", "dolares", "dólares", "dollari", "$", "us"),
        "eur": ("euro", "euros", "avro", "€"),
        "gbp": ("pound", "pounds", "£", "sterling"),
        "jpy": ("yen", "¥", "japanese"),
        "cny": ("yuan", "rmb", "renminbi", "chinese"),
        "inr": ("rupee", "rupees", "₹"),
        "krw": ("won", "korean"),
        "chf": ("franc", "francs", "swiss"),
        "btc": ("bitcoin",),
        "eth": ("ethereum", "ether"),
        "xau": ("gold",),
        "c": ("celsius", "centigrade"),
        "f": ("fahrenheit",),
        "metric": ("celsius", "kilometer", "kilometers", "kg", "km", "meters"),
        "imperial": ("fahrenheit", "miles", "pounds", "feet", "inches"),
        "m": ("male", "man", "men", "meter", "meters"),
        "male": ("man", "men", "boy", "he", "his", "husband", "father", "son"),
        "female": ("woman", "women", "girl", "she", "her", "wife", "mother", "daughter"),
        "asc": ("ascending", "increasing", "lowest", "oldest"),
        "desc": ("descending", "decreasing", "highest", "latest", "newest", "top"),
        "aapl": ("apple",),
        "goog": ("google", "alphabet"),
        "googl": ("google", "alphabet"),
        "amzn": ("amazon",),
        "fb": ("facebook",),
        "pm": ("afternoon", "evening", "night"),
        "am": ("morning",),
    }
)

MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

ONES = MappingProxyType(
    {
        word: number
        for number, word in enumerate(
            [
                "zero",
                "one",
                "two",
                "three",
                "four",
                "five",
                "six",
                "seven",
                "eight",
                "nine",
                "ten",
                "eleven",
                "twelve",
                "thirteen",
                "fourteen",
                "fifteen",
                "sixteen",
                "seventeen",
                "eighteen",
                "nineteen",
            ]
        )
    }
    | dict.fromkeys(("single", "once", "a", "an"), 1)
    | dict.fromkeys(("both", "pair", "couple", "twice", "double"), 2)
    | {"thrice": 3, "triple": 3, "half": 0.5, "quarter": 0.25}
    | {
        word: number
        for number, word in enumerate(
            [
                "first",
                "second",
                "third",
                "fourth",
                "fifth",
                "sixth",
                "seventh",
                "eighth",
                "ninth",
                "tenth",
                "eleventh",
                "twelfth",
                "thirteenth",
                "fourteenth",
                "fifteenth",
                "sixteenth",
                "seventeenth",
                "eighteenth",
                "nineteenth",
            ],
            start=1,
        )
    }
)
TENS = MappingProxyType(
    {
        word: 20 + 10 * index
        for index, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"])
    }
    | {
        word: 20 + 10 * index
        for index, word in enumerate(
            ["twentieth", "thirtieth", "fortieth", "fiftieth", "sixtieth", "seventieth", "eightieth", "ninetieth"]
        )
    }
)
SCALES = MappingProxyType(
    {
        "hundred": 100,
        "thousand": 1_000,
        "k": 1_000,
        "grand": 1_000,
        "lakh": 100_000,
        "million": 1_000_000,
        "m": 1_000_000,
        "mn": 1_000_000,
        "crore": 10_000_000,
        "billion": 1_000_000_000,
        "b": 1_000_000_000,
        "bn": 1_000_000_000,
        "trillion": 1_000_000_000_000,
        "dozen": 12,
    }
)

CALENDAR = MappingProxyType(
    {
        spelling: place
        for names in (MONTHS, WEEKDAYS)
        for place, name in enumerate(names, start=1)
        for spelling in (name, name[:3], name[:4])
    }
)
"""Months and weekdays, whole or cut to three or four letters, by their place."""


WORD = re.compile(
    r"[^\W_]+(?:[\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0970-\u0df3\u0e31-\u0e3a"
    r"\u0e47-\u0e4e\u0eb1-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b4-\u17d3][^\W_]*)*"
)
"""Letters, digits and the marks on them, such as Indic and Thai vowel signs."""
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
"""Where a name written in camelCase is taken apart."""
MOST_PARTS = 200
"""Of a text of thousands of words, enough are asked for to judge in bounded time."""
MOST_LEAVES = 1_000
"""Of a list of more values, so many are asked for."""
_EMPTY_WORDS = frozenset("the and for with from into that this are was has have its all any http https www com".split())


def stem(word: str) -> str:
    """The word without a plural's or a verb's ending: crude, and the same for both sides of a comparison."""
    for ending in ("ingly", "ations", "ation", "ings", "ing", "ies", "ers", "ed", "er", "es", "ly", "y", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def has_weight(part: str) -> bool:
    """Whether a word says something of its own, unlike `the` or `of`."""
    return (len(part) > 2 or part.isdecimal() or not part.isascii()) and part not in _EMPTY_WORDS


def shortens(code: str, word: str) -> bool:
    """Whether the code is the word's first letter and others of it in their order, as `jpn` is of `japan`."""
    if len(word) <= len(code) or word[0] != code[0]:
        return False
    letters = iter(word)
    return all(letter in letters for letter in code)


def is_initials(code: str, text: str) -> bool:
    """Whether the text holds words in a row that begin with the code's letters, small words between them left out."""
    pattern = r"\b" + r"\w*[\s-]+(?:of |the |and )?".join(map(re.escape, code)) + r"\w*"
    return re.search(pattern, text) is not None


def leaves(value: Any) -> Iterator[Any]:
    """What a value holds that is no container, in its order; keys are left out.

    Texts and numbers that are there several times are given once, and no more than `MOST_LEAVES` in all.
    """
    seen: set[tuple[type, Any]] = set()
    waiting = [iter((value,))]
    while waiting and len(seen) < MOST_LEAVES:
        for part in waiting[-1]:
            if isinstance(part, list | tuple | dict):
                waiting.append(iter(part.values() if isinstance(part, dict) else part))
                break
            if (type(part), part) not in seen:
                seen.add((type(part), part))
                yield part
                if len(seen) >= MOST_LEAVES:
                    return
        else:
            waiting.pop()
