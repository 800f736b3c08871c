"""TRL: `{"prompt", "completion"}`, and `{"prompt", "chosen", "rejected"}` for preferences, beside `tools`.

Source: https://huggingface.co/docs/trl/dataset_formats. Each is a text or a list of messages. Of a preference the
chosen answer is read and the rejected one counted as left; where there is no prompt, `chosen` holds all of the
conversation. `label: false` says that the completion is not to be learned. A prompt alone is a task whose right answer
is unknown.
"""

from __future__ import annotations

from funreason.data.forms.form import Record, empty, marks_of, offered_tools, record_read
from funreason.data.forms.messages import Conversation, written_messages
from funreason.data.records import RecordRead, RecordRefused

KEYS = ("prompt", "completion", "chosen", "label", "system")


def matches(record: Record) -> bool:
    """Whether the record has TRL's keys."""
    return "prompt" in record or ("chosen" in record and "rejected" in record)


def read(record: Record, line: int) -> RecordRead:
    """The record as it is; raises RecordRefused."""
    talk = Conversation(offered_tools(record))
    prompt = record.get("prompt")
    if isinstance(prompt, str) and prompt.strip():
        talk.say("user", prompt)
    elif not empty(prompt):
        talk.read(prompt, "prompt")
    talk.system(record.get("system"))
    key = "completion" if not empty(record.get("completion")) else "chosen"
    answer = record.get(key)
    if isinstance(answer, str):
        talk.say("assistant", answer)
    elif not empty(answer):
        begun = len(talk.turns)
        talk.read(answer, key)
        repeated = talk.turns[begun : 2 * begun]  # some data sets repeat the prompt in each of the two
        if begun and [turn.message for turn in repeated] == [turn.message for turn in talk.turns[:begun]]:
            del talk.turns[begun : 2 * begun]
    elif not talk.turns:
        raise RecordRefused("query.empty", "neither prompt nor chosen holds a message")
    label = record.get("label")
    if label in (False, 0) and label is not None and talk.turns:
        talk.turns[-1] = talk.turns[-1]._replace(trained=False)
    return record_read(record, line, talk.turns, talk.tools, KEYS, talk.left)


def write(read: RecordRead) -> Record:
    """A record with prompt and completion, both as messages, or a prompt alone; RecordRefused after a tool's result."""
    if not read.is_open and read.turns[-1].message.role != "assistant":
        raise RecordRefused("convert.no_place", "a completion is an answer, and this record ends with a tool's result")
    messages = written_messages(read.turns)
    tools = [{"type": "function", "function": tool} for tool in read.tools]
    parts = {"prompt": messages} if read.is_open else {"prompt": messages[:-1], "completion": messages[-1:]}
    return {"id": read.id, **parts, "tools": tools} | marks_of(read)
