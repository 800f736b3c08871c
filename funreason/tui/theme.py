"""Which colour a role has, taken from the theme in use, so that every theme works; each role differs otherwise too.

Signs (✓ ✗ ▲ ▼ ↻ !), brackets and words say what colours say: NO_COLOR loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style

THEMES = ("textual-dark", "textual-light", "nord", "gruvbox", "solarized-light", "ansi-dark")
"""The themes `t` walks through; the palette offers all."""
_VARIABLES = {
    "good": "success",
    "bad": "error",
    "warn": "warning",
    "think": "primary",
    "result": "accent",
    "accent": "primary",
}


def role_styles(variables: Mapping[str, str]) -> dict[str, Style]:
    """A style for each role. Colours are those the theme makes readable as text."""
    styles = {role: Style(color=_colour(variables, name)) for role, name in _VARIABLES.items()}
    plain = _colour(variables, "foreground")
    cursor = _colour(variables, "primary-muted")
    return styles | {
        "dim": Style(dim=True),
        "old": Style(dim=True),
        "head": Style(bold=True),
        "key": Style(bold=True, reverse=True),
        "cursor": Style(bold=True, bgcolor=cursor) if cursor else Style(reverse=True),
        "plain": Style(color=plain) if plain else Style.null(),
    }


def _colour(variables: Mapping[str, str], name: str) -> str | None:
    for key in (f"text-{name}", name):
        value = variables.get(key, "")
        if value.startswith("ansi_"):  # a theme of the terminal's own sixteen colours
            return None if value == "ansi_default" else value.removeprefix("ansi_")
        if value.startswith("#"):
            return value[:7]
    return None
