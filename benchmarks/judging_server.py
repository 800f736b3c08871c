"""A server that says yes to every judge's question, 50 ms after the question's last byte came.

    python benchmarks/judging_server.py      (its port comes first; stop it by SIGTERM, and it tells what it saw)

By hand and not by asyncio: it must be in nobody's way on a machine of two cores, and its answers must not be late.
`epoll` waits whole milliseconds, so what is waited with is `select`, which knows microseconds.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections import deque
from contextlib import suppress
from typing import Any, NamedTuple

LATENCY_S = 0.050
REASONING = (
    "1. The inputs are complete and can be read. 2. Each value that is given was asked for, and has the type that the "
    "tool declares for it. 3. Nothing that is required is left out, and nothing was added that nobody spoke of. 4. The "
    "steps follow one from another, and the last of them leads to what is answered. All criteria hold."
)


class Seen(NamedTuple):
    """What the server saw. Times are `perf_counter`'s."""

    questions: int
    first: float
    last: float
    """When the first question had come, and when the last was answered."""
    busy: float
    """Questions in its hands, on average from first to last."""
    took: float
    """Seconds until a question was answered, on average."""
    cpu_s: float


class Server:
    """Connections on which one request follows another, as HTTP clients send them."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.bell, self.stop = os.pipe()
        self.connections: dict[int, socket.socket] = {}
        self.begun: dict[int, bytes] = {}
        self.owed: deque[tuple[float, socket.socket, bytes]] = deque()
        self.answers: dict[bytes, bytes] = {}
        self.questions = 0
        self.first = self.last = self.took = 0.0

    def run(self) -> Seen:
        """Answer until something is written to `stop`."""
        poll = select.epoll()
        for each in (self.listener.fileno(), self.bell):
            poll.register(each, select.EPOLLIN)
        while True:
            wait = max(0.0, self.owed[0][0] - time.perf_counter()) if self.owed else None
            select.select([poll], [], [], wait)
            for file, _ in poll.poll(0):
                if file == self.bell:
                    return self.seen()
                if file == self.listener.fileno():
                    self.accept(poll)
                else:
                    self.read(file)
            self.answer()

    def accept(self, poll: select.epoll) -> None:
        """Take a connection."""
        connection, _ = self.listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections[connection.fileno()] = connection
        poll.register(connection, select.EPOLLIN)

    def read(self, file: int) -> None:
        """Take what has come of a question."""
        data = b""
        with suppress(ConnectionError):
            data = self.connections[file].recv(1 << 18)
        if not data:
            self.connections.pop(file).close()  # which takes it out of the poll too
            self.begun.pop(file, None)
            return
        data = self.begun.pop(file, b"") + data
        head = data.find(b"\r\n\r\n")
        _, _, told = data[: max(head, 0)].lower().partition(b"content-length: ")
        if head < 0 or len(data) < head + 4 + (int(told.split(b"\r", 1)[0]) if told else 0):
            self.begun[file] = data
        elif data.startswith(b"GET"):
            self.connections[file].sendall(response({"data": [{"id": "judge"}]}))
        else:
            self.owe(file, data)

    def owe(self, file: int, question: bytes) -> None:
        """A question has come."""
        now = time.perf_counter()
        self.first = self.first or now
        tag = question[question.rindex(b"between <judge") + 9 :].split(b">", 1)[0]
        if tag not in self.answers:
            self.answers[tag] = ruling(tag.decode())
        self.owed.append((now + LATENCY_S, self.connections[file], self.answers[tag]))

    def answer(self) -> None:
        """Answer what is due."""
        while self.owed and (now := time.perf_counter()) >= self.owed[0][0]:
            due, connection, text = self.owed.popleft()
            with suppress(OSError):  # whoever asked has left
                connection.send(text)
            self.questions, self.last, self.took = self.questions + 1, now, self.took + now - due + LATENCY_S

    def seen(self) -> Seen:
        """What it saw until now."""
        lasted, count = self.last - self.first, self.questions
        busy, took = (self.took / lasted, self.took / count) if count else (0.0, 0.0)
        return Seen(count, self.first, self.last, busy, took, time.process_time())


def response(data: Any) -> bytes:
    """A 200."""
    body = json.dumps(data).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def ruling(tag: str) -> bytes:
    """Yes, at some length."""
    message = {"role": "assistant", "content": f"{REASONING} <{tag}>True</{tag}>"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 700, "completion_tokens": 90, "total_tokens": 790}
    return response({"id": "c", "object": "chat.completion", "model": "judge", "choices": [choice], "usage": usage})


def main() -> None:
    server = Server()
    signal.signal(signal.SIGTERM, lambda *_: os.write(server.stop, b"!"))
    print(server.port, flush=True)
    print(json.dumps(server.run()), flush=True)


if __name__ == "__main__":
    main()
