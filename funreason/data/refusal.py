"""What is said about records that are not used: nothing is dropped in silence.

`RecordRefused` is one record's fault and becomes a `Refusal` in the reading; `DataError` is the whole file's fault
and ends the command.
"""

from __future__ import annotations

import msgspec


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
