"""Alpaca: `{"instruction", "input", "output"}`, with `system`, `history` and `tools` where given.

Source: https://github.com/tatsu-lab/stanford_alpaca, and LLaMA-Factory's data/README.md. The question is the
instruction and, on the next line, the input; `history` has pairs of a question and its answer. A record without
`output` is a task whose right answer is unknown.
"""

from __future__ import annotations

from funreason.data.forms.form import Record, empty, offered_tools, record_read
from funreason.data.forms.messages import Conversation
from funreason.data.forms.xlam import read_history
from funreason.data.records import RecordRead, RecordRefused, optional_text

KEYS = ("instruction", "input", "output", "system", "history")


def matches(record: Record) -> bool:
    """Whether the record has Alpaca's keys."""
    return "instruction" in record and ("output" in record or "input" in record)


def read(record: Record, line: int) -> RecordRead:
    """The record as it is; raises RecordRefused."""
    talk = Conversation(offered_tools(record))
    if not empty(record.get("history")):
        read_history(talk, record["history"])
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
    return record_read(record, line, talk.turns, talk.tools, KEYS, talk.left)
