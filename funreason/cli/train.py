"""`funreason train`: one SRML training on a data file, with a preview of the mask."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from funreason.cli.app import Download, DryRun, Quiet, Setting, Verbose
from funreason.cli.terminal import console, library_logs, notices
from funreason.record.plain import plain

if TYPE_CHECKING:
    from funreason.config import Config
    from funreason.objectives.protocol import Example
    from funreason.policies.policy import Policy
    from funreason.training.types import StepReport
    from funreason.types import Sample


def train(
    file: Path,
    /,
    *,
    out: Path | None = None,
    model: str | None = None,
    config: str = "default",
    preview: int = 2,
    download: Download = False,
    settings: Setting = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Train once with the two-part loss on a data file, and show which tokens count as thinking and as result.

    Parameters
    ----------
    file
        Records with answers; their reference is learnt. Or hf:ORG/NAME[:SPLIT][@REVISION], a data set on a hub.
    out
        A new folder for the model. Default: the file's name and `-model`, here.
    model
        A model folder, or ORG/NAME[@REVISION], a model on a hub. Default: the embedded one.
    config
        A YAML file, or a name in configs/; its `train.update` part is used.
    preview
        Number of samples to preview.
    settings
        Change one setting, such as --set train.update.alpha=0.5.
    """
    from funreason.agents.references import usable_references
    from funreason.agents.updating import update_job
    from funreason.cli.config import read_config
    from funreason.cli.fetching import fetched_file, with_fetched
    from funreason.data.reading import read_tasks
    from funreason.objectives.protocol import Example
    from funreason.policies.factory import SamplerChoice, build_policy
    from funreason.policies.native_format import call_format_of
    from funreason.policies.template_check import check_prompts
    from funreason.record.folder import RecordError

    library_logs(verbose=verbose)
    given: dict[str, object] = {"model.path": model} if model else {}
    cfg = read_config(config, given | ({"download": True} if download else {}), settings)
    stem = file.name.partition(".")[0].translate(str.maketrans(":@", "--"))  # the signs of a name on a hub
    out = out or Path(f"{stem}-model")
    if out.is_dir() and any(out.iterdir()):
        raise RecordError(f"{out} is not empty; choose another --out")
    screen, said = console(), notices(quiet=quiet)
    file, cfg = fetched_file(file, said, download=cfg.download), with_fetched(cfg, said)
    reading = read_tasks(file, strict=cfg.tasks.strict, turns=cfg.data.turns, input_map=cfg.data.input_map)
    samples, unusable = usable_references(reading.tasks, 0, prefix="train", form=call_format_of(cfg.model))
    policy, base = build_policy(cfg, SamplerChoice("huggingface", "because nothing is sampled"))
    said.print(plain(f"{reading.summary()}; {unusable} without a reference that can be written"))
    for note in [*policy.notes, *check_prompts(policy.tokenizer, [s.task for s in samples], **policy.how)]:
        said.print(plain(note))
    examples = [Example(s.id, policy.prompt(s.task), s.thinking, s.answer, origin=s.origin) for s in samples]
    _require_learnable_thinking(cfg, policy, samples, examples)
    from funreason.policies.model_files import try_saving
    from funreason.training.encoding import encode_sample
    from funreason.training.mask_preview import mask_preview
    from funreason.training.types import UnusableSample

    if not dry_run:
        try_saving(base.folder, policy.tokenizer, out, dtype=cfg.model.dtype)
    for example in examples[:preview]:
        try:
            encoded = encode_sample(
                example.prompt,
                example.thinking,
                example.answer,
                policy.tokenizer,
                cfg.train.update.max_length,
                sample_id=example.id,
                tags=policy.tags,
            )
        except UnusableSample as error:
            screen.print(plain(f"no preview: {error}"))
        else:
            screen.print(mask_preview(encoded, policy.tokenizer, title=example.id))
    if dry_run:
        screen.print(plain(f"{len(examples)} samples would be trained on, into {out}. Nothing was trained or written."))
        return 0
    from funreason.training.launch import update

    job, work = update_job(cfg.train.update, cfg, base.folder, out), out.with_name(f".{out.name}.update")
    with policy.offloaded():
        report, weights_id = update(job, examples, policy.tokenizer, work, on_step=lambda step: _say(said, step))
    shutil.rmtree(work, ignore_errors=True)
    screen.print(
        f"trained on {report.examples} samples ({len(report.refused)} refused) in {report.steps} steps: "
        f"{_losses(report.metrics)}. Weights {weights_id} in {plain(out)}"
    )
    screen.print(plain(f"computed with {report.how}"))
    for refusal in report.refused[:10]:
        screen.print(plain(f"refused {refusal.message}"))
    return 0


def _require_learnable_thinking(config: Config, policy: Policy, samples: list[Sample], examples: list[Example]) -> None:
    """ConfigError when the chat template ends the thinking before that of the samples, which would be left out."""
    from funreason.config import ConfigError
    from funreason.policies.prompts import closes_thinking
    from funreason.policies.template_check import thinking_advice

    mute = [i for i, e in enumerate(examples) if e.thinking is not None and closes_thinking(e.prompt, policy.tags)]
    if mute and config.fcdr.require_thinking:
        advice = thinking_advice(policy.tokenizer, samples[mute[0]].task, **policy.how)
        raise ConfigError(
            f"the model's chat template puts an empty thinking into every prompt, so the thinking of {len(mute)} of "
            f"{len(examples)} samples could not be learnt. {advice}, or learn the answers alone: "
            "--set fcdr.require_thinking=false."
        )


def _say(screen: Console, step: StepReport) -> None:
    if step.halved_to is not None:
        screen.print(f"memory ran out: from here on at most {step.halved_to} tokens in a forward pass")
    if step.step % 10 == 0 or step.step == step.steps:
        screen.print(f"step {step.step}/{step.steps}  {_losses(step.metrics)}")


def _losses(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in metrics.items() if name.startswith("loss"))
