"""The cards of the model and of the data set, made from the run's record alone.

A card claims nothing that is not in the record, and says what is unknown: a licence is only named when given.
"""

from __future__ import annotations

import html
from collections import Counter
from typing import Any, NamedTuple

import yaml

from funreason.export.rows import COLUMNS
from funreason.record.plain import plain
from funreason.record.state import State

GATE = (
    "Old and new weights of each round on the same held-out items; the interval (Wilson, 95 %) is of the new, p is "
    "McNemar's, exact. A suite that a gate reads every round flatters what it lets through."
)


class About(NamedTuple):
    """What a card needs beside the record: names and licences, as given or as in the configuration."""

    name: str
    base: str
    tasks: str
    license: str | None
    data_license: str | None
    weights: str


def model_card(state: State, about: About) -> str:
    """The model's README in Markdown, with front matter as hubs read it."""
    head = {
        "license": about.license or "unknown",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["function-calling", "tool-use", "funreason"],
    }
    rounds = [(k, r) for k, r in sorted(state.rounds.items()) if r.nodes]
    origins = sorted({origin for _, r in rounds for origin in r.origins})
    lines = [f"| round | trained on | {' | '.join(origins)} |", f"|---|---|{'---|' * len(origins)}"]
    for k, r in rounds:
        trained = r.chosen.trained if r.chosen else 0
        lines.append(f"| {k} | {trained} | {' | '.join(str(r.origins[o]) for o in origins)} |")
    supervised = ""
    if (start := state.rounds.get(0)) and start.chosen:
        supervised = (
            f"Before the rounds it was trained on {start.chosen.trained} reference answers, which is supervised "
            "training."
        )
    parts = [
        _front(head),
        f"# {_md(about.name)}",
        f"A function-calling model: {_code(about.base)}, trained by FunReason on its own judged answers to the queries "
        f"of {_code(about.tasks)}. Weights {_code(about.weights)}.",
        supervised,
        f"## Gate\n\n{GATE}\n\n{_gate_table(state)}",
        "## Data\n\nAnswers of the model that passed five stages of judgement. *Repaired* and *reference* answers are "
        "supervised: they were written from known right answers.\n\n" + "\n".join(lines),
        "## Licence\n\n" + _licences(about),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def dataset_card(state: State, about: About, rows: int, origins: Counter[str]) -> str:
    """The data set's README in Markdown; `rows` and `origins` are of what was written."""
    head = {
        "license": about.data_license or "unknown",
        "task_categories": ["text-generation"],
        "tags": ["function-calling", "tool-use", "funreason"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "train.parquet"}]}],
    }
    columns = "\n".join(f"| `{name}` | {text} |" for name, text in COLUMNS.items())
    counts = "\n".join(f"| {_md(origin)} | {count} |" for origin, count in origins.most_common())
    parts = [
        _front(head),
        f"# Refined samples of {_md(about.name)}",
        f"{rows} answers to queries of {_code(about.tasks)} that a model gave itself and five stages of judgement "
        "kept: rows of one run, not a benchmark. A query may occur more than once.",
        f"| origin | rows |\n|---|---|\n{counts}",
        f"| column | what it holds |\n|---|---|\n{columns}",
        "## Licence\n\n" + _licences(about),
    ]
    return "\n\n".join(parts) + "\n"


def _front(head: dict[str, Any]) -> str:
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---"


def _gate_table(state: State) -> str:
    lines = ["| round | suite | items | old | new | 95 % | p | decision |", "|---|---|---|---|---|---|---|---|"]
    for k, r in sorted(state.rounds.items()):
        if r.gate is None:
            continue
        name = "start" if k == 0 else str(k)
        for suite, s in r.gate.by_slice.items():
            old, new = (f"{100 * right / max(1, s.total):.1f}" for right in (s.old, s.new))
            score = f"{s.total} | {old} | {new} | {100 * s.low:.1f}–{100 * s.high:.1f} | {s.p:.3f}"
            lines.append(f"| {name} | {_md(suite)} | {score} | {r.gate.decision} |")
    return "\n".join(lines)


def _licences(about: About) -> str:
    model, data = (f"{_md(word)}" if word else "not stated" for word in (about.license, about.data_license))
    return (
        f"Model: {model}. Data: {data}. Both follow from those of {_code(about.base)} and of {_code(about.tasks)}, "
        "look them up before you publish this."
    )


def _md(text: str) -> str:
    escaped = html.escape(plain(text), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|#" else c for c in escaped)


def _code(text: str) -> str:
    return f"`{plain(text).replace('`', chr(39)).replace('|', '/')}`"
