"""`evaluate`: a model's score on a suite under BFCL's rules."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from funreason.bfcl import check_in
from funreason.bfcl.scores import SCORE_HEADS, Scores, markdown, score, score_cells
from funreason.calls.call_format import PYTHONIC
from funreason.errors import naming_extras
from funreason.evaluation.answers import (
    OFFICIAL,
    answer_cases,
    answer_notes,
    check_cases,
    load_suite,
    prompter,
    select,
)
from funreason.evaluation.models import ModelChoice, load_model


@dataclass(frozen=True, repr=False)
class Evaluation:
    """A model's score on a suite under BFCL's rules."""

    suite: str
    model: str
    scores: Scores
    outputs: dict[str, str]
    """The answer to each case, without its thinking."""
    valid: dict[str, bool]
    """Whether each answer is right."""
    notes: list[str] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        """The share of cases that are right, over all categories."""
        count = self.scores.all_items()
        return count.correct / count.total

    def __str__(self) -> str:
        rows = [score_cells(row) for row in self.scores.rows() if row.total is not None]
        return markdown(f"{self.model} on {self.suite}", SCORE_HEADS, rows, self.notes)

    def __repr__(self) -> str:
        return str(self)


@naming_extras()
def evaluate(
    model: str | Path = "toolbox",
    suite: str = "bfcl-v4",
    *,
    categories: Sequence[str] | None = None,
    limit: int | None = None,
    max_new_tokens: int | None = None,
    endpoint_model: str | None = None,
    key_env: str | None = None,
) -> Evaluation:
    """Score a model under BFCL's rules, decoding greedily.

    Args:
        model: a model folder, the address of an OpenAI-compatible server, or `toolbox`, the embedded model.
        suite: `bfcl-v4` (see `funreason bfcl fetch`), `toolbox:<split>`, or a folder in BFCL's form.
        categories: only these; default: all of the suite.
        limit: at most this many cases of each category, the first ones.
        max_new_tokens: longest answer in tokens; default: a quarter of the model's context, at most 4,096.
        endpoint_model: the name the server knows the model by.
        key_env: the name of the environment variable that holds the server's key.

    Raises:
        ConfigError: no such suite or category.
        ModelError: the model cannot be used.
        BfclError: the suite's files are not as they should be.
    """
    with tempfile.TemporaryDirectory(prefix="funreason-eval-") as folder:
        cases = load_suite(suite, Path(folder))
        selection = select(cases, categories, limit)
        loaded = load_model(ModelChoice(str(model), endpoint_model, key_env), max_new_tokens, [])
        policy = loaded.policy
        style = "bfcl" if suite == OFFICIAL else policy.style
        how = policy.how | {"style": style}
        said = [*policy.notes, *check_cases(tokenizer=policy.tokenizer, cases=selection.cases.values(), **how)]
        answers = answer_cases(
            policy.sampler,
            prompter(tokenizer=policy.tokenizer, **how),
            list(selection.cases.values()),
            Path(folder) / "outputs.jsonl",
            tags=policy.tags,
        )
    outputs = {id: answer.output for id, answer in answers.items()}
    form = PYTHONIC if suite == OFFICIAL else policy.call_format
    valid = {id: check_in(selection.cases[id], output, form).valid for id, output in outputs.items()}
    notes = [*selection.notes, *said, *answer_notes(answers, selection.cases)]
    return Evaluation(suite, loaded.model, score(selection.cases, valid), outputs, valid, notes)
