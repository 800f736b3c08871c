"""What is killed: small worlds whose commands are played, broken off, played again, and compared at the end.

A world takes 1 to 3 s: a model of 0.16 M parameters that has learnt a dozen tasks by heart, few tasks, one thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from outcome import differences, outcome

from funreason.record import events as ev
from funreason.record.folder import RunFolder
from funreason.record.log import LogReader
from funreason.record.manifest import verify

RAISED = 70
"""The exit code of a command that ended with an error."""
Step = Callable[[Path], int]
"""Plays one command in a case's folder, in a process of its own; its exit code."""

LOOP = [
    *("model.threads=1", "sample.max_new_tokens=64", "sample.temperature=0.8", "fcdr.max_attempts=2"),
    *("tasks.per_round=3", "sample.samples_per_task=2", "fcdr.max_in_flight=3", "gate.contamination.mode=report"),
    *("gate.suites.old.count=1", "gate.suites.new.count=3", "train.max_category_share={}"),
    *("start.update.batch_size=4", "start.update.checkpoint_every=1", "start.update.lr=1e-5"),
    *("train.update.batch_size=4", "train.update.checkpoint_every=1", "train.update.lr=1e-5"),
    *("start.update.replay.count=0", "train.update.replay.count=2", "start.references.count=8"),
]
OPEN_GATE = [
    *("gate.min_gain=-100", "gate.promote_p=1", "gate.max_calls_loss=100", "gate.max_refusals_loss=100"),
    *("gate.max_guard_loss=100", "gate.max_category_loss=100"),
]
"""Every update is accepted, so that each round is drawn by other weights than the one before."""
REWARDS = [
    *("start.references=null", "reinforcement.steps_per_round=3", "reinforcement.prompts_per_step=2"),
    *("reinforcement.group_size=4", "reinforcement.no_call_share=0", "reinforcement.update.lr=1e-5"),
    *("reinforcement.refusal_floor=null", "reinforcement.max_resample=1", "rounds=2"),
]


class World(NamedTuple):
    """A command line under test.

    `steps` are its commands in their order; each is played until it has ended by itself. `prepare` makes the folder
    of a case. `found` reads what came of it, which must equal what came of the case that nothing has broken off.
    """

    name: str
    prepare: Callable[[Path], None]
    steps: Sequence[tuple[str, Step]]
    found: Callable[[Path], dict[str, Any]]
    share: float = 1.0
    """Of all kills, beside the other worlds' shares; 0 for one that is played only when it is named."""


def make_model(folder: Path, tasks: Path, gate: Path) -> None:
    """Write the tasks, the gate's items, and a model that knows them by heart; run it in a process of its own."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from funreason.agents.references import usable_references
    from funreason.bfcl.suites import write_suite
    from funreason.cli.config import read_config
    from funreason.config import Update
    from funreason.data.toolbox import BASE
    from funreason.data.writers import convert
    from funreason.objectives.protocol import Example
    from funreason.policies.factory import SamplerChoice, build_policy
    from funreason.policies.model_files import load_tokenizer, save_model
    from funreason.sources.tasks import toolbox_tasks
    from funreason.training.engine import train

    mix = {"simple": 0.75, "irrelevance": 0.25}
    known = toolbox_tasks("toolbox:old_replay", 12, 5, mix)
    convert(known, "openai", tasks)
    write_suite(known[:6], gate, "KNOWN")
    tokenizer = load_tokenizer(BASE)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, max_position_embeddings=4096, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    policy, _ = build_policy(read_config("smoke", {}, []), SamplerChoice("huggingface", "to write prompts"))
    samples, _ = usable_references(known, 0, form=policy.call_format)
    examples = [Example(s.id, policy.prompt(s.task), s.thinking, s.answer, origin=s.origin) for s in samples]
    train(model, tokenizer, examples, Update(lr=4e-3, batch_size=12, epochs=160, alpha=0.5), threads=1)
    save_model(model, tokenizer, folder)


def make_records(path: Path) -> None:
    """Write records of which some are kept, some repaired, some dropped and some refused."""
    from funreason.data.writers import convert
    from funreason.sources.tasks import toolbox_tasks

    convert(toolbox_tasks("toolbox:new_dev", 24, 7), "openai", path)
    lines = path.read_text().splitlines()
    for place in range(0, len(lines), 4):  # a call with an argument that no tool has
        lines[place] = lines[place].replace('{\\"', '{\\"unknown\\": 1, \\"', 1)
    path.write_text("\n".join([*lines, '{"messages": 3}']) + "\n")


def make_runs(root: Path, arm: Callable[..., None], point: Callable[..., Any], places: Sequence[str]) -> None:
    """Make the runs that commands on runs are played on.

    One has finished, one was refused by its gate, one was killed in the update of its first round. `places` are the
    kinds of files in a trace.
    """
    trace = root / "finished.trace"
    for name, settings in (("finished", srml(root)), ("refused", refused(root, 1))):
        (root / name).mkdir()
        code = play(loop("srml", settings), root / name, partial(arm, root / name, None, root / f"{name}.trace"))
        assert code in (0, 3), (root / f"{name}.out").read_text()
    saved = 0
    for call, file, _ in (line.split(" ", 2) for line in trace.read_text().splitlines()):
        kind = places[int(file)] if int(file) < len(places) else ""
        if kind == "round manifest" and call == RENAME:
            break
        saved += (kind, call) == ("checkpoint", RENAME)
    (root / "open").mkdir()
    end = point("rename", "checkpoint", saved, "after")
    code = play(loop("srml", srml(root)), root / "open", partial(arm, root / "open", end))
    assert code == -9, (root / "open.out").read_text()


RENAME = "3"
"""The number of a rename in a trace."""


def made(root: Path) -> list[str]:
    """The settings that name what `make_model` made."""
    return [
        *(f"model.path={root / 'model'}", f"tasks.path={root / 'tasks.jsonl'}"),
        *(f"gate.suites.{name}.path={root / 'gate'}" for name in ("new", "old")),
        f"start.references.path={root / 'tasks.jsonl'}",
    ]


def srml(root: Path) -> list[str]:
    """A loop of two rounds whose gate lets everything through."""
    return [*made(root), *LOOP, *OPEN_GATE, "rounds=2"]


def refused(root: Path, rounds: int) -> list[str]:
    """A loop whose gate lets nothing through."""
    return [*made(root), *LOOP, "gate.min_gain=100", f"rounds={rounds}", "when_nothing_learned=continue"]


def warm(root: Path) -> None:
    """Load in this process what each command loads again; nothing is computed, so that children may be forked."""
    from funreason.cli.config import read_config
    from funreason.policies.factory import SamplerChoice, build_policy
    from funreason.policies.model_files import try_saving
    from funreason.sources.tasks import toolbox_tasks

    for split in ("old_replay", "new_dev"):
        toolbox_tasks(f"toolbox:{split}", 4, 0)
    policy, base = build_policy(read_config("smoke", {}, srml(root)), SamplerChoice("huggingface", "to be warm"))
    policy.prompt(toolbox_tasks("toolbox:new_dev", 1, 0)[0])
    try_saving(base.folder, policy.tokenizer, root / "tried", dtype="float32")


def worlds(root: Path) -> list[World]:
    """All worlds, over the model and tasks in `root` and runs that are made there for commands on runs."""
    parts = [*made(root), *LOOP]
    rewards = [*(part for part in parts if not part.startswith("start.")), *OPEN_GATE, *REWARDS]
    hard = [*parts, *OPEN_GATE, "rounds=3"]
    processes = [*srml(root), "rounds=1", "start.references=null", "train.update.launch={processes: 2, strategy: ddp}"]

    def copied(name: str) -> Callable[[Path], None]:
        sockets = shutil.ignore_patterns("control.sock")
        return lambda case: shutil.copytree(root / name / "run", case / "run", symlinks=True, ignore=sockets) and None

    def nothing(case: Path) -> None:
        case.mkdir(parents=True)

    return [
        World("loop, srml", nothing, [("loop", loop("srml", srml(root)))], loop_found, 3),
        World("loop, grpo", nothing, [("loop", loop("grpo", rewards))], loop_found, 1.5),
        World("loop, hdr", nothing, [("loop", loop("hdr", hard))], loop_found, 1.5),
        World("update in processes", nothing, [("loop", loop("srml", processes))], loop_found, 0),
        World("refine", nothing, [("refine", refine(root / "records.jsonl"))], refine_found, 2.5),
        World("report", copied("finished"), [("report", report)], tree_found("report"), 0.5),
        World("export", copied("finished"), [("export", export)], tree_found("out"), 1),
        World("prune", copied("refused"), [("prune", prune), ("loop", loop("srml", [], rounds=2))], loop_found, 1),
        World("requeue", copied("open"), [("requeue", requeue), ("loop", loop("srml", []))], loop_found, 1),
    ]


def loop(method: str, settings: list[str], rounds: int | None = None) -> Step:
    """A loop that begins, or is resumed where there is one, with that many rounds."""

    def play(case: Path) -> int:
        from funreason.cli.loop import run_loop

        folder = case / "run"
        given: dict[str, object] = {"run_dir": str(case)}
        if (folder / "run.json").exists():
            return run_loop(None, {**given, "rounds": rounds} if rounds else given, [], str(folder))
        return run_loop("smoke", {**given, "name": "run", "method": method}, settings, None)

    return play


def refine(records: Path) -> Step:
    """A refining that begins, or is resumed where there is one."""

    def play(case: Path) -> int:
        from funreason.cli.refine import resume_refine, run_refine

        folder = case / "run"
        if (folder / "run.json").exists():
            return resume_refine(str(folder), case, None, {}, [])
        return run_refine(records, folder, "own-data", {}, ["fcdr.max_in_flight=3"], quiet=True)

    return play


def report(case: Path) -> int:
    """Write the report of a run that has finished."""
    from funreason.cli.export import report as write_report

    return write_report(str(case / "run"), out=case / "report", run_dir=case)


def export(case: Path) -> int:
    """Export a run that has finished; what is there already is whole."""
    from funreason.cli.export import export as write_export

    if (case / "out").exists():
        return 0
    return write_export(str(case / "run"), out=case / "out", run_dir=case)


def prune(case: Path) -> int:
    """Remove what no gate has let through."""
    from funreason.cli.runs import runs_prune

    return runs_prune(str(case / "run"), yes=True, run_dir=case)


def requeue(case: Path) -> int:
    """Put the dead letters back; those that an earlier try has put back are no dead letters."""
    from funreason.cli.runs import dlq_requeue
    from funreason.record.log import RecordError

    try:
        return dlq_requeue(str(case / "run"), run_dir=case)
    except RecordError as error:
        if "nothing to requeue" not in str(error):
            raise
        return 0


def loop_found(case: Path) -> dict[str, Any]:
    """What a loop came to, whether its files match their hashes, and what else lies beside it."""
    found = outcome(case / "run")
    checked = verify(RunFolder(case / "run"))
    return found | {"wrong": checked.wrong, "beside": beside(case)} | run_events(case / "run")


def run_events(run: Path) -> dict[str, Any]:
    """How often each kind of event was logged that a resume must not repeat; whether times run backwards."""
    logged = list(LogReader(run / "events").events())
    once = (ev.Judged, ev.SampleEnded, ev.RoundEnded, ev.PolicyUpdated, ev.WeightsTrained)
    counts = Counter(type(event).__name__ for event in logged if isinstance(event, once))
    # Refusals are logged again when a kill came before their last line, and counted from there.
    counts["TaskRefused"] = sum(RunFolder(run).state().refused.values())
    times = [event.at for event in logged]
    return {"events": dict(counts), "backwards": [b - a for a, b in pairwise(times) if b < a]}


def refine_found(case: Path) -> dict[str, Any]:
    """What a refining came to: samples, its two files, hashes, what lies beside it."""
    run = RunFolder(case / "run")
    state, checked = run.state(), verify(run)
    found: dict[str, Any] = {
        "status": (state.status, (run.writer_status() or ("none",))[0]),
        "files": sorted(p.relative_to(run.path).as_posix() for p in run.path.rglob("*") if "events" not in p.parts),
        "sharegpt": sorted(map(json.dumps, json.loads((run.path / "refined-sharegpt.json").read_text()))),
        "xlam": sorted((run.path / "refined-xlam.jsonl").read_bytes().splitlines()),
        "wrong": (checked.wrong, checked.unlisted),
        "beside": beside(case),
    }
    for kind in ("sampled", "kept", "text", "dropped", "dead"):
        found[kind] = sorted(map(msgspec.json.encode, run.texts(1).get(kind)))
    return found | run_events(run.path)


def tree_found(name: str) -> Callable[[Path], dict[str, Any]]:
    """The names and hashes of all that a command has written to the folder `name`, and what lies beside it."""

    def found(case: Path) -> dict[str, Any]:
        files = {p.relative_to(case).as_posix(): p.read_bytes() for p in (case / name).rglob("*") if p.is_file()}
        named = os.fsencode(case)  # in commands that a report shows
        hashes = {path: hashlib.sha256(data.replace(named, b"CASE")).hexdigest() for path, data in files.items()}
        return {"files": hashes, "beside": beside(case)}

    return found


def beside(case: Path) -> list[str]:
    """The names in a case's folder."""
    return sorted(os.listdir(case))


def play(step: Step, case: Path, arm: Callable[[], None]) -> int:
    """Play a command in a forked process that calls `arm` first; its exit code, -9 for one that was killed."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = RAISED
    try:
        said = os.open(f"{case}.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(said, 1)
        os.dup2(said, 2)
        arm()
        code = step(case)
    except BaseException as error:  # a forked child must never come back into its parent's code
        print(f"{type(error).__name__}: {error}", flush=True)
    finally:
        sys.stdout.flush()
        os._exit(code)
    raise AssertionError("unreachable")


__all__ = ["World", "differences", "make_model", "play", "warm", "worlds"]
