"""`funreason report`: a run as one HTML file and as Markdown."""

from __future__ import annotations

from pathlib import Path

from funreason.commands import terminal
from funreason.display.report import report_html, report_markdown
from funreason.record.folder import open_run, write_whole

OK = 0


def write_report(run: str | None, runs: Path, out: Path | None) -> int:
    """Write report.html and report.md for a run, live or ended."""
    folder = open_run(run, runs)
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
    return OK
