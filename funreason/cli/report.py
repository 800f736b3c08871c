"""`funreason report`: a run as one HTML file and as Markdown."""

from __future__ import annotations

from pathlib import Path

from funreason.cli import terminal
from funreason.cli.app import RUNS, RunDir, RunName
from funreason.display.report import report_html, report_markdown
from funreason.record.folder import open_run, write_whole


def report(run: RunName = None, /, *, out: Path | None = None, run_dir: RunDir = RUNS) -> int:
    """Write a report of a run: one HTML file that needs no network, and Markdown for a repository.

    Parameters
    ----------
    out
        Directory for report.html and report.md. Default: the run's folder.
    """
    folder = open_run(run, run_dir)
    state, life = folder.state(), folder.writer_status()
    target = out or folder.path
    target.mkdir(parents=True, exist_ok=True)
    status = life.status if life else state.status
    console = terminal.console(soft_wrap=True)
    for name, text in (
        ("report.html", report_html(state, folder, status)),
        ("report.md", report_markdown(state, folder, status)),
    ):
        write_whole(target / name, text)
        console.print(f"written: {target / name}", markup=False, highlight=False)
    return 0
