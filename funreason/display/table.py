"""The verdict and the tables a person reads at the end of a run and in `funreason status`.

Every number comes from the folded record. A pass rate is a share of judgements, never an accuracy, and the two
have tables of their own, so that no reader takes one for the other. Every table fits 80 columns: numbers are never cut
or wrapped, words give way. What the record holds is printed as text, never as markup.
"""

from __future__ import annotations

import re
from collections import Counter

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from funreason.display.diagnosis import RunFinding
from funreason.display.figures import POOL_COLUMNS, curves, formatted, hint, others, pool_note, pool_rows
from funreason.display.verdict import RunVerdict
from funreason.record.events import Score
from funreason.record.plain import plain
from funreason.record.sample_files import KEPT
from funreason.record.state import RoundState, State

STAGES = ("response", "query_tool", "cot", "parameters", "format")
MARKS = {"promote": ("▲", "green"), "hold": ("■", "yellow"), "rollback": ("▼", "red"), "start": ("·", "dim")}
"""Sign and colour of a decision: the colour is never the only sign."""
ORIGINS = ("sampled", "rerendered", "resampled", "rewritten", "repaired", "reference")
RARE = ("rewritten", "reference")
"""Origins with a column only where there are any."""
WORDS = frozenset(
    {"judge", "suite", "stage", "decision", "category", "end", "reason", "the gate's reason", "metric", "task"}
)
"""Columns of words: aligned to the left, and folded where numbers need the room."""
METRICS_BESIDE = 6
"""Metrics that have a column each in the table of updates; more are rows of a table of their own."""
ROUNDS_SHOWN = 5
"""Rounds with a column of their own in the account; the earlier ones share one."""
SCORES = ("items", "old", "new", "CI 95", "any form", "won/lost", "p")
GATE_NOTE = (
    "CI 95: of the new weights. won/lost: items only the new / only the old model gets right; p: McNemar, exact."
)
BALANCE_NOTE = (
    "old → new weights; p: of the balanced difference, exact sign-flip test. trivial: balanced, of a model that always "
    "refuses and of one that always calls."
)
SYNC_NOTE = "sync: new weights into the engine, proved (how many times); part of the phases."
HEALTH = (
    ("f.pass", "false_pass", "bad"),
    ("f.drop", "false_drop", "good"),
    ("same", "agreement", "twice"),
)
"""The rows of a judge's health: label, rate, and the count that it is a rate of."""
VERDICT_COLOURS = {"better": "green", "worse": "red", "unclear": "yellow", "unchanged": "yellow"}
HEALTH_NOTE = "f.pass: bad canaries accepted; f.drop: good ones not accepted; same: same verdict when asked twice."
UNREADABLE = "Unparseable answers pass stages 2 to 4 (there is no call to check) and fail stage 5."


def verdict_text(found: RunVerdict) -> RenderableType:
    """Whether the run worked and what to do now. Commands are never broken, so that they can be copied."""
    colour = VERDICT_COLOURS.get(found.outcome, "")
    lines: list[RenderableType] = [Text(plain(found.headline), style=f"bold {colour}".strip())]
    lines += [Padding(Text(plain(sentence)), (0, 0, 0, 2)) for sentence in found.sentences]
    lines += [finding_text(finding) for finding in found.findings]
    lines += [Text(plain(f"  model {found.model}"), no_wrap=True, overflow="ignore")] if found.model else []
    for i, command in enumerate(found.commands):
        lines.append(Text(plain(f"{'next  ' if i == 0 else '      '}{command}"), no_wrap=True, overflow="ignore"))
    return Group(*lines, Text())


def finding_text(finding: RunFinding) -> RenderableType:
    """One finding of the diagnosis and the option that it proposes, which is never broken."""
    sign = Text("! ", style="bold yellow")
    lines: list[RenderableType] = [Padding(Text.assemble(sign, plain(finding.text)), (0, 0, 0, 2))]
    if finding.change:
        lines.append(Text(plain(f"      {finding.change}"), style="cyan", no_wrap=True, overflow="ignore"))
    return Group(*lines)


def run_tables(state: State, *, all: bool = True) -> RenderableType:
    """The gate, its reasons and the samples; with `all`, what judges, updates and phases did too.

    A table with nothing to say is left out.
    """
    tables = [gate_table(state)]
    if any(both.has_both for r in state.rounds.values() if r.gate for both in r.gate.balance_by_slice.values()):
        tables.append(balance_table(state))
    tables += [text_table(state), gate_reasons(state), pool_table(state), repairs_table(state), yield_table(state)]
    if all:
        last = max((k for k, r in state.rounds.items() if r.gate), default=None)
        tables += [category_table(state, last)] if last is not None else []
        tables += [stage_table(state), asked_table(state), health_table(state)]
        tables += [update_table(state), metrics_table(state), seconds_table(state)]
    return Group(*[part for table in tables if table.row_count for part in (table, Text())])


def stage_table(state: State) -> Table:
    """Per round, the share of judgements each stage passed, and how many it made."""
    table = _table("Stages: % of judgements passed, not an accuracy (how many)", note=UNREADABLE)
    names = _judges(state)
    _columns(table, "round", *names, stacked=frozenset(names[len(STAGES) :]))
    between = " " if len(names) == len(STAGES) else "\n"
    for k, r in ((k, r) for k, r in _rounds(state) if not r.nodes.keys().isdisjoint(names)):
        cells = []
        for name in names:
            node = r.nodes.get(name)
            rate = None if node is None else node.pass_rate
            cells.append("–" if node is None or rate is None else f"{100 * rate:.1f}{between}({node.answered})")
        _row(table, str(k), *cells)
    return table


def pool_table(state: State) -> Table:
    """Per hard-data round, the tasks asked, accepted, given back by the gate, and left; who accepted, in the note."""
    table = _table("Hard tasks: asked again by hard-data rounds", note=pool_note(state))
    _columns(table, *POOL_COLUMNS)
    for row in pool_rows(state):
        _row(table, *row)
    return table


def repairs_table(state: State) -> Table:
    """Each reference that was repaired, and the votes for it."""
    table = _table("References replaced by the model's majority answer")
    _columns(table, "round", "task", "votes")
    for k, repairs in sorted(state.pool.repaired.items()):
        for repair in repairs.values():
            votes = " · ".join("no vote" if vote is None else f"{vote:.2f}" for vote in repair.votes)
            _row(table, str(k), repair.task, votes)
    return table


def asked_table(state: State) -> Table:
    """Per round and stage, what asking the LLM judges cost."""
    table = _table(
        "LLM judges: what was asked", note="unreadable: replies without a verdict, asked for again or errors"
    )
    _columns(table, "round", "stage", "requests", "tokens", "from cache", "unreadable", "errors")
    for k, r in ((k, r) for k, r in _rounds(state) if r.asked):
        for name, asked in r.asked.items():
            errors = r.nodes[name].outcomes["error"] if name in r.nodes else 0
            numbers = (asked.requests, asked.tokens, asked.hits, asked.unreadable, errors)
            _row(table, str(k), name, *map(str, numbers))
    return table


def health_table(state: State) -> Table:
    """Per round, how often each judge erred on canaries, how often it agreed with itself, and of how many."""
    table = _table("Judges judged: % wrong on canaries, % same when asked twice (how many)", note=HEALTH_NOTE)
    names = _judges(state)
    names += [n for n in state.nodes if n not in names and any(n in r.health for r in state.rounds.values())]
    _columns(table, "round", "judge", *names, stacked=frozenset(names[len(STAGES) :]))
    between = " " if len(names) == len(STAGES) else "\n"
    for k, r in sorted(state.rounds.items()):
        rows = [row for row in HEALTH if any(getattr(health, row[2]) for health in r.health.values())]
        for what, rate, asked in rows:
            cells = []
            for health in (r.health.get(name) for name in names):
                share = getattr(health, rate, None)
                cells.append("–" if share is None else f"{100 * share:.1f}{between}({getattr(health, asked)})")
            _row(table, str(k) if what == rows[0][0] else "", what, *cells)
        if any(health.errors for health in r.health.values()):
            _row(table, "", "errors", *[str(r.health[name].errors) if name in r.health else "–" for name in names])
    return table


def yield_table(state: State) -> Table:
    """Per round, what became of the samples; how kept answers came to be is counted apart."""
    rounds = [(k, r) for k, r in _rounds(state) if r.nodes]
    occurring = {origin for _, r in rounds for origin, count in r.origins.items() if count}
    origins = [o for o in ORIGINS if o in occurring or o not in RARE] + sorted(occurring - {*ORIGINS})
    tight = not occurring.isdisjoint(RARE)
    table = _table("Samples: outcome │ origin of those kept", tight=tight)
    fates = ("kept", "text", "dropped", "dead")
    _columns(table, "round", *fates, "│", *origins)
    for k, r in rounds:
        _row(table, str(k), *[str(r.fates[f]) for f in fates], "│", *[str(r.origins[o]) for o in origins])
    return table


def update_table(state: State) -> Table:
    """Per round, what the update saw and how well it fitted it."""
    stale = any(r.chosen.stale for r in state.rounds.values() if r.chosen)
    note = "in gate: training tasks that are in the gate too" + (
        "; stale: made by other weights, refused" if stale else ""
    )
    table = _table("Update: mean loss in nats per token", note=note)
    names = [name for r in state.rounds.values() for name in r.metric_names()]
    shown = [*curves(names), *(others(names) if len(others(names)) <= METRICS_BESIDE else ())]
    labels = [hint(name).label for name in shown]
    _columns(table, "round", "samples", *["stale"] * stale, "replay", "in gate", "steps", *labels)
    for k, r in _rounds(state):
        if not r.chosen:
            continue
        in_gate = "–"
        if r.screened is not None:
            found = r.screened.exact + r.screened.near + r.screened.tools
            in_gate = f"{found} trained on" if found and not r.screened.dropped else str(found)
        _row(
            table,
            _round_name(k),
            str(r.chosen.trained),
            *[str(r.chosen.stale)] * stale,
            str(r.chosen.replay),
            in_gate,
            str(len(r.steps)),
            *[formatted(name, r.mean(name)) for name in shown],
        )
    return table


def metrics_table(state: State) -> Table:
    """The mean of each metric in each of the last rounds, where there are too many for columns of their own."""
    table = _table("Steps: mean of each metric over a round's steps")
    rounds = _rounds(state)[-ROUNDS_SHOWN:]
    names = others(name for _, r in rounds for name in r.metric_names())
    _columns(table, "metric", *[_round_name(k) for k, _ in rounds])
    if len(names) > METRICS_BESIDE:
        for name in names:
            _row(table, hint(name).label, *[formatted(name, r.mean(name)) for _, r in rounds])
    return table


def gate_table(state: State) -> Table:
    """Per round, the accuracy before and after on the same items, with its interval, and the decision."""
    table = _table("Gate: % right on held-out items, old and new weights on the same ones", note=GATE_NOTE, tight=True)
    _columns(table, "round", "suite", *SCORES, "decision")
    for k, r in sorted(state.rounds.items()):
        if r.gate:
            for i, (name, score) in enumerate(r.gate.by_slice.items()):
                sign, colour = MARKS.get(r.gate.decision, ("?", ""))
                ends = (_round_name(k), Text(plain(f"{sign} {r.gate.decision}"), style=colour)) if i == 0 else ("", "")
                _row(table, ends[0], name, *_score(score), ends[1])
    return table


def balance_table(state: State) -> Table:
    """Per round and suite, items that want a call and items that want none apart, and their mean."""
    table = _table("Gate: % right of calls and of refusals, and the mean of both", note=BALANCE_NOTE, tight=True)
    _columns(table, "round", "suite", "calls", "refusals", "balanced", "p", "trivial")
    for k, r in sorted(state.rounds.items()):
        for i, (suite, both) in enumerate(r.gate.balance_by_slice.items() if r.gate else ()):
            scores = [both.kinds.get(kind) for kind in ("calls", "refusals")]
            parts = [f"{_percent(s.old, s.total)} → {_percent(s.new, s.total)}" if s else "–" for s in scores]
            mean = f"{100 * both.old:.1f} → {100 * both.new:.1f}"
            trivial = " · ".join(f"{100 * both.trivial[name]:.0f}" for name in ("always_refuse", "always_call"))
            _row(table, _round_name(k) if i == 0 else "", suite, *parts, mean, f"{both.p:.3f}", trivial)
    return table


def text_table(state: State) -> Table:
    """Per round and suite of held-out text, the bits per byte: what a round forgets of anything but calls."""
    table = _table("Gate: bits per byte of held-out text", tight=True)
    _columns(table, "round", "suite", "tokens", "start", "old", "new", "since start")
    for k, r in sorted(state.rounds.items()):
        for i, (suite, s) in enumerate(r.gate.text.items() if r.gate else ()):
            bits = [f"{value:.4f}" for value in (s.start, s.old, s.new)]
            change = f"{100 * (s.new / s.start - 1):+.1f} %"
            _row(table, _round_name(k) if i == 0 else "", suite, f"{s.tokens:,}", *bits, change)
    return table


def gate_reasons(state: State) -> Table:
    """Per round, the gate's reason in its own words."""
    table = _table("Why")
    _columns(table, "round", "the gate's reason")
    for k, r in sorted(state.rounds.items()):
        if r.gate:
            _row(table, _round_name(k), r.gate.reason)
    return table


def category_table(state: State, k: int) -> Table:
    """One round's gate by category."""
    gate = state.rounds[k].gate
    table = _table(f"Gate of round {k} by category")
    _columns(table, "category", *SCORES)
    for name, score in (gate.by_category if gate else {}).items():
        _row(table, name, *_score(score))
    return table


def seconds_table(state: State) -> Table:
    """Per round, the wall time of each phase."""
    usual = ("base", "start", "sample", "train", "gate")
    phases = tuple(dict.fromkeys((*usual, *(phase for r in state.rounds.values() for phase in r.seconds))))
    synced = any(r.syncs for r in state.rounds.values())
    table = _table("Seconds", note=SYNC_NOTE if synced else None)
    _columns(table, "round", *phases, *["sync"] * synced)
    for k, r in sorted(state.rounds.items()):
        spent = [f"{r.seconds[p]:.1f}" if p in r.seconds else "–" for p in phases]
        taken = [sync.seconds + sync.proof_seconds for sync in r.syncs if not sync.started]
        _row(table, _round_name(k), *spent, *[f"{sum(taken):.2f} ({len(taken)})" if taken else "–"] * synced)
    return table


def account(state: State, *, most: int | None = None) -> Table:
    """Where every sample and record went, a column per round; records that never became tasks are at the end.

    With `most`, only so many of the commonest reasons have a row of their own, and one row adds up the others.
    """
    table = _table("Every sample and record accounted for")
    rounds = [(k, r) for k, r in _rounds(state) if r.nodes]
    earlier, shown = rounds[:-ROUNDS_SHOWN], rounds[-ROUNDS_SHOWN:]
    groups = [(f"round {k}", [r]) for k, r in shown]
    if earlier:
        groups.insert(0, (f"to round {earlier[-1][0]}", [r for _, r in earlier]))
    names = [name for name, _ in groups] or ["read"]
    _columns(table, "end", "reason", *names, stacked=frozenset(names if len(names) > 3 else ()))
    for fate in KEPT:
        _row(table, fate, "", *[str(sum(r.fates[fate] for r in group)) for _, group in groups])
    reasons = sum((r.dead_reasons for _, r in rounds), Counter[str]())
    for reason, _ in reasons.most_common(most):
        _row(table, "failed", reason, *[str(sum(r.dead_reasons[reason] for r in group)) for _, group in groups])
    if rest := [reason for reason, _ in reasons.most_common()[most:]] if most is not None else []:
        counts = [str(sum(r.dead_reasons[reason] for r in group for reason in rest)) for _, group in groups]
        _row(table, "failed", f"{len(rest)} other reasons" if len(rest) > 1 else "1 other reason", *counts)
    for reason, count in state.refused.most_common():
        _row(table, "no task", reason, str(count))
    for what, count in state.left.items():
        _row(table, "not carried", what, str(count))
    return table


def _rounds(state: State) -> list[tuple[int, RoundState]]:
    return [(k, r) for k, r in sorted(state.rounds.items()) if r.nodes or r.steps]


def _round_name(k: int) -> str:
    return "start" if k == 0 else str(k)


def _table(title: str, *, note: str | None = None, tight: bool = False) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption=note,
        caption_justify="left",
        caption_style="dim",
        box=None,
        pad_edge=False,
        collapse_padding=tight,
    )


def _columns(table: Table, *names: str, stacked: frozenset[str] = frozenset()) -> None:
    """Columns of numbers, but for those of `WORDS`; headings in `stacked` take a line per word, or more."""
    for name in names:
        words = name in WORDS
        heading = re.sub(r"[ _]+", lambda gap: gap[0].strip() + "\n", plain(name)) if name in stacked else plain(name)
        keep = not words and name not in stacked
        table.add_column(Text(heading), justify="left" if words else "right", no_wrap=keep, overflow="fold")


def _row(table: Table, *cells: str | Text) -> None:
    table.add_row(*[cell if isinstance(cell, Text) else Text(plain(cell, lines=True)) for cell in cells])


def _judges(state: State) -> list[str]:
    """The five stages, then custom judges."""
    custom = []
    for name in state.nodes:
        counts = [r.nodes[name].outcomes for r in state.rounds.values() if name in r.nodes]
        others = (*STAGES, "generator", "reward", "trainer", "regenerator")
        if name not in others and any("pass" in each or "drop" in each for each in counts):
            custom.append(name)
    return [*STAGES, *custom]


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
