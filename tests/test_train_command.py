"""`funreason train`: SRML alone, from a file to a model folder."""

import json
import shutil
from importlib.resources import as_file, files

import pytest
from command_line import funreason


@pytest.fixture
def records(tmp_path):
    tools = [
        {"name": "book", "description": "book seats", "parameters": {"n": {"type": "int", "description": "seats"}}}
    ]
    rows = [
        {
            "id": f"r{i}",
            "query": f"Book {i} seats.",
            "tools": json.dumps(tools),
            "answers": json.dumps([{"name": "book", "arguments": {"n": i}}]),
            "cot": f"The query asks to book {i} seats.",
        }
        for i in range(6)
    ]
    file = tmp_path / "records.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


def test_it_shows_the_mask_trains_and_saves_safetensors(records, tmp_path):
    done = funreason("train", records, "--out", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert "think" in done.stdout
    assert "result" in done.stdout
    assert "trained on 6 samples" in done.stdout
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert not list((tmp_path / "model").glob("*.bin"))


def test_without_a_folder_the_model_is_named_after_the_file(records, tmp_path):
    done = funreason("train", records, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "records-model" / "model.safetensors").exists()


def test_it_does_not_write_over_a_folder_that_holds_something(records, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("precious")
    done = funreason("train", records, "--out", tmp_path / "model")
    assert done.returncode == 1
    assert "is not empty" in done.stderr


@pytest.fixture
def model_with(tmp_path):
    """Makes a copy of the embedded model with other chat templates."""

    def make(template):
        with as_file(files("funreason.data.toolbox") / "base") as base:
            shutil.copytree(base, tmp_path / "base")
        own = tmp_path / "base" / "chat_template.jinja"
        text = own.read_text()
        if isinstance(made := template(text), str):
            own.write_text(made)
        else:
            own.unlink()
            settings = tmp_path / "base" / "tokenizer_config.json"
            listed = [{"name": name, "template": one} for name, one in made.items()]
            settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": listed}))
        return tmp_path / "base"

    return make


def test_a_model_with_two_chat_templates_is_trained_and_saved_with_both(records, tmp_path, model_with):
    model = model_with(lambda own: {"default": own.replace("{%- if tools -%}", "{%- if false -%}"), "tool_use": own})
    done = funreason("train", records, "--out", tmp_path / "model", "--model", model)
    assert done.returncode == 0, done.stderr
    assert "chat template: tool_use of default, tool_use" in done.stderr
    assert "book(n" in done.stdout  # the tools are in the previewed prompt
    templates = tmp_path / "model" / "additional_chat_templates"
    assert [file.name for file in templates.iterdir()] == ["tool_use.jinja"]
    assert "if false" in (tmp_path / "model" / "chat_template.jinja").read_text()


def test_a_template_that_shows_no_tools_trains_nothing_and_names_the_style_that_does(records, tmp_path, model_with):
    gemma = (
        "{%- for m in messages -%}{%- if m['role'] == 'system' -%}{{ raise_exception('no system') }}{%- endif -%}"
        "{{ '<|user|>' if m['role'] == 'user' else '<|assistant|>' }}{{ m['content'] }}{%- endfor -%}"
        "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
    )
    model = model_with(lambda own: gemma)
    done = funreason("train", records, "--out", tmp_path / "model", "--model", model)
    assert done.returncode == 1
    assert "does not show the tools" in done.stderr
    assert "--set model.prompt=text" in done.stderr
    assert not (tmp_path / "model").exists()
    done = funreason("train", records, "--out", tmp_path / "model", "--model", model, "--set", "model.prompt=text")
    assert done.returncode == 0, done.stderr
    assert "their text begins the user's first message" in " ".join(done.stderr.split())


def test_a_template_that_ends_every_thinking_is_refused_where_thinking_would_be_lost(records, tmp_path, model_with):
    ended = "{%- if add_generation_prompt -%}{{ '<think>\n\n</think>\n\n' }}{%- endif -%}"
    model = model_with(lambda own: own + ended)
    done = funreason("train", records, "--out", tmp_path / "model", "--model", model)
    assert done.returncode == 2
    assert "the thinking of 6 of 6 samples could not be learnt" in done.stderr
    assert "fcdr.require_thinking=false" in done.stderr
    assert not (tmp_path / "model").exists()
    answers = ("--set", "fcdr.require_thinking=false")
    done = funreason("train", records, "--out", tmp_path / "model", "--model", model, *answers)
    assert done.returncode == 0, done.stderr


def test_a_place_that_cannot_take_the_model_is_noticed_before_training(records, tmp_path):
    (tmp_path / "model").write_text("a file")
    done = funreason("train", records, "--out", tmp_path / "model")
    assert done.returncode == 1
    assert "is a file" in done.stderr
    assert "step" not in done.stdout + done.stderr
    assert (tmp_path / "model").read_text() == "a file"
