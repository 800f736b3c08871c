"""The dashboard as a person uses it: keys pressed over recorded runs."""

import asyncio
import csv
import os
import subprocess
import sys
import time

import pytest
from recorded import HOSTILE, Recording, finished
from textual.events import Resize
from textual.geometry import Size

from funreason.record import events as ev
from funreason.record.folder import RunFolder
from funreason.tui.app import Dashboard
from funreason.tui.feed import LiveFeed, ReplayFeed
from funreason.tui.widgets import TextScreen


def dashboard(folder: RunFolder, clock=time.time, **options) -> Dashboard:
    return Dashboard(LiveFeed(folder, clock), open_feed=lambda found: LiveFeed(found, clock), clock=clock, **options)


def screen(app: Dashboard) -> str:
    lines = app.screen._compositor.render_strips()
    return "\n".join(strip.text for strip in lines)


def look_at(folder: RunFolder, *keys: str, size=(120, 40), app: Dashboard | None = None) -> tuple[Dashboard, str]:
    """Open a run, press keys, and give what stands on the screen then."""

    async def drive() -> str:
        async with shown.run_test(size=size) as pilot:
            await pilot.pause()
            for key in keys:
                await pilot.press(key)
                await pilot.pause()
            for _ in range(20):  # a loaded machine may lay the panels out late
                shown.tick()
                shown.paint()
                await pilot.pause()
                if shown.feed.opening is None and shown.panel(shown.active).size.width:
                    break
            shown.paint()
            await pilot.pause()
            return screen(shown)

    shown = app or dashboard(folder)
    return shown, asyncio.run(drive())


def empty(path) -> RunFolder:
    (path / "events").mkdir(parents=True)
    folder = RunFolder(path)
    folder.heartbeat("running")
    return folder


def mid_run(path) -> RunFolder:
    run = Recording(path)
    run.round(1)
    run.sampling(2, 7)
    return run.life("running", heartbeat=time.time())


def crashed(path) -> RunFolder:
    run = Recording(path)
    run.sampling(1, 5)
    import socket

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return run.life("running", pid=gone.pid, host=socket.gethostname(), heartbeat=time.time())


def stale(path) -> RunFolder:
    run = Recording(path)
    run.sampling(1, 5)
    return run.life("running", heartbeat=time.time() - 42 * 3600 - 15)  # told in minutes, so it stands for a while


def torn(path) -> RunFolder:
    folder = finished(path)
    with next(folder.events.glob("*.jsonl")).open("ab") as file:
        file.write(b'{"kind":"judged","round":2,"sam')
    return folder


def all_rejected(path) -> RunFolder:
    run = Recording(path, rounds=1)
    for i in range(6):
        run.sample(1, i, "response", "response.truncated")
    run(ev.PhaseStarted(round=1, phase="train"))
    return run.end("refused")


def from_a_newer_version(path) -> RunFolder:
    folder = finished(path)
    with next(folder.events.glob("*.jsonl")).open("ab") as file:
        file.write(b'{"kind":"telepathy","at":1750000100}\n{"kind":"log_message","level":"info","text":"after it"}\n')
    return folder


WORLDS = {
    empty: ("● RUNNING", "No graph yet"),
    mid_run: ("round 2/3 · sampling and judging 7/7", "● RUNNING"),
    crashed: ("✗ CRASHED", "round 1/3"),
    stale: ("? STALE 1 d 18:00", "round 1/3"),
    torn: ("✓ FINISHED", "round 2/2"),
    finished: ("✓ FINISHED", "▲ promote"),
    all_rejected: ("■ FINISHED, NO ROUND KEPT", "response.truncated"),
    from_a_newer_version: ("1 lines of a kind this version does not know", "after it"),
}


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.__name__)
def test_every_kind_of_run_can_be_watched(world, tmp_path):
    _, shown = look_at(world(tmp_path / "run"))
    for words in WORLDS[world]:
        assert words in shown


def test_ten_rounds_are_walked_with_brackets(tmp_path):
    folder = finished(tmp_path / "run", rounds=10)
    app, shown = look_at(folder, "left_square_bracket", "left_square_bracket")
    assert app.view.round == 8
    assert "flow · round 8" in shown
    app, _ = look_at(folder, "left_square_bracket", "f")
    assert app.view.round is None


def test_eighty_columns_show_one_panel_at_a_time_with_tabs(tmp_path):
    folder = finished(tmp_path / "run")
    _, shown = look_at(folder, size=(80, 24))
    assert "1 flow" in shown
    assert "L_think" not in shown
    _, shown = look_at(folder, "2", size=(80, 24))
    assert "L_think" in shown
    _, shown = look_at(folder, "tab", "tab", size=(80, 24))
    assert "verdict" in shown


def test_enter_on_an_agent_narrows_the_samples_and_escape_widens_them(tmp_path):
    folder = finished(tmp_path / "run")
    app, shown = look_at(folder, "down", "enter")
    assert (app.view.node, app.active) == ("node:response", "samples")
    assert "samples · round 2 · response" in shown
    app, _ = look_at(folder, "down", "enter", "escape")
    assert app.view.node == ""


def test_a_filter_is_typed_behind_a_slash(tmp_path):
    app, shown = look_at(finished(tmp_path / "run"), "slash", *"kept", "enter")
    assert app.view.pattern == "kept"
    assert "/kept" in shown


def test_enter_on_a_sample_tells_its_story_and_escape_returns(tmp_path):
    folder = finished(tmp_path / "run")
    keys = ("4", "slash", *"task_0/0", "enter", "enter")
    app, shown = look_at(folder, *keys)
    assert isinstance(app.screen_stack[-1] if app.screen_stack else None, TextScreen) or "story · r2/task_0/0" in shown
    assert "⟦[look(what='moon')]⟧" in shown
    assert "\x1b" not in shown
    _, shown = look_at(folder, *keys, "escape")
    assert "1 flow" in shown


def test_help_is_about_the_focused_panel(tmp_path):
    _, shown = look_at(finished(tmp_path / "run"), "3", "question_mark")
    assert "exact McNemar" in shown
    assert "view.quit" in shown


def test_every_binding_has_an_id_and_can_be_remapped(tmp_path):
    assert all(binding.id for binding in Dashboard.BINDINGS)
    app = dashboard(finished(tmp_path / "run"), keymap={"round.before": "w"})
    app, _ = look_at(app.feed.folder, "w", app=app)
    assert app.view.round == 1


def test_a_held_view_stands_still_until_space_is_pressed_again(tmp_path):
    run = Recording(tmp_path / "run")
    folder = run.life("running", heartbeat=time.time())
    app = dashboard(folder)

    async def drive() -> None:
        async with app.run_test(size=(120, 40)) as pilot:
            while app.feed.opening is not None:
                app.tick()
                await pilot.pause()
            await pilot.press("space")
            seen = app.feed.state.events
            run(ev.LogMessage(level="info", text="meanwhile"))
            app.tick()
            assert app.feed.state.events == seen
            await pilot.press("space")
            app.tick()
            assert app.feed.state.events == seen + 1

    asyncio.run(drive())


def test_what_was_due_when_the_screen_was_taken_down_is_let_go(tmp_path):
    """Textual clears its screens before it stops an app's timers: a tick may come in between."""
    app = dashboard(finished(tmp_path / "run"))

    async def drive() -> int:
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause()
        seen = app.feed.state.events
        app.tick()
        app.paint()
        app.on_resize(Resize(Size(80, 24), Size(80, 24)))
        return seen

    assert asyncio.run(drive()) == app.feed.state.events


def test_a_table_is_exported_whole(tmp_path, monkeypatch):
    folder = finished(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    look_at(folder, "4", "e")
    (written,) = tmp_path.glob("funreason-run-*-samples.csv")
    rows = list(csv.DictReader(written.read_text().splitlines()))
    assert list(rows[0]) == ["id", "query", "answer", "try", "node", "verdict", "reason"]
    dropped = next(row for row in rows if row["id"] == "r2/task_0/0")
    assert (dropped["verdict"], dropped["reason"], dropped["answer"]) == (
        "✗ dropped",
        "schema.enum",
        "[look(what='moon')]",
    )


def test_a_row_is_copied_as_plain_cells(tmp_path):
    app, _ = look_at(finished(tmp_path / "run"), "3", "y")
    assert app.clipboard.startswith("round 1\t27.5\t37.5\t24–53\t+10.0")


def test_a_run_without_a_socket_is_read_only_and_says_so(tmp_path):
    app, shown = look_at(mid_run(tmp_path / "run"), "P", "S")
    assert "read-only: no control socket" in shown
    assert [note.message.startswith("Read-only: the run has ended") for note in app._notifications] == [True, True]


def test_another_run_is_shown_beside_this_one_and_can_be_switched_to(tmp_path):
    here, other = finished(tmp_path / "here"), finished(tmp_path / "other", every_fails=2)
    app = dashboard(here, runs=lambda: [here, other])

    async def drive() -> None:
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause(0.3)
            offered = {command.title: command for command in app.get_system_commands(app.screen)}
            offered["Compare with other"].callback()
            await pilot.pause(0.3)
            assert "compare · here r2 with other r2" in screen(app)
            offered["Watch other"].callback()
            await pilot.pause(0.3)
            assert app.feed.state.run == "other"

    asyncio.run(drive())


def test_a_reason_is_put_back_only_when_said_to(tmp_path):
    asked = []
    app = dashboard(finished(tmp_path / "run"), requeue=lambda folder, reason: asked.append(reason) or "put back")

    async def drive() -> None:
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause(0.3)
            command = next(c for c in app.get_system_commands(app.screen) if c.title == "Requeue schema.enum")
            for key in ("n", "y"):
                command.callback()
                await pilot.pause()
                await pilot.press(key)
                await pilot.pause()
                assert asked == ([] if key == "n" else ["schema.enum"])

    asyncio.run(drive())


def test_a_replay_is_played_stepped_and_sped_up(tmp_path):
    folder = finished(tmp_path / "run")
    feed = ReplayFeed(folder, time.time, 1.0)
    app = Dashboard(feed, open_feed=lambda found: feed)
    _, shown = look_at(folder, "space", "right", "right", "greater_than_sign", app=app)
    assert "REPLAY ×2" in shown
    assert not feed.playing
    seen = feed.state.events
    feed.step(-1)
    assert feed.state.events == seen - 1


def test_without_colour_every_sign_is_still_there(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    app, shown = look_at(finished(tmp_path / "run"))
    assert app.no_color
    for sign in ("✓", "✗", "▲ promote"):
        assert sign in shown


def test_themes_change_with_a_key(tmp_path):
    app, _ = look_at(finished(tmp_path / "run"), "t")
    assert app.theme == "textual-light"


def test_hostile_words_in_a_log_are_only_words(tmp_path):
    run = Recording(tmp_path / "run")
    run(ev.LogMessage(level="warning", text=HOSTILE))
    run.sample(1, 0, "response", HOSTILE)
    _, shown = look_at(run.end(), "7")
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_a_run_is_watched_while_another_process_writes_it(tmp_path):
    """A real process writes a real log; the viewer shows it running, then crashed, and never stops it."""
    path = tmp_path / "live"
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        f"sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from recorded import Recording\n"
        f"run = Recording(Path({str(path)!r}))\nrun.folder.acquire()\nprint('ready', flush=True)\n"
        "for i in range(10_000):\n    run.sample(1, i)\n    time.sleep(0.005)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"ready\n"
    app = dashboard(RunFolder(path))

    async def drive() -> None:
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause(1.0)
            first = app.feed.state.events
            assert "● RUNNING" in screen(app)
            await pilot.pause(0.6)
            assert app.feed.state.events > first > 0
            writer.kill()
            writer.wait()
            await pilot.pause(1.8)
            assert "✗ CRASHED" in screen(app)

    asyncio.run(drive())
    writer.stdout.close()
