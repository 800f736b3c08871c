"""OpenAI: `{"messages": […], "tools": […]}`, chat with tools; Anthropic's messages and ms-swift's are read as well.

Source: https://platform.openai.com/docs/api-reference/chat. `tool_calls` and the older `function_call` become calls,
`tool` messages are results, `functions` serves where `tools` is missing or null. Anthropic's blocks (`tool_use`,
`tool_result`, `thinking`) mean the same, and so does its `system` beside the messages. Thinking is written as
`reasoning_content`, a message that is not to be learned with `weight: 0`.
"""

from __future__ import annotations

from funreason.data.forms.form import Record, marks_of, offered_tools, record_read
from funreason.data.forms.messages import Conversation, written_messages
from funreason.data.records import RecordRead


def matches(record: Record) -> bool:
    """Whether the record has OpenAI's key."""
    return "messages" in record


def read(record: Record, line: int) -> RecordRead:
    """The record as it is; raises RecordRefused."""
    talk = Conversation(offered_tools(record))
    talk.read(record["messages"], "messages")
    talk.system(record.get("system"))
    return record_read(record, line, talk.turns, talk.tools, ("messages", "system"), talk.left)


def write(read: RecordRead) -> Record:
    """A record in OpenAI's form."""
    tools = [{"type": "function", "function": tool} for tool in read.tools]
    return {"id": read.id, "messages": written_messages(read.turns), "tools": tools} | marks_of(read)
