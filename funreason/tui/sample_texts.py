"""Queries and answers of a round's newest samples, read from its texts as they grow.

Only ends of files are read: a view must cost the same however long a run is. A line that cannot be decoded is left
out; the page of the sample names it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec

MOST = 4000
"""Samples and tasks held at a time."""
AT_FIRST, AT_ONCE = 8_000_000, 2_000_000
"""Bytes read of a file's end when a round is opened, and at most in each look at what was added."""


class _Message(msgspec.Struct):
    content: Any = ""
    role: str = ""


class _Task(msgspec.Struct):
    id: str
    messages: list[_Message] = []


class _Drawn(msgspec.Struct):
    id: str
    task: str
    turns: list[_Message] = []


class SampleText(NamedTuple):
    """The last message of a sample's task, and its newest answer."""

    query: str
    answer: str


class _Tail:
    """New whole lines of a growing file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.at = -1

    def lines(self) -> list[bytes]:
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                if self.at < 0:
                    self.at = max(0, size - AT_FIRST)
                    begun = self.at > 0
                else:
                    begun = False
                if size <= self.at:
                    self.at = min(self.at, size)
                    return []
                file.seek(self.at)
                data = file.read(AT_FIRST if begun or self.at == 0 else AT_ONCE)
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self.at += len(whole)
        return whole.splitlines()[1 if begun else 0 :]


class SampleTexts:
    """The texts of the round that was asked for last."""

    def __init__(self) -> None:
        self._round: Path | None = None
        self._tails: dict[str, _Tail] = {}
        self._queries: dict[str, str] = {}
        self._answers: dict[str, tuple[str, str]] = {}
        self._task, self._drawn = msgspec.json.Decoder(_Task), msgspec.json.Decoder(_Drawn)

    def poll(self, folder: Path) -> None:
        """Read what was added to the texts of a round's folder."""
        if folder != self._round:
            self._round, self._queries, self._answers = folder, {}, {}
            self._tails = {kind: _Tail(folder / f"{kind}.jsonl") for kind in ("tasks", "sampled")}
        for found in self._tails["tasks"].lines():
            try:
                task = self._task.decode(found)
            except msgspec.DecodeError:
                continue
            asked = [m.content for m in task.messages if m.role == "user" and isinstance(m.content, str)]
            _keep(self._queries, task.id, asked[-1] if asked else "")
        for found in self._tails["sampled"].lines():
            try:
                drawn = self._drawn.decode(found)
            except msgspec.DecodeError:
                continue
            said = [m.content for m in drawn.turns if m.role == "assistant" and isinstance(m.content, str)]
            _keep(self._answers, drawn.id, (drawn.task, said[-1] if said else ""))

    def get(self, sample: str) -> SampleText | None:
        """The texts of a sample by its id; None of one that was not read."""
        found = self._answers.get(sample)
        return None if found is None else SampleText(self._queries.get(found[0], ""), found[1])


def _keep(held: dict[str, Any], key: str, value: Any) -> None:
    held.pop(key, None)
    held[key] = value
    if len(held) > MOST:
        del held[next(iter(held))]
