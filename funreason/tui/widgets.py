"""The widget of every panel, and the screens over the panels: a long text, an input line, a yes-or-no question.

A panel shows a page of lines with a cursor and paints only the lines that are on the screen.
`show` compares the new page with the old and repaints only what differs; a page of ten thousand rows costs no more than
one of ten. Lines are made of spans, never of markup, and every span is cleaned before it is painted. Colours of roles
come from the theme in use; signs (✓ ✗ ▲ ▼ ↻ !), brackets and words say the same, so NO_COLOR loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Click, MouseScrollDown, MouseScrollUp, Resize
from textual.message import Message
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input, Static

from funreason.display.spans import Line, Page, PageRow, clean

_VARIABLES = {
    "good": "success",
    "bad": "error",
    "warn": "warning",
    "think": "primary",
    "result": "accent",
    "accent": "primary",
}
"""Which colour of the theme a role has."""


class PanelWidget(Widget, can_focus=True):
    """Shows a `Page`. Posts `Opened` when enter is pressed on a row."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False, id="rows.up"),
        Binding("down,j", "move(1)", "down", show=False, id="rows.down"),
        Binding("pageup", "page(-1)", "page up", show=False, id="rows.page_up"),
        Binding("pagedown", "page(1)", "page down", show=False, id="rows.page_down"),
        Binding("home", "move(-1000000)", "first", show=False, id="rows.first"),
        Binding("end", "move(1000000)", "last", show=False, id="rows.last"),
        Binding("enter", "open", "open", show=False, id="rows.open"),
    ]

    class Opened(Message):
        """Enter was pressed, or a row clicked twice."""

        def __init__(self, panel: PanelWidget, row: PageRow) -> None:
            super().__init__()
            self.panel = panel
            self.row = row

    def __init__(self, id: str, *, number: str = "", cursor: bool = True, hint: str = "") -> None:
        super().__init__(id=id)
        self.hint = hint
        self.page = Page("")
        self.number = number
        self.cursor = 0 if cursor else None
        self.top = 0
        self.follows = True
        """Whether the cursor stays on the first row while rows come in above it; True until it is moved."""
        self._styles_of: tuple[object, dict[str, Style]] = (None, {})

    def show(self, page: Page) -> None:
        """Show `page`, keeping the cursor on its row."""
        if page == self.page:
            return
        key = self.row.key if self.row else ""
        retitled = page.title != self.page.title
        self.page = page
        if self.cursor is not None:
            here = next((i for i, row in enumerate(page.rows) if row.key == key), self.cursor)
            self.cursor = 0 if self.follows else min(here, max(0, len(page.rows) - 1))
        self._keep_in_sight()
        if retitled or not self.border_title:
            self.border_title = Text(f"{self.number} {clean(page.title)}".strip())
        self.refresh()

    @property
    def row(self) -> PageRow | None:
        """The row the cursor is on."""
        rows = self.page.rows
        return rows[self.cursor] if self.cursor is not None and self.cursor < len(rows) else None

    @property
    def room(self) -> int:
        """Lines left for rows."""
        return max(0, self.size.height - len(self.page.head))

    def render_line(self, y: int) -> Strip:
        """One painted line."""
        heads, width = len(self.page.head), self.size.width
        if y < heads:
            return self._strip(self.page.head[y], width, False)
        at = self.top + y - heads
        if at >= len(self.page.rows):
            return Strip.blank(width, self.rich_style)
        return self._strip(self.page.rows[at].line, width, at == self.cursor and self.has_focus)

    def _strip(self, line: Line, width: int, marked: bool) -> Strip:
        variables = self.app.theme_variables
        if self._styles_of[0] is not variables:
            self._styles_of = (variables, role_styles(variables))
        base, roles = self.rich_style, self._styles_of[1]
        mark = roles["cursor"] if marked else Style.null()
        segments = [Segment(clean(text), base + roles.get(role, Style.null()) + mark) for text, role in line]
        return Strip(segments).adjust_cell_length(width, base + mark)

    # -- moving -----------------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Move the cursor by this many rows."""
        if self.cursor is None:
            self.top += by
        else:
            self.cursor = min(max(self.cursor + by, 0), max(0, len(self.page.rows) - 1))
            self.follows = self.cursor == 0
        self._keep_in_sight()
        self.refresh()

    def action_page(self, by: int) -> None:
        """Move the cursor by this many screens."""
        self.action_move(by * max(1, self.room - 1))

    def action_open(self) -> None:
        """Open what the cursor is on."""
        if self.row:
            self.post_message(self.Opened(self, self.row))

    def go_to(self, text: str) -> bool:
        """Move to the first row whose key or text contains `text`; returns whether there is one."""
        at = next((i for i, row in enumerate(self.page.rows) if text in row.key or text in "\t".join(row.cells)), None)
        if at is None or self.cursor is None:
            return False
        self.action_move(at - self.cursor)
        return True

    def _keep_in_sight(self) -> None:
        room, rows = max(1, self.room), len(self.page.rows)
        if self.cursor is not None:
            self.top = min(max(self.top, self.cursor - room + 1), self.cursor)
        self.top = min(max(0, self.top), max(0, rows - room))
        hidden = rows - room
        place = f"{self.top + 1}–{min(self.top + room, rows)} of {rows}" if hidden > 0 and self.size.height else ""
        subtitle = " · ".join(part for part in (self.hint, place) if part)
        if (self.border_subtitle or "") != subtitle:
            self.border_subtitle = Text(subtitle)

    def on_resize(self, event: Resize) -> None:
        """Another size: the cursor's row stays in sight."""
        self._keep_in_sight()

    def on_click(self, event: Click) -> None:
        """Stand on the clicked row; a second click opens it."""
        at = self.top + event.get_content_offset_capture(self).y - len(self.page.head)
        if self.cursor is None or not 0 <= at < len(self.page.rows):
            return
        self.action_move(at - self.cursor)
        if event.chain >= 2:
            self.action_open()

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """Three rows down."""
        event.stop()
        self.action_move(3)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """Three rows up."""
        event.stop()
        self.action_move(-3)


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


class TextScreen(ModalScreen[None]):
    """A long text, such as the page of a sample or the help."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "back", id="text.back"),
        Binding("y", "copy", "copy", id="text.copy"),
    ]

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.text = page
        self.story = page.title.startswith("story")

    def compose(self) -> ComposeResult:
        """One panel over the whole screen."""
        yield PanelWidget(
            "text", cursor=False, hint="⟨thinking⟩ ⟦answer⟧ · esc back · y copy" if self.story else "esc back"
        )

    def on_mount(self) -> None:
        """Show the page."""
        panel = self.query_one(PanelWidget)
        panel.show(self.text)
        panel.focus()

    def action_copy(self) -> None:
        """Copy the whole text."""
        self.app.copy_to_clipboard("\n".join(row.cells[0] for row in self.text.rows if row.cells))
        self.app.notify("copied", markup=False)


class InputDialog(ModalScreen[str | None]):
    """An input line under the panels: a filter, or where to go. Escape gives None.

    `changed` is called with what is typed so far.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "back", id="input.back")]

    def __init__(self, prompt: str, value: str = "", changed: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self.prompt = prompt
        self.value = value
        self.changed = changed

    def compose(self) -> ComposeResult:
        """The prompt and the line."""
        with Vertical(id="dialog"):
            yield Static(Text(self.prompt))
            yield Input(self.value, id="line", compact=True)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show at once what the text would do."""
        if self.changed is not None:
            self.changed(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter gives what was typed."""
        self.dismiss(event.value)


class ConfirmDialog(ModalScreen[bool]):
    """A question about the run itself: y confirms, anything else cancels."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "yes", id="confirm.yes"),
        Binding("n,escape,enter,q", "dismiss(False)", "no", id="confirm.no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question

    def compose(self) -> ComposeResult:
        """The question and its keys."""
        with Vertical(id="dialog"):
            yield Static(Text(self.question))
            yield Static(Text("y  yes      n, esc  no", style="dim"))
