"""The small screens over the panels: a sample's story, help, a line to type into, a question."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from funreason.display.spans import Page
from funreason.tui.sheet import Sheet


class Reading(ModalScreen[None]):
    """Something long to read, such as a sample's story or the help."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "back", id="reading.back"),
        Binding("y", "copy", "copy", id="reading.copy"),
    ]

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.reading = page

    def compose(self) -> ComposeResult:
        """One sheet over the whole screen."""
        yield Sheet("reading", cursor=False)

    def on_mount(self) -> None:
        """Show the page."""
        sheet = self.query_one(Sheet)
        sheet.show(self.reading)
        sheet.focus()

    def action_copy(self) -> None:
        """Copy everything that stands here."""
        self.app.copy_to_clipboard("\n".join(row.cells[0] for row in self.reading.rows if row.cells))
        self.app.notify("copied", markup=False)


class Asking(ModalScreen[str | None]):
    """A line to type into: a filter, or where to go. Escape gives None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "back", id="asking.back")]

    def __init__(self, prompt: str, value: str = "") -> None:
        super().__init__()
        self.prompt = prompt
        self.value = value

    def compose(self) -> ComposeResult:
        """The prompt and the line."""
        with Vertical(id="asking"):
            yield Static(Text(self.prompt))
            yield Input(self.value, id="line", compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter gives what was typed."""
        self.dismiss(event.value)


class Sure(ModalScreen[bool]):
    """A question about the run itself: y does it, anything else does not."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "yes", id="sure.yes"),
        Binding("n,escape,enter,q", "dismiss(False)", "no", id="sure.no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question

    def compose(self) -> ComposeResult:
        """The question and its keys."""
        with Vertical(id="asking"):
            yield Static(Text(self.question))
            yield Static(Text("y  yes      n, esc  no", style="dim"))
