"""What a run may spend at servers, and what each part of it has spent.

A request counts when it is sent, and so does each retry. Tokens count when the server reports them, so requests in
flight when the budget is reached are still paid for. The whole run has one budget; each pool has its own meter.
Samplers and judges spend from different threads.
"""

from __future__ import annotations

import threading
from operator import add, sub

import msgspec

from funreason.policies.protocol import ChatError


class BudgetSpent(ChatError):
    """The run's budget at servers is reached; nothing more is asked."""

    stops_run = True


class Spent(msgspec.Struct, frozen=True):
    """What was spent. `retries` are requests sent again, `failed` those given up, `estimated` tokens not reported."""

    requests: int = 0
    tokens: int = 0
    retries: int = 0
    failed: int = 0
    estimated: int = 0

    def plus(self, more: Spent) -> Spent:
        """This and some more."""
        return Spent(*map(add, _fields(self), _fields(more)))

    def since(self, before: Spent) -> Spent:
        """What was spent between `before` and this."""
        return Spent(*map(sub, _fields(self), _fields(before)))


_ONE = Spent(requests=1)


class SharedBudget:
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
            self.spent = self.spent.plus(_ONE)

    def add(self, more: Spent) -> None:
        """Count `more` as spent."""
        with self._lock:
            self.spent = self.spent.plus(more)

    @staticmethod
    def _require(what: str, spent: int, most: int | None) -> None:
        if most is not None and spent >= most:
            raise BudgetSpent(
                f"the budget at endpoints is reached: {spent:,} {what} spent of budget.{what} = {most:,}. "
                f"What was answered is kept; give a larger budget.{what} to continue."
            )


class SpendMeter:
    """What one pool spends of the run's budget."""

    def __init__(self, budget: SharedBudget) -> None:
        self.budget = budget
        self.spent = Spent()

    def take(self) -> None:
        """One request is about to be sent. BudgetSpent when it may not be."""
        self.budget.take()
        self.spent = self.spent.plus(_ONE)

    def pay(self, tokens: int, *, estimated: bool = False) -> None:
        """A request was answered at the cost of `tokens`; `estimated` where the server did not say."""
        self._add(Spent(tokens=tokens, estimated=tokens if estimated else 0))

    def note(self, *, retries: int = 0, failed: int = 0) -> None:
        """Requests were sent again, or given up."""
        self._add(Spent(retries=retries, failed=failed))

    def _add(self, more: Spent) -> None:
        self.budget.add(more)
        self.spent = self.spent.plus(more)


def _fields(spent: Spent) -> tuple[int, ...]:
    return msgspec.structs.astuple(spent)
