"""`funreason reward`: list the rewards, attack one with the known hacks, sort tasks by how often a model earns it."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json as json_text
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from funreason.cli import terminal
from funreason.cli.app import AnySetting, AsJson, DataFile, Download, InputMap, Setting
from funreason.record.plain import plain

if TYPE_CHECKING:
    from funreason.evaluation.reward_audit import HackPay

OK, FAILED, INTERRUPTED = 0, 1, 130
FACTS, COUNTS = "bins.json", "passes.jsonl"


def reward_list(*, json: AsJson = False) -> int:
    """List the rewards of this package."""
    from funreason.objectives.rewards import REWARDS

    if json:
        terminal.print_json({name: inspect.getdoc(kind) for name, kind in REWARDS.items()})
        return OK
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("reward", "what it pays"):
        table.add_column(head, overflow="fold")
    for name, kind in REWARDS.items():
        table.add_row(name, (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " "))
    console = terminal.console()
    console.print(table)
    console.print("Any function that takes a Sample is a reward too: my_reward.py:function or package.module:function.")
    return OK


def reward_audit(
    reward: str,
    /,
    *,
    tasks: str | None = None,
    count: int = 200,
    seed: int = 0,
    call_format: str = "pythonic",
    thinking: Annotated[bool, Parameter(negative="--no-thinking")] = True,
    settings: Setting = None,
    json: AsJson = False,
) -> int:
    """Attack a reward with the known hacks and say which it pays for. Exit code 1: it pays for one, or failed on one.

    Parameters
    ----------
    reward
        egpo, tool_n1, toolrl, my_reward.py:function, my_reward.py (its function `reward`), or package.module:function.
    tasks
        A data file with references, or `toolbox:<split>`. Default: half toolbox:new_train, half composed ones.
    count
        How many tasks, at most.
    seed
        The seed that embedded tasks are drawn with.
    call_format
        The form that answers are written in, such as pythonic, json or hermes.
    thinking
        Whether the model thinks. With --no-thinking, an answer without thinking is no hack.
    settings
        An argument of the reward's class, such as --set score_refusals=true for toolrl.
    """
    from funreason.calls.call_format import CallFormat
    from funreason.calls.dialects.catalogue import dialect_named
    from funreason.config import TOOLBOX, parse_setting
    from funreason.evaluation.reward_audit import audit, audit_tasks
    from funreason.objectives.rewards import load_reward

    form = CallFormat(dialect_named(call_format))
    given = dict(parse_setting(text) for text in settings or [])
    loaded = load_reward(reward, form=form, require_thinking=thinking, settings=given)
    if tasks is None:
        on = audit_tasks(count, seed)
    elif tasks.startswith(TOOLBOX):
        from funreason.sources.tasks import toolbox_tasks

        on = toolbox_tasks(tasks, count, seed)
    else:
        from funreason.data.reading import read_tasks

        on = read_tasks(Path(tasks)).tasks[:count]
    found = audit(loaded, on, form=form, require_thinking=thinking, name=reward)
    failed = bool(found.paying or found.failing)
    if json:
        print(json_text.dumps(found.as_dict(), ensure_ascii=False))
        return FAILED if failed else OK
    console = terminal.console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("hack", no_wrap=True)
    for head in ("tasks", "pay", "right", "wrong"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for hack in found.hacks:
        numbers = [str(hack.tasks), *(f"{value:.2f}" for value in (hack.pay, hack.right, hack.wrong))]
        table.add_row(hack.name, *numbers, _verdict(hack))
    console.print(table)
    console.print("pay, right, wrong: means for the hack, the right answer and a plainly wrong one, on the same tasks")
    for hack in found.hacks:
        if hack.example:
            console.print(Text(plain(f"{hack.name}, {hack.text}: {hack.example}")), soft_wrap=True)
    left = f" ({found.left_out} tasks left out: no tools, or no reference in this form)" if found.left_out else ""
    said = f"pays for {len(found.paying)} of {len(found.hacks)} hacks" if found.paying else "pays for no hack"
    said += f" and fails on {len(found.failing)}" if found.failing else ""
    console.print(Text(plain(f"{reward}: {said}, on {found.tasks} tasks{left}")), soft_wrap=True)
    return FAILED if failed else OK


def reward_bins(
    file: DataFile,
    /,
    *,
    out: Path,
    model: str = "toolbox",
    reward: str = "egpo",
    k: int = 8,
    anchors: float = 0.05,
    thinking: Annotated[bool, Parameter(negative="--no-thinking")] = True,
    input_map: InputMap = None,
    download: Download = False,
    settings: AnySetting = None,
) -> int:
    """Sort tasks into bins by how many of k answers of the present model earn the reward: none, some, all.

    If it is interrupted, the same command continues.

    Parameters
    ----------
    out
        A folder. train.jsonl gets the mixed tasks and the anchors, hard.jsonl those that were never right, solved.jsonl
        the rest; passes.jsonl the count of each task and its most frequent answer.
    model
        A model folder, ORG/NAME[@REVISION] on a hub, or the address of an OpenAI-compatible server; `toolbox` is the
        embedded one.
    reward
        egpo, tool_n1, toolrl, or a custom one. An answer is right if it earns what the reference does.
    k
        Answers to each task.
    anchors
        Share of the tasks that were always right to keep in train.jsonl.
    thinking
        Whether the model thinks. With --no-thinking, answers need none.
    """
    import msgspec

    from funreason.cli.fetching import fetched_file, fetched_model
    from funreason.config import ConfigError
    from funreason.data.normalising import parse_input_map
    from funreason.data.reading import read_tasks
    from funreason.data.writers import convert
    from funreason.evaluation.difficulty import PassCount, count_passes, sorted_into_bins
    from funreason.evaluation.models import ModelChoice, load_model
    from funreason.objectives.rewards import load_reward
    from funreason.record.folder import RecordError, write_json

    if k < 2 or not 0 <= anchors <= 1:
        raise ConfigError(f"--k is {k} and --anchors {anchors}; expected at least 2 answers, and a share from 0 to 1")
    notices = terminal.notices()
    file, model = fetched_file(file, notices, download=download), fetched_model(model, notices, download=download)
    reading = read_tasks(file, input_map=parse_input_map(input_map) if input_map else None)
    who = load_model(ModelChoice(model), None, settings or [])
    policy = who.policy
    earned = load_reward(reward, form=policy.call_format, require_thinking=thinking, think_tags=policy.tags)
    digest = hashlib.blake2b(msgspec.json.encode(reading.tasks), digest_size=8).hexdigest()
    facts = {"tasks": digest, "weights": who.weights, "reward": reward, "k": k, "thinking": thinking}
    facts |= {"max_new_tokens": who.max_new_tokens, "settings": sorted(settings or [])}
    if (out / FACTS).exists():
        before = json_text.loads((out / FACTS).read_text())
        if differing := [name for name in facts if before.get(name) != facts[name]]:
            raise RecordError(f"{out} holds bins of another {', '.join(differing)}; choose another --out.")
    elif out.exists() and any(out.iterdir()):
        raise RecordError(f"{out} is not empty and holds no {FACTS}; choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / FACTS, facts)
    counts: dict[str, PassCount] = {}
    if (out / COUNTS).exists():
        for line in (out / COUNTS).read_bytes().splitlines():
            try:
                count = msgspec.json.decode(line, type=PassCount)
            except msgspec.DecodeError:  # a kill cut the last line; its task is sampled again
                continue
            counts[count.id] = count
    console, notices = terminal.console(soft_wrap=True), terminal.notices()
    for note in (reading.summary(), *policy.notes):
        notices.print(plain(note), soft_wrap=True)
    pending = [task for task in reading.tasks if task.id not in counts]
    with (out / COUNTS).open("ab") as stream, Progress(console=notices) as progress:
        bar = progress.add_task("sampling", total=len(reading.tasks), completed=len(counts))

        def on_counted(count: PassCount) -> None:
            counts[count.id] = count
            stream.write(b"\n" * (stream.tell() > 0) + msgspec.json.encode(count))
            stream.flush()
            progress.advance(bar)

        try:
            asyncio.run(count_passes(policy, pending, earned, k, on_counted))
        except KeyboardInterrupt:
            console.print("interrupted; the same command continues from here")
            return INTERRUPTED
    if (cost := who.cost()) is not None:
        console.print(plain(cost))
    bins = sorted_into_bins(reading.tasks, counts.values(), anchors=anchors)
    files = {"train": bins["mixed"] + bins["anchors"], "hard": bins["hard"], "solved": bins["solved"]}
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("bin", "tasks", "without a right call", "file"):
        table.add_column(head, justify="right" if head[0] in "tw" else "left")
    where = {"mixed": "train", "anchors": "train"}
    named = {"mixed": f"mixed, 1 to {k - 1} of {k}", "hard": f"hard, 0 of {k}", "anchors": f"anchors, of {k} of {k}"}
    for name, tasks in bins.items():
        without = sum(not task.reference for task in tasks)
        label = named.get(name, f"solved, other {k} of {k}")
        table.add_row(label, str(len(tasks)), str(without), f"{where.get(name, name)}.jsonl")
    unusable = Counter(count.unusable for count in counts.values() if count.unusable)
    for why, number in unusable.items():
        table.add_row(plain(f"unusable: {why}"), str(number), "", "")
    console.print(table)
    for name, tasks in files.items():
        written, rejected = convert(tasks, "openai", out / f"{name}.jsonl")
        for refusal in rejected[:3]:
            console.print(plain(f"{name}: not written, {refusal.id}: {refusal.message}"))
        if rejected:
            console.print(f"{name}: {written} written, {len(rejected)} that OpenAI's form cannot carry are not")
    return OK


def _verdict(hack: HackPay) -> Text:
    from funreason.evaluation.reward_audit import PAYS

    said, notes = hack.verdict, []
    if hack.pays_on:
        notes.append(f"on {hack.pays_on}")
    if hack.failed_on:
        notes.append(f"fails on {hack.failed_on}")
    if hack.is_right and hack.less_on:
        notes.append(f"right, but earns less on {hack.less_on}")
    return Text(f"{said} {', '.join(notes)}".rstrip(), style="red" if said == PAYS or hack.failed_on else "green")
