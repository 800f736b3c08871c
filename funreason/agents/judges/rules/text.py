"""Comparing words: endings, abbreviations, initials and stop words."""

from __future__ import annotations

import re

WORD = re.compile(r"[^\W_]+")
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
"""Where to split a camelCase name."""
MOST_PARTS = 200
"""Most words of a value that are checked, which bounds the time."""
_EMPTY_WORDS = frozenset("the and for with from into that this are was has have its all any http https www com".split())


def of_another_script(value: str, text: str) -> bool:
    """Whether value and text are written in different scripts, so that only a translator could compare them."""
    foreign = [char for char in value if not char.isascii() and char.isalpha()]
    if foreign:
        return not any(char in text for char in foreign)
    letters = [char for char in text if char.isalnum()]
    return 3 * sum(not char.isascii() for char in letters) > len(letters)


def stem(word: str) -> str:
    """The word without a plural's or a verb's ending: crude, and the same for both sides of a comparison."""
    for ending in ("ingly", "ations", "ation", "ings", "ing", "ies", "ers", "ed", "er", "es", "ly", "y", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def has_weight(part: str) -> bool:
    """Whether a word is a content word, unlike `the` or `of`."""
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
