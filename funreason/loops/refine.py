"""FCDR alone: judges and repairs the samples of a data file, without any model but judges' and endpoints'.

The same graph as the loop's, from the first judge on. A record's own answer is the sample; nothing else is known
of the right one, so stage 4 checks the schema and not equality.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from funreason.data.reading import SampleReading, read_samples
from funreason.data.writers import write_sharegpt, write_xlam
from funreason.loops.endpoints import Account, budget_of, endpoint_sampler, served_policy
from funreason.loops.graphs import refine_graph
from funreason.loops.health import Examiner, asked_twice
from funreason.loops.interrupt import STOPPED, Interrupted, StopRequest
from funreason.loops.journal import Journal
from funreason.loops.judging import check_judges, judges, make_bus
from funreason.loops.panels import build_panel, opened, sitting
from funreason.record.events import RoundEnded, RunStarted
from funreason.record.folder import RunFolder, write_whole
from funreason.record.manifest import seal_run
from funreason.record.settings import REFINED
from funreason.record.types import Sample, changed

if TYPE_CHECKING:
    from funreason.models.endpoint_sampler import EndpointSampler

ROUND = 1
"""Refining is one round, so every reader of runs can read it."""


async def refine_file(config: Config, file: Path, out: RunFolder, stop: StopRequest) -> Flow:
    """Judge every record of `file`; texts, refined data and events go to `out`.

    DataError when nothing is usable, GraphError or PluginError when nothing could judge it: then `out` is not begun.
    """
    reading = read_samples(file, strict=config.tasks.strict)
    graph = refine_graph(config.fcdr)
    check_judges(config.fcdr)
    budget = budget_of(config)
    panel, served = build_panel(config, None, budget), endpoint_sampler(config, budget)
    async with opened(panel):
        return await _refine(config, reading, graph, panel, served, out, stop)


async def _refine(
    config: Config,
    reading: SampleReading,
    graph: Graph,
    panel: Panel | None,
    served: EndpointSampler | None,
    out: RunFolder,
    stop: StopRequest,
) -> Flow:
    out.claim()
    write_whole(out.path / REFINED, dump_config(config))
    journal = Journal(out)
    stop.on_leave(lambda: journal.end("interrupted"))
    journal.write(RunStarted(run=out.name, rounds=1, seed=config.seed, nodes=list(graph.order)))
    journal.read(reading.refusals, reading.summary())
    try:
        with sitting(panel, journal.write):
            own, resample = judges(config.fcdr, panel), _resampler(config, served, journal)
            flow = await _judge(config, journal, graph, own, reading.samples, stop, resample)
    except STOPPED:
        journal.end("interrupted")
        raise
    except BaseException as error:
        journal.end("failed", f"{type(error).__name__}: {error}"[:2000])
        raise
    _write_refined(out)
    out.seal(ROUND)
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
    stop: StopRequest,
    resample: Resample | None,
) -> Flow:
    texts = journal.folder.texts(ROUND)
    end = End(texts, journal.write)
    seated = {name: own[name] for name in graph.order if name in own}
    agents = {
        **asked_twice(seated, config, journal.write),
        "regenerator": Regenerator(resample, order=config.fcdr.regenerate, max_attempts=config.fcdr.max_attempts),
        "trainer": Keeper(end),
        "dead_letter": DeadLetter(end),
    }
    bus = make_bus(graph, agents, config.fcdr, journal.observe)
    async with journal.heartbeat():
        with journal.phase(ROUND, "sample", todo=len(samples)), stop.calling(bus.stop):
            examiner = Examiner(config, journal.write, stop)
            await examiner.examine(seated, [sample.task for sample in samples], len(samples), ROUND, texts)
            flow = await bus.drain(_of_round(samples))
    if flow.stopped:
        raise Interrupted
    return flow


def _resampler(config: Config, served: EndpointSampler | None, journal: Journal) -> Resample | None:
    """Endpoints that answer anew what a judge sent back; no model of our own is asked here."""
    if served is None:
        return None
    account = Account(served.pool.purse, "regenerator", journal.write)
    policy = served_policy(config, served, None, partial(account.tell, ROUND))
    return Generator(policy, journal.folder.texts(ROUND), 1).resample


def _of_round(samples: Iterable[Sample]) -> Iterator[Sample]:
    return (changed(sample, round=ROUND) for sample in samples)


def _write_refined(out: RunFolder) -> None:
    texts = out.texts(ROUND)
    kept = [sample for kind in ("kept", "text") for sample in texts.get(kind)]
    write_sharegpt(out.path / "refined-sharegpt.json", kept)
    write_xlam(out.path / "refined-xlam.jsonl", kept)
