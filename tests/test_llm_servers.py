"""Servers as judges: one judge for each model, their cost on the record, and a clear end when none answers."""

import json

import pytest
from command_line import funreason
from scripted import NO, YES
from serving import Said, ScriptedServer, completion

from funreason.record.folder import RunFolder

SECRET = "sk-never-to-be-seen"


@pytest.fixture
def records(tmp_path):
    tool = {"name": "add", "description": "adds", "parameters": {"a": {"type": "int"}}}
    record = {"query": "add {}", "tools": json.dumps([tool])}
    file = tmp_path / "tasks.jsonl"
    rows = [
        record | {"id": i, "query": f"add {i}", "answers": json.dumps([{"name": "add", "arguments": {"a": i}}])}
        for i in range(30)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def refine(file, out, endpoints, *more, **settings):
    given = {"fcdr.stages": "both", "fcdr.llm.endpoints": json.dumps(endpoints)}
    given |= {"fcdr.canaries.share": 0, "fcdr.self_agreement_share": 0} | settings
    settings = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
    environment = {"XDG_CACHE_HOME": str(out.parent / "cache"), "JUDGE_KEY": SECRET}
    return funreason("refine", file, "--out", out, *more, *settings, env=environment)


def says(text, **said):
    return lambda heard: Said(completion(text), **said)


def test_a_file_is_refined_by_a_server_and_what_it_cost_is_on_the_record(records, tmp_path):
    with ScriptedServer(says(YES)) as server:
        done = refine(records, tmp_path / "out", [{"url": server.url, "key_env": "JUDGE_KEY"}])
        assert done.returncode == 0, done.stderr
        r = RunFolder(tmp_path / "out").state().rounds[1]
        assert r.fates["kept"] == 30
        assert {name: (a.requests, a.tokens) for name, a in r.asked.items()} == {
            "query_tool": (30, 420),
            "parameters": (30, 420),
        }
        assert (r.paid["judges"]["requests"], r.paid["judges"]["tokens"]) == (60, 840)
        assert {heard.path for heard in server.heard} == {"/v1/chat/completions"}
        again = refine(records, tmp_path / "again", [{"url": server.url, "key_env": "JUDGE_KEY"}])
        assert again.returncode == 0, again.stderr
        assert len(server.heard) == 60
        judge_uncached = refine(
            records, tmp_path / "afresh", [{"url": server.url, "key_env": "JUDGE_KEY"}], "--no-cache"
        )
        assert len(server.heard) == 120
    texts = "".join(p.read_text() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert SECRET not in texts + done.stdout + done.stderr + judge_uncached.stdout


def test_servers_of_other_models_are_judges_of_their_own_and_those_of_one_share_its_questions(records, tmp_path):
    with ScriptedServer(says(YES), models=("a",)) as one, ScriptedServer(says(YES), models=("a",)) as two:
        with ScriptedServer(says(NO), models=("b",)) as three:
            endpoints = [{"url": s.url, "model": m} for s, m in ((one, "a"), (two, "a"), (three, "b"))]
            done = refine(records, tmp_path / "out", endpoints)
        assert len(one.heard) + len(two.heard) == len(three.heard) == 30
        assert min(len(one.heard), len(two.heard)) > 0
    assert done.returncode == 0, done.stderr
    folder = RunFolder(tmp_path / "out")
    assert folder.state().rounds[1].dead_reasons == {"llm.cannot_be_solved": 30}
    assert {s.verdicts[-1].judge for s in folder.texts(1).get("dropped")} == {"llm:a+b"}


def test_a_server_that_keeps_to_a_schema_is_given_one(records, tmp_path):
    reply = json.dumps({"reasoning": "fits", "verdict": True})
    with ScriptedServer(says(reply)) as server:
        done = refine(records, tmp_path / "out", [{"url": server.url, "json_schema": True}])
    assert done.returncode == 0, done.stderr
    assert RunFolder(tmp_path / "out").state().rounds[1].fates["kept"] == 30
    asked = server.heard[0].body["response_format"]["json_schema"]["schema"]
    assert asked["required"] == ["reasoning", "verdict"]


def test_a_judge_that_cannot_be_reached_at_the_start_leaves_no_folder_behind(records, tmp_path):
    done = refine(records, tmp_path / "out", [{"url": "http://127.0.0.1:9/v1"}])
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_key_that_expires_midway_stops_the_run_with_a_sentence_and_blames_no_sample(records, tmp_path):
    def expires(heard):
        return Said(completion(YES)) if heard.number < 10 else Said({"error": {"message": f"bad {SECRET}"}}, status=401)

    with ScriptedServer(expires) as server:
        done = refine(records, tmp_path / "out", [{"url": server.url, "key_env": "JUDGE_KEY"}])
    assert done.returncode == 1
    assert "401" in done.stderr
    assert "Traceback" not in done.stderr
    state = RunFolder(tmp_path / "out").state()
    assert state.status == "failed"
    assert not any(reason.startswith(("judge.", "agent.")) for reason in state.rounds[1].dead_reasons)
    assert SECRET not in done.stderr + state.reason


def test_garbage_from_a_judge_is_an_error_of_the_judge_and_stops_at_the_limit(records, tmp_path):
    with ScriptedServer(says("<think>" + "hm " * 300_000)) as server:
        done = refine(records, tmp_path / "out", [{"url": server.url}])
    assert done.returncode == 1
    assert "agent 'query_tool' is broken" in done.stderr
    assert "the thinking was never closed" in done.stderr
    assert len(done.stderr) < 2000
