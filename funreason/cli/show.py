"""`funreason status` and `show`: the state of a run, and one sample of it.

`status` prints whether the run worked, then tables, or JSON. `show` prints a sample attempt by attempt: thinking,
answer, each judge's verdict, what changed in between. The record keeps texts and verdicts apart: `sampled.jsonl` has
each answer a model drew, without verdicts, and the file a sample ended in has its last answer with the verdicts of all
attempts in order. A verdict `regenerate` ends an attempt. An answer that was re-rendered and sent back again was never
drawn, so its text is not in the record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from rich.text import Text

from funreason.cli.app import RUNS, AsJson, RunDir, RunName
from funreason.cli.terminal import console, print_json
from funreason.record.plain import plain

if TYPE_CHECKING:
    from funreason.record.folder import RunFolder
    from funreason.record.sample_files import Credit, RepairedLabel, SampleFiles
    from funreason.types import Sample, Verdict

CHANGES_SHOWN = 8
_COMPARED_WORDS = 2_000
"""Comparing is quadratic: of a longer text only the beginning is compared."""


REASONS_SHOWN = 5
"""The commonest reasons of failed samples that `status` shows without --all."""


def status(
    run: RunName = None,
    /,
    *,
    json: AsJson = False,
    all: bool = False,
    run_dir: RunDir = RUNS,
) -> int:
    """Show whether a run worked, and its state: the newest one, or one by name or folder.

    Parameters
    ----------
    all
        Print every table: judges, updates, categories, seconds, and each reason too.
    """
    from funreason.display.accuracy import accuracy_by_round
    from funreason.display.figures import phases_now
    from funreason.display.table import account, run_tables, verdict_text
    from funreason.display.verdict import evidence_in, verdict
    from funreason.record.folder import open_run
    from funreason.record.log import LogReader
    from funreason.record.state import State

    folder = open_run(run, run_dir)
    reader = LogReader(folder.events)
    state = State().fold(reader.events())
    life = folder.writer_status()
    evidence = evidence_in(folder)
    found = verdict(state, evidence)
    if json:
        extra: dict[str, Any] = {"process": life._asdict() if life else None, "unknown_events": reader.unknown}
        extra["verdict"], extra["model"] = found.summary(), found.model or None
        roles = {name: role for name, (role, _) in evidence.suites.items()}
        extra["accuracy"] = {
            one.suite: {"role": one.role, "items": one.items, "points": [p._asdict() for p in one.points]}
            for one in accuracy_by_round(state, roles)
        }
        print_json(state.summary() | extra)
        return 0
    out = console()
    if life:
        out.print(plain(f"run {folder.path} · {life.status.upper()} · process {life.pid} on {life.host}"))
    phases = " + ".join(
        p.phase if p.round == state.round else f"{p.phase} of round {p.round}" for p in phases_now(state)
    )
    where = [f"round {state.round}/{state.rounds_planned}", phases or state.status, state.reason]
    out.print(plain(" · ".join(part for part in where if part)))
    if reader.unknown:
        out.print(f"{reader.unknown} lines of the log are of a kind this version does not know")
    out.print(verdict_text(found), crop=False)
    out.print(run_tables(state, all=all))
    out.print(account(state, most=None if all else REASONS_SHOWN))
    if not all:
        out.print("\nStages, judges, updates, categories, seconds and every reason: --all", style="dim")
    return 0


def show(sample: str, /, *, run: RunName = None, json: AsJson = False, run_dir: RunDir = RUNS) -> int:
    """Show everything about a sample: query, tools, thinking and call of each attempt, every verdict.

    Parameters
    ----------
    sample
        Its id, or the end of it.
    """
    from msgspec import to_builtins

    from funreason.record.folder import open_run
    from funreason.record.sample_files import ENDS

    folder = open_run(run, run_dir)
    # By id, of those that may be meant: every drawn attempt in the order of drawing, and the last end with its name.
    drawn: dict[str, list[Sample]] = {}
    ended: dict[str, tuple[Sample, str]] = {}
    files: dict[str, SampleFiles] = {}
    for path in sorted(folder.path.glob("round-*")):
        texts = folder.texts(int(path.name.removeprefix("round-")))
        for found in texts.get("sampled"):
            if found.id.endswith(sample):
                drawn.setdefault(found.id, []).append(found)
                files[found.id] = texts
        for fate in ENDS:
            ended.update((found.id, (found, fate)) for found in texts.get(fate) if found.id.endswith(sample))
    sample_id = _find(sample, drawn.keys() | ended.keys(), folder)
    last, end = ended.get(sample_id, (None, ""))
    out = console(soft_wrap=True)
    credit = files[sample_id].credits(sample_id).get(sample_id) if sample_id in files else None
    task = (last or drawn[sample_id][0]).task.id
    rounds = sorted(int(path.name.removeprefix("round-")) for path in folder.path.glob("round-*"))
    repairs = {k: repair for k in rounds if (repair := folder.texts(k).repairs().get(task)) is not None}
    if json:
        attempts = [to_builtins(each) for each in drawn.get(sample_id, [])]
        print_json({"id": sample_id, "end": end, "last": to_builtins(last), "attempts": attempts,
                    "credit": to_builtins(credit), "repairs": to_builtins(repairs)})  # fmt: skip
        return 0
    for line in story(drawn.get(sample_id, []), last, end, credit):
        out.print(line)
    for k, repair in repairs.items():
        out.print(Text(plain(repaired(k, repair), lines=True), style="bold"))
    return 0


def repaired(round: int, repair: RepairedLabel) -> str:
    """Which reference was replaced in a round, by what, and what each seat of the panel said."""
    from funreason.calls.render import render_calls

    old, new = (render_calls(calls) if calls else "no call" for calls in (repair.old, repair.new))
    said = "".join(f"\n  {line}" for line in repair.reasons.splitlines())
    return f"reference replaced after round {round}: {old} → {new}{said}"


def _find(wanted: str, ids: Set[str], folder: RunFolder) -> str:
    """The id `wanted`, or the only one that ends with it."""
    from funreason.record.folder import RecordError

    if wanted in ids:
        return wanted
    found = sorted(name for name in ids if name.endswith(wanted))
    if not found:
        raise RecordError(f"no sample of {folder.path} has the id {wanted} or one that ends with it")
    if len(found) > 1:
        some = ", ".join(found[:8]) + (" …" if len(found) > 8 else "")
        raise RecordError(f"{len(found)} samples of {folder.path} end in {wanted}: {some}. Name one whole.")
    return found[0]


def story(drawn: Sequence[Sample], ended: Sample | None, end: str, credit: Credit | None = None) -> Iterator[Text]:
    """The lines to print for one sample: its `drawn` attempts in order, and how it `ended` (`end` names the file).

    `credit` is what was learned from it, in reinforcement learning.
    """
    first = ended or drawn[0]
    yield Text(plain(f"{first.id}  ({first.task.category or 'no category'})  {end or 'not ended yet'}"), style="bold")
    yield _said("query", first.task.transcript)
    for tool in first.task.tools:
        line = f"tool   {tool['name']}({', '.join(tool['parameters'].get('properties', {}))})"
        yield Text(plain(line), style="dim")
    if first.task.reference is not None:
        from funreason.calls.render import render_calls

        calls = first.task.reference
        yield _said("right", render_calls(calls) if calls else first.task.reference_text or "no call")
    texts = {sample.attempt: sample for sample in drawn if ended is None or sample.attempt <= ended.attempt}
    groups = by_attempt(ended.verdicts if ended else ())
    # A sample that could not be regenerated was counted as another attempt, but has no new text and no new verdict.
    spent = ended is not None and ended.attempt not in texts and 0 < len(groups) <= ended.attempt
    if ended is not None:
        texts[len(groups) - 1 if spent else ended.attempt] = ended
    before: Sample | None = None
    for attempt in range(max([len(groups), *[k + 1 for k in texts]])):
        verdicts = groups[attempt] if attempt < len(groups) else ()
        sample = texts.get(attempt)
        yield from _attempt(attempt, sample, before, verdicts)
        before = sample or before
    if spent:
        yield Text("\nnothing more could be tried", style="bold")
    if credit is not None:
        yield Text(learned_from(credit), style="bold")


def learned_from(credit: Credit) -> str:
    """In a line, what a rollout weighed in its step: advantage, bonus, E, and the fate of its group."""
    parts = [f"advantage {credit.advantage:+.3f}"]
    if credit.entropy is not None:
        parts[0] += f", of which bonus {credit.bonus:.3f}"
        parts.append(f"E {credit.entropy:.3f} nats")
    why = "" if credit.fate == "mixed" else " (nothing to learn: left out)"
    return "  " + " · ".join([*parts, f"group {credit.fate}{why}", f"step {credit.step}"])


def by_attempt(verdicts: Sequence[Verdict]) -> list[tuple[Verdict, ...]]:
    """The verdicts of each attempt: a new one begins after a `regenerate`."""
    from funreason.types import Outcome

    groups: list[list[Verdict]] = [[]]
    for each in verdicts:
        groups[-1].append(each)
        if each.outcome == Outcome.REGENERATE:
            groups.append([])
    return [tuple(group) for group in groups if group]


def _attempt(k: int, sample: Sample | None, before: Sample | None, verdicts: Sequence[Verdict]) -> Iterator[Text]:
    from funreason.types import Outcome

    if sample is None:
        yield Text(f"\nattempt {k + 1} · its text was not drawn from the model and is not in the record", style="bold")
    else:
        cut = " · cut off" if sample.truncated else ""
        weights = plain(sample.weights_id or "–")
        yield Text(f"\nattempt {k + 1} · {sample.origin} · weights {weights}{cut}", style="bold")
        yield _said("think", "(none)" if sample.thinking is None else sample.thinking)
        yield _said("answer", sample.answer)
        if before is not None:
            pairs = {
                "thinking": (before.thinking or "", sample.thinking or ""),
                "answer": (before.answer, sample.answer),
            }
            changed = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
            if not changed:
                yield Text("change nothing: thinking and answer are those of the attempt before", style="dim")
            for name, (was, now) in changed.items():
                yield Text(f"change {name}: {plain(differences(was, now))}", style="dim")
    for v in verdicts:
        style = "" if v.outcome == Outcome.PASS else "yellow"
        by = f" [{v.judge}]" if v.judge.startswith("llm:") else ""
        if v.reward is not None:
            parts = " · ".join(f"{name} {value:g}" for name, value in v.parts.items())
            said = f"  {v.stage} {v.reward:g}{f' = {parts}' if parts else ''} [{v.judge}]  {v.reason}  {v.evidence}"
            yield Text(plain(said).rstrip(), style="" if not v.reason else "yellow")
            continue
        seats = v.evidence.splitlines() if v.votes else []  # a line for each seat of a panel
        said = "" if len(seats) > 1 else v.evidence
        yield Text(plain(f"  {v.stage}: {v.outcome} {v.reason}{by}  {said}").rstrip(), style=style)
        for seat in seats if len(seats) > 1 else ():
            yield Text(plain(f"    {seat}"), style="dim")
        if v.answer:
            yield Text(plain(f"    offered instead: {v.answer}"), style="dim")


def differences(was: str, now: str) -> str:
    """What was taken out and put in, word by word: `-old +new`, the first few places."""
    a, b = was.split()[:_COMPARED_WORDS], now.split()[:_COMPARED_WORDS]
    places = []
    for kind, i, j, k, n in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind != "equal":
            places.append(" ".join([f"-{' '.join(a[i:j])}"] * (j > i) + [f"+{' '.join(b[k:n])}"] * (n > k)))
    more = len(places) - CHANGES_SHOWN
    shown = " … ".join(places[:CHANGES_SHOWN]) + (f" … and {more} more" if more > 0 else "")
    return shown or "only the spaces between words"


def _said(name: str, text: str) -> Text:
    return Text(f"{name:<6} {plain(text, lines=True)}")
