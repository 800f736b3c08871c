"""OpenAI chat with tools: `{"messages": […], "tools": […]}`, the answer in the last assistant message.

`tool_calls` become the reference calls; an assistant's content without them is ordinary text. A dialogue of several
turns becomes one query, as in share-gpt; system messages are not read.
"""

from __future__ import annotations

from typing import Any

from funreason.calls.thinking import SplitCompletion, split_thinking
from funreason.data.records import RecordRead, RecordRefused, calls_field, query_text, record_id, tools_field
from funreason.data.sharegpt import dialogue
from funreason.types import Call, Task


def matches(record: dict[str, Any]) -> bool:
    """Whether the record has chat messages."""
    return "messages" in record


def read(record: dict[str, Any], line: int) -> RecordRead:
    """The record's task and the answer's own text; raises RecordRefused."""
    messages = _messages(record["messages"])
    last = messages.pop() if messages[-1]["role"] == "assistant" else None
    reference, thinking, answer = _answer(last)
    task = Task.of(
        id=record_id(record, line),
        query=query_text(dialogue([(message["role"], _content(message)) for message in messages])),
        tools=tools_field(record.get("tools", record.get("functions"))),
        reference=reference,
        reference_thinking=thinking,
        category=str(record.get("category") or ""),
        source=str(record.get("source") or ""),
    )
    return RecordRead(task, answer.answer, unparsed=answer.closed) if answer else RecordRead(task)


def _answer(message: dict[str, Any] | None) -> tuple[list[Call] | None, str | None, SplitCompletion | None]:
    """The calls an answer is given as, its thinking, and the text it is given as otherwise."""
    if message is None:
        return None, None, None
    content = split_thinking(_content(message))
    thinking = content.thinking or message.get("reasoning_content") or None
    if not isinstance(thinking, str | None):
        raise RecordRefused("cot.bad", f"reasoning_content must be text, found {type(thinking).__name__}")
    if message.get("tool_calls"):
        spoken = content.answer if content.closed else None
        return calls_field(message["tool_calls"], "tool_calls"), thinking or spoken or None, None
    return None, thinking, content


def _messages(found: Any) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not found:
        raise RecordRefused("query.empty", "messages must be a list of at least one message")
    for index, message in enumerate(found):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RecordRefused("query.bad", f"messages[{index}] must be an object with a role")
    spoken = [message for message in found if message["role"] not in ("system", "developer")]
    if not spoken:
        raise RecordRefused("query.empty", "messages hold only a system message")
    return spoken


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str):
        raise RecordRefused("query.bad", f"a message's content must be text, found {type(content).__name__}")
    return content
