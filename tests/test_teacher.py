"""Thinking that a teacher at a server writes for references (`start.thinking: model`)."""

import json

import msgspec
import pytest

from funreason.agents.teacher_thinking import FLAG, asked_of_teacher, unusable, with_teacher_thinking
from funreason.calls.render import render_calls
from funreason.cli import main
from funreason.config import ConfigError, check_config
from funreason.data import rationales
from funreason.data.rationales import with_template_thinking
from funreason.data.toolbox import generate
from funreason.export import refined
from funreason.record.folder import RunFolder
from funreason.record.sample_files import SampleFiles
from funreason.types import Sample, Turn, Verdict, changed
from tests.serving import Said, ScriptedServer, completion

CALLS = {"simple": 0.5, "multiple": 0.5}
BARE = [msgspec.structs.replace(task, reference_thinking=None) for task in generate("new_warmup", 8, 3, quotas=CALLS)]
BY_QUERY = {task.query: task for task in BARE}


def right_answer(task):
    """The reference, with thinking that stage 3 accepts and that no template wrote."""
    calls = render_calls(task.reference)
    return f"<think>Let me see. {with_template_thinking(task).reference_thinking}</think>\n\n{calls}"


def teacher(heard):
    """Answers every query right."""
    return completion(right_answer(BY_QUERY[heard.body["messages"][-1]["content"]]), heard.body.get("n", 1))


def answered(task, answer, thinking="I think.", **more):
    turn = Turn("assistant", answer, thinking, weights_id="endpoint:big")
    return changed(Sample.of(f"r0/{task.id}/0", task), turns=(turn,), **more)


@pytest.fixture
def files(tmp_path):
    return SampleFiles(tmp_path / "round-0")


@pytest.fixture
def loop(tmp_path, capsys):
    """A small loop whose start learns references without thinking: exit code, what it printed, its folder."""
    path = tmp_path / "references.jsonl"
    tools = [[{"type": "function", "function": tool} for tool in task.tools] for task in BARE]
    rows = [
        {
            "id": task.id,
            "query": task.query,
            "tools": tools[i],
            "answers": [{"name": call.name, "arguments": call.arguments} for call in task.reference],
        }
        for i, task in enumerate(BARE)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    settings = {
        "name": "run",
        "run_dir": tmp_path,
        "rounds": 1,
        "start": f"{{references: {{path: {path}, count: 8}}, thinking: model, update: {{epochs: 1, batch_size: 8}}}}",
        "tasks.per_round": 2,
        "sample": "{samples_per_task: 1, max_new_tokens: 16}",
        "gate.suites.new.count": 4,
        "gate.suites.old.count": 4,
        "fcdr.max_attempts": 1,
    }

    def run(*more, resume=False):
        given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        command = ["--resume", "run", "--run-dir", tmp_path] if resume else ["--config", "smoke", *given]
        with pytest.raises(SystemExit) as left:
            main(["loop", *map(str, command), *(part for setting in more for part in ("--set", setting))])
        told = capsys.readouterr()
        return left.value.code, told.out + told.err, RunFolder(tmp_path / "run")

    return run


def served(server, **settings):
    return f"start.teacher.endpoints=[{json.dumps({'url': server.url, **settings})}]"


def account_of(folder):
    return next(note.text for note in folder.state().notes if "start.thinking" in note.text)


def test_a_teacher_thinks_for_the_references_and_the_learning_model_samples_the_rounds(loop):
    def script(heard):
        return completion("I do not know.") if heard.number == 5 else teacher(heard)

    with ScriptedServer(script) as server:
        code, said, folder = loop(served(server))
    assert code in (0, 3), said
    state = folder.state()
    assert {body["temperature"] for body in (heard.body for heard in server.heard)} == {0.6}
    assert state.rounds[0].fates == {"kept": 7, "dropped": 1}
    assert state.rounds[0].paid["teacher"]["requests"] == len(server.heard) == 8
    account = account_of(folder)
    assert "thinking of 8 references asked of a teacher" in account
    assert "written by endpoint:small 7" in account
    assert "1 learn a rationale by template (start.teacher.fallback): response.text_where_calls_expected 1" in account
    assert "8 requests and 112 tokens" in account
    assert state.rounds[0].chosen.trained == 8
    assert not any(s.weights_id.startswith("endpoint") for s in folder.texts(1).get("sampled"))
    assert not any(sample.round == 0 for _, sample in refined(folder, state))


def test_an_interrupted_start_asks_for_no_answer_twice(loop):
    with ScriptedServer(teacher) as server:
        code, said, folder = loop(served(server, concurrency=1), "budget.requests=3")
        assert code == 1
        assert "3 requests spent of budget.requests = 3" in said
        assert len(server.heard) == 3
        code, said, folder = loop("budget.requests=8", resume=True)
    assert code in (0, 3), said
    assert len(server.heard) == 8
    assert "written by endpoint:small 8. It cost 8 requests and 112 tokens" in account_of(folder)
    assert account_of(folder).count("start.thinking") == 1


def test_a_teacher_that_is_no_longer_needed_may_be_gone_when_the_run_is_resumed(loop, monkeypatch):
    with monkeypatch.context() as patched, ScriptedServer(teacher) as server:
        patched.setattr("funreason.agents.updating.Updating.__call__", stopped)
        code, said, folder = loop(served(server))
        assert code == 1
        assert "the power is out" in said
    code, said, folder = loop(resume=True)
    assert code in (0, 3), said
    assert "written by endpoint:small 8" in account_of(folder)


def stopped(*_):
    raise OSError("the power is out")


def test_an_endpoint_that_refuses_the_key_stops_the_run_in_one_sentence(loop):
    with ScriptedServer(lambda heard: Said({"error": "no such key"}, 401)) as server:
        code, said, folder = loop(served(server))
    assert code == 1
    assert "The key is missing, wrong or expired" in said
    assert folder.state().rounds[0].chosen is None


def test_without_any_usable_answer_and_with_drop_nothing_is_trained_and_the_reason_is_said(loop):
    with ScriptedServer(lambda heard: completion("<think>Hm.</think>\n\nNo.")) as server:
        code, said, _ = loop(served(server), "start.teacher.fallback=drop")
    assert code == 1
    assert "no reference is left to learn" in said
    assert "response.text_where_calls_expected 8" in said
    assert "start.teacher.fallback=template" in said


def test_the_endpoints_of_the_rounds_are_the_teacher_where_no_other_is_named(loop):
    def script(heard):
        known = heard.body["messages"][-1]["content"] in BY_QUERY
        return teacher(heard) if known else completion("<think>Hm.</think>\n\nNo.", heard.body.get("n", 1))

    with ScriptedServer(script) as server:
        endpoints = f"sample.endpoints=[{json.dumps({'url': server.url})}]"
        code, said, folder = loop(endpoints, "sample.max_staleness=null")
    assert code in (0, 3), said
    assert "written by endpoint:small 8" in account_of(folder)
    assert folder.state().rounds[0].paid["teacher"]["requests"] == 8


def test_a_teacher_without_a_server_is_refused_with_what_to_write():
    references = {"path": "toolbox:new_warmup", "count": 4}
    with pytest.raises(ConfigError, match=r"set start\.teacher\.endpoints to \[\{url: http://localhost:8000/v1\}\]"):
        check_config({"start": {"thinking": "model", "references": references}}, "here")
    check_config({"start": {"thinking": "model"}}, "here")
    server = {"endpoints": [{"url": "http://localhost:8000/v1"}]}
    check_config({"start": {"thinking": "model", "references": references, "teacher": server}}, "here")


def test_only_references_without_thinking_are_asked_about():
    thought = with_template_thinking(BARE[0])
    unknown = msgspec.structs.replace(BARE[1], reference=None)
    mute = msgspec.structs.replace(BARE[2], reference=[], reference_text=None)
    text = msgspec.structs.replace(BARE[3], reference=[], reference_text="I cannot.")
    assert asked_of_teacher([thought, unknown, mute, text, BARE[4]]) == [text, BARE[4]]


@pytest.mark.parametrize(
    ("fallback", "learnt", "flags"),
    [("template", 3, {rationales.FLAG}), ("none", 3, set()), ("drop", 2, None)],
)
def test_a_reference_without_a_usable_answer_is_learnt_as_the_fallback_says(files, fallback, learnt, flags):
    first, second, thought = BARE[0], BARE[1], with_template_thinking(BARE[2])
    files.append("kept", answered(first, render_calls(first.reference), " It is this one. "))
    verdict = Verdict("cot", "drop", "cot.value_not_named", "")
    files.append("dropped", changed(answered(second, "[f()]"), verdicts=(verdict,)))
    written = with_teacher_thinking([first, second, thought], files, fallback)
    assert len(written.tasks) == learnt
    assert written.tasks[0].reference_thinking == "It is this one."
    assert {FLAG, f"{FLAG}:endpoint:big"} <= set(written.tasks[0].flags)
    assert written.tasks[-1] is thought
    assert (written.asked, written.had, written.by, written.left) == (
        2, 1, {"endpoint:big": 1}, {"cot.value_not_named": 1}
    )  # fmt: skip
    if flags is not None:
        assert set(written.tasks[1].flags) == flags


def test_the_first_usable_of_several_answers_is_taken_and_the_first_problem_named(files):
    one, other = BARE[0], BARE[1]
    right = answered(one, render_calls(one.reference), "The tenth.")
    files.append("kept", changed(right, id=f"r0/{one.id}/10"))
    files.append("kept", changed(answered(one, render_calls(one.reference), "The second."), id=f"r0/{one.id}/2"))
    files.append("kept", changed(answered(one, render_calls(one.reference), " "), id=f"r0/{one.id}/1"))
    files.append("kept", answered(other, render_calls(one.reference)))
    files.append("kept", changed(answered(other, render_calls(other.reference), None), id=f"r0/{other.id}/1"))
    written = with_teacher_thinking([one, other], files, "none")
    assert written.tasks[0].reference_thinking == "The second."
    assert written.left == {"teacher.other_answer": 1}


def test_an_answer_that_is_not_the_teachers_own_or_not_the_references_gives_no_thinking():
    task = BARE[0]
    calls = render_calls(task.reference)
    refusal = msgspec.structs.replace(task, reference=[], reference_text="No tool does that.")
    assert unusable("kept", answered(task, calls), task) is None
    assert unusable("text", answered(task, "No."), refusal) is None
    assert unusable("kept", answered(task, calls, origin="repaired"), task) == "teacher.repaired"
    assert unusable("kept", answered(task, calls, None), task) == "teacher.no_thinking"
    assert unusable("text", answered(task, "No."), task) == "teacher.other_answer"
    assert unusable("kept", answered(task, calls), refusal) == "teacher.other_answer"
    ends_in_a_call = answered(task, "No.", f"So I write {calls}")
    assert unusable("text", ends_in_a_call, refusal) == "cot.ends_in_another_call"
    assert unusable("dead", answered(task, calls), task) == "dead"


def test_a_reference_without_an_answer_is_counted(files):
    assert with_teacher_thinking(BARE[:2], files, "none").left == {"not_answered": 2}
