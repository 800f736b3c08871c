"""Result files in the official form: what a model wrote, one line a case, read and written.

An incomplete set of files is refused with every file and line at fault, since a missing answer must never pass as a
wrong one; with `partial`, missing answers are counted and left out. The official command wants a fresh folder, all
lines of a category, and no latency field, so that is how results are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from funreason.bfcl.cases import PREFIX, Case, load_cases
from funreason.bfcl.categories import (
    CATEGORIES,
    BfclError,
    category_of,
    group_of,
    is_other_test,
    read_lines,
    write_lines,
)
from funreason.bfcl.checker import Result, check
from funreason.bfcl.scores import Scores, score

OFFICIAL_LABEL = "Qwen/Qwen3-8B"
"""A model name whose official settings are the stock ones: text decoder, names kept as they are."""

SHOWN_PROBLEMS = 20
_ENDING = "_result"


class Scored(NamedTuple):
    """Verdicts by case id, the numbers, and the ids of cases in the files' categories that had no answer."""

    results: dict[str, Result]
    scores: Scores
    missing: list[str]


def score_outputs(directory: str | Path, cases: Mapping[str, Case] | None = None, *, partial: bool = False) -> Scored:
    """Score every `*_result.json` under `directory` against `cases` (the fetched official data by default).

    Raises BfclError naming file and line for doubled or unknown ids, unknown categories, lines that are not JSON, and,
    unless `partial`, for missing ids.
    """
    known = load_cases() if cases is None else cases
    outputs, missing = read_outputs(directory, known, partial=partial)
    results = {case_id: check(known[case_id], output) for case_id, output in outputs.items()}
    return Scored(results, score(known, {case_id: result.valid for case_id, result in results.items()}), missing)


def read_outputs(
    directory: str | Path, cases: Mapping[str, Case], *, partial: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """The raw outputs by case id, and the ids that are missing. Raises as `score_outputs` does."""
    problems: list[str] = []
    outputs: dict[str, Any] = {}
    missing: list[str] = []
    for category, path in _result_files(Path(directory)).items():
        first: dict[str, int] = {}
        for number, entry in read_lines(path):
            case_id = entry["id"]
            case = cases.get(case_id)
            if case is None or case.category != category:
                problems.append(f"{path}:{number}: {case_id!r} is no case of {category}")
            elif case_id in first:
                problems.append(f"{path}:{number}: {case_id!r} is on line {first[case_id]} already")
            elif "result" not in entry:
                problems.append(f'{path}:{number}: expected the output of {case_id!r} under "result"')
            else:
                outputs[case_id] = entry["result"]
            first.setdefault(case_id, number)
        absent = [case.id for case in cases.values() if case.category == category and case.id not in outputs]
        if absent and not partial:
            problems.append(f"{path}: {len(absent)} cases of {category} have no line, the first is {absent[0]!r}")
        missing += absent
    if problems:
        more = f"\n… and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
        raise BfclError("\n".join(problems[:SHOWN_PROBLEMS]) + more)
    return outputs, missing


def export_results(
    directory: str | Path,
    outputs: Mapping[str, str],
    cases: Mapping[str, Case] | None = None,
    *,
    model: str = OFFICIAL_LABEL,
    partial: bool = False,
) -> list[Path]:
    """Write `outputs` by case id as the tree the official command reads, and return the files.

    Thinking must be cut off already: the official command scores whatever it finds. Raises BfclError for unknown ids,
    for a folder that holds results already, and, unless `partial`, for categories that are not whole.
    """
    known = load_cases() if cases is None else cases
    unknown = [case_id for case_id in outputs if case_id not in known]
    if unknown:
        raise BfclError(f"{len(unknown)} outputs belong to no case, the first is {unknown[0]!r}")
    root = Path(directory) / "result" / model.replace("/", "_")
    if root.exists():
        raise BfclError(f"{root}: there are results already; the official command mixes runs, so give a fresh folder")
    ran = {known[case_id].category for case_id in outputs}
    absent = [case.id for case in known.values() if case.category in ran and case.id not in outputs]
    if absent and not partial:
        raise BfclError(
            f"{len(absent)} cases have no output, the first is {absent[0]!r}; the official command would stop"
        )
    written = []
    for category in (category for category in CATEGORIES if category in ran):
        path = root / group_of(category) / f"{PREFIX}{category}{_ENDING}.json"
        ids = [case.id for case in known.values() if case.category == category and case.id in outputs]
        write_lines(path, [{"id": case_id, "result": outputs[case_id]} for case_id in ids])
        written.append(path)
    return written


def _result_files(directory: Path) -> dict[str, Path]:
    """One result file a category. Two for the same one mean that two models' folders were given at once."""
    if not directory.is_dir():
        raise BfclError(f"{directory}: there is no such folder")
    found: dict[str, Path] = {}
    for path in sorted(directory.rglob(f"*{_ENDING}.json")):
        name = path.stem.removesuffix(_ENDING)
        if is_other_test(name):
            continue
        category = category_of(name)
        if category is None:
            raise BfclError(f"{path}: no known category in its name; expected one of {', '.join(CATEGORIES)}")
        if category in found:
            raise BfclError(f"{path}: {found[category]} holds {category} too; score one model's folder at a time")
        found[category] = path
    if not found:
        raise BfclError(f"{directory}: expected {PREFIX}<category>{_ENDING}.json files under it, found none")
    return found
