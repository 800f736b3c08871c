"""The console every command prints on: what it is given is text, never markup.

Paths, reasons and model output may hold square brackets; read as markup they restyle the line or raise. Colours come
from `rich.text.Text` alone. Text from outside goes through `funreason.record.plain` first.
"""

from __future__ import annotations

from rich.console import Console


def console(*, soft_wrap: bool = False, stderr: bool = False) -> Console:
    """A console that reads no markup and no emoji names and highlights nothing; `soft_wrap` leaves lines whole."""
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=soft_wrap, stderr=stderr)
