"""The Python front door: `refine`, `Loop`, `evaluate` and `judge`, objects in and objects out.

Each does what the command of the same name does, without a terminal. They may be called from a running event loop, as
in a notebook: the work then runs in a thread of its own. What a base install cannot do raises MissingExtra, which
names the extra to install.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar, overload

from funreason.agents.judges.contract import Clause, broken, clauses
from funreason.agents.judges.custom import offer_object
from funreason.bfcl import check_in
from funreason.bfcl.scores import SCORE_HEADS, Scores, markdown, score, score_cells
from funreason.calls.call_format import PYTHONIC
from funreason.config import Config, ConfigError, find_config, load_config
from funreason.data.files import write_objects
from funreason.display.report import report_html, report_markdown
from funreason.display.verdict import RunVerdict, evidence_in, verdict
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
from funreason.export import export_run, row
from funreason.loops.refine import ROUND, refine_file
from funreason.loops.self_refinement import config_of, new_run, play
from funreason.plan.cost_model import CHIPS
from funreason.plan.planning import Assumed, Hardware, Plan
from funreason.plan.planning import plan as plan_memory
from funreason.record.folder import RecordError, RunFolder, open_run, write_whole
from funreason.record.rounds import RoundState
from funreason.record.sample_files import ENDS, KEPT
from funreason.record.state import State
from funreason.stop import Interrupted, StopRequest
from funreason.types import Outcome, Sample, Verdict
from funreason.weights import START

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

    def test(self) -> JudgeReport:
        """Try the judge on ordinary and adversarial samples, as `funreason agents test` does."""
        return JudgeReport(self.name, _run(clauses(self, self.outcomes)))

    def entry(self) -> dict[str, Any]:
        """The judge as an entry of the configuration's `agents`."""
        return {
            "name": self.name,
            "agent": offer_object(self.name, self),
            "after": self.after,
            "edge": self.edge,
            "outcomes": self._routes,
        }


@dataclass(frozen=True)
class JudgeReport:
    """What a judge's test found, clause by clause. As text it is a table."""

    judge: str
    clauses: Sequence[Clause]

    @property
    def passed(self) -> bool:
        """Whether no clause is broken."""
        return not broken(self.clauses)

    def __str__(self) -> str:
        signs = {"kept": "✓", "broken": "✗"}
        rows = [f"{signs.get(clause.sign, '·')} {clause.name:<12} {clause.said}" for clause in self.clauses]
        return "\n".join([*rows, f"{self.judge} {'passes' if self.passed else 'fails'}"])


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

    def story(self) -> str:
        """The query, the answer, and what each judge said, in lines."""
        sample = self.sample
        lines = [f"{self.id} {self.end}", f"query    {sample.task.query}"]
        lines += [f"tool     {tool['name']}" for tool in sample.task.tools]
        lines += [f"thinking {sample.thinking}"] if sample.thinking else []
        lines += [f"answer   {sample.answer}"]
        lines += [f"{v.stage}: {v.outcome} {v.reason} {v.evidence}".rstrip() for v in sample.verdicts]
        return "\n".join(lines)


class Table(list[T]):
    """A list that can become a table; `rows` gives each item as a dict."""

    def rows(self) -> list[dict[str, Any]]:
        """One dict for each item."""
        raise NotImplementedError

    def to_dataset(self) -> Any:
        """A `datasets.Dataset`."""
        with naming_extras():
            from datasets import Dataset
        return Dataset.from_list(self.rows())

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame`."""
        with naming_extras():
            from pandas import DataFrame
        return DataFrame(self.rows())

    def push_to_hub(self, name: str, **options: Any) -> Any:
        """Publish as the data set `name` on the Hugging Face Hub; see `datasets.Dataset.push_to_hub`."""
        return self.to_dataset().push_to_hub(name, **options)


class Kept(Table[Sample]):
    """Samples to learn from, with their ends."""

    def __init__(self, results: Iterable[RefinedSample] = ()) -> None:
        found = list(results)
        super().__init__(result.sample for result in found)
        self._ends = [result.end for result in found]

    def rows(self) -> list[dict[str, Any]]:
        """Columns as in an exported data set (`funreason.export.COLUMNS`)."""
        return [row(end, sample) for end, sample in zip(self._ends, self, strict=True)]


class Lost(Table[RefinedSample]):
    """Samples that were dropped or failed."""

    def rows(self) -> list[dict[str, Any]]:
        """Id, end, reason, the judge that decided, query, thinking and answer."""
        return [
            {
                "id": lost.id,
                "end": lost.end,
                "reason": lost.reason,
                "judge": lost.verdict.stage if lost.verdict else "",
                "query": lost.sample.task.query,
                "thinking": lost.sample.thinking or "",
                "answer": lost.sample.answer,
            }
            for lost in self
        ]


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
    def kept(self) -> Kept:
        """The samples to learn from, repaired ones among them (see `Sample.origin`)."""
        return Kept(result for result in self.results if result.kept)

    @property
    def lost(self) -> Lost:
        """What was dropped, or failed."""
        return Lost(result for result in self.results if not result.kept)

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


@naming_extras()
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
        judges: custom judges in addition to the five stages: made by `judge`, plain functions, or names
            (`module:name`).
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


class GateResult(NamedTuple):
    """The gate's decision on a round: accuracies from 0 to 1 on the same `items`, and the p of their difference."""

    decision: str
    reason: str
    old: float
    new: float
    items: int
    p: float

    def __str__(self) -> str:
        old, new = 100 * self.old, 100 * self.new
        return f"{self.decision} {old:.1f} → {new:.1f} ({new - old:+.1f}, p {self.p:.3f})"


@dataclass(frozen=True)
class RoundResult:
    """A round that is over: what its samples came to, what the update reached, and what the gate decided."""

    number: int
    folder: Path
    state: RoundState

    @property
    def gate(self) -> GateResult | None:
        """The gate's decision; None where the round trained nothing."""
        found = self.state.gate
        if found is None:
            return None
        score, balance = found.overall, found.balance
        if found.kinds and balance is not None:
            return GateResult(found.decision, found.reason, balance.old, balance.new, score.total, balance.p)
        items = max(score.total, 1)
        return GateResult(found.decision, found.reason, score.old / items, score.new / items, score.total, score.p)

    @property
    def metrics(self) -> dict[str, float]:
        """The update's metrics, such as `loss`, `loss_think` and `loss_result`, as means over its steps."""
        return dict(self.state.update.metrics) if self.state.update is not None else {}

    @property
    def kept(self) -> Kept:
        """The samples that a model may learn from, read from the run's folder."""
        return Kept(self._ended(KEPT))

    @property
    def lost(self) -> Lost:
        """The samples that were dropped or failed, read from the run's folder."""
        return Lost(self._ended([end for end in ENDS if end not in KEPT]))

    def _ended(self, ends: Iterable[str]) -> list[RefinedSample]:
        files = RunFolder(self.folder).texts(self.number)
        return [RefinedSample(sample, end) for end in ends for sample in files.get(end)]

    def __str__(self) -> str:
        fates = self.state.fates
        kept = sum(fates[end] for end in KEPT)
        return f"round {self.number}: {kept:,} kept · {fates.total() - kept:,} lost · {self.gate or 'no gate'}"


@dataclass(frozen=True)
class LoopResult:
    """A run: its folder, what its record says, and where its model is."""

    folder: Path
    state: State

    @property
    def status(self) -> str:
        """`finished`, `refused` where no round was promoted, or `interrupted`."""
        return self.state.status

    @property
    def model(self) -> Path:
        """The folder of the weights accepted last."""
        return self.folder / "model"

    @property
    def rounds(self) -> list[RoundResult]:
        """The rounds that are over."""
        over = sorted(self.state.rounds.items())
        return [RoundResult(k, self.folder, found) for k, found in over if found.ended and k > START]

    @property
    def verdict(self) -> RunVerdict:
        """Whether the rounds made the model better, with counts and p, and what to do now."""
        return verdict(self.state, evidence_in(RunFolder(self.folder)))

    def report(self, to: str | Path | None = None) -> Path:
        """Write `report.html` and `report.md` into the folder `to` (default: the run's); the page's path."""
        target = self.folder if to is None else Path(to)
        target.mkdir(parents=True, exist_ok=True)
        run = RunFolder(self.folder)
        for name, text in (("report.html", report_html), ("report.md", report_markdown)):
            write_whole(target / name, text(self.state, run, self.status))
        return target / "report.html"

    def export(self, to: str | Path, *, license: str | None = None, data_license: str | None = None) -> Path:
        """Write model and refined data with their cards into the new folder `to`, as `funreason export` does."""
        with naming_extras():
            return export_run(RunFolder(self.folder), Path(to), license=license, data_license=data_license).folder

    def __str__(self) -> str:
        gates = (
            f"round {k}: {r.gate.decision} {r.gate.overall.old} → {r.gate.overall.new} of {r.gate.overall.total}"
            for k, r in sorted(self.state.rounds.items())
            if r.gate is not None
        )
        return "\n".join([f"{self.folder} {self.status}", *gates])


class Loop:
    """A run of sample, judge, learn and gate, round by round.

        loop = Loop(model="path/to/model", tasks="my-data.jsonl", rounds=3)
        for round in loop:
            print(round)
            if round.gate and round.gate.decision == "rollback":
                loop.stop()
        print(loop.result.verdict.headline)

    The next round begins when the `for` asks for it. `stop` and `break` end the run after what is in flight; iterating
    again, or a new `Loop(resume=folder)`, continues it.

    Args:
        config: a configuration's name or path, settings by dotted key, or a `Config`.
        model: the folder of the model that learns, or settings of the section.
        tasks: a data file, or records in one of the forms the package reads, or settings of the section.
        rounds: how many rounds, those of a resumed run included.
        judges: custom judges, as in `refine`.
        run_dir: the folder that holds runs.
        resume: continue this run, by name or folder, with the settings it began with.
        sections: settings by section, such as `sample={"max_new_tokens": 512}`, in which keys may be dotted.

    Raises:
        ConfigError, DataError, GraphError, PluginError, ModelError: something given cannot be used.
        RecordError: the run's folder is in use, or is no run.
        MissingExtra: a base install, without torch.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any] | Config = "default",
        *,
        model: str | Path | Mapping[str, Any] | None = None,
        tasks: Records | Mapping[str, Any] | None = None,
        rounds: int | None = None,
        judges: Sequence[Judge | JudgeFunction | str] = (),
        run_dir: str | Path = "runs",
        resume: str | Path | None = None,
        **sections: Mapping[str, Any],
    ) -> None:
        self._folder: RunFolder | None = None
        self._stop = RoundByRound()
        if resume is not None:
            self._folder = open_run(resume, Path(run_dir))
            settings = config_of(self._folder)
            if rounds is not None:
                settings = settings.with_rounds(rounds)
        elif isinstance(config, Config):
            settings = config
        else:
            name, changes = _settings(config, "default" if tasks is None or isinstance(tasks, Mapping) else "own-data")
            given = {**sections, "model": model, "tasks": tasks}
            sized = ((section, values) for section, values in given.items() if isinstance(values, Mapping))
            changes |= {f"{section}.{key}": value for section, values in sized for key, value in values.items()}
            changes |= {"run_dir": str(run_dir)}
            changes |= {"rounds": rounds} if rounds is not None else {}
            if isinstance(model, str | Path):
                changes["model.path"] = str(model)
            if tasks is not None and not isinstance(tasks, Mapping):
                changes["tasks.path"] = str(_as_file(tasks, Path(run_dir) / "tasks"))
            settings = load_config(find_config(name), changes)
            settings = settings if rounds is None else settings.with_rounds(rounds)
        self.config = _with_judges(settings, judges)

    @property
    def folder(self) -> Path | None:
        """The run's folder; None before it begins."""
        return None if self._folder is None else self._folder.path

    @property
    def result(self) -> LoopResult:
        """The run as it is now. RecordError before it begins."""
        if self._folder is None:
            raise RecordError("the run has not begun; iterate over the loop, or call its run().")
        return LoopResult(self._folder.path, self._folder.state())

    def plan(self, gpu: str = "a100-80", gpus: int | None = None) -> Plan:
        """Memory and time on these GPUs (see `funreason plan`), from the model's config.json alone.

        ConfigError for a GPU that is not known.
        """
        if gpu not in CHIPS:
            raise ConfigError(f"gpu is {gpu!r}; known are {', '.join(CHIPS)}.")
        launches = (self.config.round_update.launch, self.config.start.update.launch)
        count = max(launch.processes for launch in launches) if gpus is None else gpus
        return plan_memory(self.config, Hardware(gpu, CHIPS[gpu], count), Assumed())

    def stop(self) -> None:
        """Ask the run to stop: between rounds at once, else after what is in flight. It can be continued."""
        self._stop.ask()

    @naming_extras()
    def run(self) -> LoopResult:
        """Play the rounds that are left; the finished run."""
        state = _run(self._play(StopRequest()))
        assert self._folder is not None
        return LoopResult(self._folder.path, state)

    def __iter__(self) -> Iterator[RoundResult]:
        self._stop = stop = RoundByRound()
        work = self._play(stop)
        assert self._folder is not None
        with ThreadPoolExecutor(1) as thread:
            played = thread.submit(asyncio.run, work)
            played.add_done_callback(lambda _: stop.over.put(None))
            try:
                while (number := stop.over.get()) is not None:
                    yield RoundResult(number, self._folder.path, self._folder.state().rounds[number])
                    stop.next_round()
            finally:
                if not played.done():
                    stop.ask()
                    stop.next_round()
        with suppress(Interrupted), naming_extras():
            played.result()

    def _play(self, stop: StopRequest) -> Coroutine[Any, Any, State]:
        if self._folder is None:
            self._folder = new_run(self.config)
            return play(self.config, self._folder, stop)
        return play(self.config, self._folder, stop, resume=True)


class RoundByRound(StopRequest):
    """A stop request whose run waits after each round; `over` gets the round's number."""

    def __init__(self) -> None:
        super().__init__()
        self.over: SimpleQueue[int | None] = SimpleQueue()
        self._wanted = threading.Semaphore(0)

    def next_round(self) -> None:
        """Let the run that waits continue."""
        self._wanted.release()

    async def round_over(self, round: int) -> None:
        """Wait until the next round is wanted."""
        self.over.put(round)
        await asyncio.to_thread(self._wanted.acquire)


def run_loop(
    config: str | Path | Mapping[str, Any] | Config = "default",
    *,
    model: str | Path | Mapping[str, Any] | None = None,
    tasks: Records | Mapping[str, Any] | None = None,
    rounds: int | None = None,
    judges: Sequence[Judge | JudgeFunction | str] = (),
    run_dir: str | Path = "runs",
    resume: str | Path | None = None,
    **sections: Mapping[str, Any],
) -> LoopResult:
    """Play a whole run: sample, judge, learn, gate, for some rounds. Arguments and errors are those of `Loop`."""
    return Loop(
        config, model=model, tasks=tasks, rounds=rounds, judges=judges, run_dir=run_dir, resume=resume, **sections
    ).run()


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
    data, new = config.model_dump(), {entry["name"] for entry in entries}
    kept = [entry for entry in data["agents"] if entry["name"] not in new]  # of a run that is continued
    return Config.model_validate(data | {"agents": [*kept, *entries]})


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
