"""Text as people type it: typos, no capitals, short forms, a missing full stop. Values stay as they are."""

from __future__ import annotations

import random
import re

from funreason.data.composed.value_kinds import VALUE

SHORT_FORMS = {
    "please": "pls", "you": "u", "thanks": "thx", "because": "cos", "with": "w/", "and": "&", "are": "r",
    "number": "no", "don't": "dont", "it's": "its", "I'd": "id", "I'm": "im", "can't": "cant",
}  # fmt: skip
_KEPT = re.compile(f"({VALUE[0]}[^{VALUE[1]}]*{VALUE[1]})")
_WORD = re.compile(r"[A-Za-z']+")


def noisy(text: str, rng: random.Random) -> str:
    """The text with one to three kinds of noise outside the marked values."""
    kinds = rng.sample(("lower", "typos", "short", "ending", "spaces"), rng.choice((1, 2, 2, 3)))
    parts = _KEPT.split(text)
    for place in range(0, len(parts), 2):
        if "short" in kinds:
            parts[place] = _WORD.sub(lambda word: _shortened(word[0], rng), parts[place])
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


def _shortened(word: str, rng: random.Random) -> str:
    return SHORT_FORMS.get(word, word) if rng.random() < 0.5 else word
