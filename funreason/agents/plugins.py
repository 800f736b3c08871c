"""Agents of your own: named in the configuration, loaded when a run starts, never before.

`package.module:name` or `path/to/file.py:name`. A class is built without arguments; an async function is used as it
is. A plug-in that cannot be loaded is named with its own error, and nothing else is affected.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from funreason.bus.agent import check_agent


class PluginError(Exception):
    """A plug-in that cannot be found, imported or used; the message holds its traceback's end."""


def load_agent(spec: str) -> Any:
    """The agent that `spec` names."""
    where, found, name = spec.rpartition(":")
    if not found or not where or not name:
        raise PluginError(f"agent {spec!r}: expected `module:name` or `path/to/file.py:name`")
    module = _load_file(Path(where), spec) if where.endswith(".py") else _load_module(where, spec)
    agent = getattr(module, name, None)
    if agent is None:
        there = ", ".join(n for n in vars(module) if not n.startswith("_"))
        raise PluginError(f"agent {spec!r}: {where} has no {name!r}; it has {there or 'nothing public'}")
    if inspect.isclass(agent):
        agent = _built(agent, spec)
    try:
        check_agent(name, agent)
    except TypeError as error:
        raise PluginError(f"agent {spec!r}: {error}") from error
    return agent


def _built(agent: type[Any], spec: str) -> Any:
    try:
        return agent()
    except Exception as error:
        raise PluginError(
            f"agent {spec!r}: the class is built without arguments, and {agent.__name__}() failed:\n{_tail(error)}"
        ) from error


def _load_module(name: str, spec: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise PluginError(f"agent {spec!r}: importing {name} failed:\n{_tail(error)}") from error


def _load_file(path: Path, spec: str) -> ModuleType:
    if not path.is_file():
        raise PluginError(f"agent {spec!r}: there is no file {path.resolve()}")
    found = importlib.util.spec_from_file_location(f"funreason_plugin_{path.stem}", path)
    if found is None or found.loader is None:
        raise PluginError(f"agent {spec!r}: {path} is not a Python file")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except Exception as error:
        raise PluginError(f"agent {spec!r}: running {path} failed:\n{_tail(error)}") from error
    return module


def _tail(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)[-3:]).rstrip()
