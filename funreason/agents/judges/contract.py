"""The contract test of a judge: what the bus and the record rely on, tried on ordinary and on adversarial samples.

It asks the judge itself, outside any run, so it says nothing about whether the verdicts are right: canaries do that
(`docs/judges.md`). A judge that keeps the contract cannot stop a run, hang it, or change another judge's sample.

`EventLoopGuard` times how long the judge blocks the event loop between two awaits, and interrupts it past a limit. A
step that sleeps or computes blocks every other agent of the run, and asyncio's timeouts cannot interrupt it. SIGALRM
can, but only in the main thread, and not inside C code that does not check for signals.
"""

from __future__ import annotations

import asyncio
import copy
import resource
import signal
import statistics
import threading
import traceback
from collections import Counter
from collections.abc import Coroutine, Generator, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from time import perf_counter, thread_time
from types import FrameType
from typing import Any, Literal, NamedTuple

from funreason.agents.judges.adversarial_samples import adversarial_samples
from funreason.agents.judges.custom import declared, is_broken_off
from funreason.agents.judges.rules.verdicts import outcomes_of
from funreason.agents.references import reference_sample
from funreason.data.toolbox import generate
from funreason.types import Sample

_THREAD: int = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


class EventLoopBlocked(BaseException):
    """A step blocked the event loop for too long. A BaseException, so that no `except Exception` catches it."""


class EventLoopGuard:
    """Awaits an agent's answer. Then `longest_s` is its longest step, `took_s` the total with waiting (seconds)."""

    def __init__(self, answer: Coroutine[Any, Any, Any], limit_s: float) -> None:
        self.longest_s = 0.0
        self.took_s = 0.0
        self._answer = answer
        self._limit_s = limit_s

    def __await__(self) -> Generator[Any, Any, Any]:
        began, fault = perf_counter(), None
        while True:
            started = _Moment.now()
            try:
                with _alarm(self._limit_s):
                    found = self._answer.send(None) if fault is None else self._answer.throw(fault)
            except StopIteration as end:
                return end.value
            finally:
                self.took_s = perf_counter() - began
                self.longest_s = max(self.longest_s, started.held_s())
            try:
                fault = None
                yield found
            except BaseException as thrown:  # passed on to the agent, as is a cancellation
                fault = thrown


class _Moment(NamedTuple):
    """A reading of this thread's clocks."""

    wall_s: float
    cpu_s: float
    waits: int

    @classmethod
    def now(cls) -> _Moment:
        return cls(perf_counter(), thread_time(), resource.getrusage(_THREAD).ru_nvcsw)

    def held_s(self) -> float:
        """Seconds since this reading: wall time if the thread waited for something, else its CPU time.

        On a busy machine, wall time would charge a step that only computes for the work of other processes.
        """
        now = _Moment.now()
        return now.wall_s - self.wall_s if now.waits > self.waits else now.cpu_s - self.cpu_s


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _ring(number: int, frame: FrameType | None) -> None:
    raise EventLoopBlocked


ORDINARY = 40
"""Reference answers of the embedded domain, in all its categories."""
HOLDS_S = 0.25
"""The longest step a judge may take: a sample of a megabyte may be read, nothing may be waited for."""
LIMIT_S = 10.0
"""How long one judgement may take; an agent that asks a model needs seconds. The first that is late ends the test."""
BUDGET_S = 60.0
"""How long samples are put to a slow judge; those left over are not asked, and the report says so."""
TRIES = 3
"""How often a step that was too long is tried again: it may have waited for a page."""
TIMED = 10
"""How often each ordinary sample is judged for the speed."""
SHOWN = 3
"""Of samples with a fault, how many are named."""

Sign = Literal["kept", "broken", "reported"]


class Trial(NamedTuple):
    """One judgement: an answer, or the fault in its place; `took_s` includes waiting, `held_s` is its longest step."""

    sample: Sample
    answer: Any
    fault: str
    took_s: float
    held_s: float
    changed: bool
    late: bool


async def probe(agent: Any, sample: Sample, limit_s: float) -> Trial:
    """Ask `agent` for a verdict on `sample` within `limit_s` seconds.

    Whatever it raises is its fault, Ctrl-C is not.
    """
    before, answer, fault, cut, timed = copy.deepcopy(sample), None, "", False, None
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            timed = EventLoopGuard(agent(sample), limit_s)
            answer = await timed
    except KeyboardInterrupt:
        raise
    except EventLoopBlocked:
        fault, cut = f"held the event loop for {limit_s:.0f} s", True
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and is_broken_off():
            raise
        fault = "".join(traceback.format_exception(error)[-2:]).strip()
    if limit.expired():  # whatever it did when it was cancelled
        fault, cut = f"no answer within {limit_s:.0f} s", True
    took_s, held_s = (timed.took_s, timed.longest_s) if timed is not None else (0.0, 0.0)
    outcomes = outcomes_of(answer)
    wrong = [outcome for outcome in outcomes or () if not isinstance(outcome, str)]
    if not fault and outcomes is None:
        fault = f"answered with {type(answer).__name__}; expected a Verdict, a word, an Emit or a list of Emit"
    elif not fault and wrong:
        fault = f"answered with the outcome {wrong[0]!r}, which is no word"
    return Trial(sample, answer, fault, took_s, held_s, sample != before, cut)


class Clause(NamedTuple):
    """One clause of the contract: kept, broken, or only `reported`."""

    name: str
    sign: Sign
    said: str


async def clauses(agent: Any, outcomes: Iterable[str] = ()) -> list[Clause]:
    """Every clause, tried on `agent`, which has passed `load_agent`.

    `outcomes` are words it may answer beyond the usual ones and those that it declares itself.
    """
    ordinary = [reference_sample(task, f"ordinary/{task.id}") for task in generate("new_dev", ORDINARY, 0)]
    samples = [*ordinary, *adversarial_samples()]
    first = await _ask_all(agent, samples)
    # In another order: an agent that counts its calls must not look deterministic.
    second = await _ask_all(agent, [asked.sample for asked in reversed(first) if not asked.fault])
    timed: list[Trial] = []
    until = perf_counter() + LIMIT_S
    for sample in [asked.sample for asked in first[:ORDINARY] if not asked.fault] * TIMED:
        timed.append(await probe(agent, sample, LIMIT_S))
        if timed[-1].fault or perf_counter() > until:
            break
    return [
        _answers(first, [*second, *timed], len(samples)),
        _outcomes(declared(agent) | {*outcomes}, first),
        _determinism(agent, first, second),
        await _loop(agent, first),
        _untouched(first),
        _speed(timed),
    ]


def broken(found: Sequence[Clause]) -> bool:
    """Whether any clause is broken."""
    return any(clause.sign == "broken" for clause in found)


async def _ask_all(agent: Any, samples: Sequence[Sample]) -> list[Trial]:
    """The samples one by one, until the judge is late once or the time is over."""
    asked: list[Trial] = []
    until = perf_counter() + BUDGET_S
    for sample in samples:
        asked.append(await probe(agent, sample, LIMIT_S))
        if asked[-1].late or perf_counter() > until:
            break
    return asked


def _answers(asked: Sequence[Trial], again: Sequence[Trial], wanted: int) -> Clause:
    faults = [f"{each.sample.id}: {each.fault}" for each in asked if each.fault]
    faults += [f"{each.sample.id}, asked again: {each.fault}" for each in again if each.fault]
    most = f"{len(asked)} of {wanted} samples asked" if len(asked) < wanted else f"all {wanted} samples asked"
    if not faults:
        return Clause("answers", "kept", f"{most}, nasty ones too, and none without an answer")
    return Clause("answers", "broken", _some(f"{most}, {len(faults)} without a usable answer", faults))


def _outcomes(known: Set[str], asked: Sequence[Trial]) -> Clause:
    counts = Counter[str]()
    for each in asked:
        counts.update([] if each.fault else map(str, outcomes_of(each.answer) or []))
    said = ", ".join(f"{word} {count}" for word, count in counts.most_common()) or "none"
    unknown = sorted(set(counts) - known)
    if not unknown:
        return Clause("outcomes", "kept", f"{said}; declared: {', '.join(sorted(known))}")
    said += f". Not declared: {', '.join(unknown)}. Give the agent the attribute `outcomes = {tuple(unknown)}`, and "
    return Clause("outcomes", "broken", f"{said}its entry in agents a node for each")


def _determinism(agent: Any, first: Sequence[Trial], second: Sequence[Trial]) -> Clause:
    again = {each.sample.id: each for each in second}
    pairs = [(one, again[one.sample.id]) for one in first if one.sample.id in again]
    differ = [one.sample.id for one, two in pairs if two.fault or one.answer != two.answer]
    promised = getattr(agent, "deterministic", False)
    said = f"asked twice, {len(differ)} of {len(second)} answers differ" if second else "there was no answer to compare"
    if not promised:
        return Clause("deterministic", "reported", f"not promised, as `deterministic = True` would; {said}")
    return Clause("deterministic", "broken", _some(said, differ)) if differ else Clause("deterministic", "kept", said)


async def _loop(agent: Any, asked: Sequence[Trial]) -> Clause:
    held = {each.sample.id: each.held_s for each in asked}
    for each in asked:
        last = each
        for _ in range(TRIES):
            if last.late or held[each.sample.id] <= HOLDS_S:
                break
            last = await probe(agent, each.sample, LIMIT_S)
            held[each.sample.id] = min(held[each.sample.id], last.held_s)
        if last.late:  # one that no longer answers would take the limit with each sample to come
            break
    name = max(held, key=lambda name: held[name])
    said = f"held for {1000 * held[name]:.1f} ms at most, by {name}; the limit is {1000 * HOLDS_S:.0f} ms"
    if held[name] <= HOLDS_S:
        return Clause("event loop", "kept", said)
    return Clause("event loop", "broken", f"{said}. Put blocking work into `await asyncio.to_thread(...)`")


def _untouched(asked: Sequence[Trial]) -> Clause:
    touched = [each.sample.id for each in asked if each.changed]
    if not touched:
        return Clause("samples", "kept", "left as they were")
    return Clause("samples", "broken", _some(f"{len(touched)} were changed in place; answer with an Emit", touched))


def _speed(timed: Sequence[Trial]) -> Clause:
    times = [each.took_s for each in timed if not each.fault]
    if not times:
        return Clause("speed", "reported", "no ordinary sample got an answer")
    return Clause(
        "speed", "reported", f"{1e6 * statistics.median(times):,.1f} µs per judgement (median of {len(times)})"
    )


def _some(said: str, faults: Sequence[str]) -> str:
    more = f"\n… and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return f"{said}:\n" + "\n".join(faults[:SHOWN]) + more
