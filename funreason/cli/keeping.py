"""Commands over dead letters and over all runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from funreason.cli.app import RUNS, dlq, runs_app


@dlq.command(name="list")
def dlq_list(run: str | None = None, /, *, reason: str = "*", run_dir: Path = RUNS) -> int:
    """Dead letters by reason.

    Parameters
    ----------
    run
        The run's name or folder. Default: the newest.
    reason
        Only reasons like this, for example 'schema.*'.
    run_dir
        Where runs lie.
    """
    from funreason.commands.dead_letters import list_dead

    return list_dead(run, run_dir, reason)


@dlq.command(name="show")
def dlq_show(run: str | None = None, /, *, reason: str = "*", limit: int = 3, run_dir: Path = RUNS) -> int:
    """The whole story of dead letters: query, tools, each attempt, every verdict.

    Parameters
    ----------
    run
        The run's name or folder. Default: the newest.
    reason
        Only reasons like this, for example 'schema.*'.
    limit
        At most so many of each reason.
    run_dir
        Where runs lie.
    """
    from funreason.commands.dead_letters import show_dead

    return show_dead(run, run_dir, reason, limit)


@dlq.command(name="requeue")
def dlq_requeue(run: str | None = None, /, *, reason: str = "*", run_dir: Path = RUNS) -> int:
    """Put the tasks of dead letters back, to be sampled again when the run goes on.

    Parameters
    ----------
    run
        The run's name or folder. Default: the newest.
    reason
        Only reasons like this, for example 'schema.*'.
    run_dir
        Where runs lie.
    """
    from funreason.commands.dead_letters import requeue

    return requeue(run, run_dir, reason)


@runs_app.command(name="list")
def runs_list(*, run_dir: Path = RUNS) -> int:
    """Every run: name, status, rounds, accuracy of the weights accepted last, size.

    Parameters
    ----------
    run_dir
        Where runs lie.
    """
    from funreason.commands.runs import list_runs

    return list_runs(run_dir)


@runs_app.command(name="verify")
def runs_verify(run: str | None = None, /, *, run_dir: Path = RUNS) -> int:
    """Compare a run's files with the hashes in its manifests; names the first file that does not match.

    Parameters
    ----------
    run
        Its name or folder. Default: all.
    run_dir
        Where runs lie.
    """
    from funreason.commands.runs import verify_runs

    return verify_runs(run, run_dir)


@runs_app.command(name="prune")
def runs_prune(
    run: str | None = None, /, *, yes: Annotated[bool, Parameter(negative="")] = False, run_dir: Path = RUNS
) -> int:
    """Remove weights that no gate let through, and what broken-off updates left. Without --yes: only say which.

    Parameters
    ----------
    run
        Its name or folder. Default: all.
    yes
        Remove them.
    run_dir
        Where runs lie.
    """
    from funreason.commands.runs import prune_runs

    return prune_runs(run, run_dir, yes=yes)
