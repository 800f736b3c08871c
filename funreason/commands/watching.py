"""`funreason watch` and `replay`: the dashboard over a run's record."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from funreason.record.folder import RecordError, RunFolder, command_to_resume, open_run

OK = 0
EXTRA = "the dashboard needs the extra `tui`: pip install 'funreason[tui]'"


def watch(run: str | None, runs: Path, against: str | None = None) -> int:
    """Show a run until the viewer is quit; the run is not touched."""
    folder = open_run(run, runs)
    _needs_terminal()
    _needs_textual()
    from funreason.tui.feed import LiveFeed
    from funreason.tui.start import show

    show(folder, runs, lambda found, clock: LiveFeed(found, clock), _putting_back, key_map(), _other(against, runs))
    return OK


def replay(run: str | None, runs: Path, speed: float) -> int:
    """Play a run's log at `speed`."""
    folder = open_run(run, runs)
    if not speed > 0:
        raise RecordError(f"--speed is {speed:g}; it must be above 0. 1 is the pace the run had.")
    _needs_terminal()
    _needs_textual()
    from funreason.tui.feed import ReplayFeed
    from funreason.tui.start import show

    show(folder, runs, lambda found, clock: ReplayFeed(found, clock, speed), None, key_map(), None)
    return OK


def key_map() -> dict[str, str]:
    """Keys of the user's own by binding id, from `keys.yaml`; RecordError when it cannot be read as that."""
    path = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "funreason" / "keys.yaml"
    if not path.exists():
        return {}
    import yaml

    try:
        found = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(word, str) for pair in found.items() for word in pair):
        raise RecordError(f"{path} must hold lines such as `view.quit: ctrl+x`; the ids stand in the help (?)")
    return {str(key): str(value) for key, value in found.items()}


def _putting_back(folder: RunFolder, reason: str) -> str:
    from funreason.commands.dead_letters import put_back

    try:
        return f"{put_back(folder, reason)} samples put back. Go on with: {command_to_resume(folder)}"
    except RecordError as error:
        return str(error)


def _other(name: str | None, runs: Path) -> RunFolder | None:
    return None if name is None else open_run(name, runs)


def _needs_terminal() -> None:
    if not sys.stdout.isatty() and "TEXTUAL_DRIVER" not in os.environ:
        raise RecordError("the dashboard needs a terminal. Without one: funreason status, or funreason report.")


def _needs_textual() -> None:
    try:
        import textual  # noqa: F401
    except ModuleNotFoundError as error:
        raise RecordError(EXTRA) from error
