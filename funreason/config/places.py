"""Where the files of one's own judges lie, so that a run taken up from another folder finds them."""

from __future__ import annotations

from pathlib import Path

from funreason.config.judges import JudgeEntry
from funreason.config.whole import Config


def with_places(config: Config, folder: Path) -> Config:
    """The same with the judges' files written whole: in `folder`, or in the working directory if only there."""
    judges = [_placed(entry, folder) for entry in config.fcdr.judges]
    return config.model_copy(update={"fcdr": config.fcdr.model_copy(update={"judges": judges})})


def _placed(entry: JudgeEntry, folder: Path) -> JudgeEntry:
    file, _, name = entry.agent.rpartition(":")
    if not file.endswith(".py"):
        return entry
    beside = (folder / file).resolve()
    here = Path(file).resolve()
    return entry.model_copy(update={"agent": f"{here if here.is_file() and not beside.is_file() else beside}:{name}"})
