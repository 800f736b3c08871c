"""Unknown metrics and overlapping phases: the record and every screen show them."""

import io

import msgspec
import pytest
from recorded import Recording
from rich.console import Console

from funreason.display.figures import others
from funreason.display.progress import view
from funreason.display.report import report_html, report_markdown
from funreason.display.table import run_tables
from funreason.record import events as ev
from funreason.record.events import decode_event
from funreason.record.log import LogReader
from funreason.record.state import State
from funreason.trackers import Points
from funreason.tui.header import HeaderContext, header
from funreason.tui.pages import page_of
from funreason.tui.view_state import ViewState


def rewarded(path, **metrics):
    """A run with one round whose objective measured what is given."""
    run = Recording(path, rounds=1)
    run(ev.TrainingSetSelected(round=1, kept=9, trained=9))
    run.training(1, **metrics)
    return run.end()


def text_of(renderable) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()


def page_text(panel, state, width=48, height=14):
    page = page_of(panel, state, ViewState(round=1), width, height)
    return "\n".join("".join(text for text, _ in line) for line in (*page.head, *(row.line for row in page.rows)))


def test_an_unknown_metric_is_shown_wherever_metrics_are(tmp_path):
    folder = rewarded(tmp_path / "run", reward=0.625)
    state = folder.state()
    assert "reward" in text_of(run_tables(state))
    assert "0.625" in text_of(run_tables(state))
    assert "reward 0.625" in text_of(view(state, state.last_at))
    assert "reward 0.625" in page_text("loss", state)
    points = Points()
    values = [point.values for event in LogReader(folder.events).events() for point in points.of(event)]
    assert values[0]["update/reward"] == 0.625
    for report in (report_html(state, folder, "finished"), report_markdown(state, folder, "finished")):
        assert "reward" in report
        assert "0.625" in report
    assert state.summary()["rounds"][1]["metrics"]["reward"] == pytest.approx(0.625)


def test_the_engines_own_metrics_of_a_step_are_kept_out_of_tables():
    assert others(["loss", "loss_think", "lr", "grad_norm", "seconds", "tokens_per_s", "think_tokens"]) == []


def test_an_unknown_loss_gets_a_curve_and_so_does_a_total_without_parts(tmp_path):
    assert "L_kl 0.125" in page_text("loss", rewarded(tmp_path / "kl", loss_kl=0.125).state(), height=20)
    state = State().fold([ev.OptimizerStep(round=1, step=1, steps=1, metrics={"loss": 0.5})])
    assert "loss 0.500" in page_text("loss", state)
    assert "L_think" not in page_text("loss", state)


def test_a_loss_is_averaged_over_its_tokens_and_other_metrics_over_steps():
    steps = [({"loss_x": 2.0, "x_tokens": 10, "reward": 0.0}, 1), ({"loss_x": 1.0, "x_tokens": 30, "reward": 1.0}, 2)]
    state = State().fold(ev.OptimizerStep(round=1, step=i, steps=2, metrics=metrics) for metrics, i in steps)
    r = state.rounds[1]
    assert r.metric_names() == ["loss_x", "x_tokens", "reward"]
    assert r.mean("loss_x") == pytest.approx(1.25)
    assert r.mean("reward") == 0.5
    assert r.mean("no_such") is None


def test_a_step_with_groups_comes_back_from_the_log_as_it_was():
    step = ev.OptimizerStep(
        round=1, step=1, steps=1, metrics={"loss": 1.5}, groups={"origin": {"sampled": {"loss_think": 0.5}}}
    )
    assert decode_event(msgspec.json.encode(step)) == step


def test_phases_may_overlap_and_the_newest_open_one_is_the_phase():
    state = State().fold(
        [
            ev.RunStarted(at=100, run="run", rounds=2),
            ev.PhaseStarted(at=100, round=1, phase="train", id="1/train/1"),
            ev.PhaseStarted(at=110, round=2, phase="sample", id="2/sample/2", todo=8),
        ]
    )
    assert (state.round, state.phase) == (2, "sample")
    assert [phase.phase for phase in state.open_phases.values()] == ["train", "sample"]
    first = "".join(text for text, _ in header(state, "run", HeaderContext(now=120))[0])
    assert "update of round 1 + sampling and judging 0/8" in first
    state.apply(ev.PhaseEnded(at=130, round=2, phase="sample", id="2/sample/2", seconds=20))
    assert (state.round, state.phase, state.phase_at) == (1, "train", 100)
    state.apply(ev.PhaseEnded(at=140, round=1, phase="train", id="1/train/1", seconds=40))
    assert not state.open_phases
    assert (state.rounds[1].seconds, state.rounds[2].seconds) == ({"train": 40.0}, {"sample": 20.0})


def test_a_resumed_run_closes_every_phase_that_a_killed_process_left_open():
    state = State().fold(
        [
            ev.RunStarted(at=100, run="run", rounds=2),
            ev.PhaseStarted(at=100, round=1, phase="train", id="1/train/1"),
            ev.PhaseStarted(at=110, round=2, phase="sample", id="2/sample/2"),
            ev.RunStarted(at=900, run="run", rounds=2, resumed=True, last_heartbeat_at=130),
        ]
    )
    assert not state.open_phases
    assert (state.rounds[1].seconds, state.rounds[2].seconds) == ({"train": 30.0}, {"sample": 20.0})
    assert not state.rounds[1].whole
