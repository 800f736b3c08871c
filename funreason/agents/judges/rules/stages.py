"""The five stages judged by rules, each an agent: `response`, `query_tool`, `cot`, `parameters`, `format`.

1. `judge_response`: is the answer a function call or ordinary text? As in the paper, ordinary text is kept and skips
   the other stages. Unlike the paper, text is dropped if the reference has calls: training on it would teach the model
   to give up. Truncated and empty answers are dropped too. An empty list of calls counts as text.
2. `judge_query_tool`: can the query be solved with these tools, and do the values come from it? Two things can be
   decided by rule: that a called function is offered, and that a value has some support in the query. Exempt from the
   second: booleans, None, values of an enum, the default, and words that the tool's own description gives. An id, a
   date or coordinates that it gives as an example are not exempt: copied, they answer no query. Values that the schema
   cannot hold anyway are stage 4's business. A name in another script than the query's passes: no rule can compare it.
   Where both judge, `has_undecided_value` sends it to a model.
3. `CotJudge`: does the thinking lead to the answer? `cot_check` says how that is decided.
4. `judge_parameters`: are function names, parameters and values right? First against the schema (names, required,
   types, enums); then, where the right answer is known, against it under BFCL's rules for values. An answer that cannot
   be read in any format passes here: what it means is unknown, and stage 5 is sure to send it back.
5. `FormatJudge`: is the answer exactly in the form the model is taught, and nothing else? That form is
   `[f(a=v), g(b=w)]` unless `model.call_format` names another one. The form's strict parser decides. What it refuses
   goes to the regenerator, which can often render the same calls in the right form.
"""

from __future__ import annotations

from typing import Any

from funreason.agents.judges.rules.cot_check import thinking_problem
from funreason.agents.judges.rules.grounding import Evidence, evidence_of, undecided, unsupported
from funreason.agents.judges.rules.verdicts import calls_in, failed, passed
from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.calls.compare import call_problem
from funreason.calls.lenient import looks_like_calls
from funreason.calls.parse import CallSyntaxError
from funreason.calls.schema import listed_values, parameter_schema, tools_by_name
from funreason.types import Call, Outcome, Sample, Verdict

NO_TOOL: dict[str, Any] = {"parameters": {"properties": {}}}
_CODE_CHARS = 6
_ID_DIGITS = 3
"""A longer string with as many digits is an id or a date; `sha256`, `1080p` or `mp4` name a choice."""


async def judge_response(sample: Sample) -> Verdict:
    """Stage 1: is the answer a call, or ordinary text, which is kept unless a call is expected?

    `pass` for an attempt at calls, `keep_text` for ordinary text, `drop` for what is neither or out of place.

    Reasons: `response.unclosed_thinking`, `response.truncated`, `response.empty`, `response.text_where_calls_expected`,
    `response.text`, `response.no_call`.
    """
    answer = sample.answer.strip()
    if not answer and sample.truncated and sample.thinking is not None:
        return failed("response", Outcome.DROP, "response.unclosed_thinking", "the thinking never ended")
    if sample.truncated:
        return failed("response", Outcome.DROP, "response.truncated", f"cut off after {answer[-60:]!r}")
    if not answer:
        return failed("response", Outcome.DROP, "response.empty", "no answer after the thinking")
    if calls_in(answer, sample.task.tools) or looks_like_calls(answer):
        return passed("response")
    if sample.task.reference:
        names = ", ".join(call.name for call in sample.task.reference)
        evidence = f"the reference calls {names}; the answer is {answer[:100]!r}"
        return failed("response", Outcome.DROP, "response.text_where_calls_expected", evidence)
    reason = "response.no_call" if calls_in(answer, sample.task.tools) == () else "response.text"
    return failed("response", Outcome.KEEP_TEXT, reason, answer[:100])


async def judge_query_tool(sample: Sample) -> Verdict:
    """Stage 2: are the called tools offered, and do the values come from the query?

    `pass` or `drop`, with `tools.empty`, `tools.unknown_function` or `query.ungrounded_value`.
    """
    tools = sample.task.tools
    if not tools:
        return failed("query_tool", Outcome.DROP, "tools.empty", "no tool is offered, so no call can be right")
    calls = calls_in(sample.answer, sample.task.tools) or ()
    offered = tools_by_name(tools)
    for call in calls:
        if call.name not in offered:
            names = ", ".join(tool["name"] for tool in tools)
            return failed("query_tool", Outcome.DROP, "tools.unknown_function", f"{call.name} is not among {names}")
    evidence, given = evidence_of(sample.task.grounding_text), Given()
    for call in calls:
        found = ungrounded(call, offered[call.name], evidence, given)
        if found:
            return failed("query_tool", Outcome.DROP, "query.ungrounded_value", found)
    return passed("query_tool")


def has_undecided_value(sample: Sample) -> bool:
    """Whether a value passes only because it may be a transliteration or a translation: a question for a model."""
    evidence, given = evidence_of(sample.task.grounding_text), Given()
    offered = tools_by_name(sample.task.tools)
    for call in calls_in(sample.answer) or ():
        tool = offered.get(call.name, NO_TOOL)
        for name, value in call.arguments.items():
            if undecided(evidence, value) and not given.by(tool, name, value):
                return True
    return False


def ungrounded(call: Call, tool: dict[str, Any], evidence: Evidence, given: Given | None = None) -> str:
    """`f.x='value'` for the first value of a call that neither the query nor the tool supports; "" for none."""
    given = given or Given()
    for name, value in call.arguments.items():
        if isinstance(value, bool) or value is None:
            continue
        found = unsupported(evidence, value)
        if found is None:
            continue
        if given.by(tool, name, value) or given.by(tool, name, found):
            continue
        schema = parameter_schema(tool, name)
        texts = [str(schema[key]) for key in ("description", "example", "examples", "unit") if key in schema]
        described = (evidence_of(" ".join(texts)), evidence_of(tool["description"]))
        words = str(found).casefold()
        is_id = len(words) > _CODE_CHARS and sum(char.isdecimal() for char in words) >= _ID_DIGITS
        is_example = isinstance(found, str) and is_id and not any("default" in each.text for each in described)
        is_described = any(words in each.words or (len(words) > 2 and words in each.text) for each in described)
        if is_example or not is_described:
            return f"{call.name}.{name}={found!r:.80} has no support in the query"
    return ""


class Given:
    """What tools themselves give for their parameters, read once for all calls of an answer."""

    def __init__(self) -> None:
        self._listed: dict[tuple[int, str], tuple[set[Any], list[Any]]] = {}

    def by(self, tool: dict[str, Any], name: str, value: Any) -> bool:
        """Whether the tool lists the value for its parameter, or has it as the default."""
        place = id(tool), name
        if place not in self._listed:
            values = listed_values(tool, name)
            plain = {each for each in values if not isinstance(each, list | dict)}
            self._listed[place] = plain, [each for each in values if isinstance(each, list | dict)]
        plain, containers = self._listed[place]
        if value in (containers if isinstance(value, list | tuple | dict) else plain):
            return True
        schema = parameter_schema(tool, name)
        return "default" in schema and str(schema["default"]).casefold() == str(value).casefold()


class CotJudge:
    """Stage 3: does the thinking lead to the calls?

    Drops a sample whose thinking does not. `require` False lets samples without thinking pass.
    """

    def __init__(self, *, require: bool = True) -> None:
        self.require = require

    async def __call__(self, sample: Sample) -> Verdict:
        """`pass` or `drop`, with `cot.missing`, `cot.empty` or a reason of `thinking_problem`.

        An answer that cannot be read passes, for stage 5 to send back: what its thinking leads to is unknown.
        """
        thinking = (sample.thinking or "").strip()
        if not thinking:
            if not self.require:
                return passed("cot")
            if sample.thinking is None:
                return failed("cot", Outcome.DROP, "cot.missing", "the answer comes without thinking")
            return failed("cot", Outcome.DROP, "cot.empty", "the thinking is empty")
        calls = calls_in(sample.answer, sample.task.tools)
        problem = thinking_problem(thinking, calls, sample.task.tools) if calls is not None else None
        if problem is None:
            return passed("cot")
        return failed("cot", Outcome.DROP, problem.code, problem.evidence)


async def judge_parameters(sample: Sample) -> Verdict:
    """Stage 4: do names, types and values fit the schema, and the reference where there is one?

    `pass`, or `regenerate` with the first problem: `schema.*` (see `check_call`) or `reference.*`.
    """
    problem = call_problem(calls_in(sample.answer, sample.task.tools) or (), sample.task)
    if problem is None:
        return passed("parameters")
    return failed("parameters", Outcome.REGENERATE, problem.code, problem.evidence)


class FormatJudge:
    """Judges the form of an answer by the strict parser of `form`."""

    def __init__(self, form: CallFormat = PYTHONIC) -> None:
        self.form = form

    async def __call__(self, sample: Sample) -> Verdict:
        """`pass`, or `regenerate` with the reason of the strict parser (`form.*`, `value.*`, `json.*`)."""
        try:
            self.form.parse(sample.answer, sample.task.tools)
        except CallSyntaxError as error:
            return failed("format", Outcome.REGENERATE, error.reason, str(error))
        return passed("format")


_PYTHONIC = FormatJudge()


async def judge_format(sample: Sample) -> Verdict:
    """Stage 5: are the calls exactly in the form that the model is taught, here the papers'?"""
    return await _PYTHONIC(sample)
