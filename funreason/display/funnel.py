"""The funnel of EGPO's data preparation: how many samples came in, left stage 1 and left stage 2, as the paper counts.

The paper's own: 90,000 → 89,641 → 88,759 (arXiv 2508.05118, figure 3).
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from funreason.record.rounds import RoundState
from funreason.record.sample_files import KEPT, SampleFiles

STAGE_2 = ("ast", "ast_text")
"""The nodes of stage 2 in configs/egpo-data.yaml."""


class Funnel(NamedTuple):
    """Samples that ended: all of them, those that reached stage 2, those that were kept, and the kept ones' needs."""

    read: int
    stage_1: int
    stage_2: int
    needs: dict[str, int]
    """`call` and `none`, each with who said it: how many kept samples stage 2 labelled so."""

    def text(self) -> str:
        """The counts in two lines."""
        needs = ", ".join(f"{name} {count:,}" for name, count in self.needs.items()) or "no label"
        return (
            f"EGPO's funnel: {self.read:,} in → {self.stage_1:,} after stage 1 → {self.stage_2:,} after stage 2\n"
            f"need of those kept: {needs}"
        )


def funnel(r: RoundState, files: SampleFiles) -> Funnel | None:
    """The funnel of a round and its samples; None where the graph has no stage 2."""
    if not any(name in r.nodes for name in STAGE_2):
        return None
    kept = r.fates["kept"] + r.fates["text"]
    dropped = sum(count for reason, count in r.dead_reasons.items() if reason.startswith("ast."))
    labels = {s.id: v.reason for kind in KEPT for s in files.get(kind) for v in s.verdicts if v.stage in STAGE_2}
    needs = Counter(label for label in labels.values() if label.startswith("need."))
    named = {f"{need} (by {by})": count for label, count in sorted(needs.items()) for _, need, by in [label.split(".")]}
    return Funnel(r.fates.total(), kept + dropped, kept, named)
