"""What a run may spend at servers: requests and tokens, counted over all that ask.

A request counts when it is sent, each retry too; tokens count when the server says what they were, so what is in
flight when the budget is reached is still paid for. Samplers and judges ask from different threads.
"""

from __future__ import annotations

import threading

import msgspec

from funreason.models.chat import ChatError


class BudgetSpent(ChatError):
    """The run's budget at servers is reached; nothing more is asked."""

    stops_run = True


class Spent(msgspec.Struct, frozen=True):
    """What was spent: `retries` are requests sent again, `failed` those given up; `estimated` tokens are our guess."""

    requests: int = 0
    tokens: int = 0
    retries: int = 0
    failed: int = 0
    estimated: int = 0

    def since(self, before: Spent) -> Spent:
        """What was spent between `before` and this."""
        return Spent(*(now - then for now, then in zip(_fields(self), _fields(before), strict=True)))


class Budget:
    """At most `tokens` and `requests`; None sets no bound. `spent` is what earlier parts of the run took of it."""

    def __init__(self, tokens: int | None = None, requests: int | None = None, spent: Spent | None = None) -> None:
        self.tokens, self.requests = tokens, requests
        self.spent = spent or Spent()
        self._lock = threading.Lock()

    def take(self) -> None:
        """One request is about to be sent. BudgetSpent when it may not be."""
        with self._lock:
            self._require("requests", self.spent.requests, self.requests)
            self._require("tokens", self.spent.tokens, self.tokens)
            self._add(requests=1)

    def pay(self, tokens: int, *, estimated: bool = False) -> None:
        """A request was answered at the cost of `tokens`; `estimated` where the server did not say."""
        with self._lock:
            self._add(tokens=tokens, estimated=tokens if estimated else 0)

    def note(self, *, retries: int = 0, failed: int = 0) -> None:
        """Requests were sent again, or given up."""
        with self._lock:
            self._add(retries=retries, failed=failed)

    def _add(self, **more: int) -> None:
        self.spent = msgspec.structs.replace(
            self.spent, **{name: getattr(self.spent, name) + count for name, count in more.items()}
        )

    @staticmethod
    def _require(what: str, spent: int, most: int | None) -> None:
        if most is not None and spent >= most:
            raise BudgetSpent(
                f"the budget at servers is reached: {spent} {what} spent of budget.{what} = {most}. "
                f"What was answered is kept; raise budget.{what} to go on."
            )


def _fields(spent: Spent) -> tuple[int, ...]:
    return msgspec.structs.astuple(spent)
