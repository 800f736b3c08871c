"""What the panels say, made from folded events without any terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import EDGES, HOSTILE, JUDGES, NODES, Recording, finished, write_story
from rich.cells import cell_len

from funreason.display.figures import duration, points
from funreason.display.spans import clean, fit, fit_end, wrap, wrap_spans
from funreason.record import events as ev
from funreason.record.folder import WriterStatus
from funreason.record.state import State
from funreason.tui.flow import bar
from funreason.tui.header import HeaderContext, gpu_text, header, remaining
from funreason.tui.losses import curve, stretch
from funreason.tui.pages import page_of
from funreason.tui.samples import attempts, difference, matches, story_page, verdicts_by_attempt
from funreason.tui.view_state import PANELS, ViewState


def started(*events: ev.Event) -> State:
    return State().fold([ev.RunStarted(run="r", rounds=3, nodes=NODES, edges=EDGES, at=1.0), *events])


def judged(sample: str, node: str, outcome: str, k: int = 1, **fields) -> ev.Judged:
    return ev.Judged(round=k, sample=sample, attempt=0, node=node, outcome=outcome, **fields)


def text_of(page) -> str:
    lines = [*page.head, *(row.line for row in page.rows)]
    return "\n".join("".join(part for part, _ in line) for line in lines)


def cells(page, key: str) -> tuple[str, ...]:
    return next(row.cells for row in page.rows if row.key == key)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_without_data_says_so(panel):
    page = page_of(panel, State(), ViewState(), 60, 12)
    assert text_of(page).strip().endswith((".", "run."))


@pytest.mark.parametrize("panel", PANELS)
@pytest.mark.parametrize("width", [24, 48, 76, 116])
def test_no_line_of_a_panel_is_wider_than_the_panel(panel, width, tmp_path):
    page = page_of(panel, finished(tmp_path / "run").state(), ViewState(), width, 14)
    table = [row.line for row in page.rows] if panel != "log" else []
    assert all(cell_len("".join(part for part, _ in line)) <= max(width, 62) + 1 for line in table)


def test_flow_shows_passes_change_time_and_regenerations():
    state = started(
        *(judged(f"a{i}", "cot", "pass" if i < 1 else "drop") for i in range(2)),
        *(judged(f"b{i}", "cot", "pass", k=2, us=1000.0 * i) for i in range(3)),
        judged("b9", "cot", "regenerate", k=2, us=9.0),
        ev.PhaseStarted(round=2, phase="sample", todo=5),
    )
    row = cells(page_of("flow", state, ViewState(), 80, 20), "node:cot")
    assert row[1:3] == ("4", "75.0")
    assert row[4] == "+25.0"
    assert row[5] == "1.0"
    assert row[7] == "1"


def test_in_flight_is_what_came_along_the_edges_and_has_not_left():
    state = started(
        ev.PhaseStarted(round=1, phase="sample", todo=3),
        *(judged(f"s{i}", "generator", "sampled") for i in range(3)),
        judged("s0", "response", "pass"),
    )
    assert [state.in_flight(1, node) for node in ("generator", "response", "query_tool", "cot")] == [None, 2, 1, 0]


def test_what_is_judged_again_when_a_run_is_taken_up_is_in_flight_once():
    state = started(ev.PhaseStarted(round=1, phase="sample"), judged("s", "generator", "sampled"))
    state.apply(ev.RunStarted(run="r", rounds=3, nodes=NODES, edges=EDGES, resumed=True))
    state.apply(judged("s", "generator", "sampled"))
    assert state.in_flight(1, "response") == 1
    state.apply(judged("s", "response", "pass"))
    assert state.in_flight(1, "response") == 0


def test_only_a_rounds_newest_judgements_are_held_one_by_one():
    state = started(*(judged(f"s{i}", "cot", "pass") for i in range(6000)))
    assert len(state.rounds[1].recent) == 2000
    assert state.rounds[1].nodes["cot"].answered == 6000


@pytest.mark.parametrize(
    ("node", "pattern", "found"),
    [
        ("", "", ["c", "b", "a"]),
        ("node:cot", "", ["b", "a"]),
        ("end:kept", "", ["c"]),
        ("reason:cot.missing", "", ["b"]),
        ("", "cot.*", ["b"]),
        ("", "b", ["b"]),
        ("", "nothing like it", []),
    ],
)
def test_samples_are_narrowed_by_agent_end_reason_and_pattern(node, pattern, found):
    state = started(
        ev.PhaseStarted(round=1, phase="sample"),
        judged("a", "cot", "pass"),
        judged("b", "cot", "drop", reason="cot.missing"),
        ev.SampleEnded(round=1, sample="b", attempt=0, fate="dropped", node="cot", reason="cot.missing"),
        ev.SampleEnded(round=1, sample="c", attempt=0, fate="kept"),
    )
    page = page_of("samples", state, ViewState(node=node, pattern=pattern), 90, 10)
    assert [row.key for row in page.rows] == found


def test_samples_can_be_sorted():
    state = started(ev.PhaseStarted(round=1, phase="sample"), *(judged(s, "cot", "pass") for s in "bca"))
    keys = [[r.key for r in page_of("samples", state, ViewState(sort={"samples": n}), 90, 10).rows] for n in (0, 1)]
    assert keys == [["a", "c", "b"], ["a", "b", "c"]]


def test_a_pattern_without_wildcards_is_a_part_and_no_pattern():
    event = judged("r1/t[1]/0", "cot", "drop", reason="x")
    assert matches(event, "t[1]")
    assert not matches(event, "t1")


def test_the_log_says_where_a_round_goes_and_who_refused_its_weights():
    state = started(
        ev.TasksRead(refused=2),
        ev.RoundMessage(round=1, node="trainer", outcome="candidate", target="evaluator"),
        ev.WeightsRefused(round=1, node="approval", reason="the answers got longer"),
    )
    said = text_of(page_of("log", state, ViewState(), 100, 12))
    assert "all tasks were read, 2 records refused" in said
    assert "round 1: trainer candidate → evaluator" in said
    assert "round 1: approval refused the weights: the answers got longer" in said


def test_rounds_are_walked_among_those_the_log_speaks_of():
    state = started(*(judged("s", "cot", "pass", k=k) for k in (1, 2, 5)), ev.PhaseStarted(round=5, phase="sample"))
    view, seen = ViewState(), []
    for by in (-1, -1, -1, 1):
        view.move_round(state, by)
        seen.append(view.round)
    assert seen == [2, 1, 1, 2]


def test_comparing_shows_both_sides_and_the_difference(tmp_path):
    state, other = finished(tmp_path / "a").state(), finished(tmp_path / "b", every_fails=2).state()
    own = page_of("compare", state, ViewState(), 80, 20)
    assert cells(own, "gate % all")[1:] == ("40.0", "37.5", "+2.5")
    two = page_of("compare", state, ViewState(against=other, against_name="b"), 80, 20)
    assert cells(two, "end % kept")[1:] == ("66.7", "50.0", "+16.7")


@pytest.mark.parametrize(
    ("status", "silent", "shown"),
    [
        ("running", 1.0, "● RUNNING"),
        ("stale", 42.0, "? STALE 42 s"),
        ("crashed", 1.0, "✗ CRASHED"),
        ("finished", 1.0, "✓ FINISHED"),
        ("interrupted", 1.0, "‖ INTERRUPTED"),
        ("failed", 1.0, "✗ FAILED"),
    ],
)
def test_the_header_says_how_the_run_is(status, silent, shown):
    lines = header(started(), "r", HeaderContext(now=10.0, life=WriterStatus(status, 1, "here", silent)))
    assert shown in "".join(part for part, _ in lines[0])


def test_a_paused_run_says_so():
    state = started(ev.Paused(on=True))
    vitals = HeaderContext(now=2.0, life=WriterStatus("running", 1, "here", 0.0))
    assert "‖ PAUSED" in "".join(part for part, _ in header(state, "r", vitals)[0])
    state.apply(ev.Paused(on=False))
    assert "PAUSED" not in str(header(state, "r", vitals))


def test_the_time_left_is_that_of_the_rounds_so_far(tmp_path):
    run = Recording(tmp_path / "run", rounds=4)
    run.round(1)
    assert remaining(run.folder.state(), run.at) == pytest.approx(3 * 8.0)


def test_a_story_tells_attempts_mask_verdicts_and_the_change(tmp_path):
    folder = finished(tmp_path / "run")
    sample = write_story(folder, 1, "plainly")
    told = text_of(story_page(folder, 1, sample, 90))
    for part in ("⟨plainly⟩", "⟦[look(what='moon')]⟧", "[-moon-]{+sun+}", "attempt 2 · repaired", "schema.enum"):
        assert part in told
    assert "verdicts on attempt 2" in told
    assert "No text of this sample" in text_of(story_page(folder, 1, "r1/none/0", 90))


def test_each_attempt_is_told_once_and_verdicts_are_cut_at_each_return(tmp_path):
    folder = finished(tmp_path / "run")
    found = folder.texts(2).find("r2/task_0/0")
    assert [sample.attempt for _, sample in attempts(found)] == [0, 1]
    assert [len(spell) for spell in verdicts_by_attempt(found[-1][1].verdicts)] == [2, 1]


def test_nothing_a_model_wrote_reaches_the_terminal_as_a_command(tmp_path):
    folder = finished(tmp_path / "run")
    told = text_of(story_page(folder, 2, "r2/task_0/0", 90))
    assert "[bold]not bold[/bold]" in told
    assert all(char not in told for char in "\x1b\x07\u202e")


@given(st.text())
def test_clean_text_is_free_of_controls_and_keeps_what_is_printable(text):
    cleaned = clean(text)
    assert len(cleaned) >= len(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in cleaned)
    assert clean(cleaned) == cleaned


@given(st.text(max_size=60), st.integers(1, 40))
def test_fitted_text_has_exactly_its_width(text, width):
    assert (
        cell_len(fit(text, width)) == cell_len(fit(text, width, right=True)) == cell_len(fit_end(text, width)) == width
    )


@given(st.text(max_size=200), st.integers(8, 40))
def test_wrapped_lines_fit(text, width):
    assert all(cell_len(part) <= width for part in wrap(text, width))
    spans = wrap_spans([(text, "a"), (text, "b")], width)
    assert all(cell_len("".join(part for part, _ in line)) <= width for line in spans)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(1, 60), st.integers(1, 8))
def test_a_curve_fills_its_cells_and_no_more(values, width, height):
    drawn = curve(values, width, height, min(values), max(values))
    assert [len(row) for row in drawn] == [width] * height
    columns = zip(*drawn, strict=True)
    assert all(any(cell != " " for cell in column) for column in columns)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.integers(20, 80))
def test_a_stretched_series_keeps_its_ends_and_bounds(values, count):
    made = stretch(values, count)
    assert len(made) == count
    assert made[0] == values[0]
    assert made[-1] == pytest.approx(values[-1])
    assert min(values) - 1e-9 <= min(made) <= max(made) <= max(values) + 1e-9


@given(st.text(alphabet="abc (),=", max_size=30), st.text(alphabet="abc (),=", max_size=30))
def test_a_difference_holds_both_texts(old, new):
    spans = difference(old, new)
    kept = "".join(text for text, role in spans if role == "dim")
    out = "".join(text[2:-2] if role == "bad" else text for text, role in spans if role != "good")
    into = "".join(text[2:-2] if role == "good" else text for text, role in spans if role != "bad")
    assert (out, into) == (old, new)
    assert len(kept) <= min(len(old), len(new))


def test_small_figures_are_written_plainly():
    assert [duration(s) for s in (0, 59.4, 61, 3723, 100_000)] == ["0 s", "59 s", "1:01", "1:02:03", "1 d 03:46"]
    assert points(0.5, 0.4) == ("+10.0", "good")
    assert points(None, 0.4) == ("–", "dim")
    assert bar(0.5, 4) == "██··"
    assert gpu_text("37, 1024, 143771\n") == "GPU 37 % 1.1 GB of 150.8 GB"
    assert gpu_text("No devices were found") == ""


def test_judges_with_errors_are_marked_beside_their_colour():
    state = started(ev.PhaseStarted(round=1, phase="sample"), judged("a", "cot", "pass"), judged("b", "cot", "error"))
    assert cells(page_of("health", state, ViewState(), 60, 10), "node:cot")[2:4] == ("! 1", "50.0")


def test_hostile_names_stay_words_in_every_panel(tmp_path):
    run = Recording(tmp_path / "run")
    run.sampling(1, 2)
    run(ev.LogMessage(level="warning", text=HOSTILE))
    run.sample(1, 7, JUDGES[0], reason=HOSTILE)
    state = run.folder.state()
    for panel in PANELS:
        shown = text_of(page_of(panel, state, ViewState(), 100, 12))
        assert all(char not in clean(shown) for char in "\x1b\x07\u202e")
