"""A round of reinforcement learning (`method: grpo`, `egpo`): small steps, each on samples of the last one's weights.

    prompts ──▶ generator ──▶ reward ──▶ trainer          samples, until all have ended
    generator ──drained──▶ trainer ──more──▶ generator    too few groups with a signal: more prompts for this step
                           trainer ──stepped──▶ generator one optimizer step; sample from its weights
                           trainer ──candidate──▶ evaluator ──accepted──▶ generator     after the last step

All of it travels along the edges of the graph. The recipe draws prompts, waits, and sends the round's message again
until a decision comes back. A resumed round begins with the first step that is not in the record.
"""

from __future__ import annotations

import time

from funreason.loops.session import Session
from funreason.sources.prompt_stream import kind_of
from funreason.types import Decision, Drained, MorePrompts, Stepped, refusal


async def play_steps(session: Session, k: int) -> bool:
    """Play round `k` from the weights accepted so far; False when the source has no task left for it."""
    tasks = session.source.next(k, session.past)
    if tasks is None:
        return False
    settings = session.config.reinforcement
    past = session.past.rounds.get(k)
    done = past.policy if past is not None else None
    drawn = dict(done.prompts) if done is not None else {}
    message = Drained(k, 1 if done is None else done.step + 1, prompts=drawn, stop="" if done is None else done.stop)
    stream, bus = session.prompts(k, tasks), session.bus(k)
    asked, wanted, prepared = 0, settings.prompts_per_step, False
    while True:
        session.stop.check()
        over = message.stop or message.step > settings.steps_per_round or session.weights.trained(k) is not None
        if not over:
            chosen = stream.take(message.prompts, wanted)
            counts = dict(message.prompts)
            for task in chosen:
                counts[kind_of(task)] = counts.get(kind_of(task), 0) + 1
            seeds = session.step_seeds(k, message.step, asked, chosen)
            started = time.perf_counter()
            await session.sample(k, seeds, bus, prompts=sum(counts.values()), prepared=prepared)
            prepared = True
            asked += len(seeds)
            seconds = message.seconds + time.perf_counter() - started
            message = Drained(k, message.step, message.wave, asked, counts, seconds)
        reply = await bus.send("drained", message, session.steps())
        match reply:
            case Decision():
                session.settle(reply)
                return True
            case MorePrompts():
                wanted, stop = reply.prompts, refused_by(reply)
                message = Drained(k, reply.step, reply.wave, asked, message.prompts, message.seconds, stop)
            case Stepped():
                stop = refused_by(reply)
                asked, wanted = 0, settings.prompts_per_step
                message = Drained(k, reply.step + 1, prompts=message.prompts, stop=stop)
            case _:
                raise TypeError(f"the round's message came back as a {type(reply).__name__}.")


def refused_by(reply: MorePrompts | Stepped) -> str:
    """Which agent on the message's way refused it, and why; "" where none did. The round is rolled back then."""
    refused = refusal(reply.verdicts)
    return f"{refused.stage}: {refused.reason or 'refused'}" if refused is not None else ""
