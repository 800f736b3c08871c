"""Text from outside, made safe to print: what a model, a file or an exception says must not steer the terminal.

A terminal obeys control characters (`ESC ]0;…BEL` renames its window, CR overwrites a line) and draws text backwards
after a bidi override, so a record could show something else than it holds. Each of them is replaced by a visible sign.
All printed text that this project did not write itself goes through `plain`.
"""

from __future__ import annotations

import html
import re

_LINES = "\n\t"
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Controls, soft hyphens, signs of no width, line separators, bidi signs, lone surrogates (no terminal can encode
them) and tag characters."""


def plain(text: object, *, lines: bool = False) -> str:
    """`str(text)` with every control character visible; with `lines`, newlines and tabs stay what they are.

    C0 controls and DEL become their pictures (ESC is ␛), all others their code point (`⟨U+202E⟩`).
    """

    def sign(found: re.Match[str]) -> str:
        char, code = found[0], ord(found[0])
        if lines and char in _LINES:
            return char
        if code < 0x20:
            return chr(0x2400 + code)
        return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"

    return _UNSAFE.sub(sign, str(text))


_MARKUP = re.compile(r"([\\`*_\[\]|#])")


def in_markdown(text: str) -> str:
    """Text as Markdown shows it: nothing of it is markup, HTML, or the end of a cell."""
    return _MARKUP.sub(r"\\\1", html.escape(text, quote=False))
