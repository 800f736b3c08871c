"""Judges are judged: canaries, samples asked twice, and where their numbers are told."""

import asyncio
import io
import json
import subprocess
import sys
import time
from collections import Counter

import pytest
from command_line import funreason
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from funreason.agents.judges.canaries import FAULTS, CanarySet
from funreason.agents.judges.canary_check import CanaryCheck, JudgeFailedCanaries, SelfAgreement, beside
from funreason.agents.judges.registry import judges
from funreason.cli.refine import run_refine
from funreason.config import AgentEntry, Canaries, Config, Fcdr
from funreason.data.toolbox import generate
from funreason.display.table import STAGES, health_table
from funreason.record import events as ev
from funreason.record.folder import RunFolder
from funreason.record.log import LogReader
from funreason.record.sample_files import ENDS, SampleFiles
from funreason.record.state import State
from funreason.stop import Interrupted, StopRequest
from funreason.tui.flow import health_page
from funreason.tui.view_state import ViewState
from funreason.types import Sample, Task, Verdict

TASKS = generate("new_train", 60, 1)
TOOL = {"name": "add_one", "parameters": {"a": {"type": "int"}}}
RECORD = {"query": "add 1", "tools": json.dumps([TOOL]), "answers": '[{"name": "add_one", "arguments": {"a": 1}}]'}


async def passes(sample):
    return "pass"


async def drops(sample):
    return "drop"


async def fails(sample):
    raise ValueError("no server")


def examined(folder, agents, tasks=TASKS, samples=100, stop=None, entries=(), **fcdr) -> State:
    """The state after the judges of round 1 were tried."""
    config, told = Config(fcdr=Fcdr(**fcdr), agents=list(entries)), []
    examiner = CanaryCheck(config, told.append, stop or StopRequest())
    try:
        asyncio.run(examiner.examine(agents, tasks, samples, 1, SampleFiles(folder / "round-1")))
    finally:
        state = State().fold(told)
    return state


def health(state, node="cot"):
    return state.rounds[1].health[node]


@pytest.mark.parametrize("stage", STAGES)
def test_a_judge_that_passes_everything_has_a_false_pass_rate_of_one_on_its_stage(tmp_path, stage):
    found = health(examined(tmp_path, {stage: passes}), stage)
    assert (found.bad, found.false_pass) == (10, 1.0)
    assert set(found.missed) == {fault.__name__ for fault in FAULTS[stage]}


@pytest.mark.parametrize("stage", STAGES)
def test_a_judge_that_drops_everything_has_a_false_drop_rate_of_one_and_no_false_pass(tmp_path, stage):
    found = health(examined(tmp_path, {stage: drops}), stage)
    assert (found.good, found.false_drop, found.false_pass) == (10, 1.0, 0.0)


def test_the_rule_judges_find_nearly_every_fault_of_their_stage_and_let_every_reference_pass(tmp_path):
    state = examined(tmp_path, judges(Config()), samples=5_000, canaries=Canaries(share=0.2))
    for stage in STAGES:
        found = health(state, stage)
        assert min(found.bad, found.good) >= 35
        assert (found.false_drop, found.errors) == (0, 0)
        # A function that is named in words only ("Need to cut boards. paint_room fits") passes stage 3.
        assert found.false_pass <= (0.05 if stage == "cot" else 0), (stage, found.missed)


def test_a_text_that_is_right_must_be_kept_as_text(tmp_path):
    def says(word):
        async def judge(sample):
            return word if sample.task.reference == [] else "pass"

        return judge

    assert health(examined(tmp_path, {"response": says("keep_text")}), "response").false_drop == 0
    assert health(examined(tmp_path, {"response": says("pass")}), "response").false_drop == 0.2


def test_errors_are_neither_a_pass_nor_a_drop(tmp_path):
    found = health(examined(tmp_path, {"cot": fails}))
    assert found.errors == 20
    assert (found.false_pass, found.false_drop) == (None, None)
    verdicts = [sample.verdicts[-1] for sample in SampleFiles(tmp_path / "round-1").get("canaries")]
    assert {(verdict.outcome, verdict.reason) for verdict in verdicts} == {("error", "agent.ValueError")}
    assert "no server" in verdicts[0].evidence


@pytest.mark.parametrize(
    ("judge", "limit", "said"),
    [
        (passes, "max_false_pass", r"passed 10 of 10 known bad samples \(other_function 5, foreign_thinking 5\)"),
        (drops, "max_false_drop", "did not pass 10 of 10 known good samples"),
    ],
)
def test_over_a_limit_the_round_stops_with_a_sentence_that_says_what_to_do(tmp_path, judge, limit, said):
    with pytest.raises(JudgeFailedCanaries, match=rf"judge 'cot' {said}: 100 %.*{limit} allows 50 %.*canaries\.jsonl"):
        examined(tmp_path, {"cot": judge}, canaries=Canaries(**{limit: 0.5}))
    assert sum(1 for _ in SampleFiles(tmp_path / "round-1").get("canaries")) == 20
    examined(tmp_path / "again", {"cot": judge}, canaries=Canaries(**{limit: 1.0}))


def test_no_canaries_means_none(tmp_path):
    assert examined(tmp_path, {"cot": passes}, canaries=Canaries(share=0)).rounds == {}


def test_tasks_without_references_are_stood_in_for_and_that_is_said(tmp_path):
    bare = [Task.of(id="t", query="q", tools=[])]
    state = examined(tmp_path, {"cot": passes}, tasks=bare)
    assert health(state).bad == 10
    assert "Not enough reference answers for canaries" in state.notes[0].text


def test_a_stop_while_judges_are_tried_is_obeyed(tmp_path):
    stop = StopRequest()

    async def asks_to_stop(sample):
        stop.ask()
        return "pass"

    with pytest.raises(Interrupted):
        examined(tmp_path, {"cot": asks_to_stop}, stop=stop, max_in_flight=1)


def test_a_judge_of_ones_own_is_tried_on_good_canaries_and_on_the_bad_ones_of_its_stage(tmp_path):
    entries = [AgentEntry(name="mine", agent="x:y"), AgentEntry(name="better", agent="x:y", stage="parameters")]
    state = examined(tmp_path, {"mine": passes, "better": passes}, entries=entries)
    assert (health(state, "mine").good, health(state, "mine").bad) == (10, 0)
    assert set(health(state, "better").missed) == {"wrong_value", "missing_required", "unknown_parameter"}


@given(st.integers(0, 5), st.integers(1, 5), st.permutations(TASKS[:30]))
def test_canaries_depend_on_seed_round_and_tasks_alone(seed, k, shuffled):
    for stage in STAGES:
        one, two = (CanarySet(tasks, seed, k) for tasks in (TASKS[:30], shuffled))
        assert one.bad(stage, 9) == two.bad(stage, 9)
        assert one.good(stage, 9) == two.good(stage, 9)


def test_the_faults_of_a_stage_come_by_turns():
    for stage, faults in FAULTS.items():
        counts = Counter(canary.fault for canary in CanarySet(TASKS, 0, 1).bad(stage, 12))
        assert counts == {fault.__name__: 12 // len(faults) for fault in faults}


def test_real_references_are_spoilt_too(shared_data, tmp_path):
    from funreason.data.reading import read_tasks

    tasks = read_tasks(shared_data / "real" / "open-dev.jsonl.gz").tasks
    state = examined(tmp_path, judges(Config(fcdr=Fcdr(require_thinking=False))), tasks=tasks, samples=100_000)
    for stage in STAGES:
        found = health(state, stage)
        assert found.bad == found.good == 200
        assert found.errors == 0
        assert found.false_pass <= 0.02, (stage, found.missed)
        assert found.false_drop <= 0.1


def test_a_share_of_the_samples_is_asked_twice_and_only_the_first_answer_counts():
    told, answers = [], iter(["pass", "drop"] * 1000)

    async def moody(sample):
        return next(answers)

    async def ask():
        twice = SelfAgreement("cot", moody, 0.1, 0, told.append)
        return [await twice(Sample.of(id=f"s{i}", task=TASKS[0], answer="", round=1)) for i in range(1000)]

    first = asyncio.run(ask())
    state = State().fold(told)
    assert 60 < health(state).twice < 140
    assert health(state).agreement == 0
    assert Counter(first).total() == 1000


def test_a_judge_that_remembers_is_asked_afresh():
    class Remembers:
        async def __call__(self, sample):
            return Verdict("cot", "pass")

        async def judge_uncached(self, sample):
            return Verdict("cot", "drop")

    told = []
    answer = asyncio.run(
        SelfAgreement("cot", Remembers(), 1.0, 0, told.append)(Sample.of(id="s", task=TASKS[0], answer=""))
    )
    assert answer.outcome == "pass"
    assert (told[0].first, told[0].second) == ("pass", "drop")


def test_a_second_answer_that_fails_is_told_and_blames_no_sample():
    class Breaks:
        async def __call__(self, sample):
            return "pass"

        judge_uncached = staticmethod(fails)

    told = []
    assert (
        asyncio.run(SelfAgreement("cot", Breaks(), 1.0, 0, told.append)(Sample.of(id="s", task=TASKS[0], answer="")))
        == "pass"
    )
    assert told[0].second == "error"


def test_what_a_resumed_run_asks_twice_again_counts_once():
    event = ev.SelfAgreementChecked(round=1, sample="s", attempt=0, node="cot", first="pass", second="pass")
    assert health(State().fold([event, event])).twice == 1


def shown(state, width=80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(health_table(state))
    return out.getvalue()


def a_state(*more) -> State:
    nodes = [*STAGES, "my_judge", "another_judge"][: 5 + len(more)]
    state = State().fold([ev.RunStarted(run="r", rounds=2, nodes=nodes)])
    for k in (1, 2):
        for node in nodes:
            state.apply(ev.Judged(round=k, sample="s", attempt=0, node=node, outcome="pass"))
            state.apply(ev.CanaryResult(round=k, node=node, bad=200, passed=50, good=400, dropped=400, errors=3))
            state.apply(ev.SelfAgreementChecked(round=k, sample="s", attempt=0, node=node, first="pass", second="pass"))
    return state


@pytest.mark.parametrize("more", [(), ("a", "b")])
def test_the_rounds_table_tells_every_rate_of_how_many_within_eighty_columns(more):
    text = shown(a_state(*more))
    assert max(map(len, text.splitlines())) <= 80
    words = text.split()
    assert words.count("25.0") == words.count("(200)") == 2 * (5 + len(more))
    assert not any(line.split()[:1] == ["pass"] for line in text.splitlines())
    assert text.count("(400)") == text.count("(1)") == 2 * (5 + len(more))
    assert words.count("errors") == 2


def test_the_dashboard_shows_health_in_a_narrow_panel_and_all_of_it_in_a_wide_one():
    state = a_state()
    narrow, wide = (health_page(state, ViewState(round=2), width) for width in (37, 100))
    row = next(row for row in narrow.rows if row.key == "node:query_tool")
    assert row.cells == ("query_tool", "! 3", "!25.0", "!100.0", "100.0")
    assert "".join(text for text, _ in row.line).split() == ["query_tool", "!", "3", "!25.0", "!100.0", "100.0"]
    assert wide.columns == ("judge", "n", "err", "err %", "f.pass", "f.drop", "same%", "ms")


def test_status_as_json_holds_counts_and_rates():
    found = a_state().summary()["rounds"][1]["judges"]["cot"]
    assert (found["false_pass"], found["false_drop"], found["agreement"], found["errors"]) == (0.25, 1.0, 1.0, 3)


def refined(tmp_path, *settings, records=200):
    file = tmp_path / "tasks.jsonl"
    file.write_text("".join(json.dumps(RECORD | {"id": i}) + "\n" for i in range(records)))
    code = run_refine(file, tmp_path / "out", "own-data", {}, list(settings))
    return code, RunFolder(tmp_path / "out")


def test_canaries_are_never_kept_counted_or_ended(tmp_path):
    code, folder = refined(tmp_path, "fcdr.self_agreement_share=0.5")
    assert code == 0
    r, texts = folder.state().rounds[1], folder.texts(1)
    canaries = list(texts.get("canaries"))
    assert len(canaries) == 100
    assert all(sample.id.startswith("canary/") and sample.verdicts for sample in canaries)
    assert not [sample.id for end in (*ENDS, "sampled") for sample in texts.get(end) if "canary" in sample.id]
    assert {node.answered for name, node in r.nodes.items() if name in STAGES} == {200}
    assert r.fates.total() == 200
    assert "canary" not in (tmp_path / "out" / "refined-xlam.jsonl").read_text()
    assert all("canary" not in e.sample for e in LogReader(folder.events).events() if hasattr(e, "sample"))
    assert all(60 < h.twice < 140 and h.agreement == 1 for h in r.health.values())


def test_an_unfit_judge_ends_the_run_before_a_sample_is_judged(tmp_path):
    judge = tmp_path / "mine.py"
    judge.write_text("async def lenient(sample):\n    return 'pass'\n")
    entry = f"{{name: mine, agent: '{judge}:lenient', after: cot, stage: cot}}"
    with pytest.raises(JudgeFailedCanaries, match="judge 'mine' passed 10 of 10 known bad samples"):
        refined(tmp_path, f"agents=[{entry}]", "fcdr.canaries.max_false_pass=0.2")
    state = RunFolder(tmp_path / "out").state()
    assert state.status == "failed"
    assert "judge 'mine'" in state.reason
    assert not state.rounds[1].nodes
    assert health(state, "mine").false_pass == 1


def test_without_a_limit_canaries_are_asked_beside_the_samples(tmp_path):
    code, folder = refined(tmp_path)
    assert code == 0
    told = [type(event) for event in LogReader(folder.events).events()]
    assert told.index(ev.Judged) < told.index(ev.CanaryResult)
    assert told.count(ev.CanaryResult) == len(STAGES)


def test_with_a_limit_canaries_are_asked_before_the_first_sample(tmp_path):
    code, folder = refined(tmp_path, "fcdr.canaries.max_false_drop=0.5")
    assert code == 0
    told = [type(event) for event in LogReader(folder.events).events()]
    assert told.index(ev.Judged) > max(i for i, kind in enumerate(told) if kind is ev.CanaryResult)


def test_once_a_canary_has_failed_for_good_no_other_is_asked(tmp_path):
    asked = []

    class Gone(Exception):
        stops_run = True

    async def judge(sample):
        asked.append(sample.id)
        await asyncio.sleep(0.001)
        raise Gone

    async def try_and_wait():
        config = Config(fcdr=Fcdr(max_in_flight=1))
        with pytest.raises(Gone):
            await CanaryCheck(config, lambda event: None, StopRequest()).examine(
                {"cot": judge}, TASKS, 200, 1, SampleFiles(tmp_path)
            )
        await asyncio.sleep(0.1)

    asyncio.run(try_and_wait())
    assert len(asked) <= 3


SLOW_ON_CANARIES = """
import asyncio
from pathlib import Path

async def slow(sample):
    if sample.id.startswith("canary/") and not Path(__file__).with_name("quick").exists():
        Path(__file__).with_name("waiting").touch()
        await asyncio.sleep(600)
    return "pass"
"""


def test_a_refining_stopped_while_only_canaries_were_left_shows_them_when_it_goes_on(tmp_path):
    (tmp_path / "mine.py").write_text(SLOW_ON_CANARIES)
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(RECORD | {"id": f"r{i}"}) + "\n" for i in range(12)))
    entry = f"agents=[{{name: mine, agent: '{tmp_path / 'mine.py'}:slow', after: cot, timeout_s: 600}}]"
    begin = [sys.executable, "-m", "funreason", "refine"]
    folder = RunFolder(tmp_path / "out")
    running = subprocess.Popen([*begin, str(tmp_path / "tasks.jsonl"), "--out", str(folder.path), "--set", entry])
    patience = time.monotonic() + 60
    while not (folder.path.exists() and folder.state().ended) or len(folder.state().ended) < 12:
        assert time.monotonic() < patience
        time.sleep(0.05)
    running.kill()
    running.wait()
    assert not any(health.tried for health in folder.state().rounds[1].health.values())
    (tmp_path / "quick").touch()
    done = subprocess.run([*begin, "--resume", str(folder.path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(folder.state().rounds[1].health_of(name).tried for name in ("response", "cot", "mine", "format"))


async def failing():
    await asyncio.sleep(0)
    raise JudgeFailedCanaries("no")


@pytest.mark.parametrize("first", [True, False])
def test_what_fails_beside_a_block_ends_it_early_and_before_it_keeps_it_from_beginning(first):
    begun = []

    async def block():
        given_up = asyncio.Event()
        async with beside(failing(), given_up.set, first=first):
            begun.append(True)
            await asyncio.wait_for(given_up.wait(), 10)

    with pytest.raises(JudgeFailedCanaries):
        asyncio.run(block())
    assert begun == ([] if first else [True])


def test_a_block_that_fails_calls_off_what_is_done_beside_it():
    ends = []

    async def work():
        try:
            await asyncio.sleep(3600)
        finally:
            ends.append("work")

    async def block():
        async with beside(work(), lambda: None, first=False):
            await asyncio.sleep(0)
            raise KeyError
        ends.append("block")

    with pytest.raises(KeyError):
        asyncio.run(block())
    assert ends == ["work"]


@pytest.mark.slow
def test_a_loop_stopped_by_an_unfit_judge_goes_on_once_that_is_mended_and_trains_on_no_canary(tmp_path):
    judge = tmp_path / "mine.py"
    judge.write_text("async def mine(sample):\n    return 'pass'\n")
    entry = f"agents=[{{name: mine, agent: '{judge}:mine', after: cot, stage: format}}]"
    small = ["tasks.per_round=8", "start.references.count=16", "gate.suites.new.count=8", "gate.suites.old.count=4"]
    settings = [*small, entry, "fcdr.canaries.max_false_pass=0.5", "name=run", "rounds=1", "sample.max_new_tokens=48"]
    runs = ["--run-dir", str(tmp_path)]
    done = loop("--config", "smoke", *runs, *(part for setting in settings for part in ("--set", setting)))
    folder = RunFolder(tmp_path / "run")
    assert done.returncode == 1
    assert "judge 'mine' passed 10 of 10 known bad samples" in done.stderr
    assert not folder.state().rounds[1].nodes
    judge.write_text("from funreason.agents.judges.rules.stages import judge_format as mine\n")
    assert loop("--resume", "run", "--trust", *runs).returncode in (0, 3), done.stderr
    r, texts = folder.state().rounds[1], folder.texts(1)
    assert r.health["mine"].false_pass == 0
    assert {sample.id.split("/")[0] for sample in texts.get("canaries")} == {"canary"}
    assert sum(1 for _ in texts.get("canaries")) == 10 * 2 * 6
    assert not [s.id for end in (*ENDS, "sampled") for s in texts.get(end) if s.id.startswith("canary/")]
    assert r.chosen.trained <= r.fates["kept"] + r.fates["text"]
    assert r.update is None or r.update.examples <= r.chosen.trained + r.chosen.replay


def loop(*arguments):
    return funreason("loop", *arguments)
