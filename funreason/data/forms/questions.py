"""Forms whose records are a question and its answer: xLAM and Alpaca.

xLAM: `{"id", "query", "tools", "answers"}`, the last two as JSON strings or already parsed (source:
https://huggingface.co/datasets/Salesforce/xlam-function-calling-60k). Beside it the keys `cot` (thinking), `response`
(text, when no call is right, or beside the calls), `category`, `source` and `flags` are kept where a record has them. A
record without `answers` is a task whose right answer is unknown. `system` is a text before it all. `history` is the
conversation before the answer where it is more than the query: messages as OpenAI writes them, or pairs of a question
and its answer. Where it does not end with the query, the query follows it.

Alpaca: `{"instruction", "input", "output"}`, with `system`, `history` and `tools` where given (source:
https://github.com/tatsu-lab/stanford_alpaca, and LLaMA-Factory's data/README.md). The question is the instruction and,
on the next line, the input; `history` has pairs of a question and its answer. A record without `output` is a task whose
right answer is unknown.
"""

from __future__ import annotations

import json
from typing import Any

from funreason.calls.names import to_callable
from funreason.data.forms.form import Form, Record, empty, in_original, known_only, marks_of, offered_tools, record_read
from funreason.data.forms.messages import Conversation, left_of_calls, written_messages
from funreason.data.records import (
    ReadTurn,
    RecordRead,
    RecordRefused,
    calls_field,
    json_field,
    optional_text,
    query_text,
)
from funreason.types import Message

_XLAM_KEYS = ("query", "answers", "cot", "response", "history", "system")
_ALPACA_KEYS = ("instruction", "input", "output", "system", "history")


def read_xlam(record: Record, line: int) -> RecordRead:
    """The record as it is; raises RecordRefused."""
    query, answers = query_text(record["query"]), record.get("answers")
    reference = None if answers is None else calls_field(answers, "answers")
    text, thinking = optional_text(record, "response"), optional_text(record, "cot")
    talk = Conversation(offered_tools(record))
    if not empty(record.get("history")):
        _read_history(talk, record["history"])
    talk.system(record.get("system"))
    asked = [turn.message.content for turn in talk.turns if turn.message.role == "user"]
    ends_with_it = bool(asked) and asked[-1] == query and talk.turns[-1].message.role in ("user", "tool")
    turns = talk.turns if ends_with_it else [*talk.turns, ReadTurn(Message("user", query))]
    if reference is not None:
        talk.left += left_of_calls(json_field(answers, "answers"), "answers")
        calls = to_callable(reference, talk.tools.names)
        turns = [*turns, ReadTurn(Message("assistant", text or "", thinking, tuple(calls)), known=True)]
    else:
        talk.left += [key for key in ("response", "cot") if not empty(record.get(key))]
    return record_read(record, line, turns, talk.tools, _XLAM_KEYS, talk.left)


def write_xlam(read: RecordRead) -> Record:
    """A record in xLAM's form; RecordRefused for one that does not end with a question or its answer."""
    read = in_original(read)
    turns = list(read.turns)
    answer = turns.pop() if turns and turns[-1].message.role == "assistant" else None
    record: Record = {"id": read.id, **question(turns), "tools": json.dumps(read.tools, ensure_ascii=False)}
    if answer is None and not read.is_open:
        raise RecordRefused("convert.no_place", "xLAM's form ends with an answer, this record with a tool's result")
    if answer is not None:
        if not (answer.trained and answer.closed and answer.known):
            raise RecordRefused("convert.no_place", "xLAM's form has no place for an answer that is not to be learned")
        message = answer.message
        calls = [{"name": call.name, "arguments": call.arguments} for call in message.calls]
        record["answers"] = json.dumps(calls, ensure_ascii=False)
        record |= known_only(cot=message.thinking, response=message.content)
    return record | marks_of(read)


def question(turns: list[ReadTurn]) -> Record:
    """`query`, and `history` where the conversation is more than that; RecordRefused where no user speaks."""
    asked = [turn.message.content for turn in turns if turn.message.role == "user"]
    if not asked:
        raise RecordRefused("convert.no_place", "xLAM's form needs a question, and no user asks one")
    return {"query": asked[-1]} | ({"history": written_messages(turns)} if len(turns) > 1 else {})


def read_alpaca(record: Record, line: int) -> RecordRead:
    """The record as it is; raises RecordRefused."""
    talk = Conversation(offered_tools(record))
    if not empty(record.get("history")):
        _read_history(talk, record["history"])
    asked = [text for key in ("instruction", "input") if (text := optional_text(record, key))]
    if not asked:
        raise RecordRefused("query.empty", "instruction and input are empty")
    talk.say("user", "\n".join(asked))
    talk.system(record.get("system"))
    output = record.get("output")
    if not isinstance(output, str | None):
        raise RecordRefused("output.bad", f"output must be text, found {type(output).__name__}")
    if output is not None:
        talk.say("assistant", output)
    return record_read(record, line, talk.turns, talk.tools, _ALPACA_KEYS, talk.left)


def _read_history(talk: Conversation, found: Any) -> None:
    """Add messages, or pairs of a question and its answer; raises RecordRefused."""
    if isinstance(found, list) and all(isinstance(pair, list) for pair in found):
        for pair in found:
            if len(pair) != 2 or not all(isinstance(text, str) for text in pair):
                raise RecordRefused("history.bad", "history must be a list of messages, or of pairs of texts")
            talk.say("user", pair[0])
            talk.say("assistant", pair[1])
    else:
        talk.read(found, "history")


XLAM = Form(
    "xlam",
    "Salesforce xLAM, APIGen, ToolMind",
    "query with tools or answers",
    "thinking in cot, text in response, the dialogue before in history",
    lambda record: "query" in record and ("tools" in record or "answers" in record),
    read_xlam,
    write_xlam,
)
ALPACA = Form(
    "alpaca",
    "Stanford Alpaca, LLaMA-Factory",
    "instruction with input or output",
    "system text, the dialogue before in history",
    lambda record: "instruction" in record and ("output" in record or "input" in record),
    read_alpaca,
)
