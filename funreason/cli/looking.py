"""Commands that show a run, and touch nothing."""

from __future__ import annotations

from pathlib import Path

from funreason.cli.app import RUNS, AnySetting, ConfigName, RunDir, RunName, app


@app.command
def status(run: RunName = None, /, *, json: bool = False, run_dir: RunDir = RUNS) -> int:
    """Where a run stands: the newest one, or one by name or folder.

    Parameters
    ----------
    json
        Print everything as JSON.
    """
    from funreason.commands.looking import show_status

    return show_status(run, run_dir, as_json=json)


@app.command
def watch(
    run: RunName = None,
    /,
    *,
    against: str | None = None,
    serve: bool = False,
    port: int = 8023,
    run_dir: RunDir = RUNS,
) -> int:
    """The dashboard: watch a live or finished run think. It only reads; quitting it leaves the run alone.

    Parameters
    ----------
    against
        Another run to compare with.
    serve
        Serve it to a browser on this machine instead of this terminal.
    port
        The port for --serve, on localhost only.
    """
    if serve:
        from funreason.commands.serving import serve as serve_it

        return serve_it(run, run_dir, port)
    from funreason.commands.watching import watch as watch_it

    return watch_it(run, run_dir, against)


@app.command
def replay(run: RunName = None, /, *, speed: float = 1.0, run_dir: RunDir = RUNS) -> int:
    """The dashboard over a recorded run, played like a film.

    Parameters
    ----------
    speed
        How many times faster than it was.
    """
    from funreason.commands.watching import replay as play

    return play(run, run_dir, speed)


@app.command
def report(run: RunName = None, /, *, out: Path | None = None, run_dir: RunDir = RUNS) -> int:
    """Write a run as pictures: one HTML file that needs no network, and Markdown for a repository.

    Parameters
    ----------
    out
        Where report.html and report.md are written. Default: the run's folder.
    """
    from funreason.commands.reporting import write_report

    return write_report(run, run_dir, out)


@app.command
def graph(*, config: ConfigName = "default", mermaid: bool = False, set: AnySetting = None) -> int:
    """Check the graph of agents and draw it.

    Parameters
    ----------
    mermaid
        As Mermaid text instead of a drawing for the terminal.
    """
    from funreason.commands.looking import show_graph

    return show_graph(config, set or [], mermaid=mermaid)


@app.command
def show(sample: str, /, *, run: RunName = None, run_dir: RunDir = RUNS) -> int:
    """The whole story of a sample: query, tools, thinking and call of each attempt, every verdict.

    Parameters
    ----------
    sample
        Its id, or the end of it.
    """
    from funreason.commands.looking import show_sample

    return show_sample(sample, run, run_dir)
