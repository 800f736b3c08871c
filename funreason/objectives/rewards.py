"""What a rollout earns: the rewards of the package, and how a custom one is loaded and called.

A reward takes a sample and returns a `RewardScore`. `load_reward` knows three by name and loads any other from a module
or a file:

- `egpo`: 1 or 0, by template and AST (arXiv 2508.05118v4, Eq. 3);
- `tool_n1`: 1 or 0, by thinking and the exact multiset of calls (arXiv 2505.00024);
- `toolrl`: format plus graded correctness, from -3 to 4 (arXiv 2504.13958).

All three read calls strictly, in the form that the model is taught: what cannot be read earns nothing for its calls. An
answer only counts as text when no reader of the package finds an attempt at a call in it. The order of calls is
free, and a call that comes twice counts twice. A parameter that is left out is the same as one given its default.
"""

from __future__ import annotations

import inspect
import math
import numbers
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.calls.compare import call_problem, without_defaults
from funreason.calls.lenient import looks_like_calls, parse_any
from funreason.calls.parse import CallSyntaxError
from funreason.calls.schema import parameter_schema, tool_named, wants_number
from funreason.calls.thinking import THINK_TAGS, Tags
from funreason.plugins import FAULTS, PluginError, load_object, own_lines
from funreason.types import Call, Outcome, Sample

RULES = "rules"
"""The judge whose verdicts a reward may reuse: it decides by the same code."""


class RewardError(Exception):
    """A reward that failed on a sample: it raised, returned no finite number, or has nothing to judge by."""


class RewardScore(NamedTuple):
    """What a sample earns: the sum, its parts by name, and why it is not more.

    `reason` begins with a dotted code, such as `reference.value`, and is empty for a right answer.
    """

    value: float
    parts: dict[str, float] = {}  # noqa: RUF012 - never changed in place
    reason: str = ""


class Reward(Protocol):
    """Scores one sample. The same sample always earns the same; nothing is remembered between samples."""

    def __call__(self, sample: Sample) -> RewardScore:
        """The score of `sample`. RewardError when it cannot be scored."""
        ...


class AnswerRead(NamedTuple):
    """An answer as a reward sees it. `calls` is empty for text, and None for an attempt that cannot be read."""

    calls: Sequence[Call] | None
    problem: str = ""
    """Why an attempt cannot be read: the parser's code and sentence."""


def read_answer(sample: Sample, form: CallFormat) -> AnswerRead:
    """The calls of the sample's answer, read strictly in `form`.

    Anything that another reader of the package takes for calls, or for an attempt at one, is not text: written in the
    wrong form, it is neither a right call nor the absence of one.
    """
    try:
        return AnswerRead(form.parse(sample.answer, sample.task.tools))
    except CallSyntaxError as error:
        problem = f"{error.reason}: {error.message}"
    try:
        attempted = bool(parse_any(sample.answer, sample.task.tools)) or looks_like_calls(sample.answer)
    except CallSyntaxError:
        attempted = looks_like_calls(sample.answer)
    return AnswerRead(None, problem) if attempted else AnswerRead(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The form of a whole completion: thinking in its tags, then an answer.

    `require_thinking` False is for models without thinking; what thinking they write must still be closed.
    """

    form: CallFormat = PYTHONIC
    require_thinking: bool = True
    think_tags: Tags = THINK_TAGS

    def fault(self, sample: Sample) -> str:
        """What breaks the template, as a code and a sentence; "" when it is followed."""
        thinking = sample.thinking
        if sample.truncated:
            return "template.truncated: the completion was cut off"
        if thinking is None and self.require_thinking:
            return "template.no_thinking: the answer comes without thinking"
        if thinking is not None and self.require_thinking and not thinking.strip():
            return "template.empty_thinking: nothing is between the tags"
        if any(tag in (thinking or "") for tag in self.think_tags):
            return "template.tags: the thinking opens or closes more than once"
        if not sample.answer.strip():
            return "template.no_answer: nothing comes after the thinking"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryReward(Template):
    """1 where the template is followed and the answer is right, else 0."""

    PARTS: ClassVar[tuple[str, str]]
    """What the two conditions are called in the score."""

    def __call__(self, sample: Sample) -> RewardScore:
        """0 or 1, with both conditions as parts. RewardError for a task without reference and verdicts."""
        faults = self.fault(sample), self.answer_fault(sample)
        met = {name: float(not fault) for name, fault in zip(self.PARTS, faults, strict=True)}
        return RewardScore(float(not any(faults)), met, faults[0] or faults[1])

    def answer_fault(self, sample: Sample) -> str:
        """What is wrong with the answer, thinking aside; "" when it is right."""
        task = sample.task
        if task.reference is None:
            return _refused_by_judges(sample)
        read = read_answer(sample, self.form)
        if read.calls is None:
            return read.problem
        if not task.reference:
            return _spurious(read.calls)
        return self.calls_fault(sample, read.calls, task.reference)

    def calls_fault(self, sample: Sample, calls: Sequence[Call], reference: Sequence[Call]) -> str:
        """What is wrong with the calls of an answer where the reference has calls."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class EgpoReward(BinaryReward):
    """EGPO's single criterion: `1 if template and answer else 0` (arXiv 2508.05118v4, Eq. 3).

    `template`: thinking in its tags, an answer after it, nothing cut off. `answer`: where the reference has calls, the
    answer's calls pass the AST check (the schema of the tools, then the reference under BFCL's rules for values, in any
    order). Where no call is right, the answer must fail to parse as a call.

    Stricter than the paper in two points. A broken attempt at a call is no refusal, although it fails to parse. Empty
    thinking and an empty answer break the template.

    The verdict of the rule judge of stage 4 is reused where the sample has one.
    """

    PARTS = ("template", "answer")

    def calls_fault(self, sample: Sample, calls: Sequence[Call], reference: Sequence[Call]) -> str:
        """See `BinaryReward`."""
        if not calls:
            return f"answer.text: the reference calls {_names(reference)}, the answer does not"
        # A verdict of a later attempt's sample may be about an earlier answer.
        judged = [v for v in sample.verdicts if v.stage == "parameters" and v.judge == RULES and not sample.attempt]
        if judged:
            last = judged[-1]
            return "" if last.outcome == Outcome.PASS else f"{last.reason}: {last.evidence}"
        problem = call_problem(calls, sample.task)
        return f"{problem.code}: {problem.evidence}" if problem else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolN1Reward(BinaryReward):
    """Tool-N1's binary reward: `1 if thinking and calls else 0` (arXiv 2505.00024, section 3.2).

    `thinking`: the tags are there, with something in them. `calls`: the multiset of (name, arguments) is the
    reference's, values compared exactly. No call equals no call. As published, the schema is not asked; unlike the
    published code, an omitted default equals the default, and 5 equals 5.0 where a number is wanted.
    """

    PARTS = ("thinking", "calls")

    def calls_fault(self, sample: Sample, calls: Sequence[Call], reference: Sequence[Call]) -> str:
        """See `BinaryReward`."""
        if same_multiset(calls, reference, sample.task.tools):
            return ""
        return f"reference.calls: the answer calls {_names(calls)}; not the same calls as the reference's"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRlReward(Template):
    """ToolRL's graded reward: `format + correctness` (arXiv 2504.13958, `rlla.py`; its default switches).

    `format`, 0 or 1: the template is followed, and the answer is written as calls where the reference has calls.

    `correctness`, -3 to 3: 3 for the reference's calls in any order; -3 for an answer that cannot be read as calls;
    otherwise `6 * s / most - 3`, where `most = 1 + sum over reference calls of (1 + parameters)` and `s` is the Jaccard
    index of the multisets of function names plus, for each reference call, the best unused call of the same name: the
    Jaccard index of its parameter names plus the number of equal values.

    Known weakness, kept as published: where no call is right, correctness is 0 whatever the answer says, so a spurious
    call costs nothing. `score_refusals` fixes it: 3 for text, -3 for a call or an attempt at one.
    The published format has a tag around text answers that no form here has; any text after the thinking counts.
    """

    score_refusals: bool = False

    def __call__(self, sample: Sample) -> RewardScore:
        """-3 to 4, with the parts `format` and `correctness`. RewardError for a task without reference."""
        task = sample.task
        if task.reference is None:
            raise RewardError(
                f"reward toolrl: the task of sample {sample.id!r} has no reference, so the answer cannot be graded. "
                "Leave such tasks out, or use egpo or tool_n1, which also take the judges' verdicts."
            )
        template, read = self.fault(sample), read_answer(sample, self.form)
        if not task.reference:
            correct, fault = 0.0, ""
            if self.score_refusals:
                fault = template if sample.truncated else read.problem or _spurious(read.calls or ())
                correct = -3.0 if fault else 3.0
            return RewardScore(float(not template) + correct, _graded(not template, correct), template or fault)
        if not read.calls or sample.truncated:
            fault = template or read.problem or f"answer.text: the reference calls {_names(task.reference)}"
            return RewardScore(-3.0, _graded(False, -3.0), fault)
        correct = graded_correctness(read.calls, task.reference, task.tools)
        fault = template or ("" if correct == 3.0 else f"reference.calls: {correct:.2f} of 3 for the calls")
        return RewardScore(float(not template) + correct, _graded(not template, correct), fault)


def graded_correctness(calls: Sequence[Call], reference: Sequence[Call], tools: list[dict[str, Any]]) -> float:
    """ToolRL's correctness, -3 to 3; formula in `ToolRlReward`."""
    if same_multiset(calls, reference, tools):
        return 3.0
    left = [without_defaults(call, tool_named(tools, call.name)) for call in calls]
    score = _jaccard([call.name for call in left], [call.name for call in reference])
    most = 1.0
    for wanted in reference:
        tool = tool_named(tools, wanted.name)
        wanted = without_defaults(wanted, tool)
        most += 1.0 + len(wanted.arguments)
        graded = [
            # The earliest of equally good calls: its negative place is the largest.
            (_jaccard(list(call.arguments), list(wanted.arguments)) + _equal_values(call, wanted, tool), -place)
            for place, call in enumerate(left)
            if call.name == wanted.name
        ]
        if graded:
            best, place = max(graded)
            score += best
            del left[-place]
    return 6.0 * score / most - 3.0


def same_multiset(calls: Sequence[Call], reference: Sequence[Call], tools: list[dict[str, Any]]) -> bool:
    """Whether both hold the same calls, each as often, in any order.

    Values are compared exactly; an omitted default equals the default, an int a float where a number is wanted.
    """
    if len(calls) != len(reference):
        return False
    left = [without_defaults(call, tool_named(tools, call.name)) for call in calls]
    for wanted in reference:
        tool = tool_named(tools, wanted.name)
        wanted = without_defaults(wanted, tool)
        for place, call in enumerate(left):
            named = call.name == wanted.name and call.arguments.keys() == wanted.arguments.keys()
            if named and _equal_values(call, wanted, tool) == len(wanted.arguments):
                del left[place]
                break
        else:
            return False
    return True


REWARDS: dict[str, type[EgpoReward | ToolN1Reward | ToolRlReward]] = {
    "egpo": EgpoReward,
    "tool_n1": ToolN1Reward,
    "toolrl": ToolRlReward,
}
"""The rewards of the package, by the name that a configuration uses."""
DEFAULT_NAME = "reward"
"""The function of a file that is named without one."""


def load_reward(
    name: str,
    *,
    form: CallFormat = PYTHONIC,
    require_thinking: bool = True,
    think_tags: Tags = THINK_TAGS,
    settings: Mapping[str, Any] | None = None,
) -> Reward:
    """The reward called `name`: `egpo`, `tool_n1`, `toolrl`, `module:function`, `file.py:function` or `file.py`.

    `form`, `require_thinking` and `think_tags` are those of the model; rewards of the package read answers by them, a
    custom one sees the sample alone. `settings` are arguments of the reward's class. A file without a function's name
    is asked for `reward`. PluginError when it cannot be loaded.
    """
    made = REWARDS.get(name)
    if made is not None:
        try:
            return made(form=form, require_thinking=require_thinking, think_tags=think_tags, **(settings or {}))
        except TypeError as error:
            own = "score_refusals" if made is ToolRlReward else "no settings"
            raise PluginError(f"reward {name!r} takes {own}, found {', '.join(settings or ())}") from error
    if ":" not in name and not name.endswith(".py"):
        raise PluginError(
            f"reward {name!r}: expected one of {', '.join(REWARDS)}, `module:function` or `path/to/file.py:function`"
        )
    spec = f"{name}:{DEFAULT_NAME}" if name.endswith(".py") else name
    found = load_object(spec, "reward")
    if inspect.isclass(found):
        try:
            found = found(**(settings or {}))
        except FAULTS as error:
            raise PluginError(f"reward {spec!r}: building the class failed:\n{own_lines(error)}") from error
    elif settings:
        raise PluginError(f"reward {spec!r} is a function and takes no settings; make it a class to use them")
    if not callable(found):
        raise PluginError(f"reward {spec!r} is a {type(found).__name__}; expected a function that takes a Sample")
    call = getattr(found, "__call__", None)  # noqa: B004 - the method itself is needed, not whether there is one
    if inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(call):
        raise PluginError(f"reward {spec!r} is an async function; write it with `def`, it has nothing to wait for")
    return CustomReward(spec, found)


@dataclass(frozen=True, slots=True)
class CustomReward:
    """Calls a function that returns a number or a `RewardScore`, and refuses what is neither."""

    name: str
    function: Callable[[Sample], Any]

    def __call__(self, sample: Sample) -> RewardScore:
        """The function's score; RewardError, which names the sample and the function, when it gives no score."""
        where = f"reward {self.name} on sample {sample.id!r}"
        try:
            given = self.function(sample)
        except FAULTS as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            line = f"{Path(frame.filename).name}, line {frame.lineno}"
            raise RewardError(f"{where} raised {type(error).__name__}: {error} ({line}).") from error
        score = given if isinstance(given, RewardScore) else RewardScore(given)
        if not isinstance(score.parts, dict) or not isinstance(score.reason, str):
            raise RewardError(f"{where} returned a RewardScore whose parts are no dict or whose reason is no text.")
        found: list[float] = []
        for part, value in [("value", score.value), *score.parts.items()]:
            if not isinstance(value, numbers.Real) or not isinstance(part, str):
                raise RewardError(
                    f"{where} returned {type(value).__name__} for {part!r}; expected a float or RewardScore of floats."
                )
            try:
                found.append(float(value))
            except OverflowError:
                found.append(math.inf)
            if not math.isfinite(found[-1]):
                raise RewardError(f"{where} returned {found[-1]} for {part!r}; a reward must be a finite number.")
        return RewardScore(found[0], dict(zip(score.parts, found[1:], strict=True)), score.reason)


def _refused_by_judges(sample: Sample) -> str:
    """Without a reference: why the judges did not keep the sample, "" when they did. RewardError without verdicts."""
    if not sample.verdicts or sample.attempt:
        raise RewardError(
            f"the task of sample {sample.id!r} has no reference and the sample has no verdicts on this answer, so "
            "nothing says what it earns. Leave such tasks out, or place the reward after judges that need no reference."
        )
    for verdict in sample.verdicts:
        if verdict.outcome not in (Outcome.PASS, Outcome.KEEP_TEXT):
            return f"{verdict.reason}: {verdict.evidence}"
    return ""


def _spurious(calls: Sequence[Call]) -> str:
    return f"answer.spurious_call: no call is right, the answer calls {_names(calls)}" if calls else ""


def _names(calls: Sequence[Call]) -> str:
    return ", ".join(call.name for call in calls)[:200]


def _graded(format_kept: bool, correctness: float) -> dict[str, float]:
    return {"format": float(format_kept), "correctness": correctness}


def _jaccard(some: Sequence[str], others: Sequence[str]) -> float:
    """Shared over all, counting repeats; 1 for two empty ones."""
    left = list(others)
    for each in some:
        if each in left:
            left.remove(each)
    shared = len(others) - len(left)
    union = len(some) + len(others) - shared
    return shared / union if union else 1.0


def _equal_values(call: Call, wanted: Call, tool: dict[str, Any] | None) -> int:
    """How many of the wanted call's arguments the call gives with exactly the same value."""
    count = 0
    for name, value in wanted.arguments.items():
        schema = parameter_schema(tool, name)
        items = schema.get("items")
        number = wants_number(schema) or (isinstance(items, dict) and wants_number(items))
        count += name in call.arguments and _is_equal(call.arguments[name], value, number)
    return count


def _is_equal(value: Any, wanted: Any, number: bool) -> bool:
    """Equality by type and value: True is not 1; an int equals a float where a `number` is wanted."""
    if isinstance(value, list | tuple) and isinstance(wanted, list | tuple):
        return len(value) == len(wanted) and all(_is_equal(a, b, number) for a, b in zip(value, wanted, strict=True))
    if isinstance(value, dict) and isinstance(wanted, dict):
        return value.keys() == wanted.keys() and all(_is_equal(value[key], wanted[key], number) for key in wanted)
    if number and type(value) in (int, float) and type(wanted) in (int, float):
        return bool(value == wanted)
    return type(value) is type(wanted) and bool(value == wanted)
