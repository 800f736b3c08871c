"""What a step of reinforcement learning costs beside its parts, in CPU-seconds; and beside TRL's GRPOTrainer.

    OMP_NUM_THREADS=1 python benchmarks/grpo_step.py --prompts 64 --group 8
    sh benchmarks/trl.sh build/trl
    OMP_NUM_THREADS=1 python benchmarks/grpo_step.py --trl build/trl/bin/python [--out benchmarks/results/grpo_step.md]

A step is sampling, reward, one update and the sync of the new weights; its parts are the same sampling and one plain
training pass (SRML) over the same tokens. The rewards are made up, half of each group right, so that every group is
learned from. The aim is a step of at most 1.3 times its parts. `files` is the part of the step that goes through the
disk: the model read for the update, weights and optimizer state written, and the weights read again by the sampler.

With `--trl` whole steps are measured beside TRL's, by turns, each in a process of its own: the same weights (the
embedded base), prompts, group size, temperature 1, longest answer, rewards, rate, AdamW, float32, one thread, no KL
term. Only the steps are timed, in CPU time. TRL samples with `generate` from the model it trains (no vLLM), logs and
saves nothing, and has no gradient checkpointing, which would make it slower. A pass of its update holds `--rows`
rollouts, with 32 it took 50.7 CPU-seconds a step, with 64 51.5, with 128 59.4. Ours saves weights and optimizer state
after each step, and samples from what it read back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from funreason.config import Config
    from funreason.environments.rollout import Start
    from funreason.policies.policy import Policy
    from funreason.types import Sample

RATE, SEED = 1e-4, 0


def step_config(options: argparse.Namespace, method: str) -> Config:
    """The configuration of a step as the options size it."""
    from funreason.config import check_config

    sizes = {"steps_per_round": options.steps, "prompts_per_step": options.prompts, "group_size": options.group}
    data = {"method": method, "model": {"threads": options.threads}, "sample": {"max_new_tokens": options.tokens}}
    return check_config(data | {"reinforcement": sizes | {"update": {"lr": RATE}}}, "the benchmark")


def starts(options: argparse.Namespace, step: int) -> list[Start]:
    """The groups that a step asks for."""
    from funreason.agents.rollouts import seed_id
    from funreason.data.toolbox import generate
    from funreason.environments.rollout import Start
    from funreason.types import Sample

    found = []
    tasks = generate("new_train", options.prompts * options.steps, seed=SEED)
    for place, task in enumerate(tasks[(step - 1) * options.prompts : step * options.prompts]):
        id = seed_id(1, step, place, task)
        found.append(Start(id, [Sample.of(f"{id}/{i}", task, round=1) for i in range(options.group)]))
    return found


def sampled(policy: Policy, groups: list[Start]) -> list[Sample]:
    """Their samples, without a reward."""
    from funreason.environments.rollout import SingleTurn, rollout

    return list(asyncio.run(rollout(policy, SingleTurn(), groups, lambda sample: None, logprobs=True)).values())


def rewarded(samples: list[Sample]) -> list[Sample]:
    """The samples with made-up rewards: every second one of a group is right."""
    from funreason.agents.reward import RewardAgent
    from funreason.objectives.rewards import RewardScore

    agent = RewardAgent("even", lambda sample: RewardScore(float(int(sample.id.rpartition("/")[2]) % 2)))

    async def all_of_them() -> list[Sample]:
        return [sample.judged(await agent(sample)) for sample in samples]

    return asyncio.run(all_of_them())


def parts(method: str, options: argparse.Namespace, folder: Path) -> list[Any]:
    """The parts and the whole of one step."""
    from funreason.agents.policy_trainer import StepRequest
    from funreason.agents.rollouts import groups_of
    from funreason.agents.updating import PolicyStep, update_job
    from funreason.objectives.protocol import Example
    from funreason.policies.factory import build_policy
    from funreason.record.folder import RunFolder
    from funreason.stop import StopRequest
    from funreason.training import launch

    config = step_config(options, method)
    policy, base = build_policy(config)
    learn = PolicyStep(policy, RunFolder(folder), lambda event: None, StopRequest(), config)
    groups = starts(options, 1)
    done, sampling = timed(lambda: sampled(policy, groups))
    judged, rewarding = timed(lambda: rewarded(done))
    plain = config.reinforcement.update.model_copy(
        update={"batch_size": len(judged), "epochs": 1, "prefix_sharing": "never", "checkpoint_every": 0}
    )
    examples = [Example(s.id, policy.prompt(s.task), s.thinking, s.answer) for s in judged]
    job = update_job(plain, config, base.folder, folder / "plain")
    _, once = timed(lambda: launch.update(job, examples, policy.tokenizer, folder / "work"))
    request = StepRequest(1, 1, groups_of(judged, options.group, options.prompts), base, base)
    with file_seconds() as files:
        outcome, update = timed(lambda: learn(request))
        _, sync = timed(lambda: asyncio.run(policy.load(outcome.weights)))
    tokens = sum(len(sample.last_turn.token_ids) for sample in judged)
    step = sampling + rewarding + update + sync
    over = step / (sampling + once)
    return [method, len(judged), tokens, sampling, once, rewarding, update, sync, step, over, sum(files)]


def ours(options: argparse.Namespace) -> tuple[float, float]:
    """CPU-seconds of the steps, and the mean length of their answers in tokens."""
    from funreason.agents.policy_trainer import StepRequest
    from funreason.agents.rollouts import groups_of
    from funreason.agents.updating import PolicyStep
    from funreason.policies.factory import build_policy
    from funreason.record.folder import RunFolder
    from funreason.stop import StopRequest

    config = step_config(options, "grpo")
    policy, base = build_policy(config)
    with tempfile.TemporaryDirectory() as folder:
        learn = PolicyStep(policy, RunFolder(Path(folder)), lambda event: None, StopRequest(), config)
        weights, lengths, started = base, [], time.process_time()
        for step in range(1, options.steps + 1):
            judged = rewarded(sampled(policy, starts(options, step)))
            lengths += [len(sample.last_turn.token_ids) for sample in judged]
            groups = groups_of(judged, options.group, options.prompts)
            weights = learn(StepRequest(1, step, groups, weights, base)).weights
            asyncio.run(policy.load(weights))
        return time.process_time() - started, sum(lengths) / len(lengths)


def trl(options: argparse.Namespace) -> tuple[float, float]:
    """The same of TRL's GRPOTrainer. Runs in TRL's own environment, which has nothing of this package."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    given = json.loads(options.one[1].read_text())
    lengths: list[int] = []

    def even(completion_ids: list[list[int]], **rest: object) -> list[float]:
        lengths.extend(map(len, completion_ids))
        return [float(at % options.group % 2) for at in range(len(completion_ids))]

    rollouts = options.prompts * options.group
    with tempfile.TemporaryDirectory() as out:
        settings = GRPOConfig(
            output_dir=out, use_cpu=True, bf16=False, gradient_checkpointing=False, seed=SEED, report_to="none",
            logging_strategy="no", save_strategy="no", disable_tqdm=True, use_vllm=False,
            per_device_train_batch_size=options.rows, gradient_accumulation_steps=rollouts // options.rows,
            num_generations=options.group, max_completion_length=options.tokens, temperature=1.0, beta=0.0,
            learning_rate=RATE, lr_scheduler_type="constant", max_steps=options.steps, shuffle_dataset=False,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=given["model"],
            reward_funcs=even,
            args=settings,
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in given["prompts"]]),
            processing_class=AutoTokenizer.from_pretrained(given["model"]),
        )
        started = time.process_time()
        trainer.train()
        spent = time.process_time() - started
    assert len(lengths) == rollouts * options.steps, f"{len(lengths)} answers were rewarded"
    return spent, sum(lengths) / len(lengths)


def race(options: argparse.Namespace) -> str:
    """Steps of ours and of TRL by turns: a table."""
    from funreason.policies.factory import build_policy, model_path

    policy, _ = build_policy(step_config(options, "grpo"))
    prompts = [policy.prompt(start.samples[0].task) for at in range(options.steps) for start in starts(options, at + 1)]
    rows: dict[str, list[tuple[float, float]]] = {"ours": [], "trl": []}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prompts.json"
        file.write_text(json.dumps({"model": str(model_path("toolbox")), "prompts": prompts}))
        sizes = [
            f"--{name}={getattr(options, name)}" for name in ("prompts", "group", "tokens", "threads", "steps", "rows")
        ]
        for _ in range(options.runs):
            for name, found in rows.items():
                python = str(options.trl) if name == "trl" else sys.executable
                command = [python, __file__, *sizes, "--one", name, str(file)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise SystemExit(done.stderr[-3000:])
                found.append(tuple(json.loads(done.stdout.splitlines()[-1])))
                print(f"{name:5} {found[-1][0]:7.1f} CPU-s, {found[-1][1]:.1f} tokens an answer", file=sys.stderr)
    asked = options.prompts * options.steps
    lines = ["| steps of | prompts per CPU-second, best | all | tokens an answer | ours over it, best; by turns |",
             "|---|---|---|---|---|"]  # fmt: skip
    speeds = {name: [asked / seconds for seconds, _ in found] for name, found in rows.items()}
    for name, found in rows.items():
        ratios = [a / b for a, b in zip(speeds["ours"], speeds[name], strict=True)]
        length, every = sum(mean for _, mean in found) / len(found), ", ".join(f"{x:.2f}" for x in speeds[name])
        lines.append(
            f"| {name} | {max(speeds[name]):.2f} | {every} | {length:.1f} "
            f"| {max(speeds['ours']) / max(speeds[name]):.2f}; {', '.join(f'{ratio:.2f}' for ratio in ratios)} |"
        )
    return "\n".join(lines)


@contextmanager
def file_seconds() -> Iterator[list[float]]:
    """The CPU-seconds of each call that reads or writes weights or checkpoints inside the block."""
    from funreason.policies import model_files
    from funreason.policies.huggingface import sampler
    from funreason.training import checkpoint

    seconds: list[float] = []

    def counted(work: Callable[..., Any], *given: Any, **named: Any) -> Any:
        result, spent = timed(lambda: work(*given, **named))
        seconds.append(spent)
        return result

    with ExitStack() as patches:
        for module, name in (
            (model_files, "load_model"), (model_files, "save_trained"), (sampler, "load_model"), (checkpoint, "save"),
        ):  # fmt: skip
            patches.enter_context(patch.object(module, name, partial(counted, getattr(module, name))))
        yield seconds


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` gives, and the CPU-seconds it took."""
    started = time.process_time()
    return work(), time.process_time() - started


def beside_its_parts(options: argparse.Namespace) -> str:
    """A step of GRPO and one of EGPO beside their parts: a table."""
    names = "method answers tokens sampling plain_pass reward update sync step step_over_its_parts files".split()
    lines = [f"| {' | '.join(names).replace('_', ' ')} |", "|---" * len(names) + "|"]
    with tempfile.TemporaryDirectory() as folder:
        for method in ("grpo", "egpo"):
            row = parts(method, options, Path(folder) / method)
            lines.append("| " + " | ".join(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=60, help="the longest answer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trl", type=Path, help="the Python that benchmarks/trl.sh made")
    parser.add_argument("--steps", type=int, default=2, help="steps of a turn")
    parser.add_argument("--runs", type=int, default=3, help="turns, each side once a turn")
    parser.add_argument("--rows", type=int, default=32, help="rollouts in a pass of TRL's update")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("SIDE", "PROMPTS"), help="run one side in this process")
    options = parser.parse_args()
    if options.one:
        import torch

        torch.set_num_threads(options.threads)
        options.one[1] = Path(options.one[1])
        print(json.dumps({"ours": ours, "trl": trl}[options.one[0]](options)))
        return
    size = f"{options.prompts} prompts × {options.group} answers of at most {options.tokens} tokens"
    given = f"--runs {options.runs} --steps {options.steps} --rows {options.rows}"
    command = "OMP_NUM_THREADS=1 python benchmarks/grpo_step.py" + (f" --trl PYTHON {given}" if options.trl else "")
    text = f"# A step of {size}, the embedded model, float32, {options.threads} thread\n\n`{command}`\n"
    text += f"\n## Beside its parts, CPU-seconds\n\n{beside_its_parts(options)}\n"
    if options.trl:
        text += f"\n## Beside TRL's GRPOTrainer: {options.runs} turns of {options.steps} steps\n\n{race(options)}\n"
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
