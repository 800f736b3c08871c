"""The tables of a run: whole at 80 columns, text as text, and every origin and round in its place."""

import io

import msgspec
import pytest
from rich.console import Console

from funreason.display.progress import view
from funreason.display.table import STAGES, account, balance_table, gate_table, run_tables, stage_table, yield_table
from funreason.record import events as ev
from funreason.record.plain import plain
from funreason.record.state import NodeCount, RoundState, State

HOSTILE = "[/opt/x] [red]\x1b]0;title\x07 \u202eevil\r"


def shown(table, width=80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(table)  # markup on, as a careless caller has it
    return out.getvalue()


def scores(total=12_345) -> ev.Score:
    return ev.Score(total, total, total, total // 10, total // 10, 1.0, 0.9876, 1.0, total, total)


def gated(k, decision="rollback", reason="fell", suite="new") -> ev.GateDecided:
    return ev.GateDecided(k, decision, reason, "a", "b", scores(), {"simple_python": scores()}, {suite: scores()})


def world(rounds=3, extra=(), said="r") -> State:
    names = [*STAGES, *extra]
    state = State(run=said, round=1, rounds_planned=rounds, nodes=names, phase=said, weights=said)
    for k in range(1, rounds + 1):
        nodes = {name: NodeCount() for name in names}
        for node in nodes.values():
            node.outcomes.update({"pass": 20_000, "drop": 345})
        state.rounds[k] = RoundState(nodes=nodes, gate=gated(k), chosen=ev.TrainingSetSelected(k, 20_000, 20_000))
        state.rounds[k].fates.update(kept=12_345, text=1_234, dropped=12_345, dead=12_345)
        state.rounds[k].origins.update(sampled=12_345, rerendered=1_234, resampled=1_234, repaired=12_345)
        state.rounds[k].dead_reasons.update({"response.text_where_calls_expected": 12_345})
        state.rounds[k].seconds.update(base=1234.5, start=1234.5, sample=1234.5, train=1234.5, gate=1234.5)
    return state


@pytest.mark.parametrize("rounds", [1, 3, 12])
def test_every_table_fits_eighty_columns_with_nothing_cut(rounds):
    state = world(rounds)
    for text in (shown(run_tables(state)), shown(account(state))):
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= 80
    text = shown(run_tables(state))
    for whole in ("98.3 (20345)", "98.8–100.0", "1234/1234", "▼ rollback", "any form", "1234.5"):
        assert whole in text


def test_judges_of_ones_own_stand_beside_the_five_and_all_still_fit():
    text = shown(stage_table(world(extra=("my_judge", "another_judge"))))
    assert "another_" in text
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("98.3") == 3 * 7
    assert text.count("(20345)") == 3 * 7


def test_calls_and_refusals_are_shown_apart_with_the_models_that_need_no_skill():
    both = ev.Balance(
        {"calls": ev.Score(80, 20, 40, 22, 2, 0.0), "refusals": ev.Score(20, 20, 10, 0, 10, 0.002)},
        old=0.625,
        new=0.5,
        p=0.04,
        trivial={"always_refuse": 0.5, "always_call": 0.0},
    )
    state = world(rounds=1)
    gate = msgspec.structs.replace(gated(1), balance=both, balance_by_slice={"new": both})
    state.rounds[1].gate = gate
    row = next(line for line in shown(balance_table(state)).splitlines() if "100.0" in line)
    assert row.split() == "1 new 25.0 → 50.0 100.0 → 50.0 62.5 → 50.0 0.040 50 · 0".split()
    assert "% right of calls and of refusals" in shown(run_tables(state))


def test_a_long_suite_name_is_folded_and_its_numbers_stay_whole():
    state = world(1)
    state.rounds[1].gate = gated(1, suite="a-very-long-name-of-a-suite-of-one's-own")
    text = shown(gate_table(state))
    assert "…" not in text
    assert "98.8–100.0" in text
    assert "12345 100.0 100.0" in text


def test_what_passes_unread_is_said_under_the_stages():
    assert "fail stage 5" in " ".join(shown(stage_table(world())).split())


def test_references_are_an_origin_where_they_occur():
    assert "reference" not in shown(yield_table(world()))
    state = world(1)
    state.rounds[1].origins["reference"] = 54_321
    text = shown(yield_table(state))
    assert "reference" in text
    assert "54321" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_account_adds_up_over_rounds_that_share_a_column():
    lines = shown(account(world(12))).splitlines()
    kept = next(line for line in lines if line.startswith("kept")).split()
    assert sum(map(int, kept[1:])) == 12 * 12_345


def test_a_short_account_adds_up_the_reasons_it_does_not_name():
    state = world(2)
    for k, r in state.rounds.items():
        r.dead_reasons.clear()
        r.dead_reasons.update({f"reason.{i}": 10 * k - i for i in range(8)})
    lines = shown(account(state, most=5)).splitlines()
    assert next(line for line in lines if "3 other reasons" in line).split()[-2:] == ["12", "42"]
    assert not any("reason.5" in line for line in lines)
    assert "reason.7" in shown(account(state))


def test_an_account_of_records_that_never_became_tasks_needs_no_round():
    state = State()
    state.refused["answers.broken"] = 54
    assert "no task" in shown(account(state))
    assert "54" in shown(account(state))


def test_text_from_outside_is_neither_markup_nor_control_in_any_table_or_view():
    state = world(1, extra=(HOSTILE,), said=HOSTILE)
    state.rounds[1].gate = ev.GateDecided(
        1, HOSTILE, HOSTILE, "a", "b", scores(), {HOSTILE: scores()}, {HOSTILE: scores()}
    )
    state.rounds[1].dead_reasons[HOSTILE] = 1
    state.refused[HOSTILE] = 1
    for part in (run_tables(state), account(state), view(state, 1.0)):
        text = shown(part, 200)
        assert "[/opt/x]" in text
        assert not set(text) & set("\x1b\x07\r\u202e")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b]0;t\x07", "␛]0;t␇"),
        ("a\rb\x7f", "a␍b␡"),
        ("\x9b31m", "⟨U+009B⟩31m"),
        ("a\u202eb\u2066c\u200b", "a⟨U+202E⟩b⟨U+2066⟩c⟨U+200B⟩"),
        ("a\nb\tc", "a␊b␉c"),
        ("caf\udce9", "caf⟨U+DCE9⟩"),
        ("ordinary – 北京 é 🙂 [/x]", "ordinary – 北京 é 🙂 [/x]"),
    ],
)
def test_a_control_is_shown_and_not_obeyed(text, seen):
    assert plain(text) == seen


def test_lines_are_kept_where_text_may_have_lines():
    assert plain("a\nb\tc\r\x1b", lines=True) == "a\nb\tc␍␛"
