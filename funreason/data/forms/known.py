"""The table of the forms of records that are read and written.

The form of a record is found by its keys, in the order of the table, so that files of mixed origin can be joined.
Messages about unknown records and the documentation are made from this table. To add a form, write a `Form` like the
others and enter it here.
"""

from __future__ import annotations

from funreason.data.forms.bfcl import BFCL
from funreason.data.forms.dialogues import OPENAI, SHAREGPT, TRL
from funreason.data.forms.form import Form, Record
from funreason.data.forms.questions import ALPACA, XLAM
from funreason.data.records import RecordRefused

_TABLE = (SHAREGPT, OPENAI, BFCL, XLAM, TRL, ALPACA)
FORMS = {form.name: form for form in _TABLE}


def known_forms() -> str:
    """The known forms with their keys, for a message."""
    return "; ".join(f"{form.name} ({form.keys})" for form in _TABLE)


def form_of(record: Record, name: str = "auto") -> Form:
    """The form of a record, by its keys, or the named one if it has that. RecordRefused names the known forms."""
    said = {key: value for key, value in record.items() if value is not None}  # a table fills absent keys with null
    for keys in (said, record):
        for form in _TABLE:
            if name in ("auto", form.name) and form.matches(keys):
                return form
    found = ", ".join(sorted(record)[:8]) or "none"
    wanted = "any known form" if name == "auto" else name
    raise RecordRefused(
        "record.unknown_format", f"the keys ({found}) are not those of {wanted}; known forms are {known_forms()}"
    )
