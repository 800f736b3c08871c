"""What if: recorded verdicts routed again say what judging again would, and never more than the record knows."""

import asyncio
import json
import re

import command_line
import pytest
from scripted import Scripted
from serving import ScriptedServer, completion

from funreason.agents.judges.llm.judge import LlmJudge, recounted
from funreason.agents.judges.llm.panel import Panel, VoteRule
from funreason.config import LlmJudges, check_config
from funreason.record.folder import RunFolder
from funreason.replay import Regeneration, VerdictValidity
from funreason.runtime.graph import refine_graph
from funreason.types import Sample, Task, Verdict

TOOL = {"name": "add", "description": "adds", "parameters": {"a": {"type": "int"}}}


def record(i, call='{"name": "add", "arguments": {"a": %d}}', **fields):
    return {"id": i, "query": f"add {i}", "tools": json.dumps([TOOL]), "answers": f"[{call % i}]"} | fields


def funreason(*words, home):
    return command_line.funreason(*words, env={"XDG_CACHE_HOME": str(home / "cache")})


def settings(given):
    return [word for key, value in given.items() for word in ("--set", f"{key}={value}")]


def refined(file, out, **given):
    quiet = {"fcdr.canaries.share": 0, "fcdr.self_agreement_share": 0}
    done = funreason("refine", file, "--out", out, *settings(quiet | given), home=file.parent)
    assert done.returncode == 0, done.stderr
    return RunFolder(out)


def replayed(run, *words, **given):
    done = funreason("whatif", run.path, *words, *settings(given), home=run.path.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in words else done.stdout


def fates(run):
    told = run.state().rounds[1].fates
    return {fate: told[fate] for fate in ("kept", "text", "dropped", "dead")} | {"unknown": 0}


@pytest.fixture(scope="module")
def ruled(tmp_path_factory):
    """A run by rules: 12 records that pass, 3 that lack a function, 4 with a wrong parameter."""
    folder = tmp_path_factory.mktemp("ruled")
    rows = [record(i) for i in range(12)]
    rows += [record(i, '{"name": "gone", "arguments": {"a": %d}}') for i in range(12, 15)]
    rows += [record(i, '{"name": "add", "arguments": {"b": %d}}') for i in range(15, 19)]
    (folder / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return refined(folder / "tasks.jsonl", folder / "out")


def test_with_nothing_changed_everything_stays_as_it_was(ruled):
    found = replayed(ruled, "--json")
    assert found["now"] == found["then"]
    assert found["now"]["fates"] == fates(ruled)
    assert (found["never_recorded"], found["unknown"]) == ([], {})
    assert "no setting of fcdr is changed, so every way is as it was" in found["notes"]


def test_nothing_is_written_and_a_table_tells_the_change(ruled):
    before = {p: p.read_bytes() for p in ruled.path.rglob("*") if p.is_file()}
    told = replayed(ruled, **{"fcdr.skip": "[parameters]"})
    assert {p: p.read_bytes() for p in ruled.path.rglob("*") if p.is_file()} == before
    assert "no model was asked" in told
    assert re.search(r"dead +\d+ +0 +-\d", told)
    assert max(map(len, told.splitlines()[:18])) <= 80


@pytest.mark.parametrize("stage", ["parameters", "query_tool", "cot", "format"])
def test_a_stage_left_out_gives_what_judging_without_it_gives_or_says_who_is_unknown(ruled, stage):
    found = replayed(ruled, "--json", **{"fcdr.skip": f"[{stage}]"})["now"]
    file = ruled.path.parent / "tasks.jsonl"
    truth = fates(refined(file, file.parent / f"without-{stage}", **{"fcdr.skip": f"[{stage}]"}))
    assert stage not in found["stages"]
    for fate, count in truth.items():
        assert found["fates"][fate] <= count + found["fates"]["unknown"]
        assert fate == "unknown" or found["fates"][fate] <= count
    assert sum(found["fates"].values()) == sum(truth.values())


def test_a_stage_that_is_moved_keeps_its_verdicts_and_its_place_tells_who_meets_it(ruled):
    found = replayed(ruled, "--json", **{"fcdr.move": "{parameters: response}"})
    assert list(found["now"]["stages"])[:3] == ["response", "parameters", "query_tool"]
    known = sum(n for fate, n in found["now"]["fates"].items() if fate != "unknown")
    assert known + found["now"]["fates"]["unknown"] == found["samples"] == sum(fates(ruled).values())
    assert found["now"]["fates"]["kept"] == fates(ruled)["kept"]


def test_a_stage_that_was_never_recorded_is_named(ruled):
    entry = "[{name: no_pii, agent: 'nowhere.py:no_pii', after: format}]"
    found = replayed(ruled, "--json", agents=entry)
    assert found["never_recorded"] == ["no_pii"]
    assert found["now"]["fates"]["unknown"] == fates(ruled)["kept"]
    assert "no_pii: never recorded; its verdicts can only be had by judging again" in found["notes"]


def test_a_stage_that_other_judges_would_judge_is_unknown_where_rules_had_let_pass(ruled):
    found = replayed(ruled, "--json", **{"fcdr.stages.parameters": "both", "fcdr.llm.model": "some/model"})
    assert found["unknown"] == {"parameters": {"fcdr.stages.parameters was rules and is both": 12}}
    assert found["now"]["fates"]["dead"] == fates(ruled)["dead"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "Missing: FILE, --out"),
        (("x.jsonl",), "Missing: --out"),
        (("--replay", "RUN"), "`funreason refine --replay` is called `funreason whatif` now"),
    ],
)
def test_refining_without_a_file_or_under_its_old_option_is_refused_with_what_to_write(tmp_path, words, told):
    done = funreason("refine", *words, home=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr


def scores(heard):
    """A judge that is sure of even numbers and nearly undecided about odd ones."""
    number = int(re.findall(r"add (\d+)", heard.body["messages"][-1]["content"])[-1])
    return completion(f"So be it. <judge>True</judge> <score>{0.6 if number % 2 else 0.9}</score>")


@pytest.fixture(scope="module")
def voted(tmp_path_factory):
    """Makes a run by rules and a model's scores, with a threshold; the model is gone afterwards."""
    folder = tmp_path_factory.mktemp("voted")
    (folder / "tasks.jsonl").write_text("".join(json.dumps(record(i)) + "\n" for i in range(20)))
    runs = {}
    with ScriptedServer(scores) as server:
        for threshold in (0.5, 0.8):
            given = {"fcdr.stages": "both", "fcdr.llm.endpoints": json.dumps([{"url": server.url}])}
            given |= {"fcdr.llm.vote": "mean", "fcdr.llm.threshold": threshold, "fcdr.llm.cache": "false"}
            runs[threshold] = refined(folder / "tasks.jsonl", folder / str(threshold), **given)
    return runs


def test_a_higher_threshold_gives_what_judging_with_it_gives_and_what_it_spares(voted):
    found = replayed(voted[0.5], "--json", **{"fcdr.llm.threshold": 0.8})
    assert found["now"]["fates"] == fates(voted[0.8]) != found["then"]["fates"] == fates(voted[0.5])
    asked = voted[0.8].state().rounds[1].asked
    assert {name: (s["requests"], s["tokens"]) for name, s in found["now"]["stages"].items() if s["requests"]} == {
        name: (count.requests, count.tokens) for name, count in asked.items()
    }
    assert found["now"]["cost"]["tokens"] < found["then"]["cost"]["tokens"]


def test_a_lower_threshold_ends_where_nobody_was_asked_and_counts_that_judgement(voted):
    found = replayed(voted[0.8], "--json", **{"fcdr.llm.threshold": 0.5})
    assert found["now"]["fates"] == {"kept": 10, "text": 0, "dropped": 0, "dead": 0, "unknown": 10}
    assert found["unknown"] == {"cot": {"this sample was never judged there": 10}}
    assert found["now"]["stages"]["cot"]["unknown"] == 10


def test_rules_alone_are_known_where_a_model_was_asked_only_after_them(voted):
    found = replayed(voted[0.5], "--json", **{"fcdr.stages": "rules"})
    assert found["now"]["fates"]["unknown"] == 0
    assert found["now"]["fates"]["kept"] == 20


def test_other_models_know_nothing_of_these_votes(voted):
    found = replayed(voted[0.5], "--json", **{"fcdr.llm.temperature": 0.9})
    assert list(found["unknown"]) == ["query_tool"]
    assert found["now"]["fates"]["unknown"] == 20


def test_a_threshold_without_mean_is_told_to_change_nothing(ruled):
    assert "fcdr.llm.threshold counts only with fcdr.llm.vote=mean" in replayed(ruled, **{"fcdr.llm.threshold": 0.9})


@pytest.mark.parametrize("stage", ["response", "query_tool", "cot", "parameters", "format"])
@pytest.mark.parametrize("accept", [("unanimous", 0.5), ("majority", 0.5), ("mean", 0.7), ("mean", 0.2)])
def test_votes_counted_again_say_what_they_would_have_said_at_once(stage, accept):
    made = Sample.of("s", Task.of("t", "q", []), "a")
    for draws in ((0.9, 0.6), (0.9, 0.1), (0.2, 0.3), (0.55, None)):
        first, second = (_judge(stage, made, draws, rule) for rule in (("mean", 0.5), accept))
        assert first.votes == second.votes == draws
        again = recounted(first, made, VoteRule(*accept))
        assert again.outcome == second.outcome
        assert again.votes == draws


def _judge(stage, made, votes, accept) -> Verdict:
    def said(score):
        return "?" if score is None else f"<judge>{score > 0.5}</judge> <score>{score}</score>"

    models = [Scripted(said(score), name=str(i)) for i, score in enumerate(votes)]
    panel = Panel(models, LlmJudges(vote=accept[0], threshold=accept[1]))
    return asyncio.run(LlmJudge(stage, panel)(made))


@pytest.mark.parametrize(
    ("attempt", "order", "stands"),
    [
        (0, ["rerender", "resample", "repair"], True),
        (1, ["rerender", "resample", "repair"], False),
        (2, ["rerender", "resample", "repair"], True),
        (1, ["repair", "resample"], True),
        (1, ["rerender", "resample"], True),
    ],
)
def test_an_answer_drawn_anew_stands_unless_another_turn_waits_for_the_repair_now(attempt, order, stands):
    old, new = (check_config({"fcdr": {"max_attempts": most, "regenerate": order}}, "here") for most in (2, 3))
    made = Sample.of("s", Task.of("t", "q", []), "a", attempt=attempt, verdicts=(Verdict("format", "regenerate"),))
    why = VerdictValidity(old, new).regenerated(made, Regeneration("format", "resampled"))
    assert (why == "") is stands
    assert stands or "another fcdr.max_attempts" in why


def test_a_graph_can_go_without_stages_and_what_only_they_led_to():
    config = check_config({"fcdr": {"skip": ["parameters", "format"]}}, "here")
    assert set(refine_graph(config).names) == {"response", "query_tool", "cot", "trainer", "dead_letter"}
