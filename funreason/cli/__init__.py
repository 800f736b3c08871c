"""The command line. `app.py` holds the table of commands; each other file is one command, loaded when it is called.

Exit codes: 0 ok, 1 failure, 2 wrong usage, 3 the gate refused every round, 4 a round had nothing to learn, 130
interrupted. Results go to standard output; notices, progress and the log messages of libraries to standard error.
"""

from __future__ import annotations

import atexit
import gc
import sys
import warnings
from typing import Any, NoReturn

from cyclopts import CycloptsError

from funreason.cli.app import COMMANDS, GROUPED, GROUPS, RENAMED, app
from funreason.trust import rule

OK, USAGE, INTERRUPTED = 0, 2, 130
NAMING = frozenset({"agents", "eval", "loop", "plan", "refine", "reproduce", "reward", "train"})
"""Commands that start what their own arguments name. What they name may run, unless they resume something."""
CYCLES_AFTER = 20_000
"""Objects made before the garbage collector looks for cycles: its usual 700 are a tenth of a command's start."""

__all__ = ["app", "main"]


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and leave with its exit code. Known errors are printed as one sentence, others with a traceback."""
    from funreason.cli.terminal import library_logs

    library_logs()
    gc.set_threshold(CYCLES_AFTER)
    atexit.register(gc.freeze)  # the collector need not search once more what the process ends with
    # What a model writes is parsed as Python; the parser's remarks on its style would only litter the terminal.
    warnings.simplefilter("ignore", SyntaxWarning)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        with rule("named" if words and words[0] in NAMING else "remembered"):
            code: Any = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        print(f"funreason: {' '.join(str(error).split())} See: funreason {_command(words)}--help", file=sys.stderr)
        for old, new in RENAMED.items():
            *command, option = old.split()
            if words[: len(command)] == command and option in (word.partition("=")[0] for word in words):
                print(f"funreason: `funreason {old}` is called `funreason {new}` now", file=sys.stderr)
        code = USAGE
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        from funreason.cli.terminal import explain

        code = explain(error)
    sys.exit(code if isinstance(code, int) else OK)


def _command(words: list[str]) -> str:
    """The names of the command in `words`, each with a space after it; empty where there is no such command."""
    name = ""
    for word in words[:2]:
        name = f"{name}{word} " if f"{name}{word}" in {**COMMANDS, **GROUPS, **GROUPED} else name
    return name
