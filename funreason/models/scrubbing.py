"""Takes a key out of what servers send: they do echo keys, and some spell them as JSON may (`\\/`, `\\u002b`).

A key of few letters is a word of answers too (`test`, `EMPTY`: what people give a local server that wants none). It is
taken out of error bodies only, where it stands alone, so that no answer is changed by it.
"""

from __future__ import annotations

import re
from urllib.parse import quote

SHORT = 8
"""Characters below which a key is taken for a word."""
HIDDEN = "***"


class Scrubber:
    """Hides one key; None hides nothing."""

    def __init__(self, key: str | None) -> None:
        spelled = "|".join("".join(map(_spelled, each)) for each in (key, quote(key, safe=""))) if key else ""
        self._anywhere = re.compile(spelled) if key and len(key) >= SHORT else None
        self._alone = re.compile(rf"(?<!\w)(?:{spelled})(?!\w)") if key else None

    def answer(self, text: str) -> str:
        """An answer without the key."""
        return text if self._anywhere is None else self._anywhere.sub(HIDDEN, text)

    def error(self, text: str) -> str:
        """What is told of an error, without the key."""
        found = self._anywhere or self._alone
        return text if found is None else found.sub(HIDDEN, text)


def _spelled(char: str) -> str:
    plain = re.escape(char)
    slashed = rf"\\{plain}" if not char.isalnum() else plain
    return rf"(?:{plain}|{slashed}|\\u(?i:{ord(char):04x}))"
