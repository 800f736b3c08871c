"""The two panels over all others: accuracy by round, and the round under way with what is wrong in the run.

The first answers whether it works, the second what happens now and what to change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from funreason.display.accuracy import SuiteAccuracy, accuracy_by_round
from funreason.display.diagnosis import RunFinding
from funreason.display.figures import DECISIONS, PHASES, duration, pass_rate, share_of
from funreason.display.spans import Line, Page, PageRow, Span, fit, line, said, wrap
from funreason.record.sample_files import KEPT
from funreason.record.state import State
from funreason.tui.flow import bar
from funreason.tui.losses import braille, sparkline
from funreason.tui.view_state import ViewState

ROLES = ("accent", "result", "good", "warn")
"""The colours of suites, in their order; their names are beside the last point as well."""
AXIS = 4
PLACE = 12
"""Cells a round needs: its name with the sign of the decision, or an accuracy with its interval."""
PROGRESS = 16
LOST = {"kept": ("✓", "good"), "text": ("✎", "good"), "lost": ("✗", "bad")}
PHASE_ROLES = {"base": "dim", "start": "plain", "sample": "accent", "train": "result", "gate": "good"}
SHORT = 2
"""Lines of a finding and its option where there is no room to wrap them."""


def accuracy_page(state: State, roles: Mapping[str, str], width: int, height: int) -> Page:
    """A line for each suite through the weights that the run kept, with intervals; refused candidates are rings."""
    suites = accuracy_by_round(state, roles)
    if not suites:
        return said("accuracy", "No gate yet: accuracy by round is shown after the first measurement.", width)
    legend: list[Span] = []
    for n, one in enumerate(suites):
        legend.append((f"{'━' if n == 0 else '─'} {one.label}, {one.items:,} items   ", ROLES[n % len(ROLES)]))
    room, tall = width - AXIS - 1, max(2, height - 2)
    played = sorted({p.round for one in suites for p in one.points if p.round is not None})
    rounds = [None, *played][-max(2, room // PLACE) :]
    shown = [one._replace(points=tuple(p for p in one.points if p.round in rounds)) for one in suites]
    shown = [one for one in shown if one.points]
    low = min(p.low for one in shown for p in one.points)
    high = max(p.high for one in shown for p in one.points)
    low, high = max(0.0, low - 0.02), min(1.0, high + 0.02)
    grid = _drawn(shown, rounds, room, tall, low, high)
    lines = []
    for i, row in enumerate(grid):
        mark = f"{100 * high:.0f}" if i == 0 else f"{100 * low:.0f}" if i == tall - 1 else ""
        lines.append(line((f"{mark:>{AXIS}} ", "dim"), *row))
    names: list[Span] = [(" " * (AXIS + 1), "plain")]
    by_round = {p.round: p for one in reversed(shown) for p in one.points}
    step = room // len(rounds)
    for k in rounds:
        p = by_round[k]
        role = DECISIONS.get(p.decision, ("", "dim"))[1]
        names.append((f"{p.name:<{step}}"[:step], role))
    return Page("accuracy on held-out items, %", (line(*legend), *lines, line(*names)))


def _drawn(
    suites: Sequence[SuiteAccuracy], rounds: Sequence[int | None], width: int, height: int, low: float, high: float
) -> list[list[Span]]:
    """The plot as lines of single cells: curves and intervals of dots, then points and numbers over them."""
    step = width // len(rounds)
    place = {k: i * step for i, k in enumerate(rounds)}
    cells: list[list[Span]] = [[(" ", "plain")] * width for _ in range(height)]
    dots = 4 * height

    def dot(share: float) -> int:
        return min(dots - 1, max(0, round((high - share) / ((high - low) or 1.0) * (dots - 1))))

    for n, one in enumerate(suites):
        kept = [p for p in one.points if p.kept]
        role = ROLES[n % len(ROLES)]
        drawn: list[tuple[int, int]] = []
        for a, b in pairwise(kept):
            x, end = 2 * place[a.round], 2 * place[b.round]
            for at in range(x, end + 1):
                share = a.share + (b.share - a.share) * (at - x) / (end - x)
                drawn.append((at, dot(share)))
        for row, codes in enumerate(braille(drawn, width, height)):
            for column, cell in enumerate(codes):
                if cell != " ":
                    cells[row][column] = (cell, role)
        if n == 0:  # one interval drawn as a bar: more would cover each other
            bars = [(2 * place[p.round], y) for p in one.points for y in range(dot(p.high), dot(p.low) + 1)]
            for row, codes in enumerate(braille(bars, width, height)):
                for column, cell in enumerate(codes):
                    if cell != " ":
                        cells[row][column] = (cell, "dim")
    taken: dict[int, set[int]] = {}
    for n, one in enumerate(suites):
        for p in one.points:
            x, y = place[p.round], dot(p.share) // 4
            while y in taken.setdefault(x, set()) and y + 1 < height:
                y += 1
            taken[x].add(y)
            half = 50 * (p.high - p.low)
            words = f"{'●' if p.kept else '○'} {100 * p.share:.1f}" + (f" ±{half:.0f}" if step >= PLACE else "")
            for i, char in enumerate(words[: width - x]):
                cells[y][x + i] = (char, ROLES[n % len(ROLES)] if p.kept else "dim")
    return cells


def now_page(
    state: State,
    view: ViewState,
    findings: Sequence[RunFinding],
    width: int,
    height: int,
    *,
    gpu: Sequence[float] = (),
) -> Page:
    """The round's way through the judges, how its samples ended, where the time went, the GPU, the diagnosis."""
    k, r = view.shown_round(state), view.of(state)
    judges = [(n, share) for n in state.nodes if (share := pass_rate(r, n)) is not None]
    lines: list[Line] = []
    if judges:
        lines += _pipeline(judges, r.nodes["generator"].answered if "generator" in r.nodes else 0, width)
    if ended := r.fates.total():
        lost = ended - sum(r.fates[fate] for fate in KEPT)
        counts = {"kept": r.fates["kept"], "text": r.fates["text"], "lost": lost}
        spans: list[Span] = []
        for name, n in counts.items():
            sign, role = LOST[name]
            spans.append((f"{sign} {100 * (share_of(n, ended) or 0):.0f} % {name}  ", role))
        if r.todo and ended < r.todo:
            done = bar(ended / r.todo, PROGRESS)
            spans.append((f"{ended:,}/{r.todo:,} {done}", "accent"))
        lines.append(line(*spans))
    if gpu:
        lines.append(line(("GPU ", "dim"), (sparkline(list(gpu), min(30, width - 12)), "accent"), f" {gpu[-1]:.0f} %"))
    elif used := list(r.gpu.values()):
        text = "  ".join(f"{PHASES.get(u.phase, u.phase)} {100 * u.busy:.0f} %" for u in used)
        lines.append(line(("GPU busy: ", "dim"), text[: max(0, width - 10)]))
    room = height - len(lines)
    timeline = _timeline(state, width) if room > SHORT * min(len(findings), 1) + 2 else []
    lines += [*_diagnosis(findings, width, room - len(timeline)), *timeline]
    return Page(f"{'start' if k == 0 else f'round {k}'} · diagnosis", tuple(lines))


def findings_page(findings: Sequence[RunFinding], width: int) -> Page:
    """All findings in full, an empty line between two."""
    lines: list[Line] = []
    for finding in findings:
        lines += [line((part, "warn")) for part in wrap(finding.text, width)]
        lines += [line((finding.change, "accent"))] if finding.change else []
        lines.append(line(""))
    lines = lines or [line(("No problem found.", "dim"))]
    rows = (PageRow(str(i), one, ("".join(text for text, _ in one),)) for i, one in enumerate(lines))
    return Page("diagnosis", (), tuple(rows), ("text",))


def _pipeline(judges: Sequence[tuple[str, float]], drawn: int, width: int) -> list[Line]:
    """`generator 3,200 ▶ response 78 ▶ …`: the share that each judge passed, in percent, broken between judges."""
    parts: list[list[Span]] = [[("generator ", "plain"), (f"{drawn:,}", "head")]]
    for name, share in judges:
        role = "good" if share >= 0.8 else "warn" if share >= 0.5 else "bad"
        parts.append([(" ▶ ", "dim"), (f"{name} ", "plain"), (f"{100 * share:.0f}", role)])
    lines: list[list[Span]] = [[]]
    used = 0
    for part in parts:
        long = sum(len(text) for text, _ in part)
        if used and used + long > width:
            lines.append([])
            used = 0
        lines[-1] += part
        used += long
    return [tuple(spans) for spans in lines]


def _timeline(state: State, width: int) -> list[Line]:
    """Where the run's time went, phase by phase: a bar in the order of time, and the sums."""
    spent = [(p, s) for _, r in sorted(state.rounds.items()) for p, s in r.seconds.items() if s > 0]
    whole = sum(seconds for _, seconds in spent)
    if not whole:
        return []
    order = [phase for phase in PHASE_ROLES if any(p == phase for p, _ in spent)]
    order += sorted({p for p, _ in spent} - set(order))
    cells: list[Span] = []
    at = 0.0
    for phase, seconds in spent:
        begin, at = round(at), at + seconds / whole * width
        cells.append(("▄" * (round(at) - begin), PHASE_ROLES.get(phase, "dim")))
    words: list[Span] = []
    used = 0
    for phase in order:
        word = f"{phase} {duration(sum(s for p, s in spent if p == phase))}  "
        if used + len(word) <= width + 2:
            words.append((word, PHASE_ROLES.get(phase, "dim")))
            used += len(word)
    return [tuple(cells), tuple(words)]


def _diagnosis(findings: Sequence[RunFinding], width: int, room: int) -> list[Line]:
    """As many findings as fit, each with its option; the last line counts the others."""
    if not findings:
        return [line(("no problem found", "dim"))] if room > 0 else []
    full = [[*wrap(f.text, width - 2), *wrap(f.change, width - 2)[: 2 * bool(f.change)]] for f in findings]
    texts = [len(wrap(f.text, width - 2)) for f in findings]
    if sum(map(len, full)) > room:
        full = [[fit(f.text, width - 2).rstrip(), *wrap(f.change, width - 2)[: 2 * bool(f.change)]] for f in findings]
        texts = [1] * len(full)
    lines: list[Line] = []
    for i, (block, text_lines) in enumerate(zip(full, texts, strict=True)):
        if len(lines) + len(block) + (i + 1 < len(full)) > max(1, room):
            more = len(full) - i
            words = f"{more} {'more ' * bool(i)}finding{'s' * (more > 1)}"
            lines.append(line((f"! {words}: key d", "warn")))
            break
        for n, words in enumerate(block):
            lines.append(line(("! " if n == 0 else "  ", "warn"), (words, "warn" if n < text_lines else "accent")))
    return lines
