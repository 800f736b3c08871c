"""Custom agents: nodes that a configuration adds to the graph."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from funreason.config.section import Section


class AgentEntry(Section):
    """A custom agent and its place in the graph."""

    name: str
    """The name of its node, as it appears in tables and reasons."""
    agent: str
    """`module:name`, `path/to/file.py:name` or the name of an installed agent. A judge is an async function that takes
    a Sample and returns a Verdict or an outcome."""
    after: str = "cot"
    """The node whose outcome leads to this one."""
    edge: str = "pass"
    """The outcome of that node which now leads here. This agent's own `pass` leads where that outcome led before."""
    outcomes: dict[str, str] = {}
    """Further outcomes and the node each leads to. `pass`, `drop` and `error` may be listed to lead elsewhere.

    An outcome that leads back to an earlier node costs the sample an attempt.
    """
    stage: Literal["response", "query_tool", "cot", "parameters", "format"] | None = None
    """The stage whose question this judge answers: it then gets that stage's bad canaries. Default: good ones only."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds it may take for one message before it counts as an error. Default: 60 for a sample, no limit for a
    round's message, which a person may have to answer."""
    settings: dict[str, Any] = {}
    """Arguments of the agent's class."""

    @field_validator("name")
    @classmethod
    def _a_name(cls, name: str) -> str:
        if not name.strip():
            raise ValueError("expected a name for its node, such as no_pii: tables and reasons show it")
        return name
