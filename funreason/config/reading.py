"""Reads configurations: a file or a name, with changes; every mistake is named with the nearest known key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from rapidfuzz import process

from funreason.config.section import CONFIGS, ConfigError, Section
from funreason.config.whole import Config


def load_config(path: str | Path, changes: dict[str, Any] | None = None) -> Config:
    """Read a configuration by path or by its name in configs/; `changes` maps dotted keys to values and wins."""
    file = find_config(path)
    try:
        data = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not readable YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{file} must hold a mapping of settings, found {type(data).__name__}")
    for key, value in (changes or {}).items():
        _set(data, key, value)
    return check_config(data, str(file))


def find_config(path: str | Path) -> Path:
    """The file of a configuration; ConfigError lists the names in configs/."""
    for file in (Path(path), CONFIGS / f"{path}.yaml"):
        if file.is_file():
            return file
    known = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml")))
    raise ConfigError(f"no configuration {path}: neither a file nor one of {known}")


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
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not readable YAML: {error}") from error


def dump_config(config: Config) -> str:
    """The configuration as YAML, every default spelled out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=120)


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
        return f"{key} is {error['input']!r}: {error['msg']}"
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
