"""Canaries: samples known to be good or bad, made from references, to measure how often a judge errs.

A good one is the reference's own answer, with its thinking or a plain one. A bad one is a good one with a fault that
its stage ought to find. Which tasks are used, and with which faults, depends on the seed, the round and the task alone.
No canary is ever kept, counted among the samples, or trained on: only judges see them.

A fault is a function of a good sample, of another good one, the donor, that calls none of its functions (None where
there is none), and of the form in which calls are written; it returns None where the fault cannot be made. What stage 2
judges is changed in the tools, not in the answer, since a model as judge is not shown the answer there.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from funreason.agents.references import reference_sample
from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.calls.compare import same_calls
from funreason.calls.dialects.json_text import JSON
from funreason.calls.render import CallRenderError, render_call
from funreason.calls.schema import parameter_schema, tool_named
from funreason.types import Call, Outcome, Sample, Task, changed

Fault = Callable[[Sample, Sample | None, CallFormat], Sample | None]
APOLOGIES = (
    "I am sorry, but I cannot help with that.",
    "I have taken care of it. Is there anything else I can do for you?",
    "Could you tell me a little more about what you need?",
)


def text_for_call(sample: Sample, donor: Sample | None, form: CallFormat) -> Sample | None:
    """Ordinary text where a call is due."""
    return changed(sample, answer=APOLOGIES[len(sample.task.query) % len(APOLOGIES)])


def cut_off(sample: Sample, donor: Sample | None, form: CallFormat) -> Sample | None:
    """The call, broken off in its middle."""
    return changed(sample, answer=sample.answer[: len(sample.answer) // 2], truncated=True)


def tool_removed(sample: Sample, donor: Sample | None, form: CallFormat) -> Sample | None:
    """The called functions are not offered."""
    return _offered(sample, _without(sample.task.tools, sample))


def foreign_tools(sample: Sample, donor: Sample | None, form: CallFormat) -> Sample | None:
    """Another task's tools are offered in their place."""
    return None if donor is None else _offered(sample, _without(donor.task.tools, sample))


def other_function(sample: Sample, donor: Sample | None, form: CallFormat) -> Sample | None:
    """The thinking names another function than the answer calls."""
    thinking, others = sample.thinking or "", _reference(donor)
    for call in _reference(sample) if others else ():
        thinking = thinking.replace(call.name, others[0].name)
    return changed(sample, thinking=thinking) if thinking != sample.thinking else None


def foreign_thinking(sample: Sample, donor: Sample | None, form: CallFormat) -> Sample | None:
    """The thinking of another task."""
    return None if donor is None else changed(sample, thinking=donor.thinking)


def wrong_value(sample: Sample, donor: Sample | None, form: CallFormat) -> Sample | None:
    """One value is another of the same type."""
    call = _reference(sample)[0]
    tool = tool_named(sample.task.tools, call.name)
    for name, value in call.arguments.items():
        other = _other_value(value, parameter_schema(tool, name), donor)
        found = None if other is None else _with_arguments(sample, {**call.arguments, name: other}, form)
        if found is not None:
            return found
    return None


def missing_required(sample: Sample, donor: Sample | None, form: CallFormat) -> Sample | None:
    """A required parameter is left out."""
    call = _reference(sample)[0]
    tool = tool_named(sample.task.tools, call.name)
    required = [name for name in (tool["parameters"]["required"] if tool else ()) if name in call.arguments]
    if not required:
        return None
    rest = {name: value for name, value in call.arguments.items() if name != required[-1]}
    return _with_arguments(sample, rest, form)


def unknown_parameter(sample: Sample, donor: Sample | None, form: CallFormat) -> Sample | None:
    """A parameter that the function does not have."""
    call = _reference(sample)[0]
    tool = tool_named(sample.task.tools, call.name)
    properties = tool["parameters"]["properties"] if tool else {}
    name = next((f"{name}_2" for name in call.arguments if f"{name}_2" not in properties), None)
    if name is None:
        return None
    return _with_arguments(sample, {**call.arguments, name: call.arguments[name.removesuffix("_2")]}, form)


def spaces_in_name(sample: Sample, donor: Sample | None, form: CallFormat) -> Sample | None:
    """`get weather(…)` for `get_weather(…)`; elsewhere than in Python's syntax that would be another name."""
    if not form.pythonic:
        return None
    answer = sample.answer
    for call in _reference(sample):
        answer = answer.replace(f"{call.name}(", call.name.replace("_", " ").replace(".", " ") + "(")
    return changed(sample, answer=answer) if answer != sample.answer else None


def as_json(sample: Sample, donor: Sample | None, form: CallFormat) -> Sample | None:
    """The calls as JSON; where the model is taught JSON, as Python writes them."""
    other = PYTHONIC if form.name == JSON.name else CallFormat(JSON)
    try:
        return changed(sample, answer=other.render(_reference(sample), sample.task.tools))
    except CallRenderError:
        return None


def prose_around(sample: Sample, donor: Sample | None, form: CallFormat) -> Sample | None:
    """The calls after a sentence."""
    return changed(sample, answer=f"Here is the call you need: {sample.answer}")


FAULTS: dict[str, tuple[Fault, ...]] = {
    "response": (text_for_call, cut_off),
    "query_tool": (tool_removed, foreign_tools),
    "cot": (other_function, foreign_thinking),
    "parameters": (wrong_value, missing_required, unknown_parameter),
    "format": (spaces_in_name, as_json, prose_around),
    "panel": (wrong_value, missing_required, unknown_parameter),
}
"""By the stage that ought to refuse it. Every earlier stage ought to pass it."""


def _reference(sample: Sample | None) -> Sequence[Call]:
    return (sample.task.reference or ()) if sample is not None else ()


def _offered(sample: Sample, tools: list[dict[str, Any]]) -> Sample:
    # No right call is left, so the reference is empty: the sample no longer belongs to its old task.
    return changed(sample, task=msgspec.structs.replace(sample.task, tools=tools, reference=[]))


def _without(tools: list[dict[str, Any]], sample: Sample) -> list[dict[str, Any]]:
    called = {call.name for call in _reference(sample)}
    return [tool for tool in tools if tool["name"] not in called]


def _other_value(value: Any, schema: dict[str, Any], donor: Sample | None) -> Any:
    """A wrong value that fits the schema as well as the right one; None when there is none at hand."""
    choices = [choice for choice in schema.get("enum") or () if choice != value]
    if schema.get("enum"):
        return choices[0] if choices else None
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 7
    if isinstance(value, str):
        words = [other for call in _reference(donor) for other in call.arguments.values() if isinstance(other, str)]
        return words[0] if words else value[::-1]
    return None


def _with_arguments(sample: Sample, arguments: dict[str, Any], form: CallFormat) -> Sample | None:
    """The sample with other arguments of its first call; None when that says the same or cannot be written."""
    first, *rest = _reference(sample)
    calls = [Call(first.name, arguments), *rest]
    if same_calls(calls, _reference(sample), sample.task.tools) is None:
        return None
    try:
        answer = form.render(calls, sample.task.tools)
    except CallRenderError:
        return None
    return changed(sample, answer=answer)


PREFIX = "canary/"
FIRST = "response"
"""The one stage that judges ordinary text."""


class Canary(NamedTuple):
    """A sample whose verdict is known: `fault` names what is wrong with it, empty for a good one."""

    sample: Sample
    fault: str = ""

    @property
    def bad(self) -> bool:
        """Whether a judge ought to refuse it."""
        return bool(self.fault)

    def misjudged(self, outcome: str) -> bool:
        """Whether `outcome` is wrong: a bad one passed on towards training, or a good one held back."""
        if self.bad:
            return outcome in (Outcome.PASS, Outcome.KEEP_TEXT)
        return outcome != (Outcome.PASS if self.sample.task.reference else Outcome.KEEP_TEXT)


class CanarySet:
    """The good samples of a round, to be judged as they are or with a fault."""

    def __init__(self, tasks: Iterable[Task], seed: int, round: int, form: CallFormat = PYTHONIC) -> None:
        self.form = form

        def rank(task: Task) -> bytes:
            return hashlib.blake2b(f"canary/{seed}/{round}/{task.id}".encode(), digest_size=8).digest()

        self.calls: list[Sample] = []
        self.texts: list[Sample] = []
        for task in sorted(tasks, key=rank):
            try:
                sample = reference_sample(task, f"{PREFIX}r{round}/{task.id}/good", round=round, form=form)
                said = (f"The query asks for {render_call(call)}." for call in task.reference or ())
                thinking = sample.thinking or " ".join(said) or None
            except (ValueError, CallRenderError):
                continue  # it has no reference that can be written
            good = changed(sample, thinking=thinking, task=_apart(task, ""))
            (self.calls if task.reference else self.texts).append(good)

    def good(self, stage: str, count: int) -> list[Canary]:
        """`count` good ones: calls, and for the stage that judges texts a quarter of those."""
        texts = self.texts[: count // 4] if stage == FIRST else []
        return [Canary(sample) for sample in (*self.calls[: count - len(texts)], *texts)]

    def bad(self, stage: str, count: int) -> list[Canary]:
        """`count` bad ones for a stage, all its faults by turns; none for a custom judge, whose question is unknown."""
        faults, found = deque(FAULTS.get(stage, ())), list[Canary]()
        for place, sample in enumerate(self.calls):
            if len(found) >= count:
                break
            # The next sample that calls none of the functions that this one calls or is offered.
            names = {call.name for call in _reference(sample)} | {tool["name"] for tool in sample.task.tools}
            others = (*self.calls[place + 1 :], *self.calls[:place])
            donor = next((each for each in others if names.isdisjoint(call.name for call in _reference(each))), None)
            for fault in tuple(faults):
                faulty = fault(sample, donor, self.form)
                if faulty is None:
                    continue
                faults.remove(fault)
                faults.append(fault)
                name = f"{sample.id.removesuffix('good')}{fault.__name__}"
                task = _apart(faulty.task, f"/{fault.__name__}")
                found.append(Canary(changed(faulty, id=name, task=task), fault.__name__))
                break
        return found


def _apart(task: Task, suffix: str) -> Task:
    """The task under another id: a canary's must not be taken for the round's."""
    return msgspec.structs.replace(task, id=f"{PREFIX}{task.id.removeprefix(PREFIX)}{suffix}")
