"""Plain data from YAML. A key that stands twice in one group is refused: YAML itself would silently take the last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from funreason.config.section import ConfigError

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
