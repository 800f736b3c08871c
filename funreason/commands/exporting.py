"""`funreason export`: a run's model and data as folders that others can open."""

from __future__ import annotations

from pathlib import Path

from funreason.commands import terminal
from funreason.export.bundle import export_run
from funreason.record.folder import open_run

OK = 0


def run_export(run: str | None, runs: Path, to: Path, license: str | None, data_license: str | None) -> int:
    """Write the folders and say what is in them; the exit code."""
    folder = open_run(run, runs)
    made = export_run(folder, to, license=license, data_license=data_license)
    console = terminal.console(soft_wrap=True)
    by_origin = ", ".join(f"{count} {origin}" for origin, count in made.origins.most_common()) or "none"
    for line in (
        f"{made.folder / 'model'}: weights {made.weights}, with a card",
        f"{made.folder / 'data'}: {made.rows} rows of refined data ({by_origin}), with a card",
        f"{made.folder / 'llamafactory'}: the same in share-gpt form",
    ):
        console.print(line, markup=False, highlight=False)
    if license is None or data_license is None:
        console.print("no licence is stated; see --license and --data-license", markup=False)
    return OK
