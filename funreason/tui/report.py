"""A run as a report: the numbers of the dashboard as pictures in one HTML file, and as tables in Markdown.

The HTML holds its pictures and its style, and asks no network for anything: its content policy forbids it. Whatever a
model or a file wrote is escaped; nothing is ever taken for markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import islice
from pathlib import Path

from funreason.record.folder import RunFolder
from funreason.record.state import RoundState, State
from funreason.record.types import Sample
from funreason.tui.figures import duration, loss, percent, share_of
from funreason.tui.figures_svg import bars_svg, flow_svg, intervals_svg, lines_svg
from funreason.tui.flow import SINKS, pass_rate
from funreason.tui.lines import clean

EXAMPLES = 3
"""Of each fate in the last round that had samples."""
MOST_CHARS = 1200
FATES = ("kept", "text", "dropped", "dead")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~&])")

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def report_html(state: State, folder: RunFolder, status: str) -> str:
    """The report as one HTML document. `status` is the life of the run's process."""
    style = (Path(__file__).parent / "report.css").read_text()
    body = "".join(_sections(state, folder, status))
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><title>{_safe(state.run or folder.name)}</title>'
        f"<style>{style}</style></head><body>{body}</body></html>\n"
    )


def report_markdown(state: State, folder: RunFolder, status: str) -> str:
    """The same numbers as Markdown tables, with what is markup in them escaped."""
    parts = [f"# {_plain(state.run or folder.name)}", _plain(summary(state, status))]
    for title, table in _tables(state):
        parts.append(f"## {title}")
        parts.append(_markdown_table(*table) if table[1] else "Nothing yet.")
    return "\n\n".join(parts) + "\n"


def summary(state: State, status: str) -> str:
    """The run in one sentence."""
    promoted = sum(1 for r in state.rounds.values() if r.gate and r.gate.decision == "promote")
    over = sum(1 for k, r in state.rounds.items() if k and r.ended)
    took = duration(state.elapsed_s(state.last_at)) if state.started_at else "no time yet"
    done = f"{over} of {state.rounds_planned} rounds over in {took}, {promoted} promoted"
    return f"{status}: {done}; weights {state.weights or '–'}."


def _sections(state: State, folder: RunFolder, status: str) -> Iterator[str]:
    yield f"<h1>{_safe(state.run or folder.name)}</h1><p>{_safe(summary(state, status))}</p>"
    pictures = {
        "Flow": _flow(state),
        "Stages": _stages(state),
        "Samples": _ends(state),
        "Loss": _losses(state),
        "Gate": _gates(state),
    }
    for title, table in _tables(state):
        picture = pictures.get(title, "")
        yield f"<section><h2>{title}</h2>{picture}{_html_table(*table) if table[1] else ''}"
        yield "</section>" if picture or table[1] else "<p>Nothing yet.</p></section>"
    yield "".join(_examples(folder, state))


# -- pictures ---------------------------------------------------------------------------------------------------


def played(state: State) -> list[tuple[int, RoundState]]:
    """The rounds in which samples were judged."""
    return [(k, r) for k, r in sorted(state.rounds.items()) if r.nodes]


def _judges(state: State) -> list[str]:
    names = [n for n in state.nodes if n not in SINKS]
    return [n for n in names if any(pass_rate(r, n) is not None for _, r in played(state))]


def _flow(state: State) -> str:
    rounds = played(state)
    if not rounds or not state.edges:
        return ""
    k, r = rounds[-1]
    nodes = [n for n in state.nodes if n != "evaluator"]
    flows = [(a, o, b, r.nodes[a].outcomes[o]) for a, o, b in state.edges if a in r.nodes]
    note = f"<p>Round {k}; an arc is as wide as the number of samples that took it.</p>"
    return f'{note}<div class="wide">{flow_svg(nodes, flows, f"flow of samples in round {k}")}</div>'


def _stages(state: State) -> str:
    rounds, judges = played(state), _judges(state)
    if not rounds or not judges:
        return ""
    series = [(n, [_times_100(pass_rate(r, n)) for _, r in rounds]) for n in judges]
    return lines_svg(series, [f"round {k}" for k, _ in rounds], "pass rate of each stage per round", low=0, high=100)


def _ends(state: State) -> str:
    rows = [(f"round {k}", [(fate, r.fates[fate]) for fate in FATES]) for k, r in played(state)]
    return bars_svg(rows, "where samples ended, per round") if rows else ""


def _losses(state: State) -> str:
    steps = [(k, step) for k, r in sorted(state.rounds.items()) for step in r.steps]
    if not steps:
        return ""
    thin = steps[:: max(1, len(steps) // 400)]
    series = [("L_think", [s.think for _, s in thin]), ("L_result", [s.result for _, s in thin])]
    known = [v for _, values in series for v in values if v is not None]
    names = [f"{k or 'w'}·{s.step}" for k, s in thin]
    return lines_svg(series, names, "loss of thinking and of result per step", low=0, high=max(known, default=1.0))


def _gates(state: State) -> str:
    gated = [(k, r.gate) for k, r in sorted(state.rounds.items()) if r.gate]
    if not gated:
        return ""
    k, gate = gated[-1]
    scores = [("all", gate.overall), *gate.by_slice.items(), *gate.by_category.items()]
    rows = [(n, s.old / s.total, s.new / s.total, s.low, s.high) for n, s in scores if s.total]
    note = f"<p>{_round_name(k)}, {_safe(gate.decision)}: ring old, dot new with its 95 % interval.</p>"
    return note + intervals_svg(rows, f"accuracy by category in {_round_name(k)}")


# -- tables -----------------------------------------------------------------------------------------------------


def _tables(state: State) -> Iterator[tuple[str, Table]]:
    rounds, judges = played(state), _judges(state)
    flow = [(a, o, b, str(r.nodes[a].outcomes[o])) for _, r in rounds[-1:] for a, o, b in state.edges if a in r.nodes]
    yield "Flow", (("from", "outcome", "to", "samples"), [row for row in flow if row[3] != "0"])
    yield "Stages", (("round", *judges), [(str(k), *(percent(pass_rate(r, n)) for n in judges)) for k, r in rounds])
    yield (
        "Judges",
        (("round", "judge", "bad", "false pass %", "good", "false drop %", "twice", "same %"), _health(state)),
    )
    origins = ("sampled", "rerendered", "resampled", "rewritten", "repaired")
    ends = [(str(k), *(str(r.fates[f]) for f in FATES), *(str(r.origins[o]) for o in origins)) for k, r in rounds]
    yield "Samples", (("round", *FATES, *origins), ends)
    trained = [(k, r) for k, r in sorted(state.rounds.items()) if r.steps]
    losses = [(_round_name(k), str(len(r.steps)), loss(r.loss("think")), loss(r.loss("result"))) for k, r in trained]
    yield "Loss", (("round", "steps", "L_think", "L_result"), losses)
    columns = ("round", "items", "category", "old %", "new %", "95 % CI", "won/lost", "p", "decision")
    yield "Gate", (columns, list(_gate_rows(state)))
    reasons = [(str(k), reason, str(n)) for k, r in rounds for reason, n in r.dead_reasons.most_common()]
    yield "Dropped and dead", (("round", "reason", "samples"), reasons)


def _health(state: State) -> list[Sequence[str]]:
    return [
        (
            str(k),
            name,
            str(h.bad),
            percent(h.false_pass),
            str(h.good),
            percent(h.false_drop),
            str(h.twice),
            percent(h.agreement),
        )
        for k, r in sorted(state.rounds.items())
        for name, h in r.health.items()
    ]


def _gate_rows(state: State) -> Iterator[Sequence[str]]:
    for k, r in sorted(state.rounds.items()):
        if r.gate is None:
            continue
        for name, s in [("all", r.gate.overall), *r.gate.by_slice.items(), *r.gate.by_category.items()]:
            yield (
                _round_name(k),
                str(s.total),
                name,
                percent(share_of(s.old, s.total)),
                percent(share_of(s.new, s.total)),
                f"{100 * s.low:.1f}–{100 * s.high:.1f}",
                f"{s.gained}/{s.lost}",
                f"{s.p:.3f}",
                r.gate.decision if name == "all" else "",
            )


def _html_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_safe(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{_safe(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<details><summary>the numbers</summary><table><tr>{head}</tr>{body}</table></details>"


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(map(_plain, columns)) + " |", "|" + " --- |" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(map(_plain, row)) + " |" for row in rows)])


# -- examples ---------------------------------------------------------------------------------------------------


def _examples(folder: RunFolder, state: State) -> Iterator[str]:
    rounds = played(state)
    if not rounds:
        return
    k = rounds[-1][0]
    texts = folder.texts(k)
    yield f"<section><h2>Examples of round {k}</h2>"
    for fate in FATES:
        for sample in islice(texts.get(fate), EXAMPLES):
            yield _example(fate, sample)
    repaired = (s for s in texts.get("kept") if s.origin != "sampled")
    for sample in islice(repaired, EXAMPLES):
        yield _example(f"kept, {sample.origin}", sample)
    yield "</section>"


def _example(fate: str, sample: Sample) -> str:
    last = sample.verdicts[-1] if sample.verdicts else None
    why = f"{last.stage}: {last.outcome} {last.reason} {last.evidence}" if last else ""
    thinking = f'<p class="think">⟨{_safe(_cut(sample.thinking))}⟩</p>' if sample.thinking is not None else ""
    return (
        f"<article><h3>{_safe(fate)} <small>{_safe(sample.id)}, attempt {sample.attempt}</small></h3>"
        f"<p>{_safe(_cut(sample.task.query))}</p>{thinking}"
        f'<p class="result">⟦{_safe(_cut(sample.answer))}⟧</p><p class="why">{_safe(_cut(why))}</p></article>'
    )


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]} …"


def _safe(text: str) -> str:
    return escape(clean(text))


def _plain(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", clean(text))


def _round_name(k: int) -> str:
    return "warm-up" if k == 0 else f"round {k}"


def _times_100(share: float | None) -> float | None:
    return None if share is None else 100 * share
