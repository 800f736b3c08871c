"""What refining kept, for other trainers: two files beside the record, each written while samples end.

They get their names when every sample has ended; until then they lie there as `.part`. Whoever goes on with a run that
was stopped begins them anew from the record.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from funreason.agents.ends import Ending
from funreason.data.writers import RecordsFile, as_sharegpt, as_xlam
from funreason.record.folder import RunFolder
from funreason.record.texts import KEPT, Texts
from funreason.record.types import Sample

SHAREGPT, XLAM = "refined-sharegpt.json", "refined-xlam.jsonl"


@contextmanager
def refined_files(out: RunFolder, texts: Texts, end: Ending) -> Iterator[Ending]:
    """An `end` that also writes what is kept to the two files, which hold what `texts` have of it already.

    RecordError when they cannot be written.
    """
    with ExitStack() as stack:
        sharegpt, xlam = (stack.enter_context(RecordsFile(out.path / name)) for name in (SHAREGPT, XLAM))

        def put(sample: Sample) -> None:
            as_one, as_other = as_sharegpt(sample), as_xlam(sample)
            sharegpt.put(as_one)
            xlam.put(as_other)

        def ended(sample: Sample, fate: str) -> None:
            if fate in KEPT:
                put(sample)
            end(sample, fate)

        for fate in KEPT:
            for sample in texts.get(fate):
                put(sample)
        yield ended
