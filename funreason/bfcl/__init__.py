"""The rules of the Berkeley Function-Calling Leaderboard: cases, decoders, checker, scores.

`check(case, output)` gives the official verdict without running the output or needing the official package; `load`,
`score` and `compare` do it for whole suites.
"""

from funreason.bfcl.cases import Case, fetch, load_cases
from funreason.bfcl.categories import BfclError
from funreason.bfcl.checker import Result, check, check_any, check_calls, check_in
from funreason.bfcl.scorecard import CategoryScore, Comparison, Scorecard, compare, load, score

__all__ = [
    "BfclError",
    "Case",
    "CategoryScore",
    "Comparison",
    "Result",
    "Scorecard",
    "check",
    "check_any",
    "check_calls",
    "check_in",
    "compare",
    "fetch",
    "load",
    "load_cases",
    "score",
]
