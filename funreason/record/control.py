"""The run's doorbell: a Unix socket in its folder, through which a viewer asks it to pause or to stop.

One JSON object per line in, one per line out. Whoever can open the socket can steer the run, so it has mode 600; there
is no other key. A folder without a socket belongs to a run that cannot be steered, or to none.
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
_LONGEST = 100
"""Bytes of an address that every system takes (the limit is 104 to 108)."""


class ControlRequest(msgspec.Struct, frozen=True):
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


# Asks a run, through the socket in its folder, to pause, to go on or to stop after its round.

WAIT_S = 5.0


def can_ask(folder: Path) -> bool:
    """Whether the run's folder has a socket; that somebody still listens there is seen on asking."""
    return (folder / SOCKET).is_socket()


async def ask(folder: Path, verb: Verb) -> Told:
    """What the run answers; a run that cannot be reached is an answer too, with `ok` False."""
    try:
        return await asyncio.wait_for(_asked(folder, verb), WAIT_S)
    except TimeoutError:
        return Told(
            False, f"the run did not answer within {WAIT_S:.0f} s; it may be busy. Ask again, or use Ctrl-C there."
        )
    except OSError as error:
        return Told(False, f"the run cannot be reached through its socket ({error.strerror or error})")
    except msgspec.DecodeError as error:
        return Told(False, f"the run answered something this version cannot read ({error})")


async def _asked(folder: Path, verb: Verb) -> Told:
    with socket_address(folder) as address:
        reader, writer = await asyncio.open_unix_connection(address)
    writer.write(msgspec.json.encode(ControlRequest(verb)) + b"\n")
    await writer.drain()
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return msgspec.json.decode(answer, type=Told)
