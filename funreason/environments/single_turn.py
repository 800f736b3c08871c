"""One answer per task: the model is asked the task's messages and the sample is done."""

from __future__ import annotations

from funreason.types import Message, Sample, Task, Turn


class SingleTurn:
    """An environment that is done after the model's first turn."""

    def reset(self, task: Task) -> tuple[Message, ...]:
        """The task's own messages."""
        return task.messages

    def step(self, sample: Sample) -> tuple[Turn, ...]:
        """Nothing: the sample is done."""
        return ()
