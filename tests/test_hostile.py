"""Hostile data: nothing raises out of an agent, nothing hangs, nothing vanishes, nothing is shown as more than text."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funreason.agents.judges.custom import EVIDENCE_CHARS, REASON_CHARS, CustomJudge
from funreason.agents.judges.registry import judges
from funreason.agents.regenerator import Regenerator
from funreason.bus.agent import Emit
from funreason.config import Config
from funreason.record import events as ev
from funreason.record.log import EventLog, LogReader
from funreason.record.sample_files import SampleFiles
from funreason.types import Call, Sample, Task, Verdict, changed

ROOT = Path(__file__).resolve().parents[1]
TOOL = {
    "name": "f",
    "description": "",
    "parameters": {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]},
}
PIECES = [
    "[f(x='",
    "f(",
    "')]",
    "<think>",
    "</think>",
    "NaN",
    "1e400",
    "\ud800",
    "\0",
    "\u202e",
    "class",
    "[" * 80,
    "<judge>",
]
REFERENCE = [Call("f", {"x": "a"})]
texts = st.lists(st.one_of(st.text(max_size=20), st.sampled_from(PIECES)), max_size=8).map("".join)
samples = st.builds(
    Sample.of,
    id=texts,
    task=st.builds(Task.of, id=st.just("t"), query=texts, tools=st.just([TOOL]), reference=st.just(REFERENCE)),
    answer=texts,
    thinking=st.none() | texts,
    truncated=st.booleans(),
)


@settings(max_examples=80, deadline=None)
@given(samples)
def test_no_judge_raises_and_each_says_something_that_can_be_written(sample):
    async def ask() -> None:
        for name, judge in judges(Config()).items():
            verdict = await judge(sample)
            assert verdict.stage == name
            assert len(verdict.evidence) <= EVIDENCE_CHARS
            back = await Regenerator(None)([changed(sample.judged(verdict), attempt=1)])
            assert isinstance(back[0], Emit)

    asyncio.run(ask())


@settings(max_examples=50, deadline=None)
@given(sample=samples)
def test_whatever_a_sample_holds_is_written_and_read_back(tmp_path_factory, sample):
    texts = SampleFiles(tmp_path_factory.mktemp("texts"))
    texts.append("kept", sample)
    texts.close()
    (found,) = texts.get("kept")
    for name in ("id", "answer", "thinking"):
        was, now = getattr(sample, name), getattr(found, name)
        assert now == (was and was.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def test_half_a_character_in_an_event_is_written_as_such(tmp_path):
    log = EventLog(tmp_path)
    log.write(ev.LogMessage(level="info", text="a\ud800b"))
    log.append(ev.Judged(at=1.0, round=1, sample="\udfff", attempt=0, node="n", outcome="pass"))
    log.append(ev.Judged(at=1.0, round=1, sample="whole", attempt=0, node="n", outcome="pass"))
    told = list(LogReader(tmp_path).events())
    assert [told[0].text, told[1].sample, told[2].sample] == ["a\ufffdb", "\ufffd", "whole"]


def test_a_judge_of_ones_own_has_only_so_long_and_only_so_many_words():
    async def hangs(sample: Sample) -> str:
        await asyncio.Event().wait()
        return "pass"

    async def babbles(sample: Sample) -> Verdict:
        return Verdict("", "drop", "r" * 10**7, "e" * 10**7)

    sample, started = Sample.of("s", Task.of("t", "q", []), "a"), time.monotonic()
    with pytest.raises(TimeoutError, match=r"slow gave no answer within 0\.05 s"):
        asyncio.run(CustomJudge("slow", hangs, 0.05)(sample))
    assert time.monotonic() - started < 5
    verdict = asyncio.run(CustomJudge("mine", babbles)(sample))
    assert (verdict.stage, len(verdict.reason), len(verdict.evidence)) == ("mine", REASON_CHARS, EVIDENCE_CHARS)


def test_damaged_records_and_outputs_all_come_out_somewhere(shared_data):
    command = [
        sys.executable,
        "benchmarks/fuzz.py",
        "--mutations",
        "400",
        "--seed",
        "1",
        "--shared",
        shared_data.parent,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mutations                       656" in done.stdout, done.stdout
