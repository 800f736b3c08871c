"""The forms of records that are read and written: xLAM, share-gpt, OpenAI chat with tools.

xLAM: `{"id", "query", "tools", "answers"}`, the last two as JSON strings or already parsed. Source:
https://huggingface.co/datasets/Salesforce/xlam-function-calling-60k. Beside it the keys `cot` (thinking), `response`
(text, when no call is right), `category`, `source` and `flags` are kept where a record has them. A record without
`answers` is a task whose right answer is unknown.

share-gpt: `{"conversations": [{"from", "value"}], "system", "tools"}`, as LLaMA-Factory reads it. The last `gpt` (or
`function_call`) turn is the answer, thinking split off; everything before it is the query. A dialogue of several turns
becomes one query with a speaker's name before each turn. The system text is not read: the project writes its own prompt
around the tools.

OpenAI: `{"messages": […], "tools": […]}`, the answer in the last assistant message. `tool_calls` become the reference
calls; an assistant's content without them is ordinary text. Dialogues and system messages are read as in share-gpt.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from funreason.calls.names import callable_task, original_answer, original_task
from funreason.calls.render import render_calls
from funreason.calls.thinking import SplitCompletion, join_thinking, split_thinking
from funreason.data.records import (
    RecordRead,
    RecordRefused,
    calls_field,
    optional_text,
    query_text,
    record_id,
    tools_field,
)
from funreason.types import Call, Task

_ANSWERING = frozenset({"gpt", "assistant", "function_call"})
_ASKING = frozenset({"human", "user"})


class Form(NamedTuple):
    """A form of records: whether a record has it, how one is read (RecordRefused), and how a task is written in it."""

    matches: Callable[[dict[str, Any]], bool]
    read: Callable[[dict[str, Any], int], RecordRead]
    write: Callable[[Task], dict[str, Any]]


def read_xlam(record: dict[str, Any], line: int) -> RecordRead:
    """The record's task; raises RecordRefused."""
    answers = record.get("answers")
    reference = None if answers is None else calls_field(answers, "answers")
    text = optional_text(record, "response")
    flags = record.get("flags")
    tools = tools_field(record.get("tools"))
    task = Task.of(
        id=record_id(record, line),
        query=query_text(record["query"]),
        tools=tools.tools,
        names=tools.names,
        reference=reference,
        reference_text=text,
        reference_thinking=optional_text(record, "cot"),
        category=str(record.get("category") or ""),
        source=str(record.get("source") or ""),
        flags=[str(flag) for flag in flags] if isinstance(flags, list) else [],
    )
    return RecordRead(callable_task(task), text if reference == [] else None)


def xlam_record(task: Task) -> dict[str, Any]:
    """A task in xLAM's form."""
    task = original_task(task)
    record: dict[str, Any] = {"id": task.id, "query": task.query, "tools": _json(task.tools)}
    if task.reference is not None:
        record["answers"] = _json([{"name": call.name, "arguments": call.arguments} for call in task.reference])
    return record | _known(cot=task.reference_thinking, response=task.reference_text, flags=task.flags) | _marks(task)


def read_sharegpt(record: dict[str, Any], line: int) -> RecordRead:
    """The record's task and the answer's own text; raises RecordRefused."""
    found = record["conversations"]
    if not isinstance(found, list) or not found:
        raise RecordRefused("query.empty", "conversations must be a list of at least one turn")
    turns: list[tuple[str, str]] = []
    for index, turn in enumerate(found):
        if not (isinstance(turn, dict) and all(isinstance(turn.get(key), str) for key in ("from", "value"))):
            why = f"conversations[{index}] must be an object with `from` and `value` as text"
            raise RecordRefused("query.bad", why)
        if turn["from"] != "system":
            turns.append((turn["from"], turn["value"]))
    if not turns:
        raise RecordRefused("query.empty", "conversations hold only a system turn")
    answered = turns[-1][0] in _ANSWERING
    raw = turns.pop()[1] if answered else None
    split = split_thinking(raw) if raw is not None else None
    tools = tools_field(record.get("tools"))
    task = Task.of(
        id=record_id(record, line),
        query=query_text(dialogue(turns)),
        tools=tools.tools,
        names=tools.names,
        reference_thinking=split.thinking if split else None,
        category=str(record.get("category") or ""),
        source=str(record.get("source") or ""),
    )
    return RecordRead(task, split.answer, unparsed=split.closed) if split else RecordRead(task)


def dialogue(turns: list[tuple[str, str]]) -> str:
    """Turns (speaker, text) as one query: the text alone when one user spoke, else a line with a name for each turn."""
    if len(turns) == 1 and turns[0][0] in _ASKING:
        return turns[0][1]
    if not any(speaker in _ASKING for speaker, _ in turns):
        raise RecordRefused("query.empty", "no user speaks before the answer")
    return "\n".join(f"{'user' if speaker in _ASKING else speaker}: {text}" for speaker, text in turns)


def sharegpt_record(task: Task) -> dict[str, Any]:
    """A task in share-gpt's form."""
    turns = [{"from": "human", "value": task.query}]
    if task.reference is not None:
        text = render_calls(task.reference) if task.reference else task.reference_text or ""
        text = original_answer(text, task.names)
        turns.append({"from": "gpt", "value": join_thinking(task.reference_thinking, text)})
    tools = _json(original_task(task).tools)
    return {"id": task.id, "conversations": turns, "system": "", "tools": tools} | _marks(task)


def read_openai(record: dict[str, Any], line: int) -> RecordRead:
    """The record's task and the answer's own text; raises RecordRefused."""
    found = record["messages"]
    if not isinstance(found, list) or not found:
        raise RecordRefused("query.empty", "messages must be a list of at least one message")
    for index, message in enumerate(found):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RecordRefused("query.bad", f"messages[{index}] must be an object with a role")
    messages = [message for message in found if message["role"] not in ("system", "developer")]
    if not messages:
        raise RecordRefused("query.empty", "messages hold only a system message")
    last = messages.pop() if messages[-1]["role"] == "assistant" else None
    reference, thinking, answer = _answer(last)
    tools = tools_field(record.get("tools", record.get("functions")))
    task = Task.of(
        id=record_id(record, line),
        query=query_text(dialogue([(message["role"], _content(message)) for message in messages])),
        tools=tools.tools,
        names=tools.names,
        reference=reference,
        reference_thinking=thinking,
        category=str(record.get("category") or ""),
        source=str(record.get("source") or ""),
    )
    return RecordRead(task, answer.answer, unparsed=answer.closed) if answer else RecordRead(callable_task(task))


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


def openai_record(task: Task) -> dict[str, Any]:
    """A task in OpenAI's form."""
    task = original_task(task)
    messages: list[dict[str, Any]] = [{"role": "user", "content": task.query}]
    if task.reference is not None:
        answer: dict[str, Any] = {"role": "assistant", "content": task.reference_text or ""}
        if task.reference:
            calls = [{"name": call.name, "arguments": _json(call.arguments)} for call in task.reference]
            asked = [{"id": f"call_{i}", "type": "function", "function": call} for i, call in enumerate(calls)]
            answer |= {"content": None, "tool_calls": asked}
        messages.append(answer | _known(reasoning_content=task.reference_thinking))
    tools = [{"type": "function", "function": tool} for tool in task.tools]
    return {"id": task.id, "messages": messages, "tools": tools} | _marks(task)


def _marks(task: Task) -> dict[str, Any]:
    return _known(category=task.category, source=task.source)


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


FORMS = {
    "xlam": Form(
        lambda record: "query" in record and ("tools" in record or "answers" in record), read_xlam, xlam_record
    ),
    "sharegpt": Form(lambda record: "conversations" in record, read_sharegpt, sharegpt_record),
    "openai": Form(lambda record: "messages" in record, read_openai, openai_record),
}
