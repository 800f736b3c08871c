"""Errors as a person reads them: one clear sentence for what we know, a traceback for what we do not."""

from __future__ import annotations

import sys
import traceback

from funreason.record.plain import plain

FAILED, USAGE, INTERRUPTED = 1, 2, 130
KNOWN = {
    "ConfigError": USAGE,
    "GraphError": USAGE,
    "PluginError": USAGE,
    "DataError": FAILED,
    "ModelError": FAILED,
    "RecordError": FAILED,
    "BfclError": FAILED,
    "TrackerError": FAILED,
    "TrainingError": FAILED,
    "StaleError": FAILED,
    "BrokenAgent": FAILED,
    "JudgeFailedCanaries": FAILED,
    "Interrupted": INTERRUPTED,
}
"""Errors with a sentence of their own, by name: naming the classes would import what raises them."""


def explain(error: Exception) -> int:
    """Print `error` to standard error and return the exit code."""
    for kind in type(error).__mro__:
        if kind.__name__ in KNOWN:
            code = KNOWN[kind.__name__]
            if code != INTERRUPTED:
                print(plain(f"funreason: {error}", lines=True), file=sys.stderr)
            return code
    if isinstance(error, OSError):
        print(plain(f"funreason: {error}", lines=True), file=sys.stderr)
        return FAILED
    print(plain("".join(traceback.format_exception(error)), lines=True), end="", file=sys.stderr)
    return FAILED
