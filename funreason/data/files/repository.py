"""Data sets on a hub: the parts of a repository (splits, configurations, single files), and the files of one part.

The parts are those that the repository's README.md declares (`configs`), as `datasets` reads it; without a declaration
they follow from the names of files and folders. Nothing is joined but the shards of one split. A script in a repository
is never run, and a file elsewhere that a README names is never fetched.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from funreason.data.files.kinds import ABOUT, READ, SHARD, SPLITS, what_is_read
from funreason.data.files.packing import PACKINGS
from funreason.data.records import DataError
from funreason.hub import HubError, HubName, Listing, Report, absent, cached, fetch, look

README = "README.md"
MOST_README_BYTES = 4_000_000
MOST_COMPARED = 20_000_000
"""Characters of names times characters of the patterns that they are compared with: seconds."""
_SUFFIXES = frozenset(suffix for kind in READ for suffix in kind.suffixes)
_PACKED = frozenset(packing.suffix for packing in PACKINGS)
_NUMBER = re.compile(r"[-_.]?(?P<number>\d+)-of-(?P<count>\d+)(?:-[0-9a-f]+)?$|(?:^|[-_.])0\d{2,5}$")
_TABLE_BRANCH = "refs/convert/parquet"
"""The branch in which a hub keeps a copy of a data set as Parquet."""

Parts = dict[str, list[str]]
"""The files of each part, in order, by the part's name; "" where a repository has one part without a name."""


def part_files(name: HubName) -> list[Path]:
    """The files of a part that is whole in the cache, in order.

    HubError where it is not there or the part is not known, DataError where the repository holds no data file.
    """
    found = cached(name)
    if found is None:
        raise HubError(absent(name))
    files = _chosen(found, name)
    if found.missing(files) or _lacks_shards(files):
        raise HubError(absent(name))
    return [found.folder / file for file in files]


def is_cached(name: HubName) -> bool:
    """Whether `part_files` has all files, or a reason of its own to refuse the name."""
    found = cached(name)
    if found is None or (README in found.files and found.missing([README])):
        return False
    try:
        files = _chosen(found, name)
    except (HubError, DataError):
        return all(file.sha256 or file.git for file in found.files.values())  # a whole list: asking changes nothing
    return not found.missing(files) and not _lacks_shards(files)


def fetch_part(name: HubName, report: Report | None = None) -> Listing:
    """Fetch what the cache lacks of a part. HubError and DataError as in `part_files`."""
    found = look(name)
    if 0 <= found.files.get(README, (-1,))[0] <= MOST_README_BYTES:
        fetch(found, [README], report)
    fetch(found, _chosen(found, name), report, branch=name.branch)
    return found


def _chosen(found: Listing, name: HubName) -> list[str]:
    """The files of the part that `name` asks for; HubError lists the parts where it is not one of them."""
    readable = [file for file in found.files if _is_data(file)]
    if not readable:
        there = ", ".join(sorted(file for file in found.files if not file.startswith("."))[:6]) or "nothing"
        other = f" If the hub shows it as a table, add @{_TABLE_BRANCH}." if "/" not in name.revision else ""
        raise DataError(
            f"{name}: the repository holds no data file that is read, but {there}. Read are {what_is_read()}. Nothing "
            f"in it is run.{other}"
        )
    parts = parts_of(readable, _declared(found.folder / README))
    if name.part in parts:
        return parts[name.part]
    if name.part in readable:
        return [name.part]
    within = [part for part in parts if part.startswith(f"{name.part}/")] if name.part else list(parts)
    if len(within) == 1:
        return parts[within[0]]
    known = sorted(part for part in within or parts if part)
    named = name._replace(part=known[0] if known else readable[0])
    wanted = "several parts" if within else f"no part {name.part!r}"
    more = f" and {len(known) - 12} more" if len(known) > 12 else ""
    raise HubError(
        f"{name.repo} has {wanted}; it has {', '.join(known[:12]) or readable[0]}{more}. Name one after a colon, as in "
        f"{named}."
    )


def parts_of(files: Collection[str], declared: Iterable[tuple[str, list[str]]] = ()) -> Parts:
    """The parts of a repository with these data files; `declared` are the patterns of each part that its README names.

    Declared patterns that match nothing are left out; where none matches, the names of the files decide.
    """
    found: Parts = {}
    tried = _Patterns(files)
    for part, patterns in declared:
        matched = [file for pattern in patterns for file in tried.matched(pattern)]
        if matched:
            found[part] = list(dict.fromkeys(matched))
    if found:
        return found
    for file in sorted(files):
        found.setdefault(_part_of(file), []).append(file)
    return found


def _part_of(file: str) -> str:
    """The part that a file belongs to by its name: its split, or its name without the number of a shard."""
    path = PurePosixPath(file)
    stem = path.name.partition(".")[0]
    folders = [folder for folder in path.parts[:-1] if folder != "data"]
    shard = SHARD.fullmatch(stem)
    split = shard["split"] if shard and shard["split"].lower() in SPLITS else ""
    bare = _NUMBER.sub("", stem)
    if not split:
        split = next((folder for folder in reversed(folders) if folder.lower() in SPLITS), "")
        if split:
            folders.remove(split)
            return "/".join([*folders, split, *([bare] if bare and bare.lower() not in SPLITS else [])])
    return "/".join([*folders, split or (bare if bare != stem else path.name)]).rstrip("/")


def _is_data(file: str) -> bool:
    path = PurePosixPath(file)
    ends = [suffix for suffix in path.suffixes if suffix not in _PACKED]
    hidden = any(part.startswith((".", "_")) for part in path.parts)
    return bool(ends) and ends[-1] in _SUFFIXES and path.name not in ABOUT and not hidden


def _lacks_shards(files: list[str]) -> bool:
    """Whether shards are missing of which the names of the others tell."""
    counted = [found for file in files if (found := _NUMBER.search(PurePosixPath(file).name.partition(".")[0]))]
    counts = {found["count"] for found in counted if found["count"]}
    return len(counts) == 1 and len(counted) < int(counts.pop())


def _declared(readme: Path) -> list[tuple[str, list[str]]]:
    """The parts that a README declares, with their patterns; none where it declares nothing that can be read."""
    try:
        if readme.stat().st_size > MOST_README_BYTES:
            return []
        text = readme.read_text(encoding="utf-8")
        front = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
        head = yaml.safe_load(front[1]) if front else None
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return []
    configs = head.get("configs") if isinstance(head, dict) else None
    found = [
        (str(config.get("config_name", "default")), split, patterns)
        for config in (configs if isinstance(configs, list) else [])
        if isinstance(config, dict)
        for split, patterns in _splits_of(config)
    ]
    alone = len({config for config, _, _ in found}) == 1
    return [(split if alone else f"{config}/{split}", patterns) for config, split, patterns in found]


def _splits_of(config: dict[Any, Any]) -> Iterator[tuple[str, list[str]]]:
    """The splits of one configuration of a README and their patterns, in each of the forms that it may have."""
    given, folder = config.get("data_files"), str(config.get("data_dir") or "").strip("/")
    if given is None and folder:
        given = "**"
    entries = given if isinstance(given, list) else [given]
    if isinstance(given, dict):
        entries = [{"split": split, "path": path} for split, path in given.items()]
    plain = [entry for entry in entries if isinstance(entry, str)]
    splits = {str(e["split"]): e["path"] for e in entries if isinstance(e, dict) and {"split", "path"} <= e.keys()}
    for split, paths in {**({"train": plain} if plain else {}), **splits}.items():
        listed = [str(path) for path in (paths if isinstance(paths, list) else [paths])]
        yield split, [f"{folder}/{path}" if folder else path for path in listed]


class _Patterns:
    """Matches patterns of `*`, `**` and `?` against the files of a repository, in bounded time."""

    def __init__(self, files: Collection[str]) -> None:
        self.files, self._known, self._left = sorted(files), frozenset(files), MOST_COMPARED

    def matched(self, pattern: str) -> list[str]:
        """The files that a pattern means, in order. DataError when a README has asked for too much."""
        pattern = re.sub(r"\*{3,}", "**", pattern.removeprefix("./"))
        start = re.match(r"[^*?]*", pattern)
        literal = start[0] if start else ""
        if literal == pattern:
            return [pattern] if pattern in self._known else []
        possible = [file for file in self.files if file.startswith(literal)]
        rest = pattern[len(literal) :]
        if rest[0] == "*" and not set("*?") & set(rest[1:]):  # nearly every pattern that is written
            ends = [file for file in possible if file.endswith(rest[1:]) and len(file) >= len(pattern) - 1]
            return [file for file in ends if "/" not in file[len(literal) : len(file) - len(rest) + 1]]
        self._left -= sum(map(len, possible)) * len(pattern)
        if self._left < 0:
            raise DataError(f"{README} declares more patterns than are tried; name a file of the repository instead.")
        return [file for file in possible if _fits(pattern, file)]


def _fits(pattern: str, file: str) -> bool:
    """Whether a path fits a pattern; each place of one is tried with each of the other once."""
    reached = {0}
    for piece in re.findall(r"\*\*/?|\*|\?|[^*?]", pattern):
        following, inside = set[int](), False
        for place in range(len(file) + 1):
            inside = inside or place in reached
            sign = file[place] if place < len(file) else ""
            if piece in ("**", "*") and inside:
                following.add(place)
                inside = piece == "**" or sign != "/"
            elif piece == "**/" and inside and (place in reached or file[place - 1] == "/"):
                following.add(place)
            elif place in reached and sign and (piece == sign or (piece == "?" and sign != "/")):
                following.add(place + 1)
        reached = following
    return len(file) in reached
