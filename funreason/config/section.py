"""What every group of settings is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

CONFIGS = Path(__file__).parent.parent / "configs"
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


TOOLBOX = "toolbox:"
"""How a path into the embedded domain begins."""
OWN_TASKS = "tasks"
"""As a source of references: the run's own tasks, without those held back for the gate."""


class ConfigError(Exception):
    """A configuration that cannot be used; the message says where and what to write instead."""


class Section(BaseModel):
    """A group of settings; refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)
