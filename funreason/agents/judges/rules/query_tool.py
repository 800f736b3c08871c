"""Stage 2, query and tools: can the query be solved with these tools, and do the values come from it?

Rules check that every called function is offered and that every value has some support in the query. Exempt from the
second check are booleans, None, values of an enum, defaults, and words from the tool's own description, except ids,
dates and coordinates that the description gives as examples. Values that violate the schema are left to stage 4.
"""

from __future__ import annotations

from typing import Any

from funreason.agents.judges.rules.grounding import Evidence, evidence_of, unsupported
from funreason.agents.judges.rules.verdicts import calls_in, failed, passed
from funreason.calls.schema import tool_named
from funreason.types import Call, Outcome, Sample, Verdict

STAGE = "query_tool"
_CODE_CHARS = 6
_ID_DIGITS = 3
"""A longer string with as many digits is an id or a date; `sha256`, `1080p` or `mp4` name a choice."""


async def judge_query_tool(sample: Sample) -> Verdict:
    """`pass` or `drop`, with `tools.empty`, `tools.unknown_function` or `query.ungrounded_value`."""
    tools = sample.task.tools
    if not tools:
        return failed(STAGE, Outcome.DROP, "tools.empty", "no tool is offered, so no call can be right")
    calls = calls_in(sample.answer) or ()
    for call in calls:
        if tool_named(tools, call.name) is None:
            names = ", ".join(tool["name"] for tool in tools)
            return failed(STAGE, Outcome.DROP, "tools.unknown_function", f"{call.name} is not among {names}")
    evidence = evidence_of(sample.task.query)
    for call in calls:
        found = ungrounded(call, tool_named(tools, call.name) or {}, evidence)
        if found:
            return failed(STAGE, Outcome.DROP, "query.ungrounded_value", found)
    return passed(STAGE)


def ungrounded(call: Call, tool: dict[str, Any], evidence: Evidence) -> str:
    """`f.x='value'` for the first value of a call that neither the query nor the tool supports; "" for none."""
    properties = tool["parameters"]["properties"]
    for name, value in call.arguments.items():
        if isinstance(value, bool) or value is None:
            continue
        found = unsupported(evidence, value)
        if found is None:
            continue
        schema = properties.get(name, {})
        if not _is_given(value, schema) and not _is_given(found, schema) and not _is_described(found, schema, tool):
            return f"{call.name}.{name}={found!r:.80} has no support in the query"
    return ""


def _is_given(value: Any, schema: dict[str, Any]) -> bool:
    items = schema.get("items")
    enum = schema.get("enum") or (items.get("enum") if isinstance(items, dict) else None)
    if enum and value in enum:
        return True
    return "default" in schema and str(schema["default"]).casefold() == str(value).casefold()


def _is_described(value: Any, schema: dict[str, Any], tool: dict[str, Any]) -> bool:
    said = " ".join(str(schema[key]) for key in ("description", "example", "examples", "unit") if key in schema)
    described = evidence_of(f"{said} {tool['description']}")
    words = str(value).casefold()
    if isinstance(value, str) and _is_an_example(words) and "default" not in described.text:
        return False
    return words in described.words or (len(words) > 2 and words in described.text)


def _is_an_example(words: str) -> bool:
    return len(words) > _CODE_CHARS and sum(char.isdecimal() for char in words) >= _ID_DIGITS
