"""Checks one call against its tool: unknown and missing parameters, types, enums, in JSON Schema's words.

Written by hand rather than compiled: all problems of a call are wanted with their own codes, a whole call costs
a few µs, and nothing has to be hashed to find a cached validator. The rules of type are those of BFCL:
an int is fine where a number is wanted, a bool never is, and digits in a string are a string.

References, `allOf`, `anyOf`, `oneOf` (read as `anyOf`), `const`, `nullable`, lists of types, tuples and
`additionalProperties` are followed. `pattern`, `format`, bounds and conditions are not checked: a pattern of a stranger
can take forever. Each schema meets each value once, and a call costs no more than `MOST_STEPS` of such meetings;
whatever is left then constrains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from funreason.calls.pointers import Schema, Schemas
from funreason.types import Call

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
    "null": (type(None),),
}
MOST_STEPS = 20_000
_MAX_DEPTH = 100
_MANY = 64
"""From so many allowed values on, a set is worth its making."""
_PLAIN_NOT = frozenset({"type", "enum", "const", "description", "title"})


class SchemaProblem(NamedTuple):
    """One thing wrong with a call: a dotted code and what was seen."""

    code: str
    evidence: str


def tool_named(tools: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """The tool called `name`, or None."""
    for tool in tools:
        if tool["name"] == name:
            return tool
    return None


def tools_by_name(tools: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The tools by their names; of two with one name, the first."""
    return {tool["name"]: tool for tool in reversed(tools)}


def parameter_schema(tool: dict[str, Any] | None, name: str) -> Schema:
    """The schema of a parameter as a reader wants it: references followed, `Optional[…]` opened; {} where it has none.

    What it holds inside (`items`, `properties`) may still hold references.
    """
    found = tool["parameters"]["properties"].get(name) if tool else None
    if not isinstance(found, dict) or found.keys().isdisjoint(("$ref", "allOf", "anyOf", "oneOf")):
        return found if isinstance(found, dict) else {}
    assert tool is not None
    return Schemas(tool["parameters"]).plain(found)


def listed_values(tool: dict[str, Any] | None, name: str) -> list[Any]:
    """Every value that the schema of a parameter lists (`enum`, `const`), in its items, properties and options too."""
    found: list[Any] = []
    if tool is None or name not in tool["parameters"]["properties"]:
        return found
    schemas, seen = Schemas(tool["parameters"]), set()
    waiting: list[Any] = [tool["parameters"]["properties"][name]]
    while waiting:
        schema = schemas.whole(waiting.pop())
        if id(schema) in seen:
            continue
        seen.add(id(schema))
        for key, value in schema.items():
            if key == "const":
                found.append(value)
            elif key == "enum" and isinstance(value, list):
                found += value
            elif key in ("items", "additionalProperties") and isinstance(value, dict):
                waiting.append(value)
            elif key == "properties" and isinstance(value, dict):
                waiting += value.values()
            elif key in ("anyOf", "oneOf", "allOf", "prefixItems", "items") and isinstance(value, list):
                waiting += value
    return found


def wants_number(schema: Schema) -> bool:
    """Whether the schema wants a number that may have a fraction."""
    kind = schema.get("type")
    return kind == "number" or (isinstance(kind, list) and "number" in kind)


def check_call(call: Call, tool: dict[str, Any]) -> list[SchemaProblem]:
    """Every problem of `call` against its normalised tool, in the order unknown, missing, then values.

    Codes: `schema.unknown_parameter`, `schema.missing_required`, `schema.type`, `schema.enum`.
    """
    return first_problems([call], {call.name: tool})


def first_problems(calls: Sequence[Call], tools: Mapping[str, dict[str, Any]]) -> list[SchemaProblem]:
    """Every problem of the first of several calls that has one. `tools` has the tool of each, by its name.

    What is read of a tool is read once for all of its calls, and all together cost no more than ten times `MOST_STEPS`.
    """
    checks: dict[str, _Check] = {}
    left = 10 * MOST_STEPS
    for call in calls:
        if call.name not in checks:
            checks[call.name] = _Check(tools[call.name]["parameters"])
        check = checks[call.name]
        check.steps = max(0, MOST_STEPS - left)
        before = check.steps
        problems = _problems(call, check)
        if problems:
            return problems
        left -= check.steps - before
    return []


def _problems(call: Call, check: _Check) -> list[SchemaProblem]:
    parameters, required = check.schemas.root, check.required
    properties, arguments = parameters["properties"], call.arguments
    others = parameters.get("additionalProperties", False)
    if parameters.get("patternProperties") and not isinstance(others, dict):
        others = True  # what patterns allow is not known, because they are not run
    problems = []
    if others is not True and not isinstance(others, dict):
        problems = [
            SchemaProblem("schema.unknown_parameter", f"{call.name} has no parameter {name}")
            for name in arguments
            if name not in properties
        ]
    problems += [
        SchemaProblem("schema.missing_required", f"{call.name} needs {name}")
        for name in parameters["required"]
        if name not in arguments
    ]
    for name, value in arguments.items():
        schema = properties.get(name, others or True)
        problem = check.value(value, schema, f"{call.name}.{name}", name in required)
        if problem:
            problems.append(problem)
    if not problems:
        for key in ("anyOf", "oneOf", "allOf"):
            problem = check.several(arguments, parameters, key, call.name, 0)
            if problem:
                problems.append(problem)
    return problems


class _Check:
    """The check of one tool's calls: its schemas, and what the call in hand has cost so far."""

    def __init__(self, root: Schema) -> None:
        self.schemas = Schemas(root)
        self.required = frozenset(root["required"])
        self.steps = 0
        self.met: dict[tuple[int, int], SchemaProblem | None] = {}
        self.allowed: dict[int, set[tuple[bool, Any]]] = {}
        self.lists: dict[int, bool] = {}

    def value(self, value: Any, schema: Any, where: str, required: bool = True, depth: int = 0) -> SchemaProblem | None:
        """The first problem of one value, or None. None as a value passes for a parameter that may be left out."""
        if value is None and not required:
            return None
        self.steps += 1
        if self.steps > MOST_STEPS or depth > _MAX_DEPTH or schema is True:
            return None
        if schema is False:
            return SchemaProblem("schema.type", f"{where} must not be given, got {_short(value)}")
        if not isinstance(schema, dict):
            return None
        if schema.keys().isdisjoint(("$ref", "allOf", "anyOf", "oneOf")):
            return self.meets(value, schema, where, depth)
        # Only where a schema can lead back to itself or double: the same pair is answered once.
        pair = id(schema), id(value)
        if pair not in self.met:
            self.met[pair] = None
            self.met[pair] = self.meets(value, self.schemas.whole(schema), where, depth)
        return self.met[pair]

    def meets(self, value: Any, schema: Schema, where: str, depth: int) -> SchemaProblem | None:
        if value is None and schema.get("nullable") is True:
            return None
        wanted = schema.get("type")
        if wanted is not None and not _is_of_type(value, wanted):
            words = wanted if isinstance(wanted, str) else " or ".join(map(str, wanted))
            return SchemaProblem("schema.type", f"{where} wants {words}, got {_short(value)}")
        for key in ("anyOf", "oneOf", "allOf"):
            if key in schema:
                problem = self.several(value, schema, key, where, depth)
                if problem:
                    return problem
        if "const" in schema and not _is_one_of(value, [schema["const"]]):
            return SchemaProblem("schema.enum", f"{where} is {_short(value)}, not {_short(schema['const'])}")
        if "not" in schema and self.is_refused(value, schema["not"], where, depth):
            return SchemaProblem("schema.type", f"{where} must not be {_short(value)}")
        is_list, enum = isinstance(value, list | tuple), schema.get("enum")
        if enum and isinstance(enum, list):
            # An enum on a list is about its items: no data set enumerates whole lists.
            for item in value if is_list and not self.has_list(enum) else [value]:
                if not self.is_allowed(item, enum):
                    return SchemaProblem("schema.enum", f"{where} is {_short(item)}, not one of {_short(enum)}")
        if is_list:
            return self.items(value, schema, where, depth)
        return self.members(value, schema, where, depth) if isinstance(value, dict) else None

    def several(self, value: Any, schema: Schema, key: str, where: str, depth: int) -> SchemaProblem | None:
        """The problem of a value with `anyOf`, `oneOf` (one option must fit) or `allOf` (all must)."""
        options = schema.get(key)
        if not isinstance(options, list) or not options:
            return None
        problems = []
        for option in options:
            problem = self.value(value, option, where, depth=depth + 1)
            if key == "allOf" and problem:
                return problem
            if problem is None and key != "allOf":
                return None
            if problem:
                problems.append(problem)
        meant = [index for index, option in enumerate(options) if self.is_meant(value, option)]
        if len(meant) == 1 and key != "allOf":
            return problems[meant[0]]
        # An option of the right type says more than those that could never have fitted.
        closer = [problem for problem in problems if problem.code != "schema.type"]
        if closer and all(problem.code == closer[0].code for problem in closer):
            return closer[0]
        return (
            SchemaProblem("schema.type", f"{where} fits none of its types, got {_short(value)}") if problems else None
        )

    def is_meant(self, value: Any, option: Any) -> bool:
        """Whether an object has the constants that tell an option from others: `{"kind": {"const": "card"}}`."""
        properties = self.schemas.whole(option).get("properties")
        if not isinstance(value, dict) or not isinstance(properties, dict):
            return False
        fixed = {}
        for name, schema in properties.items():
            found = self.schemas.whole(schema)
            allowed = [found["const"]] if "const" in found else found.get("enum")
            if isinstance(allowed, list) and len(allowed) == 1:
                fixed[name] = allowed
        return bool(fixed) and all(_is_one_of(value.get(name), allowed) for name, allowed in fixed.items())

    def items(self, value: Any, schema: Schema, where: str, depth: int) -> SchemaProblem | None:
        items = schema.get("items")
        first = schema.get("prefixItems")
        first = first if isinstance(first, list) else items if isinstance(items, list) else []
        for index, item in enumerate(value):
            each = first[index] if index < len(first) else items
            problem = self.value(item, each, f"{where}[{index}]", depth=depth + 1)
            if problem:
                return problem
            if self.steps > MOST_STEPS:
                break
        return None

    def members(self, value: dict[str, Any], schema: Schema, where: str, depth: int) -> SchemaProblem | None:
        properties, needed = schema.get("properties"), schema.get("required")
        needed = dict.fromkeys(name for name in needed if isinstance(name, str)) if isinstance(needed, list) else {}
        missing = next((name for name in needed if name not in value), None)
        if missing is not None:
            return SchemaProblem("schema.missing_required", f"{where} needs {missing}")
        if not isinstance(properties, dict):
            properties = {}
        others = schema.get("additionalProperties", True)
        # What options add, and what patterns allow, is not worked out: such an object may hold more.
        if others is False and not schema.keys().isdisjoint(("anyOf", "oneOf", "allOf", "if", "patternProperties")):
            others = True
        for name, item in value.items():
            inner = properties.get(name, others)
            if inner is False and name not in properties:
                return SchemaProblem("schema.unknown_parameter", f"{where} has no {name}")
            problem = self.value(item, inner, f"{where}.{name}", name in needed, depth + 1)
            if problem:
                return problem
        return None

    def is_refused(self, value: Any, schema: Any, where: str, depth: int) -> bool:
        # Only where everything that the schema says is checked: else a value would be refused for what is unknown.
        whole = self.schemas.whole(schema)
        return _PLAIN_NOT.issuperset(whole) and self.meets(value, whole, where, depth + 1) is None

    def has_list(self, enum: list[Any]) -> bool:
        if id(enum) not in self.lists:
            self.lists[id(enum)] = any(isinstance(allowed, list) for allowed in enum)
        return self.lists[id(enum)]

    def is_allowed(self, value: Any, enum: list[Any]) -> bool:
        if len(enum) < _MANY:
            return _is_one_of(value, enum)
        known = self.allowed.get(id(enum))
        if known is None:
            known = {(isinstance(each, bool), each) for each in enum if not isinstance(each, list | dict)}
            self.allowed[id(enum)] = known
        if not isinstance(value, list | tuple | dict):
            return (isinstance(value, bool), value) in known
        self.steps += len(enum)
        return self.steps > MOST_STEPS * 10 or _is_one_of(value, enum)


def _is_one_of(value: Any, allowed: list[Any]) -> bool:
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in allowed)


def _is_of_type(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return any(_is_of_type(value, word) for word in wanted)
    kinds = _PYTHON_TYPES.get(wanted) if isinstance(wanted, str) else None
    if kinds is None:
        return True
    return isinstance(value, kinds) and (not isinstance(value, bool) or wanted == "boolean")


def _short(value: Any, limit: int = 80) -> str:
    text = repr(value[:limit] if isinstance(value, list | tuple | str) else value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
