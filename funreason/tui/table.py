"""The tables a person reads at the end of a run and in `funreason status`.

Every number comes from the folded record. A pass rate is a share of judgements, never an accuracy, and the two
stand in different tables so that nobody reads one for the other.
"""

from __future__ import annotations

from collections import Counter

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from funreason.record.events import Gated, Score
from funreason.record.state import RoundState, State

STAGES = ("response", "query_tool", "cot", "parameters", "format")
MARKS = {"promote": ("▲", "green"), "hold": ("■", "yellow"), "rollback": ("▼", "red"), "start": ("·", "dim")}
"""Sign and colour of a decision: the colour is never the only sign."""


def run_tables(state: State) -> RenderableType:
    """Everything about a run: stages, ends, losses, gate, seconds. A table with nothing to say is left out."""
    tables = [stage_table(state), yield_table(state), update_table(state), gate_table(state), gate_reasons(state)]
    last = max((k for k, r in state.rounds.items() if r.gate), default=None)
    if last is not None:
        tables.append(category_table(state, last))
    tables.append(seconds_table(state))
    return Group(*[part for table in tables if table.row_count for part in (table, Text())])


def stage_table(state: State) -> Table:
    """Per round, the share of judgements each stage passed, and how many it made."""
    table = _table("Stages: % of judgements that passed (not an accuracy), and how many were judged")
    extra = [n for n in state.nodes if n not in STAGES and _is_judge(state, n)]
    table.add_column("round", justify="right")
    for name in (*STAGES, *extra):
        table.add_column(name, justify="right")
    for k, r in ((k, r) for k, r in _rounds(state) if r.nodes):
        table.add_row(str(k), *[_share(r, name) for name in (*STAGES, *extra)])
    return table


def yield_table(state: State) -> Table:
    """Per round, what became of the samples; how kept answers came to be is counted apart."""
    table = _table("Samples: where they ended, and how the kept ones came to be")
    fates = ("kept", "text", "dropped", "dead")
    origins = ("sampled", "rerendered", "resampled", "repaired")
    for name in ("round", *fates, "│", *origins):
        table.add_column(name, justify="right")
    for k, r in _rounds(state):
        if r.nodes:
            table.add_row(str(k), *[str(r.fates[f]) for f in fates], "│", *[str(r.origins[o]) for o in origins])
    return table


def update_table(state: State) -> Table:
    """Per round, what the update saw and how well it fitted it."""
    table = _table("Update: mean loss in nats per token, thinking and result apart; in gate: tasks the gate asks too")
    for name in ("round", "samples", "replay", "in gate", "steps", "L_think", "L_result"):
        table.add_column(name, justify="right")
    for k, r in _rounds(state):
        if r.chosen:
            table.add_row(
                _round_name(k),
                str(r.chosen.trained),
                str(r.chosen.replay),
                _contamination(r),
                str(len(r.steps)),
                _loss(r.loss("think")),
                _loss(r.loss("result")),
            )
    return table


def gate_table(state: State) -> Table:
    """Per round, the accuracy before and after on the same items, with its interval, and the decision."""
    table = _table("Gate: accuracy on held-out items, old and new weights on the same ones")
    for name in ("round", "suite", "items", "old", "new", "95 % CI", "any form", "won/lost", "p", "decision"):
        table.add_column(name, justify="left" if name in ("suite", "decision") else "right", no_wrap=True)
    for k, r in sorted(state.rounds.items()):
        if r.gate:
            for i, (name, score) in enumerate(r.gate.by_slice.items()):
                table.add_row(
                    _round_name(k) if i == 0 else "", name, *_score(score), _decision(r.gate) if i == 0 else ""
                )
    return table


def gate_reasons(state: State) -> Table:
    """Per round, the gate's reason in its own words."""
    table = _table("Why")
    table.add_column("round", justify="right")
    table.add_column("the gate's reason")
    for k, r in sorted(state.rounds.items()):
        if r.gate:
            table.add_row(_round_name(k), r.gate.reason)
    return table


def category_table(state: State, k: int) -> Table:
    """One round's gate by category."""
    gate = state.rounds[k].gate
    table = _table(f"Gate of round {k} by category")
    for name in ("category", "items", "old", "new", "95 % CI", "any form", "won/lost", "p"):
        table.add_column(name, justify="left" if name == "category" else "right")
    for name, score in (gate.by_category if gate else {}).items():
        table.add_row(name, *_score(score))
    return table


def seconds_table(state: State) -> Table:
    """Per round, the wall time of each phase."""
    phases = ("base", "warmup", "sample", "train", "gate")
    table = _table("Seconds")
    for name in ("round", *phases):
        table.add_column(name, justify="right")
    for k, r in sorted(state.rounds.items()):
        table.add_row(_round_name(k), *[f"{r.seconds[p]:.1f}" if p in r.seconds else "–" for p in phases])
    return table


def account(state: State) -> Table:
    """Where every sample and record went, a column per round; records that never became tasks stand at the end."""
    table = _table("Every sample and record accounted for")
    rounds = [(k, r) for k, r in _rounds(state) if r.nodes]
    for name in ("end", "reason", *[f"round {k}" for k, _ in rounds]):
        table.add_column(name, justify="left" if name in ("end", "reason") else "right")
    for fate in ("kept", "text"):
        table.add_row(fate, "", *[str(r.fates[fate]) for _, r in rounds])
    reasons = sum((r.dead_reasons for _, r in rounds), Counter[str]())
    for reason, _ in reasons.most_common():
        table.add_row("failed", reason, *[str(r.dead_reasons[reason]) for _, r in rounds])
    for reason, count in state.refused.most_common():
        table.add_row("no task", reason, str(count), *[""] * (len(rounds) - 1))
    return table


def _rounds(state: State) -> list[tuple[int, RoundState]]:
    return [(k, r) for k, r in sorted(state.rounds.items()) if r.nodes or r.steps]


def _round_name(k: int) -> str:
    return "warm-up" if k == 0 else str(k)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", header_style="", box=None, pad_edge=False)


def _is_judge(state: State, name: str) -> bool:
    counts = [r.nodes[name].outcomes for r in state.rounds.values() if name in r.nodes]
    return any("pass" in c or "drop" in c for c in counts) and name not in ("generator", "trainer", "regenerator")


def _share(r: RoundState, name: str) -> str:
    node = r.nodes.get(name)
    if node is None or node.pass_rate is None:
        return "–"
    return f"{100 * node.pass_rate:.1f} ({node.answered})"


def _loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _contamination(r: RoundState) -> str:
    if r.screened is None:
        return "–"
    found = r.screened.exact + r.screened.near
    return str(found) if r.screened.dropped or not found else f"{found} trained on"


def _percent(right: int, total: int) -> str:
    return f"{100 * right / total:.1f}" if total else "–"


def _score(s: Score) -> tuple[str, ...]:
    return (
        str(s.total),
        _percent(s.old, s.total),
        _percent(s.new, s.total),
        f"{100 * s.low:.1f}–{100 * s.high:.1f}",
        _percent(s.new_any, s.total),
        f"{s.gained}/{s.lost}",
        f"{s.p:.3f}",
    )


def _decision(gate: Gated) -> Text:
    sign, colour = MARKS.get(gate.decision, ("?", ""))
    return Text(f"{sign} {gate.decision}", style=colour)
