"""Records in another form: what is written comes back as it was, and what would not is rejected and counted."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funreason.calls.names import callable_task
from funreason.cli import main
from funreason.data.forms.known import FORMS
from funreason.data.reading import read_tasks
from funreason.data.writers import convert
from funreason.types import Call, Task

WRITTEN = [form.name for form in FORMS.values() if form.write is not None]
TOOL = {
    "name": "shop.order",
    "description": "Orders.",
    "parameters": {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]},
}
words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=20)
said = words.map(str.strip).filter(bool)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
names = st.from_regex(r"[a-z][a-z0-9]{0,6}(\.[a-z][a-z0-9]{0,6})?", fullmatch=True)
calls = st.builds(
    Call, name=names, arguments=st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), values, max_size=3)
)


def command(*arguments: object) -> object:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


@st.composite
def tasks(draw):
    reference = draw(st.none() | st.lists(calls, min_size=1, max_size=3) | st.just([]))
    return Task.of(
        id=draw(st.from_regex(r"[a-z0-9_/-]{1,12}", fullmatch=True)),
        query=draw(said),
        tools=[TOOL],
        reference=reference,
        reference_text=draw(said) if reference == [] else None,
        reference_thinking=draw(st.none() | said) if reference is not None else None,
        category=draw(st.sampled_from(["", "simple"])),
    )


@pytest.mark.parametrize("form", WRITTEN)
@given(task=tasks())
@settings(max_examples=60, deadline=None)
def test_a_record_comes_back_from_every_form_as_it_was_or_is_rejected_with_a_reason(form, task, tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "data.jsonl"
    written, rejected = convert([task], form, path)
    assert written + len(rejected) == 1
    if written:
        (again,) = read_tasks(path).tasks
        assert again == callable_task(task)
    else:
        assert rejected[0].id == task.id
        assert rejected[0].reason.startswith(("convert.", "query.", "answers.", "tool_calls."))


@pytest.mark.parametrize("form", WRITTEN)
def test_ordinary_records_are_never_rejected(form, tmp_path):
    known = Task.of(
        "a",
        "Two tins of tea",
        [TOOL],
        [Call("shop.order", {"what": "tea", "n": 2})],
        reference_thinking="They want tea.",
    )
    refusal = Task.of("b", "Sing", [TOOL], [], reference_text="I cannot sing.")
    unknown = Task.of("c", "Order", [TOOL])
    path = tmp_path / "out.jsonl"
    assert convert([known, refusal, unknown], form, path) == (3, [])
    assert read_tasks(path).tasks == [known, refusal, unknown]


def test_a_call_that_strict_form_cannot_write_is_rejected_by_name(tmp_path):
    task = Task.of("a", "Go", [TOOL], [Call("7up", {})])
    written, (rejected,) = convert([task], "sharegpt", tmp_path / "out.jsonl")
    assert (written, rejected.id, rejected.reason) == (0, "a", "convert.not_writable")
    assert "7up" in rejected.message


def test_bfcl_keeps_query_tools_and_calls(tmp_path, capsys):
    task = Task.of("a", "Two tins of tea", [TOOL], [Call("shop.order", {"what": "tea"})])
    source = tmp_path / "in.jsonl"
    convert([task, Task.of("b", "No answer known", [TOOL])], "xlam", source)
    assert command("convert", source, "--format", "bfcl", "--out", tmp_path / "suite") == 0
    (again,) = read_tasks(tmp_path / "suite" / "USER_simple_python.json").tasks
    assert (again.query, again.tools, again.reference) == (task.query, task.tools, task.reference)
    assert "1 records written" in capsys.readouterr().out


def test_real_records_go_round_through_three_forms(shared_data, tmp_path):
    first = read_tasks(shared_data / "real" / "open-dev.jsonl.gz").tasks[:400]
    path, here = tmp_path / "0.jsonl", first
    for step, form in enumerate(("openai", "sharegpt", "xlam")):
        path = tmp_path / f"{step}.jsonl"
        written, rejected = convert(here, form, path)
        gone = {refusal.id for refusal in rejected}
        here = [task for task in here if task.id not in gone]
        assert written == len(here) > 350
        assert [(t.id, t.query, t.reference) for t in read_tasks(path).tasks] == [
            (t.id, t.query, t.reference) for t in here
        ]


def test_a_place_that_is_taken_is_not_written_over(tmp_path, capsys):
    taken = tmp_path / "out.jsonl"
    taken.write_text(json.dumps({"precious": 1}))
    source = tmp_path / "in.jsonl"
    convert([Task.of("a", "Go", [TOOL])], "xlam", source)
    assert command("convert", source, "--format", "openai", "--out", taken) == 2
    assert json.loads(taken.read_text()) == {"precious": 1}
    assert "fresh path" in capsys.readouterr().err


SYSTEM = "Always answer in JSON. Today is 2025-01-01."


@pytest.mark.parametrize("form", ["xlam", "sharegpt", "openai", "trl"])
def test_system_text_and_the_calls_turn_are_carried_to_every_form(form, tmp_path):
    tool = {"name": "add", "description": "adds", "parameters": {"type": "object", "properties": {"a": {}, "b": {}}}}
    call = {"name": "add", "arguments": {"a": 3, "b": 7}}
    talk = [("human", "Add 3 and 7."), ("function_call", json.dumps(call)), ("observation", "10"), ("gpt", "It is 10.")]
    conversations = [{"from": who, "value": said} for who, said in talk]
    record = {"id": "r", "conversations": conversations, "system": SYSTEM, "tools": json.dumps([tool])}
    (tmp_path / "in.jsonl").write_text(json.dumps(record) + "\n")
    assert command("convert", tmp_path / "in.jsonl", "--format", form, "--out", tmp_path / "out.jsonl") == 0
    before, after = (read_tasks(tmp_path / name).tasks for name in ("in.jsonl", "out.jsonl"))
    assert [(task.messages, task.reference) for task in before] == [(task.messages, task.reference) for task in after]
    assert before[0].messages[0].content == SYSTEM
    assert Call("add", {"a": 3, "b": 7}) in (before[0].reference or ())
