"""Label repair in hard-data rounds: a panel rules between a task's reference and the model's majority answer.

A reference that most answers contradict is often wrong itself; a task that stays hard for that reason teaches nothing.
The design follows LoopTool's label verification (arXiv 2511.09148), where the judge sees both.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import msgspec

from funreason.agents.judges.llm.acceptance import accepted, meaning, scored
from funreason.agents.judges.llm.judge import MAX_CHARS
from funreason.agents.judges.llm.panel import Panel
from funreason.agents.judges.llm.prompt import NO_CALL, case_of
from funreason.calls.compare import call_problem, same_calls
from funreason.calls.render import CallRenderError, render_calls
from funreason.config import HardData
from funreason.record.events import LabelRepaired, LogMessage
from funreason.record.hard_tasks import FIRST
from funreason.record.sample_files import KEPT, RepairedLabel, SampleFiles
from funreason.types import Call, Drained, Outcome, Sample, Task

LABELS = "labels"
"""The node of the agent, and the name of its question."""


class LabelRepair:
    """Asks the panel about references that most answers of a round contradict, before the round is learned from.

    A task is asked about if it has a reference, no answer of the round passed, and more than half of its answers make
    the same calls, others than the reference's and valid for the task's tools. What the panel rules for the model
    replaces the reference in later rounds.

    Args:
        panel: the models; None repairs nothing.
        settings: how they are asked, and what is accepted.
        files: those of the round.
        write: takes an event for each repair, and one that counts what was asked.
    """

    def __init__(
        self,
        panel: Panel | None,
        settings: HardData,
        files: SampleFiles,
        write: Callable[[LabelRepaired | LogMessage], object],
    ) -> None:
        self.panel = None if panel is None else panel.scoring(settings.panel_temperature)
        self.settings = settings
        self.files = files
        self.write = write

    async def __call__(self, message: Drained) -> str:
        """Repair, and let the message pass."""
        if message.round > FIRST and self.panel is not None:
            done = self.files.repairs()
            asked = [(task, calls) for task, calls in contradicted(self.files) if task.id not in done]
            ruled = await asyncio.gather(*(self._ask(self.panel, task, calls, message.round) for task, calls in asked))
            for id, repair in self.files.repairs().items():  # those of a killed process too
                self.write(LabelRepaired(round=message.round, task=id, votes=list(repair.votes)))
            if asked:
                counts = ", ".join(f"{count} {what}" for what, count in sorted(Counter(ruled).items()))
                text = f"{len(asked)} reference(s) that most answers contradict: {counts}"
                self.write(LogMessage(level="info", text=text, round=message.round))
        return Outcome.PASS

    async def _ask(self, panel: Panel, task: Task, calls: tuple[Call, ...], round: int) -> str:
        """What became of a reference, in words."""
        try:
            case = case_of(LABELS, Sample.of(task.id, task, render_calls(calls) if calls else NO_CALL), panel.seed)
        except CallRenderError:
            return "kept (no judge can be shown the calls)"
        if case.chars > MAX_CHARS:
            return f"kept (longer than {MAX_CHARS} characters)"
        scores, said, fault = await scored(panel, case, round)
        if not accepted(scores, self.settings.accept, self.settings.threshold):
            return f"kept ({fault})" if scores.count(None) == len(scores) else "kept"
        self.files.append_repair(RepairedLabel(task.id, tuple(task.reference or ()), calls, scores, said))
        return "replaced"


def contradicted(files: SampleFiles) -> list[tuple[Task, tuple[Call, ...]]]:
    """The tasks of a round whose reference most answers contradict alike, each with the calls of these answers."""
    solved = {sample.task.id for kind in KEPT for sample in files.get(kind)}
    drawn: dict[str, dict[str, Sample]] = {}
    for sample in files.get("sampled"):
        if sample.task.id not in solved and sample.task.reference is not None:
            drawn.setdefault(sample.task.id, {})[sample.id] = sample
    found = []
    for samples in drawn.values():
        task = next(iter(samples.values())).task
        groups: list[list[tuple[Call, ...]]] = []
        for sample in samples.values():
            calls = meaning(sample)
            if calls is None or sample.truncated:
                continue
            group = next((each for each in groups if same_calls(calls, each[0], task.tools) is None), None)
            if group is None:
                groups.append(group := [])
            group.append(calls)
        most = max(groups, key=len, default=[])
        if 2 * len(most) <= len(samples) or same_calls(most[0], task.reference or (), task.tools) is None:
            continue
        if call_problem(most[0], msgspec.structs.replace(task, reference=None)) is None:
            found.append((task, most[0]))
    return found
