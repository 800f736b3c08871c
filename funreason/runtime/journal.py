"""The run's own pen: phases, heartbeats and judgements go to the log through it.

Only the loop's process holds a journal; whoever else wants to know reads the log.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event, RLock, Thread

from funreason.bus.agent import ENDED
from funreason.data.records import Refusal
from funreason.policies.protocol import Sync
from funreason.record import events as ev
from funreason.record.folder import HEARTBEAT_S, RunFolder, WriterStatus
from funreason.record.integrity import Marks
from funreason.record.log import EventLog, RecordError
from funreason.record.manifest import WHOLE, seal_run
from funreason.runtime.machine import GpuUsage
from funreason.types import Sample

LOST = 1
"""The exit code of a run that another process has taken over, or whose folder is gone."""
MESSAGE_CHARS = 300
"""Of the first refused record's fault in the log's sentence; the whole of it is in its own event."""


class Journal:
    """Writes one run's events."""

    def __init__(self, folder: RunFolder, inputs: Mapping[str, Path] | None = None) -> None:
        """`inputs` are the files that the run is made from, by the settings that name them."""
        self.folder = folder
        self.marks = Marks(folder, inputs)
        self.log = EventLog(folder.events)
        self.write = self.log.write
        self.ended = False
        self.round = 0
        self._spans = count(1)
        self._pulse = RLock()
        self._status = ""
        self._missed = 0
        self.gpus: GpuUsage | None = None
        """Set where the run computes on GPUs: how busy they are is logged with each phase."""

    @contextmanager
    def phase(self, round: int, name: str, todo: int = 0) -> Iterator[None]:
        """A phase of a round, with its wall time; an interrupted phase gets no end."""
        self.require_folder()
        self.round = round
        span = f"{round}/{name}/{next(self._spans)}"
        self.write(ev.PhaseStarted(round=round, phase=name, id=span, todo=todo))
        if self.gpus is not None:
            self.gpus.taken(round, name)
        started = time.perf_counter()
        yield
        used = self.gpus.taken(round, name) if self.gpus is not None else None
        if used is not None:
            self.write(used)
        seconds = round_seconds(time.perf_counter() - started)
        self.write(ev.PhaseEnded(round=round, phase=name, id=span, seconds=seconds))
        self.sync()

    def require_folder(self) -> None:
        """RecordError when the run's folder was removed: lines written to an open file of it could never be read."""
        if not self.folder.path.exists():
            raise RecordError(gone(self.folder))

    def sync(self) -> None:
        """Make all of it survive a power loss; texts first, so that an end in the log always has its text."""
        self.folder.sync()
        self.log.sync()
        self.marks.take()

    def observe(self, node: str, before: Sample, outcome: str, after: Sample | None, seconds: float) -> None:
        """One answer on the bus: the hot path, so it stamps and appends directly."""
        if outcome == ENDED or after is None:
            return
        verdicts = after.verdicts
        last = verdicts[-1] if verdicts else None
        self.log.append(
            ev.Judged(
                at=self.log.now(),
                round=after.round,
                sample=after.id,
                attempt=before.attempt,
                node=node,
                outcome=outcome,
                reason=last.reason if last is not None and last.stage == node else "",
                us=round_micro(seconds),
            )
        )

    @asynccontextmanager
    async def heartbeat(self) -> AsyncIterator[None]:
        """Say every few seconds that the run is alive: from a thread, since loading a model holds the loop up."""
        over = Event()

        def beat() -> None:
            while not over.wait(HEARTBEAT_S):
                if self.gpus is not None:
                    self.gpus.read()
                with self._pulse:
                    if self.ended:
                        return
                    self._beat()

        thread = Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _beat(self) -> None:
        """One heartbeat; leaves the process when the run is no longer its own."""
        try:
            if not self.folder.is_owner():  # after a long sleep, say: whatever is written now would be written twice
                removed = self.folder.writer_status() is None  # maybe just now, with the folder still there
                lost = gone(self.folder) if removed else f"{self.folder.path} was taken over by another process"
                print(f"funreason: {lost}", file=sys.stderr, flush=True)
                os._exit(LOST)
            self.folder.heartbeat("running")
            self.marks.take()
            self._missed = 0
        except RecordError as error:  # a full disk may have room again; the run's own next line decides
            self._missed += 1
            if self._missed == 1:
                print(f"funreason: no heartbeat: {error}", file=sys.stderr)

    def synced(self, weights_id: str, sync: Sync) -> None:
        """An engine took weights, or started with them."""
        seconds, proof = round_seconds(sync.seconds), round_seconds(sync.proof_seconds)
        self.write(
            ev.WeightsSynced(
                round=self.round,
                weights=weights_id,
                seconds=seconds,
                proof_seconds=proof,
                proved=sync.proved,
                started=sync.started,
            )
        )

    def taken_over(self, dead: WriterStatus) -> None:
        """The process that wrote the run before is taken to be dead."""
        died = " and is dead" if dead.status == "crashed" else ""
        text = f"taken over from process {dead.pid} on {dead.host}, which was silent for {dead.silent_s:.0f} s{died}"
        self.write(ev.LogMessage(level="warning", text=text))

    def moved(self, before: str) -> None:
        """The run was written in the folder `before`; "" where it is in the same one."""
        if before:
            text = f"this run was written in {before}; its folder was moved, renamed or copied since"
            self.write(ev.LogMessage(level="warning", text=text))

    def read(self, refusals: Sequence[Refusal], summary: str, left: Mapping[str, int]) -> None:
        """The records that never became a task, what was read in a sentence with the first one's fault, and, last,
        that this was all of it.

        `left` counts, by code, what records hold and no task carries.
        """
        refused = [
            ev.TaskRefused(f"line {r.line} {r.id}".strip() if r.line else r.id, r.reason, r.message) for r in refusals
        ]
        for event in refused:
            self.write(event)
        if summary:
            first = next((f". At {r.where}: {r.message}"[:MESSAGE_CHARS] for r in refused if r.message), "")
            self.write(ev.LogMessage(level="warning" if refusals else "info", text=summary + first))
        self.write(ev.TasksRead(refused=len(refusals), left=dict(left)))

    def abandon(self) -> None:
        """Take the log of a run that never began back."""
        self.ended = True
        self.log.close()
        self.log.path.unlink()

    def end(self, status: str, reason: str = "") -> None:
        """The run's last line, and its status in run.json. What ended already is left as it is.

        The files of a run that came to its end are listed before its status says so, so that a status without a list is
        damage and not a kill.
        Where one of them cannot be written any more, that is said, and the others are tried.
        """
        if self.ended:  # maybe by a signal in the midst of the end below: the process may leave before its last beat
            self._try([partial(self._last_beat, self._status)] if self._status else [])
            return
        self.ended, self._status = True, status
        line = ev.RunEnded(status=status, reason=reason)
        acts: list[Callable[[], None]] = [self.folder.close, partial(self.write, line), self.log.close, self.marks.take]
        if status in WHOLE:
            acts.append(partial(seal_run, self.folder, ended=True))
        self._try([*acts, partial(self._last_beat, status), self.folder.release])

    def _try(self, acts: Sequence[Callable[[], None]]) -> None:
        for act in acts:
            try:
                act()
            except (RecordError, OSError) as error:
                print(f"funreason: the end of the run could not be written down: {error}", file=sys.stderr)

    def _last_beat(self, status: str) -> None:
        with self._pulse:
            if self.folder.path.exists():
                self.folder.heartbeat(status)


def gone(folder: RunFolder) -> str:
    """What to tell of a run whose folder is no more, or nothing in it that says whose run it is."""
    return f"{folder.path} is gone: it was removed or moved while the run went on, and nothing more can be kept."


def round_seconds(seconds: float) -> float:
    """To the millisecond: more digits would only be noise in the log."""
    return round(seconds, 3)


def round_micro(seconds: float) -> float:
    """Seconds as microseconds with one digit."""
    return round(seconds * 1e6, 1)
