"""The dashboard: watches a run through its record, in a process of its own.

Four times a second it folds what was written, makes the pages of the panels on the screen, and each panel repaints
what differs. It never does anything per event, so a fast run costs it no more than a slow one; what the run does not
write here cannot be seen, and nothing that happens here reaches the run but what P and S ask through its socket.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import BindingType
from textual.containers import Container
from textual.events import DescendantFocus, Resize
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer

from funreason.display.figures import duration
from funreason.display.spans import Line, Page
from funreason.record.folder import RunFolder
from funreason.tui import palette
from funreason.tui.acting import Acting
from funreason.tui.feed import Feed, ReplayFeed
from funreason.tui.headline import Vitals, headline
from funreason.tui.keys import bindings
from funreason.tui.look import PANELS, Look
from funreason.tui.machine import Machine
from funreason.tui.panels import page_of
from funreason.tui.sheet import Sheet

REPAINT_S = 0.25
BUDGET_S = 0.2
"""Of each quarter of a second at most this long goes into folding: the rest is for keys."""
GPU_S = 5.0
ORDER = ("flow", "loss", "samples", "gate", "dead", "health", "log", "compare")
"""The panels as they lie on the screen: the samples under the flow that narrows them."""
ALL_PANELS = (100, 34)
"""Below so many columns or lines one panel is shown at a time."""


class Dashboard(Acting, App[None]):
    """One run on the screen. `open_feed` opens another; `runs` lists them; `requeue` puts a reason back."""

    CSS_PATH = Path(__file__).parent / "dashboard.tcss"
    TITLE = "FunReason"
    BINDINGS: ClassVar[list[BindingType]] = list(bindings())

    def __init__(
        self,
        feed: Feed,
        *,
        open_feed: Callable[[RunFolder], Feed],
        runs: Callable[[], list[RunFolder]] = list,
        requeue: Callable[[RunFolder, str], str] | None = None,
        keymap: Mapping[str, str] | None = None,
        look: Look | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.feed = feed
        self.open_feed = open_feed
        self.runs = runs
        self.requeue = requeue
        self.look = look or Look()
        self.clock = clock
        self.held = False
        self.zoomed = False
        self.active = "flow"
        self.machine = Machine()
        self._machine_text = ""
        self._second = 0.0
        if keymap:
            self.set_keymap(dict(keymap))

    def compose(self) -> ComposeResult:
        """The header, eight panels, the keys."""
        yield Sheet("head", cursor=False)
        with Container(id="panels"):
            for name in ORDER:
                yield Sheet(name, number=str(PANELS.index(name) + 1), cursor=name != "loss")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Begin to read and to repaint."""
        self.query_one("#head", Sheet).can_focus = False
        self._arrange()
        self.sheet("flow").focus()
        self.set_interval(REPAINT_S, self.tick)
        self.set_interval(GPU_S, self._look_at_gpu)
        self.call_after_refresh(self.tick)

    def sheet(self, name: str) -> Sheet:
        """A panel by its name."""
        return self.main_screen.query_one(f"#{name}", Sheet)

    @property
    def main_screen(self) -> Screen[object]:
        """The screen with the panels, also while another lies over it."""
        return self.screen_stack[0]

    # -- painting ---------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Fold what is due and repaint when something changed; the clock in the header moves once a second.

        Nothing once the dashboard is being left: Textual takes the screens down before it stops the timers and before
        it drops what was to be called later, so a last tick, paint or arrangement may find no panels.
        """
        if not self.is_running:
            return
        changed = False if self.held and not isinstance(self.feed, ReplayFeed) else self.feed.poll(BUDGET_S)
        now = self.clock()
        if now - self._second >= 1 or now < self._second:
            self._second = now
            self._machine_text = self.machine.read(self.feed.life, now)
            changed = True
        if self.feed.opening is not None:  # a long log: no waiting in between, and only the header is painted
            self.sheet("head").show(self._head())
            self.call_later(self.tick)
        elif changed:
            self.paint()

    def paint(self) -> None:
        """Make the pages of the panels on the screen anew; nothing once the dashboard is being left."""
        if not self.is_running:
            return
        self.sheet("head").show(self._head())
        for name in self._visible():
            sheet = self.sheet(name)
            if sheet.size.width:
                sheet.show(page_of(name, self.feed.state, self.look, sheet.size.width, sheet.size.height))

    def _head(self) -> Page:
        lines = list(headline(self.feed.state, self.feed.folder.name, self._vitals()))
        return Page("", (*lines, *([self._tabs()] if self.single else [])))

    def _tabs(self) -> Line:
        return tuple((f" {i} {name} ", "key" if name == self.active else "dim") for i, name in enumerate(PANELS, 1))

    def _vitals(self) -> Vitals:
        feed = self.feed
        return Vitals(
            now=feed.at if isinstance(feed, ReplayFeed) else self.clock(),
            life=feed.life,
            per_s=feed.per_s,
            machine=self._machine_text,
            replay=_replay_text(feed) if isinstance(feed, ReplayFeed) else "",
            unknown=feed.unknown,
            held=self.held,
            control=self.can_steer,
            opening=feed.opening,
        )

    async def _look_at_gpu(self) -> None:
        if self.feed.life and self.feed.life.status == "running":
            await self.machine.ask_gpu()

    # -- layout -----------------------------------------------------------------------------------------------

    @property
    def single(self) -> bool:
        """Whether one panel is shown at a time."""
        return self.zoomed or self.size.width < ALL_PANELS[0] or self.size.height < ALL_PANELS[1]

    def _visible(self) -> Iterable[str]:
        return (self.active,) if self.single else PANELS[:-1]

    def _arrange(self) -> None:
        """Show one panel or all of them; nothing once the dashboard is being left."""
        if not self.is_running:
            return
        self.main_screen.query_one("#panels").set_class(self.single, "single")
        self.sheet("head").styles.height = 3 if self.single else 2
        for name in PANELS:
            self.sheet(name).set_class(name == self.active, "shown")
        self.call_after_refresh(self.paint)

    def on_resize(self, event: Resize) -> None:
        """Another size may hold more panels, or fewer."""
        if self.screen_stack and self.screen_stack[0].is_mounted:
            self._arrange()

    @on(DescendantFocus)
    def _panel_focused(self, event: DescendantFocus) -> None:
        if event.widget.id in PANELS:
            self.active = event.widget.id
            self._arrange()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Panel keys with priority do nothing while a dialog is open."""
        if action == "next_panel":
            return not isinstance(self.screen, ModalScreen)
        return True

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What ctrl+p offers."""
        return palette.commands(self)


def _replay_text(feed: ReplayFeed) -> str:
    sign = "■ END" if feed.over else "▶" if feed.playing else "‖"
    at, whole = duration(feed.at - feed.start), duration(feed.end - feed.start)
    return f"{sign} REPLAY ×{feed.speed:g} {at} of {whole}"
