"""The reward: what each sample earns, as a verdict with the reward's parts.

It is between the generator and the trainer in the graph of reinforcement learning. It refuses nothing: a wrong answer
travels on, since a group learns from the difference. A reward that fails on a sample is an error of the agent, and one
that fails too often stops the round, as a judge does.
"""

from __future__ import annotations

from funreason.objectives.rewards import Reward
from funreason.types import Outcome, Sample, Verdict

STAGE = "reward"
LOW = "reward.low"
"""The reason of a sample that earned nothing, where its reward gives no reason."""


class RewardAgent:
    """Gives each sample its reward."""

    def __init__(self, name: str, reward: Reward) -> None:
        self.name = name
        self.reward = reward

    async def __call__(self, sample: Sample) -> Verdict:
        """A verdict `pass` with the reward, its parts, and why it is not more. RewardError when there is no reward."""
        score = self.reward(sample)
        code, _, evidence = score.reason.partition(": ")
        reason = code or ("" if score.value > 0 else LOW)
        return Verdict(STAGE, Outcome.PASS, reason, evidence, self.name, reward=score.value, parts=score.parts)


def reward_of(sample: Sample) -> Verdict | None:
    """The verdict that holds the sample's reward; None where it has none."""
    return next((verdict for verdict in reversed(sample.verdicts) if verdict.reward is not None), None)
