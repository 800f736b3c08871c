"""How the metrics of an objective are shown: hints for the known ones, the same defaults for all others.

No screen depends on a metric's name. What begins with `loss` is a loss; the total `loss` is shown only where there are
no parts `loss_<x>`. A metric without a hint is shown under its own name, wherever metrics are listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from funreason.display.figures import NONE


class MetricHint(NamedTuple):
    """How a metric is written: its label, number format and colour role; `listed` False keeps it out of tables."""

    label: str
    format: str = "{:.3f}"
    role: str = "accent"
    listed: bool = True


HINTS = {
    "loss_think": MetricHint("L_think", role="think"),
    "loss_result": MetricHint("L_result", role="result"),
    "alpha": MetricHint("alpha", "{:.2f}", listed=False),
    "lr": MetricHint("lr", "{:.1e}", listed=False),
    "grad_norm": MetricHint("grad norm", "{:.2f}", listed=False),
    "seconds": MetricHint("seconds", "{:.2f}", listed=False),
    "tokens_per_s": MetricHint("tokens/s", "{:,.0f}", listed=False),
}


def hint(name: str) -> MetricHint:
    """The hint of a metric. An unknown loss `loss_<x>` is called `L_<x>`; counts of tokens are kept out of tables."""
    if name in HINTS:
        return HINTS[name]
    if name.startswith("loss_"):
        return MetricHint(f"L_{name.removeprefix('loss_')}")
    return MetricHint(name, "{:,.0f}" if name.endswith("_tokens") else "{:.3f}", listed=not name.endswith("_tokens"))


def curves(names: Iterable[str]) -> list[str]:
    """The losses to draw: the parts, or the total where there are none."""
    known = list(dict.fromkeys(names))
    return [name for name in known if name.startswith("loss_")] or [name for name in known if name == "loss"]


def others(names: Iterable[str]) -> list[str]:
    """The metrics to list beside the losses: all but those that their hint keeps out of tables."""
    return [name for name in dict.fromkeys(names) if not name.startswith("loss") and hint(name).listed]


def formatted(name: str, value: float | None) -> str:
    """A metric's value as text."""
    return NONE if value is None else hint(name).format.format(value)
