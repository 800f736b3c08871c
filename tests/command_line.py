"""Commands of the package, run in this process: what they print and their exit code, without the start of a Python.

Where the process itself is what a test looks at (signals, kills, what is imported, who writes to which descriptor), it
starts one instead.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from funreason.cli import main

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Done(NamedTuple):
    """What a command came to, under the names of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def funreason(*words: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> Done:
    """Run `funreason WORDS` in the folder `cwd` with `env` added to the environment; what it changes is restored.

    A judge of the user's own file stays imported in one process; a fresh process would read the file again, so it is
    forgotten afterwards.
    """
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    known, path = set(sys.modules), list(sys.path)
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    code: object = None
    with ExitStack() as stack:
        if cwd is not None:
            stack.enter_context(chdir(cwd))
        stack.enter_context(patch.dict(os.environ, env or {}))
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        try:
            main([str(word) for word in words])
        except SystemExit as ended:
            code = ended.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            sys.path[:] = path
            if torch:
                torch.set_num_threads(threads)
            for name in set(sys.modules) - known:
                if _is_foreign(getattr(sys.modules[name], "__file__", None)):
                    del sys.modules[name]
    assert isinstance(code, int)
    return Done(code, out.getvalue(), err.getvalue())


def _is_foreign(file: str | None) -> bool:
    """Whether a module is of neither this package nor an installed one: a test's own file."""
    roots = (str(Path(__file__).parents[1] / "funreason"), sys.prefix, sys.base_prefix)
    return file is not None and not file.startswith(roots)
