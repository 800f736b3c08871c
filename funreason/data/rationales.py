"""Thinking for references that come without any: a short rationale by rule, made of the request and the tools.

Supervised and marked (`template_thinking` among the task's flags), never counted as the model's own. The texts follow
stage 3: each names the function and every value, says where a value comes from, and ends in no call.
"""

from __future__ import annotations

import json
from typing import Any
from zlib import crc32

import msgspec

from funreason.types import Call, Task

FLAG = "template_thinking"
_OPENINGS = (
    "The request is served by {name}{what}.",
    "{name} fits here{what}.",
    "For this I need {name}{what}.",
)
_REFUSALS = (
    "None of the functions ({names}) does what is asked, so no call is right.",
    "I look through {names}: none of them serves this request. I say so instead of calling.",
)
_SHOWN_NAMES, _LONGEST_PURPOSE = 6, 120


def with_template_thinking(task: Task) -> Task:
    """The task with a rationale for its reference; as it is where it has thinking already, or no reference."""
    if task.reference is None or task.reference_thinking:
        return task
    variant = crc32(task.id.encode())
    if task.reference:
        text = " ".join(_call_rationale(task, call, variant + place) for place, call in enumerate(task.reference))
    else:
        names = [str(tool["name"]) for tool in task.tools]
        shown = ", ".join(names[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "")
        text = (
            _REFUSALS[variant % len(_REFUSALS)].format(names=shown)
            if names
            else "There are no functions here, so I answer in words."
        )
    return msgspec.structs.replace(task, reference_thinking=text, flags=[*task.flags, FLAG])


def _call_rationale(task: Task, call: Call, variant: int) -> str:
    tool = next((tool for tool in task.tools if tool["name"] == call.name), None)
    purpose = str((tool or {}).get("description") or "").strip().partition(". ")[0].rstrip(".")
    what = f", which says: {purpose}" if 0 < len(purpose) <= _LONGEST_PURPOSE else ""
    properties = tool["parameters"]["properties"] if tool else {}
    query = task.query.casefold()
    said, other = [], []
    for name, value in call.arguments.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        if text.strip() and text.casefold() in query:
            said.append(f"{name} is {text}")
        elif _is_default(properties.get(name), value):
            other.append(f"{name} keeps its default, {text}")
        else:
            other.append(f"{name} becomes {text}")
    sentences = [_OPENINGS[variant % len(_OPENINGS)].format(name=call.name, what=what)]
    if said:
        sentences.append(f"From the request: {', '.join(said)}.")
    if other:
        sentences.append(f"{'; '.join(other)}.")
    return " ".join(sentences)


def _is_default(schema: Any, value: Any) -> bool:
    return isinstance(schema, dict) and "default" in schema and schema["default"] == value
