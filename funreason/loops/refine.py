"""FCDR alone: judges and repairs the samples of a data file, without any model but judges' and endpoints'.

The same graph as the loop's, from the first judge on. A record's own answer is the sample; nothing else is known
of the right one, so stage 4 checks the schema and not equality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from funreason.agents.ends import DeadLetter, End, Keeper
from funreason.agents.generator import Generator
from funreason.agents.llm_panel import Panel
from funreason.agents.regenerator import Regenerator, Resample
from funreason.bus.flow import Flow
from funreason.bus.graph import Graph
from funreason.config import Config, dump_config
from funreason.data.reading import read_samples
from funreason.loops.endpoints import Account, begin_to_import, budget_of, greeted_sampler, served_policy
from funreason.loops.graphs import refine_graph
from funreason.loops.health import Examiner, asked_twice, beside
from funreason.loops.interrupt import STOPPED, Interrupted, StopRequest
from funreason.loops.journal import Journal
from funreason.loops.judging import check_judges, judges, make_bus
from funreason.loops.panels import asks_models, build_panel, opened, sitting
from funreason.loops.recall import Recall, first_attempts, tell_ends
from funreason.loops.records import note_records, require_same
from funreason.loops.refined import refined_files
from funreason.record.events import RoundEnded, RunStarted
from funreason.record.folder import RecordError, RunFolder, write_whole
from funreason.record.manifest import seal_run
from funreason.record.settings import REFINED, go_on
from funreason.record.state import State
from funreason.record.types import Sample, changed

if TYPE_CHECKING:
    from funreason.models.endpoint_sampler import EndpointSampler

ROUND = 1
"""Refining is one round, so every reader of runs can read it."""


async def refine_file(config: Config, file: Path, out: RunFolder, stop: StopRequest, *, resume: bool = False) -> Flow:
    """Judge every record of `file`; texts, refined data and events go to `out`.

    With `resume`, those that have not ended, with every verdict that the record of `out` holds; a writer that has been
    silent for long is then taken to be dead.

    DataError when nothing is usable, GraphError or PluginError when nothing could judge it, RecordError when the
    records are others than those the run began with: then `out` is not begun, or left as it was.
    """
    if asks_models(config.fcdr) or config.sample.endpoints:
        begin_to_import()
    reading = read_samples(file, strict=config.tasks.strict)
    graph = refine_graph(config.fcdr)
    check_judges(config.fcdr)
    past = out.state()
    if resume:
        require_same(out, file, reading.samples, past)
    budget = budget_of(config, past)
    panel, served = build_panel(config, None, budget), await greeted_sampler(config, budget, stop)
    async with opened(panel, stop):
        heard_at = out.heard_at()
        dead = out.claim(take_over=resume)
        if resume:
            out.sweep()
            if out.state().events != past.events:
                raise RecordError(f"{out.path} was gone on with by another process in this moment; try again")
        else:
            write_whole(out.path / REFINED, dump_config(config))
            note_records(out, file, reading.samples)
        journal = Journal(out)
        stop.on_leave(lambda: journal.end("interrupted", go_on(out)))
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
                heard_at=heard_at if resumed else 0.0,
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
        with sitting(panel, journal.write):
            own, resample = judges(config.fcdr, panel), _resampler(config, served, journal)
            flow = await _judge(config, journal, graph, own, samples, past, stop, resample)
        out.seal(ROUND)
    except STOPPED:
        journal.end("interrupted", go_on(out))
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
    end = End(texts, journal.write)
    again = first_attempts(past, ROUND, config.fcdr.max_attempts)
    tell_ends(end, past, ROUND, again)
    recall = Recall(journal, texts, ROUND, past)
    seated = {name: own[name] for name in graph.order if name in own}
    batched = {node.name for node in graph.nodes if node.max_batch > 1}
    asked = asked_twice(seated, config, journal.write)
    agents = {
        **{name: recall.judge(name, agent, batched=name in batched) for name, agent in asked.items()},
        "regenerator": Regenerator(resample, order=config.fcdr.regenerate, max_attempts=config.fcdr.max_attempts),
        "dead_letter": DeadLetter(end),
    }
    owed = [sample for sample in samples if (ROUND, sample.id) not in past.ended]
    tried = {name for name, health in past.at_round(ROUND).health.items() if health.tried}
    untried = seated if owed else {name: judge for name, judge in seated.items() if name not in tried}
    examiner, tasks = Examiner(config, journal.write, stop), [sample.task for sample in samples]
    async with journal.heartbeat():
        with refined_files(journal.folder, texts, end) as ended:
            bus = make_bus(graph, {**agents, "trainer": Keeper(ended)}, config.fcdr, recall.observe)
            with journal.phase(ROUND, "sample", todo=len(samples)), stop.calling(bus.stop):
                examining = examiner.examine(untried, tasks, len(samples), ROUND, texts)
                async with beside(examining, bus.stop, first=examiner.decides):
                    flow = await bus.drain(changed(s, round=ROUND, attempt=again.get(s.id, 0)) for s in owed)
            if flow.stopped:
                raise Interrupted
    texts.forget_said()
    return flow


def _resampler(config: Config, served: EndpointSampler | None, journal: Journal) -> Resample | None:
    """Endpoints that answer anew what a judge sent back; no model of our own is asked here."""
    if served is None:
        return None
    account = Account(served.pool.purse, "regenerator", journal.write)
    policy = served_policy(config, served, None, partial(account.tell, ROUND))
    texts = journal.folder.texts(ROUND)
    drawn = {(sample.id, sample.attempt): sample for sample in texts.get("sampled")}
    return Generator(policy, texts, 1, drawn).resample
