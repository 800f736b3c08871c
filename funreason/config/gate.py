"""When new weights are accepted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from funreason.config.section import Count, Section, Share


class Suite(Section):
    """A set of test items."""

    path: str
    """A folder of BFCL-format files, `bfcl-v4` (the official data, see `funreason bfcl fetch`), `toolbox:<split>`, or
    `tasks:held_out` to hold back part of the task file. For the other kinds: the file that
    `funreason eval --suite KIND --data` reads."""
    kind: Literal["bfcl", "humaneval", "mbpp", "text"] = "bfcl"
    """`bfcl`: function calls. The others measure what training makes a model forget: `humaneval` and `mbpp` run the
    programs it writes (only with `funreason loop --allow-code-execution`), `text` is the likelihood of held-out text.
    """
    count: Count | None = None
    """Use only this many items; of a folder and of the official data each category keeps its share. Default: all of
    these, 400 of the embedded domain, a tenth of the task file."""
    seed: int = 0
    """Seed of an embedded suite's items. Independent of the run's seed, so that runs are compared on the same items."""
    role: Literal["decision", "guard", "report"] = "decision"
    """`decision`: a gain here promotes. `guard`: too large a loss here refuses. `report`: measured and shown only.
    Suites of another kind than `bfcl` are guards by default, and never decide."""

    @model_validator(mode="before")
    @classmethod
    def _only_calls_decide(cls, given: Any) -> Any:
        kind = given.get("kind", "bfcl") if isinstance(given, dict) else "bfcl"
        if kind == "bfcl":
            return given
        if given.get("role") == "decision":
            raise ValueError(f"kind {kind} measures what a model forgets and cannot decide; use role: guard or report")
        return {"role": "guard", **given}


class Contamination(Section):
    """What to do with training tasks whose query also occurs in the gate."""

    mode: Literal["drop", "report"] = "drop"
    """`drop` leaves them out, `report` trains on them. Both count them in the round's table."""
    near_threshold: Annotated[float, Field(ge=0.5, le=1)] | None = 0.8
    """Share of equal letters from which two queries are near duplicates, unless a content word differs. Null: look for
    exact duplicates only."""
    bfcl_tools: Literal["refuse", "allow"] = "refuse"
    """`refuse` counts tasks that offer the functions of BFCL's eight multi-turn classes as contaminated, whatever their
    query: no other source has them."""

    @model_validator(mode="before")
    @classmethod
    def _mode_alone(cls, given: Any) -> Any:
        return {"mode": given} if isinstance(given, str) else given


class Gate(Section):
    """When new weights are accepted. Points are percentage points of accuracy.

    Balanced accuracy is the mean of two: of the items whose right answer is a call, and of those where it is none.
    """

    suites: dict[str, Suite] = {}
    min_gain: float = 0.0
    """Promote when the decision suites gain more than this many points of balanced accuracy."""
    promote_p: Share = 0.08
    """Also require a p of at most this for that gain (exact sign-flip test, two-sided). 1 promotes any gain, and with
    it noise: see `benchmarks/gate_rule.py`."""
    p_value: Share = 0.05
    """The significance level of the gate's tests for harm."""
    max_calls_loss: float = 5.0
    """Refuse when the calls of a decision suite lose more points than this with p at most `p_value`, or those of a
    guard suite against its start."""
    max_refusals_loss: float = 5.0
    """As `max_calls_loss`, for the items where calling nothing is right."""
    refusals: Literal["strict", "bfcl"] = "strict"
    """What counts as calling nothing. `strict`: no attempt at a call, in any format. `bfcl`: the leaderboard's rule,
    which takes everything that cannot be decoded for a refusal, a garbled call as well. The official data (`bfcl-v4`)
    is always measured by the leaderboard's rule."""
    max_category_loss: float = 5.0
    """Refuse when a category loses more points than this with p at most `p_value`."""
    max_guard_loss: float = 5.0
    """Refuse when a guard suite is more points than this below its accuracy before the first round."""
    max_text_loss: float = 5.0
    """Refuse when the bits per byte of a guard suite of kind `text` are more percent above those before the first
    round."""
    contamination: Contamination = Contamination()
    """Checked for the rounds' tasks, the supervised start's and replayed ones."""

    @field_validator("suites")
    @classmethod
    def _named_as_folders(cls, suites: dict[str, Suite]) -> dict[str, Suite]:
        for name in suites:
            if not name or name.startswith(".") or not set(name).isdisjoint("/\\\0"):
                raise ValueError(
                    f"a suite is named {name!r}; a name becomes a folder of the run, so it needs a letter or digit "
                    "first and no slash"
                )
        return suites
