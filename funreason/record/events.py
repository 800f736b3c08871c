"""The event kinds: one line of what happened, each a typed struct.

An event carries ids and numbers, never prompts or completions: those are in the round's text files.
A log written by a newer version may hold kinds that are not here; `decode_event` gives None for them
and the reducer counts them, so an old reader never fails on a new run.
"""

from __future__ import annotations

import re

import msgspec


class Event(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    tag_field="kind",
    tag=lambda name: re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(),
    kw_only=True,
):
    """What every event has: `at`, seconds since the epoch."""

    at: float = 0.0


class RunStarted(Event, frozen=True):
    """A run was started, or `resumed`.

    `edges` and `round_edges` are (source, outcome, target) of its graph. `last_heartbeat_at` is the last sign of life
    of the process before, in seconds since the epoch: a killed one could not log when it ended.
    """

    run: str
    rounds: int
    seed: int = 0
    nodes: list[str] = []
    resumed: bool = False
    base_weights: str = ""
    edges: list[tuple[str, str, str]] = []
    round_edges: list[tuple[str, str, str]] = []
    last_heartbeat_at: float = 0.0


class MachineDescribed(Event, frozen=True):
    """Where and how a process of the run was started: its command, package versions, processor, memory and GPUs."""

    command: str = ""
    versions: dict[str, str] = {}
    cpu: str = ""
    cores: int = 0
    memory_gb: float = 0.0
    gpus: list[str] = []


class PhaseStarted(Event, frozen=True):
    """A phase of a round began: `base`, `start`, `sample`, `train`, `gate`. Several may be open at once.

    `id` names this one among the open ones; its `PhaseEnded` repeats it. `todo` is how many items it has, when known.
    """

    round: int
    phase: str
    id: str = ""
    todo: int = 0


class PhaseEnded(Event, frozen=True):
    """The phase with this `id` ended after `seconds` of wall time. A killed process leaves its phases without one."""

    round: int
    phase: str
    seconds: float
    id: str = ""


class GpuUsed(Event, frozen=True):
    """How busy the GPUs were in a phase: the mean over all of them and over `readings`, from 0 to 1.

    `memory_gb` is the largest amount of memory in use on one of them.
    """

    round: int
    phase: str
    busy: float
    memory_gb: float = 0.0
    readings: int = 1


class TaskRefused(Event, frozen=True):
    """An input record that cannot become a task. `where` is a line number or an id."""

    where: str
    reason: str
    message: str = ""
    round: int = 0


class TasksRead(Event, frozen=True):
    """The tasks of the run were read: every TaskRefused of them comes before this line, so none is pending.

    `left` counts, by code, what records hold and no task carries.
    """

    refused: int = 0
    left: dict[str, int] = {}


class ContaminationChecked(Event, frozen=True):
    """How many of a round's training tasks, replayed ones too, are also in the gate, and whether they were left out.

    `tools` counts tasks that offer the functions of a benchmark, whatever they ask.
    """

    round: int
    exact: int
    near: int
    dropped: bool
    tools: int = 0


class Judged(Event, frozen=True, gc=False):
    """A node answered one message. The commonest event by far: keep it small."""

    round: int
    sample: str
    attempt: int
    node: str
    outcome: str
    reason: str = ""
    us: float = 0.0


class SampleEnded(Event, frozen=True, gc=False):
    """The end of a sample: `kept`, `text`, `dropped` or `dead`; `origin` says how its answer came to be."""

    round: int
    sample: str
    attempt: int
    fate: str
    node: str = ""
    reason: str = ""
    origin: str = ""
    category: str = ""


class CanaryResult(Event, frozen=True):
    """What a judge said of a round's canaries: it passed `passed` of the `bad` ones and refused `dropped` `good` ones.

    `errors` were answered neither way and are in neither count; `missed` says which faults passed, and how often. For
    the panel of hard-data rounds, `seats` is the share of the bad ones that each model accepted, and `suspended` names
    those that have no vote in this round.
    """

    round: int
    node: str
    bad: int
    passed: int
    good: int
    dropped: int
    errors: int = 0
    missed: dict[str, int] = {}
    seats: dict[str, float] = {}
    suspended: list[str] = []


class SelfAgreementChecked(Event, frozen=True, gc=False):
    """A judge was asked one sample twice: the outcome that counted, and the second one."""

    round: int
    sample: str
    attempt: int
    node: str
    first: str
    second: str


class TrainingSetSelected(Event, frozen=True):
    """What the trainer took out of all that was kept, and how many each rule left out."""

    round: int
    kept: int
    trained: int
    over_quota: int = 0
    over_per_task: int = 0
    solved: int = 0
    duplicates: int = 0
    over_count: int = 0
    refused: int = 0
    stale: int = 0
    replay: int = 0
    by_category: dict[str, int] = {}
    by_origin: dict[str, int] = {}


class PoolDrawn(Event, frozen=True):
    """A hard-data round begins with `tasks` of the pool.

    `judges` names the models of the panel; "" where references decide. `control` says what is asked in place of hard
    tasks; "" where hard ones are.
    """

    round: int
    tasks: int
    judges: str = ""
    control: str = ""


class TaskSorted(Event, frozen=True, gc=False):
    """What became of a task in a hard-data round: `passed` of its `attempts` answers passed every judge.

    In round 1 its fate is `qualified`, `hard` or `discarded`, later `accepted` or `hard`. `stage` is the furthest one
    at which an answer failed, `error` where no answer could be judged; `weights` made the answers.
    """

    round: int
    task: str
    fate: str
    attempts: int
    passed: int
    stage: str = ""
    weights: str = ""


class LabelRepaired(Event, frozen=True):
    """The panel ruled for the model's majority answer against a task's reference; `votes` are the seats' scores.

    Both answers are in the round's `repairs.jsonl`.
    """

    round: int
    task: str
    votes: list[float | None] = []


class JudgeUsage(Event, frozen=True):
    """What asking the LLM judges of a stage cost since the last such event; `unreadable` are replies among `requests`.

    `hits` are rulings that were found in the verdict cache instead of being asked for.
    """

    round: int
    node: str
    requests: int = 0
    tokens: int = 0
    hits: int = 0
    unreadable: int = 0


class OptimizerStep(Event, frozen=True):
    """One optimiser step and its metrics, under the names that the objective gives them.

    SRML gives `loss`, `loss_think`, `loss_result` (means in nats per token), `alpha`, `think_tokens` and
    `result_tokens`, and the engine adds `lr`, `grad_norm`, `seconds` and `tokens_per_s`; a metric is absent where the
    batch had none. Readers rely on two conventions, not on names: what begins with `loss` is a loss, and what ends with
    `_tokens` is a count, by which the mean of the metric `loss_<x>` over several steps is weighted where it is called
    `<x>_tokens`.
    `groups` splits metrics by a property of the samples: `groups["origin"]["sampled"]["loss_think"]`.
    """

    round: int
    step: int
    steps: int
    metrics: dict[str, float] = {}
    groups: dict[str, dict[str, dict[str, float]]] = {}


class PolicyUpdated(Event, frozen=True):
    """A step of reinforcement learning is over: `weights` sample from now on, unchanged where no group had a signal.

    `prompts` counts the prompts that the round has drawn so far, by whether a call is right: "call" or "none". `idle`
    counts the steps in a row, this one included, in which no group had a signal. `stop` says why the round ends here
    and is rolled back, where it does.
    """

    round: int
    step: int
    weights: str
    prompts: dict[str, int] = {}
    idle: int = 0
    stop: str = ""


class WeightsTrained(Event, frozen=True):
    """The trainer made new weights; `metrics` are means over the steps, named as in `OptimizerStep`."""

    round: int
    weights: str
    examples: int
    steps: int
    metrics: dict[str, float] = {}


class UpdateCrashed(Event, frozen=True):
    """The processes of an update failed: why, and the last lines of each one's log, by the log's name."""

    round: int
    reason: str
    processes: int
    lines: dict[str, list[str]] = {}


class Score(msgspec.Struct, frozen=True):
    """One category, or all, on the same items under old and new weights: counts of correct answers.

    `gained` and `lost` are items only new, only old weights got right; `p` is McNemar's exact two-sided p;
    `low` and `high` bound the new accuracy (Wilson, 95 %).
    """

    total: int
    old: int
    new: int
    gained: int
    lost: int
    p: float
    low: float = 0.0
    high: float = 1.0
    old_any: int = 0
    new_any: int = 0


class Balance(msgspec.Struct, frozen=True):
    """Items whose right answer is a call and items whose right answer is none, scored apart, and the mean of the two.

    `kinds` holds the scores of "calls" and "refusals", those the items have; `old` and `new` are the balanced
    accuracies from 0 to 1, `p` that of their exact two-sided sign-flip test. `trivial` gives the balanced accuracy of
    the two models that need no skill, "always_refuse" and "always_call".
    """

    kinds: dict[str, Score]
    old: float
    new: float
    p: float
    trivial: dict[str, float]

    @property
    def has_both(self) -> bool:
        """Whether there are items of both kinds; of one kind, the balanced accuracy is the plain one."""
        return len(self.kinds) > 1


class TextScore(msgspec.Struct, frozen=True):
    """Bits per byte of held-out text under old and new weights, and under those of the run's start."""

    tokens: int
    old: float
    new: float
    start: float


class WeightsSynced(Event, frozen=True):
    """A sampling engine took the weights `weights` (at its start: `started`) in `seconds`.

    `proved` counts the greedy tokens that agreed with the trainer's own model, which took `proof_seconds` more.
    """

    round: int
    weights: str
    seconds: float
    proof_seconds: float = 0.0
    proved: int = 0
    started: bool = False


class GateDecided(Event, frozen=True):
    """The gate's word: `promote`, `hold` or `rollback` (round 0 is the measurement of the start)."""

    round: int
    decision: str
    reason: str
    old_weights: str
    new_weights: str
    overall: Score
    by_category: dict[str, Score] = {}
    by_slice: dict[str, Score] = {}
    balance: Balance | None = None
    """Of the items that decide."""
    balance_by_slice: dict[str, Balance] = {}
    text: dict[str, TextScore] = {}
    """Of the suites of held-out text, by name."""

    @property
    def kinds(self) -> dict[str, Score]:
        """The scores of calls and refusals, where the items that decide have both; else none."""
        return self.balance.kinds if self.balance is not None and self.balance.has_both else {}


class RoundMessage(Event, frozen=True):
    """The round's own message left `node` by `outcome` for `target`; `reason` is what the node's verdict says, if any.

    In a loop: generator drained trainer, trainer candidate evaluator, evaluator accepted generator.
    """

    round: int
    node: str
    outcome: str
    target: str
    reason: str = ""


class WeightsRefused(Event, frozen=True):
    """An agent after the gate refused the promotion of a round: the weights accepted before stay."""

    round: int
    node: str
    reason: str


class EndpointUsage(Event, frozen=True):
    """What `node` asked of endpoints since its last such line, and what it cost in prompt and answer tokens.

    `requests` counts tries; `retries` those sent again, `failed` requests that were given up; `estimated` are the
    tokens that servers did not count themselves.
    """

    round: int
    node: str
    requests: int
    tokens: int
    retries: int = 0
    failed: int = 0
    estimated: int = 0


class RoundEnded(Event, frozen=True):
    """A round is over; `weights` are those the next one starts from."""

    round: int
    weights: str


class LogMessage(Event, frozen=True):
    """A sentence for a person: `info`, `warning` or `error`."""

    level: str
    text: str
    round: int = 0


class SampleRequeued(Event, frozen=True):
    """A dead letter was put back: its end is taken back, and it is tried once more when its round is resumed."""

    sample: str
    round: int = 0


class Paused(Event, frozen=True):
    """The run was asked to wait (`on`) or to resume."""

    on: bool


class RunEnded(Event, frozen=True):
    """The last line of a run: `finished`, `refused` (no round promoted), `interrupted` or `failed`."""

    status: str
    reason: str = ""


AnyEvent = (
    RunStarted
    | MachineDescribed
    | PhaseStarted
    | PhaseEnded
    | GpuUsed
    | TaskRefused
    | TasksRead
    | ContaminationChecked
    | Judged
    | SampleEnded
    | CanaryResult
    | SelfAgreementChecked
    | TrainingSetSelected
    | PoolDrawn
    | TaskSorted
    | LabelRepaired
    | JudgeUsage
    | OptimizerStep
    | PolicyUpdated
    | WeightsTrained
    | UpdateCrashed
    | WeightsSynced
    | GateDecided
    | RoundMessage
    | WeightsRefused
    | EndpointUsage
    | RoundEnded
    | LogMessage
    | SampleRequeued
    | Paused
    | RunEnded
)

_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def decode_event(line: bytes) -> AnyEvent | None:
    """The event on a line, or None when the line holds a kind this version does not know, or no event at all."""
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError:  # covers ValidationError: an unknown tag, a field of another type
        return None


def decode_events(lines: bytes) -> list[AnyEvent]:
    """The events on whole lines, all of known kinds; msgspec.DecodeError when one is not. Cheaper than one by one."""
    return _decoder.decode_lines(lines)
