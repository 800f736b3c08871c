"""Dialogues and forms of records: every turn is carried, judged where it calls, and what is left is counted."""

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funreason.agents.judges.llm.prompt import case_of
from funreason.calls.thinking import thinking_of
from funreason.calls.tools import ToolsRead
from funreason.cli import main
from funreason.data.forms.known import FORMS
from funreason.data.reading import DataError, read_entries, read_samples, read_tasks, read_whole
from funreason.data.records import ReadTurn, RecordRead
from funreason.data.writers import as_sharegpt, as_xlam, convert, write_records
from funreason.types import Call, Message

CLOCK = {
    "name": "clock",
    "description": "The time in a town.",
    "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
}
OSLO, LIMA = Call("clock", {"town": "Oslo"}), Call("clock", {"town": "Lima"})


def as_json(call):
    return json.dumps({"name": call.name, "arguments": call.arguments})


def asked(call, id="c1"):
    return {"id": id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}


def talk(*turns, name="d1", **more):
    """A share-gpt record of (speaker, text) turns."""
    said = [{"from": speaker, "value": text} for speaker, text in turns]
    return {"id": name, "conversations": said, "tools": json.dumps([CLOCK])} | more


def chat(*messages, name="d1", **more):
    """An OpenAI record."""
    return {"id": name, "messages": list(messages), "tools": [{"type": "function", "function": CLOCK}]} | more


def user(text):
    return {"role": "user", "content": text}


def calling(*calls, **more):
    return {"role": "assistant", "content": None, "tool_calls": [asked(c, f"c{i}") for i, c in enumerate(calls)]} | more


@pytest.fixture
def lines(tmp_path):
    def write(*records, name="in.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return path

    return write


def command(*arguments):
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


TWO_TIMES = talk(
    ("human", "What time is it in Oslo?"),
    ("function_call", as_json(OSLO)),
    ("observation", '{"time": "12:00"}'),
    ("gpt", "It is noon in Oslo."),
    ("human", "And in Lima?"),
    ("function_call", as_json(LIMA)),
    ("observation", '{"time": "6:00"}'),
    ("gpt", "It is six in Lima."),
    system="You know all clocks.",
)


def test_each_turn_that_calls_and_the_last_answer_are_samples_with_what_came_before(lines):
    samples = read_samples(lines(TWO_TIMES), strict=True).samples
    assert [(s.id, s.answer) for s in samples] == [
        ("d1.t1", as_json(OSLO)),
        ("d1.t3", as_json(LIMA)),
        ("d1", "It is six in Lima."),
    ]
    assert [m.role for m in samples[0].task.messages] == ["system", "user"]
    assert samples[2].task.messages == (
        Message("system", "You know all clocks."),
        Message("user", "What time is it in Oslo?"),
        Message("assistant", "", calls=(OSLO,)),
        Message("tool", '{"time": "12:00"}', name="clock"),
        Message("assistant", "It is noon in Oslo."),
        Message("user", "And in Lima?"),
        Message("assistant", "", calls=(LIMA,)),
        Message("tool", '{"time": "6:00"}', name="clock"),
    )


def test_the_last_answer_alone_can_be_asked_for_and_the_others_are_counted(lines):
    reading = read_samples(lines(TWO_TIMES), turns="last")
    assert [sample.id for sample in reading.samples] == ["d1"]
    assert reading.left == {"turns.before_the_last": 2}
    assert "not carried: turns.before_the_last 2" in reading.summary()


def test_tasks_of_a_dialogue_have_the_calls_of_their_own_turn_as_reference(lines):
    tasks = read_tasks(lines(TWO_TIMES)).tasks
    assert [(t.id, t.reference, t.reference_text) for t in tasks] == [
        ("d1.t1", [OSLO], None),
        ("d1.t3", [LIMA], None),
        ("d1", [], "It is six in Lima."),
    ]


@pytest.mark.parametrize(
    "record",
    [
        talk(("human", "Oslo and Lima?"), ("function_call", as_json(OSLO)), ("function_call", as_json(LIMA))),
        talk(("human", "Oslo and Lima?"), ("function_call", f"[{as_json(OSLO)}, {as_json(LIMA)}]")),
        chat(
            user("Oslo and Lima?"),
            {"role": "tool_call", "content": as_json(OSLO)},
            {"role": "tool_call", "content": as_json(LIMA)},
        ),
        chat(user("Oslo and Lima?"), calling(OSLO, LIMA)),
        chat(user("Oslo and Lima?"), calling(OSLO), calling(LIMA)),
    ],
    ids=["two turns", "a list in one turn", "ms-swift", "tool_calls", "two messages"],
)
def test_calls_in_a_row_are_one_answer_with_all_of_them(lines, record):
    [task] = read_tasks(lines(record), strict=True).tasks
    assert (task.query, task.reference) == ("Oslo and Lima?", [OSLO, LIMA])
    [sample] = read_samples(lines(record)).samples
    assert "Oslo" in sample.answer
    assert "Lima" in sample.answer


@pytest.mark.parametrize(
    "record",
    [
        chat(user("Oslo?"), {"role": "assistant", "content": None, "function_call": asked(OSLO)["function"]}),
        chat(user("Oslo?"), {"role": "assistant", "function_call": as_json(OSLO), "content": ""}),
        chat(user("Oslo?"), {"role": "model", "content": "[clock(town='Oslo')]"}),
        chat(
            user("Oslo?"),
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "x", "name": "clock", "input": {"town": "Oslo"}}],
            },
        ),
        chat(
            {"role": "User", "content": [{"type": "text", "text": "Oslo?"}]},
            {"role": "tool_call", "content": as_json(OSLO)},
        ),
        chat({"from": "human", "value": "Oslo?"}, {"from": "gpt", "value": as_json(OSLO)}),
        chat(user("Oslo?"), calling(OSLO), tools=None, functions=[CLOCK]),
        chat(user("Oslo?"), {"role": "tool_call", "content": [{"name": "clock", "arguments": {"town": "Oslo"}}]}),
        talk(("human", "Oslo?"), ("gpt", ""), ("function_call", as_json(OSLO))),
        {"id": "d1", "conversations": [user("Oslo?"), calling(OSLO)], "tools": [CLOCK]},
        {"id": "d1", "prompt": [user("Oslo?")], "completion": [calling(OSLO)], "tools": [CLOCK]},
        {"id": "d1", "prompt": "Oslo?", "completion": as_json(OSLO), "tools": [CLOCK]},
        {
            "id": "d1",
            "chosen": [user("Oslo?"), calling(OSLO)],
            "rejected": [user("Oslo?"), calling(LIMA)],
            "tools": [CLOCK],
        },
        {"id": "d1", "instruction": "Oslo?", "input": "", "output": as_json(OSLO), "tools": [CLOCK]},
    ],
    ids=[
        "function_call",
        "function_call in text",
        "Gemma",
        "Anthropic",
        "ms-swift",
        "from in messages",
        "null tools",
        "a list in a tool_call",
        "an empty turn before the call",
        "role in conversations",
        "TRL",
        "TRL in text",
        "preference",
        "Alpaca",
    ],
)
def test_one_call_in_the_spellings_of_many_programs_is_one_task(lines, record):
    [task] = read_tasks(lines(record), strict=True).tasks
    assert (task.id, task.query, task.reference) == ("d1", "Oslo?", [OSLO])
    assert [tool["name"] for tool in task.tools] == ["clock"]


def test_alpaca_keeps_system_text_and_history(lines):
    record = {
        "instruction": "Tell the time.",
        "input": "Oslo",
        "output": "Noon.",
        "system": "Be brief.",
        "history": [["Hello", "Hello!"]],
        "tools": [CLOCK],
    }
    [task] = read_tasks(lines(record)).tasks
    said = [(message.role, message.content) for message in task.messages]
    assert said == [
        ("system", "Be brief."),
        ("user", "Hello"),
        ("assistant", "Hello!"),
        ("user", "Tell the time.\nOslo"),
    ]


@pytest.mark.parametrize(
    ("mark", "learned"),
    [
        ({"weight": 0}, False),
        ({"weight": 0.0}, False),
        ({"loss": False}, False),
        ({"train": False}, False),
        ({"training": False}, False),
        ({"train_on_turn": False}, False),
        ({"mask": True}, False),
        ({"masked": 1}, False),
        ({"weight": "0"}, False),
        ({"loss": "False"}, False),
        ({"weight": 1}, True),
        ({"loss": True}, True),
        ({"mask": False}, True),
        ({"weight": None}, True),
    ],
)
def test_a_turn_that_is_marked_as_not_to_be_learned_is_no_sample(lines, mark, learned):
    path = lines(chat(user("Oslo?"), calling(LIMA, **mark), user("No, Oslo."), calling(OSLO)))
    reading = read_samples(path)
    assert [s.id for s in reading.samples] == (["d1.t1", "d1"] if learned else ["d1"])
    assert reading.left == ({} if learned else {"turns.not_learned": 1})
    assert reading.samples[-1].task.messages[1].calls == (LIMA,)


def test_a_record_with_nothing_to_learn_is_refused_with_the_reason(lines):
    reading = read_samples(
        lines(chat(user("Oslo?"), calling(OSLO, weight=0)), chat(user("Lima?"), calling(LIMA), name="d2"))
    )
    assert [(r.id, r.reason) for r in reading.refusals] == [("d1", "answer.not_learned")]


def test_a_record_that_ends_in_a_result_has_the_call_before_it_as_its_answer(lines):
    path = lines(
        chat(user("Oslo?"), calling(OSLO), {"role": "tool", "tool_call_id": "c0", "content": "12:00"}),
        talk(("human", "Lima?"), ("function_call", as_json(LIMA)), ("observation", "6:00"), name="d2"),
    )
    reading = read_tasks(path, strict=True)
    assert [(t.id, t.reference) for t in reading.tasks] == [("d1", [OSLO]), ("d2", [LIMA])]
    assert reading.left == {"turns.after_the_answer": 2}


def test_a_dialogue_that_ends_with_the_user_is_a_task_without_a_reference(lines):
    path = lines(chat(user("Oslo?"), calling(OSLO), {"role": "tool", "content": "12:00"}, user("And Lima?")))
    assert [(t.id, t.reference) for t in read_tasks(path).tasks] == [("d1.t1", [OSLO]), ("d1", None)]
    reading = read_samples(path)
    assert ([s.id for s in reading.samples], reading.left) == (["d1.t1"], {"turns.open_end": 1})


def test_results_follow_the_order_of_their_calls_and_have_their_names(lines):
    results = [
        {"role": "tool", "tool_call_id": "c1", "content": "6:00"},
        {"role": "tool", "tool_call_id": "c0", "content": {"t": 12}},
    ]
    path = lines(
        chat(
            user("Oslo and Lima?"),
            calling(OSLO, Call("sun", {"town": "Lima"})),
            *results,
            {"role": "assistant", "content": "Done."},
        )
    )
    task = read_tasks(path).tasks[-1]
    assert task.messages[-2:] == (Message("tool", '{"t": 12}', name="clock"), Message("tool", "6:00", name="sun"))


def test_anthropics_blocks_are_calls_results_and_thinking(lines):
    blocks = [
        {"type": "thinking", "thinking": "They want Oslo.", "signature": "x"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "u1", "name": "clock", "input": {"town": "Oslo"}},
    ]
    result = {"type": "tool_result", "tool_use_id": "u1", "content": [{"type": "text", "text": "12:00"}]}
    path = lines(
        chat(
            user([{"type": "text", "text": "Oslo?"}]),
            {"role": "assistant", "content": blocks},
            user([result, {"type": "text", "text": "Thanks. Lima?"}]),
            calling(LIMA),
            system=[{"type": "text", "text": "Be brief."}],
        )
    )
    assert read_tasks(path, strict=True).tasks[-1].messages == (
        Message("system", "Be brief."),
        Message("user", "Oslo?"),
        Message("assistant", "I look.", "They want Oslo.", (OSLO,)),
        Message("tool", "12:00", name="clock"),
        Message("user", "Thanks. Lima?"),
    )


@pytest.mark.parametrize(
    "more",
    [
        {"reasoning_content": "Oslo is asked."},
        {"reasoning": "Oslo is asked."},
        {"thinking": " Oslo is asked.\n"},
        {"content": "<think>Oslo is asked.</think>\n\n"},
        {"content": [{"type": "thinking", "thinking": "Oslo is asked."}]},
        {"content": [{"type": "reasoning", "text": "Oslo is asked."}, {"type": "text", "text": ""}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": "Oslo is asked."}]},
        {"reasoning_content": "Oslo is asked.", "reasoning": "Oslo is asked."},
    ],
    ids=lambda more: "+".join(more),
)
def test_thinking_is_found_wherever_programs_put_it(lines, more):
    reading = read_samples(lines(chat(user("Oslo?"), calling(OSLO, **more))), strict=True)
    assert (reading.samples[0].thinking, reading.left) == ("Oslo is asked.", {})


def test_a_second_thinking_and_text_beside_calls_are_counted_when_they_have_no_place(lines):
    record = chat(user("Oslo?"), calling(OSLO, content="One moment.", reasoning="It is Oslo.", thinking="It is Lima."))
    reading = read_samples(lines(record))
    assert reading.samples[0].thinking == "It is Oslo."
    assert reading.left == {"messages.thinking": 1, "answer.text_beside_calls": 1}


def test_thinking_of_names_the_places_with_another_thinking():
    assert thinking_of({"content": "<think>a</think>b", "reasoning_content": "", "reasoning": "c"}) == (
        "c",
        ["content.tags"],
    )
    assert thinking_of({"content": "no thinking", "thinking": 3}) == (None, [])


@pytest.mark.parametrize(
    ("record", "reason", "named"),
    [
        (talk(("human", "Oslo?"), ("narrator", "Meanwhile."), ("gpt", "Noon.")), "role.unknown", "narrator"),
        (chat(user([{"type": "image_url", "image_url": {"url": "x"}}]), calling(OSLO)), "content.unknown", "image_url"),
        (
            chat(user("Oslo?"), {"role": "assistant", "content": [{"type": "output_audio"}]}),
            "content.unknown",
            "output_audio",
        ),
        (
            chat(user("Oslo?"), {"role": "assistant", "content": '<tool_call>{"name": "clock"'}),
            ("form.", "json."),
            "cannot be read",
        ),
        (talk(("human", "Oslo?"), ("function_call", "the clock of Oslo")), ("form.", "json."), "cannot be read"),
        (chat(user("Oslo?"), calling(OSLO, content="[clock(town='Lima')]")), "answer.two_calls", "other calls"),
        (
            {"id": "b_0", "question": [[user("Oslo?")], [user("Lima?")]], "function": [CLOCK]},
            "question.several_turns",
            "several turns",
        ),
        (
            {"id": "b_0", "question": [[user("Oslo?")]], "involved_classes": ["Clock"]},
            "question.several_turns",
            "several turns",
        ),
        (
            {"id": "g", "system": "Functions: …", "chat": "USER: Oslo?"},
            "record.unknown_format",
            "known forms are sharegpt",
        ),
        ({"id": "r", "input": [user("Oslo?")], "tools": []}, "record.unknown_format", "alpaca"),
    ],
)
def test_what_is_not_read_refuses_the_record_by_name(lines, record, reason, named):
    path = lines(talk(("human", "Lima?"), ("function_call", as_json(LIMA)), name="good"), record)
    [refusal] = read_tasks(path).refusals
    assert refusal.reason.startswith(reason)
    assert named in refusal.message


def test_keys_that_are_not_carried_are_counted_by_name_and_empty_ones_are_not(lines, capsys, tmp_path):
    record = chat(
        user("Oslo?"),
        calling(OSLO, annotations=[], audio=None, logprobs=[1]),
        tool_choice="auto",
        parallel_tool_calls=True,
        metadata={"a": 1},
        extra=None,
        category={"a": 1},
    )
    path = lines(record, record | {"id": "d2"})
    left = {"messages.logprobs": 2, "tool_choice": 2, "parallel_tool_calls": 2, "metadata": 2, "category": 2}
    assert read_tasks(path).left == read_samples(path).left == read_whole(path).left == left
    assert command("convert", path, "--format", "openai", "--out", tmp_path / "out.jsonl") == 0
    assert "not carried: messages.logprobs 2, tool_choice 2" in capsys.readouterr().out
    assert command("refine", path, "--out", tmp_path / "out") == 0
    assert "tool_choice" in capsys.readouterr().out.partition("accounted")[2]


def test_tools_that_only_a_text_describes_are_not_passed_over_in_silence(lines):
    system = 'Functions: <tools>[{"name": "clock"}]</tools>'
    reading = read_samples(
        lines(
            {
                "system": system,
                "conversations": [{"from": "human", "value": "Oslo?"}, {"from": "gpt", "value": as_json(OSLO)}],
            }
        )
    )
    assert reading.left == {"tools.in_text": 1}


def test_a_second_record_of_an_id_is_kept_under_another_unless_it_is_a_copy(lines):
    other = chat(user("Lima?"), calling(LIMA))
    turns = chat(user("Oslo?"), calling(OSLO), user("Lima?"), calling(LIMA), name="d3")
    path = lines(chat(user("Oslo?"), calling(OSLO)), other, other, turns, chat(user("Hi"), calling(OSLO), name="d3.t1"))
    reading = read_tasks(path)
    assert [task.id for task in reading.tasks] == ["d1", "d1.r2", "d3.t1", "d3", "d3.t1.r2"]
    assert ([r.reason for r in reading.refusals], reading.left) == (["id.duplicate"], {"id.repeated": 2})


def test_answers_of_bfcl_under_other_ids_refuse_their_questions_with_file_line_and_both_ids(lines, tmp_path):
    (tmp_path / "possible_answer").mkdir()
    name = "BFCL_v4_simple_python.json"
    lines({"id": "simple_python__0", "ground_truth": [{"clock": {"town": ["Oslo"]}}]}, name=f"possible_answer/{name}")
    path = lines({"id": "simple_python_0", "question": [[user("Oslo?")]], "function": [CLOCK]}, name=name)
    with pytest.raises(
        DataError, match=r"answers\.other_id.*'simple_python_0'.*possible_answer.*line 1.*'simple_python__0'"
    ):
        read_tasks(path)


def test_a_bfcl_question_beyond_the_last_answer_is_refused_as_such(lines, tmp_path):
    (tmp_path / "possible_answer").mkdir()
    lines({"id": "simple_python_0", "ground_truth": [{"clock": {"town": ["Oslo"]}}]}, name="possible_answer/q.json")
    asked_twice = [{"id": f"simple_python_{i}", "question": [[user("Oslo?")]], "function": [CLOCK]} for i in (0, 1)]
    (refusal,) = read_tasks(lines(*asked_twice, name="q.json")).refusals
    assert refusal.reason == "answers.other_id"
    assert "it has fewer answers than there are questions" in refusal.message


def test_a_bfcl_question_may_be_a_text_and_its_answer_hold_objects_in_a_list(lines, tmp_path):
    (tmp_path / "possible_answer").mkdir()
    stops = [[{"town": ["Oslo", "oslo"], "day": [""]}, {"town": ["Lima"]}]]
    lines({"id": "simple_python_0", "ground_truth": [{"clock": {"stops": stops}}]}, name="possible_answer/q.json")
    (task,) = read_tasks(
        lines({"id": "simple_python_0", "question": ["Oslo, then Lima?"], "function": [CLOCK]}, name="q.json")
    ).tasks
    assert task.query == "Oslo, then Lima?"
    assert task.reference == [Call("clock", {"stops": [{"town": "Oslo"}, {"town": "Lima"}]})]


def test_other_possible_answers_than_the_first_are_counted(lines, tmp_path):
    (tmp_path / "possible_answer").mkdir()
    lines(
        {"id": "simple_python_0", "ground_truth": [{"clock": {"town": ["Oslo", "oslo"]}}]},
        name="possible_answer/q.json",
    )
    reading = read_tasks(
        lines({"id": "simple_python_0", "question": [[user("Oslo?")]], "function": [CLOCK]}, name="q.json")
    )
    assert (reading.tasks[0].reference, reading.left) == ([OSLO], {"ground_truth.alternatives": 1})


def test_refined_files_hold_the_turns_before_each_answer(lines, tmp_path):
    samples = read_samples(lines(TWO_TIMES)).samples
    for write, name in ((as_sharegpt, "s.jsonl"), (as_xlam, "x.jsonl")):
        write_records(tmp_path / name, map(write, samples))
        back = {task.id: task for task in read_tasks(tmp_path / name, strict=True).tasks}
        assert len(back) == len(samples)
        assert [back[sample.id].messages for sample in samples] == [sample.task.messages for sample in samples]
        assert [back[s.id].reference for s in samples] == [[OSLO], [LIMA], []]


def test_a_dialogue_is_judged_turn_by_turn_and_its_system_text_supports_values(lines, tmp_path, capsys):
    wrong = talk(
        ("human", "Oslo?"),
        ("function_call", '{"name": "klock", "arguments": {}}'),
        ("observation", "?"),
        ("gpt", "No."),
        name="d2",
    )
    home = chat(
        {"role": "system", "content": "The user lives in Oslo."}, user("The time at home?"), calling(OSLO), name="d3"
    )
    invented = chat(user("The time at home?"), calling(OSLO), name="d4")
    assert command("refine", lines(TWO_TIMES, wrong, home, invented), "--out", tmp_path / "out") == 0
    kept = {r["id"] for r in json.loads((tmp_path / "out" / "refined-sharegpt.json").read_text())}
    assert kept == {"d1.t1", "d1.t3", "d1", "d2", "d3"}
    said = capsys.readouterr().out
    assert "tools.unknown_function" in said
    assert "query.ungrounded_value" in said


def test_a_later_turn_of_a_dialogue_is_no_case_of_a_suite(lines, tmp_path, capsys):
    assert command("bfcl", "make", lines(TWO_TIMES), "--out", tmp_path / "suite") == 0
    questions = [
        json.loads(line) for file in (tmp_path / "suite").glob("*.json") for line in file.read_text().splitlines()
    ]
    assert [q["task_id"] for q in questions] == ["d1.t1"]
    assert questions[0]["question"] == [
        [{"role": "system", "content": "You know all clocks."}, user("What time is it in Oslo?")]
    ]
    assert "2 left out, they come after calls" in capsys.readouterr().out


def test_what_a_call_says_beside_its_text_is_kept_whole_by_convert(lines, tmp_path):
    path = lines(
        talk(
            ("human", "Oslo?"),
            ("gpt", "I look."),
            ("function_call", f"<think>Oslo it is.</think>{as_json(OSLO)}"),
            ("observation", "12:00"),
            ("gpt", "Noon."),
        ),
        chat(
            user("Oslo?"),
            calling(OSLO, content="I look.", reasoning="Oslo it is."),
            {"role": "tool", "content": "12:00"},
            {"role": "assistant", "content": "Noon.", "weight": 0},
            user("Lima?"),
            calling(LIMA),
            name="d2",
        ),
    )
    first, second = read_whole(path).records
    assert [turn.message for turn in first.turns] == [
        Message("user", "Oslo?"),
        Message("assistant", "I look.", "Oslo it is.", (OSLO,)),
        Message("tool", "12:00", name="clock"),
        Message("assistant", "Noon."),
    ]
    for form in ("sharegpt", "openai", "xlam", "trl"):
        assert convert([first, second], form, tmp_path / form) == (2, [])
        back = read_whole(tmp_path / form).records
        assert [[t.resolved(ToolsRead([CLOCK], {}, ())).message for t in record.turns] for record in back] == [
            [t.message for t in record.turns] for record in (first, second)
        ]
        assert [t.trained for t in back[1].turns] == [t.trained for t in second.turns]


def test_convert_names_what_a_form_has_no_place_for(lines, tmp_path):
    ends_in_result = chat(user("Oslo?"), calling(OSLO), {"role": "tool", "content": "12:00"})
    unread = chat(user("Oslo?"), {"role": "assistant", "content": "[clock(town="}, name="d2")
    written, rejected = convert(read_whole(lines(ends_in_result, unread)).records, "xlam", tmp_path / "x")
    assert (written, [refusal.id for refusal in rejected]) == (0, ["d1", "d2"])
    assert rejected[0].reason == "convert.no_place"
    assert not rejected[1].reason.startswith("convert.")


text = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=15).map(str.strip)
words = st.from_regex(r"[A-Z][a-z]{1,6}( [a-z]{1,6}){0,3}\.", fullmatch=True)
calls = st.builds(
    Call,
    st.sampled_from(["clock", "sun.rise"]),
    st.dictionaries(st.sampled_from(["town", "day"]), text | st.integers(-9, 9), max_size=2),
)
thoughts = st.none() | words
answers = st.builds(lambda said, thought: Message("assistant", said, thought), words, thoughts)


@st.composite
def dialogues(draw):
    """A record with a conversation as files hold them: questions, calls with results, answers in words, in order."""
    turns = [ReadTurn(Message("system", draw(words)), known=True)] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        turns.append(ReadTurn(Message("user", draw(words)), known=True))
        for _ in range(draw(st.integers(0, 2))):
            called = tuple(draw(st.lists(calls, min_size=1, max_size=2)))
            said = Message("assistant", draw(st.just("") | words), draw(thoughts), called)
            turns.append(ReadTurn(said, trained=draw(st.booleans()), known=True))
            turns += [ReadTurn(Message("tool", draw(text), name=call.name), known=True) for call in called]
        turns.append(ReadTurn(draw(answers), trained=draw(st.booleans()), known=True))
    if draw(st.booleans()):
        turns.append(ReadTurn(Message("user", draw(words)), known=True))
    return RecordRead("d1", tuple(turns), [CLOCK], draw(st.sampled_from(["", "simple"])))


@pytest.mark.parametrize("form", ["sharegpt", "openai", "xlam", "trl"])
@given(record=dialogues())
@settings(max_examples=60, deadline=None)
def test_any_dialogue_written_in_a_form_is_read_back_equal(form, record, tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "data.jsonl"
    written, rejected = convert([record], form, path)
    if form == "xlam" and not record.is_open and not record.turns[-1].trained:
        assert [refusal.reason for refusal in rejected] == ["convert.no_place"]
        return
    assert (written, rejected) == (1, [])
    [again] = read_whole(path).records
    assert [t.resolved(ToolsRead([CLOCK], {}, ())).message for t in again.turns] == [t.message for t in record.turns]
    assert [t.trained for t in again.turns if t.message.role == "assistant"] == [
        t.trained for t in record.turns if t.message.role == "assistant"
    ]
    assert again.left == ()


def test_the_table_of_forms_names_each_form_once_with_its_keys():
    assert set(FORMS) == {"sharegpt", "openai", "bfcl", "xlam", "trl", "alpaca"}
    assert all(form.keys and form.serves and form.carries for form in FORMS.values())


def test_a_key_that_a_table_filled_with_null_hides_no_other(lines):
    filled = {"conversations": None, "query": None, "prompt": None, "question": None, "function": None}
    message = {"from": None, "value": None, "tool_calls": None, "function_call": None, "weight": None, "name": None}
    record = chat(message | user("Oslo?"), message | calling(OSLO), **filled)
    reading = read_tasks(lines(record), strict=True)
    assert ([task.reference for task in reading.tasks], reading.left) == ([[OSLO]], {})


def test_a_tools_property_filled_with_null_says_that_the_nulls_of_its_calls_are_filled_too(lines):
    schema = {"type": "object", "properties": {"town": {"type": "string"}, "hour": {"type": "integer"}}}
    table = schema | {"properties": schema["properties"] | {"day": None}}
    call = {"name": "clock", "arguments": {"town": "Oslo", "hour": None}}

    def arguments(parameters):
        record = {"id": "a", "query": "Oslo?", "answers": [call], "tools": [CLOCK | {"parameters": parameters}]}
        return read_tasks(lines(record)).tasks[0].reference[0].arguments

    assert arguments(table) == {"town": "Oslo"}
    assert arguments(schema) == {"town": "Oslo", "hour": None}


@pytest.mark.parametrize("beside", [{}, {"conversations": None}, {"conversations": []}])
def test_a_dialogue_may_be_called_conversation_where_conversations_holds_none(lines, beside):
    record = talk(("human", "Oslo?"), ("gpt", "[clock(town='Oslo')]"))
    said = record.pop("conversations")
    assert read_tasks(lines(record | {"conversation": said} | beside)).tasks[0].reference == [OSLO]
    both = record | {"conversations": said, "conversation": "the second of May"}
    assert read_tasks(lines(both)).tasks[0].reference == [OSLO]


def test_tools_are_written_in_their_own_script(lines, tmp_path):
    record = talk(("human", "Oslo?"), ("gpt", "[clock(town='Oslo')]"), tools=[CLOCK | {"description": "时间"}])
    convert(read_whole(lines(record)).records, "sharegpt", tmp_path / "out.json")
    assert "时间" in (tmp_path / "out.json").read_text()


@pytest.mark.parametrize(
    ("text", "beside"),
    [
        (f"I look.\n<tool_call>{as_json(OSLO)}</tool_call>", "I look."),
        (f"I look.\n\n```json\n{as_json(OSLO)}\n```", "I look."),
        (f"<think>Oslo it is.</think>I look. <tool_call>{as_json(OSLO)}</tool_call> Wait.", "I look.\nWait."),
        (f"<tool_call>{as_json(OSLO)}</tool_call>", ""),
        ("[clock(town='Oslo')]", ""),
    ],
)
def test_the_words_around_an_earlier_call_are_kept_beside_it(lines, text, beside):
    task = read_tasks(lines(talk(("human", "Oslo?"), ("gpt", text), ("observation", "12:00"), ("gpt", "Noon.")))).tasks[
        -1
    ]
    assert (task.messages[1].content, task.messages[1].calls) == (beside, (OSLO,))
    assert task.messages[2].name == "clock"


def test_a_dialogue_is_shown_to_a_language_model_that_judges_it(lines):
    sample = read_samples(lines(TWO_TIMES)).samples[1]
    [query] = [text for name, text in case_of("query_tool", sample).inputs if name == "query"]
    assert query == sample.task.transcript
    assert query.splitlines() == [
        "system: You know all clocks.",
        "user: What time is it in Oslo?",
        "assistant: clock(town='Oslo')",
        'tool clock: {"time": "12:00"}',
        "assistant: It is noon in Oslo.",
        "user: And in Lima?",
    ]


part = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["text", "text", "thinking", "tool_use", "tool_result", "redacted_thinking", "image_url"]
        )
    },
    optional={
        "text": st.sampled_from(["Oslo?", "", None]),
        "thinking": st.sampled_from(["Hm.", None]),
        "name": st.just("clock"),
        "id": st.sampled_from(["c1", 1]),
        "input": st.sampled_from([{"town": "Oslo"}, None, "{}"]),
        "tool_use_id": st.sampled_from(["c1", "b", 2]),
        "content": st.sampled_from(["12:00", None, [], [{"type": "text", "text": "12:00"}], {"t": 12}]),
    },
)
texts = [
    "Oslo?",
    "[clock(town='Oslo')]",
    as_json(LIMA),
    "[clock(",
    "<think>Hm.",
    "<think>Hm.</think>No.",
    "",
    "[]",
    None,
]
content = st.sampled_from([*texts, *texts, 3, {}, [{"name": "clock"}]]) | st.lists(part, max_size=2)
called = [[asked(OSLO)], [asked(OSLO, 7), asked(LIMA)], [], None, json.dumps([asked(LIMA)]), [3], 3]
more = {
    "tool_calls": st.sampled_from(called),
    "function_call": st.sampled_from([None, {"name": "clock", "arguments": "{}"}, "clock", 3]),
    "reasoning": st.sampled_from(["Hm.", None]),
    "thinking": st.sampled_from(["No.", None, 3]),
    "tool_call_id": st.sampled_from(["c1", 7, None]),
    "name": st.sampled_from(["clock", None, 3]),
    "weight": st.sampled_from([0, 1, "0", None, []]),
    "refusal": st.sampled_from(["No.", None]),
}
roles = st.sampled_from(["user", "assistant", "assistant", "tool", "system", "tool_call", "Model", "observation"])
role_first = st.fixed_dictionaries({"role": roles, "content": content}, optional=more)
speakers = st.sampled_from(["human", "gpt", "gpt", "function_call", "function_call", "observation", "elf"])
from_first = st.fixed_dictionaries({"from": speakers, "value": content}, optional=more)
begun = st.lists(role_first | from_first, max_size=4).map(lambda rest: [user("Oslo?"), *rest])
messages = begun | st.sampled_from([None, "", "Oslo?", "[]", {}, [], [3]])
record = st.fixed_dictionaries(
    {"tools": st.sampled_from([[CLOCK], [CLOCK], None, "", [3]])},
    optional={"label": st.sampled_from([True, False, None, "no"]), "id": st.sampled_from(["a", 1, None, "a.t1"])}
    | dict.fromkeys(["system", "output", "answers"], content),
).flatmap(
    lambda rest: st.one_of(
        *(st.fixed_dictionaries({key: begun}) for key in ("messages", "conversations", "prompt", "chosen")),
        *(
            st.fixed_dictionaries({key: messages, "query": content, "prompt": content})
            for key in ("history", "completion")
        ),
    ).map(lambda first: first | rest)
)


@given(st.lists(record, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_no_record_with_messages_makes_a_reader_raise(tmp_path_factory, records):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    entries = list(read_entries(path))
    assert [entry.line for entry in entries] == list(range(1, len(records) + 1))
    for read in (read_tasks, read_samples, read_whole):
        with suppress(DataError):
            read(path)
    for form in ("sharegpt", "openai", "xlam", "trl"):
        convert([entry.read for entry in entries if entry.read is not None], form, path.with_suffix(".out"))


@st.composite
def marked_messages(draw):
    """Messages each of whose texts, values and keys holds a word of its own, and these words."""
    found, words = [], []

    def word():
        words.append(f"word{len(words)}x")
        return words[-1]

    for _ in range(draw(st.integers(1, 6))):
        role = draw(st.sampled_from(["system", "user", "assistant", "tool", "observation", "developer"]))
        one = {"role": role, "content": word()}
        if role == "assistant":
            for key in draw(st.sets(st.sampled_from(["reasoning", "thinking", "tool_calls", "tags", "extra"]))):
                if key == "tool_calls":
                    one[key] = [asked(Call("clock", {"town": word()})) for _ in range(draw(st.integers(1, 2)))]
                elif key == "tags":
                    one["content"] = f"<think>{word()}</think>{one['content']}"
                else:
                    one[key] = word()
        found.append(one)
    return [user("Oslo?"), *found], words


@given(marked_messages(), st.sampled_from(["messages", "conversations", "prompt", "chosen"]))
@settings(max_examples=150, deadline=None)
def test_nothing_that_a_message_holds_is_lost_without_being_counted(tmp_path_factory, marked, key):
    found, words = marked
    path = tmp_path_factory.getbasetemp() / "marked.jsonl"
    path.write_text(json.dumps({"id": "a", key: found, "rejected": None, "tools": [CLOCK]}))
    [read] = read_whole(path).records
    carried = msgspec.json.encode([turn.message for turn in read.turns]).decode()
    lost = [name for name in words if name not in carried]
    assert len(lost) == len([code for code in read.left if code.startswith("messages.")])
    assert sum(message["role"] == "assistant" for message in found) >= sum(
        t.message.role == "assistant" for t in read.turns
    )
    for form in ("sharegpt", "openai", "trl"):
        written, rejected = convert([read], form, path.with_suffix(".out"))
        assert written or rejected[0].reason == "convert.no_place"
        if written:
            assert all(name in path.with_suffix(".out").read_text() for name in words if name not in lost)


def test_what_a_call_or_a_part_has_beside_its_own_keys_is_counted(lines):
    part = {"type": "text", "text": "Oslo?", "cache_control": {"type": "ephemeral"}}
    call = asked(OSLO) | {"extra_content": {"google": 1}}
    call["function"]["strict"] = True
    hidden = [{"type": "reasoning.encrypted", "data": "x"}]
    message = {"role": "assistant", "tool_calls": [call], "reasoning_details": hidden}
    xlam = {"id": "x", "query": "Oslo?", "tools": [CLOCK]}
    path = lines(
        chat(user([part]), message),
        xlam | {"answers": json.dumps([{"name": "clock", "arguments": {"town": "Oslo"}, "result": "12:00"}])},
    )
    reading = read_tasks(path, strict=True)
    assert [task.reference for task in reading.tasks] == [[OSLO], [OSLO]]
    assert reading.left == {
        "content.cache_control": 1,
        "tool_calls.extra_content": 1,
        "tool_calls.strict": 1,
        "messages.reasoning_details": 1,
        "answers.result": 1,
    }


def test_a_message_before_a_call_is_spoken_and_no_thinking(lines):
    """Stage 3 would blame it for not naming the function."""
    path = lines(talk(("human", "Oslo?"), ("gpt", "I look it up."), ("function_call", as_json(OSLO))))
    reading = read_samples(path)
    assert [sample.thinking for sample in reading.samples] == [None]
    assert reading.left == {"answer.text_beside_calls": 1}
