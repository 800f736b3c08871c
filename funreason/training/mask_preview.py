"""What a training will learn from a sample, shown token by token before training.

A wrong mask is silent: the loss still falls. So the preview marks every part by color and by bracket (a log has no
colors), and counts its tokens.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from funreason.objectives.protocol import NONE, RESULT, THINK, Encoded
from funreason.record.plain import plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NAMES = {NONE: "prompt", THINK: "think", RESULT: "result"}
STYLES = {NONE: "dim", THINK: "cyan", RESULT: "bold magenta"}
BRACKETS = {NONE: ("", ""), THINK: ("⟨", "⟩"), RESULT: ("⟦", "⟧")}


def mask_preview(
    encoded: Encoded, tokenizer: PreTrainedTokenizerBase, *, title: str = "", prompt_tokens: int = 60
) -> RenderableType:
    """A panel for one sample: text by part, a legend with token counts; the prompt cut to its last `prompt_tokens`."""
    body, legend = Text(), Text()
    for part, run in groupby(zip(encoded.parts, encoded.ids, strict=True), key=lambda pair: pair[0]):
        ids = [token for _, token in run]
        shown = ids if part != NONE else ids[-prompt_tokens:]
        left, right = BRACKETS[part]
        cut = "… " if len(shown) < len(ids) else ""
        body.append(f"{left}{cut}{plain(tokenizer.decode(shown), lines=True)}{right}", style=STYLES[part])
    for part, name in NAMES.items():
        left, right = BRACKETS[part]
        learned = "no loss" if part == NONE else "loss"
        legend.append(f"{left}{name}{right} {encoded.parts.count(part)} tokens, {learned}   ", style=STYLES[part])
    return Panel(Group(body, Text(), legend), title=Text(plain(title)) if title else None, title_align="left")
