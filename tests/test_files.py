"""Files of every kind are read, a broken record costs one record, and what is not read is named."""

import bz2
import gzip
import json
import lzma
import pickle
import sqlite3
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funreason
from funreason.data.files import kinds, raw_records
from funreason.data.reading import DataError, read_samples, read_tasks
from funreason.types import Call

DOCS = Path(__file__).resolve().parents[1] / "docs" / "files.md"
TOOL = {
    "name": "book_table",
    "description": "Books a table.",
    "parameters": {
        "type": "object",
        "properties": {"guests": {"type": "integer"}, "note": {"type": "string"}},
        "required": ["guests"],
    },
}


def record(number, **changes):
    calls = [{"name": "book_table", "arguments": {"guests": number}}]
    return {"id": f"r{number}", "query": f"A table for {number}.", "tools": [TOOL], "answers": calls} | changes


def as_text(number):
    """The record with its tools and answers as JSON text, as tables hold them."""
    whole = record(number)
    return whole | {"tools": json.dumps(whole["tools"]), "answers": json.dumps(whole["answers"])}


RECORDS = [record(number) for number in range(2, 8)]
IDS = [each["id"] for each in RECORDS]
LINES = "".join(json.dumps(each) + "\n" for each in RECORDS)


def columns(rows):
    return {key: [row[key] for row in rows] for key in rows[0]}


def ids(path, **options):
    return [task.id for task in read_tasks(path, **options).tasks]


def refused(path):
    return [(refusal.line, refusal.reason) for refusal in read_tasks(path).refusals]


# -- kinds ----------------------------------------------------------------------------------------------------

INDENTED = "\n".join(json.dumps(each, indent=2) for each in RECORDS)
TEXTS = {
    "lines": LINES,
    "lines that end with a comma": LINES.replace("}\n", "},\n"),
    "lines with Windows line ends": LINES.replace("\n", "\r\n"),
    "lines with old line ends": LINES.replace("\n", "\r"),
    "lines with a blank line and a mark": "\ufeff" + LINES.replace("\n", "\n\n"),
    "a list": json.dumps(RECORDS),
    "an indented list": json.dumps(RECORDS, indent=1),
    "a list with a comma at its end": json.dumps(RECORDS)[:-1] + ",]",
    "two lists": json.dumps(RECORDS[:2]) + "\n" + json.dumps(RECORDS[2:]),
    "lines of a list without commas": "[\n" + LINES + "]",
    "indented objects": INDENTED,
    "indented objects with old line ends": INDENTED.replace("\n", "\r"),
    "an indented object among lines": LINES[: LINES.index("\n") + 1] + "\n".join(INDENTED.split("\n}\n")[1:2])
    + "\n}\n" + "".join(line + "\n" for line in LINES.splitlines()[2:]),
    "a list under a key": json.dumps({"data": RECORDS}),
    "a list under a key, indented, others beside it": json.dumps(
        {"version": 1, "rows": RECORDS, "about": {"n": [6]}}, indent=2
    ),
    "a list under a custom key": json.dumps({"table_bookings": RECORDS}),
    "one split": json.dumps({"train": RECORDS}),
    "a table by column": json.dumps(columns(RECORDS)),
    "a table by column and index": json.dumps({k: dict(enumerate(c)) for k, c in columns(RECORDS).items()}),
    "a table by index": json.dumps({str(i): each for i, each in enumerate(RECORDS)}),
    "objects by their id": json.dumps({each["id"]: {k: v for k, v in each.items() if k != "id"} for each in RECORDS}),
    "a split table": json.dumps({"columns": list(RECORDS[0]), "data": [list(each.values()) for each in RECORDS]}),
    "rows of the dataset server": json.dumps(
        {"features": [], "rows": [{"row_idx": i, "row": each, "truncated_cells": []} for i, each in enumerate(RECORDS)]}
    ),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".json.gz"])
@pytest.mark.parametrize("kind", TEXTS)
def test_json_is_read_however_it_is_laid_out_and_named(tmp_path, kind, suffix):
    data = TEXTS[kind].encode()
    path = tmp_path / f"t{suffix}"
    path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    reading = read_tasks(path, strict=True)
    assert [task.id for task in reading.tasks] == IDS
    assert [task.reference for task in reading.tasks] == [[Call("book_table", {"guests": n})] for n in range(2, 8)]


@pytest.mark.parametrize(
    "one",
    [
        {"messages": [{"role": "user", "content": "A table for 2."}, {"role": "assistant", "content": "For when?"}],
         "tools": [TOOL, TOOL | {"name": "other"}]},
        {"question": [[{"role": "user", "content": "A table for 2."}]], "function": [TOOL]},
        {"query": "A table for 2.", "tools": [TOOL], "data": [{"query": "not this one"}]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("indent", [None, 2])
def test_one_record_whose_fields_are_lists_is_no_table(tmp_path, one, indent):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(one, indent=indent))
    [task] = read_tasks(path, strict=True).tasks
    assert task.query == "A table for 2."


def table(path, delimiter=","):
    import csv

    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(RECORDS[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(as_text(number) | {"query": f'A table for "{number}",\nplease; now'} for number in range(2, 8))
    return path


@pytest.mark.parametrize(("name", "delimiter"), [("t.csv", ","), ("t.tsv", "\t"), ("t.csv", ";"), ("t.json", ",")])
def test_csv_is_read_with_json_in_its_columns(tmp_path, name, delimiter):
    reading = read_tasks(table(tmp_path / name, delimiter), strict=True)
    assert [task.id for task in reading.tasks] == IDS
    assert reading.tasks[0].query == 'A table for "2",\nplease; now'
    assert reading.tasks[0].reference == [Call("book_table", {"guests": 2})]


def test_a_cell_of_csv_is_text_unless_it_is_json_and_an_empty_one_is_absent(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('id,query,tools,answers\n007,[1],[],\n8,"{""a"": 1}",[],[]\n')
    first, second = read_tasks(path, strict=True).tasks
    assert (first.id, first.query, first.reference) == ("007", "[1]", None)
    assert (second.query, second.reference) == ('{"a": 1}', [])


def test_dialogues_in_a_column_of_csv_are_json_and_pythons_repr_of_them_is_refused_by_name(tmp_path):
    turns = [{"role": "user", "content": "A table for 2."}]
    path = tmp_path / "t.csv"
    cells = [json.dumps(turns).replace('"', '""'), str(turns)]
    path.write_text("id,messages\n" + "".join(f'{i},"{cell}"\n' for i, cell in enumerate(cells)))
    reading = read_tasks(path)
    assert [task.query for task in reading.tasks] == ["A table for 2."]
    assert [(r.line, r.reason) for r in reading.refusals] == [(3, "csv.python_repr")]
    assert "json.dumps" in reading.refusals[0].message


def test_a_row_with_an_open_quote_or_too_few_cells_costs_that_row(tmp_path):
    good = "{},A table for {}.,[],[]\n"
    path = tmp_path / "t.csv"
    path.write_text(
        "id,query,tools,answers\n"
        + good.format(1, 1)
        + '2,"A table,[],[]\n'
        + good.format(3, 3)
        + "4,x\n"
        + good.format(5, 5)
    )
    assert ids(path) == ["1", "3", "5"]
    assert refused(path) == [(3, "csv.broken"), (5, "csv.columns")]


@pytest.mark.parametrize("header", [b"query,tools,query\n", b"query,\xff\n"])
def test_a_header_of_csv_that_cannot_be_used_is_an_error_that_names_the_file(tmp_path, header):
    (tmp_path / "t.csv").write_bytes(header + b"x,[],y\n")
    with pytest.raises(DataError, match=r"t\.csv: the header"):
        read_tasks(tmp_path / "t.csv")


def parquet(path, rows=RECORDS):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("name", ["t.parquet", "t.json", "t"])
def test_parquet_is_read_whatever_its_name(tmp_path, name):
    assert ids(parquet(tmp_path / name), strict=True) == IDS


@pytest.mark.parametrize("kind", ["file", "stream", "feather"])
def test_arrow_files_streams_and_feather_are_read(tmp_path, kind):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.feather

    rows, path = pa.Table.from_pylist(RECORDS), tmp_path / "t.arrow"
    if kind == "feather":
        pyarrow.feather.write_feather(rows, str(path))
    else:
        with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(str(path), rows.schema) as writer:
            writer.write_table(rows)
    assert ids(path, strict=True) == IDS


def test_what_a_table_holds_beyond_json_becomes_plain_text_or_numbers(tmp_path):
    import datetime
    import decimal

    more = {"when": datetime.datetime(2026, 1, 2), "price": decimal.Decimal("2.50"), "score": float("nan")}
    [raw] = raw_records(parquet(tmp_path / "t.parquet", [record(2) | more]))
    assert (raw.record["when"], raw.record["price"], raw.record["score"]) == ("2026-01-02T00:00:00", 2.5, None)


def test_a_parquet_file_that_was_cut_short_says_so(tmp_path):
    path = parquet(tmp_path / "t.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged or cut short"):
        read_tasks(path)


def saved(path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_list(RECORDS)
    datasets.DatasetDict(train=rows.select(range(4)), test=rows.select(range(4, 6))).save_to_disk(path / "splits")
    rows.save_to_disk(path / "one", num_shards=3)
    return path


def test_folders_of_save_to_disk_are_read_by_split(tmp_path):
    saved(tmp_path)
    assert ids(tmp_path / "one", strict=True) == IDS
    assert ids(tmp_path / "splits:train") == IDS[:4]
    assert ids(tmp_path / "splits:test") == IDS[4:]
    for name in ("splits", "splits:dev"):
        with pytest.raises(DataError, match=r"train, test.*splits:train"):
            read_tasks(tmp_path / name)
    (tmp_path / "one" / "data-00001-of-00003.arrow").unlink()
    with pytest.raises(DataError, match=r"lacks data-00001-of-00003\.arrow"):
        read_tasks(tmp_path / "one")


def test_a_folder_of_shards_is_read_in_order_and_by_split(tmp_path):
    (tmp_path / "data").mkdir()
    parquet(tmp_path / "data" / "train-00000-of-00002.parquet", RECORDS[:2])
    parquet(tmp_path / "data" / "train-00001-of-00002-0123456789abcdef.parquet", RECORDS[2:4])
    (tmp_path / "README.md").write_text("About it.")
    (tmp_path / "dataset_info.json").write_text('{"features": {}}')
    assert ids(tmp_path, strict=True) == IDS[:4]
    parquet(tmp_path / "data" / "test-00000-of-00001.parquet", RECORDS[4:])
    assert ids(f"{tmp_path}:test") == IDS[4:]
    with pytest.raises(DataError, match="several splits; it holds test, train"):
        read_tasks(tmp_path)


def test_a_file_with_several_lists_asks_which_one(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"train": RECORDS[:4], "test": RECORDS[4:]}))
    assert ids(f"{path}:train") == IDS[:4]
    assert ids(f"{path}:test") == IDS[4:]
    with pytest.raises(DataError, match=r"train and test.*t\.json:train"):
        read_tasks(path)
    with pytest.raises(DataError, match="no list of records named 'dev'"):
        read_tasks(f"{path}:dev")


def test_a_row_whose_cells_a_server_cut_is_refused(tmp_path):
    rows = [{"row_idx": i, "row": each, "truncated_cells": ["tools"] * (i == 1)} for i, each in enumerate(RECORDS)]
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"rows": rows}))
    assert ids(path) == [IDS[0], *IDS[2:]]
    assert refused(path) == [(1, "record.truncated_cells")]


def zstandard(data):
    return pytest.importorskip("pyarrow").compress(data, codec="zstd", asbytes=True)


PACKED = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard}


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("named", [True, False])
def test_packed_files_are_read_whether_or_not_their_name_says_so(tmp_path, suffix, named):
    path = tmp_path / (f"t.jsonl{suffix}" if named else "t.jsonl")
    path.write_bytes(PACKED[suffix](LINES.encode()))
    assert ids(path, strict=True) == IDS


@pytest.mark.parametrize("suffix", PACKED)
def test_a_name_that_promises_a_packing_which_the_content_lacks_is_reported(tmp_path, suffix):
    path = tmp_path / f"t.jsonl{suffix}"
    path.write_text(LINES)
    with pytest.raises(DataError, match=r"the name says .* the content does not"):
        read_tasks(path)


@pytest.mark.parametrize("suffix", [".bz2", ".xz", ".zst"])
def test_packed_data_that_ends_early_keeps_what_came_before_or_says_that_nothing_did(tmp_path, suffix):
    import random

    noise = random.Random(0)
    many = [record(n, note=noise.randbytes(400).hex()) for n in range(1300)]
    data = PACKED[suffix]("".join(json.dumps(each) + "\n" for each in many).encode())
    path = tmp_path / f"t.jsonl{suffix}"
    path.write_bytes(data[: len(data) * 9 // 10])
    reading = read_tasks(path)
    assert 0 < len(reading.tasks) < 1300
    assert [refusal.reason for refusal in reading.refusals] == ["file.truncated"]


# -- a broken record costs one record -------------------------------------------------------------------------

FAULTS = {
    "a comma too many": lambda text: text[:-1] + ",}",
    "a bracket not closed": lambda text: text[:-1],
    "a bracket too few inside": lambda text: text.replace("}", "", 1),
    "a quote not closed": lambda text: text.replace('."', ".", 1),
    "a quote not opened": lambda text: text.replace('"query": "', '"query": ', 1),
    "a comma missing": lambda text: text.replace(', "query"', ' "query"', 1).replace(',\n "query"', '\n "query"', 1),
    "single quotes": lambda text: text.replace('"', "'"),
    "cut in half": lambda text: text[: len(text) // 2],
    "no opening bracket": lambda text: text[1:],
    "not a number": lambda text: text.replace('"r', 'NaN, "x": "r', 1),
    "too large": lambda text: text.replace("A table", "A" * 1_100_000, 1),
    "bytes that are no UTF-8": lambda text: text.replace("A table", "A \udcff table", 1),
    "replaced by a word": lambda text: "nothing",
    "replaced by null": lambda text: "null",
}
LAYOUTS = {
    "minified": lambda texts: "[" + ",".join(texts) + "]",
    "one a line": lambda texts: "[\n" + ",\n".join(texts) + "\n]\n",
    "under a key": lambda texts: '{"data": [' + ",\n".join(texts) + '], "about": {"made": [1]}}',
}  # fmt: skip


def faulty(texts, places, fault, indent=None):
    texts = [json.dumps(each, indent=indent) for each in texts]
    return [FAULTS[fault](text) if place in places else text for place, text in enumerate(texts)]


@pytest.mark.parametrize("place", [0, 2, 5])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("layout", ["minified", "one a line", "under a key"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_record_in_a_list_costs_that_record_alone(tmp_path, fault, layout, indent, place):
    path = tmp_path / "t.json"
    text = LAYOUTS[layout](faulty(RECORDS, {place}, fault, indent))
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    reading = read_tasks(path)
    assert [task.id for task in reading.tasks] == IDS[:place] + IDS[place + 1 :]
    assert len(reading.refusals) == 1
    assert reading.refusals[0].message


@given(st.sets(st.integers(0, 19), max_size=8), st.sampled_from(sorted(set(FAULTS) - {"too large"})))
@settings(max_examples=60, deadline=None)
def test_every_sound_record_of_a_list_is_read_whichever_are_broken(tmp_path_factory, places, fault):
    many = [record(number) for number in range(2, 22)]
    path = tmp_path_factory.getbasetemp() / "broken.json"
    text = LAYOUTS["one a line"](faulty(many, places, fault))
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    found = {raw.value()["id"] for raw in raw_records(path) if raw.refused is None and _is_record(raw)}
    assert found >= {each["id"] for place, each in enumerate(many) if place not in places}


def _is_record(raw):
    try:
        return isinstance(raw.value(), dict)
    except ValueError:
        return False


def test_two_broken_records_after_each_other_cost_two(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(LAYOUTS["one a line"](faulty(RECORDS, {2, 3}, "a bracket not closed")))
    assert ids(path) == [*IDS[:2], *IDS[4:]]
    assert refused(path) == [(4, "json.broken"), (5, "json.broken")]


def test_the_refusal_of_a_broken_record_names_its_lines_and_its_size(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(LAYOUTS["one a line"](faulty(RECORDS, {1}, "a comma too many", indent=1)))
    [refusal] = read_tasks(path).refusals
    text = json.dumps(RECORDS[1], indent=1)
    first = 2 + text.count("\n") + 1
    assert refusal.line == first
    assert f"(lines {first} to {first + text.count(chr(10))})" in refusal.message
    assert f"{len(text) + 1} characters" in refusal.message


@pytest.mark.parametrize("text", [json.dumps(RECORDS)[:-1], json.dumps(RECORDS, indent=1)[:-2]])
def test_a_list_that_is_not_closed_keeps_all_its_records_and_says_so(tmp_path, text):
    path = tmp_path / "t.json"
    path.write_text(text)
    reading = read_tasks(path)
    assert [task.id for task in reading.tasks] == IDS
    assert [refusal.reason for refusal in reading.refusals] == ["json.broken"]
    assert "cut short" in reading.refusals[0].message


def test_comments_in_a_list_are_refused_and_cost_no_record(tmp_path):
    path = tmp_path / "t.json"
    path.write_text("[\n// my data\n" + ",\n".join(map(json.dumps, RECORDS)) + "\n]")
    assert ids(path) == IDS
    assert refused(path) == [(2, "json.broken")]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_comment_before_a_list_costs_no_record(tmp_path, indent):
    path = tmp_path / "t.json"
    path.write_text("// my data\n" + LAYOUTS["one a line"](json.dumps(each, indent=indent) for each in RECORDS))
    assert ids(path) == IDS
    assert refused(path) == [(1, "json.broken")]


def test_a_comma_too_many_in_a_record_is_named(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(LINES + json.dumps(record(9))[:-1] + ",}\n")
    [refusal] = read_tasks(path).refusals
    assert "a comma too many" in refusal.message


# -- what is not read -----------------------------------------------------------------------------------------


def workbook(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("xl/workbook.xml", "<workbook/>")


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("t.jsonl", LINES)


def database(path):
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE t (query TEXT)")
    base.commit()
    base.close()


UNREAD = {
    "an Excel workbook": ("t.xlsx", workbook, "read_excel"),
    "a zip archive": ("t.zip", archive, "unpack"),
    "a SQLite database": ("t.db", database, "sqlite3"),
    "a pickle": ("t.pkl", lambda path: path.write_bytes(pickle.dumps(RECORDS)), "runs code"),
    "a file of numpy arrays": ("t.npy", lambda path: path.write_bytes(b"\x93NUMPY\x01\0v\0"), "json"),
    "YAML": ("t.yaml", lambda path: path.write_text("- query: A table.\n  tools: []\n"), "yaml.safe_load"),
    "plain text": ("t.txt", lambda path: path.write_text("A table for two.\nAnd one more."), "one JSON object a line"),
    "an HTML page": ("t.parquet", lambda path: path.write_text("<!DOCTYPE html><title>404</title>"), "download"),
    "a Git-LFS pointer": (
        "t.parquet",
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "git lfs pull",
    ),
    "UTF-16 text": ("t.jsonl", lambda path: path.write_bytes(LINES.encode("utf-16")), "iconv"),
}


@pytest.mark.parametrize("kind", UNREAD)
def test_a_file_that_is_not_read_says_what_it_is_what_is_read_and_how_to_convert_it(tmp_path, kind):
    name, write, how = UNREAD[kind]
    write(tmp_path / name)
    with pytest.raises(DataError) as caught:
        read_tasks(tmp_path / name)
    said = str(caught.value)
    assert f"is {kind}, which is not read" in said
    assert "JSON lines, JSON, CSV, Parquet, Arrow" in said
    assert how in said
    assert "not JSON" not in said


def test_a_renamed_workbook_is_recognised_by_its_content(tmp_path):
    workbook(tmp_path / "t.jsonl")
    with pytest.raises(DataError, match="an Excel workbook"):
        read_tasks(tmp_path / "t.jsonl")


def test_a_missing_package_is_one_sentence_with_the_extra_to_install(tmp_path, monkeypatch):
    path = parquet(tmp_path / "t.parquet")
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'funreason\[files\]'") as caught:
        read_tasks(path)
    assert "\n" not in str(caught.value)


def test_the_page_on_files_holds_the_tables_of_the_registry():
    assert "\n".join(kinds.markdown()) in DOCS.read_text()


# -- nulls of tables ------------------------------------------------------------------------------------------

OTHER = {
    "name": "send_note",
    "description": "Sends a note.",
    "parameters": {
        "type": "object",
        "properties": {"text": {"type": "string"}, "urgent": {"type": "boolean", "default": False}},
        "required": ["text"],
    },
}


def dialogue(name, call, tools, **more):
    function = {"type": "function", "function": {"name": call[0], "arguments": call[1]}}
    messages = [{"role": "user", "content": f"Please: {call[1]}"}, {"role": "assistant", "tool_calls": [function]}]
    return {
        "id": name,
        "messages": messages,
        "tools": [{"type": "function", "function": tool} for tool in tools],
    } | more


DIALOGUES = [
    dialogue("d1", ("book_table", {"guests": 4}), [TOOL]),
    dialogue("d2", ("send_note", {"text": "hello", "urgent": True}), [OTHER, TOOL]),
    dialogue("d3", ("book_table", {"guests": 3, "note": "window"}), [TOOL], category="tables"),
]


def tables(tmp_path, rows):
    """The rows as Parquet, as a data set on disk, and as JSON lines that went through Arrow."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    table = pa.table({key: [row.get(key) for row in rows] for row in rows for key in row})
    pq.write_table(table, tmp_path / "t.parquet")
    yield tmp_path / "t.parquet"
    datasets.Dataset(table).save_to_disk(tmp_path / "saved")
    yield tmp_path / "saved"
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    assert '"urgent": null' in (tmp_path / "t.jsonl").read_text()
    yield tmp_path / "t.jsonl"


def test_records_that_went_through_arrow_are_the_records_they_were(tmp_path):
    plain = tmp_path / "plain.jsonl"
    plain.write_text("".join(json.dumps(each) + "\n" for each in DIALOGUES))
    before = read_tasks(plain, strict=True).tasks
    for path in tables(tmp_path, DIALOGUES):
        assert read_tasks(path, strict=True).tasks == before


def test_a_null_for_a_parameter_that_the_tool_has_stays_unless_a_table_filled_it_in(tmp_path):
    own = dialogue("d1", ("book_table", {"guests": 4, "note": None}), [TOOL])
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(own))
    [task] = read_tasks(path).tasks
    assert task.reference == [Call("book_table", {"guests": 4, "note": None})]
    [task, _] = read_tasks(parquet(tmp_path / "t.parquet", [own, DIALOGUES[2]])).tasks
    assert task.reference == [Call("book_table", {"guests": 4})]


def test_a_null_that_a_strict_tool_requires_stays_even_in_a_table(tmp_path):
    note = {"type": ["string", "null"]}
    parameters = {
        "type": "object",
        "properties": {"guests": {"type": ["integer"]}, "note": note},
        "required": ["guests", "note"],
    }
    rows = [dialogue("d1", ("book_table", {"guests": 4, "note": None}), [TOOL | {"parameters": parameters}])]
    rows.append(dialogue("d2", ("book_table", {"guests": 4, "note": "x"}), [TOOL | {"parameters": parameters}]))
    [task, _] = read_tasks(parquet(tmp_path / "t.parquet", rows)).tasks
    assert task.reference == [Call("book_table", {"guests": 4, "note": None})]


def test_a_null_for_a_parameter_that_no_tool_has_is_absent_in_plain_json_too(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(record(4, answers=[{"name": "book_table", "arguments": {"guests": 4, "theta": None}}])))
    [task] = read_tasks(path).tasks
    assert task.reference == [Call("book_table", {"guests": 4})]


def test_calls_of_a_user_that_are_null_show_that_a_table_filled_the_record(tmp_path):
    own = dialogue("d1", ("book_table", {"guests": 4, "note": None}), [TOOL])
    own["messages"][0]["tool_calls"] = None
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(own))
    assert read_tasks(path).tasks[0].reference == [Call("book_table", {"guests": 4})]


def test_a_required_argument_that_a_table_filled_with_null_is_missing_and_not_of_a_wrong_type(tmp_path):
    rows = [
        dialogue("d1", ("book_table", {"note": "x"}), [TOOL]),
        dialogue("d2", ("book_table", {"guests": 4}), [TOOL]),
    ]
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({key: [row[key] for row in rows] for key in rows[0]}), tmp_path / "t.parquet")
    references = [task.reference for task in read_tasks(tmp_path / "t.parquet").tasks]
    assert references == [[Call("book_table", {"note": "x"})], [Call("book_table", {"guests": 4})]]


def test_nested_arguments_that_a_table_filled_lose_their_nulls_by_their_own_schema(tmp_path):
    slot = {"type": "object", "properties": {"day": {"type": "string"}, "hour": {"type": "integer"}}}
    properties = {"slots": {"type": "array", "items": slot}, "about": {"type": "object"}}
    tool = {"name": "plan", "description": "Plans.", "parameters": {"type": "object", "properties": properties}}
    given = {"slots": [{"day": "May 2"}, {"day": "May 3", "hour": 9}], "about": {"who": "Ann"}}
    other = {"slots": [], "about": {"where": "hall"}}
    rows = [dialogue("d1", ("plan", given), [tool]), dialogue("d2", ("plan", other), [tool])]
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({key: [row[key] for row in rows] for key in rows[0]}), tmp_path / "t.parquet")
    assert [task.reference for task in read_tasks(tmp_path / "t.parquet").tasks] == [
        [Call("plan", given)],
        [Call("plan", other)],
    ]


def test_a_null_column_hides_nothing(tmp_path):
    messages = DIALOGUES[0]["messages"]
    path = tmp_path / "t.jsonl"
    path.write_text(
        json.dumps({"id": "n", "conversations": None, "messages": messages, "tools": None, "functions": [TOOL]})
    )
    [task] = read_tasks(path, strict=True).tasks
    assert [tool["name"] for tool in task.tools] == ["book_table"]
    assert task.reference == [Call("book_table", {"guests": 4})]


def test_a_default_of_null_stays_in_a_schema_that_no_table_filled(tmp_path):
    properties = TOOL["parameters"]["properties"] | {"hour": {"type": "string", "default": None, "enum": None}}
    tool = TOOL | {"parameters": TOOL["parameters"] | {"properties": properties}}
    [raw] = raw_records([record(4, tools=[tool])])
    from funreason.data.normalising import without_filled_nulls

    def hour(filled):
        return without_filled_nulls(raw.value(), filled=filled)["tools"][0]["parameters"]["properties"]["hour"]

    assert hour(False) == {"type": "string", "default": None, "enum": None}
    assert hour(True) == {"type": "string"}


def test_turns_that_a_table_turned_into_lists_are_turned_back(tmp_path):
    turns = {"from": ["human", "gpt"], "value": ["A table for 2.", "[book_table(guests=2)]"]}
    path = parquet(tmp_path / "t.parquet", [{"id": "c", "conversations": turns, "tools": json.dumps([TOOL])}])
    [task] = read_tasks(path, strict=True).tasks
    assert (task.query, task.reference) == ("A table for 2.", [Call("book_table", {"guests": 2})])


@pytest.mark.parametrize("empty", ["", " ", "[]", None])
def test_empty_tools_are_no_tools(tmp_path, empty):
    turns = [{"from": "human", "value": "A word for rain?"}, {"from": "gpt", "value": "Drizzle."}]
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"id": "e", "conversations": turns, "system": "", "tools": empty}))
    [task] = read_tasks(path, strict=True).tasks
    assert (task.tools, task.reference_text) == ([], "Drizzle.")


# -- objects --------------------------------------------------------------------------------------------------


def objects(kind):
    rows = [record(number) for number in range(2, 8)]
    if kind == "generator":
        return iter(rows)
    if kind == "columns":
        return columns([as_text(number) for number in range(2, 8)])
    if kind == "pyarrow":
        return pytest.importorskip("pyarrow").Table.from_pylist(rows)
    if kind == "pandas":
        return pytest.importorskip("pandas").DataFrame([as_text(number) for number in range(2, 8)])
    datasets = pytest.importorskip("datasets")
    found = datasets.Dataset.from_list(rows)
    return datasets.DatasetDict(train=found) if kind == "one split" else found


@pytest.mark.parametrize("kind", ["generator", "columns", "pyarrow", "pandas", "dataset", "one split"])
def test_python_objects_are_refined_as_files_are(kind):
    done = funreason.refine(objects(kind))
    assert sorted(result.id for result in done if result.kept) == IDS


def test_several_splits_of_objects_ask_which_one():
    with pytest.raises(DataError, match=r"splits \(train, test\).*records\['train'\]"):
        funreason.refine({"train": RECORDS, "test": RECORDS})


def test_an_object_that_is_no_record_is_refused_and_the_others_are_refined():
    done = funreason.refine([*RECORDS, 3, {"id": "x", "query": "q", "tools": object()}])
    assert len(done.kept) == len(RECORDS)
    assert done.refused == {"record.not_object": 2}


# -- custom keys ---------------------------------------------------------------------------------------------

OWN = {
    "number": 1,
    "text": "A table for 4.",
    "out": {"calls": [{"name": "book_table", "arguments": {"guests": 4}}]},
    "api": [TOOL],
}
MAP = {"query": "text", "tools": "api", "answers": "out.calls", "id": "number"}


def test_own_keys_are_read_by_an_input_map_with_dots_for_nested_ones(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(OWN))
    [task] = read_tasks(path, input_map=MAP).tasks
    assert (task.id, task.query, task.reference) == ("1", "A table for 4.", [Call("book_table", {"guests": 4})])


def test_a_mapped_key_that_no_record_has_is_named_with_those_there_are(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(OWN) + "\n" + json.dumps(OWN | {"number": 2}))
    with pytest.raises(
        DataError, match=r"answers=out\.call: no record has that key; the first has number, text, out, api"
    ):
        read_tasks(path, input_map=MAP | {"answers": "out.call"})


def test_a_key_that_some_records_lack_is_absent_there(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(OWN) + "\n" + json.dumps({"number": 2, "text": "A table.", "api": []}))
    reading = read_samples(path, input_map=MAP)
    assert [sample.id for sample in reading.samples] == ["1"]
    assert [refusal.reason for refusal in reading.refusals] == ["answer.missing"]


@pytest.mark.parametrize("text", ["query", "=text", "query=", "query=a,query=b", " "])
def test_a_map_that_cannot_be_read_is_refused_with_an_example(text):
    from funreason.data.normalising import parse_input_map

    with pytest.raises(DataError, match="--input-map"):
        parse_input_map(text)
    assert parse_input_map("query=text, tools=api") == {"query": "text", "tools": "api"}


@pytest.mark.parametrize("command", ["refine", "convert"])
def test_commands_take_an_input_map(tmp_path, command, capsys):
    from funreason.cli import main

    path, out = tmp_path / "t.jsonl", tmp_path / "out"
    path.write_text(json.dumps(OWN))
    keys = ",".join(f"{key}={name}" for key, name in MAP.items())
    more = ["--format", "xlam"] if command == "convert" else []
    with pytest.raises(SystemExit) as left:
        main([command, str(path), "--out", str(out), "--input-map", keys, *more])
    assert not left.value.code
    written = out / "refined-xlam.jsonl" if command == "refine" else out
    assert json.loads(written.read_text())["query"] == "A table for 4."


# -- memory ---------------------------------------------------------------------------------------------------


def peak_of(work):
    import gc
    import tracemalloc

    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


PADDED = TOOL | {"description": "Books a table. " * 600}


def long_file(path, count, layout):
    texts = (json.dumps(record(number, tools=[PADDED])) for number in range(count))
    with path.open("w") as file:
        for number, text in enumerate(texts):
            file.write(text + "\n" if layout == "lines" else ("[" if not number else ",\n") + text)
        file.write("]" if layout == "list" else "")
    return path


@pytest.mark.parametrize("layout", ["lines", "list"])
def test_memory_to_read_a_file_does_not_grow_with_its_records(tmp_path, layout):
    from collections import Counter

    from funreason.data.reading import each_sample

    files = [long_file(tmp_path / f"{count}.json", count, layout) for count in (400, 1_200)]
    small, large = (peak_of(lambda file=file: sum(1 for _ in each_sample(file, Counter()))) for file in files)
    grown = files[1].stat().st_size - files[0].stat().st_size
    assert large - small < 0.1 * grown


def test_memory_to_convert_a_file_does_not_grow_with_its_records(tmp_path):
    from collections import Counter

    from funreason.data.reading import each_whole
    from funreason.data.writers import convert

    files = [long_file(tmp_path / f"{count}.json", count, "lines") for count in (150, 500)]

    def converted(file):
        assert convert(each_whole(file, Counter()), "openai", file.with_suffix(".out"))[1] == []

    small, large = (peak_of(lambda file=file: converted(file)) for file in files)
    assert large - small < 0.1 * (files[1].stat().st_size - files[0].stat().st_size)


def test_memory_to_refine_a_file_does_not_grow_with_its_records(tmp_path):
    import asyncio

    from funreason.config import find_config, load_config
    from funreason.loops.refine import refine_file
    from funreason.record.folder import RunFolder
    from funreason.stop import StopRequest

    config = load_config(find_config("own-data"), {})
    files = [long_file(tmp_path / f"{count}.jsonl", count, "lines") for count in (20, 150, 400)]

    def refined(file):
        out = RunFolder(file.with_suffix(".out"))
        flow = asyncio.run(refine_file(config, file, out, StopRequest()))
        assert flow.ended == int(file.stem)

    # The first loads what is loaded once.
    _, small, large = (peak_of(lambda file=file: refined(file)) for file in files)
    assert large - small < 0.2 * (files[2].stat().st_size - files[1].stat().st_size)
