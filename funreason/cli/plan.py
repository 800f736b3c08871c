"""`funreason plan`: will a configuration fit on the GPUs, and how long will it take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.table import Table

from funreason.cli import terminal
from funreason.cli.app import AsJson, ConfigName, Setting

if TYPE_CHECKING:
    from funreason.config import Config
    from funreason.plan.fitting import Fit
    from funreason.plan.planning import Hardware, Plan

FITS, DOES_NOT = 0, 1
GIB = 2**30


class PlanOptions(NamedTuple):
    """The options of the command that are not the configuration's; None leaves the chip's own number."""

    gpu: str
    gpus: int | None
    gpu_memory: float | None
    tflops: float | None
    bandwidth: float | None
    prompt_tokens: int
    answer_tokens: int
    mfu: float | None


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
    mfu: float | None = None,
    fit: bool = False,
    json: AsJson = False,
    settings: Setting = None,
) -> int:
    """Estimate GPU memory and time for a configuration. Exit code 1 if it does not fit.

    Reads only the model's config.json: no weights, no torch, no hub.

    Parameters
    ----------
    model
        A model folder or a config.json, instead of the configuration's.
    gpu
        a100-80, a100-40, h100, h200, l40s, a10, l4, rtx4090 or rtx3090.
    gpus
        Number of GPUs. Default: as many as the configuration's update has processes.
    gpu_memory
        GiB of each GPU, instead of the chip's own.
    tflops
        Dense bf16 TFLOP/s, instead of the chip's own.
    bandwidth
        TB/s of its memory, instead of the chip's own.
    prompt_tokens
        Mean length of your prompts, tools included.
    answer_tokens
        Mean length of answers, thinking included. Default: the paper's mean.
    mfu
        The share of the peak that training reaches. Default: as measured for models of this size.
    fit
        Find the settings that change least and fit these GPUs, and print them as --set options.
    settings
        Change one setting, such as --set train.update.gradient_checkpointing=true.
    """
    from funreason.cli.config import read_config
    from funreason.config import ConfigError
    from funreason.plan.cost_model import PARTS, ReachedSpeed
    from funreason.plan.fitting import fit as find_fit
    from funreason.plan.planning import Assumed, duration
    from funreason.plan.planning import plan as make_plan

    options = PlanOptions(gpu, gpus, gpu_memory, tflops, bandwidth, prompt_tokens, answer_tokens, mfu)
    cfg = read_config(config, {"model.path": model} if model else {}, settings)
    if (
        not 0 < (1 if options.mfu is None else options.mfu) <= 1
        or min(options.prompt_tokens, options.answer_tokens) < 1
    ):
        raise ConfigError("--mfu must be in (0, 1], --prompt-tokens and --answer-tokens above 0")
    hardware = _hardware(options, cfg)
    assumed = Assumed(options.prompt_tokens, options.answer_tokens, None if mfu is None else ReachedSpeed(mfu=mfu))
    fitted = find_fit(cfg, hardware, assumed) if fit else None
    found = make_plan(cfg, hardware, assumed) if fitted is None else fitted.plan
    if json:
        data = as_data(config, found)
        if fitted is not None:
            larger = None if fitted.larger is None else {"gpu": fitted.larger.name, "gpus": fitted.larger.gpus}
            data["fit"] = {"found": fitted.found, "settings": fitted.settings, "larger": larger}
        terminal.print_json(data)
    else:
        console = terminal.console(soft_wrap=True)
        if fitted is not None:
            _say_fit(console, fitted)
        console.print(found.verdict, style="bold red" if found.problems else "green", markup=False)
        for problem in found.problems:
            console.print(f"✗ {problem}", style="red", markup=False)
        sizes = found.model
        count = sizes.parameters
        size = f"{count / 1e9:.2f} B" if count >= 1e8 else f"{count / 1e6:.2f} M"
        console.print(f"{config}: {sizes.name}, {size} parameters ({sizes.source})")
        console.print(f"on {hardware.gpus} × {hardware.name}, {hardware.chip.memory:g} GiB each")
        console.print()
        table = _table("Memory of the fullest GPU, GiB", "", *(phase.name for phase in found.phases))
        for part in (part for part in PARTS if any(part in phase.memory for phase in found.phases)):
            table.add_row(part, *(_gib(phase.memory.get(part)) for phase in found.phases))
        table.add_row("together", *(_gib(phase.total) for phase in found.phases), style="bold")
        room = found.hardware.chip.memory * GIB
        table.add_row("room left", *(_gib(room - phase.total) for phase in found.phases))
        console.print(table)
        console.print()
        table = _table("Work of a round", "phase", "GPUs", "tokens", "time")
        for phase in found.phases:
            table.add_row(phase.name, str(phase.gpus), _count(phase.tokens), duration(phase.seconds))
        rounds = [phase for phase in found.phases if phase.name != "start"]
        table.add_row("a round", "", _count(sum(p.tokens for p in rounds)), duration(sum(p.seconds for p in rounds)))
        console.print(table)
        console.print()
        for note in found.notes:
            console.print(f"· {note}")
    return DOES_NOT if found.problems else FITS


def as_data(name: str, found: Plan) -> dict[str, Any]:
    """The plan as plain data: bytes, tokens and seconds."""
    model = found.model
    return {
        "config": name,
        "model": {
            "name": model.name,
            "source": model.source,
            "parameters": model.parameters,
            "context": model.context,
        },
        "hardware": {"gpu": found.hardware.name, "gpus": found.hardware.gpus, **found.hardware.chip._asdict()},
        "assumed": found.assumed._asdict() | {"pace": found.pace._asdict()},
        "phases": [
            phase._asdict()
            | {"total": phase.total, "fits": found.fits(phase)}
            | {"memory": {part: round(size) for part, size in phase.memory.items()}}
            for phase in found.phases
        ],
        "problems": found.problems,
        "notes": found.notes,
    }


def _hardware(options: PlanOptions, config: Config) -> Hardware:
    from funreason.config import ConfigError
    from funreason.plan.cost_model import CHIPS
    from funreason.plan.planning import Hardware

    if options.gpu not in CHIPS:
        raise ConfigError(
            f"--gpu {options.gpu}: known are {', '.join(CHIPS)}. "
            "For another, give --gpu-memory, --tflops and --bandwidth."
        )
    numbers = {"memory": options.gpu_memory, "tflops": options.tflops, "bandwidth": options.bandwidth}
    given = {key: value for key, value in numbers.items() if value is not None}
    if any(value <= 0 for value in given.values()) or (options.gpus is not None and options.gpus < 1):
        raise ConfigError("--gpus, --gpu-memory, --tflops and --bandwidth must be above 0")
    wanted = max(
        config.round_update.launch.processes,
        config.start.update.launch.processes,
        config.model.vllm.tensor_parallel if config.model.sampler == "vllm" else 1,
    )
    return Hardware(options.gpu, CHIPS[options.gpu]._replace(**given), options.gpus or wanted)


def _say_fit(console: Console, fitted: Fit) -> None:
    """What was searched for, before the plan that was found."""
    if not fitted.found:
        console.print("No settings were found with which it fits. The last that were tried:", style="bold red")
    elif fitted.settings:
        console.print("It fits with these settings:", style="green")
    else:
        console.print("It fits as it is.", style="green")
    for line in fitted.lines:
        console.print(f"  {line}", markup=False, highlight=False)
    if fitted.larger is not None:
        console.print(f"With others it would fit on {fitted.larger.gpus} × {fitted.larger.name}.")


def _table(title: str, *heads: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="", box=None, pad_edge=False)
    for at, head in enumerate(heads):
        table.add_column(head, justify="right" if at else "left")
    return table


def _gib(size: float | None) -> str:
    return "–" if size is None else f"{size / GIB:.1f}"


def _count(tokens: float) -> str:
    return f"{tokens / 1e6:.1f} M" if tokens >= 1e5 else f"{tokens:,.0f}"
