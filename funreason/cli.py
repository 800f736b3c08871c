"""The commands. Each is one screen, and imports what it needs inside: `funreason --help` loads no torch.

Exit codes: 0 ok, 1 failure, 2 wrong usage, 3 the gate refused every round, 130 interrupted.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter

import funreason

OK, FAILED, USAGE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 130
RUNS = Path("runs")

app = App(
    name="funreason",
    help="A language model becomes a better function caller by judging, repairing and learning from its own calls.",
    version=funreason.__version__,
    help_format="plaintext",
)
dlq = App(name="dlq", help="Samples that failed: the dead letters of a run.")
runs_app = App(name="runs", help="All runs: look them over, check their files, free space.")
config_app = App(name="config", help="The configuration: look at it, check it.")
bfcl = App(name="bfcl", help="The leaderboard's data, and suites of your own in its form.")
agents = App(name="agents", help="Agents: which can be named by a word, and whether yours keeps the contract.")
app.command(agents)
app.command(dlq)
app.command(runs_app)
app.command(config_app)
app.command(bfcl)

Setting = Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=False)]


@app.command
def loop(
    *,
    config: str | None = None,
    rounds: int | None = None,
    tasks: Path | None = None,
    model: str | None = None,
    run_dir: Path | None = None,
    seed: int | None = None,
    strict: bool = False,
    set: Setting = None,
    resume: str | None = None,
    no_cache: Annotated[bool, Parameter(negative="")] = False,
    tui: Annotated[bool, Parameter(negative="")] = False,
    track: Annotated[list[str] | None, Parameter(negative="", consume_multiple=False)] = None,
) -> int:
    """Sample, judge, learn, gate; round after round. Without options: the embedded domain and model, on any CPU.

    Parameters
    ----------
    config
        A YAML file, or a name in configs/. Default: `default`, or `own-data` with --tasks.
    rounds
        How many rounds to play.
    tasks
        A data file of your own: xLAM, share-gpt, OpenAI or BFCL form; .json, .jsonl, .gz.
    model
        A model folder: safetensors, config and tokenizer.
    run_dir
        Where run folders are made. Default: runs.
    seed
        The seed of everything random.
    strict
        Refuse a task file with one malformed record, instead of leaving that record out.
    set
        Change one setting: --set sample.k=8. Can be given several times.
    resume
        Go on with an interrupted run: its name or folder. Beside it may stand --rounds, --run-dir,
        --set budget.… and --set sample.endpoints=….
    no_cache
        Ask the LLM judges everything anew: no verdict is read from the cache, none is kept.
    tui
        Show the run in the dashboard, as `funreason watch` does. Quitting it leaves the run going.
    track
        Follow the run in tensorboard, wandb or trackio, from a process of its own. Can be given several times.
    """
    from funreason.commands.looping import run_loop

    changes: dict[str, object] = {"rounds": rounds, "tasks.path": tasks, "tasks.strict": strict or None}
    changes |= {"model.path": model, "run_dir": run_dir, "seed": seed, "fcdr.llm.cache": False if no_cache else None}
    given = {
        key: str(value) if isinstance(value, Path) else value for key, value in changes.items() if value is not None
    }
    return run_loop(config, given, set or [], resume, tui=tui, track=track or [])


@app.command
def refine(
    file: Path | None = None,
    /,
    *,
    out: Path | None = None,
    replay: str | None = None,
    config: str | None = None,
    strict: bool = False,
    no_cache: Annotated[bool, Parameter(negative="")] = False,
    set: Setting = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Judge and repair the samples of a data file with the five stages (FCDR), by default without any model.

    With --replay: what other settings would have made of a run's verdicts. No model is asked, nothing is written.

    Parameters
    ----------
    file
        xLAM, share-gpt, OpenAI or BFCL form; .json, .jsonl, .gz.
    out
        A new folder for what is kept, what is not and why.
    replay
        A run, by name or folder, in place of FILE and --out: its verdicts are routed again as --set says, such as
        --set fcdr.threshold=0.8, --set fcdr.skip=[cot] or --set fcdr.move={query_tool: cot}.
    config
        A YAML file, or a name in configs/; its `fcdr` part is used. Default: `own-data`, with --replay the run's own.
    strict
        Refuse a file with one malformed record, instead of leaving that record out.
    no_cache
        Ask the LLM judges everything anew: no verdict is read from the cache, none is kept.
    set
        Change one setting, such as --set fcdr.require_thinking=true.
    json
        With --replay: the numbers as JSON.
    """
    from funreason.commands.refining import run_refine
    from funreason.commands.rerouting import check_options, run_replay

    given: dict[str, object] = {"tasks.strict": True} if strict else {}
    given |= {"fcdr.llm.cache": False} if no_cache else {}
    check_options(replay, {"FILE": file, "--out": out}, {"--strict": strict, "--no-cache": no_cache}, as_json=json)
    if replay is not None or file is None or out is None:
        return run_replay(replay, RUNS, config, set or [], as_json=json)
    return run_refine(file, out, config or "own-data", given, set or [])


@app.command
def convert(
    file: Path, /, *, to: Literal["xlam", "sharegpt", "openai", "bfcl"], out: Path, strict: bool = False
) -> int:
    """Write a data file in another form; a record that would not come back the same is rejected and counted.

    Parameters
    ----------
    file
        xLAM, share-gpt, OpenAI or BFCL form; .json, .jsonl, .gz.
    to
        The form to write.
    out
        A new file; for bfcl a folder, which gets possible_answer/ as well.
    strict
        Refuse a file with one malformed record, instead of leaving that record out.
    """
    from funreason.commands.converting import run_convert

    return run_convert(file, to, out, strict=strict)


@app.command
def train(
    file: Path,
    /,
    *,
    out: Path,
    model: str | None = None,
    config: str = "default",
    preview: int = 2,
    set: Setting = None,
) -> int:
    """Train once with the two-part loss on a data file, and show which tokens count as thinking and as result.

    Parameters
    ----------
    file
        Records with answers; their reference is learnt.
    out
        A new folder for the model.
    model
        A model folder. Default: the embedded one.
    config
        A YAML file, or a name in configs/; its `train.update` part is used.
    preview
        Of how many samples to show the mask.
    set
        Change one setting, such as --set train.update.alpha=0.5.
    """
    from funreason.commands.training import run_train

    return run_train(file, out, model, config, preview, set or [])


@app.command
def status(run: str | None = None, /, *, json: bool = False, run_dir: Path = RUNS) -> int:
    """Where a run stands: the newest one, or one by name or folder.

    Parameters
    ----------
    run
        Its name or folder. Default: the newest.
    json
        Print everything as JSON.
    run_dir
        Where runs lie.
    """
    from funreason.commands.looking import show_status

    return show_status(run, run_dir, as_json=json)


@app.command
def watch(
    run: str | None = None,
    /,
    *,
    against: str | None = None,
    serve: bool = False,
    port: int = 8023,
    run_dir: Path = RUNS,
) -> int:
    """The dashboard: watch a live or finished run think. It only reads; quitting it leaves the run alone.

    Parameters
    ----------
    run
        Its name or folder. Default: the newest.
    against
        Another run to compare with.
    serve
        Serve it to a browser on this machine instead of this terminal.
    port
        The port for --serve, on localhost only.
    run_dir
        Where runs lie.
    """
    if serve:
        from funreason.commands.serving import serve as serve_it

        return serve_it(run, run_dir, port)
    from funreason.commands.watching import watch as watch_it

    return watch_it(run, run_dir, against)


@app.command
def replay(run: str | None = None, /, *, speed: float = 1.0, run_dir: Path = RUNS) -> int:
    """The dashboard over a recorded run, played like a film.

    Parameters
    ----------
    run
        Its name or folder. Default: the newest.
    speed
        How many times faster than it was.
    run_dir
        Where runs lie.
    """
    from funreason.commands.watching import replay as play

    return play(run, run_dir, speed)


@app.command
def report(run: str | None = None, /, *, out: Path | None = None, run_dir: Path = RUNS) -> int:
    """Write a run as pictures: one HTML file that needs no network, and Markdown for a repository.

    Parameters
    ----------
    run
        Its name or folder. Default: the newest.
    out
        Where report.html and report.md are written. Default: the run's folder.
    run_dir
        Where runs lie.
    """
    from funreason.commands.reporting import write_report

    return write_report(run, run_dir, out)


@app.command
def track(
    run: str | None = None,
    /,
    *,
    to: str,
    follow: Annotated[bool, Parameter(negative="")] = False,
    pid: Annotated[int | None, Parameter(show=False)] = None,
    run_dir: Path = RUNS,
) -> int:
    """Show a run in an experiment tracker, from its record: losses by step, rates and gate by round.

    Parameters
    ----------
    run
        Its name or folder. Default: the newest.
    to
        `tensorboard`, `wandb` or `trackio`; each is an extra of the same name.
    follow
        Go on until the run ends.
    run_dir
        Where runs lie.
    """
    from funreason.commands.tracking import run_track

    return run_track(run, run_dir, to, follow=follow, pid=pid)


@app.command
def export(
    run: str | None = None,
    /,
    *,
    to: Path,
    license: str | None = None,
    data_license: str | None = None,
    run_dir: Path = RUNS,
) -> int:
    """Write a run for others: the accepted model with a card, the refined data as Parquet and for LLaMA-Factory.

    Parameters
    ----------
    run
        Its name or folder. Default: the newest.
    to
        A new folder.
    license
        The model's licence, for its card.
    data_license
        The data's licence, for its card.
    run_dir
        Where runs lie.
    """
    from funreason.commands.exporting import run_export

    return run_export(run, run_dir, to, license, data_license)


@app.command
def graph(*, config: str = "default", mermaid: bool = False, set: Setting = None) -> int:
    """Check the graph of agents and draw it.

    Parameters
    ----------
    config
        A YAML file, or a name in configs/.
    mermaid
        As Mermaid text instead of a drawing for the terminal.
    set
        Change one setting.
    """
    from funreason.commands.looking import show_graph

    return show_graph(config, set or [], mermaid=mermaid)


@app.command
def show(sample: str, /, *, run: str | None = None, run_dir: Path = RUNS) -> int:
    """The whole story of a sample: query, tools, thinking and call of each attempt, every verdict.

    Parameters
    ----------
    sample
        Its id, or the end of it.
    run
        The run's name or folder. Default: the newest.
    run_dir
        Where runs lie.
    """
    from funreason.commands.looking import show_sample

    return show_sample(sample, run, run_dir)


@app.command
def plan(
    *,
    config: str = "default",
    model: str | None = None,
    gpu: str = "a100-80",
    gpus: int | None = None,
    gpu_memory: float | None = None,
    tflops: float | None = None,
    bandwidth: float | None = None,
    prompt_tokens: int = 400,
    answer_tokens: int = 382,
    mfu: float = 0.4,
    json: bool = False,
    set: Setting = None,
) -> int:
    """Compute what a configuration needs on GPUs, memory and hours, before anything starts. Exit code 1: too little.

    Reads the model's config.json alone: no weights, no torch, no hub.

    Parameters
    ----------
    config
        A YAML file, or a name in configs/.
    model
        A model folder or a config.json, instead of the configuration's.
    gpu
        a100-80, a100-40, h100, h200, l40s, a10, l4, rtx4090 or rtx3090.
    gpus
        How many of them. Default: as many as the configuration's update has processes.
    gpu_memory
        GiB of each, instead of the chip's own.
    tflops
        Dense bf16 TFLOP/s, instead of the chip's own.
    bandwidth
        TB/s of its memory, instead of the chip's own.
    prompt_tokens
        How long your prompts are on average, tools included.
    answer_tokens
        How long answers are on average, thinking included. Default: the paper's mean.
    mfu
        The share of the peak that training reaches.
    json
        Print everything as JSON: bytes, tokens, seconds.
    set
        Change one setting, such as --set train.update.gradient_checkpointing=true.
    """
    from funreason.commands.planning import Asked, run_plan

    asked = Asked(gpu, gpus, gpu_memory, tflops, bandwidth, prompt_tokens, answer_tokens, mfu)
    return run_plan(config, model, asked, set or [], as_json=json)


@dlq.command(name="list")
def dlq_list(run: str | None = None, /, *, reason: str = "*", run_dir: Path = RUNS) -> int:
    """Dead letters by reason.

    Parameters
    ----------
    run
        The run's name or folder. Default: the newest.
    reason
        Only reasons like this, for example 'schema.*'.
    run_dir
        Where runs lie.
    """
    from funreason.commands.dead_letters import list_dead

    return list_dead(run, run_dir, reason)


@dlq.command(name="show")
def dlq_show(run: str | None = None, /, *, reason: str = "*", limit: int = 3, run_dir: Path = RUNS) -> int:
    """The whole story of dead letters: query, tools, each attempt, every verdict.

    Parameters
    ----------
    run
        The run's name or folder. Default: the newest.
    reason
        Only reasons like this, for example 'schema.*'.
    limit
        At most so many of each reason.
    run_dir
        Where runs lie.
    """
    from funreason.commands.dead_letters import show_dead

    return show_dead(run, run_dir, reason, limit)


@dlq.command(name="requeue")
def dlq_requeue(run: str | None = None, /, *, reason: str = "*", run_dir: Path = RUNS) -> int:
    """Put the tasks of dead letters back, to be sampled again when the run goes on.

    Parameters
    ----------
    run
        The run's name or folder. Default: the newest.
    reason
        Only reasons like this, for example 'schema.*'.
    run_dir
        Where runs lie.
    """
    from funreason.commands.dead_letters import requeue

    return requeue(run, run_dir, reason)


@runs_app.command(name="list")
def runs_list(*, run_dir: Path = RUNS) -> int:
    """Every run: name, status, rounds, accuracy of the weights accepted last, size.

    Parameters
    ----------
    run_dir
        Where runs lie.
    """
    from funreason.commands.runs import list_runs

    return list_runs(run_dir)


@runs_app.command(name="verify")
def runs_verify(run: str | None = None, /, *, run_dir: Path = RUNS) -> int:
    """Compare a run's files with the hashes in its manifests; names the first file that does not match.

    Parameters
    ----------
    run
        Its name or folder. Default: all.
    run_dir
        Where runs lie.
    """
    from funreason.commands.runs import verify_runs

    return verify_runs(run, run_dir)


@runs_app.command(name="prune")
def runs_prune(
    run: str | None = None, /, *, yes: Annotated[bool, Parameter(negative="")] = False, run_dir: Path = RUNS
) -> int:
    """Remove weights that no gate let through, and what broken-off updates left. Without --yes: only say which.

    Parameters
    ----------
    run
        Its name or folder. Default: all.
    yes
        Remove them.
    run_dir
        Where runs lie.
    """
    from funreason.commands.runs import prune_runs

    return prune_runs(run, run_dir, yes=yes)


@agents.command(name="list")
def agents_list() -> int:
    """The judges that come with this package and those that installed packages offer; broken ones with their error."""
    from funreason.commands.agents import list_agents

    return list_agents()


@agents.command(name="test")
def agents_test(agent: str, /) -> int:
    """Try a judge on ordinary and nasty samples: outcomes, determinism, event loop, speed. Exit code 1 if it fails.

    Parameters
    ----------
    agent
        my_judge.py:no_pii, package.module:name, or the name of an installed agent.
    """
    from funreason.commands.agents import check_agent

    return check_agent(agent)


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
        `bfcl` as the leaderboard asks; `native`, `text` as the loop does. Default: bfcl for bfcl-v4, else native.
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
def bfcl_make(file: Path, /, *, out: Path, prefix: str = "USER", strict: bool = False) -> int:
    """Turn records with reference answers into a suite in BFCL's form.

    Parameters
    ----------
    file
        xLAM, share-gpt, OpenAI or BFCL form; .json, .jsonl, .gz. Keep these records out of training.
    out
        The folder of the suite.
    prefix
        What stands before the category in the files' names.
    strict
        Refuse a file with one malformed record, instead of leaving that record out.
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


@config_app.command(name="show")
def config_show(name: str = "default", /, *, set: Setting = None) -> int:
    """The whole configuration as it would be used, every default spelled out.

    Parameters
    ----------
    name
        A YAML file, or a name in configs/.
    set
        Change one setting.
    """
    from funreason.commands.settings import show_config

    return show_config(name, set or [])


@config_app.command(name="check")
def config_check(name: str = "default", /, *, set: Setting = None) -> int:
    """Check a configuration, its graph and its judges, without starting anything.

    Parameters
    ----------
    name
        A YAML file, or a name in configs/.
    set
        Change one setting.
    """
    from funreason.commands.settings import check

    return check(name, set or [])


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and leave with its exit code; an error that has a sentence of its own is printed as that."""
    # What a model writes is parsed as Python; the parser's remarks on its style would only litter the terminal.
    warnings.simplefilter("ignore", SyntaxWarning)
    try:
        code: Any = app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        code = USAGE
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        from funreason.commands.failing import explain

        code = explain(error)
    sys.exit(code if isinstance(code, int) else OK)
