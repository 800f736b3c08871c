"""`Loop`: a run that is played round by round, with stop and resume."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from funreason.api.inputs import Records, as_file, run_to_end
from funreason.api.judge_function import Judge, JudgeFunction, with_judges
from funreason.api.loop_result import LoopResult, RoundResult
from funreason.config import Config, ConfigError, find_config, load_config
from funreason.errors import naming_extras
from funreason.loops.self_refinement import config_of, new_run, play
from funreason.plan.cost_model import CHIPS
from funreason.plan.planning import Assumed, Hardware, Plan
from funreason.plan.planning import plan as plan_memory
from funreason.record.folder import RecordError, RunFolder, open_run
from funreason.record.state import State
from funreason.sources.hub_names import with_pinned_names
from funreason.stop import Interrupted, StopRequest


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
        config: a configuration's name or path, settings by dotted key, or a `Config`. Default: `own-data` where tasks
            are given, else `default`.
        model: the folder of the model that learns, its name on a hub (`ORG/NAME[@REVISION]`, fetched
            with `download`), or settings of the section.
        tasks: a data file, `hf:ORG/NAME[:SPLIT][@REVISION]` on a hub, or records in one of the forms the package
            reads, or settings of the section.
        rounds: how many rounds, those of a resumed run included.
        judges: custom judges, as in `refine`.
        run_dir: the folder that holds runs.
        resume: continue this run, by name or folder, with the settings it began with.
        download: fetch what is named as on a hub and is not in its cache.
        sections: settings by section, such as `sample={"max_new_tokens": 512}`, in which keys may be dotted.

    Raises:
        ConfigError, DataError, GraphError, PluginError, ModelError, HubError: something given cannot be used.
        RecordError: the run's folder is in use, or is no run.
        MissingExtra: a base install, without torch.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any] | Config | None = None,
        *,
        model: str | Path | Mapping[str, Any] | None = None,
        tasks: Records | Mapping[str, Any] | None = None,
        rounds: int | None = None,
        judges: Sequence[Judge | JudgeFunction | str] = (),
        run_dir: str | Path = "runs",
        resume: str | Path | None = None,
        download: bool = False,
        **sections: Mapping[str, Any],
    ) -> None:
        self._folder: RunFolder | None = None
        self._stop = StopRequest()
        given = {**sections, "model": model, "tasks": tasks}
        said = [name for name, value in given.items() if value is not None]
        if resume is not None:
            if said or config is not None:
                raise ConfigError(
                    f"resume keeps the settings that the run began with, so {', '.join(said or ['config'])} cannot "
                    "be given. Only rounds and judges can; anything else is a new run."
                )
            self._folder = open_run(resume, Path(run_dir))
            settings = config_of(self._folder)
        elif isinstance(config, Config):
            if said:
                raise ConfigError(f"config is a Config, so {', '.join(said)} cannot be given; change them in it.")
            settings = config
        else:
            own = tasks is not None and not isinstance(tasks, Mapping)
            named = config if isinstance(config, str | Path) else "own-data" if own else "default"
            changes = {**config, "run_dir": str(run_dir)} if isinstance(config, Mapping) else {"run_dir": str(run_dir)}
            for section, value in given.items():
                if isinstance(value, Mapping):
                    changes |= {f"{section}.{key}": setting for key, setting in value.items()}
            if isinstance(model, str | Path):
                changes["model.path"] = str(model)
            if tasks is not None and not isinstance(tasks, Mapping):
                changes["tasks.path"] = str(as_file(tasks, Path(run_dir) / "tasks"))
            settings = load_config(find_config(named), changes)
        if rounds is not None:
            settings = Config.model_validate(settings.with_rounds(rounds).model_dump())
        if download:
            settings = settings.model_copy(update={"download": True})
        self.config = with_judges(settings, judges)

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

    @property
    def run_folder(self) -> LoopResult:
        """The same as `result`: the run's verdict, report and export."""
        return self.result

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
        self._stop = stop = StopRequest()
        state = run_to_end(self._play(stop), stop)
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
        self.config = with_pinned_names(self.config)
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
    config: str | Path | Mapping[str, Any] | Config | None = None,
    *,
    model: str | Path | Mapping[str, Any] | None = None,
    tasks: Records | Mapping[str, Any] | None = None,
    rounds: int | None = None,
    judges: Sequence[Judge | JudgeFunction | str] = (),
    run_dir: str | Path = "runs",
    resume: str | Path | None = None,
    download: bool = False,
    **sections: Mapping[str, Any],
) -> LoopResult:
    """Play a whole run: sample, judge, learn, gate, for some rounds. Arguments and errors are those of `Loop`."""
    return Loop(
        config,
        model=model,
        tasks=tasks,
        rounds=rounds,
        judges=judges,
        run_dir=run_dir,
        resume=resume,
        download=download,
        **sections,
    ).run()
