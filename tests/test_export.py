"""A run for others: its model opens in transformers, its data in datasets, and the cards say what the record says."""

import json
import os
import re
from collections import Counter

import pytest
import yaml
from command_line import funreason

from funreason.calls.parse import parse_calls
from funreason.cards import COLUMNS, About, dataset_card, hub_name, model_card
from funreason.data.reading import read_samples
from funreason.display.verdict import evidence_in, verdict
from funreason.export import export_run, row
from funreason.record.events import GateDecided, MachineDescribed, Score
from funreason.record.folder import RecordError, RunFolder
from funreason.record.state import State
from funreason.types import Sample, Task


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A real run of the embedded model, the smallest that keeps something: it answers familiar tools."""
    runs = tmp_path_factory.mktemp("runs")
    settings = ["name=small", "tasks.path=toolbox:old_dev", "tasks.per_round=10", "start.references=null"]
    settings += ["train.update.replay=null", "gate.suites.new.count=8", "gate.suites.old.count=4"]
    command = ["loop", "--config", "smoke", "--rounds", "1", "--run-dir", str(runs)]
    command += [word for setting in settings for word in ("--set", setting)]
    done = funreason(*command)
    assert done.returncode in (0, 3), done.stderr
    return RunFolder(runs / "small")


def test_the_exported_model_opens_in_transformers_and_the_data_in_datasets(run, tmp_path):
    os.environ.setdefault("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = export_run(run, tmp_path / "out", license="apache-2.0")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    assert AutoTokenizer.from_pretrained(tmp_path / "out" / "model").eos_token_id is not None
    assert sum(p.numel() for p in model.parameters()) > 900_000
    data = load_dataset(str(tmp_path / "out" / "data"), split="train", cache_dir=str(tmp_path / "cache"))
    kept = [s for kind in ("kept", "text") for s in run.texts(1).get(kind)]
    assert data.num_rows == made.rows == len(kept)
    assert data.column_names == list(COLUMNS)
    assert sorted(data["answer"]) == sorted(s.answer for s in kept)
    assert all(parse_calls(r["answer"]) for r in data if r["kind"] == "kept")


def test_the_share_gpt_file_is_read_back_by_the_projects_own_reader(run, tmp_path):
    made = export_run(run, tmp_path / "out")
    info = json.loads((tmp_path / "out" / "llamafactory" / "dataset_info.json").read_text())["funreason"]
    assert info["formatting"] == "sharegpt"
    read = read_samples(tmp_path / "out" / "llamafactory" / info["file_name"])
    assert len(read.samples) == made.rows


def test_the_cards_name_gate_data_and_licences(run, tmp_path):
    export_run(run, tmp_path / "out", license="apache-2.0")
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "apache-2.0"
    gate = run.state().at_round(1).gate
    assert f"| {gate.overall.total} | {100 * gate.overall.old / gate.overall.total:.1f} |" in card
    data = (tmp_path / "out" / "data" / "README.md").read_text()
    assert yaml.safe_load(data.split("---")[1])["license"] == "unknown"
    assert all(f"`{name}`" in data for name in COLUMNS)


def test_names_from_outside_cannot_write_markup_into_a_card():
    about = About("<script>x</script> [a](b) | c", "`base`\n# heading", "t|asks", None, None, "w0")
    for card in (model_card(State(), about), dataset_card(State(), about, 0, Counter())):
        assert "<script>" not in card
        assert "\n# heading" not in card
        assert "[a](b)" not in card


def test_text_that_is_no_unicode_still_makes_a_row():
    made = row("kept", Sample.of(id="a", task=Task.of("a", "say \ud800", []), answer="[f(x='\ud800')]"))
    made["query"].encode()
    assert made["answer"] == "[f(x='?')]"


def test_a_folder_that_is_there_is_not_touched(run, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(RecordError, match="fresh folder"):
        export_run(run, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_run_without_weights_of_its_own_has_nothing_to_export(tmp_path):
    empty = RunFolder(tmp_path / "run")
    empty.path.mkdir()
    empty.heartbeat("crashed")
    with pytest.raises(RecordError, match="no model to export"):
        export_run(empty, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_hubs_read_the_card_and_its_results_are_those_of_the_gate(run, tmp_path):
    from huggingface_hub import ModelCard

    export_run(run, tmp_path / "out", license="mit", base_model="somebody/base", language=["en", "no"])
    card = ModelCard.load(tmp_path / "out" / "model" / "README.md")
    said = card.data.to_dict()
    assert said["base_model"] == "somebody/base"
    kept_one = run.state().at_round(1).gate.decision == "promote"
    assert said.get("base_model_relation") == ("finetune" if kept_one else None)
    assert ("No update was kept" in card.text) != kept_one
    assert said["language"] == ["en", "no"]
    assert (said["license"], said["library_name"], said["pipeline_tag"]) == ("mit", "transformers", "text-generation")
    gate = run.state().at_round(1).gate
    kept = "new" if kept_one else "old"
    measured = {result.dataset_name: [] for result in card.data.eval_results}
    for result in card.data.eval_results:
        assert result.metric_type == "accuracy"
        measured[result.dataset_name].append(result.metric_value)
    for suite, score in gate.by_slice.items():
        assert round(100 * getattr(score, kept) / score.total, 2) in measured[f"suite {suite}"]
    assert card.data.model_name == "base FunReason"
    found = verdict(run.state(), evidence_in(run))
    assert f"\n# base FunReason: {found.result.removesuffix('.')}\n" in card.text.replace("\\", "")
    assert run.name not in card.text.splitlines()[0]


def test_the_code_in_the_card_runs_as_it_is_written(run, tmp_path, monkeypatch, capsys):
    export_run(run, tmp_path / "out")
    (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / "out" / "model" / "README.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path / "out" / "model")
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out.strip()


def test_the_card_prompts_as_the_model_was_trained():
    settings = {"model": {"prompt": "text", "template": {"date_string": "26 Jul 2024"}, "think_tags": ["<t>", "</t>"]}}
    about = About("r", "b", "t", None, None, "w", settings=settings)
    text = model_card(State(), about)
    assert "date_string='26 Jul 2024'" in text
    assert '"role": "system"' in text
    assert "between <t> and </t>" in text
    assert "tools = None" in text
    refusing = model_card(State(), about._replace(system_in_user_turn=True))
    assert '"role": "system"' not in refusing
    assert "between <t> and </t>" in refusing


def test_the_card_says_how_it_was_made_and_how_to_convert_it(run, tmp_path):
    export_run(run, tmp_path / "out")
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    for said in (
        "| `seed` | `0`",
        "| versions | python ",
        "| `train.update.alpha` | `0.5`",
        "tokenizers by what they do",
    ):
        assert said in card
    about = About("r", "org/model", "t", None, None, "w", architecture="Qwen3ForCausalLM")
    assert "python convert_hf_to_gguf.py . --outfile" in model_card(State(), about)
    other = model_card(State(), about._replace(architecture="Strange"))
    assert "This model is `Strange`. Known to be converted are" in other


def test_the_command_in_the_card_has_no_folder_of_runs_and_no_address():
    state = State()
    words = "funreason loop --run-dir /home/me/runs --set 'sample.endpoints=[{url: http://host:1/v1}]' --set seed=1"
    state.machines.append(MachineDescribed(command=words))
    card = model_card(state, About("r", "b", "t", None, None, "w"))
    assert "| command | `funreason loop --set seed=1` |" in card


def test_scores_of_other_weights_are_refused_and_those_of_these_are_in_the_index(run, tmp_path):
    from huggingface_hub import ModelCard

    weights = run.state().weights
    rows = [{"name": "simple_python", "correct": 30, "total": 40, "percent": 75.0}, {"name": "java", "total": 0}]
    (tmp_path / "eval").mkdir()
    for who in ("others", weights):
        (tmp_path / "eval" / "scores.json").write_text(json.dumps({"suite": "bfcl-v4", "weights": who, "rows": rows}))
        if who == "others":
            with pytest.raises(RecordError, match="scores of the weights others"):
                export_run(run, tmp_path / "out", scores=[tmp_path / "eval"])
    export_run(run, tmp_path / "out", scores=[tmp_path / "eval"])
    found = ModelCard.load(tmp_path / "out" / "model" / "README.md").data.eval_results
    (official,) = [r for r in found if r.dataset_type == "gorilla-llm/Berkeley-Function-Calling-Leaderboard"]
    assert (official.metric_value, official.dataset_config) == (75.0, "simple_python")
    with pytest.raises(RecordError, match=r"expected the scores\.json"):
        export_run(run, tmp_path / "other", scores=[tmp_path / "nowhere"])


def test_a_suite_of_the_gate_with_official_data_is_named_as_the_leaderboard():
    from huggingface_hub import ModelCard

    score = Score(total=40, old=10, new=30, gained=20, lost=0, p=0.001)
    state = State()
    suites = {"official": score, "mine": score}
    gate = GateDecided(
        round=2, decision="promote", reason="", old_weights="w1", new_weights="w2", overall=score, by_slice=suites
    )
    state.at_round(2).gate = gate
    paths = {"official": {"path": "bfcl-v4", "role": "report"}, "mine": {"path": "tasks:held_out"}}
    about = About("r", "org/model", "t", None, None, "w2", "org/model", settings={"gate": {"suites": paths}})
    found = ModelCard(model_card(state, about)).data.eval_results
    assert {(r.dataset_type, r.metric_value) for r in found} == {
        ("gorilla-llm/Berkeley-Function-Calling-Leaderboard", 75.0), ("held-out/mine", 75.0),
    }  # fmt: skip
    before = ModelCard(model_card(state, about._replace(weights="w1"))).data.eval_results
    assert {r.metric_value for r in before} == {25.0}
    assert ModelCard(model_card(state, about._replace(weights="other"))).data.eval_results is None


def test_names_on_a_hub_are_told_from_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "model").mkdir(parents=True)
    names = {
        "Qwen/Qwen2.5-0.5B-Instruct": "Qwen/Qwen2.5-0.5B-Instruct", "org/name@main": "org/name",
        "hf:org/data:train@abc": "org/data", "mine/model": "", "models/Qwen": "", "/abs/path": "", "a/b/c": "",
        "toolbox:new_train": "", "./org/name": "", "tasks.jsonl": "",
    }  # fmt: skip
    assert {path: hub_name(path) for path in names} == names


def tool(name, required, **kinds):
    properties = {key: {"type": kind} for key, kind in kinds.items()}
    return {"name": name, "parameters": {"type": "object", "properties": properties, "required": [required]}}


def record(id, query, *calls, **more):
    tools = [tool("book", "room", room="string", nights="integer"), tool("find", "what", what="string")]
    answers = [{"name": name, "arguments": arguments} for name, arguments in calls]
    return {"id": id, "query": query, "tools": tools, "answers": answers} | more


THOUGHT = "The user wants to book a room, so I call book with room blue and nights 2."
RECORDS = [
    record("one", "Book room blue for 2 nights.", ("book", {"room": "blue", "nights": 2}), cot=THOUGHT),
    record("two", "Find the manual and book room red.", ("find", {"what": "manual"}), ("book", {"room": "red"})),
    record("bad", "Find the lamp.", ("find", {"who": "lamp", "x": 1})),
]


@pytest.fixture(scope="module")
def refined_run(tmp_path_factory):
    """A file of three records, refined: one is dropped."""
    folder = tmp_path_factory.mktemp("refine")
    (folder / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    done = funreason("refine", folder / "records.jsonl", "--out", folder / "refined", "--quiet")
    assert done.returncode == 0, done.stderr
    return RunFolder(folder / "refined")


@pytest.fixture(scope="module")
def exported(refined_run, tmp_path_factory):
    """The refined file as data and as chat messages in both forms."""
    out = tmp_path_factory.mktemp("export") / "out"
    done = funreason("export", refined_run.path, "--out", out, "--format", "messages", "--format", "openai")
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_a_refined_file_is_exported_as_data_with_counts_and_reasons(refined_run, exported):
    from huggingface_hub import DatasetCard

    out, said = exported
    assert not (out / "model").exists()
    assert f"{out / 'data'}: 2 rows of refined data" in said
    card = DatasetCard.load(out / "data" / "README.md")
    assert card.data.license == "unknown"
    assert card.data.to_dict()["size_categories"] == ["n<1K"]
    (reason,) = refined_run.state().at_round(1).dead_reasons
    assert str(refined_run.path.parent) not in card.content
    for line in ("# records: 2 refined samples", "Judged: 3 samples.", f"| {reason} | 1 |", "sha256 "):
        assert line in card.text.replace("\\", "")


@pytest.mark.parametrize("form", ["messages", "openai"])
def test_chat_messages_come_back_as_the_samples_they_were(exported, form):
    out, said = exported
    read = read_samples(out / form / "train.jsonl")
    assert not read.refusals
    assert [(s.task.query, parse_calls(s.answer)) for s in read.samples] == [
        (s.task.query, parse_calls(s.answer)) for s in read_samples(out / "llamafactory" / "funreason.jsonl").samples
    ]
    thoughts = [s.thinking for s in read.samples]
    assert thoughts == ([THOUGHT, None] if form == "messages" else [None, None])
    (line,) = [line for line in said.splitlines() if line.startswith(str(out / form))]
    assert ("1 without their thinking" in line) == (form == "openai")


def test_openai_takes_the_lines_and_finds_no_key_it_does_not_know(exported):
    lines = [json.loads(line) for line in (exported[0] / "openai" / "train.jsonl").read_text().splitlines()]
    for line in lines:
        assert line.keys() <= {"messages", "tools"}
        for message in line["messages"]:
            assert message.keys() <= {"role", "content", "tool_calls", "weight", "name", "tool_call_id"}
            for call in message.get("tool_calls", ()):
                assert isinstance(json.loads(call["function"]["arguments"]), dict)


def test_trl_tokenizes_the_messages_as_the_model_template_writes_them(exported, tmp_path):
    trl = pytest.importorskip("trl") if not os.environ.get("CI") else __import__("trl")
    from datasets import load_dataset
    from tiny import tiny_model, tiny_tokenizer

    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{{ m.reasoning_content or '' }}{{ m.content }}{% for c in m.tool_calls or [] %}"
        "<call>{{ c.function.name }} {{ c.function.arguments | tojson }}</call>{% endfor %}<|im_end|>\n{% endfor %}"
    )
    data = load_dataset(str(exported[0] / "messages"), split="train", cache_dir=str(tmp_path / "cache"))
    assert data.column_names == ["id", "messages", "tools"]
    made = trl.SFTTrainer(
        model=tiny_model(context=2048),
        args=trl.SFTConfig(output_dir=str(tmp_path / "t"), max_length=None, report_to=[], bf16=False, use_cpu=True),
        train_dataset=data,
        processing_class=tokenizer,
    )
    texts = [tokenizer.decode(row["input_ids"]) for row in made.train_dataset]
    assert '<call>book {"room": "blue", "nights": 2}</call>' in texts[0]
    assert THOUGHT in texts[0]
    assert '<call>find {"what": "manual"}</call><call>book {"room": "red"}</call>' in texts[1]
    assert "null" not in "".join(texts)
