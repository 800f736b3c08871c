"""The known trackers, all with the same two methods; a tracker's library is imported when it is opened.

The libraries read their keys and addresses from the environment themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from funreason.trackers.sending import Axis, Point, Tracker, TrackerError

PROJECT = "funreason"


class TensorBoard:
    """Event files in `folder`; one writer at a time."""

    def __init__(self, folder: Path, run: str, config: dict[str, Any]) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(folder / "tensorboard"))

    def write(self, point: Point) -> None:
        """One scalar per value."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
        self._writer.add_event(Event(wall_time=point.at, step=point.number, summary=Summary(value=values)))

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


class WeightsAndBiases:
    """A run of the project `funreason`; `WANDB_MODE=offline` keeps it on this machine, under `folder`."""

    AXES: tuple[Axis, ...] = ("step", "round")

    def __init__(self, folder: Path, run: str, config: dict[str, Any]) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        self._run = wandb.init(project=project, name=run, dir=str(folder), config=config)
        for axis in self.AXES:
            self._run.define_metric(axis)
        self._run.define_metric("update/*", step_metric="step")
        for group in ("pass_rate", "round", "samples", "origin", "seconds", "gate"):
            self._run.define_metric(f"{group}/*", step_metric="round")

    def write(self, point: Point) -> None:
        """One row, with its own axis."""
        self._run.log({**point.values, point.axis: point.number})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class Trackio:
    """A run of the project `funreason` in trackio's local store (`TRACKIO_DIR`), or its space if one is configured."""

    def __init__(self, folder: Path, run: str, config: dict[str, Any]) -> None:
        import trackio

        self._run: Any = trackio.init(project=PROJECT, name=run, config=config, embed=False, auto_log_gpu=False)

    def write(self, point: Point) -> None:
        """One row at its number."""
        self._run.log({**point.values, point.axis: point.number}, step=point.number)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


KNOWN: dict[str, Callable[[Path, str, dict[str, Any]], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}


def open_tracker(name: str, folder: Path, run: str, config: dict[str, Any]) -> Tracker:
    """A tracker by name, writing files, if it has any, under `folder`. Raises TrackerError."""
    if name not in KNOWN:
        raise TrackerError(f"no tracker {name!r}; known are {', '.join(KNOWN)}")
    try:
        return KNOWN[name](folder, run, config)
    except ModuleNotFoundError as error:
        raise TrackerError(f"{name} is not installed ({error}): pip install 'funreason[{name}]'") from error
