"""Forms whose records are conversations: share-gpt, OpenAI's messages, TRL's prompt and completion.

share-gpt: `{"conversations": [{"from", "value"}], "system", "tools"}`, as LLaMA-Factory reads it (source:
https://github.com/hiyouga/LLaMA-Factory, data/README.md). Turns are `human`, `gpt`, `function_call` (calls as JSON,
after their thinking) and `observation` (a tool's result). In a conversation of one answer the calls are written as a
`gpt` turn, `[f(a=1)]`, which is what a model is trained to write here; in a longer one as `function_call` turns. Other
programs' keys and roles in `conversations` are read as well, see `messages`.

OpenAI: `{"messages": […], "tools": […]}`, chat with tools (source: https://platform.openai.com/docs/api-reference/chat).
`tool_calls` and the older `function_call` become calls, `tool` messages are results, `functions` serves where `tools`
is missing or null. Anthropic's blocks (`tool_use`, `tool_result`, `thinking`) mean the same, and so does its `system`
beside the messages; ms-swift's messages are read as well. Thinking is written as `reasoning_content`, a message that is
not to be learned with `weight: 0`.

TRL: `{"prompt", "completion"}`, and `{"prompt", "chosen", "rejected"}` for preferences, beside `tools` (source:
https://huggingface.co/docs/trl/dataset_formats). Each is a text or a list of messages. Of a preference the chosen
answer is read and the rejected one counted as left; where there is no prompt, `chosen` holds all of the conversation.
`label: false` says that the completion is not to be learned. A prompt alone is a task whose right answer is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from funreason.calls.names import original_answer
from funreason.calls.render import CallRenderError, render_calls
from funreason.calls.thinking import join_thinking
from funreason.data.forms.form import Form, Record, empty, in_original, marks_of, offered_tools, record_read
from funreason.data.forms.messages import Conversation, name_of_result, spoken, written_messages
from funreason.data.records import ReadTurn, RecordRead, RecordRefused

_SPEAKERS = {"user": "human", "assistant": "gpt", "tool": "observation", "system": "system"}
_TRL_KEYS = ("prompt", "completion", "chosen", "label", "system")


def read_sharegpt(record: Record, line: int) -> RecordRead:
    """The record as it is; raises RecordRefused."""
    other = "conversation" in record and empty(record.get("conversations"))
    key = "conversation" if other else "conversations"
    talk = Conversation(offered_tools(record))
    talk.read(record[key], key)
    talk.system(record.get("system"))
    return record_read(record, line, talk.turns, talk.tools, (key, "system"), talk.left)


def write_sharegpt(read: RecordRead) -> Record:
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


def read_openai(record: Record, line: int) -> RecordRead:
    """The record as it is; raises RecordRefused."""
    talk = Conversation(offered_tools(record))
    talk.read(record["messages"], "messages")
    talk.system(record.get("system"))
    return record_read(record, line, talk.turns, talk.tools, ("messages", "system"), talk.left)


def write_openai(read: RecordRead) -> Record:
    """A record in OpenAI's form."""
    read = in_original(read)
    tools = [{"type": "function", "function": tool} for tool in read.tools]
    return {"id": read.id, "messages": written_messages(read.turns), "tools": tools} | marks_of(read)


def read_trl(record: Record, line: int) -> RecordRead:
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
    return record_read(record, line, talk.turns, talk.tools, _TRL_KEYS, talk.left)


def write_trl(read: RecordRead) -> Record:
    """A record with prompt and completion, both as messages, or a prompt alone; RecordRefused after a tool's result."""
    read = in_original(read)
    if not read.is_open and read.turns[-1].message.role != "assistant":
        raise RecordRefused("convert.no_place", "a completion is an answer, and this record ends with a tool's result")
    messages = written_messages(read.turns)
    tools = [{"type": "function", "function": tool} for tool in read.tools]
    parts = {"prompt": messages} if read.is_open else {"prompt": messages[:-1], "completion": messages[-1:]}
    return {"id": read.id, **parts, "tools": tools} | marks_of(read)


SHAREGPT = Form(
    "sharegpt",
    "LLaMA-Factory, ms-swift, axolotl, Hermes, ToolACE, APIGen-MT",
    "conversations",
    "dialogue, system text, results, thinking in tags, turns not to be learned",
    lambda record: "conversations" in record or "conversation" in record,
    read_sharegpt,
    write_sharegpt,
)
OPENAI = Form(
    "openai",
    "OpenAI, Anthropic and vLLM logs, TRL, ms-swift, verl",
    "messages",
    "dialogue, system text, results, thinking in fields, parts or tags, turns not to be learned",
    lambda record: "messages" in record,
    read_openai,
    write_openai,
)
TRL = Form(
    "trl",
    "TRL: language modelling by prompt and completion, preferences",
    "prompt with completion, or chosen and rejected",
    "dialogue, system text, results, thinking; of a preference the chosen answer",
    lambda record: "prompt" in record or ("chosen" in record and "rejected" in record),
    read_trl,
    write_trl,
)
