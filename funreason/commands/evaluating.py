"""`funreason eval`: a model's answers to a suite, and their score.

What goes into a result folder names what made it (`eval.json`), so that answers of other weights, another suite or
another prompt are never mixed with it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from funreason.bfcl import Case
from funreason.commands.scoring import FACTS, OUTPUTS, Wanted, compare_results, report, score_folder
from funreason.commands.settings import read_config
from funreason.config import ConfigError
from funreason.loops.building import build_policy, model_path
from funreason.loops.evaluation import Answer, answer_cases, answer_notes, prompter
from funreason.loops.suites import OFFICIAL, Cases, Selection, digest, load_suite, select
from funreason.models.policy import Policy
from funreason.record.folder import RecordError, write_json

EVALS = Path("evals")
MOST_TOKENS, CONTEXT_SHARE = 4_096, 4
INTERRUPTED = 130


def run_eval(
    model: str, wanted: Wanted, outputs: Path | None, compare: tuple[Path, Path] | None, settings: list[str]
) -> int:
    """Score a model, or outputs that are there, or compare two results; the exit code."""
    if outputs is not None and compare is not None:
        raise ConfigError("--outputs scores one folder, --compare two: give one of them")
    if compare is not None:
        return compare_results(*compare, wanted)
    if outputs is not None:
        return score_folder(outputs, wanted)
    return _evaluate(model, wanted, settings)


def _evaluate(model: str, wanted: Wanted, settings: list[str]) -> int:
    suite = wanted.suite or OFFICIAL
    if "://" in model:
        raise ConfigError(f"--model {model}: only model folders are evaluated, not addresses; give a folder")
    out = wanted.out or EVALS / f"{_slug(suite)}-{_slug(str(Path(model).resolve().name))}"
    cases = load_suite(suite, out)
    selection = select(cases, wanted.categories, wanted.limit)
    _check_export(wanted, cases, selection.cases)
    tokens = wanted.max_new_tokens or longest_answer(model_path(model))
    config = read_config("default", {"model.path": model, "sample.max_new_tokens": tokens}, settings)
    policy, base = build_policy(config)
    style = wanted.prompt or ("bfcl" if suite == OFFICIAL else "native")
    facts = {
        "suite": suite if suite == OFFICIAL or ":" in suite else str(Path(suite).resolve()),
        "suite_digest": digest(cases),
        "model": str(model_path(model)),
        "weights": base.weights_id,
        "prompt": style,
        "max_new_tokens": config.sample.max_new_tokens,
    }
    claim(out, facts)
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{len(selection.cases)} cases of {suite}, weights {base.weights_id}, into {out}", markup=False)
    try:
        answers = _answers(console, policy, style, list(selection.cases.values()), out)
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on where this one stood")
        return INTERRUPTED
    notes = [*selection.notes, *answer_notes(answers, selection.cases)]
    texts = {answer.id: answer.output for answer in answers.values()}
    report(console, cases, Selection(selection.cases, notes), texts, wanted, out, facts)
    return 0


def claim(out: Path, facts: dict[str, Any]) -> None:
    """Make `out` the folder of these facts. RecordError when it holds answers of others."""
    path = out / FACTS
    if path.exists():
        before = json.loads(path.read_text())
        apart = [name for name in facts if name != "model" and before.get(name) != facts[name]]
        if apart:
            said = "; ".join(f"{name} was {before.get(name)!r} and is now {facts[name]!r}" for name in apart)
            raise RecordError(f"{out} holds other results: {said}. Choose another --out.")
    elif (out / OUTPUTS).exists():
        raise RecordError(f"{out / OUTPUTS} is there, but no {FACTS} that says what made it; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, facts)


def longest_answer(folder: Path) -> int:
    """A quarter of the model's context, at most 4,096 tokens: room for thinking, and for the functions."""
    file = folder / "config.json"
    data = json.loads(file.read_text()) if file.is_file() else {}
    context = data.get("text_config", data).get("max_position_embeddings") or MOST_TOKENS
    return min(MOST_TOKENS, int(context) // CONTEXT_SHARE)


def _answers(console: Console, policy: Policy, style: str, cases: list[Case], out: Path) -> dict[str, Answer]:
    with Progress(console=console) as progress:
        bar = progress.add_task("answering", total=len(cases))
        return answer_cases(
            policy.sampler,
            prompter(style, policy.tokenizer),
            cases,
            out / OUTPUTS,
            lambda count: progress.advance(bar, count),
        )


def _check_export(wanted: Wanted, cases: Cases, selected: Cases) -> None:
    """What would only come to light behind hours of sampling."""
    if wanted.export is None:
        return
    if (wanted.export / "result").exists():
        raise ConfigError(f"--export {wanted.export}: there are results already; give a fresh folder")
    ran = {case.category for case in selected.values()}
    absent = sum(case.category in ran and case.id not in selected for case in cases.values())
    if absent and not wanted.partial:
        raise ConfigError(f"--export: {absent} cases would be missing, where the official command stops; add --partial")


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-")
