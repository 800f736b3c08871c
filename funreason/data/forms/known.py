"""The table of the forms of records that are read and written.

The form of a record is found by its keys, in the order of the table, so that files of mixed origin can be joined.
Messages about unknown records and the documentation are made from this table. To add a form, write a file like the
others and enter it here.
"""

from __future__ import annotations

from funreason.data.forms import alpaca, bfcl, openai, sharegpt, trl, xlam
from funreason.data.forms.form import Form, Record
from funreason.data.records import RecordRefused

_TABLE = (
    Form(
        "sharegpt",
        "LLaMA-Factory, ms-swift, axolotl, Hermes, ToolACE, APIGen-MT",
        "conversations",
        "dialogue, system text, results, thinking in tags, turns not to be learned",
        sharegpt.matches,
        sharegpt.read,
        sharegpt.write,
    ),
    Form(
        "openai",
        "OpenAI, Anthropic and vLLM logs, TRL, ms-swift, verl",
        "messages",
        "dialogue, system text, results, thinking in fields, parts or tags, turns not to be learned",
        openai.matches,
        openai.read,
        openai.write,
    ),
    Form(
        "bfcl",
        "the Berkeley leaderboard",
        "question, function",
        "system text; the first possible answer of each parameter",
        bfcl.matches,
        bfcl.read,
    ),
    Form(
        "xlam",
        "Salesforce xLAM, APIGen, ToolMind",
        "query with tools or answers",
        "thinking in cot, text in response, the dialogue before in history",
        xlam.matches,
        xlam.read,
        xlam.write,
    ),
    Form(
        "trl",
        "TRL: language modelling by prompt and completion, preferences",
        "prompt with completion, or chosen and rejected",
        "dialogue, system text, results, thinking; of a preference the chosen answer",
        trl.matches,
        trl.read,
        trl.write,
    ),
    Form(
        "alpaca",
        "Stanford Alpaca, LLaMA-Factory",
        "instruction with input or output",
        "system text, the dialogue before in history",
        alpaca.matches,
        alpaca.read,
    ),
)
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
