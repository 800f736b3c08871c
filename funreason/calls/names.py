"""Names that can be called, for tools and parameters whose own names cannot, and the way back.

A model writes calls as Python does, so `notion-search`, `Road Length API` or a parameter `from` need another name. Each
gets one that is as close as can be: `notion_search`, `Road_Length_API`, `from_`. A name that can be called stays as it
is, dots included. No two names of a task become one, whatever their order; where two would, the later in the alphabet
gets a number. The original names are kept in `Task.names`, and are what files, exports and servers are shown.

`callable_task` is for readers: it maps every call of a task, whichever of the two names the data uses.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from funreason.calls.lenient import parse_any
from funreason.calls.marks import normalised
from funreason.calls.parse import CallSyntaxError, parse_calls
from funreason.calls.render import CallRenderError, is_callable_name, render_call, render_calls
from funreason.types import Call, Task, ToolNames

Tool = dict[str, Any]
Names = Mapping[str, ToolNames]
NO_NAMES: Names = MappingProxyType({})

MAX_NAME = 128
"""A longer name is cut, because servers refuse it; the callable name of a task's tool is never longer."""
_STRING = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"", re.DOTALL)
_SAME_PLACE = ("anyOf", "oneOf", "allOf")


def callable_names(tools: Sequence[Tool]) -> tuple[list[Tool], dict[str, ToolNames]]:
    """Normalised tools with callable names, and the original names by callable tool name, where they differ."""
    given = _assigned([tool["name"] for tool in tools], "tool")
    out: list[Tool] = []
    names: dict[str, ToolNames] = {}
    for tool in tools:
        name = str(given.get(tool["name"], tool["name"]))
        parameters = tool["parameters"]
        changed = _assigned(parameters["properties"], "value")
        if changed or name != tool["name"]:
            names[name] = ToolNames(tool["name"], {new: old for old, new in changed.items()})
            tool = tool | {"name": name, "parameters": _renamed(parameters, changed)}
        out.append(tool)
    return out, names


def original_tools(tools: Sequence[Tool], names: Names) -> list[Tool]:
    """The tools under the names that their source gave them."""
    if not names:
        return list(tools)
    out = []
    for tool in tools:
        known = names.get(tool["name"])
        if known is not None:
            tool = tool | {"name": known.tool, "parameters": _renamed(tool["parameters"], known.parameters)}
        out.append(tool)
    return out


def to_callable(calls: Iterable[Call], names: Names) -> list[Call]:
    """The calls under callable names. A name that is callable already, or that no tool has, stays."""
    if not names:
        return list(calls)
    by_original = {known.tool: name for name, known in names.items()}
    out = []
    for call in calls:
        name = call.name if call.name in names else by_original.get(call.name, call.name)
        known = names.get(name)
        changed = {old: new for new, old in known.parameters.items()} if known else {}
        out.append(_with_names(call, name, changed))
    return out


def to_original(calls: Iterable[Call], names: Names) -> list[Call]:
    """The calls under the names that their source gave them."""
    if not names:
        return list(calls)
    out = []
    for call in calls:
        known = names.get(call.name)
        out.append(call if known is None else _with_names(call, known.tool, known.parameters))
    return out


def names_with(calls: Iterable[Call], tools: Sequence[Tool], names: Names) -> dict[str, ToolNames]:
    """`names`, and those of calls under original names that no tool has: an unknown function, a free parameter.

    So every call can be written, and a judge says what is wrong with it.
    """
    out, offered = dict(names), {tool["name"]: tool for tool in tools}
    originals = {known.tool: name for name, known in names.items()}
    # A dict keeps their order, so that two processes read a record alike.
    unknown = dict.fromkeys(call.name for call in calls if call.name not in offered and call.name not in originals)
    assigned = _assigned([*offered, *out, *unknown], "tool")
    out |= {assigned[name]: ToolNames(name) for name in unknown if name in assigned}
    for call in calls:
        name = originals.get(call.name, assigned.get(call.name, call.name) if call.name in unknown else call.name)
        known = out.get(name, ToolNames(call.name))
        have = {*(offered[name]["parameters"]["properties"] if name in offered else ()), *known.parameters.values()}
        free = _assigned({*have, *known.parameters, *call.arguments}, "value")
        more = {new: old for old, new in free.items() if old in call.arguments and old not in have}
        if more:
            out[name] = ToolNames(known.tool, {**known.parameters, **more})
    return out


def callable_task(task: Task) -> Task:
    """The task with its calls and the names of results under callable names, and `names` to write them back."""
    calls = [call for message in task.messages for call in message.calls] + (task.reference or [])
    if not calls and not task.names:
        return task
    names: Names = task.names
    if not names and all(_is_fine(call.name, "tool") for call in calls):
        arguments = {name for call in calls for name in call.arguments}
        if all(_is_fine(name, "value") for name in arguments):
            return task  # by far the most
    names = names_with(calls, task.tools, names)
    if not names:
        return task
    return msgspec.structs.replace(_mapped(task, names, to_callable), names=names)


def original_task(task: Task) -> Task:
    """The task as its source had it: tools, calls and the names of results under their original names."""
    if not task.names:
        return task
    tools = original_tools(task.tools, task.names)
    return msgspec.structs.replace(_mapped(task, task.names, to_original), tools=tools, names={})


def _mapped(task: Task, names: Names, mapping: Callable[[Iterable[Call], Names], list[Call]]) -> Task:
    messages = []
    for message in task.messages:
        if message.calls:
            message = msgspec.structs.replace(message, calls=tuple(mapping(message.calls, names)))
        if message.name:
            message = msgspec.structs.replace(message, name=mapping([Call(message.name, {})], names)[0].name)
        messages.append(message)
    reference = None if task.reference is None else mapping(task.reference, names)
    return msgspec.structs.replace(task, messages=tuple(messages), reference=reference)


def callable_answer(text: str, names: Names) -> str:
    """An answer's text with its calls under callable names; unchanged where it holds none, or where none need it.

    Calls as Python writes them keep their text but for the names; those in another form are written anew.
    """
    if not names:
        return text
    for spelled, parse in ((text, parse_calls), (_spelled(text, names), parse_any)):
        try:
            calls = parse(spelled)
            mapped = to_callable(calls, names)
            return spelled if mapped == calls else render_calls(mapped)
        except (CallSyntaxError, CallRenderError):
            continue
    return text


def original_answer(text: str, names: Names) -> str:
    """An answer's text with its calls under their original names; unchanged where it would not be read back the same.

    What a source calls `notion-search` reads `[notion-search(query='x')]`, as the data sets that have such names do.
    """
    if not names:
        return text
    try:
        calls = parse_calls(text)
        if to_original(calls, names) == calls:
            return text
        written = []
        for call in to_original(calls, names):
            values = ((name, render_call(Call("f", {"v": value}))[4:-1]) for name, value in call.arguments.items())
            written.append(f"{call.name}({', '.join(f'{name}={value}' for name, value in values)})")
        made = f"[{', '.join(written)}]"
        return made if parse_calls(callable_answer(made, names)) == calls else text
    except (CallSyntaxError, CallRenderError):
        return text


def _assigned(originals: Iterable[str], kind: str) -> dict[str, str]:
    """Original → callable, for those that cannot be called. The same whatever their order."""
    given = set(originals)
    faulty = sorted(name for name in given if not _is_fine(name, kind))
    taken = given.difference(faulty)
    out: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for name in faulty:
        plain = normalised("NFKC", name)
        parts = plain.split(".") if kind == "tool" else [plain]
        base = ".".join(filter(None, map(_identifier, parts)))[:MAX_NAME].rstrip(".") or kind
        if not _is_fine(base, kind):  # cut in the middle of a name, or letters that change beside each other
            base = _identifier(re.sub(r"[^0-9A-Za-z_]+", "_", base)[: MAX_NAME - 2]) or kind
        found = base
        while found in taken:
            number = numbers[base] = numbers.get(base, 1) + 1
            found = f"{base.rstrip('_')[: MAX_NAME - 6] or kind}_{number}"
        taken.add(found)
        out[name] = found
    return out


def _is_fine(name: str, kind: str) -> bool:
    if name.isascii() and name.isidentifier():
        return not keyword.iskeyword(name) and len(name) <= MAX_NAME
    return is_callable_name(name) and len(name) <= MAX_NAME and (kind == "tool" or "." not in name)


def _identifier(part: str) -> str:
    """The nearest identifier, "" without one: other characters become `_`, or are left out at the ends."""
    kept = "".join(char if f"a{char}".isidentifier() else " " for char in part).strip(" ")
    kept = normalised("NFKC", re.sub(" +", "_", kept))
    if kept and not f"{kept[0]}a".isidentifier():
        kept = f"_{kept}"
    return f"{kept}_" if keyword.iskeyword(kept) else kept


def _with_names(call: Call, name: str, changed: Mapping[str, str]) -> Call:
    if name == call.name and changed.keys().isdisjoint(call.arguments):
        return call
    given = call.arguments
    # Both names of one parameter in one call: the second stays what it is, so that a judge sees it.
    return Call(name, {(key if changed.get(key, key) in given else changed[key]): given[key] for key in given})


def _renamed(schema: dict[str, Any], changed: Mapping[str, str]) -> dict[str, Any]:
    """A root schema with its properties under other names, in its options too."""
    if not changed:
        return schema
    out = dict(schema)
    if isinstance(schema.get("properties"), dict):
        out["properties"] = {changed.get(name, name): each for name, each in schema["properties"].items()}
    if isinstance(schema.get("required"), list):
        out["required"] = [changed.get(name, name) for name in schema["required"] if isinstance(name, str)]
    for key in _SAME_PLACE:
        if isinstance(schema.get(key), list):
            out[key] = [_renamed(each, changed) if isinstance(each, dict) else each for each in schema[key]]
    pointers = {f"#/properties/{_token(old)}": f"#/properties/{_token(new)}" for old, new in changed.items()}
    return _repointed(out, pointers) if "'$ref': '#/properties/" in repr(out) else out


def _token(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _repointed(found: Any, pointers: Mapping[str, str]) -> Any:
    if isinstance(found, list):
        return [_repointed(each, pointers) for each in found]
    if not isinstance(found, dict):
        return found
    out = {key: _repointed(each, pointers) for key, each in found.items()}
    reference = found.get("$ref")
    if isinstance(reference, str):
        head = "/".join(reference.split("/")[:3])
        out["$ref"] = pointers.get(head, head) + reference[len(head) :]
    return out


def _spelled(text: str, names: Names) -> str:
    """Python-like calls with the original names replaced; strings are left alone."""
    tools = {known.tool: name for name, known in names.items()}
    parameters = sorted({old for known in names.values() for old in known.parameters.values()}, key=len, reverse=True)
    before, after_name, after_parameter = r"(?:(?<=[\[\s,(;`])|\A)", r"(?=\s*\()", r"(?=\s*=(?!=))"
    ways = [
        rf"{before}(?P<tool>{'|'.join(map(re.escape, sorted(tools, key=len, reverse=True)))}){after_name}",
        rf"{before}(?P<value>{'|'.join(map(re.escape, parameters))}){after_parameter}" if parameters else "",
        _STRING.pattern,
        rf"(?P<other>[\w.]+){after_name}",
    ]
    called = ""

    def replaced(match: re.Match[str]) -> str:
        nonlocal called
        found = match.groupdict()
        if found["tool"] or found["other"]:
            called = tools.get(match[0], match[0])
            return called
        if found.get("value") and called in names:
            return next((new for new, old in names[called].parameters.items() if old == match[0]), match[0])
        return match[0]

    return re.sub("|".join(filter(None, ways)), replaced, text)
