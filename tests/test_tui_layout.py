"""What is where on the dashboard: the panels over the others, sizes, dialogs, and what is read beside the log."""

import asyncio
import json
import re
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from recorded import Recording, finished

from funreason.display.diagnosis import RunFinding
from funreason.display.figures import points
from funreason.record import events as ev
from funreason.record.state import State
from funreason.tui.app import Dashboard, show
from funreason.tui.feed import LiveFeed
from funreason.tui.hero import accuracy_page, now_page
from funreason.tui.pages import page_of
from funreason.tui.sample_texts import SampleTexts
from funreason.tui.view_state import ViewState
from funreason.types import Sample, Task


def text_of(page) -> str:
    lines = [*page.head, *(row.line for row in page.rows)]
    return "\n".join("".join(part for part, _ in line) for line in lines)


def dashboard(folder, **options) -> Dashboard:
    return Dashboard(LiveFeed(folder, time.time), open_feed=lambda found: LiveFeed(found, time.time), **options)


def screen(app: Dashboard) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def settled(app: Dashboard, act, size=(140, 50)):
    """Open the dashboard, let `act` drive it, and give what `act` returns."""

    async def drive():
        async with app.run_test(size=size) as pilot:

            async def look() -> str:
                for _ in range(3):
                    await pilot.pause()
                    app.tick()
                    app.paint()
                await pilot.pause()
                return screen(app)

            return await act(pilot, look)

    return asyncio.run(drive())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three rounds of which the second was rolled back, and texts of the last one's samples."""
    run = Recording(tmp_path_factory.mktemp("runs") / "run", rounds=3)
    run.round(1)
    run.sampling(2)
    run(ev.PhaseEnded(round=2, phase="sample", seconds=6.0))
    run.gating(2, "rollback")
    run(ev.RoundEnded(round=2, weights="w1"))
    run.round(3)
    folder = run.end()
    texts = folder.texts(3)
    for i in range(6):
        tools = [{"name": "look", "parameters": {}}]
        task = Task.of(id=f"task_{i}", query=f"where is star {i}", tools=tools)
        for copy in range(2):
            sample = Sample.of(f"r3/task_{i}/{copy}", task=task, answer=f"[look(star={i})]", round=3)
            texts.append("sampled", sample)
    texts.close()
    return folder


def test_the_upper_row_shows_accuracy_by_round_with_intervals_decisions_and_the_diagnosis(run):
    async def act(pilot, look):
        return await look()

    shown = settled(dashboard(run), act)
    for words in ("accuracy on held-out items", "● 27.5 ±", "○ 40.0 ±", "round 1 ▲", "round 2 ▼", "new, 40 items"):
        assert words in shown
    assert "response 91" in shown or "response 92" in shown  # the round's pipeline
    assert "! Only 40 items decide" in shown
    assert "--set gate.suites" in shown


def test_a_screen_that_grows_and_shrinks_is_laid_out_for_the_size_it_has_now(run):
    async def act(pilot, look):
        seen = []
        for size in ((80, 24), (200, 55), (110, 36)):
            await pilot.resize_terminal(*size)
            await look()
            names = ("accuracy", "flow", "gate", "log")
            seen.append([name for name in names if pilot.app.panel(name).size.width])
        return seen

    grid = ["flow", "gate", "log"]
    assert settled(dashboard(run), act) == [["flow"], ["accuracy", *grid], grid]


def test_with_another_run_to_compare_with_the_dashboard_opens_on_the_comparison(run, tmp_path, monkeypatch):
    other, opened = finished(tmp_path / "other", rounds=1), []
    monkeypatch.setattr(Dashboard, "run", lambda self: opened.append(self))
    show(run, tmp_path, lambda found, clock: LiveFeed(found, clock), None, {}, other)

    async def act(pilot, look):
        return await look(), pilot.app.active

    shown, active = settled(opened[0], act)
    assert active == "compare"
    assert "compare · run r3 with other r1" in shown  # the shorter run's last round


def test_a_dialog_leaves_what_is_filtered_in_sight_and_narrows_it_at_each_key(run):
    async def act(pilot, look):
        await look()
        await pilot.press("slash", *"star 4")
        during = await look()
        await pilot.press("escape")
        return during, await look()

    during, after = settled(dashboard(run), act)
    assert "Filter by id" in during
    assert "1 flow · round 3" in during
    assert "where is star 4" in during
    assert "where is star 2" not in during
    assert "where is star 2" in after  # escape takes the filter back


def test_the_smallest_screen_with_several_panels_has_readable_names(run):
    async def act(pilot, look):
        return await look()

    shown = settled(dashboard(run), act, size=(100, 34))
    for name in ("query_tool", "parameters", "generator", "✗ dropped", "round 1", "round 2", "schema.enum"):
        assert name in shown


def test_where_no_panel_shows_the_diagnosis_the_header_names_the_key_that_does(run):
    async def act(pilot, look):
        first = await look()
        await pilot.press("d")
        return first, await look()

    first, opened = settled(dashboard(run), act, size=(80, 24))
    assert re.search(r"! d: \d findings?: Only 40 items decide", first.splitlines()[1])
    assert "--set gate.suites.composed.path=toolbox:composed_gate" in opened


def test_an_interval_is_beside_the_accuracy_it_belongs_to(run):
    page = page_of("gate", run.state(), ViewState(), 80, 20)
    assert page.columns == ("", "old", "new", "interval", "difference", "verdict")
    assert "new" in text_of(page).split("95 %")[0].splitlines()[-1].split()[-1]


def test_accuracy_of_calls_and_refusals_is_their_mean_wherever_it_is_shown():
    calls, refusals = (ev.Score(100, old, new, 0, 0, 1.0) for old, new in ((20, 40), (80, 80)))
    whole = ev.Score(200, 100, 120, 0, 0, 1.0)
    both = ev.Balance({"calls": calls, "refusals": refusals}, old=0.5, new=0.6, p=0.1, trivial={})
    gate = ev.GateDecided(
        round=1, decision="promote", reason="", old_weights="a", new_weights="b", overall=whole,
        by_slice={"new": whole}, balance=both, balance_by_slice={"new": both},
    )  # fmt: skip
    state = State().fold([ev.RunStarted(run="r", rounds=1, at=1.0), gate])
    assert "● 60.0" in text_of(accuracy_page(state, {}, 80, 10))
    row = page_of("gate", state, ViewState(), 80, 20).rows[0]
    assert row.cells[1:3] == ("50.0", "60.0")


def test_a_difference_is_rounded_as_the_gates_reason_rounds_it():
    assert points(0.4900, 0.4925) == ("-0.2", "bad")


def test_fewer_lost_samples_and_a_lower_loss_are_good(tmp_path):
    run = Recording(tmp_path / "run", rounds=2)
    run.sampling(1, 12, 2)
    run.training(1)
    run.sampling(2, 12, 4)
    run.training(2)
    run.log.close()
    rows = {row.key: row.line[3] for row in page_of("compare", run.folder.state(), ViewState(), 80, 20).rows}
    assert rows["end % dropped"][0].strip().startswith("-")
    assert rows["end % dropped"][1] == "good"
    assert rows["end % kept"][1] == "good"
    assert rows["L_think"][1] == "good"


def test_a_filter_says_how_many_samples_there_are_beyond_the_newest(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    for i in range(500):
        run.sample(1, i)
    run.log.close()
    page = page_of("samples", run.folder.state(), ViewState(node="end:kept", round=1), 90, 20)
    assert page.title.endswith("kept · newest 200 of 500")


def test_losses_have_an_axis_of_steps_and_no_single_peak_rules_the_curve(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    for i in range(1, 101):
        loss = 9.0 if i == 50 else 1.0
        run(ev.OptimizerStep(round=1, step=i, steps=100, metrics={"loss": loss}))
    run.log.close()
    shown = text_of(page_of("loss", run.folder.state(), ViewState(round=1), 60, 14))
    assert "100 steps" in shown
    assert "9.00" not in shown


def test_queries_and_answers_are_read_as_the_texts_grow_and_broken_lines_are_left_out(run, tmp_path):
    folder, texts = tmp_path / "round-1", SampleTexts()
    texts.poll(folder)  # nothing is there yet
    assert texts.get("s1") is None
    folder.mkdir()
    (folder / "tasks.jsonl").write_text('{"id":"t","messages":[{"role":"user","content":"a query"}]}\n')
    drawn = '{"id":"s%d","task":"t","turns":[{"role":"assistant","content":"answer %d"}]}\n'
    (folder / "sampled.jsonl").write_text(drawn % (1, 1) + "{broken\n" + (drawn % (2, 2))[:20])
    texts.poll(folder)
    assert texts.get("s1") == ("a query", "answer 1")
    assert texts.get("s2") is None  # its line is not whole
    with (folder / "sampled.jsonl").open("a") as file:
        file.write((drawn % (2, 2))[20:] + drawn % (1, 3))
    texts.poll(folder)
    assert texts.get("s2") == ("a query", "answer 2")
    assert texts.get("s1") == ("a query", "answer 3")
    page = page_of("samples", run.state(), view := ViewState(), 70, 20)
    assert "query" not in page.columns
    view.texts.poll(run.round(3))
    page = page_of("samples", run.state(), view, 70, 20)
    assert page.columns == ("sample", "query", "answer", "outcome")
    assert "where is star" in page.rows[0].cells[1]


def test_findings_that_do_not_fit_are_counted_and_options_come_with_them():
    state = State().fold([ev.RunStarted(run="r", rounds=1, at=1.0)])
    many = [RunFinding("rule", f"Finding number {i} is a long sentence.", f"--set a.b={i}") for i in range(9)]
    shown = text_of(now_page(state, ViewState(), many, 40, 8)).splitlines()
    assert len(shown) <= 8
    assert shown[0].startswith("! Finding number 0")
    assert "--set a.b=0" in shown[1]
    assert shown[-1] == "! 6 more findings: key d"
    assert "no problem found" in text_of(now_page(state, ViewState(), [], 40, 8))


def test_the_time_of_a_run_is_shown_phase_by_phase(run):
    shown = text_of(now_page(run.state(), ViewState(), [], 60, 12))
    assert re.search(r"▄{60}\nsample \d+ s  train 4 s", shown)


@pytest.mark.parametrize("name", ["dashboard.svg", "replay.film.svg"])
def test_the_pictures_in_the_docs_show_the_panels_as_they_are(run, name):
    drawn = ElementTree.parse(Path(__file__).parents[1] / "docs" / name)
    words = set(" ".join(drawn.getroot().itertext()).replace("\xa0", " ").split())
    for panel in ("flow", "gate", "dead", "health"):
        heads = "".join(part for part, _ in page_of(panel, run.state(), ViewState(), 78, 20).head[-1]).split()
        assert heads
        assert set(heads) <= words, panel
    assert {"accuracy", "diagnosis", "sample", "query", "answer", "outcome", "base", "start", "✓", "kept"} <= words
    assert "none in this log" not in " ".join(words)


def test_picture_and_film_are_made_from_a_recorded_run(run, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import dashboard_picture

    svg = asyncio.run(dashboard_picture.picture(run.path, (120, 40)))
    assert svg.startswith("<svg")
    assert "27.5" in svg
    assert "@font-face" not in svg  # nothing is fetched
    monkeypatch.setattr(dashboard_picture, "FRAMES", 3)
    head, *frames = asyncio.run(dashboard_picture.film(run.path, (100, 40))).splitlines()
    assert json.loads(head) == {"version": 2, "width": 100, "height": 40, "title": "funreason replay run"}
    assert [json.loads(frame)[:2] for frame in frames] == [[0.0, "o"], [0.4, "o"], [0.8, "o"]]
    assert [" alone" in frame for frame in frames] == [True, False, False]  # only lines that differ are drawn again
    moving = asyncio.run(dashboard_picture.moving_picture(run.path, (100, 40)))
    assert "http" not in moving.replace("http://www.w3.org/2000/svg", "")  # nothing is fetched
    drawn = ElementTree.fromstring(moving)
    groups = drawn.findall("{*}g")
    last = [group for group in groups if group.get("visibility") is None]
    assert 0 < len(last) < len(groups)  # what a viewer without animation shows is the last frame alone
    for animation in drawn.iter("{http://www.w3.org/2000/svg}animate"):
        times = [float(time) for time in animation.get("keyTimes").split(";")]
        assert times == sorted(times)
        assert times[0] == 0
        assert len(times) == len(animation.get("values").split(";"))
