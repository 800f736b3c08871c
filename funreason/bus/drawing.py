"""Draws a graph: as Mermaid for a page, as plain text for a terminal. Names are shown exactly as declared."""

from __future__ import annotations

from funreason.bus.topology import Edge, Topology

WIDTH = 100


def to_mermaid(graph: Topology) -> str:
    """A Mermaid flowchart: retry edges thick, edges taken once a round dotted, sinks round."""
    ids = {name: f"n{i}" for i, name in enumerate(graph.order)}
    sinks = graph.sinks
    lines = ["flowchart TD"]
    for name in graph.order:
        box = f"([{_quoted(name)}])" if name in sinks else f"[{_quoted(name)}]"
        lines.append(f"    {ids[name]}{box}")
    for edge in (edge for name in graph.order for edge in graph.edges_from(name)):
        arrow = "-.->" if edge.per_round else "==>" if edge.retry else "-->"
        lines.append(f"    {ids[edge.source]} {arrow}|{_quoted(_label(edge))}| {ids[edge.target]}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;") + '"'


def _label(edge: Edge) -> str:
    return edge.outcome + " (retry)" * edge.retry + " (once a round)" * edge.per_round


def to_text(graph: Topology, width: int = WIDTH) -> str:
    """One row per node in depth order, with its edges grouped by where they lead; no line passes `width` columns.

    A name longer than half the width is still shown in full, on a line of its own.
    """
    column = min(max((len(name) for name in graph.order), default=0), width // 2) + 4
    depth, sinks = {name: i for i, name in enumerate(graph.order)}, graph.sinks
    lines = []
    for name in graph.order:
        head = f"{'▶' if name == graph.start else '■' if name in sinks else '│'} {name}"
        groups: dict[str, list[str]] = {}
        for edge in graph.edges_from(name):
            groups.setdefault(edge.target, []).append(_label(edge))
        ways = [
            f"{', '.join(labels)} {'↺' if depth.get(target, len(depth)) <= depth[name] else '→'} {target}"
            for target, labels in groups.items()
        ]
        rows = _wrapped(ways or ["ends here"], width - column)
        lines.append(head if len(head) >= column else head.ljust(column) + rows.pop(0))
        lines += [" " * column + row for row in rows]
    return "\n".join(lines) + "\n"


def _wrapped(ways: list[str], room: int) -> list[str]:
    """`ways` joined by dots in rows of at most `room`: broken between ways, and inside one only if it must be."""
    rows = [""]
    parts = [way + " ·" * (i + 1 < len(ways)) for i, way in enumerate(ways)]
    for part in parts:
        for piece in [part] if len(part) <= room else part.split(" "):
            joined = f"{rows[-1]} {piece}" if rows[-1] else piece
            if len(joined) <= room or not rows[-1]:
                rows[-1] = joined
            else:
                rows.append(piece)
    return rows
