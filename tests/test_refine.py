"""FCDR over real records, and over malformed ones."""

import json
import signal
import socket
import subprocess
import sys
import time
from functools import cache

import pytest
from command_line import funreason

from funreason.record.folder import RunFolder


def refine(file, out, *more):
    return funreason("refine", file, "--out", out, *more)


@pytest.fixture(scope="module")
def refined(shared_data, tmp_path_factory):
    """Refines a file of the real records once: its folder, and what the command printed."""

    @cache
    def of(name):
        out = tmp_path_factory.mktemp("refined") / "out"
        return out, refine(shared_data / "real" / name, out)

    return of


@pytest.mark.parametrize(("name", "records"), [("open-dev.jsonl.gz", 2204), ("nasty.jsonl", 254)])
def test_every_real_record_is_kept_dropped_dead_or_refused_with_a_reason(refined, name, records):
    out, done = refined(name)
    assert done.returncode == 0, done.stderr
    state = RunFolder(out).state()
    r = state.rounds[1]
    assert r.fates.total() + state.refused.total() == records
    assert sum(r.dead_reasons.values()) == r.fates["dropped"] + r.fates["dead"]
    assert all(r.dead_reasons)
    assert all(state.refused)
    assert r.nodes["cot"].outcomes["error"] == 0


def test_refined_records_can_be_refined_again_and_all_stay(refined, tmp_path):
    one, _ = refined("open-dev.jsonl.gz")
    assert refine(one / "refined-xlam.jsonl", tmp_path / "two").returncode == 0
    first, second = (RunFolder(folder).state().rounds[1].fates for folder in (one, tmp_path / "two"))
    assert second.total() == first["kept"] + first["text"] == second["kept"] + second["text"]


def test_the_same_records_are_written_for_other_trainers(refined):
    out, _ = refined("nasty.jsonl")
    kept = RunFolder(out).state().rounds[1].fates
    rows = json.loads((out / "refined-sharegpt.json").read_text())
    assert len(rows) == kept["kept"] + kept["text"]
    assert {turn["from"] for row in rows for turn in row["conversations"]} == {"human", "gpt"}


def test_strict_refuses_a_file_with_one_bad_record(shared_data, tmp_path):
    done = refine(shared_data / "real" / "nasty.jsonl", tmp_path / "out", "--strict")
    assert done.returncode == 1
    assert "line 1 " in done.stderr
    assert not (tmp_path / "out").exists()


def test_bad_lines_are_told_when_a_file_is_refined(refined):
    _, done = refined("nasty.jsonl")
    assert "at line " in done.stderr
    assert "warning: " in done.stderr


@pytest.mark.parametrize("setting", ["fcdr.graph=nope", "agents=[{name: a, agent: nowhere_at_all:a}]"])
def test_what_cannot_judge_leaves_no_folder_behind(shared_data, tmp_path, setting):
    done = refine(shared_data / "real" / "nasty.jsonl", tmp_path / "out", "--set", setting)
    assert done.returncode == 2, done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("times", "seconds"), [(1, 0.5), (2, 60)])
def test_refining_can_be_interrupted_once_to_finish_what_is_in_flight_and_twice_to_leave(tmp_path, times, seconds):
    judge = tmp_path / "slow.py"
    judge.write_text(
        f"import asyncio\n\nasync def slow(sample):\n    await asyncio.sleep({seconds})\n    return 'pass'\n"
    )
    tool = {"name": "add", "parameters": {"a": {"type": "int"}}}
    record = {"query": "add 1", "tools": json.dumps([tool]), "answers": '[{"name": "add", "arguments": {"a": 1}}]'}
    file = tmp_path / "tasks.jsonl"
    file.write_text("".join(json.dumps(record | {"id": i}) + "\n" for i in range(2000)))
    settings = ["--set", f"agents=[{{name: slow, agent: '{judge}:slow', after: response}}]"]
    command = [sys.executable, "-m", "funreason", "refine", str(file), "--out", str(tmp_path / "out"), *settings]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    folder, deadline = RunFolder(tmp_path / "out"), time.monotonic() + 30
    while folder.state().phase != "sample" and time.monotonic() < deadline:
        time.sleep(0.02)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    assert "interrupted; verdicts are saved in" in out
    assert f"Resume with: funreason refine --resume {tmp_path / 'out'}" in out
    assert err.count("Finishing current work, then saving. Press Ctrl-C again to stop now.") == 1
    assert "Traceback" not in err
    assert folder.state().status == folder.writer_status().status == "interrupted"


SILENT = {
    "judges": ["--set", "fcdr.stages=both", "--set", "fcdr.llm.endpoints=[{url: URL}]"],
    "resampling": ["--set", "sample.endpoints=[{url: URL}]"],
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("who", SILENT)
def test_a_server_that_accepts_and_never_answers_does_not_hold_up_who_wants_to_stop(shared_data, tmp_path, who, number):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        options = [word.replace("URL", f"'{url}'") for word in SILENT[who]]
        command = [sys.executable, "-m", "funreason", "refine", str(shared_data / "real" / "nasty.jsonl")]
        process = subprocess.Popen(
            [*command, "--out", str(tmp_path / "out"), "--no-cache", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        try:
            connection, _ = silent.accept()
            with connection:
                process.send_signal(number)
                out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
    notice = "Finishing current work, then saving. Press Ctrl-C again to stop now.\n"
    assert (process.returncode, err) == (130, notice if number == signal.SIGINT else "")
    if number == signal.SIGINT:
        assert "interrupted; nothing was begun" in out
    assert not (tmp_path / "out").exists()
