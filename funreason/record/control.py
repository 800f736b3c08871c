"""The run's control socket: a Unix socket in its folder, through which a viewer asks it to pause, to resume or to stop.

One JSON object per line in, one per line out. Every process that can open the socket can steer the run, so it has mode
600; there is no other key. A folder without a socket belongs to a run that cannot be steered, or to none.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

SOCKET = "control.sock"
Verb = Literal["pause", "resume", "stop_after_round"]
WAIT_S = 5.0
LONGEST_LINE = 4096
"""Bytes of a request, and of a reply."""
_LONGEST = 100
"""Bytes of an address that every system takes (the limit is 104 to 108)."""


class ControlRequest(msgspec.Struct, frozen=True):
    """What a viewer asks for."""

    verb: Verb


class ControlReply(msgspec.Struct, frozen=True):
    """What the run answers: whether it obeys, and a `text` for a person."""

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


def can_control(folder: Path) -> bool:
    """Whether the run's folder has a socket; only a request shows whether a run still listens there."""
    return (folder / SOCKET).is_socket() and not (folder / SOCKET).is_symlink()


async def send_request(folder: Path, verb: Verb) -> ControlReply:
    """What the run answers; for a run that cannot be reached, a reply with `ok` False that says why."""
    try:
        async with asyncio.timeout(WAIT_S):
            with socket_address(folder) as address:
                reader, writer = await asyncio.open_unix_connection(address, limit=LONGEST_LINE)
            try:
                writer.write(msgspec.json.encode(ControlRequest(verb)) + b"\n")
                await writer.drain()
                answer = await reader.readline()
            finally:
                writer.close()
            await writer.wait_closed()
        return msgspec.json.decode(answer, type=ControlReply)
    except TimeoutError:
        return ControlReply(
            False, f"the run did not answer within {WAIT_S:.0f} s; it may be busy. Ask again, or use Ctrl-C there."
        )
    except OSError as error:
        return ControlReply(False, f"the run cannot be reached through its socket ({error.strerror or error})")
    except ValueError as error:  # msgspec's errors among them, and a line that is too long
        return ControlReply(False, f"the run answered something this version cannot read ({error})")
