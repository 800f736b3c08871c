"""Composed tasks: some two thousand tools over 37 themes, made from vocabularies, with exact references.

Free of any benchmark's data: themes, tools, queries and values are put together by rule from the lists in this package.
`compose` makes the tasks of a split. No torch is imported.
"""

from __future__ import annotations

from funreason.data.composed.composing import SHARES, SPLITS, compose, tools_of

__all__ = ["SHARES", "SPLITS", "compose", "tools_of"]
