"""A whole run, in the order of a round."""

from __future__ import annotations

from pathlib import Path

from pydantic import model_validator

from funreason.config.gate import Gate
from funreason.config.judges import AgentEntry, Fcdr
from funreason.config.models import BudgetLimits, Data, Model, Sampling, Tasks
from funreason.config.section import TOOLBOX, Count, Section, strange_category
from funreason.config.updates import SupervisedStart, Train


class Config(Section):
    """A whole run."""

    rounds: Count = 3
    seed: int = 0
    run_dir: Path = Path("runs")
    name: str | None = None
    """The run's folder under run_dir; by default made from the date."""
    model: Model = Model()
    tasks: Tasks = Tasks()
    data: Data = Data()
    start: SupervisedStart = SupervisedStart()
    sample: Sampling = Sampling()
    fcdr: Fcdr = Fcdr()
    agents: list[AgentEntry] = []
    """Custom agents, added to the graph in this order."""
    train: Train = Train()
    gate: Gate = Gate()
    budget: BudgetLimits = BudgetLimits()

    @model_validator(mode="after")
    def _known_categories(self) -> Config:
        """Only the embedded domain's categories are known before its tasks are read."""
        shares, path = self.train.max_category_share, self.tasks.path
        if path.startswith(TOOLBOX) and (wrong := strange_category(shares, path)):
            raise ValueError(f"train.max_category_share is {shares!r}, and tasks.path is {path!r}: {wrong}")
        return self
