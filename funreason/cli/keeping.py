"""Commands over dead letters and over all runs."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from funreason.cli.app import RUNS, AnyRun, Reason, RunDir, RunName, dlq, runs_app


@dlq.command(name="list")
def dlq_list(run: RunName = None, /, *, reason: Reason = "*", run_dir: RunDir = RUNS) -> int:
    """Dead letters by reason."""
    from funreason.commands.dead_letters import list_dead

    return list_dead(run, run_dir, reason)


@dlq.command(name="show")
def dlq_show(run: RunName = None, /, *, reason: Reason = "*", limit: int = 3, run_dir: RunDir = RUNS) -> int:
    """The whole story of dead letters: query, tools, each attempt, every verdict.

    Parameters
    ----------
    limit
        At most so many of each reason.
    """
    from funreason.commands.dead_letters import show_dead

    return show_dead(run, run_dir, reason, limit)


@dlq.command(name="requeue")
def dlq_requeue(run: RunName = None, /, *, reason: Reason = "*", run_dir: RunDir = RUNS) -> int:
    """Put the tasks of dead letters back, to be sampled again when the run goes on."""
    from funreason.commands.dead_letters import requeue

    return requeue(run, run_dir, reason)


@runs_app.command(name="list")
def runs_list(*, run_dir: RunDir = RUNS) -> int:
    """Every run: name, status, rounds, accuracy of the weights accepted last, size."""
    from funreason.commands.runs import list_runs

    return list_runs(run_dir)


@runs_app.command(name="verify")
def runs_verify(run: AnyRun = None, /, *, run_dir: RunDir = RUNS) -> int:
    """Compare a run's files with the hashes in its manifests; names the first file that does not match."""
    from funreason.commands.runs import verify_runs

    return verify_runs(run, run_dir)


@runs_app.command(name="prune")
def runs_prune(
    run: AnyRun = None, /, *, yes: Annotated[bool, Parameter(negative="")] = False, run_dir: RunDir = RUNS
) -> int:
    """Remove weights that no gate let through, and what broken-off updates left. Without --yes: only say which.

    Parameters
    ----------
    yes
        Remove them.
    """
    from funreason.commands.runs import prune_runs

    return prune_runs(run, run_dir, yes=yes)
