"""What ctrl+p offers: other runs, comparing, putting dead letters back, steering, pictures, themes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from textual.app import SystemCommand

from funreason.display.spans import clean
from funreason.tui.dialogs import Sure

if TYPE_CHECKING:
    from funreason.tui.app import Dashboard

MOST_RUNS = 30


def commands(app: Dashboard) -> Iterator[SystemCommand]:
    """Every command, those of this moment included."""
    yield SystemCommand("Help", "What this panel shows and what every key does", app.action_help)
    yield SystemCommand("Export SVG", "Write the screen as a picture", app.action_screenshot_svg)
    yield SystemCommand("Export table", "Write this panel's table as CSV", app.action_export)
    yield SystemCommand("Pause the run", "Ask it to wait, or to go on", app.action_pause_run)
    yield SystemCommand("Stop the run after this round", "It can be taken up again", app.action_stop_run)
    yield SystemCommand("Compare rounds", "The shown round beside the one before", partial(_rounds, app))
    others = [run for run in app.runs() if run.path.resolve() != app.feed.folder.path.resolve()]
    for run in others[:MOST_RUNS]:
        yield SystemCommand(f"Watch {_plain(run.name)}", "Switch to this run", partial(app.switch_run, run))
        yield SystemCommand(f"Compare with {_plain(run.name)}", "Side by side", partial(app.compare_with, run))
    if app.requeue is not None:
        for reason in app.look.of(app.feed.state).dead_reasons:
            yield SystemCommand(
                f"Requeue {_plain(reason)}", "Put these dead letters back", partial(_requeue, app, reason)
            )
    for theme in sorted(app.available_themes):
        yield SystemCommand(f"Theme {theme}", "Use these colours", partial(setattr, app, "theme", theme))
    yield SystemCommand("Quit the view", "The run goes on", app.exit)


def _rounds(app: Dashboard) -> None:
    app.look.against = None
    app.action_panel("compare")


def _requeue(app: Dashboard, reason: str) -> None:
    def answer(sure: bool | None) -> None:
        if sure and app.requeue is not None:
            app.say(app.requeue(app.feed.folder, reason))

    app.push_screen(Sure(f"Put back every dead letter with the reason {clean(reason)}?"), answer)


def _plain(text: str) -> str:
    """A name as the palette may show it, which reads square brackets as markup."""
    return clean(text).replace("[", "(").replace("]", ")")
