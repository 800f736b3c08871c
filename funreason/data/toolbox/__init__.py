"""The embedded toolbox: a small generated domain in which the whole loop runs without a network or a GPU.

`generate` makes the tasks of a split, and `BASE` is the folder of the small pre-trained model. No torch is imported.
"""

from __future__ import annotations

from pathlib import Path

from funreason.data.toolbox.tasks import SPLITS, generate

__all__ = ["BASE", "SPLITS", "generate"]

BASE = Path(__file__).parent / "base"
