"""A plan: what each phase needs of which GPUs, and what had to be assumed to say so."""

from __future__ import annotations

from typing import NamedTuple

from funreason.config import Config
from funreason.models.architecture import Architecture
from funreason.models.footprint import Parts
from funreason.models.workload import Chip, Pace

ITEM = {"float32": 4, "bfloat16": 2}
"""Bytes of a number."""


class Assumed(NamedTuple):
    """What nobody knows before the run. The answer's length is the papers' mean, 350.74 thinking and 31.07 result."""

    prompt_tokens: int = 400
    answer_tokens: int = 382
    pace: Pace = Pace()


class Hardware(NamedTuple):
    """The GPUs, all alike."""

    name: str
    chip: Chip
    gpus: int


class Phase(NamedTuple):
    """One phase: bytes on its fullest GPU by part, how many GPUs work, tokens and seconds of a round."""

    name: str
    memory: Parts
    gpus: int
    tokens: float
    seconds: float

    @property
    def total(self) -> float:
        """Bytes needed."""
        return sum(self.memory.values())


class Plan(NamedTuple):
    """A configuration's needs. `problems` says what will not work as it stands, and what to change."""

    model: Architecture
    hardware: Hardware
    assumed: Assumed
    phases: list[Phase]
    problems: list[str]
    notes: list[str]

    def fits(self, phase: Phase) -> bool:
        """Whether a phase stays within one GPU's memory."""
        return phase.total <= self.hardware.chip.memory * 2**30


def engine_samples(config: Config) -> bool:
    """Whether a vLLM engine samples on the GPU."""
    return config.model.sampler == "vllm" and config.model.device.startswith("cuda")
