"""What a step of reinforcement learning costs beside its parts, in CPU-seconds of this process.

    OMP_NUM_THREADS=1 python benchmarks/grpo_step.py --prompts 64 --group 8

A step is sampling, reward, one update and the sync of the new weights; its parts are the same sampling and one plain
training pass (SRML) over the same tokens. The rewards are made up, half of each group right, so that every group is
learned from. The aim is a step of at most 1.3 times its parts.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from funreason.agents.policy_trainer import StepRequest
from funreason.agents.reward import RewardAgent
from funreason.agents.rollouts import groups_of, seed_id
from funreason.agents.updating import PolicyStep, update_job
from funreason.config import check_config
from funreason.data.toolbox import generate
from funreason.environments.rollout import SingleTurn, Start, rollout
from funreason.objectives.protocol import Example
from funreason.objectives.rewards import RewardScore
from funreason.policies.factory import build_policy
from funreason.record.folder import RunFolder
from funreason.stop import StopRequest
from funreason.training.launch import update as train_once
from funreason.types import Sample


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(method, options, Path(folder) / method) for method in ("grpo", "egpo")]
    print(f"`python benchmarks/grpo_step.py --prompts {options.prompts} --group {options.group}`, CPU-seconds\n")
    print("| method | answers | tokens | sampling | plain pass | reward | update | sync | step | step over its parts |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(f"{value:.2f}" if isinstance(value, float) else str(value) for value in row) + " |")


def measure(method: str, options: argparse.Namespace, folder: Path) -> list[Any]:
    """The parts and the whole of one step."""
    sizes = {"steps_per_round": 1, "prompts_per_step": options.prompts, "group_size": options.group}
    data = {"method": method, "model": {"threads": options.threads}, "sample": {"max_new_tokens": options.tokens}}
    config = check_config(data | {"reinforcement": sizes | {"update": {"lr": 1e-4}}}, "the benchmark")
    policy, base = build_policy(config)
    run = RunFolder(folder)
    learn = PolicyStep(policy, run, lambda event: None, StopRequest(), config)
    starts = []
    for place, task in enumerate(generate("new_train", options.prompts, seed=0)):
        id = seed_id(1, 1, place, task)
        starts.append(Start(id, [Sample.of(f"{id}/{i}", task, round=1) for i in range(options.group)]))

    done, sampling = timed(
        lambda: asyncio.run(rollout(policy, SingleTurn(), starts, lambda sample: None, logprobs=True))
    )
    reward = RewardAgent("even", lambda sample: RewardScore(float(int(sample.id[-1]) % 2)))

    async def rewarded() -> list[Sample]:
        return [sample.judged(await reward(sample)) for sample in done.values()]

    judged, rewarding = timed(lambda: asyncio.run(rewarded()))
    groups = groups_of(judged, options.group, options.prompts)
    plain = config.reinforcement.update.model_copy(
        update={"batch_size": len(judged), "epochs": 1, "prefix_sharing": "never", "checkpoint_every": 0}
    )
    examples = [Example(s.id, policy.prompt(s.task), s.thinking, s.answer) for s in judged]
    job = update_job(plain, config, base.folder, folder / "plain")
    _, once = timed(lambda: train_once(job, examples, policy.tokenizer, folder / "work"))
    outcome, update = timed(lambda: learn(StepRequest(1, 1, groups, base, base)))
    _, sync = timed(lambda: asyncio.run(policy.load(outcome.weights)))
    tokens = sum(len(sample.last_turn.token_ids) for sample in judged)
    step = sampling + rewarding + update + sync
    return [method, len(judged), tokens, sampling, once, rewarding, update, sync, step, step / (sampling + once)]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` gives, and the CPU-seconds it took."""
    started = time.process_time()
    return work(), time.process_time() - started


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=60, help="the longest answer")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
