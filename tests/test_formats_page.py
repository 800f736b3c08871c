"""`docs/formats.md` is written from the tables of forms and dialects: `python tests/test_formats_page.py` writes it."""

from pathlib import Path

from funreason.calls.dialects.catalogue import OF_THE_PACKAGE
from funreason.data.forms.known import FORMS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "formats.md"
HEAD = """# Forms of records and spellings of calls

What `refine`, `loop --tasks`, `train` and `convert` read. Kinds of files (Parquet, CSV, …) are in [files.md](files.md).
`--format` names a form, by default each record's own keys decide. What a record holds beside this is counted under
"not carried", and a role or part that is not known refuses the record by name. Names of tools and parameters that
cannot be called are mapped to callable ones and back ([sharing.md](sharing.md)).
"""


def cell(text: str) -> str:
    """A text as one cell of a table; a line break shows as ⏎."""
    return text.replace("|", "\\|").replace("\n", " ⏎ ")


def code(text: str) -> str:
    ticks = "``" if "`" in text else "`"
    pad = " " if "`" in text else ""
    return f"{ticks}{pad}{cell(text)}{pad}{ticks}"


def page() -> str:
    lines = [HEAD, "## Forms of records", ""]
    lines += ["| form | serves | known by | also carried | written |", "|---|---|---|---|---|"]
    for form in FORMS.values():
        written = "yes" if form.write else "no"
        lines.append(f"| {form.name} | {cell(form.serves)} | {cell(form.keys)} | {cell(form.carries)} | {written} |")
    lines += ["", "## Spellings of calls", ""]
    lines += [
        "Any of them is read, in a record's answer, in its history and in a model's own. `model.call_format` teaches",
        "one that is written. A custom dialect is a plug-in: an entry point of the group `funreason.dialects`.",
    ]
    lines += ["", "| dialect | serves | one call | written |", "|---|---|---|---|"]
    for dialect in OF_THE_PACKAGE:
        written = "yes" if dialect.write else "no"
        lines.append(f"| `{dialect.name}` | {cell(dialect.serves)} | {code(dialect.example)} | {written} |")
    return "\n".join(lines) + "\n"


def test_the_page_of_forms_and_dialects_says_what_the_tables_say():
    assert PAGE.read_text(encoding="utf-8") == page(), "write it again: python tests/test_formats_page.py"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
