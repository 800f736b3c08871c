"""Thinking by template for references that have none."""

import msgspec

from funreason.agents.judges.rules.cot_check import thinking_problem
from funreason.data.rationales import FLAG, with_template_thinking
from funreason.data.reading import read_tasks
from funreason.data.toolbox import generate
from funreason.types import Call, Task

TOOL = {
    "name": "get_weather",
    "description": "The weather of a place. It is free.",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"type": "string", "default": "C"},
            "days": {"type": "integer"},
        },
        "required": ["city"],
    },
}


def bare(task: Task) -> Task:
    return msgspec.structs.replace(task, reference_thinking=None)


def test_a_rationale_names_the_function_what_it_is_for_and_where_values_come_from():
    call = Call("get_weather", {"city": "Bonn", "unit": "C", "days": 2})
    found = with_template_thinking(Task.of("a", "Will it rain in Bonn tomorrow?", [TOOL], [call]))
    thinking = found.reference_thinking
    assert "get_weather" in thinking
    assert "The weather of a place" in thinking
    assert "From the request: city is Bonn" in thinking
    assert "unit keeps its default, C; days becomes 2" in thinking
    assert FLAG in found.flags


def test_a_reference_with_thinking_or_without_an_answer_stays_as_it_is():
    kept = Task.of("a", "Rain?", [TOOL], [Call("get_weather", {"city": "Bonn"})], reference_thinking="I think.")
    unknown = Task.of("b", "Rain?", [TOOL])
    assert with_template_thinking(kept) is kept
    assert with_template_thinking(unknown) is unknown


def test_a_refusal_names_the_functions_it_looked_at():
    found = with_template_thinking(Task.of("a", "Sing!", [TOOL], [], reference_text="I cannot sing."))
    assert "get_weather" in found.reference_thinking


def test_stage_3_accepts_the_rationale_of_every_toolbox_reference():
    for task in map(bare, generate("new_warmup", 200, 3)):
        thought = with_template_thinking(task)
        assert thinking_problem(thought.reference_thinking, thought.reference, thought.tools) is None, task.id


def test_stage_3_accepts_nearly_every_rationale_of_real_records(shared_data):
    tasks = [task for task in read_tasks(shared_data / "real" / "open-dev.jsonl.gz").tasks if task.reference][:600]
    problems = [
        problem
        for task in map(with_template_thinking, map(bare, tasks))
        if (problem := thinking_problem(task.reference_thinking or "", task.reference or [], task.tools))
    ]
    assert len(tasks) > 100
    assert len(problems) <= 0.02 * len(tasks), problems[:5]
