"""A whole run, in the order of a round."""

from __future__ import annotations

from pathlib import Path

from funreason.config.gate import Gate
from funreason.config.judges import Fcdr
from funreason.config.models import Budget, Model, Sampling, Tasks
from funreason.config.section import Count, Section
from funreason.config.updates import Train, Warmup


class Config(Section):
    """A whole run."""

    rounds: Count = 3
    seed: int = 0
    run_dir: Path = Path("runs")
    name: str | None = None
    """The run's folder under run_dir; by default made from the date."""
    model: Model = Model()
    tasks: Tasks = Tasks()
    warmup: Warmup = Warmup()
    sample: Sampling = Sampling()
    fcdr: Fcdr = Fcdr()
    train: Train = Train()
    gate: Gate = Gate()
    budget: Budget = Budget()
