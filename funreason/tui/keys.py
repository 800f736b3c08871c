"""The dashboard's keys, and the help that lists them. `keys.yaml` remaps a key by the id of its binding."""

from __future__ import annotations

from collections.abc import Iterable

from textual.binding import Binding

from funreason.display.spans import Line, Page, PageRow, line, wrap
from funreason.tui.view_state import PANELS

ABOUT = {
    "flow": "The agents in graph order. `in`: answers in this round. `pass %`: passes of all that were judged, not an "
    "accuracy. `Δ`: points against the round before. `fly`: samples waiting or in hand. `regen`: sent back for "
    "another answer. Below: how the samples ended. Enter on a row filters the samples by it.",
    "loss": "Mean losses in nats per token, one smoothed curve each; the dim curve is the round before. alpha is the "
    "weight of thinking. Below: other metrics of the objective.",
    "gate": "Accuracy of old and new weights on the same held-out items, with the 95 % interval of the new; the mean "
    "of calls and refusals where there are both. ▲ promote keeps the new weights, ■ hold and ▼ rollback keep the old. "
    "+a −b: items won and lost; p: exact McNemar.",
    "samples": "The newest verdict of each sample, with its query and answer. Enter opens the sample. / filters: a "
    "part of an id, node, verdict, reason, query or answer, or a pattern such as schema.*",
    "dead": "Why samples were dropped or died, and records that never became tasks. Enter filters the samples by a "
    "reason. The palette (ctrl+p) puts a reason back into the queue of a run that no process is writing.",
    "health": "Judges by errors and time. An error is the judge's fault, never a verdict about the sample. `f.pass`: "
    "known bad samples that it passed, %; `f.drop`: known good ones that it did not; `same%`: samples judged twice "
    "with the same verdict. Alone on the screen (z) it shows all columns.",
    "log": "Events, newest first.",
    "compare": "The shown round beside the round before, or beside the same round of another run (ctrl+p).",
}


def bindings() -> list[Binding]:
    """Every binding of the dashboard itself; those of a panel's rows are with the panel."""
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
        Binding("d", "diagnosis", "diagnosis", id="view.diagnosis"),
        Binding("f", "follow", "follow the newest", show=False, id="round.follow"),
        Binding("g", "go_to", "go to a round, a row, a time", show=False, id="view.go_to"),
        Binding("s", "sort", "sort this panel", show=False, id="view.sort"),
        Binding("space", "hold", "hold", id="view.hold"),
        Binding("left", "step(-1)", "event back", id="replay.back"),
        Binding("right", "step(1)", "event on", id="replay.on"),
        Binding("less_than_sign", "speed(-1)", "slower", id="replay.slower"),
        Binding("greater_than_sign", "speed(1)", "faster", id="replay.faster"),
        Binding("y", "copy", "copy this row", show=False, id="view.copy"),
        Binding("e", "export", "export this table", show=False, id="view.export"),
        Binding("t", "theme", "theme", show=False, id="view.theme"),
        Binding("P", "pause_run", "pause run", id="run.pause"),
        Binding("S", "stop_run", "stop the run after this round", show=False, id="run.stop"),
        Binding("question_mark", "help", "help", id="view.help"),
        Binding("q", "quit", "quit", id="view.quit"),
    ]


def help_page(panel: str, bindings: Iterable[Binding], width: int) -> Page:
    """Help for one panel, then every key."""
    lines: list[Line] = [line((panel, "head"))]
    lines += [line(part) for part in wrap(ABOUT.get(panel, ""), width)]
    lines += [line(""), line(("keys", "head"), ("   (id: to remap in ~/.config/funreason/keys.yaml)", "dim"))]
    for binding in bindings:
        if binding.description:
            shown = binding.key.replace("question_mark", "?").replace("left_square_bracket", "[")
            shown = shown.replace("right_square_bracket", "]").replace("slash", "/")
            shown = shown.replace("less_than_sign", "<").replace("greater_than_sign", ">")
            lines.append(line((f"  {shown:<14}", "accent"), f"{binding.description:<34}", (binding.id or "", "dim")))
    rows = tuple(PageRow(str(i), one, ("".join(text for text, _ in one),)) for i, one in enumerate(lines))
    return Page("help", (), rows, ("text",))
