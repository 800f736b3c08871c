"""Where thinking ends: splits a completion into its thinking and its answer, and joins them again.

The paper's form is `<think>…</think>\\n\\n[call(…)]` (arXiv 2505.20192, section on MSL). The rules for what
models really write: the LAST closing tag ends the thinking (a model that closes twice was still thinking);
an opening tag that is never closed means there is no answer; no tag at all means the whole text is answer.

Servers and data files put thinking in other places as well: in a field beside the content, whose name depends on who
wrote it, or in a part of the content. `thinking_of` looks in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

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


THINKING_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Where a message has its thinking apart from its content: DeepSeek and SGLang; vLLM and OpenRouter; Ollama and TRL."""
THINKING_PARTS = frozenset({"thinking", "reasoning", "redacted_thinking"})
"""Types of content parts that hold thinking: Anthropic's and vLLM's."""


def thinking_of(message: Mapping[str, Any], tags: Tags = THINK_TAGS) -> tuple[str | None, list[str]]:
    """The thinking of a message and the other places of it that hold a different one.

    The places, first found first: `THINKING_FIELDS`, `reasoning_details`, parts of the content, tags in the content.
    What is no text counts as absent. The thinking is stripped, and None where no place has any.

    >>> thinking_of({"reasoning": "a is 1", "thinking": "a is 2", "content": None})
    ('a is 1', ['thinking'])
    """
    content = message.get("content")
    found = [(name, message.get(name)) for name in THINKING_FIELDS]
    found.append(("reasoning_details", _joined(message.get("reasoning_details"))))
    if isinstance(content, list):
        thought = [part for part in content if isinstance(part, Mapping) and part.get("type") in THINKING_PARTS]
        found.append(("content.thinking", _joined(thought)))
        texts = [part.get("text") if isinstance(part, Mapping) else part for part in content if part not in thought]
        content = "\n".join(text for text in texts if isinstance(text, str))
    if isinstance(content, str):
        found.append(("content.tags", split_thinking(content, tags).thinking))
    places = {name: text.strip() for name, text in found if isinstance(text, str) and text.strip()}
    first = next(iter(places.values()), None)
    return first, [name for name, text in places.items() if text != first]


def _joined(parts: Any) -> str | None:
    """The texts of parts that hold thinking, one a line; their key is the name of their kind, or `text`, `summary`."""
    if not isinstance(parts, list):
        return None
    texts = (
        part.get(key) for part in parts if isinstance(part, Mapping) for key in (*THINKING_FIELDS, "text", "summary")
    )
    return "\n".join(text for text in texts if isinstance(text, str)) or None
