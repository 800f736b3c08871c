"""The page of each panel: one table for the screen, the export and the tests."""

from __future__ import annotations

from funreason.display.spans import Page
from funreason.record.state import State
from funreason.tui.compare import compare_page, gate_page
from funreason.tui.flow import dead_page, flow_page, health_page
from funreason.tui.log_panel import log_page
from funreason.tui.losses import loss_page
from funreason.tui.samples import samples_page
from funreason.tui.view_state import ViewState

_PAGES = {
    "flow": flow_page,
    "gate": gate_page,
    "samples": samples_page,
    "dead": dead_page,
    "health": health_page,
    "log": log_page,
    "compare": compare_page,
}


def page_of(panel: str, state: State, view: ViewState, width: int, height: int) -> Page:
    """The page of a panel, `width` cells wide; only the curves need to know their height."""
    if panel == "loss":
        return loss_page(state, view, width, height)
    return _PAGES[panel](state, view, width)
