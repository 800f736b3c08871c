"""Runs somebody else's code to get a module out of it; a failure is told by the code's own lines of the traceback."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from funreason.agents.judges.installed import offers
from funreason.bus.agent import check_agent

FAULTS = (Exception, SystemExit)
"""What somebody else's code may raise without taking the command down with it."""
MOST_LINES = 40
"""Of a longer traceback the middle is left out."""
_OURS = (f"{Path(__file__).parent}/", f"{Path(importlib.__file__).parent}/", "<frozen importlib")


class PluginError(Exception):
    """A plug-in that cannot be found, imported or used; the message holds its traceback."""


def import_named(name: str, spec: str, *, from_here: bool) -> ModuleType:
    """The module `name`; with `from_here` it may also lie in the working directory, after all that is installed."""
    if from_here:
        _reach(Path.cwd())
    try:
        return importlib.import_module(name)
    except FAULTS as error:
        raise PluginError(f"agent {spec!r}: importing {name} failed:\n{own_lines(error)}") from error


def import_file(path: Path, spec: str) -> ModuleType:
    """The module that a file makes. It may import its neighbours."""
    path = path.resolve()
    if not path.is_file():
        raise PluginError(f"agent {spec!r}: there is no file {path}")
    name = f"funreason_plugin_{path.stem}_{hashlib.blake2b(str(path).encode(), digest_size=6).hexdigest()}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise PluginError(f"agent {spec!r}: {path} is not a Python file")
    _reach(path.parent)
    # Where a class's own module is looked for: dataclasses read its annotations there.
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except FAULTS as error:
        del sys.modules[name]
        raise PluginError(f"agent {spec!r}: running {path} failed:\n{own_lines(error)}") from error
    return module


def own_lines(error: BaseException) -> str:
    """A traceback from the first line that is neither ours nor the import's: where it happened, and what."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    lines = "".join(traceback.format_exception(type(error), error, trace)).rstrip().split("\n")
    if len(lines) > MOST_LINES:
        half = MOST_LINES // 2
        lines = [*lines[:half], f"  … {len(lines) - 2 * half} lines left out", *lines[-half:]]
    return "\n".join(lines)


def _reach(folder: Path) -> None:
    """Let modules of `folder` be imported, those that a judge imports later too; what is installed comes first."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()  # the folder may have been looked at before the file was written


# Agents of your own: named in the configuration, loaded when a run starts, never before.
#
# `package.module:name`, `path/to/file.py:name`, or one word: the name under which an installed package offers an agent.
# A class is built without arguments; an async function is used as it is. A plug-in that cannot be loaded is named with
# its own error, and nothing else is affected, not even when its module calls `sys.exit`.

__all__ = ["PluginError", "load_agent"]


def load_agent(spec: str) -> Any:
    """The agent that `spec` names; PluginError says why there is none."""
    where, found, name = (spec if ":" in spec else _offered(spec)).rpartition(":")
    if not found or not where or not name:
        raise PluginError(f"agent {spec!r}: expected `module:name` or `path/to/file.py:name`")
    if where.endswith(".py"):
        module = import_file(Path(where), spec)
    else:  # what an installed package offers must not come out of the working directory
        module = import_named(where, spec, from_here=":" in spec)
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
            f"agent {spec!r}: the class is built without arguments, and {agent.__name__}() failed:\n{own_lines(error)}"
        ) from error
