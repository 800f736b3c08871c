"""A whole run, in the order of a round."""

from __future__ import annotations

from pathlib import Path

from pydantic import model_validator

from funreason.config.gate import Gate
from funreason.config.judges import Fcdr
from funreason.config.models import Budget, Model, Sampling, Tasks
from funreason.config.section import TOOLBOX, Count, Section, strange_category
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

    @model_validator(mode="after")
    def _quotas_that_bind(self) -> Config:
        """Records of one's own have categories of their own; those of the embedded domain are known beforehand."""
        if self.tasks.path.startswith(TOOLBOX) and (wrong := strange_category(self.train.quotas)):
            raise ValueError(f"train.quotas is {self.train.quotas!r}, and tasks.path is {self.tasks.path!r}: {wrong}")
        return self
