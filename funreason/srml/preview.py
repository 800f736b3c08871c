"""What a training will learn from a sample, shown token by token before it is trained on.

A wrong mask is silent: the loss still falls. So the preview marks every part by colour and by bracket (a log has no
colours), and counts its tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from funreason.record.plain import plain
from funreason.srml.parts import NONE, RESULT, THINK, Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NAMES = {NONE: "prompt", THINK: "think", RESULT: "result"}
STYLES = {NONE: "dim", THINK: "cyan", RESULT: "bold magenta"}
BRACKETS = {NONE: ("", ""), THINK: ("⟨", "⟩"), RESULT: ("⟦", "⟧")}


def mask_preview(
    encoded: Encoded, tokenizer: PreTrainedTokenizerBase, *, title: str = "", prompt_tokens: int = 60
) -> RenderableType:
    """A panel for one sample: text by part, a legend with token counts; the prompt cut to its last `prompt_tokens`."""
    body = Text()
    for part, ids in _runs(encoded):
        shown = ids if part != NONE else ids[-prompt_tokens:]
        left, right = BRACKETS[part]
        cut = "… " if len(shown) < len(ids) else ""
        body.append(f"{left}{cut}{plain(tokenizer.decode(shown), lines=True)}{right}", style=STYLES[part])
    return Panel(Group(body, Text(), _legend(encoded)), title=Text(plain(title)) if title else None, title_align="left")


def _runs(encoded: Encoded) -> Iterator[tuple[int, list[int]]]:
    for part, run in groupby(zip(encoded.parts, encoded.ids, strict=True), key=lambda pair: pair[0]):
        yield part, [token for _, token in run]


def _legend(encoded: Encoded) -> Text:
    legend = Text()
    for part, name in NAMES.items():
        left, right = BRACKETS[part]
        learnt = "no loss" if part == NONE else "loss"
        count = encoded.parts.count(part)
        legend.append(f"{left}{name}{right} {count} tokens, {learnt}   ", style=STYLES[part])
    return legend
