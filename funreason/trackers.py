"""Experiment trackers, fed from a run's log, whole or as it grows: each event becomes the points that it completes.

A point is a set of named numbers on one of two axes: `step` for the metrics of optimizer steps, counted through the
whole run, and `round` for what a round amounts to. A step that a resumed run repeats keeps its number, so no curve is
drawn twice. Only the record is read, so a failing tracker cannot touch the run: the first failure ends the sending.

All trackers have the same two methods. A tracker's library is imported when it is opened, and reads its keys and
addresses from the environment itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from funreason.record.events import AnyEvent, GateDecided, OptimizerStep, RoundEnded
from funreason.record.folder import RunFolder, alive
from funreason.record.log import LogReader
from funreason.record.state import State

POLL_S = 1.0
Axis = Literal["step", "round"]


class Point(NamedTuple):
    """Numbers by name, such as `update/loss_think`, at `number` on `axis`; `at` is seconds since the epoch."""

    axis: Axis
    number: int
    at: float
    values: dict[str, float]


class TrackerError(Exception):
    """A tracker that is not known, not installed, or failed; the message says which and what to do."""


class Tracker(Protocol):
    """What every tracker does."""

    def write(self, point: Point) -> None:
        """Draw one point."""

    def close(self) -> None:
        """Send what is left; nothing is written afterwards."""


class Points:
    """Folds events in order and gives the points that each completes."""

    def __init__(self) -> None:
        self.state = State()
        self._steps_before: dict[int, int] = {}
        self._steps = 0

    def of(self, event: AnyEvent) -> Iterator[Point]:
        """The points of one event: one each for an optimizer step, a gate's decision and the end of a round."""
        self.state.apply(event)
        if isinstance(event, OptimizerStep):
            before = self._steps_before.setdefault(event.round, self._steps)
            self._steps = max(self._steps, before + event.step)
            yield Point("step", before + event.step, event.at, {f"update/{k}": v for k, v in event.metrics.items()})
        elif isinstance(event, GateDecided):
            values = {"gate/promoted": float(event.decision == "promote")}
            for name, score in [("all", event.overall), *event.by_slice.items(), *event.by_category.items()]:
                if score.total:
                    values[f"gate/{name}/old"] = 100 * score.old / score.total
                    values[f"gate/{name}/new"] = 100 * score.new / score.total
                    values[f"gate/{name}/new_low"], values[f"gate/{name}/new_high"] = 100 * score.low, 100 * score.high
            for name, both in [("all", event.balance), *event.balance_by_slice.items()]:
                if both is not None:
                    values[f"gate/{name}/balanced_old"], values[f"gate/{name}/balanced_new"] = (
                        100 * both.old,
                        100 * both.new,
                    )
            for name, text in event.text.items():
                values[f"gate/{name}/bits_per_byte_old"] = text.old
                values[f"gate/{name}/bits_per_byte_new"] = text.new
            yield Point("round", event.round, event.at, values)
        elif isinstance(event, RoundEnded):
            r = self.state.at_round(event.round)
            rates = {f"pass_rate/{name}": node.pass_rate for name, node in r.nodes.items()}
            losses = {f"round/{name}": r.mean(name) for name in r.metric_names() if name.startswith("loss")}
            values = {name: value for name, value in {**rates, **losses}.items() if value is not None}
            values |= {f"samples/{fate}": float(count) for fate, count in r.fates.items()}
            values |= {f"origin/{origin}": float(count) for origin, count in r.origins.items()}
            values |= {f"seconds/{phase}": seconds for phase, seconds in r.seconds.items()}
            yield Point("round", event.round, event.at, values)


def send(run: RunFolder, tracker: Tracker, *, follow: bool, pid: int | None = None) -> int:
    """Send every event there is, and with `follow` those to come until the run ends; how many points were sent.

    `pid` is the process that is about to write the run: while it lives, a run that has not begun is waited for.
    Raises TrackerError when the tracker fails, whatever its library raised.
    """
    reader, points, sent, begun = LogReader(run.events), Points(), 0, False
    try:
        while True:
            life = run.writer_status()  # asked first: what is written before it ends is still read
            running = life is not None and life.status in ("running", "stale")
            begun = begun or running
            for event in reader.events():
                for point in points.of(event):
                    tracker.write(point)
                    sent += 1
            if not follow or not (running or (not begun and pid is not None and alive(pid))):
                break
            time.sleep(POLL_S)
        tracker.close()
    except Exception as error:
        raise TrackerError(f"the tracker failed after {sent} points: {type(error).__name__}: {error}") from error
    return sent


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
