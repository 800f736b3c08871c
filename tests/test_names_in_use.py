"""Original names outside, callable names inside: files, exports, servers and judges of one task."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

from funreason.agents.judges.llm.prompt import case_of
from funreason.agents.judges.rules.stages import judge_parameters, judge_query_tool
from funreason.data.forms.known import FORMS
from funreason.data.reading import read_samples, read_tasks, read_whole
from funreason.data.writers import as_sharegpt, as_xlam, convert
from funreason.export import row
from funreason.policies.endpoint.wire import ApiMessage, Choice, Function, ToolCall
from funreason.policies.prompts import task_dialogue
from funreason.types import Call, Sample, Task

TOOLS = [
    {
        "name": "mail-search",
        "description": "Searches mail.",
        "parameters": {
            "type": "object",
            "properties": {"from": {"type": "string"}, "max results": {"type": "integer"}},
            "required": ["from"],
        },
    },
    {
        "name": "Road Length API",
        "description": "Roads.",
        "parameters": {"type": "object", "properties": {}, "required": []},
    },
]
CALL = {"name": "mail-search", "arguments": {"from": "Ada", "max results": 3}}
CALLABLE = Call("mail_search", {"from_": "Ada", "max_results": 3})
ANSWER = "[mail_search(from_='Ada', max_results=3)]"
SHOWN = "[mail-search(from='Ada', max results=3)]"
ASKED = "Find 3 mails from Ada."


def xlam(answers=(CALL,)):
    return {"id": "t", "query": ASKED, "tools": TOOLS, "answers": list(answers)}


def sharegpt(answer):
    turns = [{"from": "human", "value": ASKED}, {"from": "gpt", "value": answer}]
    return {"id": "t", "conversations": turns, "tools": json.dumps(TOOLS)}


def openai(**message):
    messages = [{"role": "user", "content": ASKED}, {"role": "assistant", **message}]
    return {"id": "t", "messages": messages, "tools": [{"type": "function", "function": tool} for tool in TOOLS]}


def tool_call(name, arguments):
    return {"id": "c", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def judged(judge, sample):
    return asyncio.run(judge(sample))


RECORDS = [
    xlam(),
    xlam([{"name": "mail_search", "arguments": {"from_": "Ada", "max_results": 3}}]),
    xlam([{"name": "mail-search", "arguments": {"from": "Ada", "max_results": 3}}]),
    sharegpt(SHOWN),
    sharegpt(ANSWER),
    sharegpt(f"<think>mail-search fits</think>\n\n{SHOWN}"),
    sharegpt(json.dumps([CALL])),
    openai(content=None, tool_calls=[tool_call("mail-search", CALL["arguments"])]),
    openai(content=SHOWN),
]


@pytest.mark.parametrize("record", RECORDS)
def test_calls_under_either_name_are_read_and_judged_as_right(tmp_path, record):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(record))
    [task] = read_tasks(path, strict=True).tasks
    assert task.reference == [CALLABLE]
    [sample] = read_samples(path, strict=True).samples
    for judge in (judge_query_tool, judge_parameters):
        assert judged(judge, sample).outcome == "pass"


def task_read(tmp_path, record):
    path = tmp_path / "read.jsonl"
    path.write_text(json.dumps(record))
    [task] = read_tasks(path, strict=True).tasks
    return task


@pytest.mark.parametrize("form", [form.name for form in FORMS.values() if form.write])
def test_a_converted_record_shows_the_original_names_and_comes_back(tmp_path, form):
    task = task_read(tmp_path, xlam())
    path = tmp_path / f"{form}.jsonl"
    assert convert([task], form, path) == (1, [])
    text = path.read_text()
    assert "mail-search" in text
    assert "Road Length API" in text
    assert "mail_search" not in text
    assert "from_" not in text
    assert read_tasks(path, strict=True).tasks == [task]


def test_what_is_kept_and_exported_shows_the_original_names(tmp_path):
    task = task_read(tmp_path, xlam())
    sample = Sample.of("s", task, ANSWER, "mail-search fits")
    xlam_row, sharegpt_row, table_row = as_xlam(sample), as_sharegpt(sample), row("kept", sample)
    assert json.loads(xlam_row["answers"]) == [CALL]
    assert sharegpt_row["conversations"][1]["value"] == f"<think>mail-search fits</think>\n\n{SHOWN}"
    assert table_row["answer"] == SHOWN
    for made in (xlam_row, sharegpt_row, table_row):
        assert json.loads(made["tools"]) == TOOLS


def test_a_call_of_a_function_that_is_not_offered_is_judged_and_not_refused(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(xlam([{"name": "send-mail", "arguments": {"to-whom": "Ada"}}])))
    [sample] = read_samples(path, strict=True).samples
    assert judged(judge_query_tool, sample).reason == "tools.unknown_function"
    assert json.loads(as_xlam(sample)["answers"]) == [{"name": "send-mail", "arguments": {"to-whom": "Ada"}}]
    path.write_text(json.dumps(xlam([{"name": "mail-search", "arguments": {"from": "Ada", "in-folder": "Ada"}}])))
    [sample] = read_samples(path, strict=True).samples
    assert judged(judge_parameters, sample).reason == "schema.unknown_parameter"


def test_a_server_is_shown_the_original_names_and_its_calls_are_read_back(tmp_path):
    task = task_read(tmp_path, xlam())
    dialogue = task_dialogue(task)
    assert [tool["function"] for tool in dialogue.tools] == TOOLS
    called = ApiMessage(tool_calls=[ToolCall(Function("mail-search", json.dumps(CALL["arguments"])))])
    for message in (called, ApiMessage(SHOWN), ApiMessage(ANSWER)):
        assert Choice(message).written(names=dialogue.names) == ANSWER
    thinking = ApiMessage(f"<think>mail-search(from=1)</think>\n\n{SHOWN}")
    assert Choice(thinking).written(names=dialogue.names) == f"<think>mail-search(from=1)</think>\n\n{ANSWER}"
    assert "mail_search" in str(task_dialogue(task, style="text").messages)


def test_judges_that_are_models_see_one_name_in_tools_and_answer(tmp_path):
    sample = Sample.of("s", task_read(tmp_path, xlam()), ANSWER, "")
    for stage, name, other in [("parameters", "mail-search", "mail_search"), ("format", "mail_search", "mail-search")]:
        shown = dict(case_of(stage, sample).inputs)
        assert name in shown["tools"]
        assert name in shown["answer"]
        assert other not in shown["tools"] + shown["answer"]


def test_a_task_whose_names_can_be_called_has_no_others():
    task = Task.of("t", "q", [], [])
    assert task_dialogue(task).names == {}


def test_a_dialogue_has_one_name_for_a_tool_in_all_its_turns_and_is_written_under_the_original(tmp_path):
    shown = json.dumps(CALL)
    said = [("human", ASKED), ("function_call", shown), ("observation", "none"), ("human", "Again."), ("gpt", SHOWN)]
    record = sharegpt(SHOWN) | {"conversations": [{"from": speaker, "value": text} for speaker, text in said]}
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(record))
    last = read_tasks(path, strict=True).tasks[-1]
    assert (last.messages[1].calls, last.messages[2].name, last.reference) == ((CALLABLE,), CALLABLE.name, [CALLABLE])
    assert [sample.answer for sample in read_samples(path).samples][-1] == ANSWER
    for form in ("openai", "sharegpt", "xlam", "trl"):
        out = tmp_path / form
        assert convert(read_whole(path).records, form, out) == (1, [])
        assert CALLABLE.name not in out.read_text()
        assert read_tasks(out).tasks[-1] == last


def test_a_record_is_read_alike_by_every_process(tmp_path):
    """Resuming compares what it reads with what was read before, so no set's order may show."""
    answers = [{"name": name, "arguments": {"a b": 1, "c-d": 2}} for name in ("one two", "three-four", "five six")]
    record = {"id": "x", "query": "Call them", "tools": [], "answers": answers}
    (tmp_path / "r.jsonl").write_text(json.dumps(record) + "\n")
    code = (
        "import sys, msgspec\nfrom funreason.data.reading import read_samples\n"
        "print(msgspec.json.encode(read_samples(sys.argv[1]).samples).decode())"
    )
    read = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "r.jsonl")],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(1, 5)
    }
    assert len(read) == 1
