"""The commands. Each is one screen, and imports what it needs inside: `funreason --help` loads no torch.

Exit codes: 0 ok, 1 failure, 2 wrong usage, 3 the gate refused every round, 130 interrupted.
"""

from __future__ import annotations

import atexit
import gc
import sys
import warnings
from typing import Any, NoReturn

from cyclopts import CycloptsError

from funreason.cli import judging, keeping, looking, running, scoring, settings, sharing
from funreason.cli.app import app

OK, USAGE, INTERRUPTED = 0, 2, 130

__all__ = ["app", "judging", "keeping", "looking", "main", "running", "scoring", "settings", "sharing"]


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and leave with its exit code; an error that has a sentence of its own is printed as that."""
    atexit.register(gc.freeze)  # what the process ends with need not be looked through once more
    # What a model writes is parsed as Python; the parser's remarks on its style would only litter the terminal.
    warnings.simplefilter("ignore", SyntaxWarning)
    try:
        code: Any = app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        code = USAGE
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        from funreason.commands.failing import explain

        code = explain(error)
    sys.exit(code if isinstance(code, int) else OK)
