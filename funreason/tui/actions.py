"""What the dashboard's keys and its command palette do. `Dashboard` adds the screen that they act on."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from textual.app import App, SystemCommand
from textual.screen import Screen

from funreason.display.diagnosis import RunFinding
from funreason.display.spans import clean
from funreason.record.control import Verb, can_control, send_request
from funreason.record.folder import RecordError, RunFolder
from funreason.tui.feed import Feed, ReplayFeed
from funreason.tui.hero import findings_page
from funreason.tui.keys import bindings, help_page
from funreason.tui.pages import page_of
from funreason.tui.samples import story_page
from funreason.tui.view_state import PANELS, ViewState
from funreason.tui.widgets import ConfirmDialog, InputDialog, PanelWidget, TextScreen

WIDEST = 400
"""Width in cells of an exported table, where nothing is cut."""
MOST_RUNS = 30
"""Other runs that the palette offers."""
THEMES = ("textual-dark", "textual-light", "nord", "gruvbox", "solarized-light", "ansi-dark")
"""The themes that `t` cycles through; the palette offers all."""


class Actions(App[None]):
    """The actions of the keys and of the palette."""

    feed: Feed
    view: ViewState
    open_feed: Callable[[RunFolder], Feed]
    runs: Callable[[], list[RunFolder]]
    requeue: Callable[[RunFolder, str], str] | None
    read_only: bool
    active: str
    held: bool
    zoomed: bool

    def panel(self, name: str) -> PanelWidget:
        """A panel by its name."""
        raise NotImplementedError

    def paint(self) -> None:
        """Repaint."""
        raise NotImplementedError

    def arrange(self) -> None:
        """Give each panel its place."""
        raise NotImplementedError

    def say(self, text: str, *, warn: bool = False) -> None:
        """Show a short message in the corner."""
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
        self.arrange()
        self.call_after_refresh(self.panel(name).focus)

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
        """Undo the last restriction: filters first, then the single panel."""
        if self.view.node or self.view.pattern:
            self.view.node = self.view.pattern = ""
        elif self.zoomed:
            self.action_zoom()
        self.paint()

    def on_panel_widget_opened(self, event: PanelWidget.Opened) -> None:
        """Enter on a row: a sample's story, or the samples of a row."""
        key = event.row.key
        if event.panel.id == "samples":
            self.show_story(key)
        elif key.partition(":")[0] in ("node", "end", "reason"):
            self.view.node = "" if self.view.node == key else key
            self._activate("samples")
        elif key.startswith("round:"):
            self.view.round = int(key.removeprefix("round:"))
            self.paint()
        elif event.panel.id == "log":
            self.say(" ".join(event.row.cells))

    def show_story(self, sample: str) -> None:
        """Open everything about a sample of the shown round."""
        k = self.view.shown_round(self.feed.state)
        self.push_screen(TextScreen(story_page(self.feed.folder, k, sample, self.size.width - 4)))

    # -- what is seen -----------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Type a filter for the samples, which narrows them at each key; escape takes it back."""
        before = self.view.pattern
        if self.single and self.active != "samples":
            self.active = "samples"
            self.arrange()

        def narrow(pattern: str) -> None:
            self.view.pattern = pattern.strip()
            self.paint()

        def close(pattern: str | None) -> None:
            narrow(before if pattern is None else pattern)
            self._activate("samples")

        prompt = "Filter by id, node, verdict, reason, query or answer (globs allowed)"
        self.push_screen(InputDialog(prompt, before, narrow), close)

    def action_round(self, by: int) -> None:
        """A round back or on."""
        self.view.move_round(self.feed.state, by)
        self.paint()

    def action_follow(self) -> None:
        """The newest round, the newest rows."""
        self.view.round, self.held = None, False
        for name in PANELS:
            panel = self.panel(name)
            if panel.cursor is not None:
                panel.action_move(-len(panel.page.rows))
        self.paint()

    def action_go_to(self) -> None:
        """Type where to go."""
        replay = isinstance(self.feed, ReplayFeed)
        hint = "a round (r2), a time (1:30)" if replay else "a round (r2)"

        def go(where: str | None) -> None:
            text = (where or "").strip()
            if text[:1] in ("r", "R") and text[1:].isdigit():
                self.view.round = int(text[1:])
            elif isinstance(self.feed, ReplayFeed) and (seconds := seconds_of(text)) is not None:
                self.feed.seek(seconds)
            elif text and not self.panel(self.active).go_to(text):
                self.say(f"no row of this panel contains {text!r}", warn=True)
            self.paint()

        self.push_screen(InputDialog(f"go to {hint}, or a row of this panel by its text"), go)

    def action_sort(self) -> None:
        """The next order of this panel."""
        self.view.sort[self.active] = self.view.sort.get(self.active, 0) + 1
        if self.active not in ("samples", "dead"):
            self.say("this panel has only one order")
        self.paint()

    def action_hold(self) -> None:
        """Hold the view; in a replay, play or pause."""
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

    def findings(self) -> tuple[RunFinding, ...]:
        """What is wrong in the run."""
        raise NotImplementedError

    def action_diagnosis(self) -> None:
        """All findings, each with the option that it proposes."""
        self.push_screen(TextScreen(findings_page(self.findings(), self.size.width - 4)))

    def action_help(self) -> None:
        """Help for what has the focus."""
        keys = [binding for binding in (*bindings(), *PanelWidget.BINDINGS) if not isinstance(binding, tuple)]
        self.push_screen(TextScreen(help_page(self.active, keys, self.size.width - 4)))

    # -- taking things away -----------------------------------------------------------------------------------

    def action_copy(self) -> None:
        """Copy the row the cursor is on (OSC 52)."""
        row = self.panel(self.active).row
        if row is None:
            self.say("there is no row to copy", warn=True)
            return
        self.copy_to_clipboard("\t".join(row.cells) or row.key)
        self.say("copied")

    def action_export(self) -> None:
        """Write this panel's table to a CSV file where the dashboard was started."""
        panel = self.panel(self.active)
        page = page_of(self.active, self.feed.state, self.view, WIDEST, panel.size.height)
        if not page.rows:
            self.say("this panel has no table", warn=True)
            return
        text = io.StringIO()
        csv.writer(text).writerows([page.columns, *(row.cells for row in page.rows if row.cells)])
        self._write(f"{self.active}.csv", text.getvalue())

    def action_screenshot_svg(self) -> None:
        """Write the screen as an SVG picture where the dashboard was started."""
        self._write("screen.svg", self.export_screenshot(title=f"funreason watch {self.feed.folder.name}"))

    def _write(self, name: str, text: str) -> None:
        if self.read_only:
            self.say("Read-only: this dashboard writes no files.", warn=True)
            return
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
        """Whether the run has a socket to ask, and this dashboard may."""
        return not self.read_only and can_control(self.feed.folder.path)

    def action_pause_run(self) -> None:
        """Ask the run to pause, or to continue."""
        if self.feed.state.paused:
            self._ask("resume", "Continue the run?")
        else:
            self._ask("pause", "Pause the run before its next draw, step or phase? Work in flight is finished first.")

    def action_stop_run(self) -> None:
        """Ask the run to stop when its round is over."""
        self._ask("stop_after_round", "Stop the run after this round? It can be resumed with --resume.")

    def _ask(self, verb: Verb, question: str) -> None:
        if isinstance(self.feed, ReplayFeed) or not self.can_steer:
            why = "this dashboard only shows" if self.read_only else "the run has ended or runs on another host"
            self.say(f"Read-only: {why}.", warn=True)
            return

        async def send() -> None:
            reply = await send_request(self.feed.folder.path, verb)
            self.say(reply.text, warn=not reply.ok)

        def answer(sure: bool | None) -> None:
            if sure:
                self.run_worker(send(), exclusive=True)

        self.push_screen(ConfirmDialog(question), answer)

    def switch_run(self, folder: RunFolder) -> None:
        """Watch another run."""
        if not self._readable(folder):
            return
        self.feed, self.view, self.held = self.open_feed(folder), ViewState(), False
        self.paint()

    def compare_with(self, folder: RunFolder) -> None:
        """Show another run beside this one."""
        if not self._readable(folder):
            return
        self.view.against, self.view.against_name = folder.state(), folder.name
        self.zoomed = True
        self._activate("compare")

    # -- the palette (ctrl+p) ---------------------------------------------------------------------------------

    def _readable(self, folder: RunFolder) -> bool:
        try:
            folder.check_format()
        except RecordError as error:
            self.say(str(error), warn=True)
            return False
        return True

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The commands of the palette, for the run and the round on the screen."""
        yield SystemCommand("Help", "What this panel shows and what every key does", self.action_help)
        yield SystemCommand("Diagnosis", "What is wrong in the run, and what to change", self.action_diagnosis)
        yield SystemCommand("Export SVG", "Write the screen as a picture", self.action_screenshot_svg)
        yield SystemCommand("Export table", "Write this panel's table as CSV", self.action_export)
        yield SystemCommand("Pause the run", "Pause it, or continue it", self.action_pause_run)
        yield SystemCommand("Stop the run after this round", "It can be resumed", self.action_stop_run)
        yield SystemCommand("Compare rounds", "The shown round beside the one before", self._compare_rounds)
        others = [run for run in self.runs() if run.path.resolve() != self.feed.folder.path.resolve()]
        for run in others[:MOST_RUNS]:
            yield SystemCommand(f"Watch {_unmarked(run.name)}", "Switch to this run", partial(self.switch_run, run))
            yield SystemCommand(f"Compare with {_unmarked(run.name)}", "Side by side", partial(self.compare_with, run))
        if self.requeue is not None:
            for reason in self.view.of(self.feed.state).dead_reasons:
                put_back = partial(self._requeue, reason)
                yield SystemCommand(f"Requeue {_unmarked(reason)}", "Put these dead letters back", put_back)
        for theme in sorted(self.available_themes):
            yield SystemCommand(f"Theme {theme}", "Use these colours", partial(setattr, self, "theme", theme))
        yield SystemCommand("Quit the view", "The run continues", self.exit)

    def _compare_rounds(self) -> None:
        self.view.against = None
        self.action_panel("compare")

    def _requeue(self, reason: str) -> None:
        def answer(sure: bool | None) -> None:
            if sure and self.requeue is not None:
                self.say(self.requeue(self.feed.folder, reason))

        self.push_screen(ConfirmDialog(f"Put back every dead letter with the reason {clean(reason)}?"), answer)


def _unmarked(text: str) -> str:
    """A name as the palette may show it, which reads square brackets as markup."""
    return clean(text).replace("[", "(").replace("]", ")")


def seconds_of(text: str) -> float | None:
    """`90`, `1:30` or `1:02:03` as seconds; None for anything else."""
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not all(part.isdigit() and len(part) < 8 for part in parts):
        return None
    seconds = 0.0
    for part in parts:
        seconds = seconds * 60 + int(part)
    return seconds
