"""A judge that drops answers with personal data which the query does not hold.

An e-mail address or a phone number that nobody gave is invented, or remembered from training: either way nothing to
learn from. What the query says may be said again.
"""

from __future__ import annotations

import re

from funreason.types import Sample, Verdict

EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
PHONE = re.compile(r"(?<![\w.])\+\d(?:[ ()-]?\d){7,14}(?!\w)")


async def no_pii(sample: Sample) -> Verdict:
    """`pass`, or `drop` with `pii.email` or `pii.phone` and what was found."""
    for reason, pattern in (("pii.email", EMAIL), ("pii.phone", PHONE)):
        for found in pattern.findall(f"{sample.thinking or ''}\n{sample.answer}"):
            if found not in sample.task.grounding_text:
                return Verdict("no_pii", "drop", reason=reason, evidence=found, judge="rules")
    return Verdict("no_pii", "pass", judge="rules")


no_pii.deterministic = True
