"""How numbers are written everywhere on the screen and in reports, so that they can be compared by eye.

No screen depends on the name of an objective's metric: there are hints for the known ones and the same defaults for all
others. What begins with `loss` is a loss; the total `loss` is shown only where there are no parts `loss_<x>`. A metric
without a hint is shown under its own name, wherever metrics are listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from funreason.display.spans import Span
from funreason.record.hard_tasks import UNJUDGED
from funreason.record.rounds import NodeCount, RoundState
from funreason.record.state import OpenPhase, State

NONE = "–"
DECISIONS = {"promote": ("▲", "good"), "hold": ("■", "warn"), "rollback": ("▼", "bad"), "start": ("·", "dim")}
"""Sign and role of a decision: the colour is never the only sign."""
PHASES = {
    "base": "measuring the start",
    "start": "supervised start on references",
    "sample": "sampling and judging",
    "train": "update",
    "gate": "gate",
}
"""What a person reads for the phases of a round."""


def phases_now(state: State) -> list[OpenPhase]:
    """The open phases, the newest last; between two phases the last one."""
    last = [OpenPhase(state.round, state.phase, state.phase_at)] if state.phase else []
    return list(state.open_phases.values()) or last


def phase_name(state: State, phase: OpenPhase) -> str:
    """A phase in words, with its round where that is not the run's newest."""
    name = PHASES.get(phase.phase, phase.phase)
    return name if phase.round == state.round else f"{name} of round {phase.round}"


def percent(share: float | None) -> str:
    """A share as a percentage with one digit."""
    return NONE if share is None else f"{100 * share:.1f}"


def share_of(part: int, whole: int) -> float | None:
    """A part of a whole; None of nothing."""
    return part / whole if whole else None


def points(new: float | None, old: float | None, *, less_is_better: bool = False) -> Span:
    """The difference of two shares in percentage points, with its sign and role."""
    if new is None or old is None:
        return (NONE, "dim")
    by = round(100 * (new - old), 6)  # as the gate's reason rounds it: 0.4900 - 0.4925 is not -0.0025 in binary
    better = -by if less_is_better else by
    role = "good" if better >= 0.05 else "bad" if better <= -0.05 else "dim"
    return (f"{by:+.1f}", role)


def duration(seconds: float) -> str:
    """`12 s`, `3:05`, `2:03:05` or `3 d 04:05`."""
    if seconds < 60:
        return f"{max(0.0, seconds):.0f} s"
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24:02}:{m:02}"
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def milliseconds(us: float | None) -> str:
    """Microseconds as milliseconds, with as many digits as matter."""
    if us is None:
        return NONE
    ms = us / 1000
    return f"{ms:.3f}" if ms < 1 else f"{ms:.1f}" if ms < 100 else f"{ms:.0f}"


def count(number: int) -> str:
    """A count in at most six cells."""
    if number < 100_000:
        return str(number)
    return f"{number / 1000:.0f}k" if number < 10_000_000 else f"{number / 1e6:.0f}M"


def number(value: float | None) -> str:
    """A loss or another metric, with three digits."""
    return NONE if value is None else f"{value:.3f}"


def decision(word: str) -> Span:
    """A gate's word with its sign."""
    sign, role = DECISIONS.get(word, ("?", "warn"))
    return (f"{sign} {word}", role)


def size(bytes_: float) -> str:
    """Bytes as MB or GB."""
    return f"{bytes_ / 1e9:.1f} GB" if bytes_ >= 1e9 else f"{bytes_ / 1e6:.0f} MB"


def judges(node: NodeCount) -> bool:
    """Whether a node says pass or drop, so that a pass rate means something."""
    return any(word in node.outcomes for word in ("pass", "keep_text", "regenerate")) or (
        "drop" in node.outcomes and "sampled" not in node.outcomes
    )


def pass_rate(r: RoundState | None, name: str) -> float | None:
    """A node's pass rate in a round, None where it judged nothing."""
    node = r.nodes.get(name) if r else None
    return node.pass_rate if node and judges(node) else None


def pool_note(state: State) -> str:
    """How round 1 of hard-data rounds sorted the tasks, and who accepts answers since; "" in any other run."""
    pool = state.pool
    if not pool.fates:
        return ""
    counts = pool.counts()
    sorted_as = ", ".join(f"{counts[fate]:,} {fate}" for fate in ("qualified", "hard", "discarded"))
    text = f"Round 1 sorted {counts.total():,} tasks: {sorted_as}."
    rounds = pool.rounds(state.promoted)
    if any(each.control for each in rounds):
        text += " Control: random qualified tasks are asked in place of hard ones."
    if rounds:
        models = dict.fromkeys(each.judges for each in rounds if each.judges)
        text += f" Accepted by {', '.join(models)}." if models else " No model judged: rules and references accepted."
    return text


def pool_rows(state: State) -> list[tuple[str, ...]]:
    """Per hard-data round: tasks asked, accepted, given back by the gate, left, unjudged, with a repaired reference.

    In round 1 the accepted tasks are the qualified ones, and those left are the hard ones.
    """
    pool = state.pool
    if not pool.fates:
        return []
    first, counts = pool.fates.get(1, {}), pool.counts()
    unjudged = sum(event.stage == UNJUDGED for event in first.values())
    numbers = [(1, counts.total(), counts["qualified"], 0, counts["hard"], unjudged, 0)]
    numbers += [
        (r.round, r.asked, r.accepted, r.returned, r.left, r.unjudged, r.repaired) for r in pool.rounds(state.promoted)
    ]
    return [
        (str(k), str(asked), str(accepted), percent(share_of(accepted, asked)), *map(str, more))
        for k, asked, accepted, *more in numbers
    ]


POOL_COLUMNS = ("round", "asked", "accepted", "%", "returned", "left", "unjudged", "repaired")

SINKS = ("trainer", "evaluator", "dead_letter")
"""Where samples end: what comes there is counted in the ends, not as judgements."""


def smoothed(values: Sequence[float | None], span: float = 0.05) -> list[float | None]:
    """The exponential moving average over `span` of all values; the first ones are not pulled to zero.

    A value that is None stays None and is skipped.
    """
    weight = 2 / (max(1.0, span * len(values)) + 1)
    total = norm = 0.0
    made: list[float | None] = []
    for value in values:
        if value is not None:
            total, norm = (1 - weight) * total + weight * value, (1 - weight) * norm + weight
        made.append(None if value is None else total / norm)
    return made


class MetricHint(NamedTuple):
    """How a metric is written: its label, number format and colour role; `listed` False keeps it out of tables."""

    label: str
    format: str = "{:.3f}"
    role: str = "accent"
    listed: bool = True


HINTS = {
    "loss_think": MetricHint("L_think", role="think"),
    "loss_result": MetricHint("L_result", role="result"),
    "alpha": MetricHint("alpha", "{:.2f}", listed=False),
    "lr": MetricHint("lr", "{:.1e}", listed=False),
    "grad_norm": MetricHint("grad norm", "{:.2f}", listed=False),
    "seconds": MetricHint("seconds", "{:.2f}", listed=False),
    "reward": MetricHint("reward"),
    "reward_calls": MetricHint("reward of calls"),
    "reward_refusals": MetricHint("reward of refusals"),
    "refusal_rate": MetricHint("refusal rate"),
    "entropy_think": MetricHint("E of thinking", role="think"),
    "entropy_group_sd": MetricHint("E sd in groups", role="think"),
    "advantage_abs": MetricHint("mean |A|"),
    "bonus_bound_share": MetricHint("bonus at bound"),
    "clip_low_share": MetricHint("clipped low"),
    "clip_high_share": MetricHint("clipped high"),
    "correction_capped_share": MetricHint("correction at cap"),
    "tokens": MetricHint("tokens", "{:,.0f}", listed=False),
    "advantage": MetricHint("mean A", listed=False),
    "sampler_kl": MetricHint("KL to sampler", "{:.4f}", listed=False),
    "ratio_p50": MetricHint("ratio p50", listed=False),
    "ratio_p99": MetricHint("ratio p99", listed=False),
    "ratio_max": MetricHint("ratio max", listed=False),
    "sampler_ratio_p50": MetricHint("sampler ratio p50", listed=False),
    "sampler_ratio_max": MetricHint("sampler ratio max", listed=False),
    "sampler_ratio_p99": MetricHint("sampler ratio p99"),
    "samples_without_signal": MetricHint("samples without signal", "{:.0f}", listed=False),
    "kl": MetricHint("KL to accepted", "{:.4f}"),
    "unreadable_rate": MetricHint("unreadable", listed=False),
    "truncated_rate": MetricHint("truncated", listed=False),
    "unthought_rate": MetricHint("without thinking", listed=False),
    "no_call_share": MetricHint("no-call share", listed=False),
    "length_p50": MetricHint("length p50", "{:.0f}", listed=False),
    "length_p95": MetricHint("length p95", "{:.0f}", listed=False),
    "groups_mixed": MetricHint("groups mixed", "{:.1f}"),
    "groups_all_right": MetricHint("groups all right", "{:.1f}"),
    "groups_all_wrong": MetricHint("groups all wrong", "{:.1f}"),
    "groups_incomplete": MetricHint("groups incomplete", "{:.0f}", listed=False),
    "groups_resampled": MetricHint("groups resampled", "{:.0f}", listed=False),
    "seconds_sample": MetricHint("s sampling", "{:.2f}", listed=False),
    "seconds_logp": MetricHint("s log-probabilities", "{:.2f}", listed=False),
    "seconds_update": MetricHint("s update", "{:.2f}", listed=False),
    "tokens_per_s": MetricHint("tokens/s", "{:,.0f}", listed=False),
}


def hint(name: str) -> MetricHint:
    """The hint of a metric. An unknown loss `loss_<x>` is called `L_<x>`; counts of tokens are kept out of tables."""
    if name in HINTS:
        return HINTS[name]
    if name.startswith("loss_"):
        return MetricHint(f"L_{name.removeprefix('loss_')}")
    return MetricHint(name, "{:,.0f}" if name.endswith("_tokens") else "{:.3f}", listed=not name.endswith("_tokens"))


def curves(names: Iterable[str]) -> list[str]:
    """The losses to draw: the parts, or the total where there are none."""
    known = list(dict.fromkeys(names))
    return [name for name in known if name.startswith("loss_")] or [name for name in known if name == "loss"]


def others(names: Iterable[str]) -> list[str]:
    """The metrics to list beside the losses: all but those that their hint keeps out of tables."""
    return [name for name in dict.fromkeys(names) if not name.startswith("loss") and hint(name).listed]


def formatted(name: str, value: float | None) -> str:
    """A metric's value as text."""
    return NONE if value is None else hint(name).format.format(value)
