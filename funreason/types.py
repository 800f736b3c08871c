"""The things that travel: tasks, samples, verdicts. Data only: constructors, properties and changed copies.

All are frozen msgspec structs: a message that two nodes hold cannot be changed under either of them,
and encoding one costs well under a microsecond.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

Origin = Literal["reference", "sampled", "rerendered", "resampled", "rewritten", "repaired"]
"""How an answer came to be. `rewritten` is a judge's; `reference` and `repaired` are supervised. All counted apart."""


class Outcome(StrEnum):
    """The words a judge may answer with; each is taken to a node by an edge of the graph."""

    PASS = "pass"
    DROP = "drop"
    REGENERATE = "regenerate"
    KEEP_TEXT = "keep_text"
    ERROR = "error"


class Call(msgspec.Struct, frozen=True):
    """One function call: a name and keyword arguments, already plain Python literals."""

    name: str
    arguments: dict[str, Any]


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a conversation. `role` is "system", "user", "assistant" or "tool".

    An assistant's message may carry `calls`, with text beside them in `content`; a tool's message is one call's result,
    and `name` is the tool's where the source gives it.
    """

    role: str
    content: str
    thinking: str | None = None
    calls: tuple[Call, ...] = ()
    name: str = ""


class ToolNames(msgspec.Struct, frozen=True, omit_defaults=True):
    """The original names of a tool, and of those of its parameters, that are not callable as they were written."""

    tool: str
    parameters: dict[str, str] = {}
    """The callable name of a parameter → the original; only those that differ."""


class Task(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the model is asked, the tools it is offered, and what is known of the right answer.

    `messages` is the conversation up to the model's first turn. `tools` are normalised:
    `{"name", "description", "parameters": {"type": "object", "properties", "required"}}`.
    `reference` None means that the right answer is unknown; `[]` means no call is right (see `reference_text`).
    """

    id: str
    messages: tuple[Message, ...]
    tools: list[dict[str, Any]]
    reference: list[Call] | None = None
    reference_text: str | None = None
    reference_thinking: str | None = None
    category: str = ""
    source: str = ""
    flags: list[str] = []
    names: dict[str, ToolNames] = {}
    """The callable name of a tool → its original names, for tools whose names had to be changed."""

    @classmethod
    def of(
        cls, id: str, query: str, tools: list[dict[str, Any]], reference: list[Call] | None = None, **fields: Any
    ) -> Task:
        """A task that asks one thing: `query` becomes its only message, from the user."""
        return cls(id, (Message("user", query),), tools, reference, **fields)

    @property
    def query(self) -> str:
        """What the user says: the text of the user's message, or of all of them, one a line."""
        if len(self.messages) == 1 and self.messages[0].role == "user":
            return self.messages[0].content
        return "\n".join(message.content for message in self.messages if message.role == "user")

    @property
    def after_calls(self) -> bool:
        """Whether tools were called earlier in the conversation."""
        return len(self.messages) > 1 and any(message.calls or message.role == "tool" for message in self.messages)

    @property
    def grounding_text(self) -> str:
        """All that a value may be taken from: the texts of system, user, assistant and tools, one a line.

        Earlier thinking and earlier calls are left out: what the model made up there supports nothing.
        """
        if len(self.messages) == 1:
            return self.messages[0].content
        return "\n".join(message.content for message in self.messages if message.content)

    @property
    def transcript(self) -> str:
        """The conversation as a person reads it: the text alone where it is one user's, else each turn with its role.

        Calls are written as `f(a=1)`; thinking is left out.
        """
        if len(self.messages) == 1 and self.messages[0].role == "user":
            return self.messages[0].content
        lines = []
        for message in self.messages:
            said = [message.content] if message.content or not message.calls else []
            for call in message.calls:
                said.append(f"{call.name}({', '.join(f'{key}={value!r}' for key, value in call.arguments.items())})")
            lines.append(f"{message.role}{f' {message.name}' if message.name else ''}: {' '.join(said)}")
        return "\n".join(lines)


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """One judge's word on one attempt. `reason` is a dotted code such as `schema.missing_required`."""

    stage: str
    outcome: str
    reason: str = ""
    evidence: str = ""
    judge: str = ""
    answer: str | None = None
    """A regenerated answer, where the judge offers one."""
    votes: tuple[float | None, ...] = ()
    """What each vote of language models scored, 0 to 1; None for one that was not heard."""
    reward: float | None = None
    """What a reward gives the sample; None from any other judge."""
    parts: dict[str, float] = {}
    """What the reward is made of, by name."""


class Turn(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation after the task's messages: the model's ("assistant") or a tool's result ("tool").

    `content` is what follows the thinking, stripped; `thinking` is None where the model wrote no tags.
    `truncated` means that the token limit came before the end of the turn, or that the thinking was never closed.
    `token_ids` and `logprobs` (natural logarithms, one per token) are kept only where they were asked for.
    """

    role: str
    content: str
    thinking: str | None = None
    truncated: bool = False
    weights_id: str = ""
    """The weights that generated this turn; "" where no model did."""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] | None = None


NO_TURN = Turn("assistant", "")
"""What a sample without an assistant turn is read as."""


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt at a task: the turns that followed its messages, and what the judges said of them."""

    id: str
    task: Task
    turns: tuple[Turn, ...] = ()
    attempt: int = 0
    round: int = 0
    origin: Origin = "sampled"
    verdicts: tuple[Verdict, ...] = ()

    @classmethod
    def of(
        cls,
        id: str,
        task: Task,
        answer: str | None = None,
        thinking: str | None = None,
        *,
        truncated: bool = False,
        weights_id: str = "",
        **fields: Any,
    ) -> Sample:
        """A sample of one assistant turn, or of none yet where `answer` is None; `fields` are the sample's own."""
        turns = () if answer is None else (Turn("assistant", answer, thinking, truncated, weights_id),)
        return cls(id, task, turns, **fields)

    @property
    def last_turn(self) -> Turn:
        """The last assistant turn; an empty one where there is none."""
        turns = self.turns
        if turns and turns[-1].role == "assistant":  # nearly always
            return turns[-1]
        for turn in reversed(turns):
            if turn.role == "assistant":
                return turn
        return NO_TURN

    @property
    def answer(self) -> str:
        """The text of the last assistant turn, without its thinking."""
        return self.last_turn.content

    @property
    def thinking(self) -> str | None:
        """The thinking of the last assistant turn; None where it has no tags."""
        return self.last_turn.thinking

    @property
    def truncated(self) -> bool:
        """Whether the last assistant turn was cut off."""
        return self.last_turn.truncated

    @property
    def weights_id(self) -> str:
        """The weights that generated the last assistant turn."""
        return self.last_turn.weights_id

    def judged(self, verdict: Verdict) -> Sample:
        """This sample with one more verdict."""
        return msgspec.structs.replace(self, verdicts=(*self.verdicts, verdict))

    def next_attempt(self) -> Sample:
        """The same sample on its next attempt; the bus calls it when a retry edge is taken."""
        return msgspec.structs.replace(self, attempt=self.attempt + 1)


def changed(sample: Sample, **fields: Any) -> Sample:
    """A copy of `sample` with some fields replaced.

    `answer`, `thinking`, `truncated` and `weights_id` replace those of the last assistant turn, which is added where
    the sample has none. A new answer or thinking drops the turn's token ids and log-probabilities: they are another
    text's.
    """
    if "answer" in fields or "thinking" in fields or "truncated" in fields or "weights_id" in fields:
        old, turns = sample.last_turn, sample.turns
        same_text = "answer" not in fields and "thinking" not in fields
        turn = Turn(
            old.role,
            fields.pop("answer", old.content),
            fields.pop("thinking", old.thinking),
            fields.pop("truncated", old.truncated),
            fields.pop("weights_id", old.weights_id),
            old.token_ids if same_text else (),
            old.logprobs if same_text else None,
        )
        if old is NO_TURN:
            fields["turns"] = (*turns, turn)
        elif turns[-1] is old:  # nearly always
            fields["turns"] = (*turns[:-1], turn)
        else:
            fields["turns"] = tuple(turn if each is old else each for each in turns)
    return msgspec.structs.replace(sample, **fields)


class Weights(NamedTuple):
    """A set of weights: its id, made from the bytes, and the model folder that holds it."""

    id: str
    folder: Path


class Drained(msgspec.Struct, frozen=True):
    """Every sample that was asked for has ended. The generator's message to the trainer.

    In reinforcement learning `step` counts the round's optimizer steps from 1, `wave` how often the step asked for
    more prompts, `asked` the step's prompts so far, `prompts` those of the round by kind, and `seconds` the time that
    the step's sampling took. `stop` says why the round must end now and be rolled back, where it must.
    """

    round: int
    step: int = 0
    wave: int = 0
    asked: int = 0
    prompts: dict[str, int] = {}
    seconds: float = 0.0
    stop: str = ""


class MorePrompts(msgspec.Struct, frozen=True):
    """A step lacks groups with a signal: the trainer asks the generator for `prompts` more prompts, as wave `wave`."""

    round: int
    step: int
    wave: int
    prompts: int
    verdicts: tuple[Verdict, ...] = ()

    def judged(self, verdict: Verdict) -> MorePrompts:
        """This message with one more verdict."""
        return msgspec.structs.replace(self, verdicts=(*self.verdicts, verdict))


class Stepped(msgspec.Struct, frozen=True):
    """The weights after one optimizer step, on their way from the trainer to the generator, which samples from them.

    A verdict with the outcome `drop` ends the round: it is rolled back.
    """

    round: int
    step: int
    weights: Weights
    verdicts: tuple[Verdict, ...] = ()

    def judged(self, verdict: Verdict) -> Stepped:
        """This message with one more verdict."""
        return msgspec.structs.replace(self, verdicts=(*self.verdicts, verdict))


class Candidate(msgspec.Struct, frozen=True):
    """New weights of a round, on their way from the trainer to the evaluator.

    `failure` says why the update gave no weights that could be measured. A verdict with the outcome `drop` refuses the
    candidate: the evaluator rolls back without measuring it.
    """

    round: int
    weights: Weights
    failure: str = ""
    verdicts: tuple[Verdict, ...] = ()

    def judged(self, verdict: Verdict) -> Candidate:
        """This candidate with one more verdict."""
        return msgspec.structs.replace(self, verdicts=(*self.verdicts, verdict))


class Decision(msgspec.Struct, frozen=True):
    """What the gate decided, on its way from the evaluator to the generator: `promote`, `hold` or `rollback`.

    A verdict with the outcome `drop` overrules a promotion: the round continues with `current`, the weights accepted
    before it.
    """

    round: int
    decision: str
    reason: str
    current: Weights
    candidate: Weights
    verdicts: tuple[Verdict, ...] = ()

    def judged(self, verdict: Verdict) -> Decision:
        """This decision with one more verdict."""
        return msgspec.structs.replace(self, verdicts=(*self.verdicts, verdict))

    @property
    def accepted(self) -> Weights:
        """The weights to continue with."""
        promoted = self.decision == "promote" and refusal(self.verdicts) is None
        return self.candidate if promoted else self.current


def refusal(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The first verdict that refuses what it judges; None when none does."""
    return next((verdict for verdict in verdicts if verdict.outcome == Outcome.DROP), None)
