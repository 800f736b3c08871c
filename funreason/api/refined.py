"""`refine`: what became of every record, as objects."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from funreason.api.inputs import Records, as_file, run_to_end
from funreason.api.judge_function import Judge, JudgeFunction, with_judges
from funreason.config import ConfigError, find_config, load_config
from funreason.errors import MissingExtra, naming_extras
from funreason.export import row
from funreason.loops.refine import ROUND, refine_file
from funreason.record.folder import RecordError, RunFolder
from funreason.record.sample_files import ENDS, KEPT, SampleFiles
from funreason.sources.hub_names import pinned_data, with_pinned_names
from funreason.stop import StopRequest
from funreason.types import Sample, Verdict

T = TypeVar("T")


@dataclass(frozen=True)
class RefinedSample:
    """How one sample ended: `end` is `kept`, `text` (kept as ordinary text), `dropped` or `dead`."""

    sample: Sample
    end: str

    @property
    def id(self) -> str:
        """The sample's id: the record's own, or its line."""
        return self.sample.id

    @property
    def kept(self) -> bool:
        """Whether a model may learn from it."""
        return self.end in KEPT

    @property
    def verdict(self) -> Verdict | None:
        """The last verdict, which decided; None where no judge answered."""
        return self.sample.verdicts[-1] if self.sample.verdicts else None

    @property
    def reason(self) -> str:
        """Why it was not kept, as a dotted code such as `schema.missing_required`; empty for what was kept."""
        return "" if self.kept or self.verdict is None else self.verdict.reason

    def story(self) -> str:
        """The query, the answer, and what each judge said, in lines."""
        sample = self.sample
        lines = [f"{self.id} {self.end}", f"query    {sample.task.query}"]
        lines += [f"tool     {tool['name']}" for tool in sample.task.tools]
        lines += [f"thinking {sample.thinking}"] if sample.thinking else []
        lines += [f"answer   {sample.answer}"]
        lines += [f"{v.stage}: {v.outcome} {v.reason} {v.evidence}".rstrip() for v in sample.verdicts]
        return "\n".join(lines)


def ended_samples(files: SampleFiles, ends: Iterable[str] = ENDS) -> list[RefinedSample]:
    """The samples of a round that ended so, end by end."""
    return [RefinedSample(sample, end) for end in ends for sample in files.get(end)]


class Table(list[T]):
    """A list that can become a table; `rows` gives each item as a dict."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self):,} samples>"

    def rows(self) -> list[dict[str, Any]]:
        """One dict for each item."""
        raise NotImplementedError

    def to_dataset(self) -> Any:
        """A `datasets.Dataset`."""
        try:
            from datasets import Dataset
        except ModuleNotFoundError as error:
            raise MissingExtra("a table needs datasets: pip install datasets", name=error.name) from None
        return Dataset.from_list(self.rows())

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame`."""
        return self.to_dataset().to_pandas()

    def push_to_hub(self, name: str, **options: Any) -> Any:
        """Publish as the data set `name` on the Hugging Face Hub; see `datasets.Dataset.push_to_hub`."""
        return self.to_dataset().push_to_hub(name, **options)


class Kept(Table[Sample]):
    """Samples to learn from, with their ends."""

    def __init__(self, results: Iterable[RefinedSample] = ()) -> None:
        found = list(results)
        super().__init__(result.sample for result in found)
        self._ends = [result.end for result in found]

    def rows(self) -> list[dict[str, Any]]:
        """Columns as in an exported data set (`funreason.export.COLUMNS`)."""
        return [row(end, sample) for end, sample in zip(self._ends, self, strict=True)]


class Lost(Table[RefinedSample]):
    """Samples that were dropped or failed."""

    def rows(self) -> list[dict[str, Any]]:
        """Id, end, reason, the judge that decided, query, thinking and answer."""
        return [
            {
                "id": lost.id,
                "end": lost.end,
                "reason": lost.reason,
                "judge": lost.verdict.stage if lost.verdict else "",
                "query": lost.sample.task.query,
                "thinking": lost.sample.thinking or "",
                "answer": lost.sample.answer,
            }
            for lost in self
        ]


@dataclass(frozen=True, repr=False)
class Refined(Sequence[RefinedSample]):
    """What became of every record: a sequence of `RefinedSample`, in the order in which samples ended.

    `refused` counts records that never became a sample, by reason. `folder` is the run's folder, None where no `out`
    was given.
    """

    results: list[RefinedSample]
    refused: dict[str, int] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def kept(self) -> Kept:
        """The samples to learn from, repaired ones among them (see `Sample.origin`)."""
        return Kept(result for result in self.results if result.kept)

    @property
    def lost(self) -> Lost:
        """What was dropped, or failed."""
        return Lost(result for result in self.results if not result.kept)

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[RefinedSample]:
        return iter(self.results)

    def __getitem__(self, key: Any) -> Any:
        """A result by position or by its id."""
        if isinstance(key, str):
            found = next((result for result in self.results if result.id == key), None)
            if found is None:
                some = ", ".join(result.id for result in self.results[:3])
                raise KeyError(f"no sample {key!r}; ids here are {some}, …")
            return found
        return self.results[key]

    def __str__(self) -> str:
        reasons = Counter(result.reason for result in self.lost) + Counter(self.refused)
        why = "; " + ", ".join(f"{reason} {n}" for reason, n in reasons.most_common(5)) if reasons else ""
        return f"{len(self.kept):,} kept · {len(self.lost):,} lost · {sum(self.refused.values()):,} refused{why}"

    def __repr__(self) -> str:
        return str(self)


@naming_extras()
def refine(
    records: Records,
    *,
    judges: Sequence[Judge | JudgeFunction | str] = (),
    stages: str | Mapping[str, str] | None = None,
    judging: str | Mapping[str, str] | None = None,
    judge: str | Path | None = None,
    config: str | Path | Mapping[str, Any] = "own-data",
    out: str | Path | None = None,
    download: bool = False,
) -> Refined:
    """Judge and repair records of tool calls (FCDR, arXiv 2505.20192), without a model unless `judge` names one.

    Args:
        records: a data file or folder, `hf:ORG/NAME[:SPLIT][@REVISION]` on a hub (fetched with
            `download`), or records in one of the forms the package reads (xLAM, share-gpt, OpenAI,
            BFCL): a list of dicts, or a table of datasets, pandas, polars or pyarrow.
        judges: custom judges in addition to the five stages: made by `judge`, plain functions, or names
            (`module:name`).
        stages: who judges: `rules`, `llm` or `both`, for all stages or by stage. Default: `rules`, or `both` with
            `judge`.
        judging: the same as `stages`.
        judge: the language model that judges: a model folder, or a server's address (`http://host:port/v1`).
        config: a configuration's name or path, or settings by dotted key (`{"fcdr.llm.model": "path"}`).
        out: a folder to keep everything in, as `funreason refine --out`; default: nothing is kept on disk.
        download: fetch what is named as on a hub and is not in its cache.

    Returns:
        Every record's end. `Refined.refused` counts the records that could not be read.

    Raises:
        DataError: no record is usable.
        ConfigError: a setting is wrong.
        HubError: a data set on a hub is not in its cache, and `download` is not set; or it cannot be fetched.
        RecordError: `out` holds a run already.
    """
    if stages is not None and judging is not None:
        raise ConfigError("stages and judging are the same setting; give one of them.")
    folder = Path(tempfile.mkdtemp(prefix="funreason-refine-")) if out is None else Path(out)
    try:
        if (folder / "run.json").exists():
            raise RecordError(
                f"{folder} holds a run already; choose another `out`, or read it with `funreason status`."
            )
        name, changes = ("own-data", dict(config)) if isinstance(config, Mapping) else (config, {})
        chosen = stages or judging or ("rules" if judge is None else "both")
        changes |= {"fcdr.stages": chosen if isinstance(chosen, str) else dict(chosen)}
        if judge is not None:
            asked = str(judge)
            remote = asked.startswith(("http://", "https://"))
            changes |= {"fcdr.llm.endpoints": [{"url": asked}]} if remote else {"fcdr.llm.model": asked}
        changes |= {"download": True} if download else {}
        settings = with_judges(load_config(find_config(name), changes), judges)
        run = RunFolder(folder)
        file = Path(pinned_data(str(as_file(records, folder)), download=settings.download))
        settings = with_pinned_names(settings)
        stop = StopRequest()
        run_to_end(refine_file(settings, file, run, stop), stop)
        state = run.state()
        return Refined(ended_samples(run.texts(ROUND)), dict(state.refused), None if out is None else folder)
    finally:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)
