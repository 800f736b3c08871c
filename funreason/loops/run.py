"""A whole run: measure the start, warm up, play the rounds.

`start_run` makes the folder, `go_on` takes up an old one; both end in `play`, which skips what the record says is
done. Whatever ends a run, its last event says how.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from funreason.agents.messages import Accepted
from funreason.config import Config, check_config, dump_config
from funreason.loops.building import build_world
from funreason.loops.control import Doorbell
from funreason.loops.interrupt import Interrupted, StopRequest
from funreason.loops.journal import Journal
from funreason.loops.round import play_round
from funreason.loops.world import World
from funreason.record.events import Noted, RoundEnded, RunStarted
from funreason.record.folder import RecordError, RunFolder
from funreason.record.state import State

START = 0
"""The round in which the start is measured and the warm-up happens."""


def new_run(config: Config) -> RunFolder:
    """A fresh folder for a run; RecordError when its name is taken."""
    name = config.name or time.strftime("%Y%m%d-%H%M%S")
    folder = RunFolder(config.run_dir / name)
    if (folder.path / "run.json").exists():
        raise RecordError(f"{folder.path} holds a run already. Go on with `--resume {name}` or choose another name.")
    folder.path.mkdir(parents=True, exist_ok=True)
    (folder.path / "config.yaml").write_text(dump_config(config))
    return folder


def config_of(folder: RunFolder) -> Config:
    """The configuration a run was started with."""
    import yaml

    path = folder.path / "config.yaml"
    if not path.exists():
        raise RecordError(f"{folder.path} has no config.yaml, so the run cannot be taken up again")
    return check_config(yaml.safe_load(path.read_text()), str(path))


async def play(config: Config, folder: RunFolder, stop: StopRequest) -> State:
    """Play a run from where its record ends to its own end; the final state."""
    past = folder.state()
    folder.claim()
    journal = Journal(folder)
    try:
        async with journal.heartbeat(), Doorbell(folder.path, stop, journal.write):
            await _play(config, folder, journal, stop, past)
    except (Interrupted, KeyboardInterrupt):
        journal.end("interrupted", f"go on with: funreason loop --resume {folder.path}")
        raise
    except BaseException as error:
        if not folder.state().events:  # nothing was begun: a folder with nothing in it would only be in the way
            journal.log.close()
            shutil.rmtree(folder.path)
            raise
        journal.end("failed", f"{type(error).__name__}: {error}"[:2000])
        raise
    state = folder.state()
    journal.end("finished" if promoted(state) else "refused")
    return folder.state()


def promoted(state: State) -> bool:
    """Whether any round's weights were promoted."""
    return any(r.gate is not None and r.gate.decision == "promote" for r in state.rounds.values())


async def _play(config: Config, folder: RunFolder, journal: Journal, stop: StopRequest, past: State) -> None:
    world = build_world(config, folder, journal, stop, past)
    journal.write(
        RunStarted(
            run=folder.name,
            rounds=config.rounds,
            seed=config.seed,
            nodes=list(world.graph.order),
            resumed=bool(past.events),
            base_weights=world.base.weights_id,
            edges=[(e.source, e.outcome, e.target) for e in world.graph.edges if not e.signal],
        )
    )
    if not past.events:
        for refusal in world.pool.refusals:
            journal.refuse(refusal)
        if world.pool.summary:
            journal.write(Noted(level="warning" if world.pool.refusals else "info", text=world.pool.summary))
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


async def _start(world: World) -> None:
    """Measure the weights of the start; with a warm-up, train on references and let the gate compare."""
    with world.journal.phase(START, "base"):
        await world.evaluator.measure_start(world.base)
    world.stop.check()
    done = world.past.rounds.get(START)
    if done is not None and done.ended:
        world.evaluator.accepted = world.weights(done.weights)
        return
    if world.config.warmup.references is None:
        world.journal.write(world.evaluator.as_start())
    else:
        await _warm_up(world)
    world.journal.write(RoundEnded(round=START, weights=world.accepted.weights_id))


async def _warm_up(world: World) -> None:
    with world.journal.phase(START, "warmup"):
        candidate = await world.warm_up(START)
    with world.journal.phase(START, "gate"):
        await world.evaluator.on_signal("updated", candidate)


def _write_final(folder: RunFolder, accepted: Accepted) -> None:
    """A link to the weights that were accepted last, so nobody has to look up an id."""
    link = folder.path / "model"
    link.unlink(missing_ok=True)
    target = accepted.folder.resolve()
    inside = target.is_relative_to(folder.path.resolve())
    link.symlink_to(Path("weights") / target.name if inside else target)
