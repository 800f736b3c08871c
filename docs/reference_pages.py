"""Writes the commands, configuration and events of `docs/reference` from the code, and parts of `docs/data.md`.

    python docs/reference_pages.py

`tests/test_docs_site.py` compares the pages with what this writes.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import textwrap
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import msgspec

from funreason.calls.render import render_calls
from funreason.calls.thinking import THINKING_FIELDS, THINKING_PARTS
from funreason.cli.app import EXAMPLES, EXIT_CODES, GROUPED, GROUPS, PANELS, app
from funreason.config import CONFIGS, Config
from funreason.data.forms.messages import CALLING, ROLES, UNTRAINED
from funreason.data.reading import read_tasks
from funreason.record import events as record_events
from funreason.record.events import AnyEvent

FOLDER = Path(__file__).parent
FILE = re.compile(r'^```json title="([^"]+)"\n(.*?)^```\n', re.MULTILINE | re.DOTALL)
GROUP_OF_FILES = re.compile(rf"((?:{FILE.pattern}\n*)+)<!-- read -->.*?<!-- /read -->", re.MULTILINE | re.DOTALL)
"""The literal files of `data.md` that lie beside each other, and what is read of the first."""
WRITTEN = "<!-- written by docs/reference_pages.py -->"
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
PARTS = ("Score", "Balance", "TextScore")
"""Structs that events hold."""
NONE = object()
Schema = dict[str, Any]


def field_texts(cls: type) -> dict[str, str]:
    """The docstring below each field of a class and of its bases, those of the class itself winning."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith("funreason."):
            continue
        [node] = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(node, ast.ClassDef)
        for before, after in zip(node.body, node.body[1:], strict=False):
            said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
            if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(said, str):
                found[before.target.id] = inspect.cleandoc(said)
    return found


def commands() -> str:
    """The page of commands: every command with its arguments, options and two examples."""
    lines = [
        "# Commands",
        WRITTEN,
        "",
        f"What `funreason COMMAND --help` prints. {EXIT_CODES}",
        "",
        "Options that are on or off are off by default. `--set KEY=VALUE` changes any key of the",
        "[configuration](configuration.md).",
        "",
    ]
    made = app.generate_docs(heading_level=1)
    parts = {text.split("\n", 1)[0]: text for text in re.split(r"^#{2,3} funreason ", made, flags=re.MULTILINE)[1:]}
    for panel, names in PANELS.items():
        lines += [f"## {panel}", ""]
        for name in names:
            for command in [inner for inner in GROUPED if inner.split()[0] == name] if name in GROUPS else [name]:
                lines += [f"### funreason {command}", "", _command(parts[command].split("\n", 1)[1], command), ""]
    return "\n".join(lines)


def _command(text: str, name: str) -> str:
    """What cyclopts writes about a command, without what is said at the top, and with its examples."""
    text = re.sub(r"```console\n(.+?)\n```", r"`\1`", text.strip(), flags=re.DOTALL)
    text = re.sub(r" \*\[default: (?:False|None)\]\*", "", text).replace(", --no-json`", "`")
    text = re.sub(r"\*\*(Arguments|Parameters)\*\*:\n", lambda found: f"{found[1]}:\n", text)
    text = text.replace("Parameters:\n", "Options:\n").replace("*[default: *]*", "*[default: all]*")
    return "\n".join([text, "", "```bash", *EXAMPLES[name], "```"])


def configuration() -> str:
    """The page of settings: every dotted key with its type, bounds, default and meaning."""
    schema = Config.model_json_schema()
    lines = [
        "# Configuration",
        WRITTEN,
        "",
        "Every key of a configuration file by its dotted name: `train.update.lr` is the key `lr` in the group `update`",
        "of the section `train`. In a file it is nested; on the command line it is `--set train.update.lr=1e-4`. An",
        "unknown key is refused with the nearest known one. `funreason config show NAME` prints a configuration with",
        "every value, `funreason config check FILE` validates one. `[]` means each item of a list, `NAME` a name of",
        "your choice.",
        "",
        "## Those that come with the package",
        "",
        "| `--config` | what it is for |",
        "|---|---|",
        *[f"| `{path.stem}` | {_purpose(path)} |" for path in sorted(CONFIGS.glob("*.yaml")) if _purpose(path)],
        "",
        "## The run",
        "",
        *_keys("", Config, schema, schema["$defs"], {}),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _purpose(path: Path) -> str:
    """The first sentence of the comment that a configuration begins with; "" for a graph, which is no configuration."""
    text = path.read_text(encoding="utf-8")
    said = "\n".join(line.strip("# ") for line in takewhile(lambda line: line.startswith("#"), text.split("\n")))
    sentence = re.match(r".+?(?:\.(?=\s|$)|(?=\n[A-Z]))", said, re.DOTALL)
    return "" if "\nedges:" in text or sentence is None else " ".join(sentence[0].replace("|", "\\|").split())


def _keys(prefix: str, cls: type, section: Schema, groups: Schema, written: dict[type, str]) -> list[str]:
    """The keys of a section, each group's after it; `written` has the place of every group that came before."""
    lines: list[str] = []
    texts = field_texts(cls)
    fields = section["properties"].items()
    # Of the run's own sections `start` comes last: what it shares with `train` is looked for there.
    for name, field in (
        fields if prefix else sorted(fields, key=lambda item: (bool(_group(item[1])[0]), item[0] == "start"))
    ):
        group, listed = _group(field)
        key = prefix + name
        lines += [f"{'##' if group and not prefix else '###'} `{key}`", ""]
        if not group or listed or field.get("default", 0) is None:
            lines += [_facts(field, name in section.get("required", ())), ""]
        inner = _class(group) if group else object
        lines += [text, ""] if (text := texts.get(name) or (inspect.getdoc(inner) if group else "")) else []
        if not group:
            continue
        base = next((known for known in inner.__mro__ if known in written), None)
        if base is None:
            written[inner] = key + listed
            lines += _keys(f"{key}{listed}.", inner, groups[group], groups, written)
        else:
            place, names = written[base], groups[group]["properties"]
            lines += [f"The keys are those of [`{place}`](#{_slug(place)}): {', '.join(f'`{n}`' for n in names)}."]
            lines += [*_defaults(inner, base, groups), ""]
    return lines


def _group(field: Schema) -> tuple[str, str]:
    """The group of keys that a field holds, and what its items are called where it holds several; "" for none."""
    for each in (field, *field.get("anyOf", ()), *field.get("allOf", ())):
        if "$ref" in each:
            return each["$ref"].rpartition("/")[2], ""
    for place, called in (("items", "[]"), ("additionalProperties", ".NAME")):
        if isinstance(inner := field.get(place), dict) and "$ref" in inner:
            return inner["$ref"].rpartition("/")[2], called
    return "", ""


def _class(name: str) -> type:
    """A group's class by its name, wherever in the package's configuration it is."""
    for module in [module for path, module in sys.modules.items() if path.startswith("funreason.config")]:
        if isinstance(made := vars(module).get(name), type):
            return made
    raise LookupError(name)


def _defaults(inner: type, base: type, groups: Schema) -> list[str]:
    """What a group that has another's keys sets otherwise."""
    here, there = (groups[cls.__name__]["properties"] for cls in (inner, base))
    other = [f"`{k}` {_value(v['default'])}" for k, v in here.items() if v.get("default") != there[k].get("default")]
    return [f"Other defaults: {', '.join(other)}."] if other else []


def _slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and Markdown make it."""
    return re.sub(r"[^\w\s-]", "", heading).lower()


def _facts(field: Schema, required: bool) -> str:
    return f"*{_kind(field)}* · {'required' if required else 'default ' + _value(field.get('default'))}"


def _value(value: Any) -> str:
    return f"`{value if value and isinstance(value, str) else json.dumps(value, ensure_ascii=False)}`"


def _kind(field: Schema) -> str:
    """What a value may be, in words, from its JSON schema."""
    if "anyOf" in field:
        return " or ".join(_kind(each) for each in field["anyOf"])
    if "enum" in field or "const" in field:
        return " or ".join(_value(each) for each in field.get("enum", [field.get("const")]))
    if "$ref" in field:
        return "group"
    match field.get("type"):
        case "array" if "prefixItems" in field:
            return f"list of {len(field['prefixItems'])}: {_kind(field['prefixItems'][0])}"
        case "array":
            return f"list: {_kind(field['items'])}"
        case "object":
            of = field.get("additionalProperties")
            return f"mapping: {_kind(of)}" if isinstance(of, dict) else "mapping"
        case "boolean":
            return "`true` or `false`"
        case "string":
            return "path" if field.get("format") == "path" else "text"
        case "null":
            return "null"
        case kind:
            if {"minimum", "maximum"} <= field.keys():
                return f"{kind} from {field['minimum']} to {field['maximum']}"
            return " ".join([str(kind or "anything"), *(f"{BOUNDS[k]} {field[k]}" for k in BOUNDS if k in field)])


def events() -> str:
    """The page of the record's events: every kind with its fields."""
    lines = [
        "# Events",
        WRITTEN,
        "",
        "What the lines of a run's `events/*.jsonl` hold, besides the first one of each file. Every event has `kind`",
        "and `at` (seconds since the epoch); a field that has its default is not written. What the record promises is",
        "in [the record](../record.md); `funreason.record.events` has the types.",
        "",
    ]
    kinds = list(get_args(AnyEvent))
    parts = [each for name in PARTS if isinstance(each := getattr(record_events, name), type)]
    for cls in [*kinds, *parts]:
        if cls is parts[0]:
            lines += ["## Parts of events", ""]
        title = cls.__struct_config__.tag if cls in kinds else cls.__name__
        lines += [f"{'##' if cls in kinds else '###'} `{title}`", "", inspect.getdoc(cls) or "", ""]
        texts = field_texts(cls)
        rows = []
        for field in msgspec.structs.fields(cls):
            if field.name == "at":
                continue
            default = field.default if field.default is not msgspec.NODEFAULT else NONE
            if field.default_factory is not msgspec.NODEFAULT:
                default = field.default_factory()
            shown = "required" if default is NONE else _value(default)
            said = " ".join(texts.get(field.name, "").split())
            kind = inspect.formatannotation(field.type).replace("funreason.record.events.", "").replace("|", "\\|")
            rows.append((field.name, kind, shown, said))
        said_any = any(row[3] for row in rows)
        if rows:
            lines += [
                "| field | type | default |" + (" |" if said_any else ""),
                "|---|---|---|" + ("---|" if said_any else ""),
            ]
            lines += [f"| `{a}` | `{b}` | {c} |" + (f" {d} |" if said_any else "") for a, b, c, d in rows]
            lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def data() -> str:
    """The page of data forms, with what the readers make of the records in it."""
    text = (FOLDER / "data.md").read_text(encoding="utf-8")
    text = re.sub(r"(<!-- roles -->).*?(<!-- /roles -->)", rf"\1\n{_words()}\n\2", text, flags=re.DOTALL)
    return GROUP_OF_FILES.sub(lambda found: f"{found[1]}<!-- read -->\n{_read_as(found[1])}\n<!-- /read -->", text)


def _read_as(blocks: str) -> str:
    """What the reader makes of the first of these files, which lie beside each other."""
    with TemporaryDirectory() as folder:
        names = []
        for name, content in FILE.findall(blocks):
            names.append(Path(folder, name))
            names[-1].parent.mkdir(exist_ok=True)
            names[-1].write_text(content, encoding="utf-8")
        read = read_tasks(names[0])
    lines = []
    for task in read.tasks:
        right = "unknown" if task.reference is None else render_calls(task.reference) if task.reference else "[]"
        asked = next(turn.content for turn in reversed(task.messages) if turn.role == "user").replace("\n", " ⏎ ")
        lines += [f"task {task.id}", f"    asks      {asked}", f"    right     {right}"]
        lines += [f"    text      {task.reference_text}"] if task.reference_text else []
        lines += [f"    thinking  {task.reference_thinking}"] if task.reference_thinking else []
        roles = ", ".join(turn.role for turn in task.messages)
        lines += [f"    history   {roles}"] if len(task.messages) > 1 else []
    for refusal in read.refusals:
        lines += textwrap.wrap(
            f"refused {refusal.where}: {refusal.reason}: {refusal.message}", 96, subsequent_indent="    "
        )
    left = ", ".join(f"{what} {count}" for what, count in read.left.items())
    lines += [f"not carried: {left}"] if left else []
    return "\n".join(["```text", *lines, "```"])


def _words() -> str:
    """The roles, fields and marks that conversations may have."""
    means = {CALLING: "a call"}
    roles: dict[str, list[str]] = {}
    for word, role in ROLES.items():
        roles.setdefault(means.get(role, role), []).append(f"`{word}`")
    rows = [f"| {role} | {', '.join(words)} |" for role, words in roles.items()]
    marks = [f"`{key}: {str(no).lower()}`" for key, no in UNTRAINED.items()]
    rows += [f"| thinking, in a field | {', '.join(f'`{name}`' for name in THINKING_FIELDS)} |"]
    rows += [f"| thinking, in a part of the content | {', '.join(f'`{name}`' for name in sorted(THINKING_PARTS))} |"]
    rows += [f"| not to be learned | {', '.join(marks)} |"]
    return "\n".join(["| meaning | written as |", "|---|---|", *rows])


PAGES = {
    "data.md": data,
    "reference/commands.md": commands,
    "reference/configuration.md": configuration,
    "reference/events.md": events,
}

if __name__ == "__main__":
    for name, made in PAGES.items():
        (FOLDER / name).write_text(made(), encoding="utf-8")
