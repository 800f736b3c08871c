"""The self-refinement loop: sample, refine, train, gate, and again.

One round is `play_round`: tasks go onto the bus, and when every sample has ended, the round's own message travels the
same graph: drained → trainer → candidate → evaluator → accepted → generator. The recipe starts the bus, waits and
records; it names no agent. A sample that fails stays in the record as data; only a broken judge stops a round.

`new_run` makes a run's folder; `play` plays it from where its record ends. However a run ends, its last event says how;
a run that could not begin leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from funreason.agents.approval import NO, POLL_S, YES, TerminalQuestion
from funreason.agents.judges.llm.factory import connected, recording_usage
from funreason.config import Config, ConfigError, dump_config, load_config
from funreason.display.diagnosis import diagnose
from funreason.display.progress import terminal_lent
from funreason.errors import NothingToLearn
from funreason.loops.reward_round import play_steps
from funreason.loops.session import Session, inputs_of, open_session
from funreason.plan.planning import warn_if_it_will_not_fit
from funreason.record.events import LogMessage, RoundEnded, RunStarted
from funreason.record.folder import (
    LOOP,
    MODEL_LINK,
    RecordError,
    RunFolder,
    begin_run,
    command_to_resume,
    readable_settings,
    resume_hint,
    settings_file,
)
from funreason.record.integrity import MARKS, require_settings_unchanged, was_moved
from funreason.record.log import LogReader
from funreason.record.manifest import require_unchanged
from funreason.record.state import State
from funreason.runtime.control_server import ControlServer
from funreason.runtime.journal import Journal
from funreason.runtime.machine import GpuUsage, described
from funreason.stop import STOPPED, Interrupted, StopRequest
from funreason.types import Drained, Weights
from funreason.weights import START


async def play_session(session: Session) -> None:
    """The start, then the rounds; what the record says is done is skipped."""
    await supervised_start(session)
    planned = session.config.planned_rounds
    for k in range(1, planned + 1):
        session.stop.check()
        if session.played(k):
            continue
        play_one = play_steps if session.config.learns_from_rewards else play_round
        if not await play_one(session, k):
            break
        await session.stop.round_over(k)
        if k < planned:
            if session.stop.after_round:
                raise Interrupted
            session.stop.check()
            if not session.learned and not session.config.resamples_hard_tasks:
                await ask_to_continue(session, k)
    session.say_why_over()


async def supervised_start(session: Session) -> None:
    """Measure the weights of the start; where there are references to learn, train on them and let the gate decide."""
    done, trains = session.played(START), session.config.start.references is not None
    if done:  # read from the earlier measurement, which is no phase of the run
        await session.learner.evaluator.measure_base(as_start=False, warn=False)
        session.stop.check()
        return
    with session.journal.phase(START, "base"):
        await session.learner.evaluator.measure_base(as_start=not trains)
    session.stop.check()
    if trains:
        bus, seeds = session.bus(START), session.teacher_seeds()
        if seeds:
            await session.sample(START, seeds, bus, prompts=len(seeds))
        session.settle(await bus.send("drained", Drained(START), session.steps()))
    else:
        base = session.weights.base
        session.journal.write(RoundEnded(round=START, weights=base.id))
        session.weights.start = base


async def play_round(session: Session, k: int) -> bool:
    """Play round `k` from the weights accepted so far; False when the source has no task left for it."""
    tasks = session.draw(k)
    if tasks is None:
        return False
    seeds, bus = session.seeds(k, tasks), session.bus(k)
    await session.sample(k, seeds, bus, prompts=len(seeds))
    session.settle(await bus.send("drained", Drained(k), session.steps()))
    return True


async def ask_to_continue(session: Session, k: int) -> None:
    """After a round that trained nothing: ask on the terminal whether to play the next one.

    NothingToLearn where the answer is no, or where there is no terminal. A resumed run plays the next round unasked.
    """
    folder = session.journal.folder
    if session.config.when_nothing_learned == "continue":
        return
    found = diagnose(folder.state(), readable_settings(folder), str(folder.path))
    why = next((str(f) for f in found if f.stops and f.round == k), f"Round {k} had nothing to learn.")
    if sys.stdin.isatty() and sys.stderr.isatty():
        with terminal_lent(), closing(TerminalQuestion(f"{why}\nPlay round {k + 1} all the same? [y/n] ")) as asked:
            while asked.answer not in (*YES, *NO) and not asked.over:
                session.stop.check()
                await asyncio.sleep(POLL_S)
        if asked.answer in YES:
            return
    raise NothingToLearn(
        f"{why} The run stopped before round {k + 1}. Start a new run with other settings, or play that round all the "
        f"same: {command_to_resume(folder)}"
    )


async def play(
    config: Config, folder: RunFolder, stop: StopRequest, *, resume: bool = False, allow_code_execution: bool = False
) -> State:
    """Play a run from where its record ends to its own end; the final state.

    With `resume`, a writer that has been silent for long is taken to be dead. RecordError names one that is not.
    `allow_code_execution` lets the gate run programs that the model writes, in a sandbox; no configuration can.
    """
    last_heartbeat_at = folder.last_heartbeat()
    dead = folder.acquire(take_over=resume)
    folder.clean_up()
    inputs = inputs_of(config)
    moved_from = was_moved(folder)
    if resume:
        _require_unchanged(folder, inputs)
    past = folder.state()
    journal = Journal(folder, inputs)
    journal.gpus = GpuUsage() if config.model.device != "cpu" else None
    journal.marks.take()
    stop.on_leave(lambda: journal.end("interrupted", resume_hint(folder)))
    try:
        async with journal.heartbeat(), ControlServer(folder.path, stop, journal.write):
            if dead is not None:
                journal.taken_over(dead)
            journal.moved(moved_from)
            session = open_session(config, folder, journal, stop, past, allow_code_execution=allow_code_execution)
            async with connected(session.panel, stop):
                with recording_usage(session.panel, journal.write):
                    _require_same_base(folder, session)
                    _announce(session, past, last_heartbeat_at)
                    await play_session(session)
                    _link_model(folder, session.weights.accepted)
    except STOPPED:
        journal.end("interrupted", resume_hint(folder))
        raise
    except NothingToLearn as error:
        journal.end("interrupted", str(error).partition(". ")[0][:2000])
        raise
    except BaseException as error:
        if not resume and not folder.state().events:
            _remove(folder, journal)
        else:
            journal.end("failed", f"{type(error).__name__}: {error}"[:2000])
        raise
    journal.end("finished" if promoted(folder.state()) else "refused")
    return folder.state()


def _require_unchanged(folder: RunFolder, inputs: Mapping[str, Path]) -> None:
    try:
        require_unchanged(folder, inputs)
    except RecordError:
        folder.heartbeat("failed")
        raise


def _require_same_base(folder: RunFolder, session: Session) -> None:
    """Raise RecordError when the run began with other weights than those that its configuration leads to now."""
    events = LogReader(folder.events).events()
    began = next((event.base_weights for event in events if isinstance(event, RunStarted)), "")
    now = session.weights.base.id
    if began and began != now:
        raise RecordError(
            f"{folder.path} began with the weights {began}, and {session.config.model.path} holds {now} now. Put that "
            "model back as it was, or start a new run."
        )


def _announce(session: Session, past: State, last_heartbeat_at: float) -> None:
    """The run's first events: its graph, what the plan warns of, and which records never became a task."""
    config, journal = session.config, session.journal
    journal.write(
        RunStarted(
            run=journal.folder.name,
            rounds=config.planned_rounds,
            seed=config.seed,
            nodes=list(session.graph.order),
            resumed=bool(past.events),
            base_weights=session.weights.base.id,
            edges=[(e.source, e.outcome, e.target) for e in session.graph.edges if not e.per_round],
            round_edges=[(e.source, e.outcome, e.target) for e in session.graph.edges if e.per_round],
            last_heartbeat_at=last_heartbeat_at if past.events else 0.0,
        )
    )
    journal.write(described())
    session.learner.policy.on_sync(journal.synced)
    for problem in warn_if_it_will_not_fit(config):
        journal.write(LogMessage(level="warning", text=f"the plan says: {problem}"))
    if not past.tasks_read:
        for note in session.notes:
            journal.write(LogMessage(level="info", text=note))
        journal.read(session.source.refusals, session.source.summary, session.source.left)
    session.stop.check()


def promoted(state: State) -> bool:
    """Whether any round was promoted. The supervised start does not count."""
    return any(k > START and r.gate is not None and r.gate.decision == "promote" for k, r in state.rounds.items())


def new_run(config: Config) -> RunFolder:
    """A fresh folder for a run. ConfigError when its name cannot name a folder, RecordError when it is taken."""
    if config.name is None:
        return _dated(config)
    if config.name in ("", ".", "..") or {"/", "\\", "\0"} & set(config.name):
        raise ConfigError(
            f"name is {config.name!r}: it must be a single folder name, not a path. "
            "Use --run-dir for the parent folder."
        )
    folder = RunFolder(config.run_dir / config.name)
    try:
        begin_run(folder, dump_config(config))
    except FileExistsError:
        if (folder.path / "run.json").exists():
            text = f"holds a run already. Resume it with `--resume {folder.path}`, or choose another name."
        else:
            text = "exists already and is not a run. Choose another name; nothing in it was touched."
        raise RecordError(f"{folder.path} {text}") from None
    return folder


def _dated(config: Config) -> RunFolder:
    now, number = time.strftime("%Y%m%d-%H%M%S"), 1
    while True:
        folder = RunFolder(config.run_dir / (now if number == 1 else f"{now}-{number}"))
        try:
            begin_run(folder, dump_config(config))
            return folder
        except FileExistsError:  # another run began within the same second
            number += 1


def config_of(folder: RunFolder, changes: dict[str, Any] | None = None) -> Config:
    """The configuration a run was started with; `changes` maps dotted keys to what they are now."""
    path = folder.path / LOOP
    if settings_file(folder) not in (None, path):
        raise RecordError(
            f"{folder.path} was written by `refine`, not by a loop; resume it with: {command_to_resume(folder)}"
        )
    if not path.exists():
        raise RecordError(f"{folder.path} has no {LOOP}, so the run cannot be resumed")
    require_settings_unchanged(folder)
    return load_config(path, changes)


def _remove(folder: RunFolder, journal: Journal) -> None:
    """Remove what a run that never began has made: an empty run would only be in the way."""
    journal.abandon()
    folder.release()
    shutil.rmtree(folder.gate_items, ignore_errors=True)
    for name in ("run.json", LOOP, MARKS):
        (folder.path / name).unlink(missing_ok=True)
    for path in (folder.events, folder.path):
        if not any(path.iterdir()):
            path.rmdir()


def _link_model(folder: RunFolder, accepted: Weights) -> None:
    """A link `model` to the weights accepted last, so that no one has to look up an id."""
    target = accepted.folder.resolve()
    inside = target.is_relative_to(folder.path.resolve())
    link = folder.path / f".{MODEL_LINK}.new"
    link.symlink_to(Path("weights") / target.name if inside else target)
    link.replace(folder.path / MODEL_LINK)
