"""One round: sample, refine, train, gate.

Agents never import this module and never call each other; they answer messages on the bus.
A sample that fails stays in the record as data; only a broken judge stops the round. An update whose loss stays not
finite ends its round with a rollback.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from funreason.agents.judges.llm.factory import connected, recording_usage
from funreason.bus.scheduler import Bus
from funreason.config import Config, ConfigError, dump_config, load_config
from funreason.errors import BrokenWeights
from funreason.loops.session import Session, build_session
from funreason.loops.updating import trained_before
from funreason.plan.planning import warn_if_it_will_not_fit
from funreason.record.events import LogMessage, RoundEnded, RunStarted
from funreason.record.folder import RecordError, RunFolder
from funreason.record.manifest import seal_run
from funreason.record.settings import LOOP, resume_command, resuming, settings_file
from funreason.record.state import State
from funreason.runtime.control_server import ControlServer
from funreason.runtime.journal import Journal
from funreason.srml.errors import NotFinite
from funreason.stop import STOPPED, Interrupted, StopRequest, pausable
from funreason.types import Candidate, Sample, Weights


async def play_round(world: Session, k: int) -> Weights:
    """Play round `k` from the weights accepted so far; the answer is which weights to go on with."""
    seeds = world.seeds(k)
    bus = world.bus(k)
    await sample_and_refine(world, bus, seeds, k)
    try:
        accepted = await gate(world, bus, await train(world, bus, k))
    except (NotFinite, BrokenWeights) as error:  # the update broke the weights: the round is lost, not the run
        accepted = await world.evaluator.refuse(k, f"the update failed: {error}")
    world.finish_round(k)
    world.journal.write(RoundEnded(round=k, weights=accepted.id))
    return accepted


async def sample_and_refine(world: Session, bus: Bus, seeds: list[Sample], k: int) -> None:
    """Try the judges, then draw answers to every seed and judge them: the bus finishes samples before it draws more."""
    accepted = world.accepted
    with world.journal.phase(k, "sample", todo=len(seeds) * world.samples_per_task):
        # A gate that held, or a run taken up again, leaves other weights in the model than those accepted.
        await world.policy.load(accepted)
        world.warn_of_shared_weights(k)
        await world.examine_judges(k, seeds)
        with world.stop.calling(bus.stop):
            flow = await bus.drain(pausable(seeds, world.stop))
        if flow.stopped:
            raise Interrupted
        world.finish_sampling(k)


async def train(world: Session, bus: Bus, k: int) -> Candidate:
    """Nothing is in flight any more: the trainer learns from what it was handed."""
    await world.stop.wait()
    world.stop.check()
    done = trained_before(world.past, k, world.journal.folder.weights)
    if done is not None:
        return done
    with world.journal.phase(k, "train"):
        answer = await bus.signal("trainer", "drained", k)
    candidate: Candidate = answer.payload
    return candidate


async def gate(world: Session, bus: Bus, candidate: Candidate) -> Weights:
    """Old and new weights on the same items; the generator goes on with those that are accepted."""
    await world.stop.wait()
    world.stop.check()
    with world.journal.phase(candidate.round, "gate"):
        answer = await bus.signal("evaluator", "updated", candidate)
    accepted: Weights = answer.payload
    await bus.signal("generator", "gated", accepted)
    return accepted


# A whole run: measure the start, warm up, play the rounds.
#
# `new_run` makes the folder, `play` plays it from where its record ends and skips what the record says is done.
# Whatever ends a run, its last event says how; a run that could not begin leaves nothing behind, and nothing that it
# did not make is ever removed.

START = 0
"""The round in which the start is measured and the warm-up happens."""


def new_run(config: Config) -> RunFolder:
    """A fresh folder for a run. ConfigError when its name is none for a folder, RecordError when it is taken."""
    folder = _named(config.run_dir, config.name) if config.name is not None else _dated(config.run_dir)
    (folder.path / LOOP).write_text(dump_config(config))
    return folder


def _named(runs: Path, name: str) -> RunFolder:
    if name in ("", ".", "..") or {"/", "\\", "\0"} & set(name):
        raise ConfigError(f"name is {name!r}: a run's name is that of one folder. Where it lies, --run-dir says.")
    folder = RunFolder(runs / name)
    try:
        folder.path.mkdir(parents=True)
    except FileExistsError:
        raise RecordError(_taken(folder)) from None
    return folder


def _dated(runs: Path) -> RunFolder:
    now, number = time.strftime("%Y%m%d-%H%M%S"), 1
    while True:
        folder = RunFolder(runs / (now if number == 1 else f"{now}-{number}"))
        try:
            folder.path.mkdir(parents=True)
            return folder
        except FileExistsError:  # another run began within the same second
            number += 1


def _taken(folder: RunFolder) -> str:
    if (folder.path / "run.json").exists():
        return f"{folder.path} holds a run already. Go on with `--resume {folder.path}` or choose another name."
    return f"{folder.path} exists already and is no run. Choose another name; nothing in it was touched."


def config_of(folder: RunFolder, changes: dict[str, Any] | None = None) -> Config:
    """The configuration a run was started with; `changes` maps dotted keys to what they are now."""
    path = folder.path / LOOP
    if settings_file(folder) not in (None, path):
        raise RecordError(f"{folder.path} is no loop's run but was written by `refine`; go on with: {resuming(folder)}")
    if not path.exists():
        raise RecordError(f"{folder.path} has no {LOOP}, so the run cannot be taken up again")
    return load_config(path, changes)


async def play(config: Config, folder: RunFolder, stop: StopRequest, *, resume: bool = False) -> State:
    """Play a run from where its record ends to its own end; the final state.

    With `resume`, a writer that has been silent for long is taken to be dead. RecordError names one that is not.
    """
    last_heartbeat_at = folder.last_heartbeat_at()
    dead = folder.claim(take_over=resume)
    folder.sweep()
    past = folder.state()
    journal = Journal(folder)
    stop.on_leave(lambda: journal.end("interrupted", resume_command(folder)))
    try:
        async with journal.heartbeat(), ControlServer(folder.path, stop, journal.write):
            if dead is not None:
                journal.taken_over(dead)
            await _play(config, folder, journal, stop, past, last_heartbeat_at)
    except STOPPED:
        journal.end("interrupted", resume_command(folder))
        raise
    except BaseException as error:
        if not resume and not folder.state().events:
            _remove(folder, journal)
        else:
            journal.end("failed", f"{type(error).__name__}: {error}"[:2000])
        raise
    journal.end("finished" if promoted(folder.state()) else "refused")
    seal_run(folder, ended=True)
    return folder.state()


def promoted(state: State) -> bool:
    """Whether any round's weights were promoted; what the warm-up gained is none of theirs."""
    return any(k > START and r.gate is not None and r.gate.decision == "promote" for k, r in state.rounds.items())


def _remove(folder: RunFolder, journal: Journal) -> None:
    """Take back what a run that never began has made: an empty run would only be in the way."""
    journal.abandon()
    shutil.rmtree(folder.gate_items, ignore_errors=True)
    for name in ("run.json", LOOP):
        (folder.path / name).unlink(missing_ok=True)
    for path in (folder.events, folder.path):
        if not any(path.iterdir()):
            path.rmdir()


async def _play(
    config: Config, folder: RunFolder, journal: Journal, stop: StopRequest, past: State, last_heartbeat_at: float
) -> None:
    world = build_session(config, folder, journal, stop, past)
    async with connected(world.panel, stop):
        with recording_usage(world.panel, journal.write):
            await _play_world(world, folder, past, last_heartbeat_at)


async def _play_world(world: Session, folder: RunFolder, past: State, last_heartbeat_at: float) -> None:
    config, journal, stop = world.config, world.journal, world.stop
    journal.write(_started(world, folder, past, last_heartbeat_at))
    world.policy.on_sync(journal.synced)
    for problem in warn_if_it_will_not_fit(config):
        journal.write(LogMessage(level="warning", text=f"the plan says: {problem}"))
    if not past.tasks_read:
        journal.read(world.pool.refusals, world.pool.summary)
    stop.check()
    await _start(world)
    for k in range(1, config.rounds + 1):
        stop.check()
        done = past.rounds.get(k)
        if done is not None and done.ended:
            world.evaluator.accepted = world.weights(done.weights)
            continue
        await play_round(world, k)
        if stop.after_round and k < config.rounds:
            raise Interrupted
    _write_final(folder, world.accepted)


def _started(world: Session, folder: RunFolder, past: State, last_heartbeat_at: float) -> RunStarted:
    return RunStarted(
        run=folder.name,
        rounds=world.config.rounds,
        seed=world.config.seed,
        nodes=list(world.graph.order),
        resumed=bool(past.events),
        base_weights=world.base.id,
        edges=[(e.source, e.outcome, e.target) for e in world.graph.edges if not e.signal],
        last_heartbeat_at=last_heartbeat_at if past.events else 0.0,
    )


async def _start(world: Session) -> None:
    """Everything before the first round; guards are held to what stands after it."""
    await _measure_and_warm_up(world)
    await world.evaluator.set_baseline(world.accepted)


async def _measure_and_warm_up(world: Session) -> None:
    """Measure the weights of the start; with a warm-up, train on references and let the gate compare."""
    with world.journal.phase(START, "base"):
        await world.evaluator.set_baseline(world.base)
    world.stop.check()
    done = world.past.rounds.get(START)
    if done is not None and done.ended:
        world.evaluator.accepted = world.weights(done.weights)
        return
    if world.config.warmup.references is None:
        world.journal.write(world.evaluator.baseline_event())
    else:
        await _warm_up(world)
    shutil.rmtree(world.journal.folder.checkpoint(START), ignore_errors=True)
    world.journal.write(RoundEnded(round=START, weights=world.accepted.id))


async def _warm_up(world: Session) -> None:
    candidate = trained_before(world.past, START, world.journal.folder.weights)
    if candidate is None:
        with world.journal.phase(START, "warmup"):
            candidate = await world.warm_up(START)
    world.stop.check()
    with world.journal.phase(START, "gate"):
        await world.evaluator.on_signal("updated", candidate)


def _write_final(folder: RunFolder, accepted: Weights) -> None:
    """A link to the weights that were accepted last, so nobody has to look up an id."""
    target = accepted.folder.resolve()
    inside = target.is_relative_to(folder.path.resolve())
    link = folder.path / ".model.new"
    link.symlink_to(Path("weights") / target.name if inside else target)
    link.replace(folder.path / "model")
