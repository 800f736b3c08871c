"""Agents of your own: named in the configuration, loaded when a run starts, never before.

`package.module:name`, `path/to/file.py:name`, or one word: the name under which an installed package offers an agent.
A class is built without arguments; an async function is used as it is. A plug-in that cannot be loaded is named with
its own error, and nothing else is affected, not even when its module calls `sys.exit`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from funreason.agents.installed import offers
from funreason.bus.agent import check_agent

FAULTS = (Exception, SystemExit)
"""What somebody else's code may raise without taking the command down with it."""


class PluginError(Exception):
    """A plug-in that cannot be found, imported or used; the message holds its traceback's end."""


def load_agent(spec: str) -> Any:
    """The agent that `spec` names; PluginError says why there is none."""
    where, found, name = (spec if ":" in spec else _offered(spec)).rpartition(":")
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


def _offered(name: str) -> str:
    """What is offered under `name`."""
    known = offers()
    found = [offer for offer in known if offer.name == name]
    if len(found) == 1:
        return found[0].spec
    if found:
        rivals = " and ".join(f"{offer.distribution} ({offer.spec})" for offer in found)
        raise PluginError(f"agent {name!r} is offered by {rivals}; write which one as `module:name`")
    there = ", ".join(offer.name for offer in known)
    raise PluginError(
        f"agent {name!r}: expected `module:name`, `path/to/file.py:name` or the name of an installed agent. "
        f"Installed are {there}."
    )


def _built(agent: type[Any], spec: str) -> Any:
    try:
        return agent()
    except FAULTS as error:
        raise PluginError(
            f"agent {spec!r}: the class is built without arguments, and {agent.__name__}() failed:\n{_tail(error)}"
        ) from error


def _load_module(name: str, spec: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except FAULTS as error:
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
    except FAULTS as error:
        raise PluginError(f"agent {spec!r}: running {path} failed:\n{_tail(error)}") from error
    return module


def _tail(error: BaseException) -> str:
    """The end of a traceback: where it happened, and what."""
    return "".join(traceback.format_exception(error)[-3:]).rstrip()
