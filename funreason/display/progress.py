"""The live view of a loop in a plain terminal: phase, samples through each stage, losses, gate.

A reader like any other: it folds the log from the run folder and never touches the run. It polls the log every
quarter of a second, so it costs the same however many events there are. `terminal_lent` takes it off the terminal while
a question is asked there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from funreason.display.accuracy import share_with_interval
from funreason.display.diagnosis import diagnose
from funreason.display.figures import PHASES, curves, formatted, hint, others, phase_name, phases_now
from funreason.display.table import finding_text
from funreason.record.folder import RunFolder, readable_settings
from funreason.record.log import LogReader
from funreason.record.plain import plain
from funreason.record.state import RoundState, State

REFRESH_S = 0.25
DIAGNOSE_S = 3.0
"""Seconds between two looks at what goes wrong in the run; the end of the view is one more."""
JUDGING = {"pass", "drop", "regenerate", "keep_text"}
"""Outcomes that make a node a judge: only judges have a pass rate."""
_SHOWN: list[LiveProgress] = []
"""The views of this process, from the start of their blocks to the end."""
_LENT = 0
"""How many blocks of `terminal_lent` are open."""
_TURN = Lock()
"""Held while views are taken off the terminal or put back."""


@contextmanager
def terminal_lent() -> Iterator[None]:
    """Keep every live view of this process off the terminal inside the block, so that a question stays readable.

    What the views had to say until now is printed first; they resume, with what came meanwhile, after the block.
    """
    global _LENT
    with _TURN:
        _LENT += 1
        for shown in _SHOWN:
            shown.pause()
    try:
        yield
    finally:
        with _TURN:
            _LENT -= 1
            for shown in _SHOWN if not _LENT else ():
                shown.resume()


class LiveProgress(AbstractContextManager["LiveProgress"]):
    """Shows a run in progress. Where the output is not a terminal it prints one line per phase instead.

    `begun` is called once, when the run's first event is read: what is wrong with its input was said before that.
    """

    def __init__(self, folder: RunFolder, console: Console, begun: Callable[[], None] = lambda: None) -> None:
        self.console = console
        self._begun: Callable[[], None] | None = begun
        self.state = State()
        self._folder = folder
        self._events = 0
        self._settings: dict[str, Any] = {}
        self._reader = LogReader(folder.events)
        self._stop = Event()
        self._unread = self._paused = False
        self._polling = Lock()
        self._thread = Thread(target=self._follow, name="progress", daemon=True)
        self._said: tuple[int, str] = (-1, "")
        self._live: Live | None = None
        self._findings: set[tuple[str, str]] = set()
        """The rules that have spoken, and about what: each says so once."""
        self._diagnosed = 0.0
        self._loading = Spinner("dots", "loading the model and what it needs")

    def __enter__(self) -> LiveProgress:
        with _TURN:
            _SHOWN.append(self)
            self._paused = True
            if not _LENT:
                self.resume()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        with _TURN:
            _SHOWN.remove(self)
            self.pause()

    def pause(self) -> None:
        """Print what is new, then leave the terminal alone."""
        self._diagnosed = 0.0
        self._poll()
        with self._polling:
            self._paused = True
            if self._live and not self._unread:
                with suppress(OSError):  # a terminal that was closed
                    self._live.stop()
            self._live = None

    def resume(self) -> None:
        """Show the run again."""
        with self._polling:
            if self._paused and self.console.is_terminal and not self._unread:
                # A new one: the old one would paint over the lines that it had before the pause.
                self._live = Live(console=self.console, refresh_per_second=4, transient=True)
                try:
                    self._live.start()
                except OSError:
                    self._unread = True
            self._paused = False

    def whole(self) -> State:
        """The state of the whole log, after the block. OSError when it cannot be read."""
        self.state.fold(self._reader.events())
        return self.state

    def _follow(self) -> None:
        while not self._stop.wait(REFRESH_S):
            self._poll()

    def _poll(self) -> None:
        """Read what is new, and show it until the terminal or pipe is closed, which must not stop the run."""
        with self._polling:
            if self._paused:
                return
            notes = len(self.state.notes)
            try:
                self.state.fold(self._reader.events())
                if self._begun and self.state.run:
                    self._begun()
                    self._begun = None
                if self._unread:
                    return
                for note in self.state.notes[notes:]:
                    style = "yellow" if note.level == "warning" else ""
                    self.console.print(Text(plain(f"{note.level}: {note.text}"), style=style))
                self._diagnose()
                if self._live:
                    self._live.update(view(self.state, time.time()) if self.state.run else self._loading)
                elif (self.state.round, self.state.phase) != self._said and self.state.phase:
                    self._said = (self.state.round, self.state.phase)
                    phase = PHASES.get(self.state.phase, self.state.phase)
                    at = f"round {self.state.round}" if self.state.round else "start"
                    self.console.print(Text(plain(f"{at} · {phase}")))
            except OSError:
                self._unread = True

    def _diagnose(self) -> None:
        """Print what the diagnosis finds for the first time, while there is time to change it."""
        now = time.monotonic()
        if self.state.events == self._events or (self._diagnosed and now - self._diagnosed < DIAGNOSE_S):
            return
        self._diagnosed, self._events = now, self.state.events
        self._settings = self._settings or readable_settings(self._folder)
        for finding in diagnose(self.state, self._settings, str(self._folder.path)):
            if (finding.rule, finding.about) not in self._findings:
                self._findings.add((finding.rule, finding.about))
                self.console.print(finding_text(finding), crop=False)


def view(state: State, now: float) -> RenderableType:
    """One screen of the run at time `now`."""
    r = state.at_round(state.round)
    seconds = state.elapsed_s(now)
    phases = " + ".join(phase_name(state, phase) for phase in phases_now(state))
    head = Text.assemble(
        (plain(f"{state.run} "), "bold"),
        plain(f"· round {state.round}/{state.rounds_planned} · {phases or state.status}"),
        plain(f" · {seconds:.0f} s · weights {state.weights or '–'}"),
    )
    done = r.fates.total()
    ends = " · ".join(f"{name} {r.fates[name]}" for name in ("kept", "text", "dropped", "dead"))
    changed = f" · re-rendered {r.origins['rerendered']} · repaired {r.origins['repaired']}"
    changed += f" · rewritten {r.origins['rewritten']}" if r.origins["rewritten"] else ""
    update = Text("update  not yet", style="dim")
    if r.steps:
        s = r.steps[-1]
        shown = [*curves(s.metrics), *(name for name in ("alpha", "lr") if name in s.metrics), *others(s.metrics)]
        parts = [f"{hint(name).label} {formatted(name, s.metrics[name])}" for name in shown]
        update = Text(plain(" · ".join([f"update  step {s.step}/{s.steps}", *parts])))
    gates = []
    for k, gate in ((k, each.gate) for k, each in sorted(state.rounds.items()) if each.gate):
        old = share_with_interval(gate.overall, gate.balance, new=False)[0]
        new, low, high = share_with_interval(gate.overall, gate.balance, new=True)
        name = f"gate {k}" if k else "start "
        ends = f"({100 * low:.1f}–{100 * high:.1f})"
        gates.append(f"{name}  {100 * old:.1f} → {100 * new:.1f} {ends}  {plain(gate.decision)}")
    return Group(
        head,
        _stages(state, r),
        Text(f"samples {done}{f'/{r.todo}' if r.todo else ''} · {ends}{changed}"),
        update,
        Text("\n".join(gates) or "gate    not yet", style="" if gates else "dim"),
    )


def _stages(state: State, r: RoundState) -> RenderableType:
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    for name in ("agent", "answered", "passed", ""):
        table.add_column(name, justify="left" if name in ("agent", "") else "right")
    for name in state.nodes:
        node = r.nodes.get(name)
        if node is None or node.pass_rate is None or name in ("reward", "trainer", "dead_letter"):
            continue
        if not node.outcomes.keys() & JUDGING:
            table.add_row(Text(plain(name)), str(node.answered), "", "")
            continue
        rate = node.pass_rate
        table.add_row(
            Text(plain(name)),
            str(node.answered),
            f"{100 * rate:5.1f} %",
            ProgressBar(total=1, completed=rate, width=24),
        )
    return table
