"""Unicode normalisation in linear time, whatever the text.

`unicodedata.normalize` sorts the combining marks after a letter by insertion, which takes the square of their number:
3 s for 64,000 of them. Of a row of marks no more than `MOST_MARKS` are kept, the bound of Unicode's Stream-Safe Text
Format (UAX #15, 13). No language comes near it.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Literal

MOST_MARKS = 30


def normalised(form: Literal["NFC", "NFD", "NFKC"], text: str) -> str:
    """`text` in a Unicode form; of a row of combining marks, the first `MOST_MARKS`."""
    if marks_at(text) >= 0:
        kept, run = [], 0
        for char in text:
            run = run + 1 if _is_mark(char) else 0
            if run <= MOST_MARKS:
                kept.append(char)
        text = "".join(kept)
    return unicodedata.normalize(form, text)


def marks_at(text: str, most: int = MOST_MARKS) -> int:
    """Where the first row of more than `most` combining marks begins; -1 without one."""
    if text.isascii():
        return -1
    # A row of so many covers one of these places; most texts have a mark at none.
    for at in range(most, len(text), most + 1):
        if text[at] > "\u02ff" and _is_mark(text[at]):
            start = end = at
            while end - start <= most and start and _is_mark(text[start - 1]):
                start -= 1
            while end - start <= most and end < len(text) and _is_mark(text[end]):
                end += 1
            if end - start > most:
                return start
    return -1


@lru_cache(maxsize=4096)
def _is_mark(char: str) -> bool:
    return unicodedata.combining(unicodedata.normalize("NFKD", char)[0]) > 0
