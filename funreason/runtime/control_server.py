"""The run's end of the control socket: answers viewers that ask it to pause, to resume, or to stop after its round.

It only sets flags that the run checks between its steps, so a viewer can never interrupt one. Where there are no Unix
sockets the run plays as usual, and its log says that it cannot be controlled.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import msgspec

from funreason.record.control import (
    LONGEST_LINE,
    SOCKET,
    WAIT_S,
    ControlReply,
    ControlRequest,
    Verb,
    socket_address,
)
from funreason.record.events import Event, LogMessage, Paused
from funreason.stop import StopRequest

ROOT = 0


class ControlServer:
    """Listens on the run's socket for as long as the context is open."""

    def __init__(self, folder: Path, stop: StopRequest, write: Callable[[Event], None]) -> None:
        self._folder = folder
        self._stop = stop
        self._write = write
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> ControlServer:
        path = self._folder / SOCKET
        path.unlink(missing_ok=True)  # a killed run leaves its own behind; there is only one writer of a folder
        mask = os.umask(0o177)
        try:
            with socket_address(self._folder) as address:
                self._server = await asyncio.start_unix_server(self._answer, address, limit=LONGEST_LINE)
        except (OSError, NotImplementedError) as error:
            self._write(LogMessage(level="info", text=f"no control socket, viewers can only read: {error}"))
        finally:
            os.umask(mask)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            (self._folder / SOCKET).unlink(missing_ok=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not _is_same_user(writer.get_extra_info("socket")):
                told = ControlReply(False, "this run belongs to another user")
            else:
                async with asyncio.timeout(WAIT_S):
                    line = await reader.readline()
                told = self._do(msgspec.json.decode(line, type=ControlRequest).verb)
        except TimeoutError:
            told = ControlReply(False, f"no line within {WAIT_S:.0f} s")
        except ValueError as error:  # of msgspec, and of a line that is too long
            told = ControlReply(False, f"not understood: {error}")
        try:
            writer.write(msgspec.json.encode(told) + b"\n")
            await writer.drain()
        except ConnectionError:  # the viewer is gone: what it asked for is done all the same
            return
        finally:
            writer.close()

    def _do(self, verb: Verb) -> ControlReply:
        if verb == "stop_after_round":
            self._stop.after_round = True
            self._write(LogMessage(level="info", text="a viewer asked to stop after this round"))
            return ControlReply(True, "the run stops when this round is over")
        if verb == "pause":
            self._stop.pause()
            self._write(Paused(on=True))
            return ControlReply(True, "the run waits before its next draw, step or phase")
        self._stop.resume()
        self._write(Paused(on=False))
        return ControlReply(True, "the run continues")


def _is_same_user(peer: socket.socket) -> bool:
    """Whether the process at the other end is of this user, or root; True where the system does not say."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the file's mode alone keeps others out
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return uid in (os.geteuid(), ROOT)
