"""Names on a hub in the arguments of a command: pinned, and fetched where `--download` asks for it, with progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from funreason.hub import PREFIX, Report, model_name
from funreason.record.plain import plain

if TYPE_CHECKING:
    from funreason.config import Config


def with_fetched(config: Config, notices: Console) -> Config:
    """The configuration with its hub names pinned, fetched with `download: true`. HubError, DataError."""
    from funreason.sources.hub_names import with_pinned_names

    with _progress(notices) as report:
        return with_pinned_names(config, lambda text: _say(notices, text), report)


def fetched_file(file: Path, notices: Console, *, download: bool) -> Path:
    """A data file, or the pinned name of a data set. HubError, DataError."""
    if not str(file).startswith(PREFIX):
        return file
    from funreason.sources.hub_names import pinned_data

    with _progress(notices) as report:
        return Path(pinned_data(str(file), download=download, say=lambda text: _say(notices, text), report=report))


def fetched_model(model: str, notices: Console, *, download: bool) -> str:
    """A model's folder or address, or its pinned name. HubError."""
    if model_name(model) is None:
        return model
    from funreason.sources.hub_names import pinned_model

    with _progress(notices) as report:
        return pinned_model(model, download=download, say=lambda text: _say(notices, text), report=report)


def _say(notices: Console, text: str) -> None:
    notices.print(plain(text), soft_wrap=True)


@contextmanager
def _progress(notices: Console) -> Iterator[Report]:
    """What shows a bar for each file that is fetched; nothing where none is."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    shown = Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        console=notices,
    )  # fmt: skip
    bars: dict[str, TaskID] = {}

    def report(file: str, done: int, size: int) -> None:
        if not bars:
            shown.start()
        if file not in bars:
            bars[file] = shown.add_task(plain(file), total=size if size >= 0 else None)
        shown.update(bars[file], completed=done)

    try:
        yield report
    finally:
        if bars:
            shown.stop()
