"""Messages of a conversation, as data files write them: roles, content, calls, results, thinking, marks.

One reader serves every form that has messages, because files mix their keys: `role`/`content` and `from`/`value`, the
roles of OpenAI, share-gpt, ms-swift and Llama, calls as `tool_calls`, as the older `function_call`, as Anthropic's
blocks or as a turn of their own. A role or a kind of content that is not known refuses the record by name. A key that
is not carried is counted as `messages.KEY`.

Messages come out in one shape: calls in a row are one message with all of them, text before calls is beside them in
one message, results follow in the order of their calls, and surrounding blanks are gone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from funreason.calls.lenient import looks_like_calls
from funreason.calls.names import to_callable
from funreason.calls.parse import CallSyntaxError
from funreason.calls.strict_json import JsonRefused, read_json
from funreason.calls.thinking import (
    THINK_TAGS,
    THINKING_FIELDS,
    THINKING_PARTS,
    join_thinking,
    split_thinking,
    thinking_of,
)
from funreason.calls.tools import ToolsRead
from funreason.data.forms.form import Record, empty, known_only
from funreason.data.records import ReadTurn, RecordRefused, calls_field, read_calls
from funreason.types import Call, Message

CALLING = "call"
"""What a role of `ROLES` says where the whole message is a call of the assistant's."""
ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "ai", "chatbot"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call", "tool_calls", "function-call", "tool-call"), CALLING),
    **dict.fromkeys(("tool", "function", "observation", "tool_response", "function_response", "ipython"), "tool"),
    **dict.fromkeys(("tool_result", "tool-response", "function-response", "environment", "tool_output"), "tool"),
}
"""The roles of OpenAI, share-gpt, ms-swift, Llama, Gemma and Hermes; case does not matter."""
TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})
_PARTS = TEXT_PARTS | THINKING_PARTS | {"tool_use", "image", "image_url", "input_image", "document", "search_result"}
"""Parts of a content; a list of anything else is a tool's result, or a list of calls, itself."""
UNTRAINED = {
    **dict.fromkeys(("weight", "loss", "loss_weight", "train", "training", "trainable", "train_on_turn"), False),
    **dict.fromkeys(("mask", "masked"), True),
}
"""Keys that say whether a turn is learned, and the truth value with which they say that it is not."""
_OF_PARTS = {"type", "text", "refusal", "id", "name", "input", "tool_use_id", "content", "is_error", "summary"}
_OF_CALLS = {"id", "type", "index", "name", "arguments", "parameters", "input", "function"}
_KEYS = {"role", "from", "content", "value", "tool_calls", "function_call", "name", "tool_call_id", *THINKING_FIELDS}
_READ = _KEYS | {"reasoning_details", "refusal", "id", "type", "index", "tool_use_id", *UNTRAINED}


class _Pieces(NamedTuple):
    """What the content of one message holds."""

    text: str
    calls: list[Record]
    results: list[Record]


class Conversation:
    """Turns put together message by message, of a record that offers `tools`; calls get callable names.

    `left` has the codes of what was not carried.
    """

    def __init__(self, tools: ToolsRead) -> None:
        self.tools = tools
        self.turns: list[ReadTurn] = []
        self.left = list(tools.left)
        self._ids: list[str] = []
        """The ids of the newest calls, in their order; "" for a call without one."""
        self._results: list[str] = []
        """The call ids of the results since then."""

    def read(self, found: Any, where: str) -> None:
        """Add the messages of a record's key `where`; raises RecordRefused."""
        if isinstance(found, str):
            try:
                found = read_json(found)
            except JsonRefused as error:
                raise RecordRefused("query.bad", f"{where} must be a list of messages: {error.message}") from error
        if not isinstance(found, list) or not found:
            raise RecordRefused("query.empty", f"{where} must be a list of at least one message")
        for index, message in enumerate(found):
            self._message(message, f"{where}[{index}]")

    def system(self, found: Any) -> None:
        """Add the system text that a record has beside its messages, unless they begin with the same."""
        if empty(found):
            return
        turn = ReadTurn(Message("system", self._content(found, "system").text.strip()))
        if turn.message.content and (not self.turns or self.turns[0].message != turn.message):
            self.turns.insert(0, turn)

    def say(self, role: str, text: str) -> None:
        """Add one message of text alone."""
        self._message({"role": role, "content": text}, role)

    def _message(self, message: Any, where: str) -> None:
        named = message.get("role") or message.get("from") if isinstance(message, dict) else None
        if not isinstance(named, str):
            raise RecordRefused(
                "query.bad", f"{where} must be an object with `role` and `content`, or `from` and `value`"
            )
        role = ROLES.get(named.strip().lower())
        if role is None:
            raise RecordRefused("role.unknown", f"{where}: the role {named!r:.60} is none of {', '.join(ROLES)}")
        content = message.get("content")
        if content is None:
            content = message.get("value")
        elif not empty(message.get("value")):
            self.left.append("messages.value")
        self.left += [f"messages.{key}" for key, value in message.items() if key not in _READ and not empty(value)]
        if role == CALLING or role == "assistant":
            self._assistant(message, content, where, calling=role == CALLING)
        elif role == "tool":
            self._result(message, content, where)
        else:
            if content is None:
                raise RecordRefused("query.bad", f"{where} has neither `content` nor `value`")
            pieces = self._content(content, where)
            for result in pieces.results:
                self._result(result, result.get("content"), where)
            if not empty(message.get("name")):
                self.left.append("messages.name")
            if pieces.calls:
                raise RecordRefused("content.unknown", f"{where}: a {role} message cannot call a tool")
            self._results, self._ids = [], []
            if pieces.text.strip() or not pieces.results:
                self.turns.append(ReadTurn(Message(role, pieces.text.strip())))

    def _result(self, message: Record, content: Any, where: str) -> None:
        typed = isinstance(content, list) and all(
            isinstance(one, dict) and one.get("type") in _PARTS for one in content
        )
        if isinstance(content, dict | int | float | list) and not typed:
            text = json.dumps(content, ensure_ascii=False)
        else:
            text = self._content(content, where).text
        if message.get("is_error"):
            self.left.append("messages.is_error")
        name = message.get("name")
        [named] = to_callable([Call(name if isinstance(name, str) else "", {})], self.tools.names)
        turn = ReadTurn(Message("tool", text, name=named.name), known=True)
        made_by = message.get("tool_call_id") or message.get("tool_use_id") or ""
        self.turns.append(turn)
        self._results.append(made_by if isinstance(made_by, str) else "")
        self._pair()

    def _pair(self) -> None:
        """Put the newest results into the order of their calls, by ids or else by names, and name the unnamed ones."""
        made_by, count = self._results, len(self._results)
        caller = self.turns[-count - 1].quietly_resolved(self.tools).message if len(self.turns) > count else None
        if caller is None or not caller.calls:
            return
        if made_by[-1] and any(self._ids) and made_by[-1] not in self._ids:
            self.left.append("messages.tool_call_id")
        results = self.turns[-count:]
        for labels, given in (
            (self._ids if len(self._ids) == len(caller.calls) else [], made_by),
            ([call.name for call in caller.calls], [turn.message.name for turn in results]),
        ):
            if len({*given}) == count and len({*labels}) == len(labels) and {*given} <= {*labels}:
                order = sorted(range(count), key=lambda place: labels.index(given[place]))
                places = [labels.index(given[place]) for place in order]
                break
        else:
            order = places = list(range(count))
        self._results = [made_by[place] for place in order]
        for place, (old, of) in enumerate(zip(order, places, strict=True)):
            message = results[old].message
            if not message.name and of < len(caller.calls):
                message = replace(message, name=caller.calls[of].name)
            self.turns[place - count] = results[old]._replace(message=message)

    def _assistant(self, message: Record, content: Any, where: str, *, calling: bool) -> None:
        for key in THINKING_FIELDS:
            if not isinstance(message.get(key), str | None):
                found = type(message[key]).__name__
                raise RecordRefused("cot.bad", f"{where}.{key} must be text, found {found}")
        raw: list[Any] = []
        typed = isinstance(content, list) and any(
            isinstance(one, dict) and one.get("type") in _PARTS for one in content
        )
        if calling and isinstance(content, dict | list) and not typed:  # calls as they are, not as text
            raw, content = (content if isinstance(content, list) else [content]), None
        pieces = self._content(content, where)
        if pieces.results:
            raise RecordRefused("content.unknown", f"{where}: an assistant's message cannot hold a tool's result")
        raw = [*raw, *pieces.calls]
        for key in ("tool_calls", "function_call"):
            if not empty(given := message.get(key)):
                raw += given if isinstance(given, list) else [given]
        calls = to_callable([call for one in raw for call in calls_field(one, "tool_calls")], self.tools.names)
        self.left += left_of_calls(raw, "tool_calls")
        thinking, others = thinking_of({**message, "content": content})
        details = message.get("reasoning_details")
        if not empty(details) and thinking_of({"reasoning_details": details})[0] is None:  # encrypted
            self.left.append("messages.reasoning_details")
        self.left += [f"messages.{name}" for name in others]
        if not empty(message.get("name")):
            self.left.append("messages.name")
        split = split_thinking(pieces.text)
        text = split.answer or str(message.get("refusal") or "")
        if calls and looks_like_calls(text):
            try:
                again = read_calls(text, self.tools)
            except CallSyntaxError as error:
                reason = f"{where}: a call in the text beside calls: {error.message}"
                raise RecordRefused(error.reason, reason) from error
            if again != calls:
                raise RecordRefused("answer.two_calls", f"{where} has calls, and other calls in its text")
            text = ""  # the same calls once more
        trained = True
        for key, no in UNTRAINED.items():
            mark = message.get(key)
            if isinstance(mark, str):
                mark = mark.strip().lower() not in ("", "0", "0.0", "false", "no")
            trained = trained and (mark is None or bool(mark) != no)
        turn = ReadTurn(
            Message("assistant", text, thinking, tuple(calls)),
            trained=trained,
            known=bool(calls),
            closed=split.closed or bool(calls),
            as_call=calling and not calls,
        )
        ids = [str(one.get("id") or "") if isinstance(one, dict) else "" for one in raw]
        before = self.turns[-1] if self.turns and self.turns[-1].message.role == "assistant" else None
        joined = _joined(before, turn, self.tools) if before is not None else None
        if before is not None and joined is not None:
            self.turns[-1] = joined
            self._ids = [*self._ids, *ids] if _is_call(before) else ids
        else:
            self.turns.append(turn)
            self._ids = ids
        self._results = []

    def _content(self, content: Any, where: str) -> _Pieces:
        """The text, calls and results in a message's content; raises RecordRefused for what is none of them."""
        if content is None:
            return _Pieces("", [], [])
        if isinstance(content, str):
            return _Pieces(content, [], [])
        if not isinstance(content, list):
            kind = type(content).__name__
            raise RecordRefused("query.bad", f"{where}: content must be text or a list of parts, found {kind}")
        texts: list[str] = []
        calls: list[Record] = []
        results: list[Record] = []
        for part in content:
            kind = part.get("type", "text") if isinstance(part, dict) else "text"
            text = part.get("text", part.get("refusal")) if isinstance(part, dict) else part
            if isinstance(part, dict):
                known = _OF_PARTS | set(THINKING_FIELDS)
                self.left += [f"content.{key}" for key, value in part.items() if key not in known and not empty(value)]
            if kind in TEXT_PARTS and isinstance(text, str):
                texts.append(text)
            elif kind == "tool_use":
                calls.append({"id": part.get("id"), "name": part.get("name"), "arguments": part.get("input")})
            elif kind == "tool_result":
                results.append(part)
            elif kind == "redacted_thinking":
                self.left.append("content.redacted_thinking")
            elif kind not in THINKING_PARTS:
                what = f"a part of the type {kind!r:.40}" if isinstance(part, dict) else type(part).__name__
                raise RecordRefused(
                    "content.unknown", f"{where}: {what} is not read; only text, thinking and tools are"
                )
        return _Pieces("\n".join(texts), calls, results)


def left_of_calls(raw: Any, name: str) -> list[str]:
    """A code for each key of calls in the source, or of their `function`, that no call carries."""
    parts = [one for one in raw if isinstance(one, dict)] if isinstance(raw, list) else []
    parts += [one["function"] for one in parts if isinstance(one.get("function"), dict)]
    return [f"{name}.{key}" for one in parts for key, value in one.items() if key not in _OF_CALLS and not empty(value)]


def _is_call(turn: ReadTurn) -> bool:
    return turn.as_call or bool(turn.message.calls)


def _joined(before: ReadTurn, turn: ReadTurn, tools: ToolsRead) -> ReadTurn | None:
    """Two turns of the assistant's in a row as one: calls and calls, or text and the calls after it. Else None."""
    old, new = before.message, turn.message
    apart = before.trained != turn.trained or not (before.closed and turn.closed) or (old.thinking and new.thinking)
    if apart or not _is_call(turn) or (turn.known and new.content):
        return None
    first, second = before.quietly_resolved(tools), turn.quietly_resolved(tools)
    thinking = old.thinking or new.thinking
    if _is_call(before) and not first.known and not second.known:  # two that cannot be read are refused as one text
        return before._replace(message=replace(old, content=f"{old.content}\n{new.content}", thinking=thinking))
    if not second.known or not (first.known or not old.content) or (first.message.calls and not _is_call(before)):
        return None
    text = "\n".join(turn.message.content for turn in (first, second) if turn.message.content)
    message = Message("assistant", text, thinking, (*first.message.calls, *second.message.calls))
    return second._replace(message=message, said_before=bool(text) and not _is_call(before))


def spoken(turn: ReadTurn) -> str:
    """The text of an assistant's turn with its thinking in tags, calls aside; `[]` where it says that none is right."""
    message = turn.message
    if not turn.closed:
        return f"{THINK_TAGS[0]}{message.thinking or ''}"
    text = message.content or ("[]" if turn.known and not message.calls else "")
    return join_thinking(message.thinking, text)


def name_of_result(message: Message, names: list[str]) -> Record:
    """The name of a tool's result where it does not follow from the calls before it, whose other names are `names`."""
    follows = names.pop(0) if names else ""
    return {"name": message.name} if message.name and message.name != follows else {}


def written_messages(turns: Sequence[ReadTurn]) -> list[Record]:
    """Turns as OpenAI's messages: `tool_calls` with numbered ids, `tool` results with the id of their call."""
    made: list[Record] = []
    ids: list[str] = []
    names: list[str] = []
    total = 0
    for turn in turns:
        message = turn.message
        entry: Record = {"role": message.role, "content": message.content}
        if message.role == "assistant":
            if not turn.closed:
                entry["content"] = spoken(turn)
            else:
                if turn.known and not message.calls and not message.content:
                    entry["content"] = "[]"
                entry |= known_only(reasoning_content=message.thinking)
            ids = [f"call_{total + i}" for i in range(len(message.calls))]
            names = [call.name for call in message.calls]
            total += len(ids)
            if message.calls:
                entry["content"] = message.content or None
                entry["tool_calls"] = [
                    {
                        "id": id,
                        "type": "function",
                        "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
                    }
                    for id, call in zip(ids, message.calls, strict=True)
                ]
            if not turn.trained:
                entry["weight"] = 0
        elif message.role == "tool":
            entry |= known_only(tool_call_id=ids.pop(0) if ids else "") | name_of_result(message, names)
        made.append(entry)
    return made
