"""The dashboard's keys. Each binding has an id, by which `keys.yaml` gives it another key."""

from __future__ import annotations

from textual.binding import Binding

from funreason.tui.look import PANELS


def bindings() -> list[Binding]:
    """Every binding of the dashboard itself; those of a panel's rows are with the sheet."""
    panels = [
        Binding(str(i), f"panel('{name}')", f"{name} panel", show=False, id=f"panel.{name}")
        for i, name in enumerate(PANELS, 1)
    ]
    return [
        *panels,
        Binding("tab", "next_panel(1)", "panel", id="panel.next", priority=True),
        Binding("shift+tab", "next_panel(-1)", "panel before", show=False, id="panel.before", priority=True),
        Binding("z", "zoom", "alone", id="panel.zoom"),
        Binding("escape", "widen", "clear filters, all panels", show=False, id="view.back"),
        Binding("slash", "filter", "filter", id="view.filter"),
        Binding("left_square_bracket", "round(-1)", "round before", show=False, id="round.before"),
        Binding("right_square_bracket", "round(1)", "next round", show=False, id="round.next"),
        Binding("f", "follow", "follow the newest", show=False, id="round.follow"),
        Binding("g", "go_to", "go to a round, a row, a time", show=False, id="view.go_to"),
        Binding("s", "sort", "sort this panel", show=False, id="view.sort"),
        Binding("space", "hold", "hold", id="view.hold"),
        Binding("left", "step(-1)", "replay: an event back", show=False, id="replay.back"),
        Binding("right", "step(1)", "replay: an event on", show=False, id="replay.on"),
        Binding("less_than_sign", "speed(-1)", "replay: slower", show=False, id="replay.slower"),
        Binding("greater_than_sign", "speed(1)", "replay: faster", show=False, id="replay.faster"),
        Binding("y", "copy", "copy this row", show=False, id="view.copy"),
        Binding("e", "export", "export this table", show=False, id="view.export"),
        Binding("t", "theme", "theme", show=False, id="view.theme"),
        Binding("P", "pause_run", "pause run", id="run.pause"),
        Binding("S", "stop_run", "stop the run after this round", show=False, id="run.stop"),
        Binding("question_mark", "help", "help", id="view.help"),
        Binding("q", "quit", "quit", id="view.quit"),
    ]
