"""Endpoints in `eval`, `loop` and `refine`: what a person sees, what the record holds, and what a kill costs."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from urllib.request import urlopen

import pytest

from funreason.cli import main
from funreason.record.folder import RunFolder
from tests.serving import Said, ScriptedServer, completion

KEY = "sk-very%secret/key+1"
SUITE = "toolbox:new_dev"
ONE_ROUND = ["--config", "smoke", "--rounds", "1", "--set", "start.references=null", "--set", "name=run"]
ONE_ROUND += ["--set", "tasks.per_round=12", "--set", "sample.samples_per_task=2", "--set", "sample.max_new_tokens=64"]
ONE_ROUND += [
    "--set",
    "sample.max_staleness=null",
    "--set",
    "gate.suites.new.count=8",
    "--set",
    "gate.suites.old.count=8",
]


@pytest.fixture
def funreason(capsys):
    """Run a command in this process: exit code, what it printed, what it complained of."""

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return left.value.code, told.out, told.err

    return run


def endpoint(server, **settings):
    return f"sample.endpoints=[{json.dumps({'url': server.url, **settings})}]"


def refusing(heard):
    """An answer to anything: no tool fits."""
    return completion("<think>None of these.</think>\n\nNo tool here can do that.", heard.body.get("n", 1))


def test_an_address_is_evaluated_scored_and_taken_up_where_it_was_stopped(tmp_path, funreason):
    command = ["eval", "--suite", SUITE, "--limit", "5", "--out", tmp_path / "out", "--max-new-tokens", "32"]
    with ScriptedServer(lambda heard: refusing(heard) if heard.number < 8 else Said("", status=401)) as server:
        code, _, error = funreason(*command, "--model", server.url)
        assert code == 1
        assert "401" in error
        assert "key_env" in error
        assert "the same command continues" in error
    kept = len((tmp_path / "out/outputs.jsonl").read_text().splitlines())
    with ScriptedServer(refusing) as server:
        code, said, error = funreason(*command, "--model", server.url)
    assert code == 0
    assert kept == 8
    assert len(server.heard) == 12
    assert "weights endpoint:small" in error
    assert "12 requests, 168 tokens" in error
    assert "5 of 20 right" in said
    facts = json.loads((tmp_path / "out/eval.json").read_text())
    assert (facts["weights"], facts["prompt"]) == ("endpoint:small", "native")
    assert {heard.body["temperature"] for heard in server.heard} == {0}
    assert all(heard.body["tools"] for heard in server.heard)
    code, _, error = funreason(*command)
    assert code == 1
    assert "weights was 'endpoint:small'" in error


def test_a_prompt_too_long_for_the_server_is_an_empty_output_and_the_rest_is_scored(tmp_path, funreason):
    def script(heard):
        return Said({"error": {"code": "context_length_exceeded"}}, 400) if heard.number % 4 == 0 else refusing(heard)

    with ScriptedServer(script) as server:
        code, said, _ = funreason(
            "eval", "--suite", SUITE, "--limit", "3", "--out", tmp_path / "out", "--model", server.url
        )
    assert code == 0
    assert len(server.heard) == 12
    assert "3 prompts left no room" in said


@pytest.mark.parametrize("options", [["--key-env", "NOT_SET"], []])
def test_what_cannot_be_asked_is_said_before_anything_is_written(tmp_path, funreason, options, monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    given = ["eval", "--suite", SUITE, "--out", tmp_path / "out", "--model", "http://127.0.0.1:9/v1"]
    code, _, error = funreason(*given, *options)
    assert code == 1
    assert "NOT_SET" in error or "is the server running" in error
    assert not (tmp_path / "out" / "eval.json").exists()


def test_a_loop_samples_from_endpoints_tells_what_it_cost_and_keeps_the_key(tmp_path, funreason, monkeypatch):
    monkeypatch.setenv("SMALL_KEY", KEY)

    def script(heard):
        echo = Said({"error": heard.headers["authorization"]}, 500)
        return echo if heard.number == 3 else refusing(heard)

    with ScriptedServer(script) as server:
        given = ["--run-dir", tmp_path, "--set", endpoint(server, key_env="SMALL_KEY", concurrency=4)]
        code, said, error = funreason("loop", *ONE_ROUND, *given)
    assert code in (0, 3), error
    state = RunFolder(tmp_path / "run").state()
    assert {s.weights_id for s in RunFolder(tmp_path / "run").texts(1).get("sampled")} == {"endpoint:small"}
    assert state.rounds[1].fates.total() == 24
    assert dict(state.rounds[1].paid["generator"]) == {
        "requests": len(server.heard), "tokens": 18 * 12, "retries": 1, "failed": 0, "estimated": 0
    }  # fmt: skip
    assert server.most <= 4
    written = b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert KEY.encode() not in written
    assert b"SMALL_KEY" in written
    assert KEY not in said + error


def test_a_budget_stops_a_loop_and_more_of_it_lets_it_go_on_without_asking_twice(tmp_path, funreason):
    with ScriptedServer(refusing) as server:
        given = ["--run-dir", tmp_path, "--set", endpoint(server, concurrency=1), "--set", "budget.requests=5"]
        code, _, error = funreason("loop", *ONE_ROUND, *given)
        assert code == 1
        assert "5 requests spent of budget.requests = 5" in error
        folder = RunFolder(tmp_path / "run")
        assert folder.state().rounds[1].fates.total() == 0
        assert folder.state().paid()["requests"] == len(server.heard) == 5
        code, _, error = funreason("loop", "--resume", "run", "--run-dir", tmp_path)
        assert code == 1
        assert "5 requests spent" in error
        assert len(server.heard) == 5
        more = ["--set", "budget.requests=100"]
        code, _, error = funreason("loop", "--resume", "run", "--run-dir", tmp_path, *more)
    assert code in (0, 3), error
    assert len(server.heard) == 12
    assert folder.state().rounds[1].fates.total() == 24


def test_refine_lets_endpoints_answer_anew(tmp_path, funreason):
    record = {
        "id": "a",
        "query": "What is the sum of 2 and 3?",
        "tools": [{
            "name": "add", "description": "Adds two integers.",
            "parameters": {
                "type": "object", "required": ["a", "b"],
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            },
        }],
        "answers": [{"name": "add", "arguments": {"a": 2}}],
    }  # fmt: skip
    (tmp_path / "data.json").write_text(json.dumps([record]))
    with ScriptedServer(lambda heard: completion("<think>To add fits: a 2, b 3.</think>\n\n[add(a=2, b=3)]")) as server:
        options = ["--set", endpoint(server), "--set", "fcdr.regenerate=[resample]"]
        code, _, error = funreason("refine", tmp_path / "data.json", "--out", tmp_path / "out", *options)
    assert code == 0, error
    state = RunFolder(tmp_path / "out").state()
    assert state.rounds[1].origins == {"resampled": 1}
    assert state.rounds[1].paid["regenerator"]["requests"] == len(server.heard) == 1


@pytest.mark.engine
def test_transformers_serve_gives_the_answers_that_the_model_gives_in_process(tmp_path, funreason):
    base = shutil.copytree(str(files("funreason.data.toolbox") / "base"), tmp_path / "base")
    plain_tags(base / "tokenizer.json")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).parent / "transformers", "serve", base, "--host", "127.0.0.1", "--port", port]
    command += ["--device", "cpu", "--dtype", "float32"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = (tmp_path / "serve.log").open("w")
    server = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, env=environment)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server)
        asked = ["eval", "--suite", SUITE, "--limit", "8", "--max-new-tokens", "128"]
        url = f"http://127.0.0.1:{port}/v1"
        code, _, error = funreason(*asked, "--model", url, "--endpoint-model", base, "--out", tmp_path / "served")
        assert code == 0, error
        assert funreason(*asked, "--model", base, "--out", tmp_path / "local")[0] == 0
    finally:
        server.terminate()
        server.wait()
        log.close()
    assert "32 requests" in error
    served, local = (
        {
            line["id"]: line["text"]
            for line in map(json.loads, (tmp_path / name / "outputs.jsonl").read_text().splitlines())
        }
        for name in ("served", "local")
    )
    assert len(served) == 32
    assert served == local


def plain_tags(path: Path) -> None:
    """Make the thinking tags ordinary tokens: this server drops special ones."""
    data = json.loads(path.read_text())
    for token in data["added_tokens"]:
        token["special"] = token["special"] and "think" not in token["content"]
    path.write_text(json.dumps(data))


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Until the server answers; it loads for a while."""
    until = time.monotonic() + 180
    while time.monotonic() < until and server.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail("transformers serve did not come up")
