"""Which files of code the command line may run that a run or a configuration names.

A Python program loads whatever it names. The command line is stricter (`rule`): what a new run names runs and is
remembered; a command that resumes a run, checks a configuration or looks at something runs only what is remembered, and
otherwise asks once. A file is remembered by its path and its SHA-256, so a changed file or a copy is asked about again.
What a file imports from beside it is not compared. Installed packages are never asked about.

The memory is the file `funreason/trusted` in `$XDG_STATE_HOME`, by default `~/.local/state`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

Rule = Literal["all", "named", "remembered"]
"""`all`: run everything. `named`: run and remember. `remembered`: run what is remembered, and ask about the rest."""
_rule: Rule = "all"
MOST_BYTES = 16 << 20
"""Larger files are no code, and are not remembered."""


class TrustError(Exception):
    """Code that is neither installed nor remembered. The message says which file, and what to do."""


@contextmanager
def rule(name: Rule) -> Iterator[None]:
    """Apply a rule to all code that is loaded until the block ends, in every thread of this process."""
    global _rule
    before, _rule = _rule, name
    try:
        yield
    finally:
        _rule = before


def require(files: Sequence[Path], asked: str) -> None:
    """Raise TrustError if the rule does not let the files run, for what was `asked`. Asks at a terminal."""
    if _rule == "named":
        remember(files)
    elif _rule == "remembered":
        unknown = [file for file in files if not is_remembered(file)]
        if not unknown:
            return
        named = " and ".join(map(str, unknown))
        if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
            question = f"{asked} runs code from {named}, with your rights. Run it? [y/N] "
            print(question.translate(_SHOWN), end="", file=sys.stderr, flush=True)
            if sys.stdin.readline().strip().lower() in ("y", "yes"):
                remember(unknown)
                return
        raise TrustError(
            f"{asked} would run code from {named}, with your rights, and it was not trusted before. Read it, then add "
            "--trust to `funreason loop --resume`, `funreason refine --resume` or `funreason config check`."
        )


_SHOWN = dict.fromkeys((*range(32), *range(127, 160), *range(8234, 8239), *range(8294, 8298)), "?")
"""Signs with which a path could rewrite the question."""


def remember(files: Sequence[Path]) -> None:
    """Let the files run from now on, as they are. Nothing is raised when the memory cannot be written."""
    marks = [mark for file in files if (mark := _mark(file)) and mark not in _remembered()]
    if not marks:
        return
    memory = _memory()
    try:
        memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(memory, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "a") as out:
            out.writelines(f"{mark}\n" for mark in marks)
    except OSError:  # a home that cannot be written: this command runs all the same, the next one asks again
        return


def is_remembered(file: Path) -> bool:
    """Whether the file may run as it is."""
    mark = _mark(file)
    return mark is not None and mark in _remembered()


def _memory() -> Path:
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state.startswith("/") else Path.home() / ".local/state") / "funreason" / "trusted"


def _remembered() -> frozenset[str]:
    try:
        with _memory().open("rb") as memory:
            owner = os.fstat(memory.fileno())
            if owner.st_uid != os.getuid() or owner.st_mode & 0o022:  # what others can write says nothing
                return frozenset()
            return frozenset(memory.read(MOST_BYTES).decode(errors="replace").split())
    except OSError:
        return frozenset()


def _mark(file: Path) -> str | None:
    """What is remembered of a file: a hash of its path and its bytes; None for one that cannot be read."""
    try:
        with file.open("rb") as code:
            found = code.read(MOST_BYTES + 1)
    except OSError:
        return None
    if len(found) > MOST_BYTES:
        return None
    import hashlib  # here: every command reads this module, and few ask

    return hashlib.sha256(os.fsencode(file.resolve()) + b"\0" + found).hexdigest()
