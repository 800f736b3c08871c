"""A real model as judge, in this process: the small one, whose verdicts are nonsense and must do no harm."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from funreason.policies.protocol import ChatError
from funreason.record.folder import RunFolder

SMALL = {
    "start.references.count": 32,
    "start.update.replay.count": 4,
    "gate.suites.new.count": 4,
    "gate.suites.old.count": 4,
    "sample.max_new_tokens": 80,
    "fcdr.llm.model": "self",
    "fcdr.llm.max_tokens": 24,
    "fcdr.canaries.share": 0,
    "fcdr.self_agreement_share": 0,
}


def funreason(cache: Path, *arguments: str, **settings) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "funreason", *map(str, arguments)]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def accounted(folder: RunFolder, k: int = 1) -> None:
    """Every sample that was drawn has ended once, or is owed: nothing is lost, nothing doubled."""
    drawn = {s.id for s in folder.texts(k).get("sampled")}
    ends = [s.id for kind in ("kept", "text", "dropped", "dead") for s in folder.texts(k).get(kind)]
    assert len(ends) == len(set(ends))
    assert set(ends) <= drawn


@pytest.mark.engine
def test_a_model_too_small_to_judge_stops_the_round_with_a_sentence_and_the_run_can_go_on(tmp_path):
    settings = SMALL | {"fcdr.stages": "llm", "fcdr.max_in_flight": 8, "tasks.per_round": 24, "name": "r"}
    done = funreason(
        tmp_path / "cache",
        "loop",
        "--config",
        "smoke",
        "--run-dir",
        tmp_path,
        "--rounds",
        "1",
        "--no-cache",
        **settings,
    )
    folder = RunFolder(tmp_path / "r")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "is broken" in done.stderr
    assert "judge.unreadable self (toolbox), asked 2 times" in done.stderr
    assert folder.writer_status().status == "failed"
    accounted(folder)
    state = folder.state()
    assert any("shares its weights" in note.text for note in state.notes)
    r = state.rounds[1]
    assert sum(n.outcomes["error"] for n in r.nodes.values()) >= r.dead_reasons["judge.unreadable"] > 0
    assert sum(a.unreadable for a in r.asked.values()) >= 2 * r.dead_reasons["judge.unreadable"]
    assert not (tmp_path / "cache").exists()
    put_back = funreason(tmp_path / "cache", "dlq", "requeue", folder.path, "--reason", "judge.*")
    assert f"{r.dead_reasons['judge.unreadable']} samples put back" in put_back.stdout


@pytest.mark.engine
def test_a_run_whose_judge_is_never_readable_ends_with_every_sample_accounted_for(tmp_path):
    settings = SMALL | {"fcdr.stages": "both", "fcdr.max_error_rate": 1, "tasks.per_round": 8, "name": "r"}
    options = ["--config", "smoke", "--run-dir", tmp_path, "--rounds", "1"]
    done = funreason(tmp_path / "cache", "loop", *options, **settings)
    folder = RunFolder(tmp_path / "r")
    assert done.returncode in (0, 3), done.stderr
    accounted(folder)
    r = folder.state().rounds[1]
    assert r.fates.total() == r.todo == 16
    assert (tmp_path / "cache" / "funreason" / "verdicts.sqlite").exists()


@pytest.mark.engine
def test_a_file_is_refined_with_a_model_in_this_process_and_no_cache(tmp_path):
    tool = {"name": "add", "description": "adds", "parameters": {"a": {"type": "int"}}}
    record = {"query": "add 1", "tools": json.dumps([tool]), "answers": '[{"name": "add", "arguments": {"a": 1}}]'}
    file = tmp_path / "tasks.jsonl"
    file.write_text("".join(json.dumps(record | {"id": i}) + "\n" for i in range(6)))
    settings = {"fcdr.stages": "both", "fcdr.llm.model": "toolbox", "fcdr.llm.max_tokens": 16}
    settings |= {
        "fcdr.canaries.share": 0,
        "fcdr.self_agreement_share": 0,
        "fcdr.max_error_rate": 1,
    }  # it is too small to be read
    done = funreason(tmp_path / "cache", "refine", file, "--out", tmp_path / "out", "--no-cache", **settings)
    assert done.returncode == 0, done.stderr
    assert "LLM judges: what was asked" in done.stdout
    state = RunFolder(tmp_path / "out").state()
    assert state.rounds[1].fates.total() == 6
    assert state.rounds[1].asked["query_tool"].requests >= 6
    assert not (tmp_path / "cache").exists()


def test_replies_asked_for_together_are_those_asked_for_alone_and_one_that_does_not_fit_costs_no_other():
    import asyncio

    from tiny import tiny_model, tiny_tokenizer

    from funreason.policies.huggingface.chat import LocalChat
    from funreason.policies.huggingface.sampler import HuggingFaceSampler
    from funreason.policies.policy import Policy

    tokenizer = tiny_tokenizer()
    sampler = HuggingFaceSampler(tiny_model(), tokenizer, weights_id="w", max_new_tokens=99)
    chat = LocalChat(Policy(sampler, tokenizer), "tiny")

    async def ask(text, seed):
        messages = [{"role": "system", "content": "judge"}, {"role": "user", "content": text}]
        return await chat.reply(messages, temperature=0.5, max_tokens=8, seed=seed)

    async def together():
        asked = [ask("one", 1), ask("x" * 600, 1), ask("two", 1), ask("one", 2)]
        return await asyncio.gather(*asked, return_exceptions=True)

    first, long, second, other = asyncio.run(together())
    assert isinstance(long, ChatError)
    assert not long.stops_run
    assert "prompt has" in str(long)
    assert (first, second) == (asyncio.run(ask("one", 1)), asyncio.run(ask("two", 1)))
    assert first.text != other.text
    assert first.truncated
    assert first.tokens > 8
    assert chat.weights_id == "w"
