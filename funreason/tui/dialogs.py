"""The screens over the panels: a long text, an input line, a yes-or-no question."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from funreason.display.spans import Page
from funreason.tui.panel import PanelWidget


class TextScreen(ModalScreen[None]):
    """A long text, such as the page of a sample or the help."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "back", id="text.back"),
        Binding("y", "copy", "copy", id="text.copy"),
    ]

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.text = page

    def compose(self) -> ComposeResult:
        """One panel over the whole screen."""
        yield PanelWidget("text", cursor=False)

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
    """An input line: a filter, or where to go. Escape gives None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "back", id="input.back")]

    def __init__(self, prompt: str, value: str = "") -> None:
        super().__init__()
        self.prompt = prompt
        self.value = value

    def compose(self) -> ComposeResult:
        """The prompt and the line."""
        with Vertical(id="dialog"):
            yield Static(Text(self.prompt))
            yield Input(self.value, id="line", compact=True)

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
