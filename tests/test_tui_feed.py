"""Where the dashboard's state comes from: following a log, and playing one."""

import pytest
from recorded import START, Recording, finished

from funreason.record import events as ev
from funreason.tui.feed import LiveFeed, Rate, ReplayFeed


class Clock:
    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_live_feed_folds_what_was_added_since(tmp_path):
    run = Recording(tmp_path / "run")
    feed = LiveFeed(run.life("running"), Clock())
    assert feed.opening == 0.0
    assert feed.poll(1.0)
    assert feed.opening is None
    assert not feed.poll(1.0)
    run(ev.LogMessage(level="info", text="new"))
    assert feed.poll(1.0)
    assert feed.state.notes[-1].text == "new"


def test_a_long_log_is_opened_in_slices(tmp_path):
    run = Recording(tmp_path / "run")
    run.sampling(1, 600)
    feed = LiveFeed(run.life("running"), Clock())
    feed.poll(0.0)
    assert 0 < feed.state.events < 3000
    assert feed.opening is not None
    while feed.opening is not None:
        feed.poll(0.0)
    assert feed.state.events == run.folder.state().events


def test_the_life_of_the_process_is_looked_at_once_a_second(tmp_path):
    run, clock = Recording(tmp_path / "run"), Clock()
    feed = LiveFeed(run.life("running", heartbeat=9e9), clock)
    feed.poll(1.0)
    run.life("finished")
    feed.poll(1.0)
    assert feed.life.status == "running"
    clock.now += 1.5
    assert feed.poll(1.0)
    assert feed.life.status == "finished"


def test_a_rate_is_that_of_the_last_ten_seconds():
    rate = Rate()
    for second in range(31):
        rate.note(float(second), 0 if second < 20 else (second - 20) * 3)
    assert rate.per_s == pytest.approx(3.0)


def test_a_replay_runs_at_its_speed_and_ends_as_the_run_did(tmp_path):
    folder, clock = finished(tmp_path / "run"), Clock(0.0)
    feed = ReplayFeed(folder, clock, speed=2.0)
    clock.now = 1.0
    feed.poll(1.0)
    assert feed.state.last_at == pytest.approx(START + 2.1, abs=0.11)
    clock.now = 1e6
    feed.poll(1.0)
    assert feed.over
    assert feed.state.summary() == folder.state().summary()


def test_a_replay_waits_steps_seeks_and_changes_speed(tmp_path):
    clock = Clock(0.0)
    feed = ReplayFeed(finished(tmp_path / "run"), clock)
    feed.seek(5.0)
    seen = feed.state.events
    feed.step(3)
    assert feed.state.events == seen + 3
    feed.step(-2)
    assert feed.state.events == seen + 1
    assert not feed.playing
    clock.now = 50.0
    assert not feed.poll(1.0)
    feed.seek(1.0)
    assert feed.state.last_at <= START + 1.2
    feed.change_speed(1)
    assert feed.speed == 2.0


def test_a_replay_of_an_empty_log_is_over_at_once(tmp_path):
    (tmp_path / "run" / "events").mkdir(parents=True)
    feed = ReplayFeed(Recording(tmp_path / "other").folder.__class__(tmp_path / "run"), Clock())
    assert feed.over
    assert not feed.poll(1.0)
