"""Experiment trackers, fed from a run's log, whole or as it grows: each event becomes the points that it completes.

A point is a set of named numbers on one of two axes: `step` for the metrics of optimizer steps, counted through the
whole run, and `round` for what a round amounts to. A step that a resumed run repeats keeps its number, so no curve is
drawn twice. Only the record is read, so a failing tracker cannot touch the run: the first failure ends the sending.

A run's configuration goes to the tracker when it is opened. When a round ends, a table of some of its samples follows,
and when a gate has decided, a table of its scores with their intervals. All trackers have the same methods. A tracker's
library is imported when it is opened, and reads its keys and addresses from the environment itself.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from funreason.record.events import AnyEvent, GateDecided, OptimizerStep, RoundEnded
from funreason.record.folder import RunFolder, alive
from funreason.record.log import LogReader
from funreason.record.plain import in_markdown
from funreason.record.state import State
from funreason.types import Sample

POLL_S = 1.0
JUDGING = {"pass", "drop", "keep_text"}
"""Outcomes that a judge gives, and that a generator or a regenerator does not."""
SAMPLES = {"kept": 5, "text": 2, "dropped": 5, "dead": 3}
"""How many samples of each end a round's table shows."""
MOST_READ = 200
"""Samples of each end that are read to find some of different tasks."""
LONGEST = 2_000
"""Characters of one text in a table."""
Axis = Literal["step", "round"]


class Point(NamedTuple):
    """Numbers by name, such as `update/loss_think`, at `number` on `axis`; `at` is seconds since the epoch."""

    axis: Axis
    number: int
    at: float
    values: dict[str, float]


class TextTable(NamedTuple):
    """Rows of text about a round, under a name; all values are text."""

    name: str
    round: int
    at: float
    columns: tuple[str, ...]
    rows: list[list[str]]


class TrackerError(Exception):
    """A tracker that is not known, not installed, or failed; the message says which and what to do."""


class Tracker(Protocol):
    """What every tracker does."""

    see: str
    """How to look at what was sent: a command or an address."""

    def write(self, point: Point) -> None:
        """Draw one point."""

    def write_table(self, table: TextTable) -> None:
        """Show one table."""

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
            scores = {f"gate/{name}": score for name, score in [("all", event.overall), *event.by_slice.items()]}
            scores |= {f"gate_categories/{name}": score for name, score in event.by_category.items()}
            for name, score in scores.items():
                if score.total:
                    values[f"{name}/old"], values[f"{name}/new"] = (
                        100 * right / score.total for right in (score.old, score.new)
                    )
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
            judging = {name: node for name, node in r.nodes.items() if node.outcomes.keys() & JUDGING}
            rates = {f"pass_rate/{name}": node.pass_rate for name, node in judging.items()}
            losses = {f"round/{name}": r.mean(name) for name in r.metric_names() if name.startswith("loss")}
            values = {name: value for name, value in {**rates, **losses}.items() if value is not None}
            values |= {f"samples/{fate}": float(count) for fate, count in r.fates.items()}
            values |= {f"origin/{origin}": float(count) for origin, count in r.origins.items()}
            values |= {f"seconds/{phase}": seconds for phase, seconds in r.seconds.items()}
            yield Point("round", event.round, event.at, values)


def samples_table(run: RunFolder, k: int, at: float) -> TextTable:
    """Some samples of round `k` as they ended, of different tasks where there are enough, with the reason if lost."""
    rows: list[list[str]] = []
    for end, count in SAMPLES.items():
        chosen: dict[str, Sample] = {}
        for sample in islice(run.texts(k).get(end), MOST_READ):
            chosen.setdefault(sample.task.id, sample)
            if len(chosen) == count:
                break
        for sample in chosen.values():
            last = next((v for v in reversed(sample.verdicts) if v.outcome != "pass"), None)
            why = "" if last is None or end in ("kept", "text") else f"{last.reason} {last.evidence}".strip()
            texts = (sample.id, end, sample.origin, sample.task.query, sample.thinking or "", sample.answer, why)
            rows.append([text.encode("utf-8", "replace").decode()[:LONGEST] for text in texts])
    return TextTable("samples", k, at, ("sample", "end", "origin", "query", "thinking", "answer", "reason"), rows)


def gate_table(event: GateDecided) -> TextTable:
    """The scores of a gate, by suite and category, with the interval of the new weights, p and the decision."""
    rows = []
    for name, score in [("all", event.overall), *event.by_slice.items(), *event.by_category.items()]:
        if score.total:
            shares = [f"{100 * share:.1f}" for share in (score.old / score.total, score.new / score.total)]
            within = f"{100 * score.low:.1f}–{100 * score.high:.1f}"
            rows.append([name, str(score.total), *shares, within, f"{score.p:.4f}", event.decision])
    return TextTable(
        "gate", event.round, event.at, ("suite", "items", "old %", "new %", "new 95 %", "p", "decision"), rows
    )


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
                if isinstance(event, GateDecided):
                    tracker.write_table(gate_table(event))
                elif isinstance(event, RoundEnded):
                    tracker.write_table(samples_table(run, event.round, event.at))
            if not follow or not (running or (not begun and pid is not None and alive(pid))):
                break
            time.sleep(POLL_S)
        tracker.close()
    except Exception as error:
        said = _one_line(f"{type(error).__name__}: {error}")
        raise TrackerError(f"the tracker failed after {sent} points: {said}") from error
    return sent


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


PROJECT = "funreason"


class TensorBoard:
    """Event files in `folder`, under the run's name; one writer at a time."""

    def __init__(self, folder: Path, run: str, config: dict[str, Any]) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(folder / "tensorboard" / (run or "run")))
        self.see = f"tensorboard --logdir {shlex.quote(str(folder / 'tensorboard'))}"
        self._say("config", 0, time.time(), f"```json\n{json.dumps(config, indent=2, default=str)}\n```")

    def write(self, point: Point) -> None:
        """One scalar per value."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
        self._writer.add_event(Event(wall_time=point.at, step=point.number, summary=Summary(value=values)))

    def write_table(self, table: TextTable) -> None:
        """One text at the round's number, as a table in Markdown."""
        lines = ["| " + " | ".join(_cell(text) for text in row) + " |" for row in [table.columns, *table.rows]]
        lines.insert(1, "|---" * len(table.columns) + "|")
        self._say(table.name, table.round, table.at, "\n".join(lines))

    def _say(self, tag: str, number: int, at: float, text: str) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

        about = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()], tensor_shape=shape)
        value = Summary.Value(tag=f"{tag}/text_summary", metadata=about, tensor=tensor)
        self._writer.add_event(Event(wall_time=at, step=number, summary=Summary(value=[value])))

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
        self.see = str(self._run.url or f"wandb sync {self._run.dir}")
        for axis in self.AXES:
            self._run.define_metric(axis)
        self._run.define_metric("update/*", step_metric="step")
        for group in ("pass_rate", "round", "samples", "origin", "seconds", "gate", "gate_categories"):
            self._run.define_metric(f"{group}/*", step_metric="round")

    def write(self, point: Point) -> None:
        """One row, with its own axis."""
        self._run.log({**point.values, point.axis: point.number})

    def write_table(self, table: TextTable) -> None:
        """One table for each round, under `tables/`."""
        import wandb

        made = wandb.Table(columns=list(table.columns), data=table.rows)
        self._run.log({f"tables/{table.name}": made, "round": table.round})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class Trackio:
    """A run of the project `funreason` in trackio's local store (`TRACKIO_DIR`), or its space if one is configured."""

    def __init__(self, folder: Path, run: str, config: dict[str, Any]) -> None:
        import trackio

        self._run: Any = trackio.init(project=PROJECT, name=run, config=config, embed=False, auto_log_gpu=False)
        self.see = f"trackio show --project {PROJECT}"

    def write(self, point: Point) -> None:
        """One row at its number; `step` is a key of trackio's own."""
        axis = {"round": point.number} if point.axis == "round" else {}
        self._run.log({**point.values, **axis}, step=point.number)

    def write_table(self, table: TextTable) -> None:
        """One table at the round's number."""
        import trackio
        from pandas import DataFrame

        rows = DataFrame(table.rows, columns=list(table.columns))
        self._run.log({f"tables/{table.name}": trackio.Table(dataframe=rows)}, step=table.round)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class Mlflow:
    """A run of the experiment `funreason` at `MLFLOW_TRACKING_URI`; without one, in files under `folder`.

    Names hold only the characters that MLflow allows. Tables are artifacts that its page shows as tables.
    """

    def __init__(self, folder: Path, run: str, config: dict[str, Any]) -> None:
        from mlflow import MlflowClient

        address = os.environ.get("MLFLOW_TRACKING_URI")
        if not address:
            address = (folder / "mlflow").resolve().as_uri()
            os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # 3.7 and later refuse files without it
        served = address.startswith("http")
        command = f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {shlex.quote(address)}"
        self.see = address if served else command
        self._client: Any = MlflowClient(tracking_uri=address)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known is not None else self._client.create_experiment(name)
        self._run = self._client.create_run(experiment, run_name=run).info.run_id
        self._client.log_dict(self._run, json.loads(json.dumps(config, default=str)), "config.json")
        self._shown: list[dict[str, str]] = []
        flat = list(_flat(config))
        for start in range(0, len(flat), MLFLOW_PARAMS):
            from mlflow.entities import Param

            part = flat[start : start + MLFLOW_PARAMS]
            self._client.log_batch(self._run, params=[Param(_allowed(key), value[:LONGEST]) for key, value in part])

    def write(self, point: Point) -> None:
        """One value per metric, at its number."""
        from mlflow.entities import Metric

        at = int(1000 * point.at)
        finite = {name: value for name, value in point.values.items() if math.isfinite(value)}
        metrics = [Metric(_allowed(name), value, at, point.number) for name, value in finite.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def write_table(self, table: TextTable) -> None:
        """One artifact for each round."""
        path = f"{table.name}-round-{table.round}.json"
        self._client.log_dict(self._run, {"columns": list(table.columns), "data": table.rows}, path)
        self._shown.append({"path": path, "type": "table"})
        self._client.set_tag(self._run, "mlflow.loggedArtifacts", json.dumps(self._shown))

    def close(self) -> None:
        """Finish the run."""
        self._client.set_terminated(self._run)


MLFLOW_PARAMS = 100
"""Parameters that one request may carry."""


def _allowed(name: str) -> str:
    """A name with nothing but what MLflow allows in one."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)[:250]


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Settings by their dotted keys, values as text."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", json.dumps(value, default=str, ensure_ascii=False)


def _cell(text: str) -> str:
    """Text in a cell of a Markdown table: TensorBoard renders it, so nothing of it may be markup."""
    return in_markdown(text).replace("\n", "<br>")


KNOWN: dict[str, Callable[[Path, str, dict[str, Any]], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
    "mlflow": Mlflow,
}
LOGIN = {
    "wandb": "Log in with `wandb login` or set WANDB_API_KEY; WANDB_MODE=offline keeps the run on this machine.",
    "trackio": "A space needs `hf auth login` or HF_TOKEN; without TRACKIO_SPACE_ID the run stays on this machine.",
    "mlflow": "Check MLFLOW_TRACKING_URI, and MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_USERNAME and _PASSWORD.",
}
"""What to do where a tracker cannot be opened."""


def open_tracker(name: str, folder: Path, run: str, config: dict[str, Any]) -> Tracker:
    """A tracker by name, writing files, if it has any, under `folder`.

    Raises TrackerError: it is not known, not installed, or refuses, for want of a login among others.
    """
    if name not in KNOWN:
        raise TrackerError(f"no tracker {name!r}; known are {', '.join(KNOWN)}")
    try:
        return KNOWN[name](folder, run, config)
    except ModuleNotFoundError as error:
        raise TrackerError(f"{name} is not installed ({error}): pip install 'funreason[{name}]'") from error
    except Exception as error:  # whatever its library raises; the run itself must not end with it
        said = _one_line(str(error)) or type(error).__name__
        raise TrackerError(f"{name} could not be opened: {said.rstrip('.')}. {LOGIN.get(name, '')}".rstrip()) from error
