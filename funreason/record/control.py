"""The run's doorbell: a Unix socket in its folder, through which a viewer asks it to pause or to stop.

One JSON object per line in, one per line out. Whoever can open the socket can steer the run, so it has mode 600; there
is no other key. A folder without a socket belongs to a run that cannot be steered, or to none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

SOCKET = "control.sock"
Verb = Literal["pause", "go_on", "stop_after_round"]
_LONGEST = 100
"""Bytes of an address that every system takes (the limit is 104 to 108)."""


class Ask(msgspec.Struct, frozen=True):
    """What a viewer asks for."""

    verb: Verb


class Told(msgspec.Struct, frozen=True):
    """What the run answers: `text` is for a person."""

    ok: bool
    text: str


@contextmanager
def socket_address(folder: Path) -> Iterator[str]:
    """The address of the run's socket; a path too long for one is reached through an open folder (Linux).

    OSError when it is too long and the system has no such way.
    """
    path = folder.resolve() / SOCKET
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        if not Path(f"/proc/self/fd/{handle}").exists():
            raise OSError(f"{path} is too long for a socket's address; choose a shorter --run-dir")
        yield f"/proc/self/fd/{handle}/{SOCKET}"
    finally:
        os.close(handle)
