"""A real HTTP server on loopback whose answers a test writes: slow, torn, refused, or as they should be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Thread
from typing import Any


@dataclass
class Said:
    """One answer. `cut` sends only so many bytes of the body and hangs up; `trickle_s` is the pause between bytes."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    cut: int | None = None
    trickle_s: float = 0.0
    raw: Callable[[], Iterable[bytes]] | None = None
    """What goes over the wire instead of an HTTP answer, until it ends or the client hangs up."""


@dataclass
class Heard:
    """One request as it came, `number` counted from 0 over all that are no question for the list of models."""

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Script = Callable[[Heard], Said | Any]


def completion(text: str = "[f(a=1)]", n: int = 1, tokens: int = 4, why: str = "stop") -> dict[str, Any]:
    """What a good server says, for both paths."""
    message = {"role": "assistant", "content": text}
    choices = [{"index": i, "text": text, "message": message, "finish_reason": why} for i in range(n)]
    return {"choices": choices, "usage": {"prompt_tokens": 10, "completion_tokens": tokens * n}}


class ScriptedServer:
    """Answers with what `script` says to each request; `most` is how many it had in its hands at once."""

    def __init__(self, script: Script | None = None, models: Any = ("small",), port: int = 0) -> None:
        self.script = script or (lambda heard: completion(n=heard.body.get("n", 1)))
        self.models = models
        self.port = port
        self.heard: list[Heard] = []
        self.connections = self.now = self.most = 0

    def __enter__(self) -> ScriptedServer:
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        self._thread = Thread(target=self._loop.run_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client is gone
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = first.split()[1]
        if path.endswith("/models"):
            said = Said({"data": [each if isinstance(each, dict) else {"id": each} for each in self.models]})
            return await _send(writer, said)
        heard = Heard(len(self.heard), path, headers, json.loads(body))
        self.heard.append(heard)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            said = self.script(heard)
            said = said if isinstance(said, Said) else Said(said)
            await asyncio.sleep(said.after_s)
            return await _send(writer, said)
        finally:
            self.now -= 1


async def _send(writer: asyncio.StreamWriter, said: Said) -> bool:
    if said.raw is not None:
        for part in said.raw():
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(said.trickle_s)
        return False
    body = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
    head = [f"HTTP/1.1 {said.status} Said", f"Content-Length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in said.headers.items()]
    writer.write("\r\n".join([*head, "", ""]).encode())
    for byte in body if said.trickle_s else ():
        writer.write(bytes([byte]))
        await asyncio.sleep(said.trickle_s)
    if not said.trickle_s:
        writer.write(body[: said.cut])
    await writer.drain()
    return said.cut is None
