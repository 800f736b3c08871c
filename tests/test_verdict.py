"""The verdict: whether a run worked, from its record alone, in sentences that claim no more than it holds."""

import asyncio
import io
import json
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from recorded import HOSTILE, Recording
from rich.console import Console

from funreason.bfcl.intervals import paired
from funreason.cards import About, model_card
from funreason.cli.show import status
from funreason.display.report import report_html, report_markdown
from funreason.display.table import verdict_text
from funreason.display.verdict import GateEvidence, evidence_in, verdict
from funreason.gate.rule import SuiteResult, balance, by_category, compare
from funreason.record import events as ev
from funreason.tui.app import Dashboard
from funreason.tui.feed import LiveFeed

CALLS, BOTH = ("simple_python",), ("simple_python", "irrelevance")


def results(right: str, categories=CALLS) -> SuiteResult:
    """Items as a string of 1 (right) and 0; their categories take turns."""
    marks = [mark == "1" for mark in right]
    return SuiteResult([categories[i % len(categories)] for i in range(len(marks))], marks, marks)


def decided(run, k, decision, old, new, suites, *, reason="", ended=True, text=None) -> None:
    """A gate's event as the evaluator writes it: `suites` has (old, new) results by name, the first decides."""
    first = next(iter(suites.values()))
    run(
        ev.GateDecided(
            round=k,
            decision=decision,
            reason=reason or f"reason of round {k}",
            old_weights=old,
            new_weights=new,
            overall=compare(*first),
            by_category=by_category(*first),
            by_slice={name: compare(*pair) for name, pair in suites.items()},
            balance=balance(*first),
            balance_by_slice={name: balance(*pair) for name, pair in suites.items()},
            text=text or {},
        )
    )
    if ended:
        run(ev.RoundEnded(round=k, weights=new if decision == "promote" else old))


def keep_items(run, weights, **suites) -> None:
    (run.folder.path / "gate").mkdir(exist_ok=True)
    (run.folder.path / "gate" / f"{weights}.json").write_text(json.dumps({name: list(r) for name, r in suites.items()}))


def configured(run, **suites) -> None:
    (run.folder.path / "config.yaml").write_text(yaml.safe_dump({"gate": {"suites": suites}}))


def of(folder):
    return verdict(folder.state(), evidence_in(folder))


BASE, STARTED, ONE, TWO = "0" * 40, "1" * 12 + "0" * 28, "0" + "1" * 19 + "0" * 20, "00" + "1" * 26 + "0" * 12
OLD_BASE, OLD_STARTED, OLD_TWO = "1" * 20, "1" * 18 + "00", "1" * 10 + "0" * 10


def started_and_two_kept(path, items=True):
    """The supervised start and two rounds were kept; the guard `old` lost half."""
    run = Recording(path, rounds=2)
    configured(run, new={"path": "toolbox:new_gate"}, old={"path": "toolbox:old_gate", "role": "guard"})
    made = {
        "base0": (BASE, OLD_BASE),
        "w0": (STARTED, OLD_STARTED),
        "w1": (ONE, OLD_STARTED),
        "w2": (TWO, OLD_TWO),
    }
    found = {id: {"new": results(new), "old": results(old)} for id, (new, old) in made.items()}
    for k, (old, new) in enumerate([("base0", "w0"), ("w0", "w1"), ("w1", "w2")]):
        if k:
            run.sampling(k)
        decided(run, k, "promote", old, new, {s: (found[old][s], found[new][s]) for s in ("new", "old")})
    for id in found if items else ():
        keep_items(run, id, **found[id])
    return run.end()


def test_the_rounds_gain_is_given_apart_from_the_supervised_start_and_paired_over_all_rounds(tmp_path):
    found = of(started_and_two_kept(tmp_path / "run"))
    exact = paired([m == "1" for m in STARTED], [m == "1" for m in TWO])
    change = found.rounds[0]
    assert (change.won, change.lost, change.p) == (exact.gained, exact.lost, exact.p) == (16, 2, exact.p)
    assert found.outcome == "better"
    assert found.title == "Rounds 1 and 2 were kept and helped: new tools 30.0 → 65.0 % (16 won, 2 lost, p 0.001)."
    text = " ".join(found.sentences)
    assert "supervised start was kept: new tools 0.0 → 30.0 % (12 won, 0 lost, p 0.0005)" in text
    assert "Start and rounds together: new tools 0.0 → 65.0 % (26 won, 0 lost, p < 0.0001)" in text
    assert found.promoted == (1, 2)


def test_the_price_on_a_guard_counts_from_the_beginning_and_names_the_rounds_part(tmp_path):
    text = " ".join(of(started_and_two_kept(tmp_path / "run")).sentences)
    assert "Old tools lost 50.0 points: 100.0 → 50.0 % (0 won, 10 lost, p 0.002); -40.0 points by the rounds." in text


def test_without_the_items_a_pair_that_no_gate_compared_has_no_p_and_claims_no_success(tmp_path):
    found = of(started_and_two_kept(tmp_path / "run", items=False))
    assert found.outcome == "unclear"
    assert "new tools 30.0 → 65.0 % (not paired item by item, so no p)" in found.title
    assert found.start[0].p is not None  # the gate itself compared these two
    assert "may be chance" not in found.title


def test_one_kept_round_has_the_gates_own_numbers_where_items_are_missing(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    run.round(1)
    found = of(run.end())
    assert found.title == "Round 1 was kept, which may be chance: suite new 27.5 → 37.5 % (5 won, 1 lost, p 0.220)."
    assert found.outcome == "unclear"


def test_a_kept_round_that_made_the_model_clearly_worse_is_not_called_better(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    decided(run, 1, "promote", "base0", "w1", {"new": (results("1" * 20), results("1" * 8 + "0" * 12))})
    found = of(run.end())
    assert found.outcome == "worse"
    assert "was kept and hurt" in found.title


def test_a_kept_round_that_changed_no_item_says_so(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    decided(run, 1, "promote", "base0", "w1", {"new": (results("1100"), results("1100"))})
    found = of(run.end())
    assert "kept, without effect" in found.title
    assert "chance" not in " ".join([found.title, *found.sentences])


def test_calls_and_refusals_weigh_alike_as_in_the_gate(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    old, new = results("0101010101", BOTH), results("1010101010", BOTH)
    decided(run, 1, "promote", "base0", "w1", {"new": (old, new)})
    by_events = of(run.end()).rounds[0]
    for id, found in (("base0", old), ("w1", new)):
        keep_items(run, id, new=found)
    by_items = of(run.folder).rounds[0]
    assert by_items == by_events
    assert (by_items.balanced, by_items.old, by_items.new) == (True, 0.5, 0.5)


def test_a_record_whose_gate_scored_all_items_alike_is_not_scored_otherwise(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    old, new = results("0101010101", BOTH), results("1110101011", BOTH)
    score = compare(old, new)
    ids = {"old_weights": "base0", "new_weights": "w1"}
    run(ev.GateDecided(round=1, decision="promote", reason="", overall=score, by_slice={"new": score}, **ids))
    run(ev.RoundEnded(round=1, weights="w1"))
    for id, found in (("base0", old), ("w1", new)):
        keep_items(run, id, new=found)
    change = of(run.end()).rounds[0]
    assert (change.balanced, change.new, change.p) == (False, 0.7, score.p)


@pytest.mark.parametrize(("decision", "word"), [("hold", "held"), ("rollback", "rolled back")])
def test_a_round_that_was_not_kept_gives_the_gates_reason(tmp_path, decision, word):
    run = Recording(tmp_path / "run", rounds=1)
    decided(run, 1, decision, "base0", "w1", {"new": (results("10"), results("01"))}, reason="the gate's own words")
    found = of(run.end("refused"))
    assert found.title == "No round was kept: the model is as it was at the start."
    assert f"Round 1 was {word}: the gate's own words." in found.sentences
    assert not found.rounds
    assert (found.held, found.rolled_back) == (((1,), ()) if decision == "hold" else ((), (1,)))


def test_the_supervised_start_is_not_counted_as_a_kept_round(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    decided(run, 0, "promote", "base0", "w0", {"new": (results("0000"), results("1110"))})
    decided(run, 1, "hold", "w0", "w1", {"new": (results("1110"), results("1110"))})
    found = of(run.end("refused"))
    assert found.title == "No round was kept: the model is as the supervised start left it."
    assert found.promoted == ()


def test_a_supervised_start_that_was_thrown_away_says_why(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    decided(run, 0, "rollback", "base0", "w0", {"new": (results("10"), results("00"))}, reason="category x fell")
    assert "The supervised start was rolled back: category x fell." in of(run.life("running")).sentences


def test_a_round_with_nothing_to_train_on_says_how_many_samples_were_kept(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    for i in range(4):
        run.sample(1, i, "response")
    run(ev.TrainingSetSelected(round=1, kept=0, trained=0))
    decided(run, 1, "hold", "base0", "base0", {"new": (results("10"), results("10"))})
    text = of(run.end("refused")).sentences
    assert "Round 1 was held: it had nothing to train on (0 of 4 samples were kept)." in text


def test_a_round_of_reinforcement_learning_without_signal_says_so_and_steps_are_counted(tmp_path):
    run = Recording(tmp_path / "run", rounds=2)
    run(ev.PolicyUpdated(round=1, step=1, weights="base0", idle=1))
    decided(run, 1, "hold", "base0", "base0", {"new": (results("10"), results("10"))})
    run.sampling(2)
    run.training(2, steps=3)
    run(ev.PolicyUpdated(round=2, step=3, weights="w2"))
    decided(run, 2, "promote", "base0", "w2", {"new": (results("10"), results("11"))})
    text = " ".join(of(run.end()).sentences)
    assert "no group of answers carried a signal" in text
    assert "3 optimizer steps on rewards of 12 samples" in text


def test_text_suites_say_how_much_worse_text_is_predicted(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    pair = {"new": (results("10"), results("11"))}
    decided(run, 1, "promote", "base0", "w1", pair, text={"prose": ev.TextScore(900, 1.0, 1.02, 1.0)})
    assert "Text of prose is predicted 2.0 % worse than before the rounds (1.0000 → 1.0200 bits per byte)." in (
        of(run.end()).sentences
    )


def test_text_of_refused_weights_is_not_held_against_the_model(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    pair = {"new": (results("10"), results("11"))}
    decided(run, 1, "rollback", "base0", "w1", pair, text={"prose": ev.TextScore(900, 1.0, 1.5, 1.0)})
    assert "Text of prose is predicted as well as before the rounds (1.0000 → 1.0000 bits per byte)." in (
        of(run.end("refused")).sentences
    )


@pytest.mark.parametrize(
    ("life", "words", "command"),
    [
        ("interrupted", "The run was interrupted in round 2 of 3", "funreason loop --resume"),
        ("failed", "The run failed in round 2 of 3: OSError: no space left", "funreason loop --resume"),
        ("crashed", "The process of the run died in round 2 of 3", "funreason loop --resume"),
        ("running", "The run is in round 2 of 3", "funreason watch"),
    ],
)
def test_a_run_that_is_not_over_says_how_far_it_came_and_what_to_do(tmp_path, life, words, command):
    run = Recording(tmp_path / "run", rounds=3)
    run.round(1)
    run.sampling(2)
    if life == "failed":
        run(ev.RunEnded(status="failed", reason="OSError: no space left"))
    found = verdict(run.folder.state(), evidence_in(run.folder)._replace(status=life))
    assert any(sentence.startswith(words) for sentence in found.sentences)
    assert found.title.startswith("So far: round 1 was kept")
    assert found.commands[0] == f"{command} {run.folder.path}"


def test_a_run_that_stopped_for_a_reason_of_its_own_gives_it_once(tmp_path):
    run = Recording(tmp_path / "run", rounds=3)
    run.round(1)
    run(ev.RunEnded(status="interrupted", reason="10 steps in a row had no group whose answers differ"))
    text = " ".join(of(run.life("interrupted")).sentences)
    assert text.count("interrupted in round 1 of 3: 10 steps in a row had no group whose answers differ.") == 1
    run(ev.RunEnded(status="interrupted", reason="resume with: funreason loop --resume run"))
    assert "resume with" not in " ".join(of(run.folder).sentences)


def test_a_decision_that_has_not_taken_effect_is_not_counted(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    decided(run, 1, "promote", "base0", "w1", {"new": (results("00"), results("11"))}, ended=False)
    found = of(run.life("interrupted"))
    assert found.promoted == ()
    assert "Round 1 was measured (promote), and its decision has not taken effect." in found.sentences


def test_a_run_without_a_gate_claims_nothing(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    run.sampling(1)
    run(ev.RoundEnded(round=1, weights="w1"))
    found = of(run.end())
    assert found.outcome == "unmeasured"
    assert found.title == "No gate measured a round: nothing says whether the model got better."
    assert verdict(type(run.folder.state())()).outcome == "unmeasured"  # a run that has logged nothing


def test_a_refinement_says_how_much_was_kept(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    (run.folder.path / "refine.yaml").write_text("{}")
    run.sampling(1)
    run(ev.RoundEnded(round=1, weights=""))
    (run.folder.path / "refined-xlam.jsonl").write_text("")
    found = of(run.end())
    assert found.title == "8 of 12 samples were kept (66.7 %); no model was trained."
    assert "4 were dropped (33.3 %); most for: schema.enum 4." in found.sentences
    assert f"The kept records are in {run.folder.path}/refined-xlam.jsonl." in found.sentences
    assert found.commands[-1] == f"funreason loop --tasks {run.folder.path}/refined-xlam.jsonl"


def test_a_suite_held_out_from_the_task_file_is_named_as_such(tmp_path):
    evidence = GateEvidence(suites={"new": ("decision", "tasks:held_out")})
    run = Recording(tmp_path / "run", rounds=1)
    run.gating(1)
    run(ev.RoundEnded(round=1, weights="w1"))
    assert "held-out tasks 27.5 → 37.5 %" in verdict(run.end().state(), evidence).title


def test_a_suite_that_the_gate_does_not_read_is_named_as_such(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    configured(run, new={"path": "a.jsonl"}, fresh={"path": "b.jsonl", "role": "report"})
    pairs = {"new": (results("00"), results("11")), "fresh": (results("0000"), results("0001"))}
    decided(run, 1, "promote", "base0", "w1", pairs)
    assert any(s.startswith("Suite fresh, which the gate does not read, gained 25.0 points") for s in of(run.end())[2])


def test_item_results_that_cannot_be_read_are_named_and_the_events_are_used(tmp_path):
    folder = started_and_two_kept(tmp_path / "run")
    (folder.path / "gate" / "w2.json").write_text('{"new": [["a"], ')
    (folder.path / "gate" / "w1.json").write_text("[1]")
    found = of(folder)
    assert "What cannot be read in the run's folder: w1.json, w2.json." in found.sentences
    assert "no p" in found.title


def test_results_of_other_items_are_not_paired(tmp_path):
    folder = started_and_two_kept(tmp_path / "run")
    (folder.path / "gate" / "w2.json").write_text(json.dumps({"new": list(results("1" * 7))}))
    assert of(folder).rounds[0].p is None


def test_three_commands_fit_the_outcome_and_name_the_run(tmp_path):
    folder = started_and_two_kept(tmp_path / "a run")
    (folder.path / "model").mkdir()
    found = of(folder)
    assert len(found.commands) == 3
    assert found.commands[2] == f"funreason export '{folder.path}' --out '{folder.path}-export'"
    assert found.model == str(folder.path / "model")


@given(old=st.lists(st.booleans(), min_size=1, max_size=30), data=st.data())
def test_won_minus_lost_is_the_difference_and_p_that_of_mcnemar(tmp_path_factory, old, data):
    new = data.draw(st.lists(st.booleans(), min_size=len(old), max_size=len(old)))
    run = Recording(tmp_path_factory.mktemp("runs") / "run", rounds=1)
    pair = tuple(SuiteResult(["simple_python"] * len(old), marks, marks) for marks in (old, new))
    decided(run, 1, "promote", "base0", "w1", {"new": pair})
    items = {id: {"new": [("simple_python", mark) for mark in marks]} for id, marks in (("base0", old), ("w1", new))}
    state = run.folder.state()
    run.log.close()
    found = verdict(state, GateEvidence(results=items))
    change, ((low, high),) = found.rounds[0], found.intervals.values()
    assert (low, high) == pytest.approx((paired(old, new).interval.low, paired(old, new).interval.high), abs=1e-6)
    assert change.won - change.lost == pytest.approx((change.new - change.old) * len(old))
    assert change.p == pytest.approx(paired(old, new).p)
    assert change == verdict(state).rounds[0]


def test_the_verdict_comes_first_in_status_and_as_json(tmp_path, capsys):
    folder = started_and_two_kept(tmp_path / "run")
    status(str(folder.path))
    text = capsys.readouterr().out
    assert text.index("Rounds 1 and 2 were kept") < text.index("Gate:") < text.index("Samples:")
    assert "Stages:" not in text
    status(str(folder.path), all=True)
    assert "Stages:" in capsys.readouterr().out
    status(str(folder.path), json=True)
    whole = json.loads(capsys.readouterr().out)
    found = whole["verdict"]
    assert found["result"] == "New tools 0.0 → 65.0 %, old tools 100.0 → 50.0 %"
    assert [p["share"] for p in whole["accuracy"]["new"]["points"]] == [0.0, 0.3, 0.475, 0.65]
    assert whole["accuracy"]["old"]["role"] == "guard"
    assert (found["outcome"], found["promoted"], found["rounds"][0]["won"]) == ("better", [1, 2], 16)


def test_a_command_longer_than_a_line_is_printed_whole(tmp_path, capsys):
    folder = started_and_two_kept(tmp_path / ("a-folder-with-a-long-name-" * 4) / "run")
    status(str(folder.path))
    lines = [line.removeprefix("next").strip() for line in capsys.readouterr().out.splitlines()]
    for command in verdict(folder.state(), evidence_in(folder)).commands:
        assert command in lines


def test_both_reports_begin_with_the_verdict(tmp_path):
    folder = started_and_two_kept(tmp_path / "run")
    for text in (report_html(folder.state(), folder, "finished"), report_markdown(folder.state(), folder, "finished")):
        assert text.index("Rounds 1 and 2 were kept and helped") < text.index("rounds over")
        assert "2 promoted" in text


def test_a_models_card_says_how_the_run_turned_out(tmp_path):
    folder = started_and_two_kept(tmp_path / "run")
    about = About("n", "base", "tasks", None, None, "w2")
    card = model_card(folder.state(), about, of(folder))
    assert card.index("- Rounds 1 and 2 were kept and helped: new tools 30.0 → 65.0 %") < card.index("## Gate")


def test_the_dashboards_header_shows_the_verdict(tmp_path):
    async def head(folder) -> str:
        app = Dashboard(LiveFeed(folder, time.time), open_feed=lambda found: LiveFeed(found, time.time))
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause()
            return "\n".join("".join(text for text, _ in line) for line in app.panel("head").page.head)

    shown = asyncio.run(head(started_and_two_kept(tmp_path / "run")))
    assert "✓ Rounds 1 and 2 were kept and helped: new tools 30.0 → 65.0 %" in shown


def test_what_an_agent_wrote_as_a_reason_is_text(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    decided(run, 1, "rollback", "base0", "w1", {"new": (results("10"), results("01"))}, reason=HOSTILE)
    folder, out = run.end("refused"), io.StringIO()
    Console(file=out, width=80, color_system=None).print(verdict_text(of(folder)))
    assert "[bold]not bold[/bold]" in out.getvalue()
    html = report_html(folder.state(), folder, "refused")
    for text in (out.getvalue(), html, report_markdown(folder.state(), folder, "refused")):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "<script" not in html
