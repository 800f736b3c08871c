"""One round: sample, refine, train, gate.

Agents never import this module and never call each other; they answer messages on the bus.
A sample that fails stays in the record as data; only a broken judge stops the round. An update whose loss stays not
finite ends its round with a rollback.
"""

from __future__ import annotations

from funreason.agents.messages import Accepted, Candidate
from funreason.bus.scheduler import Bus
from funreason.loops.interrupt import Interrupted, held_back
from funreason.loops.updating import trained_before
from funreason.loops.world import World
from funreason.models.errors import BrokenWeights
from funreason.record.events import RoundEnded
from funreason.record.types import Sample
from funreason.training.types import NotFinite


async def play_round(world: World, k: int) -> Accepted:
    """Play round `k` from the weights accepted so far; the answer is which weights to go on with."""
    seeds = world.seeds(k)
    bus = world.bus(k)
    await sample_and_refine(world, bus, seeds, k)
    try:
        accepted = await gate(world, bus, await train(world, bus, k))
    except (NotFinite, BrokenWeights) as error:  # the update broke the weights: the round is lost, not the run
        accepted = await world.evaluator.refuse(k, f"the update failed: {error}")
    world.finish_round(k)
    world.journal.write(RoundEnded(round=k, weights=accepted.weights_id))
    return accepted


async def sample_and_refine(world: World, bus: Bus, seeds: list[Sample], k: int) -> None:
    """Try the judges, then draw answers to every seed and judge them: the bus finishes samples before it draws more."""
    accepted = world.accepted
    with world.journal.phase(k, "sample", todo=len(seeds) * world.samples_per_task):
        # A gate that held, or a run taken up again, leaves other weights in the model than those accepted.
        await world.policy.load(accepted.folder, accepted.weights_id)
        world.warn_of_shared_weights(k)
        await world.examine_judges(k, seeds)
        with world.stop.calling(bus.stop):
            flow = await bus.drain(held_back(seeds, world.stop))
        if flow.stopped:
            raise Interrupted
        world.finish_sampling(k)


async def train(world: World, bus: Bus, k: int) -> Candidate:
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


async def gate(world: World, bus: Bus, candidate: Candidate) -> Accepted:
    """Old and new weights on the same items; the generator goes on with those that are accepted."""
    await world.stop.wait()
    world.stop.check()
    with world.journal.phase(candidate.round, "gate"):
        answer = await bus.signal("evaluator", "updated", candidate)
    accepted: Accepted = answer.payload
    await bus.signal("generator", "gated", accepted)
    return accepted
