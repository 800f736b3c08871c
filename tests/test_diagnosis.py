"""The diagnosis: each rule speaks on a recorded run that has its fault, and is silent on a good one."""

import io
import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import Recording
from rich.console import Console

from funreason.cli.show import status
from funreason.cli.terminal import explain
from funreason.config import find_config, load_config, parse_setting
from funreason.display.diagnosis import RULES, diagnose
from funreason.display.progress import LiveProgress
from funreason.display.report import report_html, report_markdown
from funreason.display.table import verdict_text
from funreason.display.verdict import evidence_in, verdict
from funreason.errors import NothingToLearn
from funreason.record import events as ev
from funreason.record.state import State

SETTINGS = load_config(find_config("default"), {}).model_dump(mode="json")


def score(total, old, new, any_form=None) -> ev.Score:
    anyhow = {"old_any": old, "new_any": new} if any_form is None else {"old_any": any_form, "new_any": any_form}
    return ev.Score(total=total, old=old, new=new, gained=max(0, new - old), lost=max(0, old - new), p=0.01, **anyhow)


GOOD = {"simple": (100, 40, 50), "parallel": (100, 20, 30), "irrelevance": (100, 60, 70)}


def gate(run, k, decision="promote", categories=None, reason="+10.0 points, p 0.010", moved=True) -> None:
    """A gate on three hundred items; `categories` gives items, old and new by category."""
    by = {name: score(*parts) for name, parts in (categories or GOOD).items()}
    calls = [s for name, s in by.items() if name != "irrelevance"]
    kinds = {"calls": score(*(sum(getattr(s, of) for s in calls) for of in ("total", "old", "new")))}
    kinds |= {"refusals": by["irrelevance"]} if "irrelevance" in by else {}
    whole = score(*(sum(getattr(s, of) for s in by.values()) for of in ("total", "old", "new")))
    both = ev.Balance(kinds, old=0.4, new=0.5, p=0.01, trivial={"always_refuse": 0.5, "always_call": 0.0})
    run(
        ev.GateDecided(
            round=k,
            decision=decision,
            reason=reason,
            old_weights=f"w{k - 1}",
            new_weights=f"w{k}" if moved else f"w{k - 1}",
            overall=whole,
            by_category=by,
            by_slice={"new": whole},
            balance=both,
        )
    )
    run(ev.RoundEnded(round=k, weights=f"w{k}" if decision == "promote" else f"w{k - 1}"))


def chosen(run, k, **by_category) -> None:
    trained = sum(by_category.values())
    run(ev.TrainingSetSelected(round=k, kept=trained, trained=trained, by_category=by_category))


def losses(run, k, values, **more) -> None:
    for i, value in enumerate(values, 1):
        run(ev.OptimizerStep(round=k, step=i, steps=len(values), metrics={"loss": value, **more}))


def canaries(run, k, node="cot", passed=0, dropped=0) -> None:
    run(ev.CanaryResult(round=k, node=node, bad=10, passed=passed, good=10, dropped=dropped, missed={"swap": passed}))


def gpu(run, k, busy, phase="sample") -> None:
    run(ev.GpuUsed(round=k, phase=phase, busy=busy, memory_gb=20.0, readings=8))


def rewards(run, k, steps=8, mixed=20.0, right=20.0, wrong=20.0, refusals=(0.8, 0.8)) -> None:
    for i in range(1, steps + 1):
        metrics = {"groups_mixed": mixed, "groups_all_right": right, "groups_all_wrong": wrong, "truncated_rate": 0.0}
        metrics["refusal_rate"] = refusals[0] + (refusals[1] - refusals[0]) * (i - 1) / (steps - 1)
        run(ev.OptimizerStep(round=k, step=i, steps=steps, metrics=metrics))
        run(ev.PolicyUpdated(round=k, step=i, weights=f"w{k}"))


def good_round(run, k) -> None:
    canaries(run, k)
    run.sampling(k, 60, 4)
    gpu(run, k, 0.9)
    chosen(run, k, simple=20, parallel=15, irrelevance=10)
    losses(run, k, [1.0 - 0.05 * i for i in range(16)])
    gate(run, k, categories={n: (t, a + 10 * (k - 1), b + 10 * (k - 1)) for n, (t, a, b) in GOOD.items()})


def good(run) -> None:
    gate(run, 0)
    good_round(run, 1)
    good_round(run, 2)


def good_on_rewards(run) -> None:
    gate(run, 0)
    run.sampling(1, 60, 61)
    rewards(run, 1)
    gate(run, 1)


def dropped(run, k, count, total, reason) -> None:
    """`count` of `total` samples are dropped at `response` for `reason`."""
    run(ev.PhaseStarted(round=k, phase="sample", todo=total))
    for i in range(total):
        run.sample(k, i, "response" if i < count else "", reason)


def errors(run, k) -> None:
    run.sampling(k, 60, 61)
    for i in range(10):
        run(ev.Judged(round=k, sample=f"e{i}", attempt=0, node="cot", outcome="error", reason="judge.unreadable"))


def still(run) -> None:
    for k in (1, 2):
        run.sampling(k, 60, 4)
        gate(run, k, "hold", {**GOOD, "parallel": (100, 8, 9)})


FAULTS = {
    "cut_off": (lambda run: dropped(run, 1, 12, 60, "response.truncated"), "20 % of the answers", "max_new_tokens=512"),
    "little_kept": (lambda run: dropped(run, 1, 59, 60, "cot.missing"), "1 of 60 samples", "require_thinking=false"),
    "start_not_kept": (
        lambda run: gate(run, 0, "rollback", reason="category irrelevance fell 89.5 points on new, p 0.000"),
        "Right calls went from 60 to 80 of 200",
        "gate.max_category_loss=10",
    ),
    "never_calls": (
        lambda run: gate(run, 1, "hold", {"simple": (100, 0, 0), "irrelevance": (100, 100, 100)}),
        "0 of 100 calls",
        "start.update.epochs=4",
    ),
    "always_calls": (
        lambda run: gate(run, 1, "hold", {"simple": (100, 50, 50), "irrelevance": (100, 0, 1)}),
        "100 of the 100 gate items",
        "data.augment.irrelevance",
    ),
    "few_gate_items": (
        lambda run: gate(run, 1, categories={"simple": (40, 10, 20)}),
        "Only 40 items decide: a round is promoted when it gains 5",
        "gate.suites.composed.path=toolbox:composed_gate",
    ),
    "judges_fail": (lambda run: canaries(run, 1, passed=3), "let 3 of 10 known bad samples pass, mostly swap", "both"),
    "judges_fail good": (lambda run: canaries(run, 1, dropped=4), "refused 4 of 10 known good samples", "false_drop"),
    "judges_fail errors": (lambda run: errors(run, 1), "answered 10 of 69 times with an error", "dlq list"),
    "takes_over": (
        lambda run: chosen(run, 1, irrelevance=80, simple=20),
        "irrelevance makes up 80 %",
        "train.max_category_share.irrelevance=0.4",
    ),
    "loss_does_not_fall": (lambda run: losses(run, 1, [0.9] * 16), "did not fall: 0.900", "train.update.lr=0.0015"),
    "loss_does_not_fall rose": (lambda run: losses(run, 0, [0.5, 0.7] * 4 + [0.9] * 8), "rose", "start.update.lr"),
    "category_does_not_move": (still, "parallel never moved: 8 % before", "tasks.mix.parallel=0.6"),
    "gpu_idle": (lambda run: gpu(run, 1, 0.12), "busy 12 % of the time in phase sample", "sample.batch_tokens"),
    "groups_without_signal": (
        lambda run: rewards(run, 1, mixed=2.0, wrong=50.0, right=8.0),
        "3 % of the groups of round 1 carry a signal: in 83 % all answers are wrong",
        "reinforcement.group_size=16",
    ),
    "refusals_collapse": (
        lambda run: rewards(run, 1, refusals=(0.8, 0.1)),
        "the model learns to call always",
        "reinforcement.no_call_share=0.4",
    ),
    "records_refused": (
        lambda run: [run.sampling(1, 40), *(run(ev.TaskRefused(where="l", reason="tools.type")) for _ in range(9))],
        "9 records never became a task; the commonest reason is tools.type",
        "status",
    ),
}


def recorded(path, *acts) -> State:
    run = Recording(path, rounds=2)
    for act in acts:
        act(run)
    run.log.close()
    return run.folder.state()


@pytest.fixture(scope="module")
def good_runs(tmp_path_factory):
    path = tmp_path_factory.mktemp("good")
    return [recorded(path / act.__name__, act) for act in (good, good_on_rewards)]


def test_every_rule_has_a_run_with_its_fault():
    assert {name.partition(" ")[0] for name in FAULTS} | {"nothing_learned"} == set(RULES)


@pytest.mark.parametrize("name", FAULTS)
def test_a_rule_speaks_on_a_run_with_its_fault_and_names_number_and_setting(name, tmp_path, good_runs):
    act, words, change = FAULTS[name]
    rule = name.partition(" ")[0]
    found = [f for f in diagnose(recorded(tmp_path / "run", act), SETTINGS, "run") if f.rule == rule]
    assert len(found) == 1
    assert words in found[0].text
    assert change in found[0].change
    assert not any(f.rule == rule for state in good_runs for f in diagnose(state, SETTINGS))


def test_a_good_run_has_no_findings(good_runs):
    assert [diagnose(state, SETTINGS) for state in good_runs] == [(), ()]
    assert diagnose(State()) == ()  # a run that has logged nothing


@pytest.mark.parametrize("name", FAULTS)
def test_every_proposed_setting_is_one_that_the_configuration_takes(name, tmp_path):
    for finding in diagnose(recorded(tmp_path / "run", FAULTS[name][0]), SETTINGS, "run"):
        if finding.change.startswith("--set "):
            changes = dict(parse_setting(text) for text in finding.change.removeprefix("--set ").split(" --set "))
            before, after = load_config(find_config("default"), {}), load_config(find_config("default"), changes)
            assert before != after


def test_the_page_about_the_diagnosis_names_every_rule():
    page = (Path(__file__).parents[1] / "docs" / "diagnosis.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(RULES)


def test_a_rule_is_silent_until_there_is_enough_to_count(tmp_path):
    early = recorded(tmp_path / "run", lambda run: dropped(run, 1, 10, 10, "response.truncated"))
    assert diagnose(early) == ()


def test_a_category_that_the_configuration_asks_for_most_may_be_most_of_a_training_set(tmp_path):
    state = recorded(tmp_path / "run", lambda run: chosen(run, 1, simple_python=80, irrelevance=20))
    for share, rules in ((0.7, []), (0.5, ["takes_over"])):
        mix = {"tasks": {"mix": {"simple": share, "irrelevance": 1 - share}}}
        assert [f.rule for f in diagnose(state, mix) if f.rule == "takes_over"] == rules


@pytest.mark.parametrize(
    "configured", [{}, {"sample": 3, "gate": {"suites": [1]}, "fcdr": None, "tasks": {"mix": "x"}}]
)
@pytest.mark.parametrize("name", FAULTS)
def test_without_settings_or_with_unreadable_ones_the_number_is_still_found(name, configured, tmp_path):
    rules = {f.rule for f in diagnose(recorded(tmp_path / "run", FAULTS[name][0]), configured)}
    assert name.partition(" ")[0] in rules


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(sorted(FAULTS)), min_size=2, max_size=6))
def test_several_faults_at_once_are_each_found_once_and_each_is_a_whole_sentence(tmp_path_factory, names):
    found = diagnose(recorded(tmp_path_factory.mktemp("many") / "run", *(FAULTS[name][0] for name in names)), SETTINGS)
    assert len({(f.rule, f.about, f.text) for f in found}) == len(found)
    assert all(f.text[0].isprintable() and f.text.endswith(".") for f in found)


def nothing_kept(run) -> None:
    dropped(run, 1, 60, 60, "form.syntax")
    run(ev.TrainingSetSelected(round=1, kept=0, trained=0))
    gate(run, 1, "hold", moved=False)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (nothing_kept, "0 of 60 samples were kept"),
        (lambda run: [rewards(run, 1, mixed=0.0), gate(run, 1, "hold", moved=False)], "no group of answers carried a"),
        (lambda run: gate(run, 1, "rollback", moved=False, reason="the update failed: loss nan"), "loss nan"),
    ],
)
def test_a_round_that_trained_nothing_comes_first_and_stops_the_run(act, words, tmp_path, good_runs):
    first = diagnose(recorded(tmp_path / "run", act), SETTINGS)[0]
    assert (first.rule, first.round, first.stops) == ("nothing_learned", 1, True)
    assert words in first.text
    assert not any(f.stops for state in good_runs for f in diagnose(state, SETTINGS))


def test_the_diagnosis_is_shown_in_status_json_and_report_after_the_verdict(tmp_path, capsys):
    run = Recording(tmp_path / "run", rounds=1)
    (run.folder.path / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    nothing_kept(run)
    folder = run.end("refused")
    status(str(folder.path))
    text = capsys.readouterr().out
    assert text.index("No round was kept") < text.index("! Round 1 had nothing to learn") < text.index("Gate:")
    status(str(folder.path), json=True)
    rules = [finding["rule"] for finding in json.loads(capsys.readouterr().out)["verdict"]["findings"]]
    assert rules[0] == "nothing_learned"
    state = folder.state()
    html, markdown = report_html(state, folder, "refused"), report_markdown(state, folder, "refused")
    assert "Round 1 had nothing to learn: 0 of 60 samples were kept" in html
    assert "Round 1 had nothing to learn: 0 of 60 samples were kept" in markdown


def test_an_option_is_never_broken_over_two_lines(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    dropped(run, 1, 59, 60, "cot.missing")
    out = io.StringIO()
    folder = run.end()
    Console(file=out, width=40, color_system=None).print(verdict_text(verdict(folder.state(), evidence_in(folder))))
    assert "      --set fcdr.require_thinking=false\n" in out.getvalue()


def test_a_run_in_progress_says_a_finding_once_when_it_is_found(tmp_path):
    run, out = Recording(tmp_path / "run", rounds=1), io.StringIO()
    (run.folder.path / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    with LiveProgress(run.folder, Console(file=out, width=200, color_system=None)) as shown:
        dropped(run, 1, 30, 60, "response.truncated")
        shown.pause()
        shown.resume()
        run(ev.PhaseStarted(round=1, phase="train"))
    said = out.getvalue()
    assert said.count("! 50 % of the answers of round 1 were cut off at 256 tokens.") == 1
    assert "--set sample.max_new_tokens=512" in said


def test_a_run_that_has_nothing_to_learn_ends_with_a_sentence_and_an_exit_code_of_its_own(capsys):
    assert explain(NothingToLearn("Round 1 had nothing to learn: 0 of 60 samples were kept.")) == 4
    assert capsys.readouterr().err == "funreason: Round 1 had nothing to learn: 0 of 60 samples were kept.\n"
