"""From answers to the leaderboard's numbers: result files read and written, scores, tables for people and programs.

Result files are in the official form: what a model wrote, one line a case. An incomplete set of files is refused with
every file and line at fault, since a missing answer must never pass as a wrong one; with `partial`, missing answers are
counted and left out. The official command wants a fresh folder, all lines of a category, and no latency field, so that
is how results are written.

A number that lacks one of its categories is None, "not run", and never 0 (the official tables count it as 0 there).
Accuracies are exact fractions; percentages round half up, as published means are checked: (87.00 + 80.31)/2 is 83.66.
Live means two things: v4 takes the four call categories, v3 also counted irrelevance and relevance.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

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
from funreason.bfcl.intervals import Interval, Paired, paired, weighted_interval, wilson

OFFICIAL_LABEL = "Qwen/Qwen3-8B"
"""A model name whose official settings are the stock ones: text decoder, names kept as they are."""

SHOWN_PROBLEMS = 20
_ENDING = "_result"
LiveMode = Literal["v3", "v4"]

SIMPLE = ("simple_python", "simple_java", "simple_javascript")
NON_LIVE_AST = (*SIMPLE, "multiple", "parallel", "parallel_multiple")
LIVE_AST = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
LIVE_COUNTED: dict[LiveMode, tuple[str, ...]] = {
    "v4": LIVE_AST,
    "v3": (*LIVE_AST, "live_irrelevance", "live_relevance"),
}
IRRELEVANCE = ("irrelevance", "live_irrelevance")
NOT_RUN = "not run"
SIGNIFICANT_P = 0.05
SCORE_HEADS = ("category", "right", "total", "%", "95 % interval")
COMPARISON_HEADS = ("category", "items", "old %", "new %", "change", "won/lost", "p", "signif.", "95 % interval")
_NON_LIVE_WEIGHTS = {category: Fraction(1, 12 if category in SIMPLE else 4) for category in NON_LIVE_AST}


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


class Count(NamedTuple):
    """Right answers among those given."""

    correct: int
    total: int

    @property
    def accuracy(self) -> Fraction | None:
        """The share that is right, None when nothing was run."""
        return Fraction(self.correct, self.total) if self.total else None


class ScoreRow(NamedTuple):
    """One line of the table; `percent` and `interval` (in percent) are None when not run."""

    name: str
    correct: int | None
    total: int | None
    percent: Decimal | None
    interval: Interval | None


class Scores:
    """The counts by category and what follows from them."""

    def __init__(self, counts: Mapping[str, Count]) -> None:
        self.counts = {category: counts[category] for category in CATEGORIES if counts.get(category, Count(0, 0)).total}

    def all_items(self) -> Count:
        """Right and total over every item run, whatever its category."""
        return _sum(self.counts.values())

    def simple(self) -> Fraction | None:
        """Unweighted mean of the three languages."""
        return self._mean(dict.fromkeys(SIMPLE, Fraction(1, 3)))

    def non_live(self) -> Fraction | None:
        """Non-Live AST: unweighted mean of simple, multiple, parallel and parallel multiple."""
        return self._mean(_NON_LIVE_WEIGHTS)

    def live(self, mode: LiveMode = "v4") -> Fraction | None:
        """Live: right over total, so weighted by count."""
        wanted = LIVE_COUNTED[mode]
        if self.missing(wanted):
            return None
        return _sum(self.counts[category] for category in wanted).accuracy

    def irrelevance(self) -> Fraction | None:
        """Unweighted mean of the two irrelevance categories."""
        return self._mean(dict.fromkeys(IRRELEVANCE, Fraction(1, 2)))

    def relevance(self) -> Fraction | None:
        """live_relevance alone."""
        return self._mean({"live_relevance": Fraction(1)})

    def overall(self, mode: LiveMode = "v4") -> Decimal | None:
        """Percent: the mean of Non-Live AST and Live as published, that is rounded to two decimals first."""
        return overall(percent(self.non_live()), percent(self.live(mode)))

    def missing(self, categories: Sequence[str]) -> list[str]:
        """Which of `categories` were not run."""
        return [category for category in categories if category not in self.counts]

    def rows(
        self, mode: LiveMode = "v4", level: float = 0.95, *, having: Collection[str] = CATEGORIES
    ) -> list[ScoreRow]:
        """The table: every category, then the means. Means have no counts of their own.

        `having` are the categories that were asked: a row that lacks another one is left out, not "not run".
        """
        live, overall_interval = ScoreRow(f"Live ({mode})", None, None, None, None), None
        wanted = LIVE_COUNTED[mode]
        if not self.missing(wanted):
            count = _sum(self.counts[category] for category in wanted)
            live = _counted_row(live.name, count, level)
            weights = {name: weight / 2 for name, weight in _NON_LIVE_WEIGHTS.items()}
            weights |= {name: Fraction(self.counts[name].total, 2 * count.total) for name in wanted}
            overall_interval = self._interval(weights, level)
        irrelevance = self._interval(dict.fromkeys(IRRELEVANCE, Fraction(1, 2)), level)
        non_live = ScoreRow(
            "Non-Live AST", None, None, percent(self.non_live()), self._interval(_NON_LIVE_WEIGHTS, level)
        )
        overall_row = ScoreRow(f"Overall (Live {mode})", None, None, self.overall(mode), overall_interval)
        means = [
            (NON_LIVE_AST, non_live),
            (wanted, live),
            ((*NON_LIVE_AST, *wanted), overall_row),
            (IRRELEVANCE, ScoreRow("Irrelevance", None, None, percent(self.irrelevance()), irrelevance)),
            (("live_relevance",), self._category_row("live_relevance", level)._replace(name="Relevance")),
        ]
        return [self._category_row(category, level) for category in CATEGORIES if category in having] + [
            row for categories, row in means if set(categories) <= set(having)
        ]

    def _category_row(self, category: str, level: float) -> ScoreRow:
        count = self.counts.get(category)
        return ScoreRow(category, None, None, None, None) if count is None else _counted_row(category, count, level)

    def _mean(self, weights: Mapping[str, Fraction]) -> Fraction | None:
        if self.missing(list(weights)):
            return None
        return sum(
            (weight * (self.counts[category].accuracy or 0) for category, weight in weights.items()), start=Fraction(0)
        )

    def _interval(self, weights: Mapping[str, Fraction], level: float) -> Interval | None:
        if self.missing(list(weights)):
            return None
        return _in_percent(weighted_interval([(float(w), *self.counts[name]) for name, w in weights.items()], level))


def score(cases: Mapping[str, Case], valid: Mapping[str, bool]) -> Scores:
    """Scores of the verdicts in `valid` by case id. Raises KeyError for an id that no case has."""
    tallies: dict[str, list[bool]] = {}
    for case_id, verdict in valid.items():
        tallies.setdefault(cases[case_id].category, []).append(verdict)
    return Scores({category: Count(sum(verdicts), len(verdicts)) for category, verdicts in tallies.items()})


def compare(cases: Mapping[str, Case], old: Mapping[str, bool], new: Mapping[str, bool]) -> dict[str, Paired]:
    """New against old verdicts on the same cases: by category in the leaderboard's order, and over "all".

    Raises BfclError when the two did not answer the same cases: a difference over other items says nothing.
    """
    apart = old.keys() ^ new.keys()
    if apart or not old:
        raise BfclError(
            f"expected verdicts on the same cases, found {len(apart)} that only one has: {sorted(apart)[:3]}"
        )
    groups = {category: [name for name in old if cases[name].category == category] for category in CATEGORIES}
    groups = {category: names for category, names in groups.items() if names} | {"all": list(old)}
    return {
        category: paired([old[name] for name in names], [new[name] for name in names])
        for category, names in groups.items()
    }


def percent(share: Fraction | None) -> Decimal | None:
    """A share as percent with two decimals, half up."""
    if share is None:
        return None
    # Half up on the exact fraction: a Decimal quotient would already be rounded once.
    return Decimal((share * 20_000 + 1) // 2).scaleb(-2)


def overall(non_live: Decimal | None, live: Decimal | None) -> Decimal | None:
    """The mean of two published percentages, two decimals, half up; None when either was not run."""
    if non_live is None or live is None:
        return None
    return ((non_live + live) / 2).quantize(Decimal("0.01"), ROUND_HALF_UP)


def score_cells(row: ScoreRow) -> tuple[str, ...]:
    """A row of scores as text."""
    counts = ("", "") if row.total is None else (str(row.correct), str(row.total))
    if row.percent is None:
        return (row.name, *counts, NOT_RUN, "")
    return (row.name, *counts, f"{row.percent}", _interval_text(row.interval))


def score_data(row: ScoreRow) -> dict[str, Any]:
    """A row of scores as JSON data."""
    return {
        "name": row.name,
        "correct": row.correct,
        "total": row.total,
        "percent": None if row.percent is None else float(row.percent),
        "interval": None if row.interval is None else [round(end, 2) for end in row.interval],
    }


def comparison_cells(name: str, pair: Paired, old: float) -> tuple[str, ...]:
    """A paired comparison as text; `old` is the old accuracy."""
    return (
        name,
        str(pair.items),
        f"{100 * old:.2f}",
        f"{100 * (old + pair.difference):.2f}",
        f"{100 * pair.difference:+.2f}",
        f"{pair.gained}/{pair.lost}",
        f"{pair.p:.4f}",
        "yes" if significant(pair) else "no",
        _interval_text(Interval(100 * pair.interval.low, 100 * pair.interval.high)),
    )


def comparison_data(name: str, pair: Paired, old: float) -> dict[str, Any]:
    """A paired comparison as JSON data; accuracies from 0 to 1."""
    data = pair._asdict() | {"interval": list(pair.interval)}
    return {"name": name, "old": old, "new": old + pair.difference, **data, "significant": significant(pair)}


def significant(pair: Paired) -> bool:
    """Whether McNemar's exact test finds the two apart at 0.05; no correction for asking about many categories."""
    return pair.p <= SIGNIFICANT_P


def markdown(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """A table with its title and the notes that belong to it."""
    lines = [f"# {title}", "", _line(heads), _line(["---", *["---:"] * (len(heads) - 1)]), *map(_line, rows)]
    return "\n".join([*lines, *(["", *[f"- {note}" for note in notes]] if notes else [])]) + "\n"


def accuracies(valid: Mapping[str, bool], categories: Mapping[str, str]) -> dict[str, float]:
    """The share of right verdicts by category, and over "all"."""
    groups: dict[str, list[bool]] = {}
    for case_id, verdict in valid.items():
        groups.setdefault(categories[case_id], []).append(verdict)
        groups.setdefault("all", []).append(verdict)
    return {name: sum(verdicts) / len(verdicts) for name, verdicts in groups.items()}


def _sum(counts: Iterable[Count]) -> Count:
    known = list(counts)
    return Count(sum(count.correct for count in known), sum(count.total for count in known))


def _counted_row(name: str, count: Count, level: float) -> ScoreRow:
    return ScoreRow(name, *count, percent(count.accuracy), _in_percent(wilson(*count, level)))


def _in_percent(interval: Interval) -> Interval:
    return Interval(100 * interval.low, 100 * interval.high)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _interval_text(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.2f} to {interval.high:.2f}"
