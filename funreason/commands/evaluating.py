"""`funreason eval`: a model's answers to a suite, and their score.

What goes into a result folder names what made it (`eval.json`), so that answers of other weights, another suite or
another prompt are never mixed with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from funreason.bfcl import Case
from funreason.commands import terminal
from funreason.commands.comparing import compare_results
from funreason.commands.contestants import Asked, contestant, slug
from funreason.commands.results import FACTS, OUTPUTS, Wanted, read_facts
from funreason.commands.scoring import export, report, score_folder
from funreason.config import ConfigError
from funreason.evaluate.answers import CaseAnswer, answer_cases, answer_notes, prompter
from funreason.evaluate.suites import OFFICIAL, Cases, Selection, digest, load_suite, select
from funreason.policies.policy import Policy
from funreason.policies.protocol import ChatError
from funreason.record.folder import RecordError, write_json
from funreason.sources.tasks import TOOLBOX

EVALS = Path("evals")
OK, INTERRUPTED = 0, 130


def run_eval(
    asked: Asked, wanted: Wanted, outputs: Path | None, compare: tuple[Path, Path] | None, settings: list[str]
) -> int:
    """Score a model, or outputs that are there, or compare two results; the exit code."""
    if outputs is not None and compare is not None:
        raise ConfigError("--outputs scores one folder, --compare two: give one of them")
    if compare is not None:
        return compare_results(*compare, wanted)
    if outputs is not None:
        return score_folder(outputs, wanted)
    return _evaluate(asked, wanted, settings)


def _evaluate(asked: Asked, wanted: Wanted, settings: list[str]) -> int:
    suite = wanted.suite or OFFICIAL
    out = wanted.out or EVALS / f"{slug(suite)}-{slug(asked.name)}"
    cases = load_suite(suite, out)
    chosen, notes = select(cases, wanted.categories, wanted.limit)
    _check_export(wanted, cases, chosen)
    who = contestant(asked, wanted.max_new_tokens, settings)
    facts = {
        "suite": suite if suite == OFFICIAL or suite.startswith(TOOLBOX) else str(Path(suite).resolve()),
        "suite_digest": digest(cases),
        "model": who.model,
        "weights": who.weights,
        "prompt": wanted.prompt or ("bfcl" if suite == OFFICIAL else who.policy.style),
        "max_new_tokens": who.max_new_tokens,
    }
    claim(out, facts)
    console = terminal.console(soft_wrap=True)
    console.print(f"{len(chosen)} cases of {suite}, weights {who.weights}, into {out}", markup=False)
    try:
        answers = _answers(console, who.policy, str(facts["prompt"]), list(chosen.values()), out)
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on where this one stood")
        return INTERRUPTED
    except ChatError:
        console.print("stopped; the same command goes on where this one stood")
        raise
    finally:
        if (cost := who.cost()) is not None:
            console.print(cost, markup=False)
    texts = {answer.id: answer.output for answer in answers.values()}
    report(console, Selection(chosen, [*notes, *answer_notes(answers, chosen)]), texts, wanted, out, facts)
    export(console, wanted, cases, texts)
    return OK


def claim(out: Path, facts: dict[str, Any]) -> None:
    """Make `out` the folder of these facts. RecordError when it holds answers of others."""
    before = read_facts(out)
    if before is not None:
        apart = [name for name in facts if name != "model" and before.get(name) != facts[name]]
        if apart:
            said = "; ".join(f"{name} was {before.get(name)!r} and is now {facts[name]!r}" for name in apart)
            raise RecordError(f"{out} holds other results: {said}. Choose another --out.")
    elif (out / OUTPUTS).exists():
        raise RecordError(f"{out / OUTPUTS} is there, but no {FACTS} that says what made it; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / FACTS, facts)


def _answers(console: Console, policy: Policy, style: str, cases: list[Case], out: Path) -> dict[str, CaseAnswer]:
    with Progress(console=console) as progress:
        bar = progress.add_task("answering", total=len(cases))
        return answer_cases(
            policy.sampler,
            prompter(style, policy.tokenizer, tags=policy.tags, variables=policy.variables),
            cases,
            out / OUTPUTS,
            lambda count: progress.advance(bar, count),
            tags=policy.tags,
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
