"""The rules of the Berkeley Function-Calling Leaderboard: cases, decoders, checker, scores.

`check(case, output)` gives the official verdict without running the output or needing the official package.
"""

from funreason.bfcl.cases import Case, fetch, load_cases
from funreason.bfcl.categories import BfclError
from funreason.bfcl.checker import Result, check, check_any, check_calls, check_in

__all__ = ["BfclError", "Case", "Result", "check", "check_any", "check_calls", "check_in", "fetch", "load_cases"]
