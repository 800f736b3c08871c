"""Which weights are which: those of the start, those accepted since, and those a round has trained.

`WeightStore` is the only place that says which weights are accepted. It changes when a round's decision has come back
to the generator (`settle`), and is folded from the record when a run is resumed.
"""

from __future__ import annotations

from pathlib import Path

from funreason.record.folder import RecordError, is_within
from funreason.record.state import State
from funreason.types import Decision, Weights

START = 0
"""The round of the start: its weights are measured, and trained on references where the configuration asks for it."""


class WeightStore:
    """The weights of one run.

    Args:
        base: the weights the run was started with.
        folder: where a run saves weights, one folder per id.
        past: the run's record so far; its ended rounds say what was accepted.
    """

    def __init__(self, base: Weights, folder: Path, past: State | None = None) -> None:
        self.base = base
        self.folder = folder
        self.accepted = base
        """The weights the next round starts from."""
        self.policy = base
        """The weights that sample: those accepted, or within a round of reinforcement learning those of its last step.
        """
        self.idle_steps = 0
        """Steps of reinforcement learning in a row, over rounds, that had nothing to learn from."""
        self.start: Weights | None = None
        """The weights accepted at the start, before the first round; None until then. Guard suites are compared to
        them."""
        self._history = [base.id]
        self._trained: dict[int, str] = {}
        for number, state in sorted(past.rounds.items()) if past is not None else ():
            if state.update is not None:
                self._trained[number] = state.update.weights
            if state.policy is not None:
                self.policy, self.idle_steps = self.get(state.policy.weights), state.policy.idle
            if state.ended:
                self._accept(number, self.get(state.weights))

    def get(self, id: str) -> Weights:
        """Weights by id: those of the base, or saved by this run. RecordError for an id that leaves their folder."""
        if id != self.base.id and not is_within(id):
            raise RecordError(
                f"the record names the weights {id!r}, which are not in {self.folder}; nothing was loaded"
            )
        return self.base if id == self.base.id else Weights(id, self.folder / id)

    def trained(self, round: int) -> Weights | None:
        """What round `round` had trained before the run was interrupted; None when it must train, or train again."""
        id = self._trained.get(round)
        return self.get(id) if id is not None and self.get(id).folder.is_dir() else None

    def stepped(self, weights: Weights, *, idle: bool = False) -> None:
        """Sample from these weights of a step until the next one, or until the round is decided.

        `idle`: no optimizer step was made. One that was may leave bfloat16 weights as they were.
        """
        self.idle_steps = self.idle_steps + 1 if idle else 0
        self.policy = weights

    def settle(self, decision: Decision) -> Weights:
        """Accept what a round's decision says, now that it is back at the generator. Returns the accepted weights."""
        self._accept(decision.round, decision.accepted)
        return self.accepted

    def recent(self, max_staleness: int | None) -> frozenset[str] | None:
        """The ids accepted in the last `max_staleness` updates and now; None (any weights) for None."""
        return None if max_staleness is None else frozenset(self._history[-1 - max_staleness :])

    def _accept(self, round: int, weights: Weights) -> None:
        self.accepted = self.policy = weights
        if round == START:
            self.start = weights
        if self._history[-1] != weights.id:
            self._history.append(weights.id)
