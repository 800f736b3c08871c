"""`funreason bfcl`: fetch the official data, make and validate suites in its form."""

from __future__ import annotations

from pathlib import Path

from funreason.cli import terminal
from funreason.cli.app import AsJson, Download, Strict
from funreason.record.plain import plain

OK, FAILED = 0, 1
SHOWN_PROBLEMS = 20


def bfcl_fetch(*, wheel: Path | None = None) -> int:
    """Download the official data (2 MB, with pip) into the user's cache.

    Parameters
    ----------
    wheel
        A wheel that was downloaded elsewhere: no network is used.
    """
    from funreason.bfcl import fetch, load_cases

    folder = fetch(wheel)
    terminal.console(soft_wrap=True).print(f"{len(load_cases(folder))} cases in {folder}", highlight=False)
    return OK


def bfcl_make(
    file: Path, /, *, out: Path, prefix: str = "USER", strict: Strict = False, download: Download = False
) -> int:
    """Turn records with reference answers into a suite in BFCL's form.

    Parameters
    ----------
    file
        xLAM, share-gpt, OpenAI or BFCL form, as `funreason refine` takes it. Keep these records out of training.
    out
        The folder of the suite.
    prefix
        Prefix of the files' names, before the category.
    """
    from funreason.bfcl.suites import unwritable, write_suite
    from funreason.cli.fetching import fetched_file
    from funreason.data.reading import read_tasks

    reading = read_tasks(fetched_file(file, terminal.notices(), download=download), strict=strict)
    known = [task for task in reading.tasks if task.reference is not None]
    single = [task for task in known if not task.after_calls]
    faults = [(task.id, fault) for task in single if (fault := unwritable(task)) is not None]
    wrong = dict(faults)
    files = write_suite([task for task in single if task.id not in wrong], out, prefix)
    console = terminal.console(soft_wrap=True)
    console.print(f"{reading.summary()}; {len(reading.tasks) - len(known)} left out, they have no reference answer")
    if faults:
        console.print(
            plain(f"{len(faults)} left out, their own answer does not solve them: {faults[0][0]}: {faults[0][1]}")
        )
    if len(single) < len(known):
        console.print(
            f"{len(known) - len(single)} left out, they come after calls, which a single question cannot hold"
        )
    for path in files:
        console.print(f"wrote {path}", markup=False)
    return bfcl_validate(out)


def bfcl_validate(suite: Path, /, *, json: AsJson = False) -> int:
    """Validate a suite: files that do not align, unknown types, cases that their own answer does not solve.

    Parameters
    ----------
    suite
        A folder in BFCL's form.
    """
    from funreason.bfcl import load_cases
    from funreason.bfcl.suites import validate_suite

    console = terminal.console(soft_wrap=True)
    problems = validate_suite(suite)
    if json:
        terminal.print_json({"suite": str(suite), "problems": problems})
        return FAILED if problems else OK
    for problem in problems[:SHOWN_PROBLEMS]:
        console.print(problem, markup=False)
    if len(problems) > SHOWN_PROBLEMS:
        console.print(f"… and {len(problems) - SHOWN_PROBLEMS} more")
    if problems:
        return FAILED
    console.print(f"{suite}: fine, {len(load_cases(suite))} cases", markup=False)
    return OK
