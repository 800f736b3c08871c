"""The whole story of a sample: query, tools, each attempt with its mask, the verdicts with evidence, the differences.

Thinking stands in ⟨ ⟩ and the call in ⟦ ⟧, as in the mask preview of `funreason train`, beside their colours.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence

from funreason.display.spans import Line, Page, Row, Span, line, wrap, wrap_spans
from funreason.record.folder import RunFolder
from funreason.tui.samples import OUTCOMES
from funreason.types import Outcome, Sample, Verdict

MOST_CHARS = 20_000
"""Of one text: a model that never stopped must not fill the screen's memory."""
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
MARGIN = 10


def story_page(folder: RunFolder, k: int, sample_id: str, width: int) -> Page:
    """Everything the run's texts hold about one sample of round `k`."""
    found = folder.texts(k).find(sample_id)
    if not found:
        text = "No text of this sample is on disk: it is still in flight, or the run keeps its texts elsewhere."
        return _page(sample_id, [line((part, "dim")) for part in wrap(text, width)])
    return _page(sample_id, list(_last_error(found, width)))


def _page(sample_id: str, lines: Sequence[Line]) -> Page:
    rows = tuple(Row(str(i), one, ("".join(text for text, _ in one),)) for i, one in enumerate(lines))
    return Page(f"story · {sample_id}", (), rows, ("text",))


def attempts(found: Sequence[tuple[str, Sample]]) -> list[tuple[str, Sample]]:
    """Each attempt once, in order, as it was last written: an end replaces the same answer's draw."""
    kept: dict[tuple[int, str | None, str], tuple[str, Sample]] = {}
    for kind, sample in found:
        kept[(sample.attempt, sample.thinking, sample.answer)] = (kind, sample)
    return sorted(kept.values(), key=lambda pair: (pair[1].attempt, pair[0] != "sampled"))


def _last_error(found: Sequence[tuple[str, Sample]], width: int) -> Iterator[Line]:
    told = attempts(found)
    last = max((s for _, s in told), key=lambda s: len(s.verdicts))
    yield from _task(last, width)
    before: Sample | None = None
    spells = verdicts_by_attempt(last.verdicts)
    for kind, sample in told:
        yield line("")
        yield line(
            (f"attempt {sample.attempt}", "head"), (f" · {sample.origin} · {_fate(kind)}", "dim"), _weights(sample)
        )
        if sample.thinking is not None:
            yield from _block("thinking", f"⟨{_cut(sample.thinking)}⟩", "think", width)
        yield from _block("answer", f"⟦{_cut(sample.answer)}⟧", "result", width)
        if before is not None and before.answer != sample.answer:
            yield from _block("change", "", "dim", width, spans=difference(_cut(before.answer), _cut(sample.answer)))
        before = sample
    for i, spell in enumerate(spells):
        yield line("")
        yield line((f"verdicts{f' on attempt {i}' if len(spells) > 1 else ''}", "head"))
        for verdict in spell:
            yield from _verdict(verdict, width)


def verdicts_by_attempt(verdicts: Sequence[Verdict]) -> list[list[Verdict]]:
    """The verdicts cut behind each that sent the sample back."""
    spells: list[list[Verdict]] = [[]]
    for i, verdict in enumerate(verdicts):
        spells[-1].append(verdict)
        if verdict.outcome == Outcome.REGENERATE and i + 1 < len(verdicts):
            spells.append([])
    return [spell for spell in spells if spell]


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


def _task(sample: Sample, width: int) -> Iterator[Line]:
    task = sample.task
    yield line((task.category or "no category", "head"), (f" · task {task.id}", "dim"))
    yield from _block("query", task.query, "plain", width)
    for tool in task.tools:
        yield from _block("tool", _signature(tool), "dim", width)
    if task.reference is not None:
        calls = ", ".join(f"{call.name}({_arguments(call.arguments)})" for call in task.reference)
        yield from _block("reference", f"[{calls}]" if calls else (task.reference_text or "no call"), "good", width)


def _signature(tool: dict[str, object]) -> str:
    parameters = tool.get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    names = ", ".join(str(name) for name in properties) if isinstance(properties, dict) else ""
    return f"{tool.get('name', '?')}({names})  {tool.get('description', '')}"


def _arguments(arguments: dict[str, object]) -> str:
    return ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False, default=str)}" for name, value in arguments.items()
    )


def _verdict(verdict: Verdict, width: int) -> Iterator[Line]:
    sign, role = OUTCOMES.get(verdict.outcome, ("·", "dim"))
    yield line(
        (f"  {sign} {verdict.stage:<11} {verdict.outcome:<10} ", role), f"{verdict.reason}  ", (verdict.judge, "dim")
    )
    if verdict.evidence:
        yield from _block("", verdict.evidence, "dim", width)


def _block(name: str, text: str, role: str, width: int, spans: Sequence[Span] = ()) -> Iterator[Line]:
    parts = wrap_spans(spans, width - MARGIN) if spans else [line((part, role)) for part in wrap(text, width - MARGIN)]
    for i, part in enumerate(parts):
        yield line((f"{name if i == 0 else '':<{MARGIN}}", "head"), *part)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARS else text[:MOST_CHARS] + f" … {len(text) - MOST_CHARS} more characters"


def _fate(kind: str) -> str:
    return "drawn" if kind == "sampled" else f"ended: {kind}"


def _weights(sample: Sample) -> Span:
    cut = " · cut off at the token limit" if sample.truncated else ""
    return (f" · weights {sample.weights_id or '–'}{cut}", "dim")
