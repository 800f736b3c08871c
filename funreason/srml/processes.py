"""The processes that train together: who they are, and what they tell each other.

A launcher may start fewer processes than it was asked for and say nothing (`accelerate launch --cpu` once did), and a
training that believes in more would silently learn from a part of each batch. So the number is checked where it is
known, in every process, and by counting those that answer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed

from funreason.srml.errors import TrainingError

T = TypeVar("T")
ADDRESS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun and `accelerate launch` set in each process that they start."""

PATIENCE = timedelta(days=7)
"""How long a process waits for the others: one that is held waits as long as a person does, and when one is gone the
launcher ends the rest."""


class Processes:
    """This process among `size`; one that is alone has nobody to ask."""

    def __init__(self, device: torch.device) -> None:
        joined = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if joined else 0
        self.size = distributed.get_world_size() if joined else 1
        self.device = device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def add_up(self, value: Tensor) -> Tensor:
        """The sum of everyone's `value`, the same in every process, on the device of the own one."""
        if self.size == 1:
            return value
        total = value.detach().to(self.device, copy=True)
        distributed.all_reduce(total)
        return total.to(value.device)

    def collect(self, thing: T) -> list[T]:
        """Everyone's `thing`, by rank, in every process."""
        if self.size == 1:
            return [thing]
        things: list[T] = [thing] * self.size
        distributed.all_gather_object(things, thing)
        return things

    def any_says(self, yes: bool) -> bool:
        """Whether any process says so: all must do the same."""
        return yes if self.size == 1 else bool(self.add_up(torch.tensor(float(yes))) > 0)


def join(device: torch.device) -> Processes:
    """This process's place among those that a launcher started with it; alone when none did."""
    started = all(name in os.environ for name in ADDRESS)
    if started and distributed.is_available() and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return Processes(device)


def require_size(wanted: int, processes: Processes, environment: Mapping[str, str] | None = None) -> None:
    """Raise TrainingError unless `wanted` processes were started, joined, and answer."""
    said = (os.environ if environment is None else environment).get("WORLD_SIZE", "1")
    answering = int(processes.add_up(torch.ones(())))
    if not said == str(wanted) == str(processes.size) == str(answering):
        raise TrainingError(
            f"the update was to run in {wanted} processes; the launcher says {said}, {processes.size} joined and "
            f"{answering} answer (this is rank {processes.rank}). Start as many as launch.processes asks for."
        )


def leave() -> None:
    """Say goodbye to the others, when all are through."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
