"""Stage 2, query and tools: can the query be solved with these tools, and do the values come from it?

Two things can be decided by rule: that a called function is offered, and that a value has some support in the query.
Exempt from the second: booleans, None, values of an enum, the default, and words that the tool's own description
gives. An id, a date or coordinates that it gives as an example are not exempt: copied, they answer no query.
Values that the schema cannot hold anyway are stage 4's business. A name in another script than the query's passes: no
rule can compare it. Where both judge, `has_undecided_value` sends it to a model.
"""

from __future__ import annotations

from typing import Any

from funreason.agents.judges.rules.grounding import Evidence, evidence_of, undecided, unsupported
from funreason.agents.judges.rules.verdicts import calls_in, failed, passed
from funreason.calls.schema import listed_values, parameter_schema, tool_named
from funreason.types import Call, Outcome, Sample, Verdict

STAGE = "query_tool"
NO_TOOL: dict[str, Any] = {"parameters": {"properties": {}}}
_CODE_CHARS = 6
_ID_DIGITS = 3
"""A longer string with as many digits is an id or a date; `sha256`, `1080p` or `mp4` name a choice."""


async def judge_query_tool(sample: Sample) -> Verdict:
    """`pass` or `drop`, with `tools.empty`, `tools.unknown_function` or `query.ungrounded_value`."""
    tools = sample.task.tools
    if not tools:
        return failed(STAGE, Outcome.DROP, "tools.empty", "no tool is offered, so no call can be right")
    calls = calls_in(sample.answer, sample.task.tools) or ()
    for call in calls:
        if tool_named(tools, call.name) is None:
            names = ", ".join(tool["name"] for tool in tools)
            return failed(STAGE, Outcome.DROP, "tools.unknown_function", f"{call.name} is not among {names}")
    evidence = evidence_of(sample.task.grounding_text)
    for call in calls:
        found = ungrounded(call, tool_named(tools, call.name) or {}, evidence)
        if found:
            return failed(STAGE, Outcome.DROP, "query.ungrounded_value", found)
    return passed(STAGE)


def has_undecided_value(sample: Sample) -> bool:
    """Whether a value passes only because it may be a transliteration or a translation: a question for a model."""
    evidence = evidence_of(sample.task.grounding_text)
    for call in calls_in(sample.answer) or ():
        tool = tool_named(sample.task.tools, call.name) or NO_TOOL
        for name, value in call.arguments.items():
            if undecided(evidence, value) and not _is_given(value, tool, name):
                return True
    return False


def ungrounded(call: Call, tool: dict[str, Any], evidence: Evidence) -> str:
    """`f.x='value'` for the first value of a call that neither the query nor the tool supports; "" for none."""
    for name, value in call.arguments.items():
        if isinstance(value, bool) or value is None:
            continue
        found = unsupported(evidence, value)
        if found is None:
            continue
        if _is_given(value, tool, name) or _is_given(found, tool, name):
            continue
        schema = parameter_schema(tool, name)
        texts = [str(schema[key]) for key in ("description", "example", "examples", "unit") if key in schema]
        described = evidence_of(f"{' '.join(texts)} {tool['description']}")
        words = str(found).casefold()
        is_id = len(words) > _CODE_CHARS and sum(char.isdecimal() for char in words) >= _ID_DIGITS
        is_example = isinstance(found, str) and is_id and "default" not in described.text
        if is_example or not (words in described.words or (len(words) > 2 and words in described.text)):
            return f"{call.name}.{name}={found!r:.80} has no support in the query"
    return ""


def _is_given(value: Any, tool: dict[str, Any], name: str) -> bool:
    """Whether the tool itself lists the value for its parameter, or has it as the default."""
    if value in listed_values(tool, name):
        return True
    schema = parameter_schema(tool, name)
    return "default" in schema and str(schema["default"]).casefold() == str(value).casefold()
