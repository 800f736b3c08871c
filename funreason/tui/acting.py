"""What the dashboard's keys do. A part of `Dashboard`, apart so that painting and acting can each be read whole."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path

from textual.app import App

from funreason.record.control import Verb, can_control, send_request
from funreason.record.folder import RecordError, RunFolder
from funreason.tui.dialogs import Asking, Reading, Sure
from funreason.tui.feed import Feed, ReplayFeed
from funreason.tui.help import help_page
from funreason.tui.keys import bindings
from funreason.tui.look import PANELS, Look
from funreason.tui.panels import page_of
from funreason.tui.sheet import Sheet
from funreason.tui.story import story_page
from funreason.tui.theme import THEMES

WIDEST = 400
"""Cells of a table that is exported: nothing is cut there."""


class Acting(App[None]):
    """The actions. `Dashboard` has the screen they act on."""

    feed: Feed
    look: Look
    open_feed: Callable[[RunFolder], Feed]
    active: str
    held: bool
    zoomed: bool

    def sheet(self, name: str) -> Sheet:
        """A panel by its name."""
        raise NotImplementedError

    def paint(self) -> None:
        """Repaint."""
        raise NotImplementedError

    def _arrange(self) -> None:
        raise NotImplementedError

    def say(self, text: str, *, warn: bool = False) -> None:
        """A short word in the corner."""
        self.notify(text, severity="warning" if warn else "information", markup=False)

    # -- panels -----------------------------------------------------------------------------------------------

    def action_panel(self, name: str) -> None:
        """Go to a panel; its own key again shows it alone. Compare is only ever shown alone."""
        self.zoomed = (
            (not self.zoomed) if name == self.active and name != "compare" else self.zoomed or name == "compare"
        )
        if name != self.active and self.active == "compare":
            self.zoomed = False
        self._activate(name)

    def _activate(self, name: str) -> None:
        self.active = name
        self._arrange()
        self.call_after_refresh(self.sheet(name).focus)

    def action_next_panel(self, by: int) -> None:
        """The next panel."""
        names = PANELS if self.zoomed or self.single else PANELS[:-1]
        here = names.index(self.active) if self.active in names else 0
        self._activate(names[(here + by) % len(names)])

    @property
    def single(self) -> bool:
        """Whether one panel is shown at a time."""
        return self.zoomed

    def action_zoom(self) -> None:
        """This panel alone, or all."""
        self.zoomed = not self.zoomed
        self._activate("flow" if self.active == "compare" and not self.zoomed else self.active)

    def action_widen(self) -> None:
        """Undo the last narrowing: filters first, then the single panel."""
        if self.look.node or self.look.pattern:
            self.look.node = self.look.pattern = ""
        elif self.zoomed:
            self.action_zoom()
        self.paint()

    def on_sheet_opened(self, event: Sheet.Opened) -> None:
        """Enter on a row: a sample's story, or the samples of a row."""
        key = event.row.key
        if event.sheet.id == "samples":
            self.tell(key)
        elif key.partition(":")[0] in ("node", "end", "reason"):
            self.look.node = "" if self.look.node == key else key
            self._activate("samples")
        elif key.startswith("round:"):
            self.look.round = int(key.removeprefix("round:"))
            self.paint()
        elif event.sheet.id == "log":
            self.say(" ".join(event.row.cells))

    def tell(self, sample: str) -> None:
        """The whole story of a sample of the shown round."""
        k = self.look.shown_round(self.feed.state)
        self.push_screen(Reading(story_page(self.feed.folder, k, sample, self.size.width - 4)))

    # -- what is seen -----------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Type a filter for the samples."""

        def narrow(pattern: str | None) -> None:
            if pattern is not None:
                self.look.pattern = pattern.strip()
                self._activate("samples")

        self.push_screen(
            Asking("narrow the samples: part of an id, node, verdict or reason; * and ? as usual", self.look.pattern),
            narrow,
        )

    def action_round(self, by: int) -> None:
        """A round back or on."""
        self.look.move_round(self.feed.state, by)
        self.paint()

    def action_follow(self) -> None:
        """The newest round, the newest rows."""
        self.look.round, self.held = None, False
        for name in PANELS:
            sheet = self.sheet(name)
            if sheet.cursor is not None:
                sheet.action_move(-len(sheet.page.rows))
        self.paint()

    def action_go_to(self) -> None:
        """Type where to go."""
        replay = isinstance(self.feed, ReplayFeed)
        hint = "a round (r2), a time (1:30)" if replay else "a round (r2)"
        self.push_screen(Asking(f"go to {hint}, or a row of this panel by its text"), self._go_to)

    def _go_to(self, where: str | None) -> None:
        text = (where or "").strip()
        if text[:1] in ("r", "R") and text[1:].isdigit():
            self.look.round = int(text[1:])
        elif isinstance(self.feed, ReplayFeed) and (seconds := seconds_of(text)) is not None:
            self.feed.seek(seconds)
        elif text and not self.sheet(self.active).go_to(text):
            self.say(f"no row of this panel holds {text!r}", warn=True)
        self.paint()

    def action_sort(self) -> None:
        """The next order of this panel."""
        self.look.sort[self.active] = self.look.sort.get(self.active, 0) + 1
        if self.active not in ("samples", "dead"):
            self.say("this panel has one order only")
        self.paint()

    def action_hold(self) -> None:
        """Hold the view, or play and wait in a replay."""
        if isinstance(self.feed, ReplayFeed):
            self.feed.toggle()
        else:
            self.held = not self.held
        self.paint()

    def action_step(self, by: int) -> None:
        """An event on or back in a replay."""
        if isinstance(self.feed, ReplayFeed):
            self.feed.step(by)
            self.paint()

    def action_speed(self, by: int) -> None:
        """Faster or slower in a replay."""
        if isinstance(self.feed, ReplayFeed):
            self.feed.change_speed(by)
            self.paint()

    def action_theme(self) -> None:
        """The next theme."""
        here = THEMES.index(self.theme) if self.theme in THEMES else -1
        self.theme = THEMES[(here + 1) % len(THEMES)]
        self.say(f"theme {self.theme}")

    def action_help(self) -> None:
        """Help for what has the focus."""
        keys = [binding for binding in (*bindings(), *Sheet.BINDINGS) if not isinstance(binding, tuple)]
        self.push_screen(Reading(help_page(self.active, keys, self.size.width - 4)))

    # -- taking things away -----------------------------------------------------------------------------------

    def action_copy(self) -> None:
        """Copy the row the cursor is on (OSC 52)."""
        row = self.sheet(self.active).row
        if row is None:
            self.say("there is no row to copy", warn=True)
            return
        self.copy_to_clipboard("\t".join(row.cells) or row.key)
        self.say("copied")

    def action_export(self) -> None:
        """Write this panel's table to a CSV file where the dashboard was started."""
        sheet = self.sheet(self.active)
        page = page_of(self.active, self.feed.state, self.look, WIDEST, sheet.size.height)
        if not page.rows:
            self.say("this panel holds no table", warn=True)
            return
        text = io.StringIO()
        csv.writer(text).writerows([page.columns, *(row.cells for row in page.rows)])
        self._write(f"{self.active}.csv", text.getvalue())

    def action_screenshot_svg(self) -> None:
        """Write the screen as an SVG picture where the dashboard was started."""
        self._write("screen.svg", self.export_screenshot(title=f"funreason watch {self.feed.folder.name}"))

    def _write(self, name: str, text: str) -> None:
        path = Path.cwd() / f"funreason-{self.feed.folder.name}-{time.strftime('%H%M%S')}-{name}"
        try:
            path.write_text(text)
        except OSError as error:
            self.say(f"{path} cannot be written: {error.strerror}", warn=True)
            return
        self.say(f"written: {path}")

    # -- the run ----------------------------------------------------------------------------------------------

    @property
    def can_steer(self) -> bool:
        """Whether the run has a socket to ask."""
        return can_control(self.feed.folder.path)

    def action_pause_run(self) -> None:
        """Ask the run to wait, or to go on."""
        if self.feed.state.paused:
            self._ask("resume", "Let the run go on?")
        else:
            self._ask("pause", "Pause the run before its next draw, step or phase? What is in flight is finished.")

    def action_stop_run(self) -> None:
        """Ask the run to stop when its round is over."""
        self._ask("stop_after_round", "Stop the run after this round? It can be taken up again with --resume.")

    def _ask(self, verb: Verb, question: str) -> None:
        if isinstance(self.feed, ReplayFeed) or not self.can_steer:
            self.say("read-only: this run has no control socket (it is over, or plays elsewhere)", warn=True)
            return

        def answer(sure: bool | None) -> None:
            if sure:
                self.run_worker(self._last_error(verb), exclusive=True)

        self.push_screen(Sure(question), answer)

    async def _last_error(self, verb: Verb) -> None:
        told = await send_request(self.feed.folder.path, verb)
        self.say(told.text, warn=not told.ok)

    def switch_run(self, folder: RunFolder) -> None:
        """Watch another run."""
        if not self._readable(folder):
            return
        self.feed, self.look, self.held = self.open_feed(folder), Look(), False
        self.paint()

    def compare_with(self, folder: RunFolder) -> None:
        """Show another run beside this one."""
        if not self._readable(folder):
            return
        self.look.against, self.look.against_name = folder.state(), folder.name
        self.zoomed = True
        self._activate("compare")

    def _readable(self, folder: RunFolder) -> bool:
        try:
            folder.check_format()
        except RecordError as error:
            self.say(str(error), warn=True)
            return False
        return True


def seconds_of(text: str) -> float | None:
    """`90`, `1:30` or `1:02:03` as seconds; None for anything else."""
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not all(part.isdigit() and len(part) < 8 for part in parts):
        return None
    seconds = 0.0
    for part in parts:
        seconds = seconds * 60 + int(part)
    return seconds
