"""The log panel: one sentence per event, newest first. Judgements and optimizer steps are in other panels."""

from __future__ import annotations

import time

from funreason.display.accuracy import share_with_interval
from funreason.display.figures import DECISIONS, PHASES, duration, percent
from funreason.display.spans import Page, PageRow, Span, line, said
from funreason.record import events as ev
from funreason.record.state import State
from funreason.tui.view_state import ViewState

MOST = 300


def log_page(state: State, view: ViewState, width: int) -> Page:
    """The newest events, with the time of day."""
    if not state.recent_events:
        return said("log", "No event yet.", width)
    rows = []
    for i, event in enumerate(reversed(state.recent_events)):
        if i == MOST:
            break
        text, role = sentence(event)
        clock = time.strftime("%H:%M:%S", time.localtime(event.at)) if event.at else "--:--:--"
        rows.append(PageRow(f"{len(state.recent_events) - i}", line((clock + " ", "dim"), (text, role)), (clock, text)))
    return Page("log", (), tuple(rows), ("time", "what"))


def sentence(event: ev.AnyEvent) -> Span:
    """One event in words, with a role."""
    match event:
        case ev.RunStarted():
            return (
                f"{'resumed' if event.resumed else 'started'}: {event.rounds} rounds, seed {event.seed}",
                "plain",
            )
        case ev.MachineDescribed():
            has = ", ".join([f"{event.cores} cores", *event.gpus])
            return (f"{event.command or 'played by a program'} on {event.cpu}, {has}", "dim")
        case ev.GpuUsed():
            phase = PHASES.get(event.phase, event.phase)
            text = f"round {event.round}: GPU {percent(event.busy)} % busy in {phase}, {event.memory_gb:.1f} GB"
            return (text, "dim")
        case ev.PhaseStarted():
            return (f"round {event.round}: {PHASES.get(event.phase, event.phase)}", "plain")
        case ev.PhaseEnded():
            return (
                f"round {event.round}: {PHASES.get(event.phase, event.phase)} took {duration(event.seconds)}",
                "dim",
            )
        case ev.TaskRefused():
            return (f"no task, {event.reason}: {event.where} {event.message}", "warn")
        case ev.TasksRead():
            return (f"all tasks were read, {event.refused} records refused", "dim")
        case ev.LogMessage():
            sign = {"warning": "! ", "error": "✗ "}.get(event.level, "")
            return (sign + event.text, {"warning": "warn", "error": "bad"}.get(event.level, "plain"))
        case ev.TrainingSetSelected():
            return (f"trainer: {event.trained} of {event.kept} kept samples, {event.replay} replayed", "plain")
        case ev.ContaminationChecked():
            seen = f"{event.exact} tasks are in the gate, {event.near} nearly"
            seen += f", {event.tools} offer a benchmark's tools" * bool(event.tools)
            return (
                f"{seen}; {'left out' if event.dropped else 'trained on'}",
                "warn" if event.exact or event.tools else "dim",
            )
        case ev.PoolDrawn():
            what = "random qualified tasks in place of hard ones" if event.control else "hard tasks"
            return (f"round {event.round}: {event.tasks} {what}", "plain")
        case ev.LabelRepaired():
            return (f"round {event.round}: the reference of {event.task} is replaced by the model's answer", "warn")
        case ev.CanaryResult():
            text = f"judge {event.node}: {event.passed} of {event.bad} bad canaries passed, "
            text += f"{event.dropped} of {event.good} good ones did not"
            return (text, "warn" if event.passed or event.dropped or event.errors else "dim")
        case ev.WeightsTrained():
            return (f"new weights {event.weights}: {event.examples} examples, {event.steps} steps", "plain")
        case ev.UpdateCrashed():
            return (f"✗ {event.reason}", "bad")
        case ev.WeightsSynced():
            took = f"{'started with' if event.started else 'took'} weights {event.weights} in {event.seconds:.2f} s"
            return (f"engine {took}; {event.proved} greedy tokens agree with the trainer's model", "plain")
        case ev.GateDecided():
            sign, role = DECISIONS.get(event.decision, ("?", "warn"))
            was, now = (percent(share_with_interval(event.overall, event.balance, new=new)[0]) for new in (False, True))
            return (f"{sign} gate: {event.decision}, {was} → {now}. {event.reason}", role)
        case ev.RoundMessage():
            reason = f": {event.reason}" if event.reason else ""
            return (f"round {event.round}: {event.node} {event.outcome} → {event.target}{reason}", "dim")
        case ev.WeightsRefused():
            return (f"round {event.round}: {event.node} refused the weights: {event.reason}", "bad")
        case ev.EndpointUsage():
            trouble = f", {event.retries} sent again, {event.failed} given up" if event.retries + event.failed else ""
            text = f"{event.node}: {event.requests:,} requests to endpoints, {event.tokens:,} tokens{trouble}"
            return (text, "warn" if event.failed else "dim")
        case ev.RoundEnded():
            return (f"round {event.round} over; weights {event.weights}", "plain")
        case ev.SampleRequeued():
            return (f"put back: {event.sample}", "warn")
        case ev.Paused():
            return ("paused" if event.on else "continued", "warn")
        case ev.RunEnded():
            word = "finished; no round passed the gate" if event.status == "refused" else event.status
            return (f"run {word}. {event.reason}", "bad" if event.status == "failed" else "accent")
    return (type(event).__name__, "dim")
