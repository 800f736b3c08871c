"""What travels along signal edges, once a round: new weights, and which weights to go on with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Accepted(NamedTuple):
    """Which weights to go on with, and the model folder that holds them."""

    weights_id: str
    folder: Path


class Candidate(NamedTuple):
    """New weights of a round, waiting for the gate's word."""

    round: int
    weights_id: str
    folder: Path
