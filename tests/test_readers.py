"""Readers account for every record: kept, or refused with its line and a reason."""

import gzip
import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funreason.calls.strict_json import JsonRefused, read_json
from funreason.data.reading import DataError, read_entries, read_samples, read_tasks
from funreason.data.writers import RecordsFile, as_xlam, write_records, write_sharegpt
from funreason.record.log import RecordError
from funreason.types import Call, Sample, Task

TOOL = {"name": "f", "description": "does f", "parameters": {"a": {"type": "int", "description": ""}}}


def xlam(name="t1", **changes):
    record = {
        "id": name,
        "query": "do f with 3",
        "tools": json.dumps([TOOL]),
        "answers": '[{"name": "f", "arguments": {"a": 3}}]',
    }
    return record | changes


def lines(path, *records):
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records), encoding="utf-8")
    return path


def reasons(reading):
    return [(refusal.line, refusal.reason) for refusal in reading.refusals]


SHAREGPT = {
    "id": "t1",
    "system": "Answer with calls.",
    "tools": json.dumps([TOOL]),
    "conversations": [
        {"from": "human", "value": "do f with 3"},
        {"from": "gpt", "value": "<think>f fits: a 3</think>\n\n[f(a=3)]"},
    ],
}
OPENAI = {
    "id": "t1",
    "tools": [{"type": "function", "function": TOOL}],
    "messages": [
        {"role": "system", "content": "Answer with calls."},
        {"role": "user", "content": "do f with 3"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 3}'}}]},
    ],
}


@pytest.mark.parametrize(
    "record", [xlam(), xlam(tools=[TOOL], answers=[{"name": "f", "arguments": {"a": 3}}]), SHAREGPT, OPENAI]
)
def test_one_task_in_four_forms_reads_as_one_task(tmp_path, record):
    [task] = read_tasks(lines(tmp_path / "t.jsonl", record)).tasks
    assert (task.id, task.query, task.reference) == ("t1", "do f with 3", [Call("f", {"a": 3})])
    assert task.tools[0]["parameters"]["properties"]["a"]["type"] == "integer"


def test_bfcl_questions_find_their_answers_beside_them(tmp_path):
    question = {"id": "simple_python_0", "question": [[{"role": "user", "content": "do f with 3"}]], "function": [TOOL]}
    other = {"id": "irrelevance_0", "question": [[{"role": "user", "content": "sing"}]], "function": [TOOL]}
    (tmp_path / "possible_answer").mkdir()
    truth = {"id": "simple_python_0", "ground_truth": [{"f": {"a": [3, "3"], "b": ["", 1], "c": [{"k": [2]}]}}]}
    lines(tmp_path / "possible_answer" / "BFCL_v4_simple.json", truth)
    reading = read_tasks(lines(tmp_path / "BFCL_v4_simple.json", question, other))
    assert [task.reference for task in reading.tasks] == [[Call("f", {"a": 3, "c": {"k": 2}})], []]
    assert [task.category for task in reading.tasks] == ["simple_python", "irrelevance"]


def test_a_dialogue_is_carried_as_its_messages(tmp_path):
    turns = [
        {"role": "user", "content": "I need f."},
        {"role": "assistant", "content": "With what?"},
        {"role": "user", "content": "3"},
    ]
    [task] = read_tasks(lines(tmp_path / "t.jsonl", OPENAI | {"messages": turns})).tasks
    assert [(message.role, message.content) for message in task.messages] == [
        ("user", "I need f."),
        ("assistant", "With what?"),
        ("user", "3"),
    ]
    assert (task.query, task.reference) == ("I need f.\n3", None)


def test_prose_as_an_answer_means_that_no_call_is_right(tmp_path):
    talk = [{"from": "human", "value": "sing"}, {"from": "gpt", "value": "I have no tool for that."}]
    path = lines(tmp_path / "t.jsonl", SHAREGPT | {"conversations": talk})
    [task] = read_tasks(path).tasks
    assert (task.reference, task.reference_text) == ([], "I have no tool for that.")
    assert read_samples(path).samples[0].answer == "I have no tool for that."


@pytest.mark.parametrize("required", [[["a"], {"b": 1}, None, 3, "a"], [[]] * 3 + ["a", "gone"]])
def test_only_the_names_among_a_schemas_required_count(tmp_path, required):
    parameters = {"type": "object", "properties": {"a": {"type": "int"}}, "required": required}
    path = lines(tmp_path / "t.jsonl", xlam("t1", tools=[TOOL | {"parameters": parameters}]), xlam("t2"))
    [first, second] = read_tasks(path).tasks
    assert first.tools[0]["parameters"]["required"] == ["a"]
    assert second.id == "t2"


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz", ".json.gz"])
def test_lines_and_lists_packed_or_not_read_alike(tmp_path, suffix):
    records = [xlam("t1"), xlam("t2")]
    text = (
        json.dumps(records, indent=1)
        if suffix.startswith(".json.") or suffix == ".json"
        else "\n".join(map(json.dumps, records))
    )
    path = tmp_path / f"t{suffix}"
    data = b"\xef\xbb\xbf" + text.encode()
    path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    assert [task.id for task in read_tasks(path, strict=True).tasks] == ["t1", "t2"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("{broken", "json.broken"),
        ("[1, 2]", "record.not_object"),
        ('{"id": "x", "id": "y"}', "json.repeated_key"),
        (json.dumps(xlam("x", score=float("nan"))), "json.not_finite"),
        ('{"id": "x", "query": 1e400}', "json.not_finite"),
        ('{"id": "x", "query": "\\ud800", "tools": []}', "json.surrogate"),
        ('{"id": "x", "query": "a\\u0000b", "tools": []}', "json.null_byte"),
        ('{"id": "x", "query": "q", "tools": ' + "[" * 200 + "]" * 200 + "}", "json.too_deep"),
        ('{"id": "x", "query": "' + "y" * 1_000_001 + '"}', "record.too_large"),
        ({"id": "x", "text": "hello"}, "record.unknown_format"),
        (xlam("x", query="  "), "query.empty"),
        (xlam("x", query=None), "query.bad"),
        (xlam("x", query=["a"]), "query.bad"),
        (xlam(["x"]), "id.bad"),
        (xlam("x", tools="[{"), "tools.broken"),
        (xlam("x", tools="[3]"), "tools.bad"),
        (xlam("x", tools=json.dumps([TOOL, TOOL | {"description": "does another"}])), "tools.bad"),
        (xlam("x", answers="f(a=3)"), "answers.broken"),
        (xlam("x", answers='[{"Action": "f"}]'), "answers.not_calls"),
        (xlam("x", cot=3), "cot.bad"),
        (xlam("t1"), "id.duplicate"),
        (SHAREGPT | {"id": "x", "conversations": []}, "query.empty"),
        (SHAREGPT | {"id": "x", "conversations": [{"from": "gpt", "value": "hi"}]}, "query.empty"),
        (SHAREGPT | {"id": "x", "conversations": ["hi"]}, "query.bad"),
        (OPENAI | {"id": "x", "messages": [{"content": "hi"}]}, "query.bad"),
        ({"id": "x", "question": 3, "function": []}, "query.bad"),
    ],
)
def test_a_bad_record_is_refused_with_its_line_and_the_rest_is_kept(tmp_path, record, reason):
    path = lines(tmp_path / "t.jsonl", xlam("t1"), record, xlam("t3"))
    reading = read_tasks(path)
    assert [task.id for task in reading.tasks] == ["t1", "t3"]
    assert reasons(reading) == [(2, reason)]
    assert f"2 kept, 1 refused ({reason} 1, first at line 2)" in reading.summary()
    with pytest.raises(DataError, match=rf"line 2.*{reason}"):
        read_tasks(path, strict=True)


def test_a_line_that_is_not_utf8_costs_that_line_only(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(json.dumps(xlam("t1")).encode() + b'\n{"id": "\xff"}\n' + json.dumps(xlam("t3")).encode())
    reading = read_tasks(path)
    assert len(reading.tasks) == 2
    assert reasons(reading) == [(2, "text.not_utf8")]


def test_one_record_written_over_several_lines_is_read(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(xlam("t1"), indent=2))
    assert [task.id for task in read_tasks(path, strict=True).tasks] == ["t1"]


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_damaged_file_is_read_as_far_as_it_goes_or_refused_as_a_whole(tmp_path_factory, data):
    text = json.dumps([xlam("t1"), xlam("t2"), xlam("t3")], indent=1).encode()
    packed = data.draw(st.booleans())
    content = bytearray(gzip.compress(text, mtime=0) if packed else text)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / ("any.json.gz" if packed else "any.json")
    path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    with suppress(DataError):
        assert len(read_tasks(path).tasks) <= 3


def test_a_list_cut_short_keeps_what_came_before(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps([xlam("t1"), xlam("t2"), xlam("t3")], indent=1)[:-80])
    reading = read_tasks(path)
    assert [task.id for task in reading.tasks] == ["t1", "t2"]
    assert [refusal.reason for refusal in reading.refusals] == ["json.broken"]


@pytest.mark.parametrize("name", ["t.jsonl.gz", "t.json.gz"])
def test_a_truncated_gzip_keeps_what_could_be_unpacked(tmp_path, name):
    records = [xlam(f"t{i}", query=f"do f with {i} {hash(str(i))}") for i in range(2000)]
    text = json.dumps(records) if name == "t.json.gz" else "\n".join(map(json.dumps, records))
    (tmp_path / name).write_bytes(gzip.compress(text.encode())[:-3000])
    reading = read_tasks(tmp_path / name)
    assert 0 < len(reading.tasks) < 2000
    assert [refusal.reason for refusal in reading.refusals] == ["file.truncated"]


def _wrong_checksum(packed):
    return packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]


@pytest.mark.parametrize("damage", [_wrong_checksum, lambda packed: packed + b"garbage", lambda packed: packed[:-4]])
@pytest.mark.parametrize("name", ["t.jsonl.gz", "t.json.gz"])
@pytest.mark.parametrize("count", [1, 40, 1500])
def test_a_gzip_damaged_at_its_end_keeps_its_records_and_tells_the_damage(tmp_path, name, count, damage):
    records = [xlam(f"t{i}") for i in range(count)]
    text = json.dumps(records, indent=1) if name == "t.json.gz" else "".join(json.dumps(r) + "\n" for r in records)
    packed = damage(gzip.compress(text.encode()))
    (tmp_path / name).write_bytes(packed)
    reading = read_tasks(tmp_path / name)
    assert [task.id for task in reading.tasks] == [f"t{i}" for i in range(count)]
    ends_early = len(packed) < len(gzip.compress(text.encode()))
    [(line, reason)] = reasons(reading)
    assert reason == ("file.truncated" if ends_early else "file.damaged")
    assert line == text.count("\n") + 1


def test_a_gzip_damaged_in_the_middle_keeps_what_came_before(tmp_path):
    texts = ["".join(json.dumps(xlam(f"t{k}/{i}")) + "\n" for i in range(2000)) for k in range(2)]
    first, second = (gzip.compress(text.encode()) for text in texts)
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(first + second[:20] + b"\xff" * 40 + second[60:])
    reading = read_tasks(path)
    assert len(reading.tasks) >= 2000
    assert reading.refusals[-1].reason == "file.damaged"
    with pytest.raises(DataError, match=r"line \d+: "):
        read_tasks(path, strict=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"[]", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"{broken\n", "0 kept, 1 refused"),
        (b'{"id": "x"}\n', "record.unknown_format"),
    ],
)
def test_a_file_with_nothing_usable_is_an_error_that_says_why(tmp_path, content, said):
    for name in ("t.jsonl", "t.json"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_tasks(tmp_path / "t.json")


def test_what_is_no_file_is_an_error_that_says_why(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_tasks(tmp_path / "gone.jsonl")
    with pytest.raises(DataError, match="is a folder"):
        read_tasks(tmp_path)
    (tmp_path / "t.gz").write_text("plain")
    with pytest.raises(DataError, match="gzip"):
        read_tasks(tmp_path / "t.gz")
    with pytest.raises(DataError, match="choose one of auto, xlam"):
        read_tasks(lines(tmp_path / "t.jsonl", xlam()), format="csv")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
keys = st.sampled_from(
    "id query tools answers cot response conversations messages question function category flags".split()
)


# A bracket alone on its line may open a record of several lines.
broken_lines = st.binary(max_size=30).filter(lambda line: line.replace(b"\n", b"").strip() not in (b"{", b"["))


@given(st.lists(st.dictionaries(keys, json_values, max_size=6) | broken_lines, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_no_record_makes_the_reader_raise_and_none_vanishes(tmp_path_factory, records):
    # The first line makes these JSON lines: a file that begins as a zip archive does is one.
    written = [json.dumps(xlam("first")).encode()]
    written += [r.replace(b"\n", b"") if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(b"\n".join(written))
    entries = list(read_entries(path))
    assert all((entry.read is None) != (entry.refusal is None) for entry in entries)
    assert [entry.line for entry in entries] == [
        i for i, r in enumerate(written, 1) if r.removeprefix(b"\xef\xbb\xbf").strip()
    ]


def test_each_malformed_record_becomes_a_task_or_a_refusal(shared_data):
    path = shared_data / "real" / "nasty.jsonl"
    tasks, samples = read_tasks(path), read_samples(path)
    assert len(tasks.tasks) + len(tasks.refusals) == 254
    assert len(samples.samples) + len(samples.refusals) == 254
    assert {refusal.line for refusal in tasks.refusals}.isdisjoint({0})
    msgspec.json.encode(tasks)


def test_every_real_record_is_read(shared_data):
    tasks = read_tasks(shared_data / "real" / "open-dev.jsonl.gz", strict=True).tasks
    assert len(tasks) == 2204
    assert sum(task.reference_thinking is not None for task in tasks) == 261
    assert sum(task.reference == [] for task in tasks) == 17


def test_samples_of_real_records_forget_their_reference(shared_data):
    reading = read_samples(shared_data / "real" / "open-dev.jsonl.gz")
    assert len(reading.samples) + len(reading.refusals) == 2204
    assert not reading.refusals
    assert all(sample.task.reference is None and sample.origin == "reference" for sample in reading.samples)


def test_a_record_without_an_answer_is_no_sample(tmp_path):
    record = xlam("t1")
    del record["answers"]
    reading = read_samples(lines(tmp_path / "t.jsonl", record, xlam("t2")))
    assert [sample.id for sample in reading.samples] == ["t2"]
    assert reasons(reading) == [(1, "answer.missing")]
    assert reading.refusals[0].where == "line 1 (id t1)"


KEPT = [
    Sample.of(
        "s1",
        Task.of("s1", "do f", [TOOL | {"parameters": {"type": "object", "properties": {}, "required": []}}]),
        "[f()]",
        "f fits",
    ),
    Sample.of("s2", Task.of("s2", "sing “ü”", []), "No tool here."),
]


def write_xlam(path, samples):
    return write_records(path, map(as_xlam, samples))


@pytest.mark.parametrize(
    ("write", "name"), [(write_sharegpt, "k.json"), (write_sharegpt, "k.jsonl"), (write_xlam, "k.jsonl")]
)
def test_what_is_written_reads_back_as_the_same_samples(tmp_path, write, name):
    assert write(tmp_path / name, KEPT) == 2
    back = read_samples(tmp_path / name, strict=True).samples
    assert [(s.id, s.task.query, s.task.tools, s.answer, s.thinking) for s in back] == [
        (s.id, s.task.query, s.task.tools, s.answer, s.thinking) for s in KEPT
    ]
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("name", ["k.json", "k.jsonl"])
def test_a_file_of_records_has_its_name_only_once_it_is_whole(tmp_path, name):
    path = tmp_path / name

    def broken_off():
        yield {"id": 1}
        raise KeyError

    with pytest.raises(KeyError):
        write_records(path, broken_off())
    assert not path.exists()
    with RecordsFile(path) as file:
        file.put({"id": 2})
        assert not path.exists()
    text = path.read_text()
    assert (json.loads(text) if name == "k.json" else [json.loads(text)]) == [{"id": 2}]
    assert list(tmp_path.iterdir()) == [path]


def test_half_a_character_is_written_as_a_sign_that_a_file_can_hold(tmp_path):
    assert write_records(tmp_path / "k.jsonl", [{"id": "a\ud800b"}, {"id": "ü"}]) == 2
    assert [json.loads(line)["id"] for line in (tmp_path / "k.jsonl").read_text().splitlines()] == ["a\ufffdb", "ü"]


def test_records_that_cannot_be_written_name_the_file(tmp_path):
    (tmp_path / "here").write_text("no folder")
    with pytest.raises(RecordError, match=r"here/k.jsonl.part cannot be written"):
        write_records(tmp_path / "here" / "k.jsonl", [{"id": 1}])


def test_a_byte_order_mark_inside_a_record_is_named():
    with pytest.raises(JsonRefused, match="byte-order mark"):
        read_json("\ufeff[]")
