"""Suites, result files and the fetched data: what is read, written and refused."""

import hashlib
import importlib
import json
import subprocess
import zipfile

import pytest

from funreason.bfcl import BfclError, check, fetch, grammars, load_cases
from funreason.bfcl.scores import export_results, score_outputs
from funreason.bfcl.suites import validate_suite, write_suite
from funreason.types import Call, Task

DOC = {"name": "f", "parameters": {"type": "dict", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}


def question(case_id):
    return {"id": case_id, "question": [[{"role": "user", "content": "?"}]], "function": [DOC]}


def answer(case_id, value=1):
    return {"id": case_id, "ground_truth": [{"f": {"a": [value]}}]}


def write(path, entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in entries))


def suite(folder, ids=("multiple_0", "multiple_1"), name="HELD_multiple.json"):
    write(folder / name, [question(case_id) for case_id in ids])
    write(folder / "possible_answer" / name, [answer(case_id) for case_id in ids])
    return folder


def test_a_suite_of_any_prefix_takes_its_rules_from_the_end_of_its_name(tmp_path):
    suite(tmp_path)
    suite(tmp_path, ["p_0"], "mine_live_parallel_multiple.json")
    suite(tmp_path, ["s_0"], "BFCL_v3_simple.json")
    write(tmp_path / "BFCL_v4_multi_turn_base.json", ["not read"])
    found = {case.id: case.category for case in load_cases(tmp_path).values()}
    assert found == {
        "s_0": "simple_python",
        "multiple_0": "multiple",
        "multiple_1": "multiple",
        "p_0": "live_parallel_multiple",
    }
    assert check(load_cases(tmp_path / "HELD_multiple.json")["multiple_0"], "[f(a=1)]").valid


@pytest.mark.parametrize(
    ("questions", "answers", "words"),
    [
        ([question("m_0"), "{broken"], [answer("m_0")], ["X_multiple.json:2", "JSON"]),
        ([question("m_0"), "[1]"], [answer("m_0")], ["X_multiple.json:2", '"id"']),
        ([question("m_0"), question("m_0")], [answer("m_0")], ["X_multiple.json:2", "line 1 already"]),
        (
            [question("m_0"), question("m_1")],
            [answer("m_0")],
            ["possible_answer/X_multiple.json", "expected 2 answers"],
        ),
        ([question("m_0")], [answer("m_1")], ["possible_answer/X_multiple.json:1", "'m_0'", "'m_1'"]),
        ([question("m_0")], [{"id": "m_0", "ground_truth": [["f"]]}], ["X_multiple.json:1", "ground_truth"]),
        ([{"id": "m_0", "question": []}], [answer("m_0")], ["X_multiple.json:1", "'function'"]),
    ],
)
def test_faulty_suites_are_refused_with_file_and_line(tmp_path, questions, answers, words):
    write(tmp_path / "X_multiple.json", questions)
    write(tmp_path / "possible_answer" / "X_multiple.json", answers)
    with pytest.raises(BfclError) as caught:
        load_cases(tmp_path)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_suite_without_files_answers_or_a_known_category_is_refused(tmp_path):
    with pytest.raises(BfclError, match="no such file"):
        load_cases(tmp_path / "absent")
    with pytest.raises(BfclError, match="found none"):
        load_cases(tmp_path)
    write(tmp_path / "X_quintuple.json", [question("q_0")])
    with pytest.raises(BfclError, match=r"X_quintuple.json: its name must end with a category"):
        load_cases(tmp_path)
    (tmp_path / "X_quintuple.json").rename(tmp_path / "X_parallel.json")
    with pytest.raises(BfclError, match=r"possible answers to X_parallel\.json are expected here"):
        load_cases(tmp_path)
    (tmp_path / "X_parallel.json").write_bytes(b'{"id": "\xff"}')
    with pytest.raises(BfclError, match=r"X_parallel.json:1"):
        load_cases(tmp_path)


def test_ids_must_be_unique_over_the_files_of_a_suite(tmp_path):
    suite(suite(tmp_path), ["multiple_1"], "HELD_parallel.json")
    with pytest.raises(BfclError, match="another file"):
        load_cases(tmp_path)


@pytest.fixture
def held(tmp_path):
    return load_cases(suite(tmp_path / "suite"))


def test_results_make_the_round_trip_through_official_files(tmp_path, held):
    outputs = {"multiple_0": "[f(a=1)]", "multiple_1": "[f(a='\ud800')]"}
    [path] = export_results(tmp_path / "out", outputs, held)
    assert path.relative_to(tmp_path / "out").as_posix() == (
        "result/Qwen_Qwen3-8B/non_live/BFCL_v4_multiple_result.json"
    )
    assert [json.loads(line)["result"] for line in path.read_text().splitlines()] == list(outputs.values())
    scored = score_outputs(tmp_path / "out", held)
    assert {case_id: result.valid for case_id, result in scored.results.items()} == {
        "multiple_0": True,
        "multiple_1": False,
    }
    assert scored.scores.counts["multiple"] == (1, 2)
    with pytest.raises(BfclError, match="fresh folder"):
        export_results(tmp_path / "out", outputs, held)


def test_export_refuses_unknown_ids_and_categories_that_are_not_whole(tmp_path, held):
    with pytest.raises(BfclError, match="'x_0'"):
        export_results(tmp_path, {"x_0": ""}, held)
    with pytest.raises(BfclError, match="'multiple_1'"):
        export_results(tmp_path, {"multiple_0": ""}, held)
    assert export_results(tmp_path, {"multiple_0": ""}, held, partial=True)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([{"id": "multiple_0", "result": ""}], ["no line", "'multiple_1'"]),
        ([{"id": "multiple_0", "result": ""}] * 2, [":2", "line 1 already"]),
        ([{"id": "nobody_0", "result": ""}], [":1", "no case of multiple"]),
        ([{"id": "multiple_0"}], [":1", '"result"']),
        (["{", {"id": "multiple_0", "result": ""}], [":1", "JSON"]),
    ],
)
def test_faulty_result_files_are_refused_with_file_and_line(tmp_path, held, lines, words):
    write(tmp_path / "X_multiple_result.json", lines)
    with pytest.raises(BfclError) as caught:
        score_outputs(tmp_path, held)
    assert all(word in str(caught.value) for word in ["X_multiple_result.json", *words]), caught.value


def test_missing_results_are_counted_apart_when_partial_is_asked_for(tmp_path, held):
    write(tmp_path / "BFCL_v4_multiple_result.json", [{"id": "multiple_1", "result": [["a tool call object"]]}])
    scored = score_outputs(tmp_path, held, partial=True)
    assert scored.missing == ["multiple_0"]
    assert scored.results["multiple_1"].error_type == "ast_decoder:decoder_failed"
    assert scored.scores.counts["multiple"] == (0, 1)


def test_two_models_results_or_unknown_categories_are_refused(tmp_path, held):
    for model in ("one", "two"):
        write(tmp_path / model / "BFCL_v4_multiple_result.json", [{"id": "multiple_0", "result": ""}])
    with pytest.raises(BfclError, match="one model's folder at a time"):
        score_outputs(tmp_path, held)
    write(tmp_path / "new" / "BFCL_v9_other_result.json", [])
    with pytest.raises(BfclError, match="no known category"):
        score_outputs(tmp_path / "new", held)
    with pytest.raises(BfclError, match="found none"):
        score_outputs(tmp_path / "suite", held)


def tool(name, required=(), **properties):
    return {
        "name": name,
        "description": "",
        "parameters": {"type": "object", "properties": properties, "required": list(required)},
    }


NUMBER = {"type": "number"}
WEATHER = tool(
    "weather.get",
    ["city"],
    city={"type": "string"},
    days={"type": "integer", "default": 1},
    spots={"type": "array", "items": NUMBER},
    extra={"type": "object", "properties": {"k": NUMBER}},
    odd={"type": ["null", "integer"]},
)


def tasks():
    call = Call("weather.get", {"city": "Rome", "spots": [1, 2.5], "extra": {"k": 1}, "odd": 3})
    other = Call("weather.get", {"city": "Oslo", "days": 1})
    return [
        Task.of("a", "one", [WEATHER], [call]),
        Task.of("b", "choice", [WEATHER, tool("g")], [other]),
        Task.of("c", "two", [WEATHER], [call, other]),
        Task.of("d", "mixed", [WEATHER, tool("g")], [other, Call("g", {})]),
        Task.of("e", "none", [WEATHER], []),
    ]


def test_tasks_with_references_become_a_suite_that_scores_them(tmp_path):
    files = write_suite(tasks(), tmp_path, "MINE")
    assert len(files) == 9
    assert validate_suite(tmp_path) == []
    cases = load_cases(tmp_path)
    assert sorted(case.category for case in cases.values()) == [
        "irrelevance",
        "multiple",
        "parallel",
        "parallel_multiple",
        "simple_python",
    ]
    simple = cases["simple_python_0"]
    assert check(simple, "[weather.get(city='rome', spots=[1.0, 2.5], extra={'k': 1}, odd=3)]").valid
    assert check(simple, "[weather.get(city='rome', days=1, spots=[1.0, 2.5], extra={'k': 1}, odd=3)]").valid
    assert not check(simple, "[weather.get(city='rome', days=2, spots=[1.0, 2.5], extra={'k': 1}, odd=3)]").valid
    assert check(cases["multiple_0"], "[weather.get(city='Oslo')]").valid
    assert check(cases["irrelevance_0"], "No tool fits.").valid


def test_a_task_keeps_the_category_it_names_unless_that_cannot_hold_it(tmp_path):
    one = [Call("g", {})]
    named = {
        "live_simple": [tool("g")],
        "parallel": [tool("g")],
        "simple": [tool("g"), WEATHER],
        "irrelevance": [tool("g")],
    }
    write_suite([Task.of(name, "?", tools, one, category=name) for name, tools in named.items()], tmp_path)
    found = sorted(case.category for case in load_cases(tmp_path).values())
    assert found == ["live_simple", "multiple", "parallel", "simple_python"]
    assert validate_suite(tmp_path) == []


def test_tasks_that_cannot_be_scored_are_refused_by_name(tmp_path):
    with pytest.raises(BfclError, match="'x' has no reference"):
        write_suite([Task.of("x", "?", [WEATHER])], tmp_path)
    with pytest.raises(BfclError, match=r"'y'.*'nope'"):
        write_suite([Task.of("y", "?", [WEATHER], [Call("nope", {})])], tmp_path)
    with pytest.raises(BfclError, match="found none"):
        write_suite([], tmp_path)
    with pytest.raises(BfclError, match="another category"):
        write_suite(tasks(), tmp_path, "live")
    write_suite(tasks(), tmp_path / "twice")
    with pytest.raises(BfclError, match="already"):
        write_suite(tasks(), tmp_path / "twice")


def test_validating_names_what_the_official_command_would_stumble_over(tmp_path):
    broken = {**DOC, "parameters": {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a", "z"]}}
    write(tmp_path / "X_multiple.json", [{**question("m_0"), "function": [broken]}, question("m_1"), question("m_2")])
    answers = [answer("m_0"), {"id": "m_1", "ground_truth": [{"g": {}}]}, answer("m_2", "")]
    write(tmp_path / "possible_answer" / "X_multiple.json", answers)
    found = validate_suite(tmp_path)
    assert [problem.split(":")[0] for problem in found] == ["m_0", "m_0", "m_1", "m_2"]
    assert "'z' is required" in found[0]
    assert "'number'" in found[1]
    assert "calls 'g'" in found[2]
    assert "does not pass" in found[3]
    (tmp_path / "X_multiple.json").write_text("{")
    [problem] = validate_suite(tmp_path)
    assert "X_multiple.json:1" in problem


def test_a_wheel_with_another_checksum_is_refused_and_leaves_nothing_behind(tmp_path):
    wheel = tmp_path / "bfcl.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("bfcl_eval/data/BFCL_v4_multiple.json", "")
    with pytest.raises(BfclError, match=hashlib.sha256(wheel.read_bytes()).hexdigest()):
        fetch(wheel, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(BfclError, match="no such wheel"):
        fetch(tmp_path / "absent.whl", tmp_path / "cache")


def test_offline_the_message_says_how_to_bring_the_wheel(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(BfclError, match=r"fetch --wheel FILE"):
        fetch(cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_the_fetched_data_loading_says_which_command_fetches_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BfclError, match="funreason bfcl fetch"):
        load_cases()


def test_a_local_wheel_is_unpacked_without_the_network(tmp_path, monkeypatch):
    wheel, name = tmp_path / "bfcl.whl", "BFCL_v4_live_relevance.json"
    module = importlib.import_module("funreason.bfcl.cases")  # the package has a function of that name
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"bfcl_eval/data/{name}", json.dumps(question("r_0")))
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(module, "CATEGORIES", ("live_relevance",))
    monkeypatch.setattr(subprocess, "run", None)
    folder = fetch(wheel, tmp_path / "cache")
    assert [path.name for path in folder.iterdir()] == [name]
    assert fetch(tmp_path / "not needed any more", tmp_path / "cache") == folder
    assert load_cases(folder)["r_0"].category == "live_relevance"


def test_python_cases_need_no_grammar_and_others_say_which_one_to_install(tmp_path, monkeypatch):
    suite(tmp_path, ["s_0"], "X_simple.json")
    suite(tmp_path, ["j_0"], "X_java.json")
    cases = load_cases(tmp_path)
    monkeypatch.setitem(grammars.PINNED, "tree-sitter-java", "9.9")
    grammars._parser.cache_clear()
    assert check(cases["s_0"], "[f(a=1)]").valid
    with pytest.raises(BfclError, match=r"tree-sitter-java==9.9.*\n?.*funreason\[bfcl\]"):
        check(cases["j_0"], "[m.f(a=1, b=2)]")
    grammars._parser.cache_clear()
