"""Stages judged by models on the bus: rules first, errors counted, answers rewritten, costs told."""

import asyncio

import pytest
from scripted import NO, TOOLS, YES, Scripted

from funreason.agents.judges.llm.factory import recording_usage, shared_weights
from funreason.agents.judges.llm.panel import Panel
from funreason.agents.judges.registry import check_judges, judges
from funreason.agents.regenerator import Regenerator
from funreason.bus.agent import BrokenAgent
from funreason.config import Config, ConfigError, LlmJudges, check_config
from funreason.policies.protocol import ChatError
from funreason.record import events as ev
from funreason.record.state import State
from funreason.runtime.agents import configured_bus
from funreason.runtime.graph import refine_graph
from funreason.types import Call, Sample, Task, Verdict

OSLO = [Call("f", {"a": "Oslo"})]
GOOD = "[f(a='Oslo')]"


def made(answer=GOOD, *, reference=None, thinking="f fits: a Oslo", name="s", **fields):
    return Sample.of(
        name, Task.of(name, "Oslo please, not Lima: f", TOOLS, reference), answer, thinking, round=1, **fields
    )


def judging_by(**fields):
    return Config.model_validate({"fcdr": {"llm": {"model": "self"}, **fields}})


def asked_of(judging, sample, *script):
    """Which outcome each stage came to, and how often the model was asked for it."""
    found = {}
    for stage in ("response", "query_tool", "cot", "parameters", "format"):
        model = Scripted(*script)
        stages = judges(judging_by(stages=judging), Panel([model], LlmJudges()))
        verdict = asyncio.run(stages[stage](sample))
        found[stage] = (str(verdict.outcome), len(model.asked))
    return found


def test_with_both_the_model_is_asked_only_what_rules_cannot_tell():
    assert asked_of("both", made(), YES) == {
        "response": ("pass", 0),
        "query_tool": ("pass", 1),
        "cot": ("pass", 1),
        "parameters": ("pass", 1),
        "format": ("pass", 0),
    }
    known = asked_of("both", made(reference=OSLO), NO)
    assert known["query_tool"] == known["parameters"] == ("pass", 0)
    assert known["cot"] == ("drop", 1)


def test_with_both_what_the_rules_refuse_is_not_asked():
    wrong = made("[g(b='Lima')]", thinking="no idea")
    assert asked_of("both", wrong, YES) == {
        "response": ("pass", 0),
        "query_tool": ("drop", 0),
        "cot": ("drop", 0),
        "parameters": ("regenerate", 0),
        "format": ("pass", 0),
    }
    assert asked_of("both", made("[f(a="), YES)["parameters"] == ("pass", 0)


def test_with_llm_alone_every_stage_asks_the_model():
    assert {asked for _, asked in asked_of("llm", made("[g(b='Lima')]"), YES).values()} == {1}


def test_facts_that_need_no_judgement_stay_with_the_rules():
    cut = asyncio.run(
        judges(judging_by(stages="llm"), Panel([Scripted(YES)], LlmJudges()))["response"](made(truncated=True))
    )
    assert (cut.outcome, cut.reason) == ("drop", "response.truncated")
    assert asked_of("llm", made(thinking=None), YES)["cot"] == ("drop", 0)
    lenient = judging_by(stages="llm", require_thinking=False)
    verdict = asyncio.run(judges(lenient, Panel([Scripted(NO)], LlmJudges()))["cot"](made(thinking=None)))
    assert verdict.outcome == "pass"


def test_each_stage_may_be_judged_otherwise():
    found = asked_of({"cot": "llm"}, made(), NO)
    assert {stage: asked for stage, (_, asked) in found.items() if asked} == {"cot": 1}


def test_a_stage_for_a_model_without_a_model_is_refused():
    config = check_config({"fcdr": {"stages": {"cot": "llm"}}}, "x.yaml")
    with pytest.raises(ConfigError, match=r"judge cot, but fcdr\.llm names none"):
        check_judges(config)
    with pytest.raises(ConfigError, match="expected one of rules, llm, both"):
        check_config({"fcdr": {"stages": "robots"}}, "x.yaml")


# -- on the bus -------------------------------------------------------------------------------------------------


class Ends:
    """Both ends of the graph: remembers who came."""

    def __init__(self):
        self.samples = []

    async def __call__(self, sample):
        self.samples.append(sample)


class Watching:
    """In a journal's place: what the bus tells it, as lines."""

    def __init__(self):
        self.lines = []

    def observe(self, node, before, outcome, after, seconds):
        self.lines.append((node, outcome))


def refined(samples, settings, panel):
    kept, dead, watching = Ends(), Ends(), Watching()
    regenerator = Regenerator(None, max_attempts=settings.fcdr.max_attempts)
    agents = judges(settings, panel) | {"trainer": kept, "dead_letter": dead, "regenerator": regenerator}
    bus = configured_bus(refine_graph(settings), agents, settings, watching.observe)
    return bus, kept.samples, dead.samples, watching.lines


def test_an_unreadable_judge_sends_the_sample_to_the_dead_letters_with_that_reason():
    settings = judging_by(stages={"cot": "llm"}, max_error_rate=1)
    bus, kept, dead, lines = refined([], settings, Panel([Scripted("hm")], LlmJudges()))
    flow = asyncio.run(bus.drain([made(name=str(i)) for i in range(5)]))
    assert kept == []
    assert [s.verdicts[-1].reason for s in dead] == ["judge.unreadable"] * 5
    assert flow.nodes["cot"].errors == 5
    assert flow.nodes["cot"].retried == 0
    assert ("cot", "error") in lines


def test_too_many_unreadable_verdicts_stop_the_round_with_what_was_wrong():
    settings = judging_by(stages={"cot": "llm"}, max_error_rate=0.2, max_in_flight=4)
    script = [YES, YES, "hm", "hm"]  # every other sample is never ruled on
    bus, *_ = refined([], settings, Panel([Scripted(*script)], LlmJudges(concurrency=1)))
    with pytest.raises(BrokenAgent, match=r"'cot' is broken[\s\S]*judge\.unreadable scripted, asked 2 times"):
        asyncio.run(bus.drain([made(name=str(i)) for i in range(200)]))


class Gone(ChatError):
    """As a server's adapter raises it when nothing can be asked any more."""

    stops_run = True


def test_a_server_that_is_gone_for_all_stops_the_run_and_blames_no_sample():
    settings = judging_by(stages={"cot": "llm"})
    bus, kept, dead, _ = refined([], settings, Panel([Scripted(YES, YES, Gone("the key expired"))], LlmJudges()))
    with pytest.raises(Gone, match="the key expired"):
        asyncio.run(bus.drain([made(name=str(i)) for i in range(50)]))
    assert dead == []
    assert len(kept) <= 50


# -- rewriting --------------------------------------------------------------------------------------------------

WRONG = "The city is wrong. <NewFC>[f(a='Oslo')]</NewFC><judge>False</judge>"


def test_the_answer_a_judge_offers_is_judged_again_from_stage_3_and_counted_apart():
    settings = judging_by(stages={"parameters": "llm"})
    model = Scripted(WRONG, YES)
    bus, kept, dead, lines = refined([], settings, Panel([model], LlmJudges()))
    asyncio.run(bus.drain([made("[f(a='Lima')]", thinking="f fits: a Oslo, not Lima")]))
    assert dead == []
    [sample] = kept
    assert (sample.answer, sample.origin, sample.attempt) == (GOOD, "rewritten", 1)
    after = lines.index(("regenerator", "rewritten"))
    assert lines[after + 1 : after + 4] == [("cot", "pass"), ("parameters", "pass"), ("format", "pass")]


def test_a_rewritten_answer_whose_thinking_does_not_lead_there_is_dropped():
    bus, kept, dead, _ = refined([], judging_by(stages={"parameters": "llm"}), Panel([Scripted(WRONG)], LlmJudges()))
    asyncio.run(bus.drain([made("[f(a='Lima')]", thinking="f fits: a Lima")]))
    assert kept == []
    assert [s.verdicts[-1].reason for s in dead] == ["cot.value_not_named"]


def offered(answer, new, *, stage="parameters"):
    verdict = Verdict(stage, "regenerate", "llm.wrong_call", answer=new)
    [emit] = asyncio.run(Regenerator(None, order=("rewrite",))([made(answer).judged(verdict)]))
    return emit.outcome, emit.message.answer, emit.message.origin


@pytest.mark.parametrize(
    ("answer", "new", "stage", "outcome"),
    [
        ("[f(a='Lima')]", '```json\n{"name": "f", "arguments": {"a": "Oslo"}}\n```', "parameters", "rewritten"),
        ("f(a='Oslo')", "[f(a='Oslo')]", "format", "reformatted"),
        ("[f(a=", "[f(a='Oslo')]", "format", "rewritten"),
        ("f(a=1)", "[f(a=True)]", "format", "rewritten"),
    ],
)
def test_a_rewritten_answer_goes_on_by_whether_its_meaning_changed(answer, new, stage, outcome):
    assert offered(answer, new, stage=stage)[::2] == (outcome, "rewritten")


@pytest.mark.parametrize("new", [None, "", "[f(a=", "no call", GOOD, "f(a='Oslo')", "[]"])
def test_an_offer_that_cannot_be_read_or_changes_nothing_is_not_taken(new):
    assert offered(GOOD, new) == ("exhausted", GOOD, "sampled")


# -- what is told -----------------------------------------------------------------------------------------------


def test_what_asking_cost_is_told_by_round_and_stage_and_folds_to_sums():
    panel, told = (
        Panel([Scripted(lambda asked: YES if "not be used" in asked[-1]["content"] else "hm")], LlmJudges()),
        [],
    )
    settings = judging_by(stages={"cot": "llm", "format": "llm"})
    with recording_usage(panel, told.append):
        bus, *_ = refined([], settings, panel)
        asyncio.run(bus.drain([made(name=str(i)) for i in range(60)]))
    assert {type(event) for event in told} == {ev.JudgeUsage}
    assert len(told) > 2
    asked = State().fold(told).rounds[1].asked
    assert {name: (a.requests, a.tokens, a.hits, a.unreadable) for name, a in asked.items()} == {
        "cot": (120, 1200, 0, 60),
        "format": (120, 1200, 0, 60),
    }
    assert State().fold(told).summary()["rounds"][1]["asked"]["cot"]["requests"] == asked["cot"].requests


def test_a_judge_that_shares_weights_with_the_generator_is_warned_of():
    panel = Panel([Scripted(YES, name="big"), Scripted(YES, name="small")], LlmJudges())
    panel.models[0].weights_id = "w9"
    noted = shared_weights(panel, "w9", 2)
    assert (noted.level, noted.round) == ("warning", 2)
    assert "the LLM judge big shares its weights (w9) with the generator" in noted.text
    assert shared_weights(panel, "w3", 2) is None
