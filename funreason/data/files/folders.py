"""Folders of data files: what `Dataset.save_to_disk` writes, and shards such as `train-00000-of-00004.parquet`."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

from funreason.data.records import DataError

_SHARD = re.compile(r"(?P<split>[A-Za-z][A-Za-z_]*?)[-_.]?(?:\d+(?:-of-\d+)?)?(?:[-_.][0-9a-f]{8,})?$")
_ABOUT = frozenset(("dataset_info.json", "dataset_infos.json", "state.json", "package.json"))
"""Files beside data that describe it."""
_SPLITS = frozenset("train training test validation valid val dev eval".split())


def split_path(path: Path) -> tuple[Path, str]:
    """A path and the split named after its last colon (`folder:train`), "" where none is.

    A file whose own name holds the colon comes first.
    """
    if path.exists() or ":" not in path.name:
        return path, ""
    name, _, split = path.name.rpartition(":")
    return path.with_name(name), split


def files_of(folder: Path, split: str, suffixes: Collection[str]) -> list[Path]:
    """The data files of a folder in the order of their names, those of `split` where it holds several splits.

    DataError names the splits when `split` is not among them, and says when there is no data file.
    """
    if (folder / "dataset_dict.json").is_file():  # DatasetDict.save_to_disk: a folder for each split
        try:
            names = json.loads((folder / "dataset_dict.json").read_text())["splits"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder / 'dataset_dict.json'} cannot be read: {error!r}") from error
        return _saved(folder / _chosen(folder, split, [str(name) for name in names]))
    if (folder / "state.json").is_file():
        return _saved(folder)
    found = [path for place in (folder, folder / "data") if place.is_dir() for path in sorted(place.iterdir())]
    shards: dict[str, list[Path]] = {}
    for path in found:
        name = path.name.partition(".")[0]
        if (
            path.is_file()
            and path.name not in _ABOUT
            and any(suffix in suffixes for suffix in path.suffixes)
            and not path.name.startswith((".", "_"))
        ):
            match = _SHARD.fullmatch(name)
            own = match["split"] if match and match["split"] in _SPLITS else ""
            shards.setdefault(own, []).append(path)
    if not shards:
        raise DataError(f"{folder} is a folder without data files; give the path of one file in it")
    if not split and "" in shards and len(shards) == 1 and len({path.suffix for path in shards[""]}) > 1:
        names = ", ".join(path.name for path in shards[""][:6])
        raise DataError(f"{folder} is a folder of files of several kinds ({names}); give the path of one of them")
    return shards[_chosen(folder, split, list(shards))]


def _chosen(folder: Path, split: str, names: list[str]) -> str:
    if split in names:
        return split
    if not split and len(names) == 1:
        return names[0]
    known = ", ".join(name or "(no split in the name)" for name in names)
    wanted = f"no split {split!r}" if split else "several splits"
    first = next((name for name in names if name), "")
    raise DataError(f"{folder} has {wanted}; it holds {known}. Name one after a colon, as in {folder}:{first}")


def _saved(folder: Path) -> list[Path]:
    try:
        files = json.loads((folder / "state.json").read_text())["_data_files"]
        paths = [folder / Path(str(file["filename"])).name for file in files]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / 'state.json'} cannot be read as a data set's: {error!r}") from error
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{folder} lacks {missing[0]}, which its state.json names")
    return paths
