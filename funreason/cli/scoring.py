"""Commands that score a model under BFCL's rules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from funreason.cli.app import Setting, Strict, app, bfcl


@app.command(name="eval")
def evaluate(
    *,
    model: str = "toolbox",
    endpoint_model: str | None = None,
    key_env: str | None = None,
    suite: str | None = None,
    outputs: Path | None = None,
    compare: Annotated[tuple[Path, Path] | None, Parameter(negative="")] = None,
    categories: str | None = None,
    limit: int | None = None,
    live: Literal["v3", "v4"] = "v4",
    prompt: Literal["bfcl", "native", "text"] | None = None,
    max_new_tokens: int | None = None,
    out: Path | None = None,
    export: Path | None = None,
    partial: bool = False,
    set: Setting = None,
) -> int:
    """Score a model on a suite, greedily; or score outputs that are there already; or compare two results.

    Interrupted, the same command goes on where it stood.

    Parameters
    ----------
    model
        A model folder, or the address of an OpenAI-compatible server (http://host:port/v1); `toolbox` is the
        embedded one.
    endpoint_model
        The name the server knows the model by. Default: the only one it lists.
    key_env
        The NAME of the environment variable that holds the server's key.
    suite
        `bfcl-v4` (the default, see `funreason bfcl fetch`), `toolbox:new_gate` or another split, or a folder in
        BFCL's form. Results that are there already know their suite.
    outputs
        Score this folder instead of a model: official-form result files, or what an earlier eval wrote.
    compare
        Two such folders, old and new: paired by case, per category, significant or not.
    categories
        Only these, separated by commas.
    limit
        At most so many cases of each category, the first ones: a quick look, no leaderboard number.
    live
        What the Live number counts: v4 the call categories, v3 irrelevance and relevance as well.
    prompt
        `bfcl` as the leaderboard asks; `native`, `text` as the loop does. Default: bfcl for bfcl-v4, else model.prompt.
    max_new_tokens
        Longest answer. Default: a quarter of the model's context, at most 4096; 4096 where a server does not say.
    out
        Where outputs and scores are written. Default: evals/<suite>-<model>.
    export
        Also write the tree that the official `bfcl evaluate` reads, into this fresh folder.
    partial
        With --outputs, --compare or --export: accept categories that are not whole; what is missing is counted.
    set
        Change one setting, such as --set model.device=cuda or --set budget.requests=5000.
    """
    from funreason.commands.contestants import Asked
    from funreason.commands.evaluating import run_eval
    from funreason.commands.results import Wanted

    chosen = [name.strip() for name in categories.split(",")] if categories is not None else None
    wanted = Wanted(suite, chosen, limit, live, prompt, max_new_tokens, out, export, partial)
    asked = Asked(model, endpoint_model, key_env)
    return run_eval(asked, wanted, outputs, compare, set or [])


@bfcl.command(name="fetch")
def bfcl_fetch(*, wheel: Path | None = None) -> int:
    """Get the official data, 2 MB by pip, into the user's cache.

    Parameters
    ----------
    wheel
        A wheel that was downloaded elsewhere: then no network is used.
    """
    from funreason.commands.bfcl_suites import run_fetch

    return run_fetch(wheel)


@bfcl.command(name="make")
def bfcl_make(file: Path, /, *, out: Path, prefix: str = "USER", strict: Strict = False) -> int:
    """Turn records with reference answers into a suite in BFCL's form.

    Parameters
    ----------
    file
        xLAM, share-gpt, OpenAI or BFCL form; .json, .jsonl, .gz. Keep these records out of training.
    out
        The folder of the suite.
    prefix
        What stands before the category in the files' names.
    """
    from funreason.commands.bfcl_suites import run_make

    return run_make(file, out, prefix, strict=strict)


@bfcl.command(name="validate")
def bfcl_validate(suite: Path, /) -> int:
    """Say what is wrong with a suite: files that do not align, unknown types, cases their own answer does not solve.

    Parameters
    ----------
    suite
        A folder in BFCL's form.
    """
    from funreason.commands.bfcl_suites import run_validate

    return run_validate(suite)
