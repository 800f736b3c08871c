"""Whether a run worked, what it cost, and what to do now: in a few sentences, from the record alone.

`verdict` is a pure function of the folded log and of what `evidence_in` read from the run's folder. Weights are
compared on the items of the gate: with the results of each item (`gate/<weights id>.json`) any two sets of weights are
paired item by item; without them the gate's own comparisons are used, and a pair it never made has no p. Where a suite
has items that want a call and items that want none, accuracy is the mean of both, as the gate has it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from funreason.bfcl.categories import wants_refusal
from funreason.bfcl.intervals import balanced_exact, balanced_interval, p_text
from funreason.display.diagnosis import RunFinding, diagnose
from funreason.record.events import GateDecided
from funreason.record.folder import RunFolder, command_to_resume, is_refining, read_settings
from funreason.record.rounds import RoundState
from funreason.record.sample_files import KEPT
from funreason.record.state import State

CHANCE = 0.05
"""A difference with a larger p is reported as one that may be chance."""
REASONS = 3
"""Rounds that were not kept whose reasons are given; of more, the last ones."""
TOP_REASONS = 5
"""The commonest reasons that are named where samples were lost."""
CHANGED = ("repaired", "rerendered", "rewritten", "resampled")
"""Origins of kept samples whose answer is not the one that came in."""
SIGNS = {"better": "✓", "worse": "▼", "unclear": "?", "unchanged": "■", "unmeasured": "·"}
"""The sign of each outcome, so that a colour is never the only one."""
NOT_KEPT = {"hold": "held", "rollback": "rolled back"}
STOPPED = {
    "interrupted": "The run was interrupted",
    "failed": "The run failed",
    "crashed": "The process of the run died",
    "stale": "The process of the run has been silent for some time",
}
HELD_OUT = "tasks:held_out"
"""The path of a suite that is part of the task file."""
_ALL = ""
"""Stands for all suites that decide, among the names of suites."""


class GateEvidence(NamedTuple):
    """What a run's folder holds beside its log. All of it may be missing.

    `results` has, by weights id and suite, each item's category and whether it was right; `suites` the role and the
    path of each suite in the configuration; `status` that of the run's process; `settings` the configuration as plain
    data.
    """

    folder: RunFolder | None = None
    results: Mapping[str, Mapping[str, Sequence[tuple[str, bool]]]] = {}
    suites: Mapping[str, tuple[str, str]] = {}
    status: str = ""
    model: Path | None = None
    unreadable: Sequence[str] = ()
    settings: Mapping[str, Any] = {}


class AccuracyChange(NamedTuple):
    """One suite under two sets of weights: shares from 0 to 1.

    `won` and `lost` count items that only the new or only the old weights got right, and `p` is exact; all three are
    None where nothing in the record pairs these weights. `balanced`: the shares are means of calls and refusals.
    """

    suite: str
    old: float
    new: float
    items: int
    won: int | None = None
    lost: int | None = None
    p: float | None = None
    balanced: bool = False

    @property
    def points(self) -> float:
        """The gain in percentage points."""
        return 100 * (self.new - self.old)

    @property
    def clear(self) -> bool:
        """Whether the difference is larger than chance explains."""
        return self.p is not None and self.p <= CHANCE and round(self.points, 6) != 0

    def __str__(self) -> str:
        if self.won is None or self.lost is None or self.p is None:
            told = ["not paired item by item, so no p"]
        else:
            told = [f"{self.won} won", f"{self.lost} lost", p_text(self.p)]
        told += ["mean of calls and refusals"] if self.balanced else []
        return f"{self.suite} {100 * self.old:.1f} → {100 * self.new:.1f} % ({', '.join(told)})"


class RunVerdict(NamedTuple):
    """What `verdict` found. `title` is its one line, `sentences` the rest, `commands` what to run next.

    `outcome` is about the rounds, without the supervised start: `better`, `worse`, `unclear` (may be chance),
    `unchanged` (no round was kept), or `unmeasured`. The changes are of the suites that decide (first) and of all
    others: `start` by the supervised start, `rounds` by the rounds, `whole` by both. `findings` are those of
    `diagnose`.
    """

    outcome: str
    title: str
    sentences: tuple[str, ...]
    commands: tuple[str, ...]
    start: tuple[AccuracyChange, ...] = ()
    rounds: tuple[AccuracyChange, ...] = ()
    whole: tuple[AccuracyChange, ...] = ()
    promoted: tuple[int, ...] = ()
    held: tuple[int, ...] = ()
    rolled_back: tuple[int, ...] = ()
    weights: str = ""
    model: str = ""
    findings: tuple[RunFinding, ...] = ()
    intervals: Mapping[str, tuple[float, float]] = {}
    """Of the gain over all that was kept, by suite: 95 %, for dependent proportions, where items could be paired."""

    @property
    def headline(self) -> str:
        """The title with its sign."""
        return f"{SIGNS[self.outcome]} {self.title}"

    @property
    def result(self) -> str:
        """What the run came to, in numbers: `New tools 13.0 → 49.2 %, old tools 86.0 → 78.0 %`; else the title."""
        changes = self.whole or self.rounds or self.start
        parts = [f"{c.suite.split(',')[0]} {100 * c.old:.1f} → {100 * c.new:.1f} %" for c in changes]
        told = ", ".join(parts) or self.title
        return told[:1].upper() + told[1:]

    def summary(self) -> dict[str, Any]:
        """As plain JSON data."""
        return (
            {"result": self.result}
            | self._asdict()
            | {
                name: [part._asdict() for part in getattr(self, name)]
                for name in ("start", "rounds", "whole", "findings")
            }
        )


def evidence_in(folder: RunFolder) -> GateEvidence:
    """What `verdict` needs from a run's folder; files that cannot be read are named in `unreadable`."""
    from yaml import YAMLError  # here: most readers of a record do without

    results: dict[str, dict[str, list[tuple[str, bool]]]] = {}
    unreadable = []
    for path in sorted((folder.path / "gate").glob("*.json")):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            results[path.stem] = {
                suite: list(zip(map(str, kept[0]), map(bool, kept[1]), strict=True))
                for suite, kept in found.items()
                if len(kept) > 1  # a suite of text has one list: its documents
            }
        except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
            unreadable.append(path.name)
    settings: dict[str, Any] = {}
    try:
        settings = read_settings(folder)
        suites = {
            str(name): (str(suite.get("role", "decision")), str(suite.get("path", "")))
            for name, suite in settings.get("gate", {}).get("suites", {}).items()
        }
    except (OSError, ValueError, TypeError, AttributeError, LookupError, YAMLError):
        suites = {}
        unreadable.append("the configuration")
    life = folder.writer_status()
    model = folder.path / "model"
    return GateEvidence(
        folder, results, suites, life.status if life else "", model if model.is_dir() else None, unreadable, settings
    )


def verdict(state: State, evidence: GateEvidence | None = None) -> RunVerdict:
    """Say of a run, finished or not, whether its rounds made the model better, and what to do now."""
    known = evidence or GateEvidence()
    status = known.status or state.status
    comparing = _Comparing(state, known)
    rounds = [(k, r) for k, r in sorted(state.rounds.items()) if k and r.ended]
    gated = [(k, r, r.gate) for k, r in rounds if r.gate is not None]
    promoted, held, rolled_back = (
        tuple(k for k, _, gate in gated if gate.decision == word) for word in ("promote", "hold", "rollback")
    )
    first = state.rounds[0].gate if 0 in state.rounds and state.rounds[0].ended else None
    base = comparing.gates[0].old_weights if comparing.gates else ""
    start = first.new_weights if first is not None and first.decision == "promote" else base
    final = next((gate.new_weights for _, _, gate in reversed(gated) if gate.decision == "promote"), start)
    by_start = comparing.changes(base, start) if first is not None and first.decision == "promote" else ()
    by_rounds = comparing.changes(start, final) if promoted else ()
    whole = comparing.changes(base, final) if by_start and by_rounds else ()
    sentences: list[str] = []
    findings = diagnose(state, known.settings, str(known.folder.path) if known.folder is not None else "")

    # How far the run came, where it is not simply over.
    so_far = status in ("running", "stale", *STOPPED)
    where = f"in round {state.round} of {state.rounds_planned}" if state.round else "before its first round"
    if status in STOPPED:
        said = state.reason.startswith("resume with") or any(f.stops for f in findings)  # by commands or findings
        because = f": {state.reason}" if status in ("failed", "interrupted") and state.reason and not said else ""
        sentences.append(_sentence(f"{STOPPED[status]} {where}{because}"))
    elif status == "running":
        sentences.append(f"The run is {where}.")

    # What the rounds did.
    made = _numbered(promoted) if promoted else ""
    ended = sum((r.fates.total() for _, r in rounds), 0)
    kept = sum(r.fates[fate] for _, r in rounds for fate in KEPT)
    if by_rounds:
        change = by_rounds[0]
        if change.p is None:
            outcome = "unclear"
            title = f"{made} kept: {change}"
        elif not (change.won or change.lost):
            outcome = "unclear"
            title = f"{made} kept, without effect: {change}"
        elif not change.clear:
            outcome = "unclear"
            title = f"{made} kept, which may be chance: {change}"
        else:
            outcome, did = ("better", "helped") if change.points > 0 else ("worse", "hurt")
            title = f"{made} kept and {did}: {change}"
    elif promoted:
        outcome, title = "unclear", f"{made} kept; the gate has no item that was measured before and after"
    elif gated:
        left = "as the supervised start left it" if by_start else "as it was at the start"
        outcome, title = "unchanged", f"No round was kept: the model is {left}"
    elif known.folder is not None and is_refining(known.folder):
        share = f" ({100 * kept / ended:.1f} %)" if ended else ""
        outcome, title = "unmeasured", f"{kept:,} of {ended:,} samples were kept{share}; no model was trained"
        sentences += _refined(known.folder, [r for _, r in rounds], ended)
    elif so_far:
        outcome, title = "unmeasured", "No round has been measured yet"
    else:
        outcome, title = "unmeasured", "No gate measured a round: nothing says whether the model got better"
    title = f"So far: {title[0].lower()}{title[1:]}" if so_far and gated else title

    others = [(k, r) for k, r, gate in gated if gate.decision != "promote"]
    if len(others) > REASONS:
        parts = [
            f"{_numbered(found)} {word}" for found, word in ((held, "held"), (rolled_back, "rolled back")) if found
        ]
        sentences.append(_sentence("; ".join(parts)))
    sentences += [_sentence(f"Round {k} {_not_kept(r)}") for k, r in others[-REASONS:]]
    sentences += [
        f"Round {k} was measured ({r.gate.decision}), and its decision has not taken effect."
        for k, r in sorted(state.rounds.items())
        if k and r.gate is not None and not r.ended
    ]
    if gated and (silent := [k for k, r in rounds if r.gate is None]):
        sentences.append(f"{_numbered(silent).removesuffix(' was').removesuffix(' were')} ended without a measurement.")

    # The supervised start, which is not the rounds' merit.
    if by_start:
        sentences.append(_sentence(f"The supervised start was kept: {by_start[0]}{_doubt(by_start[0])}"))
    elif first is not None and first.decision != "start":
        word = NOT_KEPT.get(first.decision, "kept")
        sentences.append(_sentence(f"The supervised start was {word}: {first.reason}"))
    if whole:
        sentences.append(_sentence(f"Start and rounds together: {whole[0]}{_doubt(whole[0])}"))

    # What the other suites paid or gained, over all that was kept.
    over_all = whole or by_rounds or by_start
    ends = (base, final) if whole else (start, final) if by_rounds else (base, start)
    intervals = {
        c.suite: comparing.intervals[c.suite, *ends] for c in over_all if (c.suite, *ends) in comparing.intervals
    }
    for change in over_all[1:]:
        part = next((each for each in by_rounds if whole and each.suite == change.suite), None)
        by = f"{abs(change.points):.1f} points"
        word = f"gained {by}" if change.points >= 0.05 else f"lost {by}" if change.points <= -0.05 else "did not change"
        told = f"{change.suite} {word}: {str(change).removeprefix(change.suite + ' ')}{_doubt(change)}"
        told += f"; {part.points:+.1f} points by the rounds" if part else ""
        sentences.append(_sentence(told[0].upper() + told[1:]))
    sentences += comparing.texts(gated)

    # What it learned from.
    steps = sum(len(r.steps) for _, r in rounds if r.policy is not None)
    if ended and not steps and gated:
        trained = sum(r.chosen.trained for _, r in rounds if r.chosen)
        used = f"; the updates used {trained:,}" if any(r.chosen for _, r in rounds) else ""
        sentences.append(f"{kept:,} of {ended:,} samples were kept{used}.")
    elif steps:
        sentences.append(f"The rounds made {steps:,} optimizer steps on rewards of {ended:,} samples.")
    if by_rounds:
        sentences.append("The gate read these items in every round, so they flatter what it kept a little.")
    if known.unreadable:
        sentences.append(f"What cannot be read in the run's folder: {', '.join(known.unreadable)}.")

    model = str(known.model or "")
    return RunVerdict(
        outcome,
        _sentence(title),
        tuple(sentences),
        _commands(known, status, outcome, model),
        by_start,
        by_rounds,
        whole,
        promoted,
        held,
        rolled_back,
        state.weights,
        model,
        findings,
        intervals,
    )


class _Comparing:
    """Compares any two sets of weights of a run, by their ids."""

    def __init__(self, state: State, evidence: GateEvidence) -> None:
        self.gates = [r.gate for _, r in sorted(state.rounds.items()) if r.gate is not None]
        self.evidence = evidence
        self.intervals: dict[tuple[str, str, str], tuple[float, float]] = {}
        last = self.gates[-1] if self.gates else None
        suites = {suite: score for gate in self.gates for suite, score in gate.by_slice.items()}
        roles = {suite: evidence.suites[suite][0] for suite in suites if suite in evidence.suites}
        self.deciding = [suite for suite in suites if roles.get(suite) == "decision"]
        if not roles and last is not None:  # the configuration is not at hand: what decides adds up to the whole
            whole = last.overall
            counts = (whole.total, whole.old, whole.new, whole.gained, whole.lost)
            alone = [
                suite
                for suite, score in last.by_slice.items()
                if (score.total, score.old, score.new, score.gained, score.lost) == counts
            ]
            self.deciding = alone[:1] or list(suites)
        self.items = {suite: score.total for suite, score in suites.items()}
        self.others = [suite for suite in suites if suite not in self.deciding]

    def changes(self, old: str, new: str) -> tuple[AccuracyChange, ...]:
        """The suites that decide, together, then all others; those the record has for both sets of weights."""
        found = [self._change(_ALL, self.deciding, old, new), *(self._change(s, [s], old, new) for s in self.others)]
        return tuple(change for change in found if change is not None) if found[0] is not None else ()

    def _change(self, suite: str, parts: Sequence[str], old: str, new: str) -> AccuracyChange | None:
        names = []
        for part in parts:
            role, path = self.evidence.suites.get(part, ("", ""))
            told = f"{part} tools" if path == f"toolbox:{part}_gate" else f"suite {part}"
            told = "held-out tasks" if path == HELD_OUT else told
            names.append(f"{told}, which the gate does not read," if role == "report" else told)
        name = " and ".join(names) or "all items"
        before, after = (self.evidence.results.get(id, {}) for id in (old, new))
        pairs = [
            (one, other)
            for part in parts
            if len(before.get(part, ())) == len(after.get(part, ()))
            for one, other in zip(before.get(part, ()), after.get(part, ()), strict=True)
            if one[0] == other[0]
        ]
        if pairs and len(pairs) == sum(self.items[part] for part in parts):
            scored = [gate.balance if suite == _ALL else gate.balance_by_slice.get(suite) for gate in self.gates]
            apart = any(both is not None and both.has_both for both in scored)  # an older record scored all alike
            kinds = [
                [(a, b) for (category, a), (_, b) in pairs if not apart or wants_refusal(category) == refusal]
                for refusal in ((False, True) if apart else (False,))
            ]
            groups = [(sum(b > a for a, b in kind), sum(a > b for a, b in kind), len(kind)) for kind in kinds if kind]
            was, now = (
                sum(sum(pair[i] for pair in kind) / len(kind) for kind in kinds if kind) / len(groups) for i in (0, 1)
            )
            won, lost = (sum(group[i] for group in groups) for i in (0, 1))
            self.intervals[name, old, new] = balanced_interval(groups)
            return AccuracyChange(name, was, now, len(pairs), won, lost, balanced_exact(groups), len(groups) > 1)
        seen: dict[str, tuple[float, int, bool]] = {}
        for gate in self.gates:
            score = gate.overall if suite == _ALL else gate.by_slice.get(suite)
            both = gate.balance if suite == _ALL else gate.balance_by_slice.get(suite)
            if score is None or not score.total:
                continue
            balanced = both is not None and both.has_both
            ends = (both.old, both.new) if both and balanced else (score.old / score.total, score.new / score.total)
            if (gate.old_weights, gate.new_weights) == (old, new):
                p = both.p if both and balanced else score.p
                return AccuracyChange(name, *ends, score.total, score.gained, score.lost, p, balanced)
            for id, share in zip((gate.old_weights, gate.new_weights), ends, strict=True):
                seen[id] = (share, score.total, balanced)
        if old not in seen or new not in seen:
            return None
        return AccuracyChange(name, seen[old][0], seen[new][0], seen[new][1], balanced=seen[new][2])

    def texts(self, gated: Sequence[tuple[int, RoundState, GateDecided]]) -> list[str]:
        """A sentence for each suite of held-out text, from the run's start to its accepted weights."""
        said = []
        for _, _, gate in gated[-1:]:
            for suite, bits in gate.text.items():
                now = bits.new if gate.decision == "promote" else bits.old
                by = 100 * (now / bits.start - 1) if bits.start else 0.0
                word = f"{abs(by):.1f} % {'worse' if by > 0 else 'better'}" if abs(by) >= 0.05 else "as well as"
                than = "than before the rounds" if abs(by) >= 0.05 else "before the rounds"
                said.append(f"Text of {suite} is predicted {word} {than} ({bits.start:.4f} → {now:.4f} bits per byte).")
        return said


def _not_kept(r: RoundState) -> str:
    """How a round ended that was not kept, and why."""
    decision, reason = (r.gate.decision, r.gate.reason) if r.gate is not None else ("", "")
    word = NOT_KEPT.get(decision, decision)
    if r.policy is not None and not r.steps:
        return f"was {word}: it learned nothing, since no group of answers carried a signal"
    if r.policy is None and r.chosen is not None and not r.chosen.trained:
        kept = sum(r.fates[fate] for fate in KEPT)
        return f"was {word}: it had nothing to train on ({kept:,} of {r.fates.total():,} samples were kept)"
    return f"was {word}: {reason}"


def _refined(folder: RunFolder, rounds: Sequence[RoundState], ended: int) -> list[str]:
    """What a refinement changed and lost, the commonest reasons first, and where the kept records are."""
    said = []
    if changed := sum(r.origins[origin] for r in rounds for origin in CHANGED):
        was = "was" if changed == 1 else "were"
        said.append(f"{changed:,} of those kept {was} repaired, written again or answered again.")
    lost = sum((r.dead_reasons for r in rounds), Counter[str]())
    if lost:
        most = ", ".join(f"{name or 'attempts used up'} {n:,}" for name, n in lost.most_common(TOP_REASONS))
        word = "was" if lost.total() == 1 else "were"
        said.append(f"{lost.total():,} {word} dropped ({100 * lost.total() / ended:.1f} %); most for: {most}.")
    if files := sorted(folder.path.glob("refined-*")):
        said.append(f"The kept records are in {' and '.join(map(str, files))}.")
    return said


def _commands(known: GateEvidence, status: str, outcome: str, model: str) -> tuple[str, ...]:
    """Three commands that fit the outcome; none where the run's folder is not known."""
    if known.folder is None:
        return ()
    run = quote(str(known.folder.path))
    refining = is_refining(known.folder)
    if status == "running":
        return (f"funreason watch {run}", f"funreason dlq list {run}", f"funreason report {run}")
    if status in STOPPED:
        return (command_to_resume(known.folder), f"funreason dlq list {run}", f"funreason report {run}")
    if refining and (kept := sorted(known.folder.path.glob("refined-*.jsonl"))):
        train = f"funreason loop --tasks {quote(str(kept[0]))}"
        return (f"funreason dlq list {run}", f"funreason report {run}", train)
    if refining or not model:
        return (f"funreason report {run}", f"funreason dlq list {run}", f"funreason dlq show {run}")
    if outcome == "better":
        tail = (f"funreason export {run} --out {quote(f'{known.folder.path}-export')}",)
        return (f"funreason report {run}", f"funreason eval --model {quote(model)}", *tail)
    return (f"funreason report {run}", f"funreason dlq list {run}", f"funreason eval --model {quote(model)}")


def _numbered(rounds: Sequence[int]) -> str:
    """`Round 1 was`, or `Rounds 1, 2 and 4 were`."""
    *most, last = [str(k) for k in rounds]
    return f"Rounds {', '.join(most)} and {last} were" if most else f"Round {last} was"


def _doubt(change: AccuracyChange) -> str:
    return ", which may be chance" if (change.won or change.lost) and not change.clear else ""


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
