"""Raw text to calls: the step before any language, then the language's own decoder.

The step strips backticks, newlines and spaces, these three only, and adds a bracket where one is missing at either end.
So a tab, a carriage return, a language tag on a code fence or a think tag is enough to fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funreason.bfcl.categories import Language
from funreason.bfcl.errors import Undecodable
from funreason.bfcl.java_calls import decode_java
from funreason.bfcl.javascript_calls import decode_javascript
from funreason.bfcl.python_calls import Decoded, decode_python

MAX_CHARS = 100_000
"""Longer outputs count as undecodable; the syntax tree of a text takes some hundred times its size."""

_DECODERS: dict[Language, Callable[[str], list[Decoded] | None]] = {
    "python": decode_python,
    "java": decode_java,
    "javascript": decode_javascript,
}


def decode(output: Any, language: Language = "python") -> list[Decoded] | None:
    """The calls in `output`; None when a Java or JavaScript text holds none. Raises Undecodable."""
    if not isinstance(output, str):
        raise Undecodable(f"expected text, found {type(output).__name__}")
    text = output.strip("`\n ")
    if len(text) > MAX_CHARS:
        raise Undecodable(f"the output has {len(text)} characters; at most {MAX_CHARS} are read")
    if not text.startswith("["):
        text = f"[{text}"
    if not text.endswith("]"):
        text = f"{text}]"
    return _DECODERS[language](text)
