"""The numbers that bound a drain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How many workers, how many attempts, and when an agent counts as broken.

    An agent is broken once more than `error_limit` of its answers are errors, looked at from `error_floor`
    answers on, so that one early failure does not stop a run. With `last_look` it is looked at once more when all is
    done: an agent whose every answer was an error is broken, however few they were, when these errors are more than
    `error_limit` of all messages that ended.

    Raises:
        ValueError: a number out of its range.
    """

    workers: int = 64
    max_attempts: int = 3
    error_limit: float = 0.2
    error_floor: int = 20
    last_look: bool = False

    def only_errs(self, errors: int, answers: int, ended: int) -> bool:
        """Whether an agent's every answer was an error, and these are too many of all messages that ended."""
        return errors == answers and errors > self.error_limit * ended

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("max_attempts", self.max_attempts)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1.")
        if not 0 <= self.error_limit <= 1:
            raise ValueError(f"error_limit is {self.error_limit}; it must lie between 0 and 1 (1: never broken).")
