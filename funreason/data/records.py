"""What is reported about records that are not used, and the checks of fields that all formats share.

Nothing is dropped in silence: `RecordRefused` is one record's fault and becomes a `Refusal` in the reading; `DataError`
is the whole file's fault and ends the command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from funreason.calls.json_schema import ToolFormatError
from funreason.calls.lenient import calls_from_json, looks_like_calls, parse_any
from funreason.calls.names import NO_NAMES, callable_answer, callable_task, to_callable
from funreason.calls.parse import CallSyntaxError
from funreason.calls.render import CallRenderError, render_calls
from funreason.calls.strict_json import JsonRefused, read_json
from funreason.calls.tools import ToolsRead, read_tools
from funreason.types import Call, Message, Sample, Task, ToolNames

_BAD_ID = re.compile(r"[\x00-\x1f\x7f]")
_CALL_MARKS = ("<", "[", "{", "```")
"""What calls begin with where prose may come before them."""
_CALL_ENDS = re.compile(r"</[^<>]{1,40}>|<\|[^<>|]{1,40}\|>|\[/\w{1,40}\]|```")
"""What calls end with where prose may follow them."""
_BETWEEN_TAGS = re.compile(r"</[^<>]{1,40}>([^<>]+)(?=<)")


class DataError(ValueError):
    """A file that cannot be used: missing, empty, unreadable, nothing usable in it, or refused by `strict`."""


class RecordRefused(ValueError):
    """One record that cannot be used. `reason` is a dotted code such as `tools.broken`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Refusal(msgspec.Struct, frozen=True):
    """One record that was not used: its line (1-based), its id where one could be read, why."""

    line: int
    id: str
    reason: str
    message: str

    @property
    def where(self) -> str:
        """The place in words: `line 3` or `line 3 (id x-1)`."""
        return f"line {self.line} (id {self.id})" if self.id else f"line {self.line}"


class ReadTurn(NamedTuple):
    """One message of a record, as its form reads it."""

    message: Message
    trained: bool = True
    """Whether the record lets the model learn this message; false for `weight: 0`, `loss: false` and the like."""
    known: bool = False
    """Whether the calls of the message are final; else its content may still hold them."""
    closed: bool = True
    """False where the thinking was never closed, so that the message has no answer."""
    as_call: bool = False
    """Whether the source says that the content is a call."""
    said_before: bool = False
    """Whether the content is a message of its own before the calls: spoken to the user, and no thinking."""

    def resolved(self, tools: ToolsRead) -> ReadTurn:
        """This turn with the calls in its text read out of it. CallSyntaxError for a call that cannot be read."""
        message = self.message
        if message.role != "assistant" or self.known or not self.closed or not message.content:
            return self
        try:
            calls = read_calls(message.content, tools)
        except CallSyntaxError:
            if self.as_call or looks_like_calls(message.content):
                raise
            return self._replace(known=True)
        beside = beside_calls(message.content, calls, tools) if calls else ""
        return self._replace(message=replace(message, content=beside, calls=tuple(calls)), known=True, as_call=False)

    def quietly_resolved(self, tools: ToolsRead) -> ReadTurn:
        """This turn resolved, or as it is where its call cannot be read."""
        try:
            return self.resolved(tools)
        except CallSyntaxError:
            return self

    @property
    def calls_something(self) -> bool:
        """Of a turn that was resolved: whether it calls something, or tries to."""
        message = self.message
        return bool(message.calls) or (message.role == "assistant" and not self.known and bool(message.content))


def read_calls(text: str, tools: ToolsRead) -> list[Call]:
    """The calls in a text, in any spelling and under either of their names; raises CallSyntaxError.

    Some spellings need the `tools` for their types.
    """
    return to_callable(parse_any(callable_answer(text, tools.names), tools.tools), tools.names)


def beside_calls(text: str, calls: Sequence[Call], tools: ToolsRead) -> str:
    """The prose around the calls that were read from `text`, a line for each piece of it; "" where there is none."""
    start = min((place for mark in _CALL_MARKS if (place := text.find(mark)) > 0), default=0)
    ends = [found.end() for found in _CALL_ENDS.finditer(text)]
    end = ends[-1] if ends else len(text)
    within = [found[1] for found in _BETWEEN_TAGS.finditer(text, start, end)]
    pieces = [text[:start], *within, text[end:]]
    if not any(char.isalpha() for piece in pieces for char in piece):
        return ""
    try:
        same = read_calls(text[start:end], tools) == list(calls)
    except CallSyntaxError:
        return ""
    return "\n".join(piece.strip() for piece in pieces if any(map(str.isalpha, piece))) if same else ""


class RecordRead(msgspec.Struct, frozen=True, dict=True):
    """One record read: its whole conversation, answers included, its tools and marks, and what was not carried."""

    id: str
    turns: tuple[ReadTurn, ...]
    tools: list[dict[str, Any]]
    category: str = ""
    source: str = ""
    flags: tuple[str, ...] = ()
    names: Mapping[str, ToolNames] = NO_NAMES
    """The original names of tools and parameters that are not callable as they were written; see `calls.names`."""
    left: tuple[str, ...] = ()
    """A dotted code for each thing that was not carried, such as `metadata` or `messages.logprobs`."""

    @property
    def offered(self) -> ToolsRead:
        """The tools with their names."""
        return ToolsRead(self.tools, dict(self.names), ())

    @cached_property
    def resolved(self) -> tuple[ReadTurn, ...]:
        """The turns with the calls in their texts read out of them, where they can be read."""
        return tuple(turn.quietly_resolved(self.offered) for turn in self.turns)

    def answers(self) -> list[int]:
        """The places of the turns that answer: each assistant turn that calls, and the last one of all.

        Results and system texts after it are passed over; where a user has the last word, the end is open. A turn
        before which no user spoke answers nothing.
        """
        last = len(self.turns) - 1
        while last >= 0 and self.turns[last].message.role in ("tool", "system"):
            last -= 1
        places, asked = [], False
        for place, turn in enumerate(self.turns[: last + 1]):
            role = turn.message.role
            asked = asked or (role == "user" and bool(turn.message.content))
            if role == "assistant" and asked and (place == last or self.resolved[place].calls_something):
                places.append(place)
        return places

    @property
    def is_open(self) -> bool:
        """Whether the record ends with a user's words, so that its answer is unknown."""
        spoken = [turn.message.role for turn in self.turns if turn.message.role in ("user", "assistant")]
        return bool(spoken) and spoken[-1] == "user"

    def id_at(self, place: int | None) -> str:
        """The id of the answer at `place`: the record's own for its end (None: open), else `ID.tK`, its K-th turn."""
        later = place is not None and any(turn.message.role == "assistant" for turn in self.turns[place + 1 :])
        if place is None or not (later or self.is_open):
            return self.id
        return f"{self.id}.t{sum(turn.message.role == 'assistant' for turn in self.turns[: place + 1])}"

    def ids(self) -> list[str]:
        """The record's id, and those of its earlier answers that are to be learned."""
        if len(self.turns) < 3:
            return [self.id]
        earlier = (self.id_at(place) for place in self.answers() if self.turns[place].trained)
        return [self.id, *(name for name in earlier if name != self.id)]

    def history(self, place: int | None) -> tuple[Message, ...]:
        """The messages before the answer at `place`, or all of them; calls that cannot be read stay text."""
        before = self.turns[:place]
        if any(turn.message.role == "assistant" for turn in before):  # else there is nothing to resolve
            before = self.resolved[:place]
        return tuple(turn.message for turn in before)

    def task(self, place: int | None) -> Task:
        """The task of the answer at `place`, or of the open end, with its reference; raises RecordRefused."""
        task = self._asked(place)
        if place is None:
            return callable_task(task)
        try:
            turn = self.turns[place].resolved(self.offered)
        except CallSyntaxError as error:
            reason = f"the answer is a call that cannot be read: {error.message}"
            raise RecordRefused(error.reason, reason) from error
        message, apart = turn.message, self.turns[place].known and not turn.said_before
        if not turn.known:  # an empty answer, or one that its thinking never came to
            return callable_task(replace(task, reference_thinking=message.thinking))
        answered = replace(
            task,
            reference=list(message.calls),
            reference_text=message.content or None,
            reference_thinking=message.thinking or (message.content if apart and message.calls else None) or None,
        )
        return callable_task(answered)

    def sample(self, place: int) -> Sample:
        """The answer at `place` as a sample to judge, its task without a reference; raises RecordRefused."""
        turn, calls = self.turns[place], self.turns[place].message.calls
        answer, thinking = turn.message.content, turn.message.thinking
        task = callable_task(replace(self._asked(place), reference=list(calls)))  # with the names of its calls, too
        if turn.known and (calls or not answer):
            thinking = thinking or (None if turn.said_before else answer) or None
            try:
                answer = render_calls(task.reference or [])
            except CallRenderError as error:
                reason = "name.not_callable" if "cannot be" in str(error) else "answer.not_writable"
                raise RecordRefused(reason, str(error)) from error
        else:
            answer = callable_answer(answer, task.names)
        task = replace(task, reference=None)
        return Sample.of(id=task.id, task=task, answer=answer, thinking=thinking, origin="reference")

    def _asked(self, place: int | None) -> Task:
        return Task(
            self.id_at(place),
            self.history(place),
            self.tools,
            category=self.category,
            source=self.source,
            flags=list(self.flags),
            names=dict(self.names),
        )


def record_of(task: Task) -> RecordRead:
    """A task as a record: its messages, and its reference as the last one."""
    turns = [ReadTurn(message, known=True) for message in task.messages]
    if task.reference is not None:
        calls, text, thinking = tuple(task.reference), task.reference_text or "", task.reference_thinking
        turns.append(ReadTurn(Message("assistant", text, thinking, calls), known=True))
    return RecordRead(task.id, tuple(turns), task.tools, task.category, task.source, tuple(task.flags), task.names)


def record_id(record: dict[str, Any], line: int) -> str:
    """The record's id as text; `line-N` when it has none. Raises RecordRefused for an id that cannot be one."""
    found = record.get("id")
    if found is None:
        return f"line-{line}"
    text = str(found) if isinstance(found, int) and not isinstance(found, bool) else found
    if not isinstance(text, str) or not text.strip() or len(text) > 300 or _BAD_ID.search(text):
        raise RecordRefused("id.bad", f"an id is a line of 1 to 300 characters or an integer, found {found!r:.60}")
    return text


def query_text(found: Any) -> str:
    """The query as stripped text; raises RecordRefused when it is empty or no text."""
    if not isinstance(found, str):
        raise RecordRefused("query.bad", f"the query must be text, found {type(found).__name__}")
    if not found.strip():
        raise RecordRefused("query.empty", "the query is empty")
    return found.strip()


def json_field(found: Any, name: str) -> Any:
    """A field that holds JSON either as a string or already parsed; raises RecordRefused."""
    if not isinstance(found, str):
        return found
    try:
        return read_json(found)
    except JsonRefused as error:
        word = error.reason.partition(".")[2]
        raise RecordRefused(f"{name}.{word}", f"{name}: {error.message}") from error


def tools_field(found: Any) -> ToolsRead:
    """Tools from a record's field, in any of the forms of `calls.tools`; None and "" mean no tools.

    The names are callable ones, so give the task `names` too, and take its calls through `callable_task`. `left` has a
    code for each thing that was left out. Raises RecordRefused: `tools.bad`, or for text what is wrong with it.
    """
    if isinstance(found, str) and found.strip() in ("", "null", "None"):
        found = None
    try:
        return read_tools([] if found is None else found)
    except ToolFormatError as error:
        raise RecordRefused(f"tools.{error.reason}", str(error)) from error


def calls_field(found: Any, name: str) -> list[Call]:
    """Calls from a record's field of `{"name", "arguments"}` objects; raises RecordRefused."""
    value = json_field(found, name)
    try:
        return calls_from_json(value)
    except CallSyntaxError as error:
        raise RecordRefused(f"{name}.not_calls", f"{name}: {error.message}") from error


def optional_text(record: dict[str, Any], name: str) -> str | None:
    """A text field that may be missing or empty (None); raises RecordRefused when it is no text."""
    found = record.get(name)
    if found is None:
        return None
    if not isinstance(found, str):
        raise RecordRefused(f"{name}.bad", f"{name} must be text, found {type(found).__name__}")
    return found.strip() or None
