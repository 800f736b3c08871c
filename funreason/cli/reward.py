"""`funreason reward`: list the rewards, attack one with the known hacks."""

from __future__ import annotations

import inspect
import json as json_text
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from funreason.calls.call_format import CallFormat
from funreason.calls.dialects.catalogue import dialect_named
from funreason.cli import terminal
from funreason.cli.app import Setting
from funreason.config import TOOLBOX, parse_setting
from funreason.evaluation.reward_audit import PAYS, HackPay, audit, audit_tasks
from funreason.objectives.rewards import REWARDS, load_reward
from funreason.record.plain import plain

OK, FAILED = 0, 1


def reward_list() -> int:
    """List the rewards of this package."""
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
    json: Annotated[bool, Parameter(negative="")] = False,
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
    json
        The numbers as JSON.
    """
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


def _verdict(hack: HackPay) -> Text:
    said, notes = hack.verdict, []
    if hack.pays_on:
        notes.append(f"on {hack.pays_on}")
    if hack.failed_on:
        notes.append(f"fails on {hack.failed_on}")
    if hack.is_right and hack.less_on:
        notes.append(f"right, but earns less on {hack.less_on}")
    return Text(f"{said} {', '.join(notes)}".rstrip(), style="red" if said == PAYS or hack.failed_on else "green")
