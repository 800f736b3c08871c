"""Plays the arms of an experiment, each once: cached under a hash of all that its numbers depend on, and resumable.

A run is kept in `<runs>/<arm>-<seed>-<key>`. The key is a hash of the resolved configuration (without the run's name
and folder), the code that makes the numbers, the data files, and the key of the arm it begins with. So one arm that
two experiments share is played once, and a change of code or data plays it again. `arm.json` in the run's folder is
written last: where it exists, the arm is finished.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, get_args

from msgspec import structs

import funreason
from funreason.agents.references import usable_references
from funreason.calls.thinking import join_thinking
from funreason.config import Config, ConfigError, Method, load_config
from funreason.data.forms.known import FORMS
from funreason.data.records import record_of
from funreason.experiments.experiment import Arm, Experiment, Scale, WrittenFile
from funreason.experiments.measured import ArmResult, measure
from funreason.experiments.papers import KEEP_ALL
from funreason.loops.self_refinement import config_of, new_run, play
from funreason.policies.endpoint import event_loop
from funreason.record.folder import RunFolder, write_json, write_whole
from funreason.sources.tasks import TOOLBOX, references, toolbox_tasks
from funreason.stop import StopRequest
from funreason.weights import START

FINISHED = "arm.json"
PACKAGE = Path(funreason.__file__).parent
SHOWS_ONLY = ("cli", "display", "tui", "experiments", "trackers", "export", "api", "replay")
"""Parts of the package that show or play what others compute: a change in them changes no number."""
CHANGES_NUMBERS = (".", *(f":(exclude){part}{ending}" for part in SHOWS_ONLY for ending in ("", ".py")))
"""All other parts, as git is asked for them."""
WHOLE_BYTES = 64 * 2**20
"""Of a larger file only its size and its two ends are hashed: weights of 15 GB would take minutes."""
FAMILIAR = 60
"""Dialogues over familiar tools in the suite of text."""


class Play(Protocol):
    """Plays a run in its folder to its end; `resume` says that it was begun before."""

    def __call__(self, config: Config, folder: RunFolder, stop: StopRequest, *, resume: bool, run_code: bool) -> None:
        """Raise what a run raises; Interrupted once `stop` was asked for."""
        ...


def play_run(config: Config, folder: RunFolder, stop: StopRequest, *, resume: bool, run_code: bool) -> None:
    """Play a run with the loop. `run_code` lets its gate run programs that the model writes, in a sandbox."""
    event_loop.run(play(config, folder, stop, resume=resume, allow_code_execution=run_code))


@dataclass
class Player:
    """Plays arms of one experiment at one scale.

    `settings` are changes of every arm's configuration, `command` is what the user gave, `play` plays one run,
    `run_code` lets suites of programs run what the model writes, and `listens` takes Ctrl-C as a request to stop.
    """

    experiment: Experiment
    scale: Scale
    config: str
    runs: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    run_code: bool = False
    listens: bool = False
    stop: StopRequest = field(default_factory=StopRequest, init=False)
    play: Play = play_run
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        commit()  # as it is now: the package may be edited while an arm is played
        self._renew_stop()
        if self.experiment.method not in get_args(Method):
            raise ConfigError(
                f"{self.experiment.name} needs method: {self.experiment.method}, and this version knows only "
                f"{', '.join(get_args(Method))}. Play it with a version that has it."
            )

    def resolved(self, arm: Arm, seed: int) -> Config:
        """The arm's configuration, without what is known only once other arms are played. ConfigError if it is wrong.

        Files that are still to be written, and weights to begin with, are left as the scale's configuration has them.
        """
        changes = self._changes(arm, seed).items()
        return load_config(self.config, {key: value for key, value in changes if not isinstance(value, WrittenFile)})

    def key(self, arm: Arm, seed: int) -> str:
        """The hash of all that the arm's numbers depend on."""
        config = self.resolved(arm, seed).model_dump(mode="json")
        del config["name"], config["run_dir"]
        changes = self._changes(arm, seed).items()
        known = {
            "config": config,
            "written": {key: value.text for key, value in changes if isinstance(value, WrittenFile)},
            "starts_from": self.key(self.experiment.arm(arm.starts_from), seed) if arm.starts_from else "",
            "counts_of": self.key(self.experiment.arm(arm.counts_of), seed) if arm.counts_of else "",
            "code": code_version(),
            "data": data_hashes(config),
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:10]

    def folder(self, arm: Arm, seed: int) -> RunFolder:
        """Where the arm is or will be played."""
        key = self.key(arm, seed)
        for found in sorted(self.runs.glob(f"*-{key}")):
            return RunFolder(found)
        return RunFolder(self.runs / f"{re.sub(r'[^a-z0-9.]+', '-', arm.name.lower())}-{seed}-{key}")

    def finished(self, arm: Arm, seed: int) -> ArmResult | None:
        """What the arm reached, where it has been played to its end."""
        folder = self.folder(arm, seed)
        path = folder.path / FINISHED
        if not path.exists():
            return None
        kept = json.loads(path.read_text(encoding="utf-8"))
        return measure(folder, arm=arm.name, seed=seed, key=self.key(arm, seed), run=folder.name, **kept)

    def result(self, arm: Arm, seed: int) -> ArmResult:
        """What the arm reached: read back, or played now together with the arms that it needs; resumed if it was cut.

        Raises what a run raises; the same call then resumes it.
        """
        known = self.finished(arm, seed)
        if known is not None:
            return known
        changes = self._changes(arm, seed)
        if arm.starts_from:
            before = self.result(self.experiment.arm(arm.starts_from), seed)
            weights = self.folder(self.experiment.arm(arm.starts_from), seed).weights / before.weights["last"]
            changes["model.path"] = str(weights.resolve())
        if arm.counts_of:
            changes["train.exact_counts"] = self.result(self.experiment.arm(arm.counts_of), seed).by_category[1:]
        self.stop.check()
        folder = self.folder(arm, seed)
        began, wall = time.process_time(), time.perf_counter()
        resumed = (folder.path / "config.yaml").exists()
        self.say(f"{self.experiment.name}: {arm.name}, seed {seed} {'resumes' if resumed else 'starts'}: {folder.path}")
        if resumed:
            config = config_of(folder)
        else:
            plain = self.resolved(arm, seed)
            for key, value in changes.items():
                changes[key] = str(self._write(value, plain, seed)) if isinstance(value, WrittenFile) else value
            changes |= {"name": folder.name, "run_dir": str(self.runs)}
            config = load_config(self.config, changes)
            folder = new_run(config)
            self._reuse_measurements(folder, config)
        self.play(config, folder, self.stop, resume=resumed, run_code=self.run_code)
        self._renew_stop()
        cost = {
            "command": self.command,
            "commit": commit(),
            "cpu_s": round(time.process_time() - began, 1),
            "wall_s": round(time.perf_counter() - wall, 1),
            "resumed": resumed,
        }
        write_json(folder.path / FINISHED, cost)
        known = self.finished(arm, seed)
        assert known is not None
        return known

    def _changes(self, arm: Arm, seed: int) -> dict[str, Any]:
        """All changes of the scale's configuration, in the order in which they win."""
        changes = {**KEEP_ALL, **self.scale.changes, **arm.changes, **arm.at_scale.get(self.scale.name, {})}
        if arm.starts_from:
            changes["start.references"] = None
        return deepcopy(changes | {"seed": seed, **self.settings})  # a dotted key changes the group above it in place

    def _renew_stop(self) -> None:
        """A new request to stop for what follows: the last one would still write into the run that is over."""
        asked, self.stop = self.stop.asked, StopRequest()
        if self.listens:
            self.stop.listen()
        if asked:
            self.stop.ask()

    def _write(self, written: WrittenFile, config: Config, seed: int) -> Path:
        """Write a file that a setting names, once: its name holds a hash of its content."""
        text = WRITERS[written.text](config, seed)
        made = hashlib.sha256(text.encode()).hexdigest()[:10]
        path = self.runs / "files" / f"{written.text}-{made}.jsonl"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text)
        return path.resolve()

    def _reuse_measurements(self, folder: RunFolder, config: Config) -> None:
        """Copy measurements of weights that finished arms asked the same items, so that they are not measured twice."""
        asked = _asked(config)
        for done in sorted(self.runs.glob(f"*/{FINISHED}")):
            if _asked(config_of(RunFolder(done.parent))) == asked:
                shutil.copytree(done.parent / "gate", folder.path / "gate", dirs_exist_ok=True)


def _asked(config: Config) -> dict[str, Any]:
    """What decides the results of given weights: the items, and how they are asked."""
    model = config.model.model_dump(mode="json") | {"path": ""}
    suites = {name: suite.model_dump(mode="json") for name, suite in config.gate.suites.items()}
    return {"suites": suites, "model": model, "sample": config.sample.max_new_tokens}


def without_thinking(config: Config, seed: int) -> str:
    """The references of the supervised start as dialogues, their thinking taken away. ConfigError for other records."""
    source = config.start.references
    if source is None or not source.path.startswith(TOOLBOX):
        raise ConfigError(
            f"start.references is {source and source.path}: only references of the toolbox are written without "
            "thinking; give records without thinking."
        )
    write = FORMS["openai"].write
    assert write is not None
    apart = {"reference_thinking": None, "category": "", "source": ""}
    bare = (structs.replace(task, **apart) for task in references(source, seed, 0))
    return "".join(f"{json.dumps(write(record_of(task)))}\n" for task in bare)


def familiar_dialogues(config: Config, seed: int) -> str:
    """Dialogues over the toolbox's familiar tools as text; the same ones for every seed, so that runs compare."""
    samples, _ = usable_references(toolbox_tasks("toolbox:old_gate", FAMILIAR, 3), START)
    texts = [f"{sample.task.query}\n{join_thinking(sample.thinking, sample.answer)}" for sample in samples]
    return "".join(f"{json.dumps({'text': text})}\n" for text in texts)


WRITERS: Mapping[str, Callable[[Config, int], str]] = {
    "references_without_thinking": without_thinking,
    "familiar_dialogues": familiar_dialogues,
}


@lru_cache
def code_version() -> str:
    """A hash of the code that makes numbers: the package without what only shows them, and the graphs."""
    found = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        inside = path.relative_to(PACKAGE)
        if inside.parts[0].removesuffix(".py") in SHOWS_ONLY or path.suffix not in (".py", ".txt", ".yaml"):
            continue
        # A configuration counts by its resolved settings, a graph in the same folder by its file.
        if inside.parts[0] != "configs" or "\nnodes:" in path.read_text(encoding="utf-8"):
            found.update(f"{inside}\0".encode() + path.read_bytes())
    return found.hexdigest()


def data_hashes(config: Mapping[str, Any]) -> dict[str, str]:
    """The files and folders that a configuration names as paths, each with a hash of its content."""
    found: dict[str, str] = {}
    todo: list[Any] = [config]
    while todo:
        value = todo.pop()
        if isinstance(value, Mapping):
            todo += value.values()
            path = value.get("path")
            if isinstance(path, str) and path and Path(path).exists():
                found[path] = content_hash(path)
        elif isinstance(value, list):
            todo += value
    return found


@lru_cache
def content_hash(path: str) -> str:
    """A hash of a file's content, or of all files in a folder with their names."""
    root, found = Path(path), hashlib.sha256()
    for file in sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]:
        size = file.stat().st_size
        found.update(f"{file.relative_to(root)}\0{size}\0".encode())
        with file.open("rb") as handle:
            if size <= WHOLE_BYTES:
                found.update(handle.read())
            else:
                found.update(handle.read(2**20))
                handle.seek(-(2**20), 2)
                found.update(handle.read())
    return found.hexdigest()


@lru_cache
def commit() -> str:
    """The commit of the checkout that the package is in, with `+` where its code for numbers has changes since.

    Outside a checkout: the package's version.
    """
    tracked = ["ls-files", "--error-unmatch", "__init__.py"]  # else it is installed inside another project
    words = (tracked, ["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", *CHANGES_NUMBERS])
    try:
        said = [
            subprocess.run(["git", "-C", str(PACKAGE), *given], capture_output=True, text=True, timeout=20, check=True)
            for given in words
        ]
    except (OSError, subprocess.SubprocessError):
        return f"version {funreason.__version__}"
    return said[1].stdout.strip() + ("+" if said[2].stdout.strip() else "")
