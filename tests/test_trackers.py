"""Trackers: the record in TensorBoard, W&B, trackio and MLflow, and that none of them can touch a run."""

import importlib.util
import io
import json
import os
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
from funreason.trackers import KNOWN, Point, Points, TextTable, Tracker, TrackerError, open_tracker, send


class Paper:
    """A tracker that writes points and tables down."""

    see = "look at it"

    def __init__(self, fails_after: int | None = None) -> None:
        self.points: list[Point] = []
        self.tables: list[TextTable] = []
        self.closed = False
        self.fails_after = fails_after

    def write(self, point: Point) -> None:
        if self.fails_after is not None and len(self.points) >= self.fails_after:
            raise ConnectionError("nobody answers")
        self.points.append(point)

    def write_table(self, table: TextTable) -> None:
        self.tables.append(table)

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
    with pytest.raises(TrackerError, match="tensorboard, wandb, trackio, mlflow"):
        open_tracker("abacus", tmp_path, "run", {})


def test_a_round_sends_its_samples_and_a_gate_its_intervals_as_tables(tmp_path):
    paper = Paper()
    send(finished(tmp_path / "run"), paper, follow=False)
    names = {name for point in paper.points for name in point.values}
    assert not [name for name in names if name.endswith(("low", "high"))]
    assert "pass_rate/generator" not in names
    assert {"pass_rate/response", "gate/new/new", "gate_categories/simple/new"} <= names
    gates = [table for table in paper.tables if table.name == "gate"]
    assert [table.round for table in gates] == [1, 2]
    assert gates[0].rows[0] == ["all", "40", "27.5", "37.5", "21.0–49.0", "0.2200", "promote"]
    samples = [dict(zip(t.columns, row, strict=True)) for t in paper.tables if t.name == "samples" for row in t.rows]
    (lost,) = [row for row in samples if row["end"] == "dropped"]
    assert lost["answer"] == "[look(what='sun')]"
    assert lost["reason"].startswith("schema.enum")


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_a_tracker_that_cannot_be_opened_says_in_one_line_what_to_do(name, tmp_path, monkeypatch):
    def refuse(*given: object) -> Tracker:
        raise RuntimeError("no API key\nconfigured (no-tty)\n")

    monkeypatch.setitem(KNOWN, name, refuse)
    with pytest.raises(TrackerError, match=f"^{name} could not be opened: no API key configured") as found:
        open_tracker(name, tmp_path, "run", {})
    assert "\n" not in str(found.value)
    if name != "tensorboard":
        assert {"wandb": "wandb login", "trackio": "hf auth login", "mlflow": "MLFLOW_TRACKING_URI"}[name] in str(
            found.value
        )


def command(*arguments: object, **environment: str) -> Done:
    offline = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "GRADIO_ANALYTICS_ENABLED": "False"}
    return funreason(*arguments, env=offline | environment)


def test_tensorboard_reads_what_was_sent(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = finished(tmp_path / "run")
    done = command("track", run.path, "--tracker", "tensorboard")
    assert done.returncode == 0, done.stderr
    folder = run.path / "trackers" / "tensorboard"
    assert f"tensorboard --logdir {folder}" in done.stdout
    read = EventAccumulator(str(folder / run.name))  # a run is called what its folder is
    read.Reload()
    texts = {tag: read.Tensors(tag) for tag in read.Tags()["tensors"]}
    assert texts.keys() == {"config/text_summary", "gate/text_summary", "samples/text_summary"}
    shown = texts["samples/text_summary"][-1].tensor_proto.string_val[0].decode()
    assert "look(what='sun')" in shown.replace("\\", "")
    assert "<script>" not in shown
    losses = read.Scalars("update/loss_think")
    wanted = [e for e in LogReader(run.events).events() if isinstance(e, ev.OptimizerStep)]
    assert [round(point.value, 5) for point in losses] == [round(e.metrics["loss_think"], 5) for e in wanted]
    assert [point.step for point in losses] == list(range(1, len(wanted) + 1))


@pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None and not os.environ.get("CI"), reason="mlflow comes with the extra `dev`"
)
def test_mlflow_keeps_points_settings_and_tables_in_files(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    run = finished(tmp_path / "run")
    settings = {"seed": 3, "update": {"lr": 0.1, "betas": [0.9, 0.98]}, "suites": {"new: hard": {"path": "a"}}}
    opened = open_tracker("mlflow", tmp_path / "trackers", run.name, settings)
    send(run, opened, follow=False)
    assert "mlflow ui --backend-store-uri file://" in opened.see
    client = MlflowClient(tracking_uri=(tmp_path / "trackers" / "mlflow").as_uri())
    (experiment,) = [e for e in client.search_experiments() if e.name == "funreason"]
    (made,) = client.search_runs([experiment.experiment_id])
    assert (made.info.run_name, made.info.status) == (run.name, "FINISHED")
    assert made.data.params == {
        "seed": "3", "update.lr": "0.1", "update.betas": "[0.9, 0.98]", "suites.new_ hard.path": '"a"',
    }  # fmt: skip
    wanted = [e.metrics["loss_think"] for e in LogReader(run.events).events() if isinstance(e, ev.OptimizerStep)]
    losses = client.get_metric_history(made.info.run_id, "update/loss_think")
    assert [(m.step, m.value) for m in losses] == list(enumerate(wanted, 1))
    shown = {entry["path"] for entry in json.loads(made.data.tags["mlflow.loggedArtifacts"])}
    assert {f"{name}-round-{k}.json" for name in ("samples", "gate") for k in (1, 2)} == shown
    assert shown <= {file.path for file in client.list_artifacts(made.info.run_id)}


@pytest.mark.slow
def test_wandb_without_a_login_ends_with_one_sentence(tmp_path):
    run = finished(tmp_path / "run")
    away = {"WANDB_MODE": "online", "HOME": str(tmp_path), "WANDB_API_KEY": "", "NETRC": str(tmp_path / "none")}
    words = [sys.executable, "-m", "funreason", "track", str(run.path), "--tracker", "wandb"]
    done = subprocess.run(words, env=os.environ | away, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "wandb could not be opened" in done.stderr
    assert "WANDB_MODE=offline" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", sorted(set(KNOWN) - {"tensorboard", "mlflow"}))
@pytest.mark.slow
def test_the_other_trackers_take_a_whole_run_without_a_network(name, tmp_path):
    run = finished(tmp_path / "run")
    # A process of its own: trackio reads its folder when it is imported, as other libraries do in their tests.
    away = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "HOME": str(tmp_path)}
    away |= {"TRACKIO_DIR": str(tmp_path / "trackio"), "GRADIO_ANALYTICS_ENABLED": "False"}
    words = [sys.executable, "-m", "funreason", "track", str(run.path), "--tracker", name]
    done = subprocess.run(words, env=os.environ | away, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "points of" in done.stdout
    written = [path for path in tmp_path.rglob("*") if path.suffix in (".wandb", ".db", ".parquet")]
    assert written, done.stdout + done.stderr


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


def test_a_tracker_started_with_a_run_says_at_its_end_how_to_look_at_it(tmp_path):
    from rich.console import Console

    run = finished(tmp_path / "run")
    console = Console(record=True, width=400, file=io.StringIO())
    with tracked(run, ["tensorboard"], console):
        run.heartbeat("running")
        waited = time.monotonic() + 60
        while not list(run.path.glob("trackers/tensorboard/*/events*")) and time.monotonic() < waited:
            time.sleep(0.1)
        time.sleep(1.5)  # it has seen the run by then, and sees its end
        run.heartbeat("finished")
    assert f"tensorboard --logdir {run.path / 'trackers' / 'tensorboard'}" in console.export_text()


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
