"""The help: what the focused panel shows and what each key does, read from the bindings in force."""

from __future__ import annotations

from collections.abc import Iterable

from textual.binding import Binding

from funreason.display.spans import Line, Page, Row, line, wrap

ABOUT = {
    "flow": "The agents in graph order. `in`: answers in this round. `pass %`: passes of all that were judged, not an "
    "accuracy. `Δ`: points against the round before. `fly`: samples waiting or in hand. `regen`: sent back for "
    "another answer. Below: what became of the samples. Enter on a row narrows the samples to it.",
    "loss": "Mean loss in nats per token, thinking and result apart; the dim curve is the round before. alpha is the "
    "weight of thinking.",
    "gate": "Accuracy of the old and the new weights on the same held-out items, with the 95 % interval of the new. "
    "▲ promote keeps the new weights, ■ hold and ▼ rollback keep the old. +a −b: items won and lost; p: exact McNemar.",
    "samples": "The last word about each sample, newest first. Enter tells its story. / narrows: a part of an id, "
    "node, verdict or reason, or a pattern such as schema.*",
    "dead": "Why samples were dropped or died, and records that never became tasks. Enter narrows the samples to a "
    "reason. The palette (ctrl+p) puts a reason back into the queue of a run that nobody is writing.",
    "health": "Judges by errors and time. An error is the judge's fault, never a verdict about the sample. `f.pass`: "
    "known bad samples that it let pass, %; `f.drop`: known good ones that it did not; `same%`: samples asked twice "
    "that got the same word twice. Alone on the screen (z) it shows all columns.",
    "log": "What happened, newest first.",
    "compare": "The shown round beside the round before, or beside the same round of another run (ctrl+p).",
}


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
    rows = tuple(Row(str(i), one, ("".join(text for text, _ in one),)) for i, one in enumerate(lines))
    return Page("help", (), rows, ("text",))
