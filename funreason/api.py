"""The Python front door: `refine`, `run_loop`, `evaluate` and `judge`, objects in and objects out.

Each function does what the command of the same name does, without a terminal. They may be called from a running event
loop, as in a notebook: the work then runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

from funreason.agents.judges.custom import offer_object
from funreason.bfcl import check_in
from funreason.bfcl.scores import SCORE_HEADS, Scores, markdown, score, score_cells
from funreason.calls.call_format import PYTHONIC
from funreason.config import Config, ConfigError, find_config, load_config
from funreason.data.files import write_objects
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
from funreason.loops.refine import ROUND, refine_file
from funreason.loops.self_refinement import config_of, new_run, play
from funreason.record.folder import RecordError, RunFolder, open_run
from funreason.record.sample_files import ENDS, KEPT
from funreason.record.state import State
from funreason.stop import StopRequest
from funreason.types import Outcome, Sample, Verdict

T = TypeVar("T")
Records = str | Path | Iterable[Mapping[str, Any]]
JudgeFunction = Callable[[Sample], Any]


class Judge:
    """A custom judge made of a function; see `judge`."""

    def __init__(
        self, function: JudgeFunction, *, name: str, after: str, edge: str, outcomes: Mapping[str, str]
    ) -> None:
        functools.update_wrapper(self, function)
        self.function, self.name, self.after, self.edge = function, name, after, edge
        self.outcomes = tuple(outcomes)
        self._routes = dict(outcomes)

    async def __call__(self, sample: Sample) -> Any:
        """The function's answer; True and False mean `pass` and `drop`."""
        if inspect.iscoroutinefunction(self.function):
            answer = await self.function(sample)
        else:  # a slow function must not hold up the others
            answer = await asyncio.to_thread(self.function, sample)
        return (Outcome.PASS if answer else Outcome.DROP) if isinstance(answer, bool) else answer

    def entry(self) -> dict[str, Any]:
        """The judge as an entry of the configuration's `agents`."""
        return {
            "name": self.name,
            "agent": offer_object(self.name, self),
            "after": self.after,
            "edge": self.edge,
            "outcomes": self._routes,
        }


@overload
def judge(function: JudgeFunction, /) -> Judge: ...
@overload
def judge(
    *, name: str | None = None, after: str = "cot", edge: str = "pass", outcomes: Mapping[str, str] | None = None
) -> Callable[[JudgeFunction], Judge]: ...


def judge(
    function: JudgeFunction | None = None,
    /,
    *,
    name: str | None = None,
    after: str = "cot",
    edge: str = "pass",
    outcomes: Mapping[str, str] | None = None,
) -> Judge | Callable[[JudgeFunction], Judge]:
    """Make a judge of a function, sync or async, from a `Sample` to a verdict.

        @judge(after="cot")
        def short(sample):
            return len((sample.thinking or "").split()) <= 200

    Args:
        name: the judge's node in the graph; default: the function's name.
        after: the node whose `edge` the judge is put on.
        edge: the outcome of that node.
        outcomes: outcomes beyond `pass`, `drop` and `error`, and the node each leads to.

    Returns:
        A judge for the `judges` of `refine` and `run_loop`. The function answers with True (pass), False (drop), an
        outcome's name or a `Verdict`.
    """

    def decorated(function: JudgeFunction) -> Judge:
        own = name or str(getattr(function, "__name__", type(function).__name__))
        return Judge(function, name=own, after=after, edge=edge, outcomes=outcomes or {})

    return decorated if function is None else decorated(function)


@dataclass(frozen=True)
class RefinedSample:
    """How one sample ended: `end` is `kept`, `text` (kept as ordinary text), `dropped` or `dead`."""

    sample: Sample
    end: str

    @property
    def id(self) -> str:
        """The sample's id: the record's own, or its line."""
        return self.sample.id

    @property
    def kept(self) -> bool:
        """Whether a model may learn from it."""
        return self.end in KEPT

    @property
    def verdict(self) -> Verdict | None:
        """The last verdict, which decided; None where no judge answered."""
        return self.sample.verdicts[-1] if self.sample.verdicts else None

    @property
    def reason(self) -> str:
        """Why it was not kept, as a dotted code such as `schema.missing_required`; empty for what was kept."""
        return "" if self.kept or self.verdict is None else self.verdict.reason


@dataclass(frozen=True)
class Refined(Sequence[RefinedSample]):
    """What became of every record: a sequence of `RefinedSample`, in the order in which samples ended.

    `refused` counts records that never became a sample, by reason. `folder` is the run's folder, None where no `out`
    was given.
    """

    results: list[RefinedSample]
    refused: dict[str, int] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def kept(self) -> list[Sample]:
        """The samples to learn from, repaired ones among them (`Sample.origin` tells)."""
        return [result.sample for result in self.results if result.kept]

    @property
    def lost(self) -> list[RefinedSample]:
        """What was dropped, or failed."""
        return [result for result in self.results if not result.kept]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[RefinedSample]:
        return iter(self.results)

    def __getitem__(self, key: Any) -> Any:
        """A result by position or by its id."""
        if isinstance(key, str):
            found = next((result for result in self.results if result.id == key), None)
            if found is None:
                raise KeyError(f"no sample {key!r}")
            return found
        return self.results[key]

    def __str__(self) -> str:
        reasons = Counter(result.reason for result in self.lost) + Counter(self.refused)
        why = "; " + ", ".join(f"{reason} {n}" for reason, n in reasons.most_common(5)) if reasons else ""
        return f"{len(self.kept):,} kept · {len(self.lost):,} lost · {sum(self.refused.values()):,} refused{why}"


def refine(
    records: Records,
    *,
    judges: Sequence[Judge | JudgeFunction | str] = (),
    stages: str | Mapping[str, str] = "rules",
    config: str | Path | Mapping[str, Any] = "own-data",
    out: str | Path | None = None,
) -> Refined:
    """Judge and repair records of tool calls (FCDR, arXiv 2505.20192), without a model unless judges ask one.

    Args:
        records: a data file or folder, or records in one of the forms the package reads (xLAM, share-gpt, OpenAI,
            BFCL): a list of dicts, or a table of datasets, pandas, polars or pyarrow.
        judges: custom judges beside the five stages: made by `judge`, plain functions, or names (`module:name`).
        stages: who judges: `rules`, `llm` or `both`, for all stages or by stage.
        config: a configuration's name or path, or settings by dotted key (`{"fcdr.llm.model": "path"}`).
        out: a folder to keep everything in, as `funreason refine --out`; default: nothing is kept on disk.

    Returns:
        Every record's end. `Refined.refused` counts the records that could not be read.

    Raises:
        DataError: no record is usable.
        ConfigError: a setting is wrong.
        RecordError: `out` holds a run already.
    """
    folder = Path(tempfile.mkdtemp(prefix="funreason-refine-")) if out is None else Path(out)
    try:
        if (folder / "run.json").exists():
            raise RecordError(
                f"{folder} holds a run already; choose another `out`, or read it with `funreason status`."
            )
        name, changes = _settings(config, "own-data")
        changes |= {"fcdr.stages": stages if isinstance(stages, str) else dict(stages)}
        settings = _with_judges(load_config(find_config(name), changes), judges)
        run = RunFolder(folder)
        file = _as_file(records, folder)
        _run(refine_file(settings, file, run, StopRequest()))
        state = run.state()
        files = run.texts(ROUND)
        results = [RefinedSample(sample, end) for end in ENDS for sample in files.get(end)]
        return Refined(results, dict(state.refused), None if out is None else folder)
    finally:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class LoopResult:
    """A run that has ended: its folder, what its record says, and where its model is."""

    folder: Path
    state: State

    @property
    def status(self) -> str:
        """`finished`, or `refused` where no round was promoted."""
        return self.state.status

    @property
    def model(self) -> Path:
        """The folder of the weights accepted last."""
        return self.folder / "model"

    def __str__(self) -> str:
        gates = (
            f"round {k}: {r.gate.decision} {r.gate.overall.old} → {r.gate.overall.new} of {r.gate.overall.total}"
            for k, r in sorted(self.state.rounds.items())
            if r.gate is not None
        )
        return "\n".join([f"{self.folder} {self.status}", *gates])


def run_loop(
    config: str | Path | Mapping[str, Any] | Config = "default",
    *,
    model: str | Path | None = None,
    tasks: str | Path | Iterable[Mapping[str, Any]] | None = None,
    rounds: int | None = None,
    judges: Sequence[Judge | JudgeFunction | str] = (),
    run_dir: str | Path = "runs",
    resume: str | Path | None = None,
) -> LoopResult:
    """Play a whole run: sample, judge, learn, gate, for some rounds.

    Args:
        config: a configuration's name or path, settings by dotted key, or a `Config`.
        model: the folder of the model that learns.
        tasks: a data file, or records in one of the forms the package reads.
        rounds: how many rounds.
        judges: custom judges, as in `refine`.
        run_dir: the folder that holds runs.
        resume: continue this run, by name or folder, with the settings it began with.

    Raises:
        ConfigError, DataError, GraphError, PluginError, ModelError: something given cannot be used.
        RecordError: the run's folder is in use, or is no run.
    """
    if resume is not None:
        folder = open_run(resume, Path(run_dir))
        settings = _with_judges(config_of(folder), judges)
        return LoopResult(folder.path, _run(play(settings, folder, StopRequest(), resume=True)))
    if isinstance(config, Config):
        settings = config
    else:
        name, changes = _settings(config, "default" if tasks is None else "own-data")
        changes |= {"run_dir": str(run_dir)}
        changes |= {"model.path": str(model)} if model is not None else {}
        changes |= {"rounds": rounds} if rounds is not None else {}
        if isinstance(tasks, str | Path):
            changes["tasks.path"] = str(tasks)
        elif tasks is not None:
            kept = Path(run_dir) / "tasks"
            kept.mkdir(parents=True, exist_ok=True)
            changes["tasks.path"] = str(_as_file(tasks, kept))
        settings = load_config(find_config(name), changes)
        settings = settings if rounds is None else settings.with_rounds(rounds)
    settings = _with_judges(settings, judges)
    folder = new_run(settings)
    return LoopResult(folder.path, _run(play(settings, folder, StopRequest())))


@dataclass(frozen=True)
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


def _settings(config: str | Path | Mapping[str, Any], default: str) -> tuple[str | Path, dict[str, Any]]:
    """The configuration's name and the settings that change it, by dotted key."""
    return (default, dict(config)) if isinstance(config, Mapping) else (config, {})


def _with_judges(config: Config, judges: Sequence[Judge | JudgeFunction | str]) -> Config:
    """The configuration with these judges beside those it names."""
    entries: list[dict[str, Any]] = []
    for i, given in enumerate(judges):
        if isinstance(given, str):
            entries.append({"name": given.rpartition(":")[2] or f"judge_{i}", "agent": given})
        elif isinstance(given, Judge):
            entries.append(given.entry())
        elif callable(given):
            entries.append(judge(given).entry())
        else:
            raise ConfigError(f"judges[{i}] is {given!r}; give a function, a judge made by `judge`, or `module:name`.")
    if not entries:
        return config
    data = config.model_dump()
    return Config.model_validate(data | {"agents": [*data["agents"], *entries]})


def _as_file(records: Records, folder: Path) -> Path:
    """A data file of these records."""
    if isinstance(records, str | Path):
        return Path(records)
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(".jsonl", "records-", folder)
    os.close(handle)
    write_objects(records, Path(name))
    return Path(name)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """What `work` comes to; in a thread of its own where this one already runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
