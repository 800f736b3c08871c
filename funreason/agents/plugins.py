"""Agents of your own: named in the configuration, loaded when a run starts, never before.

`package.module:name`, `path/to/file.py:name`, or one word: the name under which an installed package offers an agent.
A class is built without arguments; an async function is used as it is. A plug-in that cannot be loaded is named with
its own error, and nothing else is affected, not even when its module calls `sys.exit`.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from funreason.agents.importing import FAULTS, PluginError, import_file, import_named, own_lines
from funreason.agents.installed import offers
from funreason.bus.agent import check_agent

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
