"""The samples panel, and the page of one sample: query, tools, each attempt, its verdicts, what changed in between.

The panel shows the newest verdict of each sample, filtered by agent, end, reason or id. It is a window: only a round's
newest judgements are kept one by one (`RECENT_JUDGEMENTS`). On the page of a sample, thinking is in ⟨ ⟩ and the call
in ⟦ ⟧, as in the mask preview of `funreason train`, beside their colours.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from funreason.display.spans import Column, Line, Page, PageRow, Span, line, said, table, wrap, wrap_spans
from funreason.record.events import Judged, SampleEnded
from funreason.record.folder import RunFolder
from funreason.record.state import RoundState, State
from funreason.tui.view_state import ViewState
from funreason.types import Outcome, Sample, Verdict

MOST = 200
"""Rows made at once: few enough to be made four times a second."""
MOST_CHARS = 20_000
"""Characters shown of one text: a model that never stopped must not fill the memory."""
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
MARGIN = 10
"""Cells left of a text for its name."""
OUTCOMES = {
    "pass": ("✓", "good"), "kept": ("✓", "good"), "text": ("✓", "good"), "keep_text": ("✓", "good"),
    "drop": ("✗", "bad"), "dropped": ("✗", "bad"), "dead": ("✗", "bad"), "error": ("!", "bad"),
    "exhausted": ("✗", "bad"),
    "regenerate": ("↻", "warn"), "reformatted": ("↻", "warn"), "rewritten": ("↻", "warn"), "resampled": ("↻", "warn"),
}  # fmt: skip
NO_NODE = "trainer"
"""Shown for a kept sample: all judges passed it, and its end names no node."""
ROOM_FOR_TEXTS, ROOM_FOR_REASONS, ROOM_FOR_ALL = 54, 66, 130
"""Widths in cells from which there is room for queries and answers, for reasons, and for all columns."""
LOOKED_AT = 20
"""Rows in which a text is looked for, to know whether there are any."""
_SORTS = ("newest", "id", "attempt", "node", "verdict", "reason")


def samples_page(state: State, view: ViewState, width: int) -> Page:
    """Id, attempt, node, verdict and reason of the newest samples that match the filters."""
    k, r = view.shown_round(state), view.of(state)
    narrowed = " · ".join(part for part in (view.node.partition(":")[2], view.pattern and f"/{view.pattern}") if part)
    order = _SORTS[view.sort.get("samples", 0) % len(_SORTS)]
    title = (
        f"samples · round {k}"
        + (f" · {narrowed}" if narrowed else "")
        + (f" · by {order}" if order != "newest" else "")
    )
    if not r.recent:
        return said(title, "No sample of this round has been judged yet.", width)
    found = list(_newest(reversed(r.recent), view))
    if not found:
        return said(title, f"None of the newest {len(r.recent)} judgements matches the filter; esc clears it.", width)
    if (whole := _all_of(view.node, r)) > len(found) and not view.pattern:
        title += f" · newest {len(found)} of {whole:,}"
    if order != "newest":
        at = _SORTS.index(order) - 1
        found.sort(key=lambda e: (e.sample, f"{e.attempt:03}", e.node, _word(e), e.reason)[at])
    columns = _columns(width, any(view.texts.get(e.sample) for e in found[:LOOKED_AT]))
    rows: list[tuple[str, list[str | Span]]] = []
    for e in found:
        sign, role = OUTCOMES.get(_word(e), ("·", "dim"))
        text = view.texts.get(e.sample)
        ended = (f"{sign} {e.reason}", role) if e.reason else (f"{sign} {_word(e)}", role)
        facts: dict[str, str | Span] = {
            "id": e.sample,
            "sample": e.sample,
            "query": " ".join(text.query.split()) if text else "",
            "answer": " ".join(text.answer.split()) if text else "",
            "try": str(e.attempt + 1),
            "node": (e.node or NO_NODE, "dim"),
            "verdict": (f"{sign} {_word(e)}", role),
            "outcome": ended,
            "reason": e.reason,
        }
        rows.append((e.sample, [facts[column.name] for column in columns]))
    return table(title, columns, rows, width)


def _columns(width: int, texts: bool) -> list[Column]:
    """All columns where there is room; query and answer before the others; without texts, what the record has."""
    if texts and ROOM_FOR_TEXTS <= width < ROOM_FOR_ALL:
        outcome = 22 if width >= ROOM_FOR_REASONS else 17
        each = (width - 10 - outcome - 4) // 2
        return [
            Column("sample", 10, end=True),
            Column("query", each),
            Column("answer", each),
            Column("outcome", outcome),
        ]
    facts = [Column("id", 0, end=True), Column("try", 3, True), Column("node", 11), Column("verdict", 12)]
    facts += [Column("reason", 19)] if width >= ROOM_FOR_REASONS else []  # ids would have no room
    if not texts or width < ROOM_FOR_ALL:
        return facts
    each = (width - 22 - 50) // 2
    return [facts[0], Column("query", each), Column("answer", each), *facts[1:]]


def _all_of(node: str, r: RoundState) -> int:
    """How many samples of the round a filter by agent, end or reason has, those out of the window included."""
    kind, _, name = node.partition(":")
    counts = {"end": r.fates, "reason": r.dead_reasons}
    if kind in counts:
        return counts[kind][name]
    if kind == "node":
        return r.nodes[name].answered if name in r.nodes else 0
    return r.fates.total()


def matches(event: Judged | SampleEnded, pattern: str) -> bool:
    """Whether an event matches a filter: a part of its id, node, verdict or reason, or a glob over one of them."""
    word = event.outcome if isinstance(event, Judged) else event.fate
    if "*" in pattern or "?" in pattern:
        return any(fnmatchcase(text, pattern) for text in (event.sample, event.node, word, event.reason))
    return pattern in event.sample or pattern in event.node or pattern in word or pattern in event.reason


def _matches(event: Judged | SampleEnded, view: ViewState) -> bool:
    """As `matches`, and by a part of the query or the answer."""
    text = view.texts.get(event.sample)
    return matches(event, view.pattern) or (text is not None and any(view.pattern in part for part in text))


def _newest(events: Iterable[Judged | SampleEnded], view: ViewState) -> Iterator[Judged | SampleEnded]:
    """The newest event of each sample that matches the filters, `MOST` at most; `events` come newest first."""
    seen: set[str] = set()
    kind, _, name = view.node.partition(":")
    for event in events:
        if kind == "node" and not (isinstance(event, Judged) and event.node == name):
            continue
        if kind == "end" and not (isinstance(event, SampleEnded) and event.fate == name):
            continue
        if kind == "reason" and not (isinstance(event, SampleEnded) and event.reason == name):
            continue
        if event.sample in seen or (view.pattern and not _matches(event, view)):
            continue
        seen.add(event.sample)
        yield event
        if len(seen) >= MOST:
            return


def _word(event: Judged | SampleEnded) -> str:
    return event.outcome if isinstance(event, Judged) else event.fate


# -- one sample -------------------------------------------------------------------------------------------------


def story_page(folder: RunFolder, k: int, sample_id: str, width: int) -> Page:
    """Everything in the run's texts about one sample of round `k`."""
    found = folder.texts(k).find(sample_id)
    if not found:
        text = "No text of this sample is on disk: it is still in flight, or its texts are elsewhere."
        return _page(sample_id, [line((part, "dim")) for part in wrap(text, width)])
    return _page(sample_id, list(_story(found, width)))


def _page(sample_id: str, lines: Sequence[Line]) -> Page:
    rows = tuple(PageRow(str(i), one, ("".join(text for text, _ in one),)) for i, one in enumerate(lines))
    return Page(f"story · {sample_id}", (), rows, ("text",))


def attempts(found: Sequence[tuple[str, Sample]]) -> list[tuple[str, Sample]]:
    """Each attempt once, in order, as last written: an end replaces the draw of the same answer."""
    kept: dict[tuple[int, str | None, str], tuple[str, Sample]] = {}
    for kind, sample in found:
        kept[(sample.attempt, sample.thinking, sample.answer)] = (kind, sample)
    return sorted(kept.values(), key=lambda pair: (pair[1].attempt, pair[0] != "sampled"))


def _story(found: Sequence[tuple[str, Sample]], width: int) -> Iterator[Line]:
    tried = attempts(found)
    last = max((s for _, s in tried), key=lambda s: len(s.verdicts))
    task = last.task
    yield line((task.category or "no category", "head"), (f" · task {task.id}", "dim"))
    yield from _block("query", task.transcript, "plain", width)
    for tool in task.tools:
        parameters = tool.get("parameters")
        properties = parameters.get("properties") if isinstance(parameters, dict) else None
        names = ", ".join(str(name) for name in properties) if isinstance(properties, dict) else ""
        yield from _block("tool", f"{tool.get('name', '?')}({names})  {tool.get('description', '')}", "dim", width)
    if task.reference is not None:
        calls = []
        for call in task.reference:
            values = {name: repr(v) for name, v in call.arguments.items()}  # as the answers are written
            calls.append(f"{call.name}({', '.join(f'{name}={value}' for name, value in values.items())})")
        shown = f"[{', '.join(calls)}]" if calls else task.reference_text or "no call"
        yield from _block("reference", shown, "good", width)
    before: Sample | None = None
    groups = verdicts_by_attempt(last.verdicts)
    for kind, sample in tried:
        drawn = "drawn" if kind == "sampled" else f"ended: {kind}"
        cut = " · cut off at the token limit" if sample.truncated else ""
        made = f" · {sample.origin} · {drawn} · weights {sample.weights_id or '–'}{cut}"
        yield line("")
        yield line((f"attempt {sample.attempt + 1}", "head"), (made, "dim"))
        if sample.thinking is not None:
            yield from _block("thinking", f"⟨{_cut(sample.thinking)}⟩", "think", width)
        yield from _block("answer", f"⟦{_cut(sample.answer)}⟧", "result", width)
        if before is not None and before.answer != sample.answer:
            yield from _block("change", "", "dim", width, spans=difference(_cut(before.answer), _cut(sample.answer)))
        before = sample
    for i, group in enumerate(groups):
        yield line("")
        yield line((f"verdicts{f' on attempt {i + 1}' if len(groups) > 1 else ''}", "head"))
        for verdict in group:
            sign, role = OUTCOMES.get(verdict.outcome, ("·", "dim"))
            yield line(
                (f"  {sign} {verdict.stage:<11} {verdict.outcome:<10} ", role),
                f"{verdict.reason}  ",
                (verdict.judge, "dim"),
            )
            if verdict.evidence:
                yield from _block("", verdict.evidence, "dim", width)


def verdicts_by_attempt(verdicts: Sequence[Verdict]) -> list[list[Verdict]]:
    """The verdicts in groups; a group ends with the verdict that sent the sample back."""
    groups: list[list[Verdict]] = [[]]
    for i, verdict in enumerate(verdicts):
        groups[-1].append(verdict)
        if verdict.outcome == Outcome.REGENERATE and i + 1 < len(verdicts):
            groups.append([])
    return [group for group in groups if group]


def difference(old: str, new: str) -> list[Span]:
    """What was taken out, as `[-…-]`, and put in, as `{+…+}`, word by word."""
    a, b = _WORDS.findall(old), _WORDS.findall(new)
    spans: list[Span] = []
    for op, i, j, x, y in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if op == "equal":
            spans.append(("".join(a[i:j]), "dim"))
            continue
        if i < j:
            spans.append(("[-" + "".join(a[i:j]) + "-]", "bad"))
        if x < y:
            spans.append(("{+" + "".join(b[x:y]) + "+}", "good"))
    return spans


def _block(name: str, text: str, role: str, width: int, spans: Sequence[Span] = ()) -> Iterator[Line]:
    parts = wrap_spans(spans, width - MARGIN) if spans else [line((part, role)) for part in wrap(text, width - MARGIN)]
    for i, part in enumerate(parts):
        yield line((f"{name if i == 0 else '':<{MARGIN}}", "head"), *part)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARS else text[:MOST_CHARS] + f" … {len(text) - MOST_CHARS} more characters"
