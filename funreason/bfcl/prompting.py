"""The prompt that the leaderboard's prompting mode asks with: its role and its parts, in our own wording.

One system message gives the task, how to answer, and the functions as indented JSON. A system message in the case
follows it after a blank line, and the case's dialogue is kept as it is. Functions say which language their values are
written in; for Java and JavaScript every value is announced as a string that holds source text of the real type.
Scoring sees none of this: it reads the functions as they are.
"""

from __future__ import annotations

import json
from typing import Any

from funreason.bfcl.cases import Case
from funreason.bfcl.categories import BfclError, Language
from funreason.calls.tools import ToolFormatError, normalise_tools
from funreason.types import Message, Task

INSTRUCTION = """\
You are an expert in solving requests with functions. You are given a request and a set of functions. Decide which \
calls, one or several, fulfil the request, and make them.
If none of the functions can serve the request, say so. If the request lacks a value that a function requires, say \
which one is missing.

Answer with calls only, all of them in one pair of square brackets, every argument by its name:
[first_function(name=value, other_name=value), second_function(name=value)]
Write no other text beside the calls.

The conversation may go on over several turns. In each turn, call whatever is needed until the request of that turn is \
fulfilled as far as the functions allow.

These are the functions, as JSON:
"""

LANGUAGE_HINTS: dict[Language, str] = {
    "python": "The values follow the syntax of Python 3.",
    "java": "The values follow the syntax of Java (SDK 8).",
    "javascript": "The values follow the syntax of JavaScript.",
}


def case_task(case: Case) -> Task:
    """A case as a task for the model's own prompt: all its messages, and its functions as tools.

    Gate and `funreason eval` both ask this. BfclError when messages or functions cannot be read.
    """
    messages = tuple(Message(m["role"], m["content"]) for m in case_messages(case))
    try:
        return Task(case.id, messages, normalise_tools(case.functions), category=case.category)
    except ToolFormatError as error:
        raise BfclError(f"case {case.id!r}: {error}") from error


def leaderboard_task(case: Case) -> Task:
    """A case as the leaderboard's prompting mode asks it: functions in the system message, no tools."""
    asked = tuple(Message(message["role"], message["content"]) for message in prompt_messages(case))
    return Task(case.id, asked, [], category=case.category)


def prompt_messages(case: Case) -> list[dict[str, str]]:
    """The system message and the dialogue of a case. BfclError when its messages are not role and text."""
    dialogue = case_messages(case)
    system = INSTRUCTION + json.dumps(hinted(case), indent=4, ensure_ascii=False)
    if dialogue and dialogue[0]["role"] == "system":
        system, dialogue = f"{system}\n\n{dialogue[0]['content']}", dialogue[1:]
    return [{"role": "system", "content": system}, *dialogue]


def case_messages(case: Case) -> list[dict[str, str]]:
    """The messages of a case's question, checked. BfclError names the case."""
    messages = []
    for turn in case.question:
        if not isinstance(turn, list):
            raise BfclError(
                f"case {case.id!r}: each turn of its question must be a list of messages, found {turn!r:.80}"
            )
        for message in turn:
            fits = isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))
            if not fits:
                raise BfclError(
                    f'case {case.id!r}: expected a message with "role" and "content" as texts, found {message!r:.80}'
                )
            messages.append({"role": message["role"], "content": message["content"]})
    return messages


def hinted(case: Case) -> list[dict[str, Any]]:
    """The function docs as a model is shown them; the case's own are not changed. BfclError when one is no object."""
    language = case.language
    made = []
    for doc in case.functions:
        if not isinstance(doc, dict):
            raise BfclError(f"case {case.id!r}: each function must be an object, found {doc!r:.80}")
        shown = {**doc, "description": f"{doc.get('description', '')} {LANGUAGE_HINTS[language]}".strip()}
        parameters = doc.get("parameters")
        if language != "python" and isinstance(parameters, dict) and isinstance(parameters.get("properties"), dict):
            properties = {name: _as_text(schema, language) for name, schema in parameters["properties"].items()}
            shown["parameters"] = {**parameters, "properties": properties}
        made.append(shown)
    return made


def _as_text(schema: Any, language: Language) -> Any:
    """A parameter of Java or JavaScript as text, with its real type in the description."""
    if not isinstance(schema, dict):
        return schema
    name = "Java" if language == "java" else "JavaScript"
    hint = f"Give {name} source text of type {schema.get('type')}, as a string."
    items = schema.get("items")
    if isinstance(items, dict) and "type" in items:
        hint += f" Its elements are of type {items['type']}."
    if isinstance(schema.get("properties"), dict):
        hint += f" Its properties: {json.dumps(schema['properties'], ensure_ascii=False)}"
    kept = {key: value for key, value in schema.items() if key not in ("items", "properties", "required")}
    return {**kept, "type": "string", "description": f"{schema.get('description', '')} {hint}".strip()}
