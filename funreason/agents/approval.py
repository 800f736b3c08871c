"""A person's approval: holds a promotion until somebody says yes or no.

Put it between the evaluator and the generator:

    agents: [{name: approval, agent: approval, after: evaluator, edge: accepted}]

The answer comes from the terminal, where there is one, or as a file in the run's folder: `approve-round-<k>` or
`refuse-round-<k>`, whose text becomes the reason. Decisions that promote nothing pass unasked.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from funreason.display.progress import terminal_lent
from funreason.record.events import Event, LogMessage
from funreason.stop import StopRequest
from funreason.types import Decision, Outcome, Verdict

POLL_S = 0.2
YES, NO = ("y", "yes"), ("n", "no")


class Approval:
    """Answers a `Decision` with `pass`, or with `drop` when a person refuses it.

    Args:
        node: the name of its node, which the verdicts carry.
        folder: the run's folder, where an answer may appear as a file.
        write: takes events; the question is one, so that every viewer shows it.
        stop: a request to stop ends the waiting.
        terminal: whether to ask on the terminal as well.
    """

    def __init__(
        self,
        node: str,
        folder: Path,
        write: Callable[[Event], None],
        stop: StopRequest,
        *,
        terminal: bool | None = None,
    ) -> None:
        self.node = node
        self.folder = folder
        self.write = write
        self.stop = stop
        self.terminal = sys.stdin.isatty() and sys.stderr.isatty() if terminal is None else terminal

    async def __call__(self, decision: Decision) -> Verdict:
        """Wait for the answer. Interrupted when the run is asked to stop."""
        if decision.decision != "promote":
            return Verdict(self.node, Outcome.PASS, judge="approval")
        approve = self.folder / f"approve-round-{decision.round}"
        refuse = self.folder / f"refuse-round-{decision.round}"
        question = f"round {decision.round} would promote {decision.candidate.id} ({decision.reason})"
        self.write(LogMessage(level="info", text=f"{question}: create {approve} or {refuse}", round=decision.round))
        with ExitStack() as asking:
            typed = None
            if self.terminal:
                asking.enter_context(terminal_lent())
                typed = TerminalQuestion(f"{question}. Accept these weights? [y/n] ")
                asking.callback(typed.close)
            while True:
                self.stop.check()
                said = typed.answer if typed else ""
                if approve.exists() or said in YES:
                    return Verdict(self.node, Outcome.PASS, judge="approval", evidence=_text(approve) or said)
                if refuse.exists() or said in NO:
                    reason = f"{self.node}.refused"
                    return Verdict(self.node, Outcome.DROP, reason, _text(refuse) or said, judge="approval")
                await asyncio.sleep(POLL_S)


class TerminalQuestion:
    """Asks a question on the terminal and takes the last whole line typed as its answer, without blocking."""

    def __init__(self, question: str) -> None:
        self.answer = ""
        self.over = False
        """Whether no answer can come any more: the terminal was closed."""
        self._question = question
        print(question, end="", file=sys.stderr, flush=True)
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._read)
        self._open = True

    def _read(self) -> None:
        line = sys.stdin.readline()
        self.answer = line.strip().lower()
        if not line:  # closed: only a file can answer now
            self.over = True
            self.close()
        elif self.answer not in (*YES, *NO):
            print(self._question, end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ask no longer; what is printed next begins a line."""
        if self._open and self.answer not in (*YES, *NO):
            print(file=sys.stderr, flush=True)
        self._open = False
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())


def _text(path: Path) -> str:
    return path.read_text(errors="replace").strip()[:500] if path.exists() else ""
