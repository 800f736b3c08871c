"""Thinking for references, taken from a teacher's answers to their queries.

The teacher is not shown the reference: it answers as any sampler, and the run's judges judge its answers, as the paper
did with QwQ-32B (FunReason, https://arxiv.org/abs/2505.20192). Only an answer that was kept, and whose calls are the
reference's, gives its thinking; the calls that are learnt are always the reference's own. Everything is read from the
files of the supervised start, so a resumed run comes to the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from funreason.agents.judges.rules.cot_check import thinking_problem
from funreason.agents.judges.rules.verdicts import calls_in
from funreason.calls.compare import same_calls
from funreason.data.rationales import with_template_thinking
from funreason.record.sample_files import ENDS, KEPT, SampleFiles
from funreason.types import Sample, Task

FLAG = "teacher_thinking"
"""Marks a task whose thinking a teacher wrote; `FLAG:<weights id>` says which."""


@dataclass(slots=True)
class Written:
    """The references of a supervised start with the thinking they are learnt with, and who wrote it."""

    fallback: str
    tasks: list[Task] = field(default_factory=list)
    asked: int = 0
    had: int = 0
    """References that came with thinking."""
    by: Counter[str] = field(default_factory=Counter)
    """How many each teacher wrote, by weights id."""
    left: Counter[str] = field(default_factory=Counter)
    """Why the teacher's answers to other references gave none, by code."""

    def account(self) -> str:
        """One sentence on all of it."""
        wrote = ", ".join(f"{who} {count}" for who, count in self.by.most_common()) or "none"
        text = f"thinking of {self.asked} references asked of a teacher (start.thinking), written by {wrote}"
        if self.had:
            text += f"; {self.had} had one"
        if self.left:
            becomes = {
                "template": "learn a rationale by template",
                "none": "are learnt without thinking",
                "drop": "are not learnt",
            }[self.fallback]
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.left.most_common())
            text += f"; {self.left.total()} {becomes} (start.teacher.fallback): {reasons}"
        return text


def asked_of_teacher(tasks: Iterable[Task]) -> list[Task]:
    """The tasks that a teacher is asked: those with a reference, a call or a text, that has no thinking."""
    known = [task for task in tasks if task.reference or (task.reference is not None and task.reference_text)]
    return [task for task in known if not task.reference_thinking]


def with_teacher_thinking(tasks: Sequence[Task], files: SampleFiles, fallback: str) -> Written:
    """The `tasks` with the thinking of the teacher's answers in `files`; `fallback` is that of `start.teacher`."""
    answers: dict[str, list[tuple[str, Sample]]] = {}
    for end in ENDS:
        for sample in files.get(end):
            answers.setdefault(sample.task.id, []).append((end, sample))
    asked = {task.id for task in asked_of_teacher(tasks)}
    written = Written(fallback, asked=len(asked), had=sum(bool(task.reference_thinking) for task in tasks))
    for task in tasks:
        if task.id not in asked:
            written.tasks.append(task)
            continue
        problems = []
        for end, sample in sorted(answers.get(task.id, ()), key=lambda found: (len(found[1].id), found[1].id)):
            problem = unusable(end, sample, task)
            if problem is None:
                flags = [*task.flags, FLAG, f"{FLAG}:{sample.weights_id}"]
                written.tasks.append(
                    msgspec.structs.replace(task, reference_thinking=(sample.thinking or "").strip(), flags=flags)
                )
                written.by[sample.weights_id] += 1
                break
            problems.append(problem)
        else:
            written.left[problems[0] if problems else "not_answered"] += 1
            if fallback != "drop":
                written.tasks.append(with_template_thinking(task) if fallback == "template" else task)
    return written


def unusable(end: str, sample: Sample, task: Task) -> str | None:
    """Why a teacher's answer gives no thinking for the task's reference, as a code; None when it does.

    An answer that the judges did not keep has their last reason. `teacher.repaired`: its calls were written from the
    reference. `teacher.no_thinking`; `teacher.other_answer`: it calls where the reference does not, or otherwise.
    """
    if end not in KEPT:
        return (sample.verdicts[-1].reason if sample.verdicts else "") or end
    if sample.origin == "repaired":
        return "teacher.repaired"
    if not (sample.thinking or "").strip():
        return "teacher.no_thinking"
    reference, calls = task.reference or [], calls_in(sample.answer, task.tools) or ()
    if same_calls(calls, reference, task.tools) is not None:
        return "teacher.other_answer"
    # Text skips stage 3, and its thinking must not end in a call.
    problem = thinking_problem(sample.thinking or "", (), task.tools) if not reference else None
    return None if problem is None else problem.code
