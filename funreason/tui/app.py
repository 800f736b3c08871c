"""The dashboard: watches a run through its record, in its own process.

Four times a second it folds what was written and makes the pages of the visible panels; each panel repaints what
differs. It does nothing per event, so a fast run costs it no more than a slow one. It shows only what the run has
written, and reaches the run only by the requests of P (pause) and S (stop) to its control socket.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.events import DescendantFocus, Resize
from textual.geometry import Size
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer

from funreason.display.diagnosis import RunFinding, diagnose
from funreason.display.figures import duration
from funreason.display.spans import Line, Page
from funreason.display.verdict import evidence_in, verdict
from funreason.record.folder import RunFolder, runs_in
from funreason.tui.actions import Actions
from funreason.tui.feed import Clock, Feed, ReplayFeed
from funreason.tui.header import HeaderContext, HostStats, header, verdict_line
from funreason.tui.hero import accuracy_page, now_page
from funreason.tui.keys import bindings
from funreason.tui.pages import page_of
from funreason.tui.view_state import PANELS, ViewState
from funreason.tui.widgets import PanelWidget

REPAINT_S = 0.25
BUDGET_S = 0.2
"""At most this much of each quarter of a second is spent on folding: the rest is for keys."""
GPU_S = 5.0
ORDER = ("flow", "loss", "samples", "gate", "dead", "health", "log", "compare")
"""The panels as placed on the screen: the samples below the flow, which filters them."""
ALL_PANELS = (100, 34)
"""Columns and lines; on a smaller screen one panel is shown at a time."""
HERO = ("accuracy", "now")
"""The two panels over the others, which have no cursor and no key."""
TALL, TALLEST = 40, 48
"""Lines from which there is room for them, and from which all rows have their full height."""
DIAGNOSE_S = 2.0


class Dashboard(Actions, App[None]):
    """One run on the screen. `open_feed` opens another, `runs` lists them, `requeue` puts back dead letters."""

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
        view: ViewState | None = None,
        clock: Callable[[], float] = time.time,
        read_only: bool = False,
    ) -> None:
        super().__init__()
        self.read_only = read_only
        self.feed = feed
        self.open_feed = open_feed
        self.runs = runs
        self.requeue = None if read_only else requeue
        self.view = view or ViewState()
        self.clock = clock
        self.held = False
        self.zoomed = False
        self.active = "flow"
        self.host_stats = HostStats()
        self._host_text = ""
        self._verdict: Line = ()
        self._verdict_of: tuple[object, ...] = ()
        self._second = 0.0
        self._roles: dict[str, str] = {}
        self._settings: dict[str, object] = {}
        self._findings: tuple[RunFinding, ...] = ()
        self._found_at: tuple[float, int] = (0.0, -1)
        self._size: Size | None = None
        """The size of the last resize: the app's own is still the one before while its event is handled."""
        if keymap:
            self.set_keymap(dict(keymap))

    def compose(self) -> ComposeResult:
        """The header with the verdict, accuracy and diagnosis, eight panels, the keys."""
        yield PanelWidget("head", cursor=False)
        with Container(id="panels"):
            for name in HERO:
                yield PanelWidget(name, cursor=False)
            for name in ORDER:
                yield PanelWidget(name, number=str(PANELS.index(name) + 1), cursor=name != "loss")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Start reading and repainting."""
        for name in ("head", *HERO):
            self.query_one(f"#{name}", PanelWidget).can_focus = False
        self.arrange()
        self.panel(self.active).focus()
        self.set_interval(REPAINT_S, self.tick)
        self.set_interval(GPU_S, self._read_gpu)
        self.call_after_refresh(self.tick)

    def panel(self, name: str) -> PanelWidget:
        """A panel by its name."""
        return self.main_screen.query_one(f"#{name}", PanelWidget)

    @property
    def main_screen(self) -> Screen[object]:
        """The screen with the panels, also while another covers it."""
        return self.screen_stack[0]

    # -- painting ---------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Fold what is due and repaint when something changed; the clock in the header moves once a second.

        Does nothing while the dashboard is closing: Textual takes the screens down before it stops the timers and
        drops pending calls, so a last tick, paint or arrangement may find no panels.
        """
        if not self.is_running:
            return
        changed = False if self.held and not isinstance(self.feed, ReplayFeed) else self.feed.poll(BUDGET_S)
        now = self.clock()
        if now - self._second >= 1 or now < self._second:
            self._second = now
            self._host_text = self.host_stats.read(self.feed.life, now)
            changed = True
        if self.feed.opening is not None:  # a long log: read on without waiting, paint only the header
            self.panel("head").show(self._head())
            self.call_later(self.tick)
        elif changed:
            self.paint()

    def paint(self) -> None:
        """Remake the pages of the visible panels; does nothing while the dashboard is closing."""
        if not self.is_running:
            return
        self.panel("head").show(self._head())
        state = self.feed.state
        self.view.texts.poll(self.feed.folder.round(self.view.shown_round(state)))
        for name in (self.active,) if self.single else PANELS[:-1]:
            panel = self.panel(name)
            if panel.size.width:
                panel.show(page_of(name, state, self.view, panel.size.width, panel.size.height))
        if not self.single and (size := self.panel("accuracy").size).width:
            self.panel("accuracy").show(accuracy_page(state, self._roles, size.width, size.height))
            panel, gpu = self.panel("now"), self.host_stats.gpu_busy
            found, width, height = self.findings(), panel.size.width, panel.size.height
            panel.show(now_page(state, self.view, found, width, height, gpu=gpu))

    def findings(self) -> tuple[RunFinding, ...]:
        """What is wrong in the run, looked for again every two seconds at most."""
        now, events = self.clock(), self.feed.state.events
        at, seen = self._found_at
        if events != seen and (seen < 0 or abs(now - at) >= DIAGNOSE_S or isinstance(self.feed, ReplayFeed)):
            self._found_at = (now, events)
            self._findings = diagnose(self.feed.state, self._settings, str(self.feed.folder.path))
        return self._findings

    def _head(self) -> Page:
        feed, replay = self.feed, ""
        if isinstance(feed, ReplayFeed):
            sign = "■ END" if feed.over else "▶" if feed.playing else "‖"
            at, whole = duration(feed.at - feed.start), duration(feed.end - feed.start)
            replay = f"{sign} REPLAY ×{feed.speed:g} {at} of {whole}"
        found, notice = self.findings(), ""
        if found and not self.main_screen.query_one("#panels").has_class("tall"):
            notice = f"d: {len(found)} finding{'s' * (len(found) > 1)}: {found[0].text}"
        context = HeaderContext(
            notice=notice,
            now=feed.at if isinstance(feed, ReplayFeed) else self.clock(),
            life=feed.life,
            per_s=feed.per_s,
            host=self._host_text,
            replay=replay,
            unknown=feed.unknown,
            held=self.held,
            control=self.can_steer,
            opening=feed.opening,
        )
        tabs = tuple((f" {i} {name} ", "key" if name == self.active else "dim") for i, name in enumerate(PANELS, 1))
        lines = (*header(feed.state, feed.folder.name, context), self._verdict_line())
        return Page("", (*lines, *([tabs] if self.single else [])))

    def _verdict_line(self) -> Line:
        state, folder = self.feed.state, self.feed.folder
        decided = [(k, r.gate is not None, r.ended) for k, r in state.rounds.items()]
        life = "" if isinstance(self.feed, ReplayFeed) or self.feed.life is None else self.feed.life.status
        seen = (folder.path, decided, state.round, state.status, life)
        if seen != self._verdict_of:  # the items are read from files: only when something was decided
            self._verdict_of = seen
            evidence = evidence_in(folder)._replace(status=life)
            self._verdict = verdict_line(verdict(state, evidence))
            self._roles = {name: role for name, (role, _) in evidence.suites.items()}
            self._settings, self._found_at = dict(evidence.settings), (0.0, -1)
        return self._verdict

    async def _read_gpu(self) -> None:
        if self.feed.life and self.feed.life.status == "running":
            await self.host_stats.read_gpu()

    # -- layout -----------------------------------------------------------------------------------------------

    @property
    def single(self) -> bool:
        """Whether one panel is shown at a time."""
        size = self._size or self.size
        return self.zoomed or size.width < ALL_PANELS[0] or size.height < ALL_PANELS[1]

    def arrange(self) -> None:
        """Show one panel or all of them; does nothing while the dashboard is closing."""
        if not self.is_running:
            return
        panels, height = self.main_screen.query_one("#panels"), (self._size or self.size).height
        panels.set_class(self.single, "single")
        panels.set_class(height >= TALL and not self.single, "tall")
        rows = "1fr" if self.single else "14 1fr 8" if height < TALL else "10 10 1fr 7"
        panels.styles.grid_rows = "12 14 1fr 9" if height >= TALLEST and not self.single else rows
        self.panel("head").styles.height = 4 if self.single else 3
        for name in PANELS:
            self.panel(name).set_class(name == self.active, "shown")
        self.call_after_refresh(self.paint)

    def on_resize(self, event: Resize) -> None:
        """Another size may fit more panels, or fewer."""
        self._size = event.size
        if self.screen_stack and self.screen_stack[0].is_mounted:
            self.arrange()

    @on(DescendantFocus)
    def _panel_focused(self, event: DescendantFocus) -> None:
        if event.widget.id in PANELS:
            self.active = event.widget.id
            self.arrange()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys with priority do nothing while a dialog is open; the footer offers those that can do something."""
        if action == "next_panel":
            return not isinstance(self.screen, ModalScreen)
        if action in ("step", "speed"):
            return isinstance(self.feed, ReplayFeed)
        if action == "pause_run":
            return self.feed.life is not None and self.feed.life.status in ("running", "stale")
        return True


def show(
    folder: RunFolder,
    runs: Path,
    open_feed: Callable[[RunFolder, Clock], Feed],
    requeue: Callable[[RunFolder, str], str] | None,
    keymap: Mapping[str, str],
    against: RunFolder | None,
    *,
    read_only: bool = False,
) -> None:
    """Show a run until the user quits. `runs` is the directory of the runs to switch to.

    With `read_only` it steers no run, puts nothing back and writes no file.
    """
    app = Dashboard(
        open_feed(folder, time.time),
        open_feed=lambda found: open_feed(found, time.time),
        runs=lambda: runs_in(runs)[::-1],
        requeue=requeue,
        keymap=keymap,
        read_only=read_only,
    )
    if against is not None:
        app.view.against, app.view.against_name = against.state(), against.name
        app.active, app.zoomed = "compare", True
    app.run()
