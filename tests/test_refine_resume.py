"""A refining that was stopped goes on: no sample ends twice, no verdict is paid for twice, the files are whole."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from command_line import funreason
from scripted import NO, YES
from serving import Said, ScriptedServer, completion

from funreason.cli import main
from funreason.record import events as ev
from funreason.record.folder import RunFolder
from funreason.record.log import LogReader

MANY = 30
EACH = 2
"""How many stages ask the judging server about a sample."""


def write_records(file, count=MANY):
    tool = {"name": "add", "description": "adds", "parameters": {"a": {"type": "int"}}}
    row = {"tools": json.dumps([tool])}
    rows = [row | {"id": i, "query": f"add {i}", "answers": f'[{{"name": "add", "arguments": {{"a": {i}}}}}]'}
            for i in range(count)]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def records(tmp_path):
    return write_records(tmp_path / "tasks.jsonl")


def command(*arguments):
    return [sys.executable, "-m", "funreason", "refine", *map(str, arguments)]


def refine(*arguments):
    return funreason("refine", *arguments)


def judged_by(server, concurrency=1, **more):
    """Options under which a server judges; without a cache, so that what is asked twice is seen there."""
    endpoints = json.dumps([{"url": server.url, "concurrency": concurrency, **more}])
    given = {
        "fcdr.stages": "both",
        "fcdr.llm.endpoints": endpoints,
        "fcdr.canaries.share": 0,
        "fcdr.self_agreement_share": 0,
    }
    return ["--no-cache", *(word for key, value in given.items() for word in ("--set", f"{key}={value}"))]


def verdict_of(heard):
    """No to every seventh record, so that more than plain passes are on the record."""
    question = heard.body["messages"][-1]["content"]
    return completion(NO if any(f"add {i}" in question for i in ("7", "14", "21")) else YES)


def told(folder):
    return [event for event in LogReader(folder.events).events() if isinstance(event, ev.Judged)]


def asked_of_models(folder):
    return sum(event.node in ("query_tool", "parameters") for event in told(folder))


def require_whole(folder, *, kept, like=None):
    """Each sample has ended once, each judgement stands in the log once, and the refined files hold what was kept."""
    r = folder.state().rounds[1]
    assert folder.state().status == folder.writer_status().status == "finished"
    assert (r.fates.total(), r.fates["kept"]) == (MANY, kept)
    ended = Counter(e.sample for e in LogReader(folder.events).events() if isinstance(e, ev.SampleEnded))
    assert set(ended.values()) == {1}
    assert len(ended) == MANY
    assert max(Counter((e.sample, e.attempt, e.node) for e in told(folder)).values()) == 1
    for name in ("refined-sharegpt.json", "refined-xlam.jsonl"):
        rows = rows_of(folder.path / name)
        assert len({row["id"] for row in rows}) == len(rows) == kept
        assert like is None or sorted(map(str, rows)) == sorted(map(str, rows_of(like / name)))
    verified = funreason("runs", "verify", folder.path)
    assert verified.returncode == 0, verified.stdout


def rows_of(path):
    text = path.read_text()
    return json.loads(text) if path.suffix == ".json" else list(map(json.loads, text.splitlines()))


def test_a_budget_that_is_reached_names_the_command_that_goes_on_and_nothing_is_asked_twice(records, tmp_path):
    folder = RunFolder(tmp_path / "out")
    with ScriptedServer(verdict_of) as server:
        options = judged_by(server)
        assert refine(records, "--out", tmp_path / "whole", *options).returncode == 0
        everything = len(server.heard)
        done = refine(records, "--out", folder.path, *options, "--set", "budget.requests=20")
        assert done.returncode == 1
        assert "20 requests spent of budget.requests = 20" in done.stderr
        assert f"funreason refine --resume {folder.path} --set budget.requests=MORE" in done.stdout
        assert not (folder.path / "refined-xlam.jsonl").exists()
        assert len(server.heard) == everything + 20
        known = asked_of_models(folder)
        assert 0 < known <= 20
        again = refine("--resume", folder.path)
        assert again.returncode == 1
        assert "20 requests spent of budget.requests = 20" in again.stderr
        assert len(server.heard) == everything + 20
        done = refine("--resume", folder.path, "--set", "budget.requests=500")
        assert done.returncode == 0, done.stderr
        assert len(server.heard) == 2 * everything + 20 - known
    require_whole(folder, kept=MANY - 3, like=tmp_path / "whole")
    assert folder.state().paid()["requests"] == everything + 20 - known


def test_a_key_that_was_mended_lets_a_refining_go_on_from_where_it_stopped(records, tmp_path, monkeypatch):
    monkeypatch.setenv("OLD_KEY", "old")
    monkeypatch.setenv("NEW_KEY", "new")
    folder = RunFolder(tmp_path / "out")

    def script(heard):
        expired = heard.number >= 10 and heard.headers["authorization"] == "Bearer old"
        return Said({"error": {"message": "Your key has expired."}}, status=401) if expired else verdict_of(heard)

    with ScriptedServer(script) as server:
        done = refine(records, "--out", folder.path, *judged_by(server, key_env="OLD_KEY"))
        assert done.returncode == 1
        assert "expired" in done.stderr
        assert f"it can be resumed: funreason refine --resume {folder.path}\n" in done.stdout
        other = json.dumps([{"url": server.url, "model": "another", "key_env": "NEW_KEY"}])
        done = refine("--resume", folder.path, "--set", f"fcdr.llm.endpoints={other}")
        assert done.returncode == 2
        assert "fcdr.llm.endpoints name the models another" in done.stderr
        same = json.dumps([{"url": server.url, "key_env": "NEW_KEY"}])
        done = refine("--resume", folder.path, "--set", f"fcdr.llm.endpoints={same}")
    assert done.returncode == 0, done.stderr
    require_whole(folder, kept=MANY - 3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_refining_that_was_interrupted_or_killed_goes_on(records, tmp_path, number):
    folder = RunFolder(tmp_path / "out")

    def slowly(heard):
        return Said(verdict_of(heard), after_s=0.02)

    with ScriptedServer(slowly) as server:
        line = command(records, "--out", folder.path, *judged_by(server, concurrency=4))
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 60
        while len(server.heard) < MANY // 2 and time.monotonic() < until:
            time.sleep(0.005)
        process.send_signal(number)
        said, error = process.communicate(timeout=60)
        assert process.returncode == (130 if number == signal.SIGINT else -number), said + error
        if number == signal.SIGINT:
            assert f"Resume with: funreason refine --resume {folder.path}" in said
            assert folder.state().reason == f"resume with: funreason refine --resume {folder.path}"
        stopped = len(server.heard)
        known, ended = asked_of_models(folder), set(folder.state().ended)
        assert 0 < known < MANY * EACH
        done = refine("--resume", folder.path)
        assert done.returncode == 0, done.stderr
        assert len(server.heard) - stopped <= MANY * EACH - known
    require_whole(folder, kept=MANY - 3)
    assert ended <= set(folder.state().ended)


def test_a_refining_without_models_goes_on_after_each_of_several_kills(shared_data, tmp_path):
    file = shared_data / "real" / "nasty.jsonl"
    assert refine(file, "--out", tmp_path / "whole").returncode == 0
    folder = RunFolder(tmp_path / "out")
    line = command(file, "--out", folder.path)
    for after_s in (0.0, 0.01, 0.03):
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until, events = time.monotonic() + 60, folder.state().events
        while folder.state().events <= events and process.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(after_s)
        process.kill()
        process.wait()
        line = command("--resume", folder.path)
    done = refine("--resume", folder.path)
    assert done.returncode == 0
    state, whole = folder.state(), RunFolder(tmp_path / "whole").state()
    assert state.ended == whole.ended
    assert state.refused == whole.refused
    assert state.rounds[1].dead_reasons == whole.rounds[1].dead_reasons
    for name in ("refined-sharegpt.json", "refined-xlam.jsonl"):
        rows = (rows_of(tmp_path / run / name) for run in ("out", "whole"))
        assert len({str(sorted(row["id"] for row in each)) for each in rows}) == 1


@pytest.fixture
def stopped(records, tmp_path):
    """A refining that a budget stopped after a few samples."""
    with ScriptedServer(verdict_of) as server:
        done = refine(records, "--out", tmp_path / "out", *judged_by(server), "--set", "budget.requests=20")
    assert done.returncode == 1
    return RunFolder(tmp_path / "out")


def test_other_records_are_refused_and_what_is_missing_is_named(stopped, records, tmp_path):
    events = stopped.state().events
    gone = sorted(sample for _, sample in stopped.state().ended)[0]
    lines = records.read_text().splitlines(keepends=True)
    records.write_text("".join(line for line in lines if json.loads(line)["id"] != int(gone)))
    done = refine("--resume", stopped.path)
    assert done.returncode == 1
    assert f"samples that were judged are not in it, such as {gone!r}" in done.stderr
    records.write_text("".join(lines).replace("add 29", "add 92"))
    done = refine("--resume", stopped.path)
    assert "some are changed" in done.stderr
    assert stopped.state().events == events
    assert stopped.writer_status().status == "failed"


def test_a_changed_byte_is_refused_before_anything_is_asked_and_the_run_goes_on_when_it_is_put_back(stopped, capsys):
    def resumed(*more):
        with pytest.raises(SystemExit) as ended:
            main(["refine", "--resume", str(stopped.path), *more])
        return ended.value.code, capsys.readouterr().err

    for name in ("round-1/tasks.jsonl", "round-1/judged.jsonl", "events/loop-000.jsonl", "records.json", "refine.yaml"):
        good = (stopped.path / name).read_bytes()
        at = good.rindex(b"e")
        (stopped.path / name).write_bytes(good[:at] + b"a" + good[at + 1 :])
        code, said = resumed()
        assert code in (1, 2), (name, said)
        assert name in said
        (stopped.path / name).write_bytes(good)
    assert "is the server running" in resumed()[1]  # which is what else it needs


def test_records_that_were_moved_are_found_where_the_command_says(stopped, records, tmp_path):
    moved = records.rename(tmp_path / "elsewhere.jsonl")
    done = refine("--resume", stopped.path)
    assert done.returncode == 1
    assert str(records) in done.stderr
    with ScriptedServer(verdict_of) as server:
        endpoints = json.dumps([{"url": server.url}])
        more = ["--set", "budget.requests=500", "--set", f"fcdr.llm.endpoints={endpoints}"]
        done = refine(moved, "--resume", stopped.path, *more)
    assert done.returncode == 0, done.stderr
    require_whole(stopped, kept=MANY - 3)


@pytest.mark.parametrize(
    "option", [["--out", "x"], ["--strict"], ["--no-cache"], ["--set", "fcdr.stages=rules"], ["--config", "default"]]
)
def test_what_a_refining_began_with_cannot_be_changed_when_it_goes_on(stopped, option):
    done = refine("--resume", stopped.path, *option)
    assert done.returncode == 2
    assert option[0] in done.stderr
    assert "cannot be given" in done.stderr


def test_a_folder_that_holds_a_refining_is_not_begun_anew_and_a_finished_one_says_so(records, tmp_path):
    folder = RunFolder(tmp_path / "out")
    assert refine(records, "--out", folder.path).returncode == 0
    done = refine(records, "--out", folder.path)
    assert done.returncode == 1
    assert f"funreason refine --resume {folder.path}" in done.stderr
    done = refine("--resume", folder.path)
    assert done.returncode == 0
    assert "Nothing to do" in done.stderr
    done = funreason("loop", "--resume", folder.path)
    assert f"resume it with: funreason refine --resume {folder.path}" in done.stderr


def test_a_resampled_answer_that_was_drawn_before_a_stop_is_not_drawn_again(tmp_path):
    records = write_records(tmp_path / "tasks.jsonl", 12)
    lines = [
        json.loads(line) | {"answers": '[{"name": "add", "arguments": {}}]'}
        for line in records.read_text().splitlines()
    ]
    records.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = RunFolder(tmp_path / "out")

    def answer(heard):
        number = heard.body["messages"][-1]["content"].split()[-1]
        return completion(f"<think>add fits: a {number}.</think>\n\n[add(a={number})]")

    with ScriptedServer(answer) as server, ScriptedServer(verdict_of) as judge:
        given = [*judged_by(judge), "--set", f"sample.endpoints={json.dumps([{'url': server.url}])}"]
        given += ["--set", "fcdr.regenerate=[resample]", "--set", "fcdr.stages={cot: llm}"]
        done = refine(records, "--out", folder.path, *given, "--set", "budget.requests=16")
        assert done.returncode == 1, done.stdout
        drawn = len(list(folder.texts(1).get("sampled")))
        before = len(server.heard)
        done = refine("--resume", folder.path, "--set", "budget.requests=500")
        assert done.returncode == 0, done.stderr
        assert drawn > 0
        assert len(server.heard) - before == 12 - drawn
    assert folder.state().rounds[1].fates.total() == 12


def dlq(*arguments):
    return funreason("dlq", *arguments)


def test_dead_letters_that_were_put_back_are_judged_once_more_when_a_refining_goes_on(records, tmp_path):
    folder = RunFolder(tmp_path / "out")

    def script(heard):
        expired = Said({"error": {"message": "Your key has expired."}}, status=401)
        return expired if heard.number >= 16 else completion("hm") if heard.number < 3 else verdict_of(heard)

    with ScriptedServer(script) as server:
        given = [*judged_by(server), "--set", "fcdr.llm.max_attempts=1"]
        assert refine(records, "--out", folder.path, *given).returncode == 1
    r = folder.state().rounds[1]
    assert r.dead_reasons["judge.unreadable"] == 3
    others = r.fates.total() - 3
    done = dlq("requeue", folder.path, "--reason", "judge.*")
    assert done.returncode == 0, done.stderr
    assert f"3 samples put back. Resume with: funreason refine --resume {folder.path}" in done.stdout
    assert folder.state().rounds[1].fates.total() == others
    with ScriptedServer(verdict_of) as server:
        endpoints = json.dumps([{"url": server.url}])
        done = refine("--resume", folder.path, "--set", f"fcdr.llm.endpoints={endpoints}")
    assert done.returncode == 0, done.stderr
    state = folder.state()
    assert state.rounds[1].fates == {"kept": MANY - 3, "dropped": 3}
    assert not state.requeued
    for name in ("refined-sharegpt.json", "refined-xlam.jsonl"):
        rows = rows_of(folder.path / name)
        assert len({row["id"] for row in rows}) == len(rows) == MANY - 3


def test_a_finished_refining_takes_nothing_back_and_does_not_speak_of_training(tmp_path):
    records = write_records(tmp_path / "tasks.jsonl", 3)
    records.write_text(records.read_text().replace("add 2", "call somebody"))
    folder = RunFolder(tmp_path / "out")
    assert refine(records, "--out", folder.path).returncode == 0
    assert folder.state().rounds[1].fates["dropped"] == 1
    done = dlq("requeue", folder.path)
    assert done.returncode == 1
    assert "refine the records again into another --out" in done.stderr
    assert "trained" not in done.stderr


def test_a_judge_that_only_errs_stops_a_small_refining_whose_samples_can_be_put_back(tmp_path):
    """Twelve answers, fewer than the twenty from which on the share of errors is looked at all along."""
    records = write_records(tmp_path / "tasks.jsonl", 12)
    folder = RunFolder(tmp_path / "out")
    with ScriptedServer(lambda heard: Said({"error": "not this one"}, status=400)) as server:
        done = refine(records, "--out", folder.path, *judged_by(server))
        assert done.returncode == 1, done.stdout
        assert "agent 'query_tool' is broken: 12 of 12 answers were errors" in done.stderr
        assert "not this one" in done.stderr
        put_back = f"funreason dlq requeue {folder.path} --reason 'judge.unreachable'"
        assert put_back in done.stdout
        assert f"it can be resumed: funreason refine --resume {folder.path}" in done.stdout
    assert folder.state().status == "failed"
    assert dlq("requeue", folder.path, "--reason", "judge.unreachable").returncode == 0
    with ScriptedServer(verdict_of) as server:
        endpoints = json.dumps([{"url": server.url}])
        done = refine("--resume", folder.path, "--set", f"fcdr.llm.endpoints={endpoints}")
    assert done.returncode == 0, done.stderr
    assert folder.state().rounds[1].fates == {"kept": 11, "dropped": 1}
    assert "warning: nothing was judged" not in done.stderr


def test_a_refining_that_is_ended_with_a_judge_that_only_erred_says_so_in_its_exit_code(tmp_path):
    records = write_records(tmp_path / "tasks.jsonl", 12)
    with ScriptedServer(lambda heard: Said({"error": "not this one"}, status=400)) as server:
        assert refine(records, "--out", tmp_path / "out", *judged_by(server)).returncode == 1
        done = refine("--resume", tmp_path / "out")
        assert done.returncode == 1, done.stderr
        told = "warning: nothing was judged by 'query_tool': 12 of 12 answers were errors (judge.unreachable)"
        assert told in done.stderr
        allowed = refine(records, "--out", tmp_path / "two", *judged_by(server), "--set", "fcdr.max_error_rate=1")
    assert allowed.returncode == 0, allowed.stderr
    assert RunFolder(tmp_path / "two").state().rounds[1].fates == {"dead": 12}
