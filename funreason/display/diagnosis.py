"""What went wrong in a run, or goes wrong in it now, and which setting to change: a table of rules over its record.

`diagnose` is a pure function of the folded log and of the run's settings. Each rule is a generator that yields a
`RunFinding` for what it found, with its number; `RULES` is the whole list, in the order of a round. A rule is silent
until there is enough to count: a finding on three samples would be noise. Settings are given as literal `--set`
options. They are for the next run, because a resumed run keeps the settings it began with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from shlex import quote
from typing import Any, NamedTuple

from funreason.bfcl.categories import wants_refusal
from funreason.record.events import Score
from funreason.record.rounds import RoundState
from funreason.record.sample_files import KEPT
from funreason.record.state import State

ENOUGH_SAMPLES = 30
"""Samples of a round that have ended before its shares are judged."""
CUT_OFF = 0.10
LITTLE_KEPT = 0.05
JUDGE_ERRORS = 0.05
CANARIES = 0.15
"""The share of canaries a judge may get wrong; a judge has ten of each kind at least."""
FEW_ITEMS = 100
STILL_CATEGORY = 20
"""Gate items that a category needs before it is said that it does not move."""
TAKES_OVER = 0.6
ENOUGH_TRAINED = 20
ENOUGH_STEPS = 12
FLAT_LOSS = 0.98
"""The last quarter of an update's loss, as a share of the first quarter, above which it did not fall."""
LEARNED_LOSS = 0.1
"""Nats per token under which a loss has no room to fall."""
IDLE_GPU = 0.3
FEW_MIXED = 0.1
REFUSALS_LEFT = 0.5
"""The share of the first steps' refusals, where refusing is right, under which they are said to collapse."""
REFUSED_RECORDS = 0.1


class RunFinding(NamedTuple):
    """One thing that is wrong: `text` is a sentence with the number found, `change` the option or command to try.

    `rule` names the rule, `round` the round it was seen in, `about` the judge or category it concerns. `stops` says
    that the round had nothing to learn, so that another one like it would be wasted.
    """

    rule: str
    text: str
    change: str = ""
    round: int = 0
    about: str = ""
    stops: bool = False

    def __str__(self) -> str:
        return f"{self.text} Try `{self.change}`." if self.change else self.text


def setting_at(settings: Mapping[str, Any], key: str) -> Any:
    """A setting of nested plain data by its dotted key; None where there is none."""
    found: Any = settings
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


class Facts(NamedTuple):
    """What rules read: the state, and the settings as nested plain data (empty where they are not at hand)."""

    state: State
    settings: Mapping[str, Any]
    run: str = ""

    def setting(self, key: str) -> Any:
        """The value of a dotted key; None where there is none."""
        return setting_at(self.settings, key)

    def number(self, key: str, default: float) -> float:
        """The number at a dotted key; `default` where there is none."""
        value = self.setting(key)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else default

    def table(self, key: str) -> Mapping[str, Any]:
        """The group at a dotted key; empty where there is none."""
        found = self.setting(key)
        return found if isinstance(found, Mapping) else {}

    def raised(self, key: str, factor: float, default: float) -> str:
        """The option that multiplies a number among the settings."""
        value = self.number(key, default)
        return f"--set {key}={f'{value * factor:.0f}' if isinstance(value, int) else f'{value * factor:.2g}'}"

    @property
    def sampled(self) -> list[tuple[int, RoundState]]:
        """The rounds with enough samples that ended, or all of whose samples ended; round 0 has a teacher's."""
        found = []
        for k, r in sorted(self.state.rounds.items()):
            whole = r.ended or "sample" in r.whole
            if k and (r.fates.total() >= ENOUGH_SAMPLES or (whole and r.fates.total())):
                found.append((k, r))
        return found

    @property
    def from_rewards(self) -> bool:
        """Whether rounds learn from rewards."""
        return any(r.policy is not None for r in self.state.rounds.values())

    def accepted(self) -> tuple[int, dict[str, tuple[int, int, int]]]:
        """The last measured round and, by category, items and right answers (strict, any form) of accepted weights."""
        for k, r in sorted(self.state.rounds.items(), reverse=True):
            if r.gate is not None and r.gate.by_category:
                new = r.gate.decision == "promote"
                return k, {
                    name: (s.total, s.new if new else s.old, s.new_any if new else s.old_any)
                    for name, s in r.gate.by_category.items()
                }
        return 0, {}


Rule = Callable[[Facts], Iterator[RunFinding]]


def diagnose(state: State, settings: Mapping[str, Any] | None = None, run: str = "") -> tuple[RunFinding, ...]:
    """All findings of a run, finished or not, in the order of `RULES`; what stops a run comes first.

    `settings` is its configuration as plain data, `run` its folder, for commands.
    """
    facts = Facts(state, settings or {}, quote(run) if run else "")
    found = [finding for rule in RULES.values() for finding in rule(facts)]
    return tuple(sorted(found, key=lambda finding: not finding.stops))


# -- before the rounds ------------------------------------------------------------------------------------------


def records_refused(facts: Facts) -> Iterator[RunFinding]:
    """A tenth of the records or more could not be read."""
    ours = ("held_out", "duplicate", "contamination.")  # taken out on purpose
    wrong = Counter({why: n for why, n in facts.state.refused.items() if not why.startswith(ours)})
    tasks = max((r.todo for r in facts.state.rounds.values()), default=0) / max(
        1, facts.number("sample.samples_per_task", 1)
    )
    if tasks and wrong.total() >= REFUSED_RECORDS * (tasks + wrong.total()):
        why, count = wrong.most_common(1)[0]
        records = "record" if wrong.total() == 1 else "records"
        text = f"{wrong.total():,} {records} never became a task; the commonest reason is {why} ({count:,})."
        yield RunFinding("records_refused", text, f"funreason status {facts.run} --all".replace("  ", " "))


def start_not_kept(facts: Facts) -> Iterator[RunFinding]:
    """The supervised start was rolled back or held."""
    first = facts.state.rounds[0].gate if 0 in facts.state.rounds else None
    if first is None or first.decision not in ("rollback", "hold"):
        return
    calls = first.kinds.get("calls")
    right = f" Right calls went from {calls.old} to {calls.new} of {calls.total}." if calls else ""
    word = "rolled back" if first.decision == "rollback" else "not kept"
    gained = calls is not None and calls.new > calls.old
    if gained and "category" in first.reason:
        change = f"--set gate.max_category_loss={2 * facts.number('gate.max_category_loss', 5.0):g}"
    elif gained and first.decision == "hold":
        change = "--set gate.promote_p=0.2"
    elif calls is not None and calls.new <= calls.old:
        change = facts.raised("start.update.epochs", 2, 1)
    else:
        change = facts.raised("start.update.lr", 0.5, 3e-4)
    text = f"The supervised start was {word} ({first.reason}), so the rounds sample from weights without it.{right}"
    yield RunFinding("start_not_kept", text, change)


def never_calls(facts: Facts) -> Iterator[RunFinding]:
    """The accepted weights get no call right, in any form, and nearly every refusal: they never call."""
    k, found = facts.accepted()
    calls = [s for name, s in found.items() if not wants_refusal(name)]
    refusals = [s for name, s in found.items() if wants_refusal(name)]
    total, right = sum(s[0] for s in calls), sum(max(s[1:]) for s in calls)
    if total < 10 or right > 0.01 * total:
        return
    refused = sum(s[1] for s in refusals), sum(s[0] for s in refusals)
    also = f" and {refused[0]} of {refused[1]} refusals" if refused[1] else ""
    text = f"The model gets {right} of {total} calls of the gate right{also}: its own samples can teach it nothing yet."
    if facts.setting("start.references") is None:
        yield RunFinding("never_calls", text, "--set start.references.path=tasks --set start.references.count=400", k)
    else:
        yield RunFinding("never_calls", text, facts.raised("start.update.epochs", 2, 1), k)


def always_calls(facts: Facts) -> Iterator[RunFinding]:
    """The accepted weights call a function on nearly every item where none is right."""
    k, found = facts.accepted()
    refusals = [s for name, s in found.items() if wants_refusal(name)]
    total, right = sum(s[0] for s in refusals), sum(s[1] for s in refusals)
    if total >= 10 and right <= 0.02 * total:
        text = f"The model calls a function on {total - right} of the {total} gate items where none is right."
        yield RunFinding("always_calls", text, "--set data.augment.irrelevance=0.1", k)


def few_gate_items(facts: Facts) -> Iterator[RunFinding]:
    """So few items decide that only a large gain can be told from chance."""
    gates = [(k, r.gate) for k, r in sorted(facts.state.rounds.items()) if r.gate is not None]
    if not gates or not 0 < gates[-1][1].overall.total < FEW_ITEMS:
        return
    k, gate = gates[-1]
    total, limit = gate.overall.total, facts.number("gate.promote_p", 0.08)
    needed = next((n for n in range(1, total + 1) if 2 * 0.5**n <= limit), total)
    text = (
        f"Only {total} items decide: a round is promoted when it gains {needed} of them and loses none "
        f"({100 * needed / total:.0f} points), or more."
    )
    suites = {name: facts.table(f"gate.suites.{name}") for name in gate.by_slice}
    deciding = [name for name, suite in suites.items() if suite.get("role", "decision") == "decision"]
    first = suites[deciding[0]] if deciding else {}
    has_no_more = isinstance(asked := first.get("count"), int) and asked > gate.by_slice[deciding[0]].total
    if has_no_more or str(first.get("path", "tasks:")).startswith("tasks:"):
        yield RunFinding("few_gate_items", text, "--set gate.suites.composed.path=toolbox:composed_gate", k)
    else:
        yield RunFinding("few_gate_items", text, f"--set gate.suites.{deciding[0]}.count=400", k, deciding[0])


# -- sampling and judging ---------------------------------------------------------------------------------------


def cut_off(facts: Facts) -> Iterator[RunFinding]:
    """More than a tenth of a round's answers were cut off at the token limit."""
    limit = facts.setting("sample.max_new_tokens")
    at = f" at {limit} tokens" if limit else ""
    for k, r in facts.sampled[-1:]:
        drawn = r.nodes["generator"].answered if "generator" in r.nodes else r.fates.total()
        drawn += sum(r.nodes["regenerator"].outcomes[o] for o in ("resampled", "rewritten") if "regenerator" in r.nodes)
        judged = [reason for node in r.nodes.values() for reason in node.reasons.items()]
        cut = sum(n for reason, n in judged if reason in TOO_LONG)
        share = cut / drawn if drawn else 0.0
        if r.policy is not None:
            share = r.mean("truncated_rate") or 0.0
        if share > CUT_OFF:
            text = f"{100 * share:.0f} % of the answers of round {k} were cut off{at}."
            yield RunFinding("cut_off", text, facts.raised("sample.max_new_tokens", 2, 160), k)


OPTIONS = {
    "cot.missing": "--set fcdr.require_thinking=false",
    "cot.empty": "--set fcdr.require_thinking=false",
    "form.syntax": "--set model.call_format=native",
    "form.not_a_call": "--set model.call_format=native",
}
"""What to change where a reason is the commonest; for any other its samples are shown."""
TOO_LONG = ("response.truncated", "response.unclosed_thinking")


def little_kept(facts: Facts) -> Iterator[RunFinding]:
    """Under a twentieth of a round's samples were kept, or none."""
    for k, r in facts.sampled:
        ended, kept = r.fates.total(), sum(r.fates[fate] for fate in KEPT)
        if r.policy is not None or kept > LITTLE_KEPT * ended:
            continue
        commonest = r.dead_reasons.most_common(1)
        why = f"; the commonest reason is {commonest[0][0]} ({commonest[0][1]:,})" if commonest else ""
        text = f"{kept:,} of {ended:,} samples of round {k} were kept{why}."
        reason = commonest[0][0] if commonest else ""
        look = " ".join(filter(None, ("funreason dlq show", facts.run, reason and f"--reason {quote(reason)}")))
        longer = facts.raised("sample.max_new_tokens", 2, 160)
        change = longer if reason in TOO_LONG else OPTIONS.get(reason, look)
        yield RunFinding("little_kept", text, change, k)


def judges_fail(facts: Facts) -> Iterator[RunFinding]:
    """A judge gets canaries wrong, or answers with errors."""
    for k, r in facts.sampled[-1:]:
        for name, node in r.nodes.items():
            errors, answered = node.outcomes["error"], node.answered
            if answered >= ENOUGH_SAMPLES and errors > JUDGE_ERRORS * answered:
                text = f"The judge {name} answered {errors:,} of {answered:,} times with an error in round {k}."
                yield RunFinding("judges_fail", text, f"funreason dlq list {facts.run}".strip(), k, name)
    examined = [(k, r) for k, r in sorted(facts.state.rounds.items()) if any(h.tried for h in r.health.values())]
    for k, r in examined[-1:]:
        for name, health in r.health.items():
            missed = health.missed.most_common(1)
            most = f", mostly {missed[0][0]}" if missed else ""
            llm = facts.setting(f"fcdr.stages.{name}") in ("llm", "both")
            stricter = "--set fcdr.llm.vote=unanimous --set fcdr.llm.samples_per_model=3" if llm else ""
            milder = "--set fcdr.llm.vote=majority --set fcdr.llm.samples_per_model=3" if llm else ""
            known = f"--set fcdr.stages.{name}=both" if name in facts.table("fcdr.stages") else ""
            if (health.false_pass or 0) > CANARIES:
                text = f"The judge {name} let {health.passed} of {health.bad} known bad samples pass{most}."
                change = stricter or known or "--set fcdr.canaries.max_false_pass=0.15"
                yield RunFinding("judges_fail", text, change, k, name)
            if (health.false_drop or 0) > CANARIES:
                text = f"The judge {name} refused {health.dropped} of {health.good} known good samples."
                change = milder or "--set fcdr.canaries.max_false_drop=0.15"
                yield RunFinding("judges_fail", text, change, k, name)


# -- training ---------------------------------------------------------------------------------------------------


def nothing_learned(facts: Facts) -> Iterator[RunFinding]:
    """A round trained nothing: no sample was kept or chosen, no group carried a signal, or the update failed."""
    for k, r in sorted(facts.state.rounds.items()):
        if not k or r.gate is None or r.gate.new_weights != r.gate.old_weights:
            continue
        if r.policy is not None:
            if any(s.metrics.get("groups_mixed") for s in r.steps):
                continue
            text = f"Round {k} had nothing to learn: no group of answers carried a signal in {len(r.steps)} steps."
            yield RunFinding("nothing_learned", text, facts.raised("sample.temperature", 1.2, 0.9), k, stops=True)
        elif r.chosen is not None and not r.chosen.trained:
            kept, ended = sum(r.fates[fate] for fate in KEPT), r.fates.total()
            text = f"Round {k} had nothing to learn: {kept:,} of {ended:,} samples were kept, and none was left to use."
            change = "--set train.max_solved_share=1" if r.chosen.solved else ""
            yield RunFinding("nothing_learned", text, change, k, stops=True)
        elif r.chosen is None and r.gate.decision == "rollback":
            text = f"Round {k} had nothing to learn: {r.gate.reason.rstrip('.')}."
            yield RunFinding("nothing_learned", text, facts.raised("train.update.lr", 0.3, 3e-4), k, stops=True)


def takes_over(facts: Facts) -> Iterator[RunFinding]:
    """One category makes up most of what a round was trained on."""
    rounds = [(k, r.chosen) for k, r in sorted(facts.state.rounds.items()) if k and r.chosen and r.chosen.by_category]
    for k, chosen in rounds[-1:]:
        total = sum(chosen.by_category.values())
        name, most = max(chosen.by_category.items(), key=lambda pair: pair[1])
        gated = [r.gate.by_category for r in facts.state.rounds.values() if r.gate is not None]
        wanted = {part: share for part, share in facts.table("tasks.mix").items() if isinstance(share, int | float)}
        if wanted.get(name.removesuffix("_python"), 0) > TAKES_OVER * sum(wanted.values()):
            continue  # the configuration asks for it
        several = len(chosen.by_category) > 1 or any(len(by) > 1 for by in gated)
        if several and total >= ENOUGH_TRAINED and most > TAKES_OVER * total:
            text = f"{name or 'One category'} makes up {100 * most / total:.0f} % of what round {k} was trained on."
            yield RunFinding("takes_over", text, f"--set train.max_category_share.{name}=0.4", k, name)


def loss_does_not_fall(facts: Facts) -> Iterator[RunFinding]:
    """The loss of an update's last quarter of steps is no lower than that of its first quarter."""
    for k, r in [(k, r) for k, r in sorted(facts.state.rounds.items()) if r.steps and r.policy is None][-1:]:
        done = r.update is not None or r.steps[-1].step >= r.steps[-1].steps
        values = [s.metrics["loss"] for s in r.steps if "loss" in s.metrics]
        quarter = len(values) // 4
        if not done or len(values) < ENOUGH_STEPS:
            continue
        first, last = sum(values[:quarter]) / quarter, sum(values[-quarter:]) / quarter
        if first > LEARNED_LOSS and last > FLAT_LOSS * first:
            where = "start" if k == 0 else "train"
            rose = last > 1.05 * first
            text = (
                f"The loss of {'the start' if k == 0 else f'round {k}'} {'rose' if rose else 'did not fall'}: "
                f"{first:.3f} in the first quarter of its {len(values)} steps, {last:.3f} in the last."
            )
            change = facts.raised(f"{where}.update.lr", 0.3 if rose else 3.0, 3e-4)
            yield RunFinding("loss_does_not_fall", text, change, k)


def groups_without_signal(facts: Facts) -> Iterator[RunFinding]:
    """Under a tenth of the groups of a reward round carry a signal."""
    for k, r in [(k, r) for k, r in sorted(facts.state.rounds.items()) if r.policy is not None][-1:]:
        mixed, right, wrong = (
            sum(s.metrics.get(f"groups_{fate}", 0.0) for s in r.steps) for fate in ("mixed", "all_right", "all_wrong")
        )
        groups = mixed + right + wrong
        if not groups or mixed >= FEW_MIXED * groups:
            continue
        text = (
            f"{100 * mixed / groups:.0f} % of the groups of round {k} carry a signal: in {100 * wrong / groups:.0f} % "
            f"all answers are wrong, in {100 * right / groups:.0f} % all are right."
        )
        if wrong > right and facts.setting("start.references") is None:
            change = "--set start.references.path=tasks --set start.references.count=400"
        elif wrong > right:
            change = facts.raised("reinforcement.group_size", 2, 8)
        else:
            change = facts.raised("sample.temperature", 1.2, 0.9)
        yield RunFinding("groups_without_signal", text, change, k)


def refusals_collapse(facts: Facts) -> Iterator[RunFinding]:
    """Over the steps of a reward round the model forgets to refuse where no call is right."""
    for k, r in [(k, r) for k, r in sorted(facts.state.rounds.items()) if r.policy is not None][-1:]:
        rates = [s.metrics["refusal_rate"] for s in r.steps if "refusal_rate" in s.metrics]
        ends = max(1, len(rates) // 4)
        if len(rates) < 4:
            continue
        first, last = sum(rates[:ends]) / ends, sum(rates[-ends:]) / ends
        if first > 0.1 and last < REFUSALS_LEFT * first:
            text = (
                f"Where no call is right, {100 * first:.0f} % of the answers refused in the first steps of round {k} "
                f"and {100 * last:.0f} % in the last: the model learns to call always."
            )
            share = min(0.5, 2 * facts.number("reinforcement.no_call_share", 0.2))
            yield RunFinding("refusals_collapse", text, f"--set reinforcement.no_call_share={share:g}", k)


# -- the gate, and the machine ----------------------------------------------------------------------------------


def category_does_not_move(facts: Facts) -> Iterator[RunFinding]:
    """A category that is mostly wrong gained at most one item in any round."""
    gates = [(k, r.gate) for k, r in sorted(facts.state.rounds.items()) if k and r.gate is not None]
    if len(gates) < 2:
        return
    for name in gates[-1][1].by_category:
        scores: list[Score] = [gate.by_category[name] for _, gate in gates if name in gate.by_category]
        best = max(s.new for s in scores)
        first, total = scores[0].old, scores[0].total
        if total < STILL_CATEGORY or best > total / 2 or best - first > max(1, 0.02 * total):
            continue
        used = sum(
            n
            for r in facts.state.rounds.values()
            if r.chosen
            for kind, n in r.chosen.by_category.items()
            if kind and (kind == name or name.startswith(f"{kind}_"))
        )
        text = (
            f"{name} never moved: {100 * first / total:.0f} % before the first round, at best "
            f"{100 * best / total:.0f} % in {len(scores)} rounds. The updates used {used:,} samples of it."
        )
        kind = next((kind for kind in facts.table("tasks.mix") if name == kind or name.startswith(f"{kind}_")), "")
        change = (
            f"--set tasks.mix.{kind}={min(0.9, 2 * facts.number(f'tasks.mix.{kind}', 0.25)):g}"
            if kind
            else facts.raised("sample.samples_per_task", 2, 4)
        )
        yield RunFinding("category_does_not_move", text, change, gates[-1][0], name)


def gpu_idle(facts: Facts) -> Iterator[RunFinding]:
    """The GPU was mostly idle in a phase."""
    options = {
        "sample": ("sample.batch_tokens", 131_072),
        "train": ("train.update.micro_tokens", 16_384),
        "start": ("start.update.micro_tokens", 16_384),
        "gate": ("sample.batch_tokens", 131_072),
    }
    used: dict[str, tuple[int, float]] = {}
    for k, r in sorted(facts.state.rounds.items()):
        used |= {phase: (k, gpu.busy) for phase, gpu in r.gpu.items() if phase in options and gpu.readings >= 4}
    for phase, (k, busy) in used.items():
        if busy < IDLE_GPU:
            key, default = options[phase]
            text = f"The GPU was busy {100 * busy:.0f} % of the time in phase {phase} of round {k}."
            yield RunFinding("gpu_idle", text, facts.raised(key, 2, default), k, phase)


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        nothing_learned,
        records_refused,
        start_not_kept,
        never_calls,
        always_calls,
        few_gate_items,
        cut_off,
        little_kept,
        judges_fail,
        takes_over,
        loss_does_not_fall,
        groups_without_signal,
        refusals_collapse,
        category_does_not_move,
        gpu_idle,
    )
}
"""Every rule by its name."""
