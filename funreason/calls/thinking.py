"""Where thinking ends: splits a completion into its thinking and its answer, and joins them again.

The paper's form is `<think>…</think>\\n\\n[call(…)]` (arXiv 2505.20192, section on MSL). The rules for what
models really write: the LAST closing tag ends the thinking (a model that closes twice was still thinking);
an opening tag that is never closed means there is no answer; no tag at all means the whole text is answer.
"""

from __future__ import annotations

from typing import NamedTuple

Tags = tuple[str, str]
"""The opening and the closing tag of thinking."""
THINK_TAGS: Tags = ("<think>", "</think>")


class SplitCompletion(NamedTuple):
    """A completion in two parts. `thinking` is None without tags; `closed` is False when thinking never ended."""

    thinking: str | None
    answer: str
    closed: bool


def split_thinking(text: str, tags: Tags = THINK_TAGS) -> SplitCompletion:
    """Split `text` at the last closing tag; both parts come back stripped of surrounding blanks.

    A missing opening tag is accepted when a closing one is there: some chat templates write it into the prompt.
    """
    opening, closing = tags
    head, found, tail = text.rpartition(closing)
    if found:
        return SplitCompletion(head.strip().removeprefix(opening).strip(), tail.strip(), True)
    if text.lstrip().startswith(opening):
        return SplitCompletion(text.lstrip().removeprefix(opening).strip(), "", False)
    return SplitCompletion(None, text.strip(), True)


def join_thinking(thinking: str | None, answer: str, tags: Tags = THINK_TAGS) -> str:
    """The text a model is trained to write: thinking in its tags, a blank line, the answer."""
    if thinking is None:
        return answer
    return f"{tags[0]}{thinking}{tags[1]}\n\n{answer}"
