"""Tool descriptions of many sources, turned into one form.

In: xLAM's flat `{param: {"type": "int, optional"}}`, OpenAI's `{"type": "function", "function": {…}}`, BFCL's `{"type":
"dict", "properties"}`, plain JSON Schema, Anthropic's `input_schema`, MCP's `inputSchema`, Google's
`function_declarations`, Bedrock's `toolSpec`, a Pydantic model's schema; as objects, as JSON text, as Python literals,
in a list or in the object that a server answers with (`{"tools": […]}`). Out: `{"name", "description", "parameters":
{"type": "object", "properties": {param: schema}, "required": [param]}}`, with everything else that the source says
beside it (`strict`, `annotations`, `additionalProperties`, `$defs`, …; see `json_schema`). The rule for flat parameters
(xLAM): required unless the type says optional, a default is given, or the description begins with "[Optional]" as
API-Bank's do; an explicit `required` on the parameter wins over all.

What is not a function (a server's built-in `web_search`) is left out, an identical copy of a tool too. `ToolsRead.left`
has a code for each thing that was left, for readers to count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from funreason.calls.json_schema import ToolFormatError as ToolFormatError
from funreason.calls.json_schema import data_in, read_parameters
from funreason.calls.names import callable_names
from funreason.calls.type_words import is_optional as is_optional
from funreason.calls.type_words import type_schema as type_schema
from funreason.types import ToolNames

Tool = dict[str, Any]

BUILT_IN_LEFT = "tools.built_in"
COPY_LEFT = "tools.copy"
AROUND_LEFT = "tools.around"
"""A key beside a list of tools, such as `tool_choice` or `nextCursor`."""

_LISTS = ("tools", "functions", "function_declarations", "functionDeclarations")
_AROUND = ("result", "toolConfig", "tool_config")
_WRAPPED = ("function", "toolSpec", "tool_spec")
_PARAMETERS = (
    "parameters",
    "input_schema",
    "inputSchema",
    "parametersJsonSchema",
    "parameters_json_schema",
    "arguments",
    "args_schema",
    "args",
    "input_parameters",
    "inputs",
)
_SPLIT_GROUPS = (("required_parameters", True), ("optional_parameters", False))
"""ToolBench's two lists of parameters."""
_SPLIT = frozenset(group for group, _ in _SPLIT_GROUPS)
_FUNCTION_TYPES = frozenset({"function", "custom", "tool", "object", "dict"})
_DATED = re.compile(r"[a-z_]+_20\d{6}")
"""Built-in tools of Anthropic: `computer_20241022`, `bash_20250124`, `web_search_20250305`."""
_BUILT_IN = frozenset(
    "web_search web_search_preview web_search_premium file_search code_interpreter code_execution image_generation mcp "
    "mcp_toolset local_shell shell apply_patch computer computer_use computer_use_preview retrieval web_browser "
    "drawing_tool google_search googleSearch google_search_retrieval googleSearchRetrieval codeExecution url_context "
    "urlContext google_maps googleMaps enterprise_web_search cachePoint document_library connector namespace".split()
)
_MAX_WRAPPINGS = 8


class ToolsRead(NamedTuple):
    """Tools with callable names, their original names where these differ, and a code for each thing left out."""

    tools: list[Tool]
    names: dict[str, ToolNames]
    left: tuple[str, ...]


def read_tools(raw: Any) -> ToolsRead:
    """Tools in the one form, with names that can be called; raises ToolFormatError as `normalise_tools` does.

    Codes in `left`: `tools.built_in`, `tools.copy`, `tools.around`, `tools.reference` (it leads nowhere and constrains
    nothing), `tools.type` (a type's name that is not known), `tools.options` (an `anyOf` that cannot be read).
    """
    left: list[str] = []
    tools, names = callable_names(_normalised(raw, left))
    return ToolsRead(tools, names, tuple(left))


def normalise_tools(raw: Any) -> list[Tool]:
    """Tools in the one form, under the names that the source gives them.

    Raises ToolFormatError saying where; two different tools of one name are refused as well.
    """
    return _normalised(raw, [])


def _normalised(raw: Any, left: list[str]) -> list[Tool]:
    tools: dict[str, Tool] = {}
    for where, item, around in _items(raw, "tools", (), left, 0):
        if _is_built_in(item):
            left.append(BUILT_IN_LEFT)
            continue
        tool = _tool(item, where, around, left)
        name = tool["name"]
        if name not in tools:
            tools[name] = tool
        elif tools[name] == tool:
            left.append(COPY_LEFT)
        else:
            raise ToolFormatError(f"{where}: a second tool is named {name!r}, and it differs; names must differ")
    return list(tools.values())


def _items(
    raw: Any, where: str, around: tuple[Tool, ...], left: list[str], depth: int
) -> Iterator[tuple[str, Tool, tuple[Tool, ...]]]:
    """Each tool's own object with its place and the objects around it, the nearest first."""
    if depth > _MAX_WRAPPINGS:
        raise ToolFormatError(f"{where} wraps its tools more than {_MAX_WRAPPINGS} times")
    if isinstance(raw, str):
        raw = data_in(raw, where, "a list of objects")
        yield from _items(raw, where, around, left, depth + 1)
        return
    if isinstance(raw, list):
        for index, item in enumerate(raw):
            if not isinstance(item, dict | str):
                raise ToolFormatError(f"{where}[{index}] must be an object, found {type(item).__name__}")
            if isinstance(item, dict) and isinstance(item.get("name"), str):  # by far the most
                yield f"{where}[{index}]", item, around
                continue
            yield from _items(item, f"{where}[{index}]", around, left, depth + 1)
        return
    if not isinstance(raw, dict):
        raise ToolFormatError(f"{where} must be a list of objects, found {type(raw).__name__}")
    inside = [key for key in _LISTS if isinstance(raw.get(key), list | str) and raw[key]]
    inside += [key for key in _AROUND if isinstance(raw.get(key), dict | list) and raw[key]]
    if isinstance(raw.get("name"), str) or not (inside or any(raw.get(key) == [] for key in _LISTS)):
        yield where if depth else f"{where}[0]", raw, around
        return
    beside = raw.keys() - {*_LISTS, *_AROUND, "jsonrpc", "id", "$schema", "$defs", "definitions", "components", "type"}
    for key in sorted(beside):
        if raw[key] is not None:
            # Google puts its built-in tools beside the declarations.
            left.append(BUILT_IN_LEFT if key in _BUILT_IN else AROUND_LEFT)
    for key in inside:
        yield from _items(raw[key], where if where == "tools" else f"{where}.{key}", (raw, *around), left, depth + 1)


def _is_built_in(item: Tool) -> bool:
    kind = item.get("type")
    if kind is None and isinstance(item.get("name"), str):
        return False
    if any(isinstance(item.get(key), dict | str) for key in (*_WRAPPED, *_PARAMETERS)):
        return False
    if isinstance(kind, str) and kind not in _FUNCTION_TYPES:
        return kind in _BUILT_IN or bool(_DATED.fullmatch(kind)) or not isinstance(item.get("name"), str)
    if isinstance(item.get("name"), str):
        # OpenAI's custom tools take free text, not arguments.
        return kind == "custom" and "input_schema" not in item
    return isinstance(item.get("custom"), dict) or (bool(item) and _BUILT_IN.issuperset(item))


def _tool(item: Tool, where: str, around: tuple[Tool, ...], left: list[str]) -> Tool:
    said: Tool = {}
    for _ in range(_MAX_WRAPPINGS):
        named = isinstance(item.get("name"), str)
        key = next((key for key in _WRAPPED if isinstance(item.get(key), dict if named else dict | str)), None)
        if key is None or (named and not isinstance(item[key].get("name"), str)):
            break
        inner = data_in(item[key], f"{where}.{key}") if isinstance(item[key], str) else item[key]
        if not isinstance(inner, dict):
            raise ToolFormatError(f"{where}.{key} must be an object, found {type(inner).__name__}")
        said = {name: value for name, value in item.items() if name not in (key, "type")} | said
        around = item, *around
        item = inner
    if not isinstance(item.get("name"), str) and isinstance(item.get("title"), str) and "properties" in item:
        # A Pydantic model's own schema: its title is the name.
        schema = {key: value for key, value in item.items() if key not in ("title", "description")}
        item = {"name": item["title"], "description": item.get("description"), "parameters": schema}
    name, description = item.get("name"), item.get("description", said.get("description"))
    if not isinstance(name, str) or not name.strip():
        raise ToolFormatError(f"{where} has no name")
    key = next((key for key in _PARAMETERS if item.get(key)), "parameters")
    found = item.get(key)
    if not found and not _SPLIT.isdisjoint(item):
        groups = [(needed, item[group]) for group, needed in _SPLIT_GROUPS if isinstance(item.get(group), list)]
        found = [{"required": needed, **each} for needed, group in groups for each in group if isinstance(each, dict)]
        item = {other: value for other, value in item.items() if other not in _SPLIT}
    parameters = read_parameters(found, f"{where} ({name})", left, (item, *around))
    tool = {
        "name": name,
        "description": description if isinstance(description, str) else "",
        "parameters": parameters,
    }
    moved = {"$defs", "definitions", "components"} & parameters.keys()
    kept = {
        other: value
        for other, value in (said | item).items()
        if other not in tool and other != key and value is not None and other not in moved
    }
    if kept.get("type") in ("function", "custom"):
        del kept["type"]
    return tool | {other: value for other, value in kept.items() if other not in _PARAMETERS or value}
