"""share-gpt: `{"conversations": [{"from", "value"}], "system", "tools"}`, as LLaMA-Factory reads it.

Source: https://github.com/hiyouga/LLaMA-Factory, data/README.md. Turns are `human`, `gpt`, `function_call` (calls as
JSON, after their thinking) and `observation` (a tool's result). In a conversation of one answer the calls are written
as a `gpt` turn, `[f(a=1)]`, which is what a model is trained to write here; in a longer one as `function_call` turns.
Other programs' keys and roles in `conversations` are read as well, see `messages`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from funreason.calls.names import original_answer
from funreason.calls.render import CallRenderError, render_calls
from funreason.calls.thinking import join_thinking
from funreason.data.forms.form import Record, empty, in_original, marks_of, offered_tools, record_read
from funreason.data.forms.messages import Conversation, name_of_result, spoken
from funreason.data.records import ReadTurn, RecordRead, RecordRefused

_SPEAKERS = {"user": "human", "assistant": "gpt", "tool": "observation", "system": "system"}


def matches(record: Record) -> bool:
    """Whether the record has share-gpt's key."""
    return "conversations" in record or "conversation" in record


def read(record: Record, line: int) -> RecordRead:
    """The record as it is; raises RecordRefused."""
    other = "conversation" in record and empty(record.get("conversations"))
    key = "conversation" if other else "conversations"
    talk = Conversation(offered_tools(record))
    talk.read(record[key], key)
    talk.system(record.get("system"))
    return record_read(record, line, talk.turns, talk.tools, (key, "system"), talk.left)


def write(read: RecordRead) -> Record:
    """A record in share-gpt's form; RecordRefused for a call that cannot be written."""
    answer, read = (read.turns[-1:] or (None,))[0], in_original(read)
    turns = list(read.turns)
    system = turns.pop(0).message.content if turns and turns[0].message.role == "system" else ""
    single = len(turns) <= 2
    strict = single and answer is not None and bool(answer.message.calls) and not answer.message.content
    said = written_turns(turns[:-1] if strict else turns)
    if strict and answer is not None:
        try:
            text = original_answer(render_calls(answer.message.calls), read.names)
        except CallRenderError as error:
            raise RecordRefused("convert.not_writable", str(error)) from error
        mark = {} if answer.trained else {"weight": 0}
        said.append({"from": "gpt", "value": join_thinking(answer.message.thinking, text)} | mark)
    tools = json.dumps(read.tools, ensure_ascii=False)
    return {"id": read.id, "conversations": said, "system": system, "tools": tools} | marks_of(read)


def written_turns(turns: Sequence[ReadTurn]) -> list[Record]:
    """Turns as share-gpt's, calls as `function_call` with JSON, text beside them in a `gpt` turn before."""
    made: list[Record] = []
    names: list[str] = []
    for turn in turns:
        message = turn.message
        mark: Record = {} if turn.trained else {"weight": 0}
        if message.role == "assistant":
            names = [call.name for call in message.calls]
        if message.calls:
            if message.content:
                made.append({"from": "gpt", "value": message.content} | mark)
            calls = [{"name": call.name, "arguments": call.arguments} for call in message.calls]
            text = json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)
            made.append({"from": "function_call", "value": join_thinking(message.thinking, text)} | mark)
        elif message.role == "assistant":
            made.append({"from": "gpt", "value": spoken(turn)} | mark)
        else:
            name = name_of_result(message, names) if message.role == "tool" else {}
            made.append({"from": _SPEAKERS[message.role], "value": message.content} | name)
    return made
