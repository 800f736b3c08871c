"""The report of a run: what came of it, what to change next, how it was made; as one HTML file and as Markdown.

The HTML holds its charts (SVG) and its style, and its content policy forbids any network access. Every word that is
drawn or written is escaped, so nothing from a model or a file becomes markup; numbers are formatted, never passed
through. The Markdown fits one screen: tables that only explain are in the HTML alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from funreason.display.accuracy import SuiteAccuracy, accuracy_by_round
from funreason.display.charts import Series, accuracy_svg, bars_svg, flow_svg, intervals_svg, lines_svg
from funreason.display.diagnosis import Facts
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
    smoothed,
)
from funreason.display.spans import clean
from funreason.display.verdict import AccuracyChange, GateEvidence, RunVerdict, evidence_in, verdict
from funreason.record.folder import RunFolder, is_refining, settings_file
from funreason.record.sample_files import KEPT
from funreason.record.state import RoundState, State
from funreason.types import Sample

EXAMPLES = 3
"""Examples of each fate, from the last round that had samples; each of another task."""
LOOKED_AT = 200
"""Samples read of each fate to find examples that differ."""
MOST_CHARS = 1200
LOST_TO = 5
"""The commonest reasons of failed samples that the Markdown names."""
WORST = 3
"""Categories that are named as those with most left to gain."""
ROUNDS, METRICS = 5, 9
"""The last rounds and the first columns of their metrics that the Markdown has."""
HEADER_BYTES = 100_000_000
"""The largest header of a weights file that is read for its parameters."""
FATES = ("kept", "text", "dropped", "dead")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~&])")

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


class _Contents(NamedTuple):
    """What both forms of the report are made from."""

    state: State
    evidence: GateEvidence
    found: RunVerdict
    suites: list[SuiteAccuracy]
    about: list[tuple[str, str]]


def report_html(state: State, folder: RunFolder, status: str) -> str:
    """The report as one HTML document. `status` is that of the run's process."""
    facts = _facts(state, folder)
    found, pictures = facts.found, _pictures(state)
    title = _safe(found.result)
    told = "".join(f"<li>{_safe(sentence)}</li>" for sentence in found.sentences)
    commands = "\n".join(map(_safe, found.commands))
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="verdict {_safe(found.outcome)}"><strong>{_safe(found.headline)}</strong></p>',
        f'<p class="why">{_safe(_line(facts, status))}</p>',
        f'<div class="cards">{"".join(_cards(facts))}</div>',
    ]
    if facts.suites:
        note = "Held-out items, 95 % interval of the first suite. A ring is a candidate that was not kept."
        drawn = accuracy_svg(facts.suites, "accuracy by round")
        parts.append(f"<section><h2>Accuracy by round</h2>{drawn}<p class='why'>{note}</p></section>")
    if changes := _changes(facts):
        notes = "".join(
            f'<p class="finding">{_safe(text)}{f" <code>{_safe(change)}</code>" if change else ""}</p>'
            for text, change in changes
        )
        parts.append(f"<section><h2>What to change next</h2>{notes}</section>")
    parts.append(f"<section><h2>What happened</h2><ul>{told}</ul><p>Next:</p><pre>{commands}</pre></section>")
    for name, (columns, rows) in _tables(state):
        table = ""
        if rows:
            head = "".join(f"<th>{_safe(column)}</th>" for column in columns)
            cells = "".join("<tr>" + "".join(f"<td>{_safe(cell)}</td>" for cell in row) + "</tr>" for row in rows)
            table = f"<details><summary>the numbers</summary><table><tr>{head}</tr>{cells}</table></details>"
        shown = pictures.get(name, "") + table
        parts.append(f"<section><h2>{_safe(name)}</h2>{shown or '<p>Nothing yet.</p>'}</section>")
    parts += _examples(folder, state)
    about = "".join(f"<tr><th>{_safe(name)}</th><td>{_safe(value)}</td></tr>" for name, value in facts.about)
    settings = _settings(folder)
    shown = f"<details><summary>the configuration</summary><pre>{_lines(settings)}</pre></details>" if settings else ""
    parts.append(f"<section><h2>How it was made</h2><table>{about}</table>{shown}</section>")
    style = (Path(__file__).parent / "report.css").read_text()
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title>'
        f"<style>{style}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def report_markdown(state: State, folder: RunFolder, status: str) -> str:
    """The result, what to change, the gate by round and how the run was made, with what is markup in them escaped."""
    facts = _facts(state, folder)
    found = facts.found
    parts = [f"# {_plain(found.result)}", f"**{_plain(found.headline)}**", _plain(_line(facts, status))]
    parts += ["\n".join(f"- {_plain(sentence)}" for sentence in found.sentences)] if found.sentences else []
    if changes := _changes(facts):
        notes = [f"- {_plain(text)}{f' `{_code(change)}`' if change else ''}" for text, change in changes]
        parts += ["## What to change next", "\n".join(notes)]
    if facts.suites or not is_refining(folder):
        parts += ["## Accuracy by round", _by_round(facts) if facts.suites else "Nothing yet."]
    reasons = sum((r.dead_reasons for _, r in played(state)), start=type(RoundState().dead_reasons)())
    if ended := sum(r.fates.total() for _, r in played(state)):
        most = ", ".join(f"{_plain(name)} {100 * n / ended:.1f} %" for name, n in reasons.most_common(LOST_TO))
        parts += [f"{ended:,} samples; most were lost to: {most or 'nothing'}."]
    if pool := pool_rows(state):
        parts += ["## Hard tasks", _plain(pool_note(state)), _markdown_table(POOL_COLUMNS, pool)]
    columns, losses = dict(_tables(state))["Loss"]
    if losses:
        short = [row[:METRICS] for row in losses[-ROUNDS:]]
        parts += ["## Updates", _markdown_table(columns[:METRICS], short), "Means over the steps of a round."]
    parts += ["## How it was made", "\n".join(f"- {_plain(name)}: {_plain(value)}" for name, value in facts.about)]
    return "\n\n".join(parts) + "\n"


def summary(state: State, status: str) -> str:
    """The run in one sentence. The supervised start is no round and not counted."""
    over = [r for k, r in state.rounds.items() if k and r.ended]
    count = {word: sum(r.gate is not None and r.gate.decision == word for r in over) for word in ENDINGS}
    took = duration(state.elapsed_s(state.last_at)) if state.started_at else "no time yet"
    done = f"{len(over)} of {state.rounds_planned} rounds over in {took}, {count['promote']} promoted"
    done += "".join(f", {count[word]} {said}" for word, said in ENDINGS.items() if count[word] and word != "promote")
    return f"{status}: {done}; weights {state.weights or '–'}."


ENDINGS = {"promote": "promoted", "hold": "held", "rollback": "rolled back"}


# -- what came of it, and how it was made ------------------------------------------------------------------------


def _facts(state: State, folder: RunFolder) -> _Contents:
    evidence = evidence_in(folder)
    roles = {name: role for name, (role, _) in evidence.suites.items()}
    about = list(_about(state, folder, evidence))
    return _Contents(state, evidence, verdict(state, evidence), accuracy_by_round(state, roles), about)


def _line(facts: _Contents, status: str) -> str:
    name = facts.state.run or (facts.evidence.folder.name if facts.evidence.folder else "")
    about = dict(facts.about)
    made = [about[key] for key in ("model", "data") if key in about]
    made += [f"seed {about['seed']}"] if "seed" in about else []
    if facts.evidence.folder and is_refining(facts.evidence.folder):
        return f"run {name} · {status} in {duration(facts.state.elapsed_s(facts.state.last_at))}"
    return " · ".join([f"run {name}", *made, summary(facts.state, status)])


def _changes(facts: _Contents) -> list[tuple[str, str]]:
    """What the diagnosis found with the setting to change, and the categories that the kept weights are worst at."""
    changes = [(finding.text, finding.change) for finding in facts.found.findings]
    gates = [r.gate for _, r in sorted(facts.state.rounds.items()) if r.gate is not None]
    if gates and len(gates[-1].by_category) > 1:
        kept = gates[-1].decision == "promote"
        shares = [(s.new if kept else s.old, s.total, name) for name, s in gates[-1].by_category.items() if s.total]
        worst = sorted(shares, key=lambda share: (share[0] / share[1], share[2]))[:WORST]
        said = ", ".join(f"{name} ({100 * right / total:.0f} % of {total:,} right)" for right, total, name in worst)
        changes.append((f"Most is left to gain in {said}.", ""))
    return changes


def _about(state: State, folder: RunFolder, evidence: GateEvidence) -> Iterator[tuple[str, str]]:
    """Command, model, data, seed, versions, hardware, time: each where the record has it."""
    known = Facts(state, evidence.settings)
    first = state.machines[0] if state.machines else None
    if first is not None and first.command:
        yield "command", first.command
    if (path := known.setting("model.path")) is not None and not is_refining(folder):
        count = parameters(evidence.model) if evidence.model else 0
        yield "model", f"{path}, {count / 1e6:,.2f} M parameters" if count else str(path)
    if (path := known.setting("tasks.path")) and not is_refining(folder):
        tasks = known.setting("tasks.per_round")
        yield "data", f"{path}, {tasks:,} tasks a round" if isinstance(tasks, int) else str(path)
    if (path := known.setting("start.references.path")) is not None and not is_refining(folder):
        yield "supervised start", f"{path}, {known.setting('start.references.count')} references"
    if (seed := known.setting("seed")) is not None:
        yield "seed", str(seed)
    if first is not None:
        yield "versions", ", ".join(f"{name} {version}" for name, version in first.versions.items())
        machines = [
            m for i, m in enumerate(state.machines) if i == 0 or _hardware(m) != _hardware(state.machines[i - 1])
        ]
        yield "hardware", "; then ".join(map(_hardware, machines))
    if state.started_at:
        yield "time", duration(state.elapsed_s(state.last_at))


def _hardware(machine: Any) -> str:
    parts = [machine.cpu, f"{machine.cores} cores", f"{machine.memory_gb:.0f} GB of memory", *machine.gpus]
    return ", ".join(part for part in parts if part)


def parameters(model: Path) -> int:
    """How many parameters a folder's safetensors files name, from their headers; 0 where they cannot be read."""
    count = 0
    try:
        for path in sorted(model.glob("*.safetensors")):
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(size)) if 0 < size <= HEADER_BYTES else {}
            count += sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return 0
    return count


def _settings(folder: RunFolder) -> str:
    path = settings_file(folder)
    try:
        return path.read_text(errors="replace")[:100_000] if path is not None else ""
    except OSError:
        return ""


def _cards(facts: _Contents) -> Iterator[str]:
    """One number each: the rounds alone, the start, what other suites paid, how many samples were kept."""
    found = facts.found
    if found.rounds:
        yield _card("the rounds alone", found.rounds[0])
    if found.start:
        yield _card("the supervised start", found.start[0])
    for change in (found.whole or found.rounds or found.start)[1:]:
        yield _card(f"{change.suite}, in all", change)
    rounds = played(facts.state)
    if ended := sum(r.fates.total() for _, r in rounds):
        kept = sum(r.fates[fate] for _, r in rounds for fate in KEPT)
        used = sum(r.chosen.trained for _, r in rounds if r.chosen)
        small = f"{kept:,} of {ended:,}; {used:,} trained on" if used else f"{kept:,} of {ended:,}"
        yield _card_of("samples kept", f"{100 * kept / ended:.0f} %", "", small)


def _card(name: str, change: AccuracyChange) -> str:
    kind = "good" if change.points >= 0.05 else "bad" if change.points <= -0.05 else ""
    small = str(change).removeprefix(change.suite + " ")
    return _card_of(name, f"{change.points:+.1f}", kind, small)


def _card_of(name: str, number: str, kind: str, small: str) -> str:
    return f'<div class="card">{_safe(name)}<b class="{kind}">{_safe(number)}</b><small>{_safe(small)}</small></div>'


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
        thin = steps[:: max(1, len(steps) // 600)]
        losses = curves(name for _, step in steps for name in step.metrics)
        raw: list[Series] = [(hint(name).label, [s.metrics.get(name) for _, s in thin]) for name in losses]
        series = [(label, smoothed(values)) for label, values in raw]
        known = sorted(v for _, values in raw for v in values if v is not None)
        highest = known[int(0.995 * (len(known) - 1))] if known else 1.0  # a single peak must not flatten the rest
        lowest = min(0.0, known[0]) if known else 0.0
        faint = [(label, [None if v is None else min(v, highest) for v in values]) for label, values in raw]
        names = [_round_name(k) for k, _ in thin]
        drawn = lines_svg(series, names, "losses over the steps", low=lowest, high=highest, faint=faint)
        note = "Nats per token over all optimizer steps; the line is smoothed, the dots are single steps."
        pictures["Loss"] = f"{drawn}<p class='why'>{note}</p>"
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
    yield "Gate", (GATE_COLUMNS, list(_gate_rows(state)))
    reasons = [(str(k), reason, str(n)) for k, r in rounds for reason, n in r.dead_reasons.most_common()]
    yield "Dropped and dead", (("round", "reason", "samples"), reasons)


GATE_COLUMNS = ("round", "items", "category", "old %", "new %", "new, 95 % CI", "won/lost", "p", "decision")


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
    seen: set[str] = set()
    for fate in FATES:
        for sample in islice(_distinct(islice(texts.get(fate), LOOKED_AT), seen), EXAMPLES):
            yield _example(fate, sample)
    repaired = (s for s in islice(texts.get("kept"), LOOKED_AT) if s.origin != "sampled")
    for sample in islice(_distinct(repaired, seen), EXAMPLES):
        yield _example(f"kept, {sample.origin}", sample)
    yield "</section>"


def _distinct(samples: Iterator[Sample], seen: set[str]) -> Iterator[Sample]:
    """Samples of other tasks than those seen, and of each reason one before any of it comes twice."""
    again, reasons = [], set()
    for sample in samples:
        reason = sample.verdicts[-1].reason if sample.verdicts else ""
        if sample.task.transcript in seen:
            continue
        if reason and reason in reasons:
            again.append(sample)
            continue
        reasons.add(reason)
        seen.add(sample.task.transcript)
        yield sample
    for sample in again:
        if sample.task.transcript not in seen:
            seen.add(sample.task.transcript)
            yield sample


def _example(fate: str, sample: Sample) -> str:
    last = sample.verdicts[-1] if sample.verdicts else None
    why = f"{last.stage}: {last.outcome} {last.reason} {last.evidence}" if last else ""
    thinking = f'<p class="think">⟨{_safe(_cut(sample.thinking))}⟩</p>' if sample.thinking is not None else ""
    return (
        f"<article><h3>{_safe(fate)} <small>{_safe(sample.id)}, attempt {sample.attempt + 1}</small></h3>"
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


def _by_round(facts: _Contents) -> str:
    """A Markdown table: a row for each candidate, a column for each suite."""
    rounds = list(dict.fromkeys(p.round for one in facts.suites for p in one.points))
    rows = []
    for k in rounds:
        points = [next((p for p in one.points if p.round == k), None) for one in facts.suites]
        gate = None if k is None else facts.state.rounds[k].gate
        cells = []
        for one, p in zip(facts.suites, points, strict=True):
            score = gate.by_slice.get(one.suite) if gate else None
            pair = f", {score.gained}/{score.lost}" if score else ""
            cells.append(f"{100 * p.share:.1f} ({100 * p.low:.0f}–{100 * p.high:.0f}){pair}" if p else "")
        rows.append((next(p.name for p in points if p is not None), *cells, gate.decision if gate else ""))
    columns = [f"{one.label}, {one.items:,} items" for one in facts.suites]
    note = "Percent right, 95 % interval, items won/lost against the weights before."
    return f"{_markdown_table(('weights', *columns, 'decision'), rows)}\n\n{note}"


def _lines(text: str) -> str:
    """Several lines, each made safe."""
    return "\n".join(_safe(line) for line in text.splitlines())


def _code(text: str) -> str:
    """Text between backticks of Markdown, which cannot hold one."""
    return clean(text).replace("`", "'")


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(map(_plain, columns)) + " |", "|" + " --- |" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(map(_plain, row)) + " |" for row in rows)])
