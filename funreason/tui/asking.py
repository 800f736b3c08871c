"""Asks a run, through the socket in its folder, to pause, to go on or to stop after its round."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from funreason.record.control import SOCKET, Ask, Told, Verb, socket_address

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
    writer.write(msgspec.json.encode(Ask(verb)) + b"\n")
    await writer.drain()
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return msgspec.json.decode(answer, type=Told)
