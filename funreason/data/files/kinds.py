"""The kinds of files: those that are read, those that are recognised and not read, and which files a folder gives.

Messages and the table in docs/files.md come from here. The content decides; a name only where the content leaves it
open (text that is no JSON). Folders are what `Dataset.save_to_disk` writes, and shards such as
`train-00000-of-00004.parquet`.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from funreason.data.files.csv_rows import delimiter_of
from funreason.data.files.documents import open_brackets
from funreason.data.files.packing import PACKINGS
from funreason.data.files.raw import MARK
from funreason.data.files.tables import RECORD_KEYS, WRAPPERS
from funreason.data.records import DataError

_FIRST_KEY = re.compile(r'\{\s*"([^"]{1,200})"\s*:\s*\[')
HEAD_BYTES = 1_000_100
"""How much of a file is looked at to find its kind: a little more than the largest record."""
SHARD = re.compile(r"(?P<split>[A-Za-z][A-Za-z_]*?)[-_.]?(?:\d+(?:-of-\d+)?)?(?:[-_.][0-9a-f]{8,})?$")
ABOUT = frozenset(("dataset_info.json", "dataset_infos.json", "state.json", "package.json"))
"""Files beside data that describe it."""
SPLITS = frozenset("train training test validation valid val dev eval".split())


class FileKind(NamedTuple):
    """A kind of file that is read: its name, the endings of such files, and what is read of it."""

    name: str
    suffixes: tuple[str, ...]
    about: str


LINES = FileKind(
    "JSON lines", (".jsonl", ".ndjson", ".json"), "one object a line; a comma after it, CR or CRLF are no fault"
)
DOCUMENT = FileKind(
    "JSON",
    (".json", ".jsonl"),
    "a list; objects over several lines; a list under a key such as `data`, `rows` or `train`; a table by column, by "
    "index or split, as pandas writes it; rows of the Hugging Face dataset server",
)
CSV = FileKind(
    "CSV", (".csv", ".tsv"), "a header and a record a row; cells that hold JSON lists or objects are read as JSON"
)
PARQUET = FileKind("Parquet", (".parquet", ".pq"), "needs the extra `files`")
ARROW = FileKind("Arrow", (".arrow", ".feather", ".ipc"), "files, streams and Feather; needs the extra `files`")
FOLDER = FileKind(
    "folder",
    (),
    "of `save_to_disk`, or of shards such as `train-00000-of-00004.parquet`; with several splits: `FOLDER:SPLIT`",
)
READ = (LINES, DOCUMENT, CSV, PARQUET, ARROW, FOLDER)


class Unread(NamedTuple):
    """A kind of file that is recognised and not read: what it is, its endings, its first bytes, how to convert it."""

    name: str
    suffixes: tuple[str, ...]
    marks: tuple[bytes, ...]
    convert: str


_PANDAS = "python -c \"import pandas; pandas.{reader}.to_json('{stem}.jsonl', orient='records', lines=True)\""
_YAML = (
    "python -c \"import json, yaml; json.dump(yaml.safe_load(open('{path}')), open('{stem}.json', 'w'), default=str)\""
)
_UNPACK = "unpack it, and give the path of one file in it or of the folder"

_DUMP = "load it and write its records with json.dumps, one a line"
_TOML = (
    "python -c \"import json, tomllib; json.dump(tomllib.load(open('{path}', 'rb')), open('{stem}.json', 'w'), "
    'default=str)"'
)
_SQLITE = "sqlite3 -json '{path}' 'SELECT * FROM TABLE' > '{stem}.json'"
_TRUST = "a pickle runs code when it is loaded. Ask for the data as JSON or Parquet; if you trust it, "
_PAGES = (b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML")
_PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))

UNREAD = (
    Unread("an Excel workbook", (".xlsx", ".xlsm"), (), _PANDAS.replace("{reader}", "read_excel('{path}')")),
    Unread(
        "an old Excel workbook", (".xls",), (b"\xd0\xcf\x11\xe0",), _PANDAS.replace("{reader}", "read_excel('{path}')")
    ),
    Unread("a file of numpy arrays", (".npy", ".npz"), (b"\x93NUMPY",), _DUMP),
    Unread("a file of torch.save", (".pt", ".pth"), (), _DUMP),
    Unread("a zip archive", (".zip",), (b"PK\x03\x04", b"PK\x05\x06"), _UNPACK),
    Unread("a tar archive", (".tar", ".tgz"), (), f"tar -xf '{{path}}': {_UNPACK}"),
    Unread("a 7z archive", (".7z",), (b"7z\xbc\xaf\x27\x1c",), _UNPACK),
    Unread("a rar archive", (".rar",), (b"Rar!\x1a\x07",), _UNPACK),
    Unread("LZ4 data", (".lz4",), (b"\x04\x22\x4d\x18",), "unlz4 '{path}'"),
    Unread("a SQLite database", (".sqlite", ".sqlite3", ".db"), (b"SQLite format 3\0",), _SQLITE),
    Unread("an HDF5 file", (".h5", ".hdf5"), (b"\x89HDF",), _PANDAS.replace("{reader}", "read_hdf('{path}')")),
    Unread("an ORC file", (".orc",), (b"ORC",), _PANDAS.replace("{reader}", "read_orc('{path}')")),
    Unread("an Avro file", (".avro",), (b"Obj\x01",), "avro-tools tojson '{path}' > '{stem}.jsonl'"),
    Unread("a TFRecord file", (".tfrecord",), (), _DUMP),
    Unread("a safetensors file", (".safetensors",), (), "it holds weights and no records; give the file of the data"),
    Unread("a PDF", (".pdf",), (b"%PDF-",), "no records can be read out of it; look for the data it describes"),
    Unread("a pickle", (".pkl", ".pickle"), _PICKLES, _TRUST + _DUMP),
    Unread("a Git-LFS pointer", (), (b"version https://git-lfs.",), "the data was not downloaded: git lfs pull"),
    Unread("an HTML page", (".html", ".htm"), _PAGES, "download the file itself, not the page that shows it"),
    Unread("XML", (".xml",), (b"<?xml",), _PANDAS.replace("{reader}", "read_xml('{path}')")),
    Unread("YAML", (".yaml", ".yml"), (b"---\n", b"---\r\n", b"%YAML"), _YAML),
    Unread("TOML", (".toml",), (), _TOML),
    Unread("UTF-16 text", (), (b"\xff\xfe", b"\xfe\xff"), "iconv -f UTF-16 -t UTF-8 '{path}' > '{stem}.utf8.json'"),
    Unread("plain text", (".txt", ".md", ".log"), (), "write one JSON object a line, with query, tools and answers"),
)


def unread(path: Path, name: str) -> DataError:
    """The error for a file of the kind `name` that is not read: what is read, and how to convert it."""
    kind = next(kind for kind in UNREAD if kind.name == name)
    stem = f"{path}.converted" if path.suffix in LINES.suffixes else path.with_suffix("")
    how = kind.convert.format(path=path, stem=stem)
    return DataError(f"{path} is {name}, which is not read. Read are {what_is_read()}. To convert it: {how}")


def what_is_read() -> str:
    """The kinds that are read, in words."""
    kinds = ", ".join(kind.name for kind in READ[:-1])
    return f"{kinds}, folders of them, and each packed as {', '.join(packing.suffix for packing in PACKINGS)}"


def kind_of(path: Path, head: bytes) -> FileKind:
    """The kind of the file `path`, whose content begins with `head`. DataError for a kind that is not read."""
    if head.startswith(b"PAR1"):
        return PARQUET
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff", b"FEA1")):
        return ARROW
    if found := _marked(path, head):
        raise unread(path, found)
    text = head.decode("utf-8", "replace").removeprefix(MARK).lstrip()
    if not text or text[0] in "{[":
        return _json_kind(path, text, whole=len(head) < HEAD_BYTES)
    if any(line.lstrip()[:1] in ("{", "[") for line in text.splitlines()):
        return CSV if path.suffix in CSV.suffixes or _is_csv(text) else LINES
    if path.suffix in CSV.suffixes or _is_csv(text):
        return CSV
    suffix = next((each for each in reversed(path.suffixes) if each not in {p.suffix for p in PACKINGS}), "")
    if suffix in LINES.suffixes:
        return LINES  # each line is refused, with its number
    named = next((kind.name for kind in UNREAD if suffix in kind.suffixes), "")
    if not named:
        named = "YAML" if re.match(r"(- )?[\w-]+:( |\r?\n)", text) else "plain text"
    if b"\0" in head:
        known = f"{named}" if suffix and named not in ("plain text", "YAML") else "binary data of an unknown kind"
        raise DataError(f"{path} is {known}, which is not read. Read are {what_is_read()}.")
    raise unread(path, named)


def _marked(path: Path, head: bytes) -> str:
    """The kind that is not read and whose first bytes these are; "" for none."""
    if head[257:262] == b"ustar":
        return "a tar archive"
    found = next((kind.name for kind in UNREAD if kind.marks and head.startswith(kind.marks)), "")
    if found == "a zip archive":
        try:
            names = zipfile.ZipFile(path).namelist()
        except (OSError, zipfile.BadZipFile):
            return found
        inside = {"xl/workbook.xml": "an Excel workbook", "data.pkl": "a file of torch.save"}
        ends = next((kind for name in names for end, kind in inside.items() if name.endswith(end)), found)
        return "a file of numpy arrays" if names and all(name.endswith(".npy") for name in names) else ends
    return found


def _json_kind(path: Path, text: str, *, whole: bool) -> FileKind:
    """Whether JSON is one record a line or a document."""
    lines = (line for line in text.splitlines() if line.strip())
    first, second = next(lines, ""), next(lines, "")
    if text[:1] == "[":
        nested = ".jsonl" in path.suffixes and not re.match(r"\[\s*([{\]]|$)", text)
        return LINES if nested else DOCUMENT
    if not second:
        return DOCUMENT if whole or len(text) >= HEAD_BYTES - 100 else LINES
    try:
        json.loads(first.rstrip().removesuffix(","))
        return LINES
    except RecursionError:
        return LINES  # refused with its line
    except ValueError:
        pass
    # The first line is broken, or it only begins an object. Its end and the line after it say which.
    end, after = first.rstrip()[-1], second.lstrip()[:1]
    wrapped = (key := _FIRST_KEY.match(first)) is not None and key.group(1) in WRAPPERS
    wrapped = wrapped or (end == "," and open_brackets(first) == "{[")
    return DOCUMENT if wrapped or end == "[" or (end in "{," and after in ('"', "}", "]", "[")) else LINES


def _is_csv(text: str) -> bool:
    """Whether the first line is a header that names a column of records."""
    header = text.split("\n", 1)[0]
    delimiter = delimiter_of(header)
    names = {name.strip().strip('"') for name in header.split(delimiter)} if delimiter else set()
    return bool(names & RECORD_KEYS) and all(len(name) < 60 for name in names)


def markdown() -> Iterator[str]:
    """The lines of the tables in docs/files.md."""
    yield "| read | endings | what of it |"
    yield "|---|---|---|"
    for kind in READ:
        yield f"| {kind.name} | {' '.join(kind.suffixes)} | {kind.about} |"
    packed = " ".join(packing.suffix for packing in PACKINGS)
    yield f"| packed | {packed} | any text of these kinds; `.zst` needs the extra `files` |"
    yield ""
    yield "| recognised, not read | endings | to convert it |"
    yield "|---|---|---|"
    for other in UNREAD:
        how = other.convert.format(path="FILE", stem="OUT").replace("|", "\\|")
        yield f"| {other.name} | {' '.join(other.suffixes)} | {how} |"


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
            and path.name not in ABOUT
            and any(suffix in suffixes for suffix in path.suffixes)
            and not path.name.startswith((".", "_"))
        ):
            match = SHARD.fullmatch(name)
            own = match["split"] if match and match["split"] in SPLITS else ""
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
