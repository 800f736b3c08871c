"""Trackers: the record in TensorBoard, W&B and trackio, and that none of them can touch a run."""

import io
import subprocess
import sys
import time

import msgspec
import pytest
from command_line import Done, funreason
from recorded import Recording, finished

from funreason.cli.track import tracked
from funreason.record import events as ev
from funreason.record.log import LogReader
from funreason.trackers import KNOWN, Point, Points, Tracker, TrackerError, open_tracker, send


class Paper:
    """A tracker that writes points down."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.points: list[Point] = []
        self.closed = False
        self.fails_after = fails_after

    def write(self, point: Point) -> None:
        if self.fails_after is not None and len(self.points) >= self.fails_after:
            raise ConnectionError("nobody answers")
        self.points.append(point)

    def close(self) -> None:
        self.closed = True


def test_steps_are_counted_through_the_run_and_rounds_say_what_became_of_samples(tmp_path):
    run, paper = finished(tmp_path / "run"), Paper()
    kept: Tracker = paper
    assert send(run, kept, follow=False) == len(paper.points)
    assert paper.closed
    steps = [point for point in paper.points if point.axis == "step"]
    assert [point.number for point in steps] == list(range(1, len(steps) + 1))
    assert {"update/loss_think", "update/loss_result", "update/alpha", "update/lr"} <= set(steps[0].values)
    last = [point for point in paper.points if point.axis == "round"][-1]
    assert 0 < last.values["pass_rate/response"] <= 1
    assert last.values["samples/kept"] == run.state().at_round(last.number).fates["kept"]
    gate = next(point for point in paper.points if "gate/new/new" in point.values)
    assert gate.values["gate/new/old"] < gate.values["gate/new/new"]


def test_a_step_taken_again_after_a_kill_keeps_its_number():
    points = Points()
    taken = [
        ev.OptimizerStep(round=k, step=s, steps=3, metrics={"loss": 1.0})
        for k, s in ((1, 1), (1, 2), (1, 2), (1, 3), (2, 1))
    ]
    assert [point.number for event in taken for point in points.of(event)] == [1, 2, 2, 3, 4]


def test_a_tracker_that_fails_says_so_once(tmp_path):
    with pytest.raises(TrackerError, match="failed after 2 points: ConnectionError: nobody answers"):
        send(finished(tmp_path / "run"), Paper(fails_after=2), follow=False)


def test_an_unknown_tracker_names_those_that_are_known(tmp_path):
    with pytest.raises(TrackerError, match="tensorboard, wandb, trackio"):
        open_tracker("mlflow", tmp_path, "run", {})


def command(*arguments: object, **environment: str) -> Done:
    offline = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "GRADIO_ANALYTICS_ENABLED": "False"}
    return funreason(*arguments, env=offline | environment)


def test_tensorboard_reads_what_was_sent(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = finished(tmp_path / "run")
    done = command("track", run.path, "--tracker", "tensorboard")
    assert done.returncode == 0, done.stderr
    read = EventAccumulator(str(run.path / "trackers" / "tensorboard"))
    read.Reload()
    losses = read.Scalars("update/loss_think")
    wanted = [e for e in LogReader(run.events).events() if isinstance(e, ev.OptimizerStep)]
    assert [round(point.value, 5) for point in losses] == [round(e.metrics["loss_think"], 5) for e in wanted]
    assert [point.step for point in losses] == list(range(1, len(wanted) + 1))


@pytest.mark.parametrize("name", sorted(set(KNOWN) - {"tensorboard"}))
@pytest.mark.slow
def test_the_other_trackers_take_a_whole_run_without_a_network(name, tmp_path):
    run = finished(tmp_path / "run")
    done = command("track", run.path, "--tracker", name, TRACKIO_DIR=str(tmp_path / "trackio"), HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "points of" in done.stdout
    assert [path for path in tmp_path.rglob("*") if path.suffix in (".wandb", ".db", ".parquet")]


def test_a_follower_goes_on_until_the_run_ends(tmp_path):
    recording = Recording(tmp_path / "run")
    run = recording.folder
    run.heartbeat("running")
    child = subprocess.Popen(
        [sys.executable, "-m", "funreason", "track", str(run.path), "--tracker", "tensorboard", "--follow"],
        stdout=subprocess.PIPE,
        text=True,
    )
    for step in (1, 2, 3):
        recording(ev.OptimizerStep(round=1, step=step, steps=3, metrics={"loss": 1.0}))
        time.sleep(0.7)
        assert child.poll() is None
    run.heartbeat("finished")
    assert "3 points" in child.communicate(timeout=30)[0]


def test_a_tracker_that_breaks_beside_a_run_is_spoken_of_once_behind_it(tmp_path):
    from rich.console import Console

    run = finished(tmp_path / "run")
    (run.path / "trackers").write_text("a file where the tracker wants a folder")
    console = Console(record=True, width=200, file=io.StringIO())
    with tracked(run, ["tensorboard"], console):
        before = run.state()
    said = console.export_text()
    assert said.count("warning: tensorboard") == 1
    assert msgspec.json.encode(run.state().summary()) == msgspec.json.encode(before.summary())
