"""The form of calls that a model is taught, chosen by `model.call_format`.

One object of it is what prompt, references, stage 5, regenerator, canaries and gate of a run share, so that they cannot
differ. It is a dialect, written and read strictly: an answer in this form has nothing before, between or after the
calls, and is written as `render` writes the same calls, blanks aside. `pythonic` keeps its own strict reader, which
also takes the other quote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.pythonic import PYTHONIC as PYTHONIC_DIALECT
from funreason.calls.parse import CallSyntaxError
from funreason.calls.render import CallRenderError
from funreason.types import Call

_SHOWN = (Call("name", {"parameter": "value"}), Call("other", {"parameter": 1}))


@dataclass(frozen=True, slots=True)
class CallFormat:
    """A dialect as the form that answers must have."""

    dialect: Dialect

    @property
    def name(self) -> str:
        """The dialect's name."""
        return self.dialect.name

    @property
    def pythonic(self) -> bool:
        """Whether this is the papers' form, `[f(a=1)]`."""
        return self.dialect == PYTHONIC_DIALECT

    @property
    def instruction(self) -> str:
        """The form in words, for a prompt that explains it."""
        if self.pythonic:
            return (
                "as a Python list: [name(parameter=value), other(parameter=value)]. "
                "Use keyword arguments and plain literals only."
            )
        return f"in exactly this form:\n{self.dialect.render(_SHOWN)}\n"

    def render(self, calls: Sequence[Call], tools: Tools = ()) -> str:
        """`calls` in this form. Raises CallRenderError for calls that it cannot carry."""
        return self.dialect.render(calls, tools)

    def parse(self, text: str, tools: Tools = ()) -> list[Call]:
        """The calls of a text that has exactly this form.

        Raises CallSyntaxError: with the reason `form.other` where the calls can be read, but are not written so.
        """
        calls = self.dialect.parse(text, tools)
        if self.pythonic:
            return calls
        try:
            written = self.render(calls, tools)
        except CallRenderError as error:
            raise CallSyntaxError("form.other", str(error)) from error
        if text.split() != written.split() and "".join(text.split()) != "".join(written.split()):
            raise CallSyntaxError("form.other", f"the calls must be written as {self.name} writes them: {written:.200}")
        return calls


PYTHONIC = CallFormat(PYTHONIC_DIALECT)
"""The papers' form, and the default."""
