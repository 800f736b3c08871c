"""A run and its rounds as objects: samples, metrics, gate, verdict, report, export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from funreason.api.refined import Kept, Lost, ended_samples
from funreason.bfcl.intervals import p_text
from funreason.display.report import report_html, report_markdown
from funreason.display.verdict import RunVerdict, evidence_in, verdict
from funreason.errors import naming_extras
from funreason.export import export_run
from funreason.hub import push as push_model
from funreason.hub import push_target
from funreason.record.folder import RunFolder, write_whole
from funreason.record.rounds import RoundState
from funreason.record.sample_files import ENDS, KEPT, SampleFiles
from funreason.record.state import State
from funreason.weights import START


class GateResult(NamedTuple):
    """The gate's decision on a round: accuracies from 0 to 1 on the same `items`, and the p of their difference."""

    decision: str
    reason: str
    old: float
    new: float
    items: int
    p: float

    def __str__(self) -> str:
        old, new = 100 * self.old, 100 * self.new
        return f"{self.decision} {old:.1f} → {new:.1f} ({new - old:+.1f}, {p_text(self.p)})"


@dataclass(frozen=True, repr=False)
class RoundResult:
    """A round that is over: what its samples came to, what the update reached, and what the gate decided."""

    number: int
    folder: Path
    state: RoundState

    @property
    def gate(self) -> GateResult | None:
        """The gate's decision; None where the round trained nothing."""
        found = self.state.gate
        if found is None:
            return None
        score, balance = found.overall, found.balance
        if balance is not None and balance.has_both:
            return GateResult(found.decision, found.reason, balance.old, balance.new, score.total, balance.p)
        items = max(score.total, 1)
        return GateResult(found.decision, found.reason, score.old / items, score.new / items, score.total, score.p)

    @property
    def metrics(self) -> dict[str, float]:
        """The update's metrics, such as `loss`, `loss_think` and `loss_result`, as means over its steps."""
        return dict(self.state.update.metrics) if self.state.update is not None else {}

    @property
    def kept(self) -> Kept:
        """The samples that a model may learn from, read from the run's folder."""
        return Kept(ended_samples(self._files, KEPT))

    @property
    def lost(self) -> Lost:
        """The samples that were dropped or failed, read from the run's folder."""
        return Lost(ended_samples(self._files, [end for end in ENDS if end not in KEPT]))

    @property
    def _files(self) -> SampleFiles:
        return RunFolder(self.folder).texts(self.number)

    def __str__(self) -> str:
        fates = self.state.fates
        kept = sum(fates[end] for end in KEPT)
        return f"round {self.number}: {kept:,} kept · {fates.total() - kept:,} lost · {self.gate or 'no gate'}"

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, repr=False)
class LoopResult:
    """A run: its folder, what its record says, and where its model is."""

    folder: Path
    state: State

    @property
    def status(self) -> str:
        """`finished`, `refused` where no round was promoted, or `interrupted`."""
        return self.state.status

    @property
    def model(self) -> Path:
        """The folder of the weights accepted last."""
        return self.folder / "model"

    @property
    def rounds(self) -> list[RoundResult]:
        """The rounds that are over."""
        over = sorted(self.state.rounds.items())
        return [RoundResult(k, self.folder, found) for k, found in over if found.ended and k > START]

    @property
    def verdict(self) -> RunVerdict:
        """Whether the rounds made the model better, with counts and p, and what to do now."""
        return verdict(self.state, evidence_in(RunFolder(self.folder)))

    def report(self, to: str | Path | None = None) -> Path:
        """Write `report.html` and `report.md` into the folder `to` (default: the run's); the page's path."""
        target = self.folder if to is None else Path(to)
        target.mkdir(parents=True, exist_ok=True)
        run = RunFolder(self.folder)
        for name, text in (("report.html", report_html), ("report.md", report_markdown)):
            write_whole(target / name, text(self.state, run, self.status))
        return target / "report.html"

    def export(
        self,
        to: str | Path,
        *,
        license: str | None = None,
        data_license: str | None = None,
        push: str | None = None,
        public: bool = False,
        overwrite: bool = False,
        base_model: str | None = None,
        formats: Sequence[str] = (),
    ) -> Path:
        """Write model and refined data with their cards into the new folder `to`, as `funreason export` does.

        `formats` may name `messages` and `openai`; errors are those of the command, as RecordError. With `push`,
        `ORG/NAME`, the model is also uploaded to that repository on a hub; a new one is private, or with `public`
        public. HubError without a token, where the hub refuses, and, unless `overwrite`, for a repository that no push
        from here wrote.
        """
        target = push_target(push, overwrite=overwrite, public=public) if push is not None else None
        with naming_extras():
            made = export_run(
                RunFolder(self.folder),
                Path(to),
                license=license,
                data_license=data_license,
                base_model=base_model,
                formats=formats,
            )
        if target is not None:
            push_model(made.folder / "model", target, {"weights": made.weights, "run": self.folder.name})
        return made.folder

    def __str__(self) -> str:
        gates = (
            f"round {k}: {r.gate.decision} {r.gate.overall.old} → {r.gate.overall.new} of {r.gate.overall.total}"
            for k, r in sorted(self.state.rounds.items())
            if r.gate is not None
        )
        return "\n".join([f"{self.folder} {self.status}", *gates])

    def __repr__(self) -> str:
        return str(self)
