"""The report of a run: pictures and tables in one HTML file, and the same tables as Markdown.

The HTML holds its pictures (SVG) and its style, and its content policy forbids any network access. Every word that is
drawn or written is escaped, so nothing from a model or a file becomes markup; numbers are formatted, never passed
through. Colours are class names of the style sheet, for light and dark screens; each series also has its own dashes
and its own label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

from funreason.display.figures import (
    POOL_COLUMNS,
    SINKS,
    curves,
    duration,
    formatted,
    hint,
    others,
    pass_rate,
    percent,
    pool_note,
    pool_rows,
    share_of,
)
from funreason.display.spans import clean
from funreason.display.verdict import evidence_in, verdict
from funreason.record.folder import RunFolder
from funreason.record.state import RoundState, State
from funreason.types import Sample

Flow = tuple[str, str, str, int]
"""Source, outcome, target, how many samples."""
GAP, BASE = 104, 210
"""Pixels between two nodes, and from the top to the line of nodes."""
Series = tuple[str, Sequence[float | None]]
LABEL_HEIGHT = 14.0
DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4", "12 4")


class Frame(NamedTuple):
    """A plot's size in pixels with room for words at its sides."""

    width: int = 640
    height: int = 220
    left: int = 46
    right: int = 150
    top: int = 14
    bottom: int = 26


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Words at a place, escaped."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(clean(words))}</text>'


def svg(width: float, height: float, parts: Sequence[str], label: str) -> str:
    """A whole picture, with a label for screen readers."""
    box = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    name = f'role="img" aria-label="{escape(clean(label))}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box} {name}>{"".join(parts)}</svg>'


def lines_svg(series: Sequence[Series], names: Sequence[str], label: str, *, low: float, high: float) -> str:
    """Series over named places (rounds, or steps); a None breaks no line, it is left out."""
    f = Frame()
    span = (high - low) or 1.0
    inner, tall = f.width - f.left - f.right, f.height - f.top - f.bottom

    def x(i: int) -> float:
        return f.left + (inner * i / (len(names) - 1) if len(names) > 1 else inner / 2)

    def y(value: float) -> float:
        return f.top + tall * (high - value) / span

    parts = []
    for tick in (low, (low + high) / 2, high):
        parts.append(
            f'<line x1="{f.left}" x2="{f.width - f.right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" class="grid"/>'
        )
        parts.append(text(f.left - 6, y(tick) + 4, f"{tick:.4g}", "small", "end"))
    every = max(1, len(names) // 8)
    parts += [text(x(i), f.height - 8, name, "small", "middle") for i, name in enumerate(names) if i % every == 0]
    labels = [(y(known[-1]) if (known := [v for v in values if v is not None]) else 0.0) for _, values in series]
    for before, here in pairwise(sorted(range(len(labels)), key=labels.__getitem__)):
        labels[here] = max(labels[here], labels[before] + LABEL_HEIGHT)  # moved apart where they would overlap
    for n, (name, values) in enumerate(series):
        points = [(x(i), y(v)) for i, v in enumerate(values) if v is not None]
        if not points:
            continue
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        dash = f' stroke-dasharray="{DASHES[n % len(DASHES)]}"' if DASHES[n % len(DASHES)] else ""
        parts.append(f'<polyline points="{path}" class="line c{n % 6}"{dash}/>')
        if len(points) < 60:
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" class="dot c{n % 6}"/>' for a, b in points]
        parts.append(text(f.width - f.right + 8, labels[n] + 4, name, f"small w{n % 6}"))
    return svg(f.width, f.height, parts, label)


def intervals_svg(rows: Sequence[tuple[str, float, float, float, float]], label: str) -> str:
    """Rows of (name, old, new, low, high), shares from 0 to 1: a ring for old, a dot with its interval for new."""
    left, width, step = 190, 640, 24
    inner = width - left - 60

    def x(share: float) -> float:
        return left + inner * share

    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<line x1="{x(share):.1f}" x2="{x(share):.1f}" y1="4" y2="{step * len(rows) + 4}" class="grid"/>')
        parts.append(text(x(share), step * len(rows) + 18, f"{100 * share:.0f} %", "small", "middle"))
    for i, (name, old, new, low, high) in enumerate(rows):
        y = step * i + 16
        parts.append(text(left - 10, y + 4, name, "small", "end"))
        parts.append(f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y}" y2="{y}" class="line c0"/>')
        parts.append(f'<circle cx="{x(old):.1f}" cy="{y}" r="5" class="ring"/>')
        parts.append(f'<circle cx="{x(new):.1f}" cy="{y}" r="4" class="dot c0"/>')
        parts.append(text(width - 54, y + 4, f"{100 * new:.1f} %", "small"))
    return svg(width, step * len(rows) + 26, parts, label)


def bars_svg(rows: Sequence[tuple[str, Sequence[tuple[str, int]]]], label: str) -> str:
    """Stacked bars: each row is (name, parts), each part (name, count); counts are in the bar where they fit."""
    left, width, step = 90, 640, 30
    most = max((sum(n for _, n in parts) for _, parts in rows), default=0) or 1
    drawn = []
    for i, (name, parts) in enumerate(rows):
        drawn.append(text(left - 10, step * i + 20, name, "small", "end"))
        at = float(left)
        for n, (word, count) in enumerate(parts):
            wide = (width - left - 10) * count / most
            if count:
                drawn.append(
                    f'<rect x="{at:.1f}" y="{step * i + 4}" width="{wide:.1f}" height="22" class="bar c{n % 6}"/>'
                )
            if wide > 9 * len(f"{word} {count}"):
                drawn.append(text(at + 6, step * i + 20, f"{word} {count}", "small onbar"))
            at += wide
    return svg(width, step * len(rows) + 8, drawn, label)


def flow_svg(nodes: Sequence[str], flows: Sequence[Flow], label: str) -> str:
    """The graph: nodes in a row in their order, each flow an arc as wide as its share of the widest.

    What flows to the next node lies on the line, what skips nodes above it, what goes back below it.
    """
    place = {name: GAP // 2 + 10 + GAP * i for i, name in enumerate(nodes)}
    known = [flow for flow in flows if flow[3] and flow[0] in place and flow[2] in place]
    most = max((flow[3] for flow in known), default=1)
    parts = [_arc(flow, place, most) for flow in sorted(known, key=lambda flow: -flow[3])]
    for name, x in place.items():
        parts.append(f'<circle cx="{x}" cy="{BASE}" r="6" class="node"/>')
        parts.append(text(x, BASE + 24, name, "small strong", "middle"))
    return svg(GAP * len(nodes) + 16, BASE + 190, parts, label)


def _arc(flow: Flow, place: Mapping[str, int], most: int) -> str:
    source, outcome, target, count = flow
    a, b, wide = place[source], place[target], 1 + 22 * count / most
    lift = 0.0 if b - a == GAP else 24 + 0.19 * (b - a) if b > a else -(44 + 0.19 * (a - b))
    kind = {"pass": "c0", "sampled": "c0", "drop": "c3", "error": "c3", "exhausted": "c3"}.get(outcome, "c1")
    title = f"<title>{escape(clean(f'{source} {outcome} {target}: {count}'))}</title>"
    path = f"M {a} {BASE} Q {(a + b) / 2:.0f} {BASE - 2 * lift:.0f} {b} {BASE}"
    drawn = f'<path d="{path}" class="flow {kind}" stroke-width="{wide:.1f}">{title}</path>'
    above = BASE - lift - wide / 2 - 4 if lift >= 0 else BASE - lift + wide / 2 + 13
    return drawn + (text((a + b) / 2, above, str(count), "small", "middle") if count >= most / 20 else "")


# -- the documents -----------------------------------------------------------------------------------------------

EXAMPLES = 3
"""Examples of each fate, from the last round that had samples."""
MOST_CHARS = 1200
FATES = ("kept", "text", "dropped", "dead")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~&])")

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def report_html(state: State, folder: RunFolder, status: str) -> str:
    """The report as one HTML document. `status` is that of the run's process."""
    title, pictures = _safe(state.run or folder.name), _pictures(state)
    found = verdict(state, evidence_in(folder))
    told = "".join(f"<li>{_safe(sentence)}</li>" for sentence in found.sentences)
    commands = "\n".join(map(_safe, found.commands))
    parts = [
        f"<h1>{title}</h1><p><strong>{_safe(found.headline)}</strong></p><ul>{told}</ul>",
        f"<p>{_safe(summary(state, status))}</p><p>Next:</p><pre>{commands}</pre>",
    ]
    for name, (columns, rows) in _tables(state):
        table = ""
        if rows:
            head = "".join(f"<th>{_safe(column)}</th>" for column in columns)
            cells = "".join("<tr>" + "".join(f"<td>{_safe(cell)}</td>" for cell in row) + "</tr>" for row in rows)
            table = f"<details><summary>the numbers</summary><table><tr>{head}</tr>{cells}</table></details>"
        shown = pictures.get(name, "") + table
        parts.append(f"<section><h2>{_safe(name)}</h2>{shown or '<p>Nothing yet.</p>'}</section>")
    style = (Path(__file__).parent / "report.css").read_text()
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title>'
        f"<style>{style}</style></head><body>{''.join(parts)}{''.join(_examples(folder, state))}</body></html>\n"
    )


def report_markdown(state: State, folder: RunFolder, status: str) -> str:
    """The same numbers as Markdown tables, with what is markup in them escaped."""
    found = verdict(state, evidence_in(folder))
    parts = [f"# {_plain(state.run or folder.name)}", f"**{_plain(found.headline)}**"]
    parts += ["\n".join(f"- {_plain(sentence)}" for sentence in found.sentences)] if found.sentences else []
    parts += [_plain(summary(state, status))]
    for title, (columns, rows) in _tables(state):
        lines = ["| " + " | ".join(map(_plain, columns)) + " |", "|" + " --- |" * len(columns)]
        lines += ["| " + " | ".join(map(_plain, row)) + " |" for row in rows]
        parts += [f"## {_plain(title)}", "\n".join(lines) if rows else "Nothing yet."]
    return "\n\n".join(parts) + "\n"


def summary(state: State, status: str) -> str:
    """The run in one sentence."""
    promoted = sum(1 for k, r in state.rounds.items() if k and r.gate and r.gate.decision == "promote")
    over = sum(1 for k, r in state.rounds.items() if k and r.ended)
    took = duration(state.elapsed_s(state.last_at)) if state.started_at else "no time yet"
    done = f"{over} of {state.rounds_planned} rounds over in {took}, {promoted} promoted"
    return f"{status}: {done}; weights {state.weights or '–'}."


# -- pictures ---------------------------------------------------------------------------------------------------


def played(state: State) -> list[tuple[int, RoundState]]:
    """The rounds in which samples were judged."""
    return [(k, r) for k, r in sorted(state.rounds.items()) if r.nodes]


def _judges(state: State) -> list[str]:
    names = [n for n in state.nodes if n not in SINKS]
    return [n for n in names if any(pass_rate(r, n) is not None for _, r in played(state))]


def _pictures(state: State) -> dict[str, str]:
    """The picture of each section that has one and something to draw."""
    pictures, rounds, judges = {}, played(state), _judges(state)
    if rounds and state.edges:
        k, r = rounds[-1]
        nodes = [n for n in state.nodes if n != "evaluator"]
        flows = [(a, o, b, r.nodes[a].outcomes[o]) for a, o, b in state.edges if a in r.nodes]
        drawn = flow_svg(nodes, flows, f"flow of samples in round {k}")
        note = f"<p>Round {k}; an arc is as wide as the number of samples that took it.</p>"
        pictures["Flow"] = f'{note}<div class="wide">{drawn}</div>'
    if rounds and judges:
        rates: list[Series] = []
        for name in judges:
            shares = [pass_rate(r, name) for _, r in rounds]
            rates.append((name, [None if share is None else 100 * share for share in shares]))
        label = "pass rate of each stage per round"
        pictures["Stages"] = lines_svg(rates, [f"round {k}" for k, _ in rounds], label, low=0, high=100)
    if rounds:
        bars = [(f"round {k}", [(fate, r.fates[fate]) for fate in FATES]) for k, r in rounds]
        pictures["Samples"] = bars_svg(bars, "where samples ended, per round")
    if steps := [(k, step) for k, r in sorted(state.rounds.items()) for step in r.steps]:
        thin = steps[:: max(1, len(steps) // 400)]
        losses = curves(name for _, step in steps for name in step.metrics)
        series = [(hint(name).label, [s.metrics.get(name) for _, s in thin]) for name in losses]
        highest = max((v for _, values in series for v in values if v is not None), default=1.0)
        names = [f"{k or 'w'}·{s.step}" for k, s in thin]
        pictures["Loss"] = lines_svg(series, names, "losses per step", low=0, high=highest)
    if gated := [(k, r.gate) for k, r in sorted(state.rounds.items()) if r.gate]:
        k, gate = gated[-1]
        scores = [("all", gate.overall), *gate.kinds.items(), *gate.by_slice.items(), *gate.by_category.items()]
        shares_by_name = [(n, s.old / s.total, s.new / s.total, s.low, s.high) for n, s in scores if s.total]
        note = f"<p>{_round_name(k)}, {_safe(gate.decision)}: ring old, dot new with its 95 % interval.</p>"
        pictures["Gate"] = note + intervals_svg(shares_by_name, f"accuracy by category in {_round_name(k)}")
    return pictures


# -- tables -----------------------------------------------------------------------------------------------------


def _tables(state: State) -> Iterator[tuple[str, Table]]:
    rounds, judges = played(state), _judges(state)
    flow = [(a, o, b, str(r.nodes[a].outcomes[o])) for _, r in rounds[-1:] for a, o, b in state.edges if a in r.nodes]
    yield "Flow", (("from", "outcome", "to", "samples"), [row for row in flow if row[3] != "0"])
    yield "Stages", (("round", *judges), [(str(k), *(percent(pass_rate(r, n)) for n in judges)) for k, r in rounds])
    yield (
        "Judges",
        (
            ("round", "judge", "bad", "false pass %", "good", "false drop %", "twice", "same %"),
            [
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
            ],
        ),
    )
    origins = ("sampled", "rerendered", "resampled", "rewritten", "repaired")
    ends = [(str(k), *(str(r.fates[f]) for f in FATES), *(str(r.origins[o]) for o in origins)) for k, r in rounds]
    yield "Samples", (("round", *FATES, *origins), ends)
    if rows := pool_rows(state):
        title = f"Hard tasks. {pool_note(state)}"
        yield title, (POOL_COLUMNS, rows)
        labels = [(str(k), task) for k, repairs in sorted(state.pool.repaired.items()) for task in repairs]
        if labels:
            yield "References replaced by the model's majority answer", (("round", "task"), labels)
    trained = [(k, r) for k, r in sorted(state.rounds.items()) if r.steps]
    metrics = [name for _, r in trained for name in r.metric_names()]
    shown = [*curves(metrics), *others(metrics)]
    losses = [(_round_name(k), str(len(r.steps)), *(formatted(m, r.mean(m)) for m in shown)) for k, r in trained]
    yield "Loss", (("round", "steps", *(hint(m).label for m in shown)), losses)
    columns = ("round", "items", "category", "old %", "new %", "95 % CI", "won/lost", "p", "decision")
    yield "Gate", (columns, list(_gate_rows(state)))
    reasons = [(str(k), reason, str(n)) for k, r in rounds for reason, n in r.dead_reasons.most_common()]
    yield "Dropped and dead", (("round", "reason", "samples"), reasons)


def _gate_rows(state: State) -> Iterator[Sequence[str]]:
    for k, r in sorted(state.rounds.items()):
        if r.gate is None:
            continue
        both = r.gate.balance
        kinds = r.gate.kinds
        if both and kinds:
            old, new = percent(both.old), percent(both.new)
            yield (_round_name(k), "", "balanced", old, new, "", "", f"{both.p:.3f}", "")
        for name, s in [("all", r.gate.overall), *kinds.items(), *r.gate.by_slice.items(), *r.gate.by_category.items()]:
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
        for name, t in r.gate.text.items():
            bits = (f"{t.old:.4f}", f"{t.new:.4f}")
            yield (_round_name(k), f"{t.tokens:,} tokens", f"{name}, bits per byte", *bits, "", "", "", "")


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
        f"<p>{_safe(_cut(sample.task.transcript))}</p>{thinking}"
        f'<p class="result">⟦{_safe(_cut(sample.answer))}⟧</p><p class="why">{_safe(_cut(why))}</p></article>'
    )


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]} …"


def _safe(text: str) -> str:
    return escape(clean(text))


def _plain(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", clean(text))


def _round_name(k: int) -> str:
    return "start" if k == 0 else f"round {k}"
