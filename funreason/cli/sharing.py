"""Commands that carry a run or a data file elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from funreason.cli.app import RUNS, DataFile, RunDir, RunName, Strict, app


@app.command
def track(
    run: RunName = None,
    /,
    *,
    to: str,
    follow: Annotated[bool, Parameter(negative="")] = False,
    pid: Annotated[int | None, Parameter(show=False)] = None,
    run_dir: RunDir = RUNS,
) -> int:
    """Show a run in an experiment tracker, from its record: losses by step, rates and gate by round.

    Parameters
    ----------
    to
        `tensorboard`, `wandb` or `trackio`; each is an extra of the same name.
    follow
        Go on until the run ends.
    """
    from funreason.commands.tracking import run_track

    return run_track(run, run_dir, to, follow=follow, pid=pid)


@app.command
def export(
    run: RunName = None,
    /,
    *,
    to: Path,
    license: str | None = None,
    data_license: str | None = None,
    run_dir: RunDir = RUNS,
) -> int:
    """Write a run for others: the accepted model with a card, the refined data as Parquet and for LLaMA-Factory.

    Parameters
    ----------
    to
        A new folder.
    license
        The model's licence, for its card.
    data_license
        The data's licence, for its card.
    """
    from funreason.commands.exporting import run_export

    return run_export(run, run_dir, to, license, data_license)


@app.command
def convert(
    file: DataFile, /, *, to: Literal["xlam", "sharegpt", "openai", "bfcl"], out: Path, strict: Strict = False
) -> int:
    """Write a data file in another form; a record that would not come back the same is rejected and counted.

    Parameters
    ----------
    to
        The form to write.
    out
        A new file; for bfcl a folder, which gets possible_answer/ as well.
    """
    from funreason.commands.converting import run_convert

    return run_convert(file, to, out, strict=strict)
