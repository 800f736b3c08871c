"""How the judges say what they found: a verdict with who judged, a dotted reason, short evidence."""

from __future__ import annotations

from funreason.record.types import Outcome, Verdict

RULES = "rules"
_LIMIT = 240


def passed(stage: str) -> Verdict:
    """The verdict that all is well."""
    return Verdict(stage, Outcome.PASS, judge=RULES)


def failed(stage: str, outcome: Outcome, reason: str, evidence: str = "", judge: str = RULES) -> Verdict:
    """Any other verdict; the evidence is cut to what a table can show."""
    return Verdict(stage, outcome, reason, evidence if len(evidence) <= _LIMIT else evidence[: _LIMIT - 1] + "…", judge)
