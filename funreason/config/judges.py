"""How samples are judged and repaired, and how judges are judged."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from funreason.config.models import Endpoint
from funreason.config.section import OWN_TASKS, Count, Section, Share


class JudgeEntry(Section):
    """A judge of your own."""

    name: str
    agent: str
    """`module:name`, `path/to/file.py:name` or the name of an installed agent: an async function from a Sample to a
    Verdict or a word."""
    after: str = "cot"
    """The node behind which it stands."""
    edge: str = "pass"
    """The outcome of that node whose edge it stands on; its own `pass` goes on to where that edge led."""
    seconds: Annotated[float, Field(gt=0)] = 60.0
    """How long it may take over a sample; then it has failed on it."""
    outcomes: dict[str, str] = {}
    """Its outcomes beyond pass, drop and error, and the node each leads to; also for those three, to lead elsewhere.

    A way back costs the sample an attempt.
    """
    stage: Literal["response", "query_tool", "cot", "parameters", "format"] | None = None
    """The stage whose question it asks, and whose bad canaries it is tried on; null: on good ones only."""

    @field_validator("name")
    @classmethod
    def _a_name(cls, name: str) -> str:
        if not name.strip():
            raise ValueError("expected a name for its node, such as no_pii: tables and reasons show it")
        return name


class Canaries(Section):
    """Known good and known bad samples, made from references: the judges are tried on them before each round."""

    share: Share = 0.02
    """How many a round has, as a share of its samples, but at least ten good and ten bad ones a judge; 0: none."""
    path: str = OWN_TASKS
    """Where their references come from: `tasks`, the run's own; a data file; or `toolbox:<split>`."""
    max_false_pass: Share | None = None
    """A judge that lets a larger share of the bad ones pass stops the round; null: none does."""
    max_false_drop: Share | None = None
    """A judge that keeps a larger share of the good ones from passing stops the round; null: none does."""


Judging = Literal["rules", "llm", "both"]


class JudgedBy(Section):
    """Who judges each stage; one word stands for all five.

    `both`: rules first, and a language model only for what rules cannot tell (docs/llm-judges.md).
    """

    response: Judging = "rules"
    query_tool: Judging = "rules"
    cot: Judging = "rules"
    parameters: Judging = "rules"
    format: Judging = "rules"

    @model_validator(mode="before")
    @classmethod
    def _one_word(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given not in get_args(Judging):
            raise ValueError(f"expected one of {', '.join(get_args(Judging))}, or a mapping from stages to these")
        return dict.fromkeys(cls.model_fields, given)


class LlmJudges(Section):
    """The language models that judge where `judging` says so: each one here has a vote."""

    model: str | None = None
    """A model folder, `toolbox`, or `self`: the model in use judges itself."""
    endpoints: list[Endpoint] = []
    """Servers to ask. Those of one model share its questions; each other model is a judge more."""
    temperature: Annotated[float, Field(ge=0)] = 0.1
    """0 takes the likeliest token each time."""
    max_tokens: Count = 2048
    """Longest reply in tokens, reasoning included."""
    draws: Count = 1
    """Replies drawn from each model, each with a vote."""
    accept: Literal["unanimous", "majority", "mean"] = "unanimous"
    """Whose yes counts: that of all votes, of more than half, or a mean score of at least `threshold`."""
    threshold: Share = 0.5
    """For `accept: mean` only."""
    asks: Count = 2
    """How often a model is asked for a reply that can be read."""
    concurrency: Count = 64
    """Questions under way at once."""
    cache: bool = True
    """Keep rulings in the user's cache folder, and do not ask again for what was ruled on before."""
    cache_entries: Count = 200_000
    """Rulings kept; the least recently used go first."""


class Fcdr(Section):
    """Judging and repairing."""

    graph: str = "fcdr"
    """The graph file: a name in configs/ or a path."""
    skip: list[str] = []
    """Stages left out of the graph: what led to one leads to where its `pass` went."""
    move: dict[str, str] = {}
    """Stages set elsewhere, each behind the `pass` of the one named: `{query_tool: cot}`."""
    max_attempts: Count = 3
    regenerate: list[Literal["rerender", "rewrite", "resample", "repair"]] = [
        "rerender",
        "rewrite",
        "resample",
        "repair",
    ]
    """What the regenerator may try, in this order. `rewrite` takes an LLM judge's answer, `repair` the reference's:
    supervised data."""
    require_thinking: bool = True
    """Drop answers without thinking; off for data that has none."""
    judging: JudgedBy = JudgedBy()
    llm: LlmJudges = LlmJudges()
    judges: list[JudgeEntry] = []
    error_limit: Share = 0.2
    """A judge that errs more often than this in twenty answers or more, or in all it gave, stops the round; 1: none."""
    canaries: Canaries = Canaries()
    agreement: Share = 0.02
    """The share of judgements that are made twice, to tell whether a judge agrees with itself; 0: none."""
    workers: Count | None = None
    """Samples under way at once; null: two for each question that may be, so that one is ready for each free lane."""

    @property
    def samples_at_once(self) -> int:
        """`workers`, or what it is by itself."""
        return self.workers or 2 * self.llm.concurrency

    @model_validator(mode="before")
    @classmethod
    def _votes_in_short(cls, data: Any) -> Any:
        """`fcdr.accept` and `fcdr.threshold` say the same as those of `fcdr.llm`."""
        short = {key: data[key] for key in ("accept", "threshold") if key in data} if isinstance(data, dict) else {}
        if not short or not isinstance(data.get("llm", {}), dict):
            return data
        return {key: value for key, value in data.items() if key not in short} | {"llm": data.get("llm", {}) | short}
