"""Plain data from YAML. A key that stands twice in one group is refused: YAML itself would silently take the last."""

from __future__ import annotations

from collections.abc import Collection, Container
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from rapidfuzz import process

from funreason.config.judges import JudgeEntry
from funreason.config.section import CONFIGS, ConfigError, Section
from funreason.config.whole import Config

MERGE = "tag:yaml.org,2002:merge"


class _Twice(Exception):
    """A key stands twice; says where."""


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise _Twice(f"{key.value} is written twice in one group, in lines {lines[name]} and {line}: keep one.")
            lines[name] = line
        return node


def read_yaml_file(path: Path) -> Any:
    """What a YAML file holds; ConfigError names the file."""
    try:
        return read_yaml(path.read_text(), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not readable YAML: {error}") from error


def read_yaml(text: str, where: str) -> Any:
    """What a YAML text holds; `where` stands in front of what the ConfigError says."""
    try:
        return yaml.load(text, _Loader)
    except _Twice as error:
        raise ConfigError(f"{where}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not readable YAML: {error}") from error


# Where the files of one's own judges lie, so that a run taken up from another folder finds them.


def with_places(config: Config, folder: Path) -> Config:
    """The same with the judges' files written whole: in `folder`, or in the working directory if only there."""
    judges = [_placed(entry, folder) for entry in config.fcdr.judges]
    return config.model_copy(update={"fcdr": config.fcdr.model_copy(update={"judges": judges})})


def _placed(entry: JudgeEntry, folder: Path) -> JudgeEntry:
    file, _, name = entry.agent.rpartition(":")
    if not file.endswith(".py"):
        return entry
    beside = (folder / file).resolve()
    here = Path(file).resolve()
    return entry.model_copy(update={"agent": f"{here if here.is_file() and not beside.is_file() else beside}:{name}"})


# Reads configurations: a file or a name, with changes; every mistake is named with the nearest known key.

COMMAND_LINE = "the command line"


def load_config(path: str | Path, changes: dict[str, Any] | None = None) -> Config:
    """Read a configuration by path or by its name in configs/; `changes` maps dotted keys to values and wins.

    The files of judges are looked for beside the configuration, those that `changes` names in the working directory.
    ConfigError tells what the file says wrong from what the changes do, which came from the command line.
    """
    file = find_config(path)
    data = read_yaml_file(file)
    if not isinstance(data, dict):
        raise ConfigError(f"{file} must hold a mapping of settings, found {type(data).__name__}")
    if _is_graph(data):
        raise ConfigError(
            f"{file} is a graph and no configuration: give one of {', '.join(_names())}, and the graph by "
            f"--set fcdr.graph={path}"
        )
    here = not {"fcdr", "fcdr.judges"}.isdisjoint(changes or {})
    config = _changed(data, changes, str(file)) if changes else check_config(data, str(file))
    return with_places(config, Path.cwd() if here else file.resolve().parent)


def _changed(data: dict[str, Any], changes: dict[str, Any], file: str) -> Config:
    changed = deepcopy(data)
    for key, value in changes.items():
        _set(changed, key, value)
    try:
        return Config.model_validate(changed)
    except ValidationError as error:
        own = _faults(data)
        lines = [f"{_source(e, changes, own, file)}: {_sentence(e)}" for e in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def find_config(path: str | Path) -> Path:
    """The file of a configuration; ConfigError lists the names in configs/."""
    for file in (Path(path), CONFIGS / f"{path}.yaml"):
        if file.is_file():
            return file
    raise ConfigError(f"no configuration {path}: neither a file nor one of {', '.join(_names())}")


def check_config(data: dict[str, Any], where: str) -> Config:
    """Validate plain data; ConfigError names every wrong key, what was expected and the nearest known key."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        lines = [_sentence(e) for e in error.errors()]
        raise ConfigError("\n".join(f"{where}: {line}" for line in lines)) from error


def parse_setting(text: str) -> tuple[str, Any]:
    """`key=value` from the command line; the value is read as YAML."""
    key, found, value = text.partition("=")
    if not found:
        raise ConfigError(f"--set {text}: expected key=value, such as sample.k=8")
    return key.strip(), read_yaml(value, f"--set {text}: the value")


def dump_config(config: Config) -> str:
    """The configuration as YAML, every default spelled out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=120)


def _names() -> list[str]:
    """The configurations in configs/, where graphs lie as well."""
    return sorted(p.stem for p in CONFIGS.glob("*.yaml") if not _is_graph(read_yaml_file(p)))


def _is_graph(data: Any) -> bool:
    return isinstance(data, dict) and {"nodes", "edges"} <= data.keys()


def _faults(data: dict[str, Any]) -> set[tuple[tuple[Any, ...], str]]:
    """Where and how plain data is wrong."""
    try:
        Config.model_validate(data)
    except ValidationError as error:
        return {(e["loc"], e["type"]) for e in error.errors()}
    except ConfigError:
        pass  # a sentence of its own, and none of those looked for
    return set()


def _source(error: Any, changes: Collection[str], own: Container[Any], file: str) -> str:
    """Who said what is wrong: the file, unless the key was changed or is only wrong since something was."""
    key = ".".join(str(part) for part in error["loc"])
    changed = any(f"{key}.".startswith(f"{change}.") for change in changes)
    return COMMAND_LINE if changed or (error["loc"], error["type"]) not in own else file


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        inner = data.setdefault(part, {})
        if inner is None:
            inner = data[part] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {key}: {part} is {inner!r}, not a group of settings")
        data = inner
    data[last] = value


def _sentence(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if not key:  # about the whole: the sentence names its settings itself
        return str(error["ctx"]["error"]) if "ctx" in error else str(error["msg"])
    if error["type"] != "extra_forbidden":
        return f"{key} is {error['input']!r}: {error['msg'].removeprefix('Value error, ')}"
    known = _known_keys(error["loc"][:-1])
    best = process.extractOne(str(error["loc"][-1]), known)
    nearest = f" Did you mean {best[0]}?" if best and best[1] >= 55 else ""
    return f"unknown key {key}.{nearest} Known here: {', '.join(known)}."


def _known_keys(path: tuple[Any, ...]) -> list[str]:
    section: type[Section] = Config
    for part in path:
        field = section.model_fields.get(str(part))
        if field is None:
            continue  # a list index or the key of a mapping: stay with its item type
        section = _section_of(field.annotation) or section
    return list(section.model_fields)


def _section_of(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section_of(inner)
        if found:
            return found
    return None
