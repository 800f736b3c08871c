"""The configuration a run was made with, as its folder holds it: nothing here checks it against a schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from funreason.record.folder import RunFolder

LOOP = "config.yaml"
RECORDS = "records.json"
"""Where the records lie that `refine` was given, and a hash of what was read."""
REFINED = "refine.yaml"
"""What `refine` was configured with. Its own name: what is `config.yaml` a loop could be asked to go on with."""


def settings_file(run: RunFolder) -> Path | None:
    """The file with a run's configuration, a loop's or a refining's; None when it has none."""
    files = (run.path / name for name in (LOOP, REFINED))
    return next((file for file in files if file.exists()), None)


def is_refining(run: RunFolder) -> bool:
    """Whether `refine` wrote it, and not a loop."""
    return (run.path / REFINED).exists()


def resuming(run: RunFolder) -> str:
    """The command that goes on with a run."""
    return f"funreason {'refine' if is_refining(run) else 'loop'} --resume {run.path}"


def resume_command(run: RunFolder) -> str:
    """What to do with a run that was stopped, as its record tells it."""
    return f"go on with: {resuming(run)}"


def read_settings(run: RunFolder) -> dict[str, Any]:
    """A run's configuration as plain data; empty when it has none, or one that holds no keys."""
    import yaml  # here: most who read a record do without

    file = settings_file(run)
    found = yaml.safe_load(file.read_text()) if file is not None else {}
    return found if isinstance(found, dict) else {}
