"""`funreason eval` and `funreason bfcl`: what is asked, what is scored, what is refused and in which words."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from tiny import tiny_model, tiny_tokenizer

from funreason.bfcl import BfclError, grammars, load_cases
from funreason.bfcl.cases import Case, case_task, hinted, prompt_messages
from funreason.bfcl.suites import solution
from funreason.cli import main
from funreason.evaluation import answers as evaluation
from funreason.evaluation.answers import answer_cases, cut_thinking, prompter, read_answers
from funreason.policies.huggingface.sampler import HuggingFaceSampler
from funreason.policies.model_files import save_model
from funreason.policies.prompts import prompt_text
from funreason.policies.protocol import Completion

DOC = {"name": "f", "parameters": {"type": "dict", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}
IDS = [f"multiple_{i}" for i in range(8)] + ["irrelevance_0", "irrelevance_1"]


def lines(path: Path, entries) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{entry if isinstance(entry, str) else json.dumps(entry)}\n" for entry in entries))
    return path


def question(case_id, text="Do it"):
    return {"id": case_id, "question": [[{"role": "user", "content": text}]], "function": [DOC]}


def answers(ids, *, a=1):
    return [{"id": i, "ground_truth": [{"f": {"a": [a]}}]} for i in ids]


def result_tree(folder: Path, right=10**6, irrelevance=IDS[8:]) -> Path:
    """An official-form tree for the suite; the first `right` calls are right ones."""
    calls = [{"id": i, "result": f"[f(a={1 if place < right else 2})]"} for place, i in enumerate(IDS[:8])]
    lines(folder / "result/m/non_live/BFCL_v4_multiple_result.json", calls)
    lines(
        folder / "result/m/non_live/BFCL_v4_irrelevance_result.json", [{"id": i, "result": "No."} for i in irrelevance]
    )
    return folder


@pytest.fixture
def suite(tmp_path) -> Path:
    """Eight cases that want `[f(a=1)]` and two that want no call."""
    folder = tmp_path / "suite"
    lines(folder / "MINE_multiple.json", map(question, IDS[:8]))
    lines(folder / "possible_answer/MINE_multiple.json", answers(IDS[:8]))
    lines(folder / "MINE_irrelevance.json", map(question, IDS[8:]))
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A random model with room for 512 tokens."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_model(tiny_model(), tiny_tokenizer(), folder)
    return folder


@pytest.fixture
def funreason(capsys):
    """Run a command in this process: exit code, output and errors."""

    def run(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return ended.value.code, *capsys.readouterr()

    return run


class Scripted:
    """A sampler that says what it is told, and remembers whom it was asked for."""

    weights_id = "scripted"

    def __init__(self, says: str) -> None:
        self.says, self.asked = says, []

    def too_long(self, request) -> bool:
        return len(request.prompt) > 1_000

    def sample(self, requests):
        self.asked += [request.id for request in requests]
        return [[Completion(self.says, 3, False)] for _ in requests]


def test_the_prompt_says_everything_in_one_system_message_before_the_dialogue(suite):
    case = load_cases(suite)["multiple_0"]
    dialogue = [
        {"role": "system", "content": "Be kind."},
        *[{"role": role, "content": role} for role in ("user", "assistant", "user")],
    ]
    system, *rest = prompt_messages(Case("x", "live_multiple", [dialogue], case.functions, None))
    assert rest == dialogue[1:]
    before, _, after = system["content"].partition(json.dumps(hinted(case), indent=4))
    assert before
    assert after == "\n\nBe kind."


def test_a_message_that_is_none_is_named_with_its_case():
    with pytest.raises(BfclError, match=r"'x'.*role"):
        prompt_messages(Case("x", "irrelevance", [[{"role": "user", "content": 3}]], [DOC], None))


@pytest.mark.parametrize("style", ["bfcl", "native"])
def test_a_function_that_is_none_is_named_with_its_case(style):
    with pytest.raises(BfclError, match="'x'"):
        prompter(style, tiny_tokenizer())(Case("x", "irrelevance", [[]], [3], None))


@pytest.mark.parametrize(
    ("category", "language"), [("multiple", "Python 3"), ("simple_java", "SDK 8"), ("simple_javascript", "JavaScript")]
)
def test_functions_name_their_language_and_other_languages_pass_source_text(category, language):
    kinds = {"a": {"type": "ArrayList", "description": "All.", "items": {"type": "long"}}, "b": {"type": "boolean"}}
    doc = {"name": "f", "description": "Does.", "parameters": {"type": "dict", "properties": kinds, "required": ["a"]}}
    before = json.dumps(doc)
    (shown,) = hinted(Case("x", category, [[]], [doc], None))
    properties = shown["parameters"]["properties"]
    assert language in shown["description"]
    if category == "multiple":
        assert properties == kinds
    else:
        assert [schema["type"] for schema in properties.values()] == ["string", "string"]
        assert "items" not in properties["a"]
        assert "ArrayList" in properties["a"]["description"]
        assert "long" in properties["a"]["description"]
    assert json.dumps(doc) == before


def test_a_suite_of_ones_own_is_asked_as_the_gate_asks_it(suite):
    tokenizer = tiny_tokenizer()
    for case in load_cases(suite).values():
        for style in ("native", "text"):
            assert prompter(style, tokenizer)(case) == prompt_text(case_task(case), tokenizer, style=style)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("<think>a</think>\n\n[f(a=1)]", "[f(a=1)]"),
        ("a</think>b</think>c", "c"),
        ("<think>a", "<think>a"),
        ("[]", "[]"),
    ],
)
def test_everything_up_to_the_last_closing_tag_is_cut(text, kept):
    assert cut_thinking(text) == kept


def test_answers_go_on_by_id_and_a_torn_line_is_owed_again(suite, tmp_path):
    cases, path = list(load_cases(suite).values()), tmp_path / "outputs.jsonl"
    whole = answer_cases(Scripted("<think>x</think>\n\n[f(a=1)]"), lambda case: case.id, cases, path)
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[:4]) + kept[4][:20])
    again, heard = Scripted("<think>x</think>\n\n[f(a=1)]"), []
    assert answer_cases(again, lambda case: case.id, cases, path, heard.append) == whole == read_answers(path)
    assert again.asked == [case.id for case in cases[4:]]
    assert sum(heard) == len(cases)
    assert {answer.output for answer in whole.values()} == {"[f(a=1)]"}


def test_an_interrupted_evaluation_keeps_what_is_answered(suite, model, tmp_path, funreason, monkeypatch):
    command = ["eval", "--model", model, "--suite", suite, "--out", tmp_path, "--max-new-tokens", "2"]
    answer, calls = HuggingFaceSampler.sample, []

    def interrupted(self, requests):
        calls.append(len(requests))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return answer(self, requests)

    monkeypatch.setattr(evaluation, "CHUNK", 4)
    monkeypatch.setattr(HuggingFaceSampler, "sample", interrupted)
    code, _, error = funreason(*command)
    assert code == 130
    assert "the same command continues" in error
    assert len(read_answers(tmp_path / "outputs.jsonl")) == 4
    code, _, error = funreason("eval", "--outputs", tmp_path)
    assert code == 1
    assert "4 cases have no output, the first is 'multiple_4'" in error
    assert funreason(*command)[0] == 0
    assert calls == [4, 4, 4, 2]


def test_a_prompt_that_does_not_fit_is_an_empty_output_and_not_asked(suite, tmp_path):
    cases, sampler = list(load_cases(suite).values())[:2], Scripted("[f(a=1)]")
    found = answer_cases(
        sampler, lambda case: "x" * (2_000 if case is cases[0] else 2), cases, tmp_path / "outputs.jsonl"
    )
    assert sampler.asked == [cases[1].id]
    assert (found[cases[0].id].output, found[cases[0].id].fits) == ("", False)


def test_a_model_is_scored_saved_and_taken_up_again(suite, model, tmp_path, funreason):
    lines(suite / "MINE_irrelevance.json", [question(IDS[8]), question(IDS[9], "long " * 200)])
    command = ["eval", "--model", model, "--suite", suite, "--out", tmp_path / "out", "--max-new-tokens", "8"]
    code, said, _ = funreason(*command, "--limit", "3")
    assert code == 0
    assert "quick look" in said
    code, said, _ = funreason(*command, "--export", tmp_path / "tree")
    assert code == 0
    assert "1 prompts left no room" in said
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    rows = {row["name"]: row for row in scores["rows"]}
    assert (rows["multiple"]["total"], rows["multiple"]["percent"]) == (8, 0.0)
    assert rows["simple_python"]["percent"] is rows["Non-Live AST"]["percent"] is None
    assert scores["prompt"] == "native"
    shown = [(tmp_path / "out/scores.md").read_text(), said]
    assert not any(name in text for text in shown for name in ("not run", "simple_python", "Irrelevance", "Overall"))
    assert all("right (" in text and "95 % interval" in text for text in shown)
    assert len(read_answers(tmp_path / "out/outputs.jsonl")) == len(load_cases(suite)) == 10
    verdicts = [json.loads(line) for line in (tmp_path / "out/verdicts.jsonl").read_text().splitlines()]
    assert {v["valid"] for v in verdicts if v["category"] == "multiple"} == {False}
    code, again, _ = funreason("eval", "--outputs", tmp_path / "tree", "--suite", suite)
    assert code == 0
    tables = [[line for line in text.splitlines() if line.startswith(("multiple", "irrel"))] for text in (said, again)]
    assert tables[0] == tables[1]
    assert len(tables[0]) == 2
    code, _, error = funreason(*command[:-1], "9")
    assert code == 1
    assert "max_new_tokens was 8 and is now 9" in error


def test_a_category_that_was_asked_and_has_no_answer_is_not_run_and_others_have_no_row(suite, tmp_path, funreason):
    tree = result_tree(tmp_path / "tree")
    (tree / "result/m/non_live/BFCL_v4_irrelevance_result.json").unlink()
    command = ["eval", "--outputs", tree, "--suite", suite]
    said = {name: funreason(*command, *more)[1] for name, more in (("all", ()), ("one", ("--categories", "multiple")))}
    rows = {name: [row.split()[0] for row in text.splitlines()[2:4]] for name, text in said.items()}
    assert rows["all"] == ["multiple", "irrelevance"]
    assert "not run" in said["all"]
    assert rows["one"][0] == "multiple"
    assert "irrelevance" not in said["one"]
    assert "8 of 8 right (100.0 %, 95 % interval 67.6 to 100.0)" in said["one"]


def test_existing_outputs_are_scored_and_compared(suite, tmp_path, funreason):
    old, new = result_tree(tmp_path / "old", right=1), result_tree(tmp_path / "new", right=8)
    code, said, _ = funreason("eval", "--outputs", old, "--suite", suite, "--out", tmp_path / "scores", "--live", "v3")
    assert code == 0
    assert "3 of 10 right" in said
    assert json.loads((tmp_path / "scores/scores.json").read_text())["errors"] == {"value_error:others": 7}
    code, said, _ = funreason("eval", "--compare", old, new, "--suite", suite, "--out", tmp_path / "scores")
    assert code == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "scores/comparison.json").read_text())["rows"]}
    assert (rows["multiple"]["gained"], rows["multiple"]["lost"], rows["multiple"]["p"]) == (7, 0, 2 / 2**7)
    assert rows["multiple"]["significant"]
    assert not rows["irrelevance"]["significant"]
    assert [line.split()[-1] for line in said.splitlines() if line.startswith(("multiple", "irrelevance"))] == [
        "yes",
        "no",
    ]


def test_cases_that_only_one_of_two_results_answers_are_refused_or_counted(suite, tmp_path, funreason):
    old, new = result_tree(tmp_path / "old"), result_tree(tmp_path / "new", irrelevance=IDS[8:9])
    code, _, error = funreason("eval", "--compare", old, new, "--suite", suite)
    assert code == 1
    assert "1 cases are answered in one of" in error
    code, said, _ = funreason("eval", "--compare", old, new, "--suite", suite, "--partial")
    assert code == 0
    assert "1 cases that only one of them answers are left out" in said


NON_LIVE = "result/m/non_live"
MULTIPLE = f"{NON_LIVE}/BFCL_v4_multiple_result.json"


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        (MULTIPLE, lambda rows: rows[1:], ["1 cases of multiple have no line", "'multiple_0'"]),
        (MULTIPLE, lambda rows: [*rows, rows[2]], ["multiple_result.json:9", "'multiple_2' is on line 3 already"]),
        (
            MULTIPLE,
            lambda rows: [{"id": "stranger", "result": ""}, *rows],
            ["multiple_result.json:1", "'stranger' is no case"],
        ),
        (MULTIPLE, lambda rows: [*rows[:-1], '{"id": "multiple_7", "res'], ["multiple_result.json:8", "JSON"]),
        (MULTIPLE, lambda rows: [*rows[:-1], {"id": "multiple_7"}], ["multiple_result.json:8", '"result"']),
        (f"{NON_LIVE}/BFCL_v4_guessing_result.json", lambda rows: rows, ["no known category in its name"]),
    ],
    ids=["missing", "doubled", "unknown", "not json", "no result", "unknown category"],
)
def test_results_that_cannot_be_trusted_are_named_and_never_scored_as_wrong(
    suite, tmp_path, funreason, file, change, words
):
    tree = result_tree(tmp_path / "tree")
    rows = [json.loads(line) for line in (tree / MULTIPLE).read_text().splitlines()]
    lines(tree / file, change(rows))
    code, said, error = funreason("eval", "--outputs", tree, "--suite", suite)
    assert code == 1
    assert not said
    assert all(word in error for word in words), error


def test_missing_answers_are_counted_where_that_is_asked_for(suite, tmp_path, funreason):
    tree = result_tree(tmp_path / "tree", irrelevance=[])
    code, said, _ = funreason("eval", "--outputs", tree, "--suite", suite, "--partial")
    assert code == 0
    assert "8 of 8 right" in said
    assert ["irrelevance", "not", "run"] in [line.split() for line in said.splitlines()]
    code, said, _ = funreason(
        "eval", "--outputs", tree, "--suite", suite, "--partial", "--categories", "multiple,irrelevance"
    )
    assert "2 cases have no output and are left out" in said


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (
            lambda suite: lines(suite / "possible_answer/MINE_multiple.json", answers(IDS[1:8])),
            ["MINE_multiple.json:1", "expected the answer to 'multiple_0'"],
        ),
        (
            lambda suite: lines(suite / "possible_answer/MINE_multiple.json", answers(IDS[:7])),
            ["expected 8 answers", "found 7"],
        ),
        (lambda suite: lines(suite / "MINE_multiple.json", ["nonsense"]), ["MINE_multiple.json:1", "JSON"]),
        (
            lambda suite: (suite / "possible_answer/MINE_multiple.json").unlink(),
            ["possible answers to MINE_multiple.json"],
        ),
        (lambda suite: lines(suite / "MINE_chatting.json", []), ["must end with a category"]),
    ],
    ids=["misaligned", "short", "not json", "no answers", "unknown category"],
)
@pytest.mark.parametrize("command", [["eval", "--outputs"], ["bfcl", "validate"]], ids=["eval", "validate"])
def test_a_suite_that_does_not_hold_together_is_named_with_file_and_line(
    suite, tmp_path, funreason, command, break_it, words
):
    break_it(suite)
    tree = result_tree(tmp_path / "tree")
    code, said, error = funreason(*command, *([tree, "--suite", suite] if command[0] == "eval" else [suite]))
    assert code == 1
    assert all(word in said + error for word in words), said + error


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--categories", "multiple,guessing"], "no category 'guessing'; it has multiple, irrelevance"),
        (["--limit", "0"], "at least 1"),
        (["--export", "tree", "--limit", "1"], "8 cases would be missing"),
        (["--suite", "no-such-suite"], "expected bfcl-v4"),
        (["--suite", "toolbox:nope"], "new_gate"),
        (["--model", "ftp://example.org/v1"], "expected the base address of a server"),
        (["--outputs", "a", "--compare", "a", "b"], "give one of them"),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused_before_a_model_is_loaded(
    suite, tmp_path, funreason, monkeypatch, options, word
):
    monkeypatch.chdir(tmp_path)
    given = [] if "--suite" in options else ["--suite", suite]
    code, _, error = funreason("eval", *given, *options)
    assert code == 2
    assert word in error


def test_answers_that_were_tampered_with_are_named(suite, model, tmp_path, funreason):
    out = tmp_path / "out"
    command = ["eval", "--model", model, "--suite", suite, "--out", out, "--max-new-tokens", "2", "--limit", "1"]
    assert funreason(*command)[0] == 0
    path = out / "outputs.jsonl"
    good = path.read_text()
    for bad, word in (
        ("nonsense\n", ":3: expected an answer"),
        (good.splitlines(keepends=True)[0], ":3: the id 'multiple_0' is on an earlier line"),
        ('{"id": "x", "output": ""}\n', "the first is 'x'"),
    ):
        path.write_text(good + bad)
        code, _, error = funreason("eval", "--outputs", out, "--partial")
        assert code == 1
        assert word in error
    path.write_text(good)
    (out / "eval.json").write_text("nonsense")
    for arguments in (command, ["eval", "--outputs", out], ["eval", "--compare", out, out]):
        code, _, error = funreason(*arguments)
        assert code == 1
        assert "eval.json: expected what made these results" in error
    shutil.move(out / "eval.json", tmp_path)
    code, _, error = funreason(*command)
    assert code == 1
    assert "no eval.json" in error


@pytest.mark.parametrize("name", ["cats.feed", "8DJIZ3", "feed-cats"])
def test_records_become_a_suite_that_their_own_answers_solve(name, tmp_path, funreason):
    tool = {
        "name": name,
        "description": "Feeds.",
        "parameters": {"cats": {"type": "int", "description": "How many."}},
    }
    rows = [
        {
            "id": i,
            "query": f"Feed {i} cats",
            "tools": json.dumps([tool]),
            "answers": json.dumps([{"name": name, "arguments": {"cats": i}}]),
        }
        for i in range(3)
    ]
    file = lines(tmp_path / "held.jsonl", [*rows, {k: v for k, v in rows[0].items() if k != "answers"} | {"id": 9}])
    code, said, error = funreason("bfcl", "make", file, "--out", tmp_path / "mine", "--prefix", "CATS")
    assert code == 0, error
    assert "1 left out" in said
    assert "fine, 3 cases" in said
    cases = load_cases(tmp_path / "mine")
    tree = tmp_path / "tree"
    lines(tree / "CATS_simple_python_result.json", [{"id": i, "result": solution(case)} for i, case in cases.items()])
    code, said, _ = funreason("eval", "--outputs", tree, "--suite", tmp_path / "mine")
    assert "3 of 3 right" in said
    code, _, error = funreason("bfcl", "make", file, "--out", tmp_path / "mine", "--prefix", "CATS")
    assert code == 1
    assert "there is a suite already" in error


def test_a_case_that_its_own_answer_does_not_solve_is_found(suite, funreason):
    lines(suite / "possible_answer/MINE_multiple.json", [*answers(IDS[:7]), *answers(IDS[7:8], a="")])
    code, said, _ = funreason("bfcl", "validate", suite)
    assert code == 1
    assert "multiple_7: its own answer" in said


def test_the_official_data_comes_from_its_own_wheel_only(tmp_path, funreason, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code, _, error = funreason("eval", "--limit", "1")
    assert code == 1
    assert "run: funreason bfcl fetch" in error
    wheel = tmp_path / "other.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("bfcl_eval/data/x.json", "{}")
    code, _, error = funreason("bfcl", "fetch", "--wheel", wheel)
    assert code == 1
    assert "expected sha256" in error


def test_without_a_network_the_fetch_says_what_to_do(tmp_path, funreason, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    code, _, error = funreason("bfcl", "fetch")
    assert code == 1
    assert "funreason bfcl fetch --wheel FILE" in error


def test_without_the_grammars_the_other_categories_are_scored_and_it_says_what_to_install(
    suite, tmp_path, funreason, monkeypatch
):
    lines(suite / "MINE_simple_java.json", [question("simple_java_0")])
    lines(suite / "possible_answer/MINE_simple_java.json", answers(["simple_java_0"]))
    tree = result_tree(tmp_path / "tree")
    lines(tree / NON_LIVE / "BFCL_v4_simple_java_result.json", [{"id": "simple_java_0", "result": "[f(a=1)]"}])
    monkeypatch.setitem(grammars.PINNED, "tree-sitter-java", "9.9")
    grammars._parser.cache_clear()
    code, said, _ = funreason("eval", "--outputs", tree, "--suite", suite)
    grammars._parser.cache_clear()
    assert code == 0
    assert "10 of 10 right" in said
    assert "simple_java is not run" in said
    assert "funreason[bfcl]" in said
