"""Custom judges: which are installed, how one is loaded when a run starts, and how it is called at its node.

An agent is named `package.module:name`, `path/to/file.py:name`, or by the one word under which an installed package
offers it through an entry point of the group `funreason.agents`. Listing the offers imports nothing, so a broken
package does no harm unless its agent is used. A class is instantiated without arguments; an async function is used as
it is. `funreason.plugins` imports modules and files.

`CustomJudge` records answers under the node's name. A bare outcome becomes a verdict with the reason
`<node>.<outcome>`, so that dead letters can be told apart. A judge that exceeds its time limit has failed on the
sample. A judge that computes without ever awaiting cannot be interrupted.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, NamedTuple

import msgspec

import funreason
from funreason.bus.agent import check_agent
from funreason.plugins import FAULTS, PluginError, load_object, own_lines
from funreason.types import Outcome, Sample, Verdict

GROUP = "funreason.agents"
JUDGES = {
    "response": "funreason.agents.judges.rules.stages:judge_response",
    "query_tool": "funreason.agents.judges.rules.stages:judge_query_tool",
    "cot": "funreason.agents.judges.rules.stages:CotJudge",
    "parameters": "funreason.agents.judges.rules.stages:judge_parameters",
    "format": "funreason.agents.judges.rules.stages:judge_format",
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
    # An offered agent must come from an installed package, not from the working directory.
    where = spec if ":" in spec else _offered(spec)
    agent, name = load_object(where, "agent", from_here=":" in spec), where.rpartition(":")[2]
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
