"""Custom judges: which are installed, how one is loaded when a run starts, and how it is called at its node.

An agent is named `package.module:name`, `path/to/file.py:name`, or by the one word under which an installed package
offers it through an entry point of the group `funreason.agents`. Listing the offers imports nothing, so a broken
package does no harm unless its agent is used. A class is instantiated without arguments; an async function is used as
it is. When loading fails, the error shows the traceback of the plug-in's own lines. Even a module that calls `sys.exit`
only fails itself.

`CustomJudge` records answers under the node's name. A bare outcome becomes a verdict with the reason
`<node>.<outcome>`, so that dead letters can be told apart. A judge that exceeds its time limit has failed on the
sample. A judge that computes without ever awaiting cannot be interrupted.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NamedTuple

import msgspec

import funreason
from funreason.bus.agent import check_agent
from funreason.types import Outcome, Sample, Verdict

GROUP = "funreason.agents"
JUDGES = {
    "response": "funreason.agents.judges.rules.response:judge_response",
    "query_tool": "funreason.agents.judges.rules.query_tool:judge_query_tool",
    "cot": "funreason.agents.judges.rules.cot:CotJudge",
    "parameters": "funreason.agents.judges.rules.parameters:judge_parameters",
    "format": "funreason.agents.judges.rules.format:judge_format",
}
"""The five rule judges, by the name of their stage."""


class Offer(NamedTuple):
    """An installed agent: its name, its `module:name` spec, and the distribution that provides it."""

    name: str
    spec: str
    distribution: str
    version: str


def offers() -> list[Offer]:
    """All installed agents: the rule judges in stage order, then others by name."""
    own = [Offer(name, spec, "funreason", funreason.__version__) for name, spec in JUDGES.items()]
    found = {
        Offer(entry.name, entry.value, entry.dist.name, entry.dist.version)
        for entry in entry_points(group=GROUP)
        if entry.dist is not None
    }
    return own + sorted(found)


FAULTS = (Exception, SystemExit)
"""What a plug-in may raise while it is loaded without ending the command."""
MOST_LINES = 40
"""Longest traceback shown; the middle of a longer one is left out."""
_OURS = (f"{Path(__file__).parent}/", f"{Path(importlib.__file__).parent}/", "<frozen importlib")


class PluginError(Exception):
    """A plug-in that cannot be found, imported or used. The message contains its traceback."""


def import_named(name: str, spec: str, *, from_here: bool) -> ModuleType:
    """Import the module `name`. With `from_here`, the working directory is searched after installed packages."""
    if from_here:
        _reach(Path.cwd())
    try:
        return importlib.import_module(name)
    except FAULTS as error:
        raise PluginError(f"agent {spec!r}: importing {name} failed:\n{own_lines(error)}") from error


def import_file(path: Path, spec: str) -> ModuleType:
    """Import a file as a module. It may import modules beside it."""
    path = path.resolve()
    if not path.is_file():
        raise PluginError(f"agent {spec!r}: there is no file {path}")
    name = f"funreason_plugin_{path.stem}_{hashlib.blake2b(str(path).encode(), digest_size=6).hexdigest()}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise PluginError(f"agent {spec!r}: {path} is not a Python file")
    _reach(path.parent)
    # dataclasses look a class's module up here to read its annotations
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except FAULTS as error:
        del sys.modules[name]
        raise PluginError(f"agent {spec!r}: running {path} failed:\n{own_lines(error)}") from error
    return module


def own_lines(error: BaseException) -> str:
    """The traceback without the leading frames of funreason and importlib."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    lines = "".join(traceback.format_exception(type(error), error, trace)).rstrip().split("\n")
    if len(lines) > MOST_LINES:
        half = MOST_LINES // 2
        lines = [*lines[:half], f"  … {len(lines) - 2 * half} lines left out", *lines[-half:]]
    return "\n".join(lines)


def _reach(folder: Path) -> None:
    """Add `folder` to the end of the import path, also for later imports by the agent."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()  # the folder may have been scanned before the file was written


OBJECT = "object:"
"""How the spec of an agent begins that was passed as a Python object: it lives in this process only."""
_objects: dict[str, Any] = {}


def offer_object(name: str, agent: object) -> str:
    """Let `agent` be named in a configuration of this process. Returns its spec."""
    spec = f"{OBJECT}{name}"
    _objects[spec] = agent
    return spec


def load_agent(spec: str, settings: Mapping[str, Any] | None = None) -> Any:
    """Load the agent that `spec` names; a class is built with `settings`. PluginError when that is not possible."""
    if spec.startswith(OBJECT):
        if spec not in _objects:
            raise PluginError(
                f"agent {spec!r} was passed as a Python object, and this process has none of that name. Resume from "
                "Python, with the same agent in `judges`."
            )
        return _objects[spec]
    where, found, name = (spec if ":" in spec else _offered(spec)).rpartition(":")
    if not found or not where or not name:
        raise PluginError(f"agent {spec!r}: expected `module:name` or `path/to/file.py:name`")
    if where.endswith(".py"):
        module = import_file(Path(where), spec)
    else:  # an offered agent must come from an installed package, not from the working directory
        module = import_named(where, spec, from_here=":" in spec)
    agent = getattr(module, name, None)
    if agent is None:
        there = ", ".join(n for n in vars(module) if not n.startswith("_"))
        raise PluginError(f"agent {spec!r}: {where} has no {name!r}; it has {there or 'nothing public'}")
    if inspect.isclass(agent):
        try:
            agent = agent(**(settings or {}))
        except FAULTS as error:
            given = f"with the settings {', '.join(settings)}" if settings else "without arguments"
            why = f"the class is built {given}, and {name}() failed:\n{own_lines(error)}"
            raise PluginError(f"agent {spec!r}: {why}") from error
    elif settings:
        raise PluginError(f"agent {spec!r}: {name} is a function and takes no settings; make it a class to use them")
    try:
        check_agent(name, agent)
    except TypeError as error:
        raise PluginError(f"agent {spec!r}: {error}") from error
    return agent


def _offered(name: str) -> str:
    """The spec of the installed agent called `name`."""
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
        f"Installed agents: {there}."
    )


USUAL: tuple[str, ...] = (Outcome.PASS, Outcome.DROP, Outcome.ERROR)
"""The outcomes of every judge's node. Others must be declared."""
REASON_CHARS, EVIDENCE_CHARS = 200, 4_000
"""Longest reason and evidence kept of a verdict: reasons go into the log, which holds no long texts."""


class CustomJudge:
    """Calls `agent` and labels its answer with the node's name. `limit_s` is the time limit per sample in seconds."""

    def __init__(self, node: str, agent: Callable[[Sample], Awaitable[Any]], limit_s: float | None = 60.0) -> None:
        self.node = node
        self.agent = agent
        self.limit_s = limit_s

    async def __call__(self, sample: Sample) -> Any:
        """The agent's answer. A verdict or a bare outcome becomes a verdict of this node."""
        return self._signed(await self._in_time(self.agent(sample)))

    async def judge_uncached(self, sample: Sample) -> Any:
        """The same without the agent's cache, if it has a method `judge_uncached`."""
        return self._signed(await self._in_time(getattr(self.agent, "judge_uncached", self.agent)(sample)))

    async def _in_time(self, answer: Awaitable[Any]) -> Any:
        limit = asyncio.timeout(self.limit_s)
        try:
            async with limit:
                return await answer
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(f"{self.node} gave no answer within {self.limit_s:g} s") from error
        except asyncio.CancelledError as error:
            if is_broken_off():
                raise
            # Passed on, it would look like the user's interrupt and end the run without a reason.
            raise RuntimeError(f"{self.node} raised CancelledError, but was not cancelled") from error

    def _signed(self, answer: Any) -> Any:
        if isinstance(answer, str):
            reason = "" if answer == Outcome.PASS else f"{self.node}.{answer}"
            return Verdict(self.node, answer, reason, judge="own")
        if not isinstance(answer, Verdict):
            return answer
        reason, evidence = answer.reason[:REASON_CHARS], answer.evidence[:EVIDENCE_CHARS]
        if (answer.stage, answer.reason, answer.evidence) == (self.node, reason, evidence):
            return answer
        return msgspec.structs.replace(answer, stage=self.node, reason=reason, evidence=evidence)


def declared(agent: object) -> frozenset[str]:
    """The outcomes an agent may return: the usual ones and those in its attribute `outcomes`."""
    return frozenset(USUAL) | frozenset(getattr(agent, "outcomes", ()))


def is_broken_off() -> bool:
    """Whether the current task is cancelled from outside, as opposed to an agent raising CancelledError itself."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
