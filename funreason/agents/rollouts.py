"""The rollouts of one step of reinforcement learning: groups by prompt, their fates, and what the record says of them.

A group is all answers to one prompt. It carries a signal where some are right and others wrong; a group whose rewards
differ only in their shaping carries none, since learning from those alone leads to collapse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from funreason.agents.reward import reward_of
from funreason.calls.call_format import CallFormat
from funreason.objectives.rewards import read_answer
from funreason.sources.prompt_stream import CALL, NO_CALL, kind_of
from funreason.types import Sample, Task

MIXED, ALL_RIGHT, ALL_WRONG, INCOMPLETE = "mixed", "all_right", "all_wrong", "incomplete"


class RolloutGroup(NamedTuple):
    """The rollouts of one prompt, in the order they were drawn."""

    id: str
    samples: tuple[Sample, ...]
    rewards: tuple[float, ...]
    right: tuple[bool, ...]
    fate: str
    """`mixed`, `all_right`, `all_wrong`, or `incomplete` where a sample was dropped or has no reward."""

    @property
    def has_signal(self) -> bool:
        """Whether something can be learned from it."""
        return self.fate == MIXED


def prefix(round: int, step: int) -> str:
    """What the ids of a step's samples begin with."""
    return f"r{round}/s{step}/"


def seed_id(round: int, step: int, place: int, task: Task) -> str:
    """The id of a group: the `place`-th prompt of its step, counted from 0."""
    return f"{prefix(round, step)}{place}/{task.id}"


def groups_of(samples: Iterable[Sample], size: int, asked: int) -> list[RolloutGroup]:
    """The samples of one step as groups of `size`, in the order of their prompts, of which the first `asked` count.

    A run that is resumed finds samples of prompts that it has not asked again yet: it must decide as it did before.
    """
    by_place: dict[int, tuple[str, dict[int, Sample]]] = {}
    for sample in samples:
        group, _, index = sample.id.rpartition("/")
        place = int(group.split("/", 3)[2])
        if place < asked:
            by_place.setdefault(place, (group, {}))[1][int(index)] = sample
    ordered = [by_place[place] for place in sorted(by_place)]
    return [_group(id, [members[i] for i in sorted(members)], size) for id, members in ordered]


def _group(id: str, samples: Sequence[Sample], size: int) -> RolloutGroup:
    rewarded = [(sample, verdict) for sample in samples if (verdict := reward_of(sample)) is not None]
    rewards = tuple(verdict.reward or 0.0 for _, verdict in rewarded)
    right = tuple(not verdict.reason for _, verdict in rewarded)
    if len(rewarded) < size:
        fate = INCOMPLETE
    elif len(set(rewards)) == 1:
        fate = ALL_RIGHT if right[0] else ALL_WRONG
    else:
        fate = ALL_RIGHT if all(right) else MIXED if any(right) else ALL_WRONG
    return RolloutGroup(id, tuple(sample for sample, _ in rewarded), rewards, right, fate)


def step_metrics(groups: Sequence[RolloutGroup], form: CallFormat) -> dict[str, float]:
    """What a step's rollouts were like, by name; a metric without data is left out.

    `reward` is the mean over all, `reward_calls` and `reward_refusals` over prompts where a call or none is right;
    `refusal_rate` is the share of answers without a call where none is right. `groups_<fate>` count groups.
    """
    rollouts = [
        (sample, verdict) for group in groups for sample in group.samples if (verdict := reward_of(sample)) is not None
    ]
    answers = [read_answer(sample, form) for sample, _ in rollouts]
    rewards = [verdict.reward or 0.0 for _, verdict in rollouts]
    kinds = [kind_of(sample.task) for sample, _ in rollouts]
    lengths = sorted(len(sample.last_turn.token_ids) for sample, _ in rollouts)
    found: dict[str, list[float]] = {
        "reward": rewards,
        "reward_calls": [reward for reward, kind in zip(rewards, kinds, strict=True) if kind == CALL],
        "reward_refusals": [reward for reward, kind in zip(rewards, kinds, strict=True) if kind == NO_CALL],
        "refusal_rate": [
            float(answer.calls is not None and not answer.calls)
            for answer, kind in zip(answers, kinds, strict=True)
            if kind == NO_CALL
        ],
        "unreadable_rate": [float(answer.calls is None) for answer in answers],
        "truncated_rate": [float(sample.truncated) for sample, _ in rollouts],
        "unthought_rate": [float(sample.thinking is None) for sample, _ in rollouts],
        "no_call_share": [float(kind == NO_CALL) for kind in kinds],
    }
    metrics = {name: sum(values) / len(values) for name, values in found.items() if values}
    fates = [group.fate for group in groups]
    metrics |= {f"groups_{fate}": float(fates.count(fate)) for fate in (MIXED, ALL_RIGHT, ALL_WRONG, INCOMPLETE)}
    if lengths:
        metrics |= {f"length_p{share}": float(lengths[share * (len(lengths) - 1) // 100]) for share in (50, 95)}
    return metrics


def refusals(steps: Iterable[Mapping[str, float]], window: int) -> float | None:
    """The mean refusal rate of the last `window` steps that have one; None before there are as many."""
    rates = [metrics["refusal_rate"] for metrics in steps if "refusal_rate" in metrics][-window:]
    return sum(rates) / len(rates) if len(rates) == window else None
