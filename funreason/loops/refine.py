"""The records that `refine` was given, as its folder remembers them: where they lay, and a hash of what was read.

A run that goes on must judge the very same ones: its verdicts name a sample by its id alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from funreason.agents.generator import Generator
from funreason.agents.judges.canary_check import CanaryCheck, beside, with_self_agreement
from funreason.agents.judges.llm.factory import build_panel, connected, recording_usage, uses_llm
from funreason.agents.judges.llm.panel import Panel
from funreason.agents.judges.registry import check_judges, judges, make_bus
from funreason.agents.regenerator import Regenerator, Resample
from funreason.agents.sinks import DeadLetterSink, Ending, KeptSink, Sink
from funreason.bus.graph import Graph
from funreason.bus.workers import Flow
from funreason.config import Config, dump_config
from funreason.data.reading import read_samples
from funreason.data.writers import RecordsFile, as_sharegpt, as_xlam
from funreason.policies.factory import UsageReporter, budget_of, connected_sampler, import_in_background, served_policy
from funreason.record.events import RoundEnded, RunStarted
from funreason.record.folder import RecordError, RunFolder, write_json, write_whole
from funreason.record.manifest import seal_run
from funreason.record.sample_files import KEPT, SampleFiles
from funreason.record.settings import RECORDS, REFINED, is_refining, resume_command
from funreason.record.state import State
from funreason.runtime.graph import refine_graph
from funreason.runtime.journal import Journal
from funreason.runtime.resume import RecordedVerdicts, backfill_end_events, first_attempts
from funreason.stop import STOPPED, Interrupted, StopRequest
from funreason.types import Sample, changed

if TYPE_CHECKING:
    from funreason.policies.endpoint.sampler import EndpointSampler


def note_records(out: RunFolder, file: Path, samples: Sequence[Sample]) -> None:
    """Write down where the records lie and what they hold."""
    write_json(out.path / RECORDS, {"path": str(file.resolve()), "samples": len(samples), "sha256": _hash(samples)})


def records_file(out: RunFolder) -> Path:
    """Where the records lay. RecordError when the folder is not of a `refine` that had begun."""
    return Path(_noted(out)["path"])


def require_same(out: RunFolder, file: Path, samples: Sequence[Sample], past: State) -> None:
    """Raise RecordError unless these are the samples that the run began with."""
    noted = _noted(out)
    if noted["sha256"] == _hash(samples):
        return
    here = {sample.id for sample in samples}
    judged = {sample for _, sample in past.ended}.union(*(r.unfinished for r in past.rounds.values()))
    gone = sorted(judged - here)
    what = f"{len(gone)} samples that were judged are not in it, such as {gone[0]!r}" if gone else "some are changed"
    raise RecordError(
        f"{file} does not hold the records that {out.path} began with: {what}; it has {len(samples)} samples, and "
        f"the run began with {noted['samples']} of {noted['path']}. Give that file as it was, or refine this one into "
        "another --out."
    )


def _noted(out: RunFolder) -> dict[str, Any]:
    path = out.path / RECORDS
    if not path.exists() or not is_refining(out):
        raise RecordError(
            f"{out.path} has no {REFINED} and {RECORDS}, so there is no refining to go on with. A loop goes on with "
            "`funreason loop --resume`; else refine the file into another --out."
        )
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _hash(samples: Sequence[Sample]) -> str:
    digest, encoder = hashlib.sha256(), msgspec.json.Encoder()
    for sample in samples:
        digest.update(encoder.encode(sample) + b"\n")
    return digest.hexdigest()


# What refining kept, for other trainers: two files beside the record, each written while samples end.
#
# They get their names when every sample has ended; until then they lie there as `.part`. Whoever goes on with a run
# that was stopped begins them anew from the record.

SHAREGPT, XLAM = "refined-sharegpt.json", "refined-xlam.jsonl"


@contextmanager
def refined_files(out: RunFolder, texts: SampleFiles, end: Ending) -> Iterator[Ending]:
    """An `end` that also writes what is kept to the two files, which hold what `texts` have of it already.

    RecordError when they cannot be written.
    """
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


# FCDR alone: judges and repairs the samples of a data file, without any model but judges' and endpoints'.
#
# The same graph as the loop's, from the first judge on. A record's own answer is the sample; nothing else is known
# of the right one, so stage 4 checks the schema and not equality.

ROUND = 1
"""Refining is one round, so every reader of runs can read it."""


async def refine_file(config: Config, file: Path, out: RunFolder, stop: StopRequest, *, resume: bool = False) -> Flow:
    """Judge every record of `file`; texts, refined data and events go to `out`.

    With `resume`, those that have not ended, with every verdict that the record of `out` holds; a writer that has been
    silent for long is then taken to be dead.

    DataError when nothing is usable, GraphError or PluginError when nothing could judge it, RecordError when the
    records are others than those the run began with: then `out` is not begun, or left as it was.
    """
    if uses_llm(config.fcdr) or config.sample.endpoints:
        import_in_background()
    reading = read_samples(file, strict=config.tasks.strict)
    graph = refine_graph(config.fcdr)
    check_judges(config.fcdr)
    past = out.state()
    if resume:
        require_same(out, file, reading.samples, past)
    budget = budget_of(config, past)
    panel, served = build_panel(config, None, budget), await connected_sampler(config, budget, stop)
    async with connected(panel, stop):
        last_heartbeat_at = out.last_heartbeat_at()
        dead = out.claim(take_over=resume)
        if resume:
            out.sweep()
            if out.state().events != past.events:
                raise RecordError(f"{out.path} was gone on with by another process in this moment; try again")
        else:
            write_whole(out.path / REFINED, dump_config(config))
            note_records(out, file, reading.samples)
        journal = Journal(out)
        stop.on_leave(lambda: journal.end("interrupted", resume_command(out)))
        if dead is not None:
            journal.taken_over(dead)
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
        if not past.tasks_read:
            journal.read(reading.refusals, reading.summary())
        return await _refine(config, journal, graph, panel, served, reading.samples, past, stop)


async def _refine(
    config: Config,
    journal: Journal,
    graph: Graph,
    panel: Panel | None,
    served: EndpointSampler | None,
    samples: Sequence[Sample],
    past: State,
    stop: StopRequest,
) -> Flow:
    out = journal.folder
    try:
        with recording_usage(panel, journal.write):
            own, resample = judges(config.fcdr, panel), _resampler(config, served, journal)
            flow = await _judge(config, journal, graph, own, samples, past, stop, resample)
        out.seal(ROUND)
    except STOPPED:
        journal.end("interrupted", resume_command(out))
        raise
    except BaseException as error:
        journal.end("failed", f"{type(error).__name__}: {error}"[:2000])
        raise
    journal.write(RoundEnded(round=ROUND, weights=""))
    journal.end("finished")
    seal_run(out, ended=True)
    return flow


async def _judge(
    config: Config,
    journal: Journal,
    graph: Graph,
    own: Mapping[str, Any],
    samples: Sequence[Sample],
    past: State,
    stop: StopRequest,
    resample: Resample | None,
) -> Flow:
    texts = journal.folder.texts(ROUND)
    end = Sink(texts, journal.write)
    again = first_attempts(past, ROUND, config.fcdr.max_attempts)
    backfill_end_events(end, past, ROUND, again)
    recall = RecordedVerdicts(journal, texts, ROUND, past)
    seated = {name: own[name] for name in graph.order if name in own}
    batched = {node.name for node in graph.nodes if node.max_batch > 1}
    asked = with_self_agreement(seated, config, journal.write)
    agents = {
        **{name: recall.judge(name, agent, batched=name in batched) for name, agent in asked.items()},
        "regenerator": Regenerator(resample, order=config.fcdr.regenerate, max_attempts=config.fcdr.max_attempts),
        "dead_letter": DeadLetterSink(end),
    }
    owed = [sample for sample in samples if (ROUND, sample.id) not in past.ended]
    tried = {name for name, health in past.at_round(ROUND).health.items() if health.tried}
    untried = seated if owed else {name: judge for name, judge in seated.items() if name not in tried}
    examiner, tasks = CanaryCheck(config, journal.write, stop), [sample.task for sample in samples]
    async with journal.heartbeat():
        with refined_files(journal.folder, texts, end) as ended:
            bus = make_bus(graph, {**agents, "trainer": KeptSink(ended)}, config.fcdr, recall.observe)
            with journal.phase(ROUND, "sample", todo=len(samples)), stop.calling(bus.stop):
                examining = examiner.examine(untried, tasks, len(samples), ROUND, texts)
                async with beside(examining, bus.stop, first=examiner.decides):
                    flow = await bus.drain(changed(s, round=ROUND, attempt=again.get(s.id, 0)) for s in owed)
            if flow.stopped:
                raise Interrupted
    texts.delete_verdicts()
    return flow


def _resampler(config: Config, served: EndpointSampler | None, journal: Journal) -> Resample | None:
    """Endpoints that answer anew what a judge sent back; no model of our own is asked here."""
    if served is None:
        return None
    account = UsageReporter(served.pool.meter, "regenerator", journal.write)
    policy = served_policy(config, served, None, partial(account.report, ROUND))
    texts = journal.folder.texts(ROUND)
    drawn = {(sample.id, sample.attempt): sample for sample in texts.get("sampled")}
    return Generator(policy, texts, 1, drawn).resample
