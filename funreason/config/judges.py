"""How samples are judged and repaired, how the judges are checked, and which custom agents are added to the graph."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from funreason.config.models import Endpoint
from funreason.config.section import OWN_TASKS, Count, Section, Share


class Canaries(Section):
    """Samples known to be good or bad, made from references. Every judge must answer them before each round."""

    share: Share = 0.02
    """Canaries per sample of a round; each judge gets at least ten good and ten bad ones. 0 disables them."""
    path: str = OWN_TASKS
    """Where their references come from: `tasks` (the run's own), a data file, or `toolbox:<split>`."""
    max_false_pass: Share | None = None
    """Stop the round when a judge lets a larger share of the bad canaries pass. Default: never."""
    max_false_drop: Share | None = None
    """Stop the round when a judge refuses a larger share of the good canaries. Default: never."""


JudgeKind = Literal["rules", "llm", "both"]


class Stages(Section):
    """What judges each of the five stages; a single word sets all of them.

    `both`: rules first, then a language model for what rules cannot decide (docs/llm-judges.md).
    """

    response: JudgeKind = "rules"
    """Stage 1: a call, or ordinary text?"""
    query_tool: JudgeKind = "rules"
    """Stage 2: can these tools answer the query?"""
    cot: JudgeKind = "rules"
    """Stage 3: does the thinking lead to the call?"""
    parameters: JudgeKind = "rules"
    """Stage 4: are names, parameters and values right?"""
    format: JudgeKind = "rules"
    """Stage 5: is the answer exactly in the form that is taught?"""

    @model_validator(mode="before")
    @classmethod
    def _one_word(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given not in get_args(JudgeKind):
            raise ValueError(f"expected one of {', '.join(get_args(JudgeKind))}, or a mapping from stages to these")
        return dict.fromkeys(cls.model_fields, given)


class LlmJudges(Section):
    """The language models that judge the stages set to `llm` or `both`. Each model has a vote."""

    model: str | None = None
    """A model folder or its name on a hub, `toolbox`, or `self`: the model in training judges its own samples."""
    endpoints: list[Endpoint] = []
    """Servers to ask. Servers of the same model share its questions; each further model is a further judge."""
    temperature: Annotated[float, Field(ge=0)] = 0.1
    """0 always takes the most likely token."""
    max_tokens: Count = 2048
    """Longest reply in tokens, reasoning included."""
    samples_per_model: Count = 1
    """Replies sampled from each model; each has a vote."""
    vote: Literal["unanimous", "majority", "mean"] = "unanimous"
    """When a sample passes: all votes agree, more than half do, or their mean score reaches `threshold`."""
    threshold: Share = 0.5
    """The lowest mean score that passes. Used with `vote: mean` only."""
    max_attempts: Count = 2
    """Requests per vote until a reply can be parsed. After the last one the verdict is `error`."""
    concurrency: Count = 64
    """Requests in flight."""
    cache: bool = True
    """Keep verdicts in the user's cache folder and reuse them."""
    cache_entries: Count = 200_000
    """Verdicts kept in the cache; the least recently used ones are removed first."""


class Fcdr(Section):
    """Judging and repairing samples."""

    graph: str = "fcdr"
    """The graph file: a name in configs/ or a path."""
    skip: list[str] = []
    """Stages to leave out. What led to one leads to where its `pass` went."""
    move: dict[str, str] = {}
    """Stages to move, each to after the `pass` of another one: `{query_tool: cot}`."""
    max_attempts: Count = 3
    """Answers a sample may have, the first one included."""
    regenerate: list[Literal["rerender", "rewrite", "resample", "repair"]] = [
        "rerender",
        "rewrite",
        "resample",
        "repair",
    ]
    """What the regenerator tries, in this order. `rewrite` takes an LLM judge's answer, `repair` the reference's:
    supervised data."""
    require_thinking: bool = True
    """Drop answers without a chain of thought. Turn off for data that has none."""
    stages: Stages = Stages()
    llm: LlmJudges = LlmJudges()
    max_error_rate: Share = 0.2
    """Stop the round when a judge's error rate exceeds this (checked from its 20th verdict, and again at the end).
    1 disables the check."""
    canaries: Canaries = Canaries()
    self_agreement_share: Share = 0.02
    """Share of verdicts that are asked for twice, to measure how often a judge agrees with itself. 0 disables this."""
    max_in_flight: Count | None = None
    """Samples in flight. Default: 2 × llm.concurrency."""

    @property
    def samples_at_once(self) -> int:
        """`max_in_flight` with its default resolved."""
        return self.max_in_flight or 2 * self.llm.concurrency


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
