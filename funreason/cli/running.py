"""Commands that make a run, or one part of one."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from funreason.cli.app import RUNS, AnySetting, ConfigName, DataFile, NoCache, Setting, Strict, app

CYCLES_AFTER = 20_000
"""Objects made before the garbage collector looks for cycles: its usual 700 are a tenth of what it takes to begin."""


@app.command
def loop(
    *,
    config: str | None = None,
    rounds: int | None = None,
    tasks: Path | None = None,
    model: str | None = None,
    run_dir: Path | None = None,
    seed: int | None = None,
    strict: bool = False,
    set: AnySetting = None,
    resume: str | None = None,
    no_cache: NoCache = False,
    tui: Annotated[bool, Parameter(negative="")] = False,
    track: Annotated[list[str] | None, Parameter(negative="", consume_multiple=False)] = None,
) -> int:
    """Sample, judge, learn, gate; round after round. Without options: the embedded domain and model, on any CPU.

    Parameters
    ----------
    config
        A YAML file, or a name in configs/. Default: `default`, or `own-data` with --tasks.
    rounds
        How many rounds to play.
    tasks
        A data file of your own: xLAM, share-gpt, OpenAI or BFCL form; .json, .jsonl, .gz.
    model
        A model folder: safetensors, config and tokenizer.
    run_dir
        Where run folders are made. Default: runs.
    seed
        The seed of everything random.
    strict
        Refuse a task file with one malformed record, instead of leaving that record out.
    resume
        Go on with an interrupted run: its name or folder. Beside it may stand --rounds, --run-dir,
        --set budget.…, sample.endpoints=… and fcdr.llm.endpoints=….
    tui
        Show the run in the dashboard, as `funreason watch` does. Quitting it leaves the run going.
    track
        Follow the run in tensorboard, wandb or trackio, from a process of its own. Can be given several times.
    """
    from funreason.commands.looping import run_loop

    changes: dict[str, object] = {"rounds": rounds, "tasks.path": tasks, "tasks.strict": strict or None}
    changes |= {"model.path": model, "run_dir": run_dir, "seed": seed, "fcdr.llm.cache": False if no_cache else None}
    given = {
        key: str(value) if isinstance(value, Path) else value for key, value in changes.items() if value is not None
    }
    return run_loop(config, given, set or [], resume, tui=tui, track=track or [])


@app.command
def refine(
    file: DataFile | None = None,
    /,
    *,
    out: Path | None = None,
    resume: str | None = None,
    replay: str | None = None,
    config: str | None = None,
    strict: Strict = False,
    no_cache: NoCache = False,
    set: Setting = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Judge and repair the samples of a data file with the five stages (FCDR), by default without any model.

    With --replay: what other settings would have made of a run's verdicts. No model is asked, nothing is written.

    Parameters
    ----------
    out
        A new folder for what is kept, what is not and why.
    resume
        Go on with a run that was stopped: its folder, in place of FILE and --out. Beside it may stand FILE, where
        that was moved, --set budget.…, --set sample.endpoints=… and --set fcdr.llm.endpoints=….
    replay
        A run, by name or folder, in place of FILE and --out: its verdicts are routed again as --set says, such as
        --set fcdr.llm.threshold=0.8, --set fcdr.skip=[cot] or --set fcdr.move={query_tool: cot}.
    config
        A YAML file, or a name in configs/; its `fcdr` part is used. Default: `own-data`, with --replay the run's own.
    set
        Change one setting, such as --set fcdr.require_thinking=true.
    json
        With --replay: the numbers as JSON.
    """
    gc.set_threshold(CYCLES_AFTER)
    from funreason.commands.refining import resume_refine, run_refine
    from funreason.commands.rerouting import check_options, run_replay

    if resume is not None:
        refused = {"--out": out, "--replay": replay, "--config": config, "--strict": strict}
        refused |= {"--no-cache": no_cache, "--json": json}
        return resume_refine(resume, RUNS, file, refused, set or [])
    given: dict[str, object] = {"tasks.strict": True} if strict else {}
    given |= {"fcdr.llm.cache": False} if no_cache else {}
    check_options(replay, {"FILE": file, "--out": out}, {"--strict": strict, "--no-cache": no_cache}, as_json=json)
    if replay is not None or file is None or out is None:
        return run_replay(replay, RUNS, config, set or [], as_json=json)
    return run_refine(file, out, config or "own-data", given, set or [])


@app.command
def train(
    file: Path,
    /,
    *,
    out: Path | None = None,
    model: str | None = None,
    config: str = "default",
    preview: int = 2,
    set: Setting = None,
) -> int:
    """Train once with the two-part loss on a data file, and show which tokens count as thinking and as result.

    Parameters
    ----------
    file
        Records with answers; their reference is learnt.
    out
        A new folder for the model. Default: the file's name and `-model`, here.
    model
        A model folder. Default: the embedded one.
    config
        A YAML file, or a name in configs/; its `train.update` part is used.
    preview
        Of how many samples to show the mask.
    set
        Change one setting, such as --set train.update.alpha=0.5.
    """
    from funreason.commands.training import run_train

    return run_train(file, out, model, config, preview, set or [])


@app.command
def plan(
    *,
    config: ConfigName = "default",
    model: str | None = None,
    gpu: str = "a100-80",
    gpus: int | None = None,
    gpu_memory: float | None = None,
    tflops: float | None = None,
    bandwidth: float | None = None,
    prompt_tokens: int = 400,
    answer_tokens: int = 382,
    mfu: float = 0.4,
    json: bool = False,
    set: Setting = None,
) -> int:
    """Compute what a configuration needs on GPUs, memory and hours, before anything starts. Exit code 1: too little.

    Reads the model's config.json alone: no weights, no torch, no hub.

    Parameters
    ----------
    model
        A model folder or a config.json, instead of the configuration's.
    gpu
        a100-80, a100-40, h100, h200, l40s, a10, l4, rtx4090 or rtx3090.
    gpus
        How many of them. Default: as many as the configuration's update has processes.
    gpu_memory
        GiB of each, instead of the chip's own.
    tflops
        Dense bf16 TFLOP/s, instead of the chip's own.
    bandwidth
        TB/s of its memory, instead of the chip's own.
    prompt_tokens
        How long your prompts are on average, tools included.
    answer_tokens
        How long answers are on average, thinking included. Default: the paper's mean.
    mfu
        The share of the peak that training reaches.
    json
        Print everything as JSON: bytes, tokens, seconds.
    set
        Change one setting, such as --set train.update.gradient_checkpointing=true.
    """
    from funreason.commands.planning import Asked, run_plan

    asked = Asked(gpu, gpus, gpu_memory, tflops, bandwidth, prompt_tokens, answer_tokens, mfu)
    return run_plan(config, model, asked, set or [], as_json=json)
