"""Tells a text that tries to call a function from ordinary prose.

A cut-off or misspelt call is still an attempt: it must be judged and mended as one, and never be kept as prose.
Prose that merely mentions `f()` in a sentence is no attempt.
"""

from __future__ import annotations

import re

_OPENINGS = re.compile(
    r"\s*(?:`{1,3}[\w-]*\s*)?(?:\[\s*[\w.]+\s*\(|\[\s*\{|\{\s*[\"'](?:name|function|tool_calls)[\"'])"
)
_TAG = re.compile(r"<(?:tool_call|function_call)>")
_WHOLE_CALL = re.compile(r"^[ \t]*[A-Za-z_][\w.]*\((?:\s*\)|\s*\w+\s*=)", re.MULTILINE)
_FENCED_CALL = re.compile(r"```[\w-]*\s*\[?\s*(?:[A-Za-z_][\w.]*\(|\{\s*\")")
_SENTENCE_LIST = re.compile(r"\[\s*[A-Za-z_][\w.]*\(\s*\w+\s*=")


def looks_like_calls(text: str) -> bool:
    """Whether `text` attempts a call, well formed or not; `[]` and empty text are no attempt."""
    head = text[:20_000]
    if not head.strip("[] \n\t`"):
        return False
    patterns = (_OPENINGS.match, _TAG.search, _WHOLE_CALL.search, _FENCED_CALL.search, _SENTENCE_LIST.search)
    return any(pattern(head) for pattern in patterns)
