"""Hard-data rounds (`method: hdr`): how tasks that the model fails are sampled again, accepted and learned from.

Source: BalanceSFT, the third version of arXiv 2505.20192. Where the paper leaves a choice open, the field says which
value follows the paper and which one is recommended.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from funreason.config.section import Count, Section, Share


class HardData(Section):
    """Round 1 sorts the tasks into qualified, hard and discarded; every later round samples the hard ones again."""

    first_data: Literal["samples", "references"] = "samples"
    """What round 1 judges: the model's own samples, or the references with their thinking, as the paper does."""
    samples: Count = 3
    """Answers to each hard task in a round."""
    temperature: Annotated[float, Field(gt=0)] = 0.7
    """The temperature of these answers. Round 1 samples at `sample.temperature`."""
    accept: Literal["unanimous", "majority", "mean"] = "unanimous"
    """When the panel accepts an answer: every seat scores at least `threshold`, more than half of the seats do, or the
    mean score of more than half of the seats reaches it. A seat without a readable reply has no vote."""
    threshold: Share = 0.5
    """The lowest score, from 0 to 1, with which a seat accepts."""
    panel_temperature: Annotated[float, Field(ge=0)] = 0.7
    """The temperature of the panel's models, which are those of `fcdr.llm`. Without models, references decide."""
    max_seat_false_pass: Share | None = 0.3
    """A model of the panel that accepts a larger share of a round's bad canaries has no seat in that round; null keeps
    every seat. Without any seat left the round is stopped."""
    replay_ratio: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Qualified samples learned again, per accepted one. 0 follows the paper; 1 is recommended against forgetting."""
    init_from: Literal["accepted", "base"] = "accepted"
    """`accepted`: each round trains the weights accepted last. `base`: it trains the run's first weights on all that
    was accepted so far, qualified samples included; `replay_ratio` is not used then."""
    control: Literal["none", "random_qualified"] = "none"
    """`random_qualified` asks as many random qualified tasks in place of the hard ones: what the same data and effort
    give without hardness."""
    max_rounds: Annotated[int, Field(ge=0)] = 10
    """Rounds after round 1."""
    repair_labels: bool = False
    """Where most answers of a round agree and none matches the reference, ask the panel which one is right; what is
    ruled for the model replaces the reference in later rounds. Needs models in `fcdr.llm`."""
