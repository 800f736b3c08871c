"""The embedded toolbox: a small world of tools in which the whole loop runs without a network or a GPU.

`generate` draws tasks of a split; `BASE` is the folder of the small base model that was pre-trained on the
familiar themes alone. Nothing here imports torch.
"""

from __future__ import annotations

from pathlib import Path

from funreason.data.toolbox.splits import SPLITS, generate

__all__ = ["BASE", "SPLITS", "generate"]

BASE = Path(__file__).parent / "base"
