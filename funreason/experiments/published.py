"""Tables, pictures and the page of results, made from kept results files alone: no run, no model, no clock.

A results file (`<experiment>-<scale>.json`) holds every item's result of every arm that has run, with the command, the
commit and the seconds that made it. What has not run is written as such, with the command that would run it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from math import ceil, floor
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from funreason.bfcl.intervals import Interval, wilson
from funreason.display.charts import intervals_svg, lines_svg
from funreason.experiments.differences import Results, difference, seeds_of
from funreason.experiments.experiment import ArmPoint, Experiment, Scale, TableColumn
from funreason.experiments.measured import ArmResult, groups, score
from funreason.experiments.papers import EXPERIMENTS, SCALES
from funreason.record.folder import write_whole

NOT_RUN = "not run"
STYLE = Path(__file__).parent.parent / "display" / "report.css"
CURVE_STEPS = 60
"""Points of a drawn series; one of more steps is thinned out."""


class Publication(NamedTuple):
    """What has been played of one experiment at one scale."""

    experiment: Experiment
    scale: Scale
    config: str
    results: Results

    @property
    def columns(self) -> list[TableColumn]:
        """The scale's columns that something was measured in, and one for each further suite."""
        found = list(self.results.values())
        suites = {suite for r in found for suite in r.items} | {
            suite for r in found for b in r.bits.values() for suite in b
        }
        shown = [c for c in self.scale.columns if c.suite in suites]
        texts = {suite for r in found for bits in r.bits.values() for suite in bits}
        named = {column.suite for column in self.scale.columns}
        more = [TableColumn(suite, suite, "text" if suite in texts else "calls") for suite in sorted(suites - named)]
        return [*shown, *more]

    @property
    def main(self) -> TableColumn:
        """The column that the picture shows: the paper's overall where it was measured."""
        return next((c for c in self.columns if c.kind == "overall"), self.columns[0])


def save(found: Publication, out: Path) -> list[Path]:
    """Write results file, table and picture into `out`; the paths."""
    out.mkdir(parents=True, exist_ok=True)
    stem = out / f"{found.experiment.name}-{found.scale.name}"
    data = {
        "experiment": found.experiment.name,
        "scale": found.scale.name,
        "config": found.config,
        "arms": [found.results[key].data() for key in sorted(found.results)],
    }
    lines = ",\n".join(f"  {json.dumps(arm, ensure_ascii=False)}" for arm in data.pop("arms"))  # one line an arm
    head = json.dumps(data, ensure_ascii=False)[:-1]
    texts = {".json": f'{head}, "arms": [\n{lines}\n]}}\n', ".md": markdown(found, picture=f"{stem.name}.svg")}
    if found.results:
        texts[".svg"] = picture(found) + "\n"
    paths = [stem.with_name(stem.name + ending) for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_whole(path, text)
    return paths


def load(path: Path) -> Publication:
    """Read a results file. KeyError or ValueError where the file is something else."""
    data = json.loads(path.read_text(encoding="utf-8"))
    arms = [ArmResult(**arm) for arm in data["arms"]]
    results = {(arm.arm, arm.seed): arm for arm in arms}
    return Publication(EXPERIMENTS[data["experiment"]], SCALES[data["scale"]], data["config"], results)


def command_for(experiment: Experiment, scale: str = "toolbox", seeds: Sequence[int] = (0, 1, 2)) -> str:
    """The command that plays an experiment."""
    at = "" if scale == "toolbox" else f" --scale {scale}"
    return f"funreason reproduce {experiment.name}{at} --seeds {' '.join(map(str, seeds))}"


def markdown(found: Publication, picture: str = "", level: int = 1) -> str:
    """The whole of an experiment: question, table, differences, and which command and commit made each arm."""
    e = found.experiment
    parts = [f"{'#' * level} {e.title}", e.question]
    if not found.results:
        paper = [[row.label, row.paper] for row in e.rows if row.paper]
        table = f"{_table(['', 'the paper'], paper)}\n\nThe paper: {e.source}." if paper else ""
        parts += [table, f"Not run: `{command_for(e, found.scale.name)}`"]
        return "\n\n".join(part for part in parts if part) + "\n"
    at = f"Scale `{found.scale.name}`: {found.scale.text}."
    parts.append(f"{at} Configuration `{found.config}`; every update is kept.")
    parts += [f"![{e.title}]({picture})"] if picture else []
    parts += [rows_table(found), differences_table(found), e.note]
    curve, seeds = mean_curve(found) if e.picture == "curve" else ({}, [])
    if curve:
        best = max(curve, key=lambda label: curve[label])
        parts.append(
            f"Over the seeds that all played rows have ({', '.join(map(str, seeds))}), the column "
            f"`{found.main.name}` is highest at {best}: {curve[best]:.1f} %. That row was chosen by its result, so its "
            "lead is an overestimate."
        )
    shares = [result.think_share for result in found.results.values() if result.think_share is not None]
    if shares:
        parts.append(
            f"Thinking is {100 * fmean(shares):.0f} % of the trained tokens here, and the proportional alpha (plain "
            "SFT) is that share; in the paper's data it is 0.919."
        )
    parts.append(made_by(found))
    return "\n\n".join(part for part in parts if part) + "\n"


def rows_table(found: Publication) -> str:
    """One line a row: means over the seeds, with the smallest and the largest; the paper's numbers beside them."""
    columns = found.columns
    heads = ["", "seeds", *(c.name if c.kind == "text" else f"{c.name}, %" for c in columns)]
    paper = any(row.paper for row in found.experiment.rows)
    lines = []
    for row in found.experiment.rows:
        seeds = seeds_of(found.results, [row.point])
        cells = [_cell(_scores(found, column, row.point), 2 if column.kind == "text" else 1) for column in columns]
        lines.append([row.label, str(len(seeds)), *cells, *([row.paper or "–"] if paper else [])])
    source = f"\n\nThe paper: {found.experiment.source}." if found.experiment.source else ""
    return _table([*heads, *(["the paper"] if paper else [])], lines) + source


def differences_table(found: Publication) -> str:
    """One line a comparison and column: mean, 95 % over items and over seeds, and each seed."""
    heads = ("difference, points", "column", "mean", "95 % over items", "95 % over seeds", "each seed")
    lines = []
    for comparison in found.experiment.comparisons:
        for column in found.columns:
            d = difference(column, found.results, comparison)
            if d is not None:
                digits = 3 if column.kind == "text" else 1
                each = ", ".join(f"{value:+.{digits}f}" for value in d.each)
                ends = [_ends(interval, digits) for interval in (d.items, d.seeds)]
                lines.append([comparison.label, column.name, f"{d.mean:+.{digits}f}", *ends, each])
    return _table(heads, lines) if lines else ""


def made_by(found: Publication) -> str:
    """Where the numbers come from: for each command and commit its arms, seeds and CPU-seconds; and what is missing."""
    by: dict[tuple[str, str], list[ArmResult]] = {}
    for result in found.results.values():
        by.setdefault((result.command, result.commit), []).append(result)
    lines = []
    for (command, commit), arms in sorted(by.items()):
        said = [
            f"{arm.name} ({', '.join(str(r.seed) for r in sorted(arms, key=lambda r: r.seed) if r.arm == arm.name)})"
            for arm in found.experiment.arms
            if any(r.arm == arm.name for r in arms)
        ]
        lines.append(f"- `{command}`, commit {commit}, {sum(r.cpu_s for r in arms):.0f} CPU-s: {'; '.join(said)}")
    seeds = sorted({seed for _, seed in found.results})
    missing = [
        f"{arm.name} ({', '.join(str(s) for s in seeds if (arm.name, s) not in found.results)})"
        for arm in found.experiment.arms
        if any((arm.name, s) not in found.results for s in seeds)
    ]
    if missing:
        command = command_for(found.experiment, found.scale.name, seeds)
        lines.append(f"- Not run: {'; '.join(missing)}. The command: `{command}`")
    return "Arms (seeds), by the command and commit that played them:\n\n" + "\n".join(lines)


def picture(found: Publication) -> str:
    """An SVG with its own style, light and dark."""
    e, column = found.experiment, found.main
    label = f"{e.title}: {column.name}"
    if e.picture == "series":
        curves: dict[str, list[float]] = {}
        for arm in e.arms:
            mine = [r for (name, _), r in sorted(found.results.items()) if name == arm.name]
            runs = [r.series[e.series] for r in mine if e.series in r.series]
            if runs and any(len(set(run)) > 1 for run in runs):
                curves[arm.name] = [fmean(values) for values in zip(*runs, strict=False)]
        every = max(1, max(map(len, curves.values()), default=1) // CURVE_STEPS)
        thinned = [(name, values[::every]) for name, values in curves.items()]
        steps = [str(every * i) for i in range(max((len(values) for _, values in thinned), default=0))]
        drawn = lines_svg(thinned, steps, f"{e.title}: {e.series} by optimizer step", low=0, high=1)
    elif e.picture == "curve":
        curve, seeds = mean_curve(found)
        by_seed = [
            (f"seed {s}", [_score(found, column, row.point, s) for row in e.rows if row.label in curve]) for s in seeds
        ]
        flat = [value for _, values in by_seed for value in values if value is not None]
        low, high = 5 * floor(min(flat, default=0) / 5), 5 * ceil(max(flat, default=1) / 5)
        places = [name.removeprefix("alpha ").partition(" ")[0] for name in curve]
        drawn = lines_svg([("mean", list(curve.values())), *by_seed], places, label, low=low, high=high)
    else:
        first = next((scores for row in e.rows if (scores := _scores(found, column, row.point))), [0.0])
        rows = []
        for row in e.rows:
            if scores := _scores(found, column, row.point):
                asked = next(iter(found.results.values())).categories(column.suite)
                count = sum(len(places) for _, places in groups(column, asked)) * len(scores)
                share = fmean(scores) / 100
                rows.append((row.label, fmean(first) / 100, share, *wilson(round(share * count), count)))
        drawn = intervals_svg(rows, label)
    head, end, rest = drawn.partition(">")
    return f"{head}{end}<style>{STYLE.read_text(encoding='utf-8').strip()}</style>{rest}"


def mean_curve(found: Publication) -> tuple[dict[str, float], list[int]]:
    """The main column by row, over the seeds that all played rows have, and those seeds."""
    played = [row for row in found.experiment.rows if seeds_of(found.results, [row.point])]
    seeds = seeds_of(found.results, [row.point for row in played])
    means = {
        row.label: [value for s in seeds if (value := _score(found, found.main, row.point, s)) is not None]
        for row in played
    }
    return {label: fmean(values) for label, values in means.items() if values}, seeds


def page(folder: Path, others: Iterable[str] = ()) -> str:
    """The page of all results: `others` first, then every experiment, at each scale that was played."""
    kept = {path.stem: load(path) for path in sorted(folder.glob("*.json"))}
    parts = [
        "# Results",
        "Made by `python benchmarks/results_page.py` from the results that are kept in `benchmarks/results`; a test "
        "compares the two. Each table names the command and the commit that made its numbers. `funreason reproduce "
        "--list` lists the experiments.",
        *others,
    ]
    for experiment in EXPERIMENTS.values():
        played = [found for found in kept.values() if found.experiment.name == experiment.name and found.results]
        at = f"../benchmarks/results/reproduce/{experiment.name}"
        parts += [markdown(found, f"{at}-{found.scale.name}.svg", level=2).rstrip() for found in played]
        if not played:
            parts.append(markdown(Publication(experiment, SCALES["toolbox"], "", {}), level=2).rstrip())
        left = [name for name in SCALES if name not in {found.scale.name for found in played}]
        commands = ", ".join(f"`{command_for(experiment, name)}`" for name in left if name != "toolbox")
        parts += [f"Other scales, not run: {commands}."] if played and commands else []
    return "\n\n".join(parts) + "\n"


def _score(found: Publication, column: TableColumn, point: ArmPoint, seed: int) -> float | None:
    return score(column, found.results[point.arm, seed], point.moment)


def _scores(found: Publication, column: TableColumn, point: ArmPoint) -> list[float]:
    values = [_score(found, column, point, s) for s in seeds_of(found.results, [point])]
    return [value for value in values if value is not None]


def _cell(scores: Sequence[float], digits: int) -> str:
    if not scores:
        return NOT_RUN
    mean = f"{fmean(scores):.{digits}f}"
    return mean if len(scores) == 1 else f"{mean} ({min(scores):.{digits}f}–{max(scores):.{digits}f})"


def _ends(interval: Interval | None, digits: int) -> str:
    return "–" if interval is None else f"{interval.low:+.{digits}f} to {interval.high:+.{digits}f}"


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
