"""FCDR alone (`funreason refine`): judge and repair the samples of a data file, without a model of the package's own.

The graph is the loop's, from the first judge on. A record's own answer is the sample; nothing else is known of the
right one, so stage 4 checks the schema and not equality. What is kept is also written to two files for other trainers,
while samples end; they have the suffix `.part` until every sample has ended, and a resumed run writes them again. The
folder remembers which records it was given: a resumed run must judge the same ones, since verdicts name a sample by id.

The records are read twice and never held: once to count and refuse, before anything is written, and once to judge them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from funreason.agents.judges.canary_check import CanaryCheck, beside
from funreason.agents.judges.llm.factory import build_panel, connected, recording_usage, uses_llm
from funreason.agents.judges.registry import check_judges
from funreason.agents.sinks import Ending
from funreason.bus.workers import Flow
from funreason.config import Config, dump_config
from funreason.data.reading import each_sample, summary
from funreason.data.records import Refusal
from funreason.data.writers import RecordsFile, as_sharegpt, as_xlam
from funreason.hub import data_name
from funreason.policies.factory import UsageReporter, budget_of, connected_sampler, import_in_background, served_policy
from funreason.record.events import RoundEnded, RunStarted
from funreason.record.folder import (
    RECORDS,
    REFINED,
    RecordError,
    RunFolder,
    is_refining,
    resume_hint,
    write_json,
    write_whole,
)
from funreason.record.integrity import was_moved
from funreason.record.manifest import require_unchanged, unlist
from funreason.record.sample_files import KEPT, SampleFiles
from funreason.record.state import State
from funreason.runtime.agents import Run, build_bus, round_sink
from funreason.runtime.graph import refine_graph
from funreason.runtime.journal import Journal
from funreason.runtime.machine import described
from funreason.stop import STOPPED, Interrupted, StopRequest
from funreason.types import Sample, changed


class RecordsSurvey(NamedTuple):
    """What a first reading of the records found, without holding them."""

    samples: int
    sha256: str
    """Of all samples, in their order."""
    refusals: list[Refusal]
    left: dict[str, int]
    """How often what was not carried."""
    summary: str


def each_of(config: Config, file: Path, left: Counter[str] | None = None) -> Iterator[Sample | Refusal]:
    """The records of `file` one at a time, as samples or refused; raises DataError as `read_samples` does.

    What is not carried is added to `left`.
    """
    data, counted = config.data, Counter[str]() if left is None else left
    return each_sample(file, counted, strict=config.tasks.strict, turns=data.turns, input_map=data.input_map)


def survey(config: Config, file: Path) -> RecordsSurvey:
    """Read all records of `file` once; raises DataError when none is usable, or at the first refusal with `strict`."""
    digest, encoder, count = hashlib.sha256(), msgspec.json.Encoder(), 0
    refusals: list[Refusal] = []
    left = Counter[str]()
    for read in each_of(config, file, left):
        if isinstance(read, Sample):
            digest.update(encoder.encode(read) + b"\n")
            count += 1
        else:
            refusals.append(read)
    lost = dict(left.most_common())
    return RecordsSurvey(count, digest.hexdigest(), refusals, lost, summary(str(file), count, refusals, lost))


def note_records(out: RunFolder, file: Path, found: RecordsSurvey) -> None:
    """Write down where the records lie and what they hold."""
    path = file if data_name(str(file)) is not None else file.resolve()
    noted = {"path": str(path), "samples": found.samples, "sha256": found.sha256}
    write_json(out.path / RECORDS, noted)


def records_file(out: RunFolder) -> Path:
    """Where the records lay. RecordError when the folder is not of a `refine` that had begun."""
    return Path(_noted(out)["path"])


def require_same(out: RunFolder, config: Config, file: Path, found: RecordsSurvey, past: State) -> None:
    """Raise RecordError unless `file` holds the samples that the run began with."""
    noted = _noted(out)
    if noted["sha256"] == found.sha256:
        return
    here = {read.id for read in each_of(config, file) if isinstance(read, Sample)}
    judged = {sample for _, sample in past.ended}.union(*(r.unfinished for r in past.rounds.values()))
    gone = sorted(judged - here)
    what = f"{len(gone)} samples that were judged are not in it, such as {gone[0]!r}" if gone else "some are changed"
    raise RecordError(
        f"{file} does not hold the records that {out.path} began with: {what}; it has {found.samples} samples, and "
        f"the run began with {noted['samples']} of {noted['path']}. Give that file as it was, or refine this one into "
        "another --out."
    )


def _noted(out: RunFolder) -> dict[str, Any]:
    path = out.path / RECORDS
    if not path.exists() or not is_refining(out):
        raise RecordError(
            f"{out.path} has no {REFINED} and {RECORDS}, so it cannot be resumed as a run of `refine`. "
            "Resume a loop with `funreason loop --resume`; else refine the file into another --out."
        )
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        if not {"path", "samples", "sha256"} <= found.keys():
            raise ValueError("a key is missing")
    except (ValueError, AttributeError) as error:
        raise RecordError(f"{path} cannot be read ({error}): another program or a loss of power changed it") from None
    return found


SHAREGPT, XLAM = "refined-sharegpt.json", "refined-xlam.jsonl"


@contextmanager
def refined_files(out: RunFolder, texts: SampleFiles, end: Ending) -> Iterator[Ending]:
    """An `end` that also writes what is kept to the two files, which hold what `texts` have of it already.

    RecordError when they cannot be written.
    """
    unlist(out, SHAREGPT, XLAM)  # where a kill came after they were listed and before the run had its status
    with ExitStack() as stack:
        sharegpt, xlam = (stack.enter_context(RecordsFile(out.path / name)) for name in (SHAREGPT, XLAM))

        def put(sample: Sample) -> None:
            as_one, as_other = as_sharegpt(sample), as_xlam(sample)
            sharegpt.put(as_one)
            xlam.put(as_other)

        def ended(sample: Sample, fate: str) -> None:
            if fate in KEPT:
                put(sample)
            end(sample, fate)

        for fate in KEPT:
            for sample in texts.get(fate):
                put(sample)
        yield ended


ROUND = 1
"""Refining is one round, so every reader of runs can read it."""


async def refine_file(config: Config, file: Path, out: RunFolder, stop: StopRequest, *, resume: bool = False) -> Flow:
    """Judge every record of `file`; texts, refined data and events go to `out`.

    With `resume`, only the records that have not ended are judged, and verdicts in the record of `out` are reused; a
    writer that has been silent for long is then taken to be dead.

    Raises:
        DataError: no record is usable.
        GraphError, PluginError: nothing could judge them.
        RecordError: the records are not those the run began with. `out` is then not begun, or left as it was.
    """
    if uses_llm(config.fcdr) or config.sample.endpoints:
        import_in_background()
    found = survey(config, file)
    graph = refine_graph(config)
    check_judges(config)
    life = out.writer_status() if resume else None
    if life is not None and life.status not in ("running", "stale"):  # else another process may be writing
        require_unchanged(out, {})
    past = out.state()
    if resume:
        require_same(out, config, file, found, past)
    budget = budget_of(config, past)
    panel, served = build_panel(config, None, budget), await connected_sampler(config, budget, stop)

    def begin() -> None:
        write_whole(out.path / REFINED, dump_config(config))
        note_records(out, file, found)

    async with connected(panel, stop):
        last_heartbeat_at = out.last_heartbeat()
        dead = out.acquire(take_over=resume, begin=lambda: None if resume else begin())
        moved_from = was_moved(out)
        if resume:
            out.clean_up()
            if out.state().events != past.events:
                raise RecordError(f"{out.path}: another process resumed this run at the same time; try again.")
        journal = Journal(out)
        journal.marks.take()
        stop.on_leave(lambda: journal.end("interrupted", resume_hint(out)))
        if dead is not None:
            journal.taken_over(dead)
        journal.moved(moved_from)
        resumed = bool(past.events)
        journal.write(
            RunStarted(
                run=out.name,
                rounds=1,
                seed=config.seed,
                nodes=list(graph.order),
                resumed=resumed,
                last_heartbeat_at=last_heartbeat_at if resumed else 0.0,
            )
        )
        journal.write(described())
        if not past.tasks_read:
            journal.read(found.refusals, found.summary, found.left)
        run = Run(config=config, graph=graph, journal=journal, stop=stop, past=past, panel=panel)
        if served is not None:  # endpoints resample what a judge sent back; no model of our own is asked here
            usage = UsageReporter(served.pool.meter, "regenerator", journal.write)
            policy = served_policy(config, served, None, partial(usage.report, ROUND))
            run.sampler = lambda round: policy
        try:
            with recording_usage(panel, journal.write):
                samples = (read for read in each_of(config, file) if isinstance(read, Sample))
                flow = await judge_samples(run, samples, found.samples)
            out.seal(ROUND)
        except STOPPED:
            journal.end("interrupted", resume_hint(out))
            raise
        except BaseException as error:
            journal.end("failed", f"{type(error).__name__}: {error}"[:2000])
            raise
        if not past.at_round(ROUND).ended:  # else a kill came between that line and the run's end
            journal.write(RoundEnded(round=ROUND, weights=""))
        journal.end("finished")
        return flow


async def judge_samples(run: Run, samples: Iterable[Sample], count: int) -> Flow:
    """Carry `count` samples through the graph of a run, to its trainer (which keeps them) or its dead letter.

    Each is taken when there is room for it, so that no more are held than are in flight.
    """
    journal, past, files = run.journal, run.past, run.journal.folder.texts(ROUND)
    sink, again = round_sink(run, ROUND), run.first_attempts(ROUND)
    pending = (sample for sample in samples if (ROUND, sample.id) not in past.ended)
    ended = sum(round == ROUND for round, _ in past.ended)
    tried = {name for name, health in past.at_round(ROUND).health.items() if health.tried}
    untried = run.judges if count > ended else {name: j for name, j in run.judges.items() if name not in tried}
    check = CanaryCheck(run.config, journal.write, run.stop)
    async with journal.heartbeat():
        with refined_files(journal.folder, files, sink) as end:
            bus = build_bus(run, ROUND, end)
            with journal.phase(ROUND, "sample", todo=count), run.stop.calling(bus.stop):
                checking = check.examine(untried, (), count, ROUND, files)  # no sample has a reference
                async with beside(checking, bus.stop, first=check.decides):
                    flow = await bus.drain(changed(s, round=ROUND, attempt=again.get(s.id, 0)) for s in pending)
            if flow.stopped:
                raise Interrupted
    files.delete_verdicts()
    return flow
