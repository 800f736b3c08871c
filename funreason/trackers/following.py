"""Sends a run's record to a tracker, whole or as it grows.

It only reads. Whatever a tracker does, the run cannot notice: the first failure ends the sending, with one sentence.
"""

from __future__ import annotations

import time

from funreason.record.folder import RunFolder, alive
from funreason.record.log import LogReader
from funreason.trackers.adapters import Tracker, TrackerError
from funreason.trackers.points import Points

POLL_S = 1.0


def send(run: RunFolder, tracker: Tracker, *, follow: bool, pid: int | None = None) -> int:
    """Send every event there is, and with `follow` those to come until the run ends; how many points were sent.

    `pid` is the process that is about to write the run: while it lives, a run that has not begun is waited for.
    Raises TrackerError when the tracker fails, whatever its library raised.
    """
    reader, points, sent, begun = LogReader(run.events), Points(), 0, False
    try:
        while True:
            running = _running(run)  # asked first: what is written before it ends is still read
            begun = begun or running
            for event in reader.events():
                for point in points.of(event):
                    tracker.write(point)
                    sent += 1
            if not follow or not (running or (not begun and pid is not None and alive(pid))):
                break
            time.sleep(POLL_S)
        tracker.close()
    except Exception as error:
        raise TrackerError(f"the tracker failed after {sent} points: {type(error).__name__}: {error}") from error
    return sent


def _running(run: RunFolder) -> bool:
    life = run.writer_status()
    return life is not None and life.status in ("running", "stale")
