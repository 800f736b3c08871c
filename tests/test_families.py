"""Models people use, at small width: their own templates, special tokens and ends, through the real loop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from command_line import Done, funreason
from families import CHATML, FAMILIES, LLAMA, QWEN, family_model, family_tokenizer, records, said, save_family

from funreason.calls.thinking import join_thinking, split_thinking
from funreason.objectives.protocol import RESULT, THINK
from funreason.policies.huggingface.sampler import HuggingFaceSampler
from funreason.policies.model_files import load_model, load_tokenizer
from funreason.policies.prompts import closes_thinking, end_of_turn, opens_thinking, prompt_text, whole_completion
from funreason.policies.protocol import Request
from funreason.record.folder import RunFolder
from funreason.training import encode_sample
from funreason.types import Task

TAGS = ("<reason>", "</reason>")
TASK = Task.of(
    id="t", query="Book 3 seats.", tools=[{"name": "book", "parameters": {"type": "object", "properties": {}}}]
)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def tokenizer(family):
    return family_tokenizer(family, said(records()))


def ids_of(encoded, part):
    return [token for token, own in zip(encoded.ids, encoded.parts, strict=True) if own == part]


def test_the_turn_ends_as_the_template_writes_it(family, tokenizer):
    assert end_of_turn(tokenizer) == tokenizer.convert_tokens_to_ids(family.turn_end)
    encoded = encode_sample(prompt_text(TASK, tokenizer), "so", "[book(n=3)]", tokenizer)
    assert encoded.ids[-1] == tokenizer.convert_tokens_to_ids(family.turn_end)


def test_every_end_the_model_names_stops_it(family, tokenizer):
    sampler = HuggingFaceSampler(family_model(family, tokenizer), tokenizer, weights_id="w", max_new_tokens=8)
    assert set(sampler.settings.end_ids) == {tokenizer.convert_tokens_to_ids(end) for end in family.ends}


def test_the_prompt_is_the_templates_own_and_begins_the_text_once(family, tokenizer):
    prompt = prompt_text(TASK, tokenizer, variables={"date_string": "26 Jul 2024"})
    messages = [{"role": "user", "content": TASK.query}]
    assert prompt == tokenizer.apply_chat_template(
        messages, tools=[{"type": "function", "function": TASK.tools[0]}], add_generation_prompt=True,
        tokenize=False, date_string="26 Jul 2024",
    )  # fmt: skip
    ids = encode_sample(prompt, "so", "[book(n=3)]", tokenizer).ids
    assert ids.count(tokenizer.convert_tokens_to_ids(family.specials[0])) <= 1


def test_a_date_in_the_template_can_be_held_still():
    tokenizer = family_tokenizer(LLAMA, said(records()))
    assert "Today Date: 26 Jul 2024" in prompt_text(TASK, tokenizer, variables={"date_string": "26 Jul 2024"})


def test_what_is_trained_is_what_is_read_back(tokenizer):
    encoded = encode_sample(prompt_text(TASK, tokenizer), "I use book.", "[book(n=3)]", tokenizer, tags=TAGS)
    written = tokenizer.decode(ids_of(encoded, THINK) + ids_of(encoded, RESULT)[:-1])
    assert written == join_thinking("I use book.", "[book(n=3)]", TAGS)
    assert split_thinking(written, TAGS) == ("I use book.", "[book(n=3)]", True)


def test_a_tokenizer_learns_its_turns_end_even_where_its_own_end_is_another():
    tokenizer = family_tokenizer(LLAMA, said(records()))
    assert tokenizer.eos_token == "<|end_of_text|>"
    assert tokenizer.decode([end_of_turn(tokenizer)]) == "<|eot_id|>"


def test_a_template_without_special_tokens_leaves_the_tokenizers_own_end():
    tokenizer = family_tokenizer(QWEN, said(records()))
    for template in ("{{ messages[0].content }}", "{{ raise_exception('only prompts') }}"):
        tokenizer.chat_template = template
        assert end_of_turn(tokenizer) == tokenizer.eos_token_id


def test_thinking_that_a_template_begins_goes_on_without_a_second_tag():
    tokenizer = family_tokenizer(QWEN, said(records()))
    prompt = prompt_text(TASK, tokenizer, variables={"opens": TAGS[0]})
    assert opens_thinking(prompt, TAGS)
    encoded = encode_sample(prompt, "so", "[book(n=3)]", tokenizer, tags=TAGS)
    assert tokenizer.decode(ids_of(encoded, THINK)) == "so</reason>"
    assert split_thinking(whole_completion(prompt, "so</reason>\n\n[f()]", TAGS), TAGS) == ("so", "[f()]", True)
    assert split_thinking(whole_completion(prompt, "never an end", TAGS), TAGS) == ("never an end", "", False)


def test_behind_a_thinking_that_a_template_ends_only_the_answer_is_learnt():
    tokenizer = family_tokenizer(QWEN, said(records()))
    prompt = prompt_text(TASK, tokenizer, variables={"enable_thinking": False})
    assert closes_thinking(prompt)
    assert not opens_thinking(prompt)
    encoded = encode_sample(prompt, "so", "[book(n=3)]", tokenizer)
    assert THINK not in encoded.parts
    assert tokenizer.decode(ids_of(encoded, RESULT)) == "[book(n=3)]<|im_end|>"


def test_text_style_asks_for_thinking_in_the_tags_that_are_configured(tokenizer):
    prompt = prompt_text(TASK, tokenizer, style="text", tags=TAGS)
    assert "between <reason> and </reason>" in prompt
    assert "<think>" not in prompt


def test_sampling_stops_at_the_turns_end_and_leaves_it_out(family, tokenizer):
    """A head that says nothing but the end: one token, and no text."""
    model = family_model(family, tokenizer)
    end = tokenizer.convert_tokens_to_ids(family.turn_end)
    model.set_output_embeddings(type(model.lm_head)(model.config.hidden_size, model.config.vocab_size))
    import torch

    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.bias.zero_()
        model.lm_head.bias[end] = 100.0
    sampler = HuggingFaceSampler(model, tokenizer, weights_id="w", max_new_tokens=8)
    (((completion),),) = sampler.sample([Request("r", prompt_text(TASK, tokenizer), 1, 0)])
    assert (completion.text, completion.tokens, completion.truncated) == ("", 1, False)


def loop(folder: Path, start: Path, rows: list[dict[str, str]], **settings) -> Done:
    """One warm-up that learns the records by heart, one round on the model's own answers, one gate."""
    tasks = folder / "tasks.jsonl"
    tasks.write_text("\n".join(map(json.dumps, rows)))
    update = {"lr": 4e-3, "batch_size": 4, "lr_warmup_ratio": 0.1, "alpha": 0.5, "micro_tokens": 2048}
    config = {
        "rounds": 1,
        "run_dir": str(folder),
        "name": "run",
        "model": {"path": str(start), "threads": 1} | settings.get("model", {}),
        "tasks": {"path": str(tasks)},
        "start": {"references": {"path": "tasks", "count": 100}, "update": update | {"epochs": 25}},
        "sample": {"samples_per_task": 2, "max_new_tokens": 48, "temperature": 0.3},
        "fcdr": {"regenerate": ["rerender", "resample"]} | settings.get("fcdr", {}),
        "train": {"update": update | {"epochs": 1} | settings.get("update", {})},
        "gate": {"suites": {"own": {"path": "tasks:held_out"}}, "min_gain": -100},
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    return funreason("loop", "--config", file)


def round_of(folder: Path):
    folder = RunFolder(folder / "run")
    return folder, folder.state().rounds[1]


OPENING = CHATML.replace("{%- if opens is defined %}{{ opens + '\\n' }}{% endif %}", "{{ '<reason>\\n' }}")


@pytest.mark.parametrize(
    ("family", "template", "model"),
    [
        pytest.param(QWEN, None, {}, id="qwen2"),
        pytest.param(LLAMA, None, {"template": {"date_string": "26 Jul 2024"}}, id="llama3"),
        pytest.param(QWEN, OPENING, {"think_tags": list(TAGS)}, id="a template that begins the thinking"),
    ],
)
def test_a_model_of_the_family_plays_a_whole_round(tmp_path, family, template, model):
    rows = records(12)
    done = loop(tmp_path, save_family(tmp_path / "model", family, said(rows), template), rows, model=model)
    assert done.returncode in (0, 3), done.stderr
    folder, played = round_of(tmp_path)
    kept = list(folder.texts(1).get("kept"))
    assert len(kept) > 0, done.stdout
    assert all(sample.thinking and sample.thinking.startswith("I use book") for sample in kept)
    assert not any(tag in sample.answer + sample.thinking for sample in kept for tag in (*TAGS, "<think>", "</think>"))
    assert played.update.steps > 0
    assert "loss_think" in played.update.metrics
    assert played.gate.decision in ("promote", "hold", "rollback")
    trained = folder.weights / played.update.weights
    tokenizer = load_tokenizer(trained, load_model(trained))
    assert end_of_turn(tokenizer) == tokenizer.convert_tokens_to_ids(family.turn_end)
    ends = json.loads((trained / "generation_config.json").read_text())["eos_token_id"]
    assert sorted(ends) == sorted(tokenizer.convert_tokens_to_ids(family.ends))


def test_a_template_that_forbids_thinking_is_refused_before_anything_starts(tmp_path):
    rows = records(4)
    model = save_family(tmp_path / "model", QWEN, said(rows))
    done = loop(tmp_path, model, rows, model={"template": {"enable_thinking": False}})
    assert done.returncode == 2
    assert "empty thinking" in done.stderr
    assert "enable_thinking: true" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_template_that_shows_no_tools_is_refused_before_anything_starts(tmp_path):
    rows = records(4)
    model = save_family(tmp_path / "model", QWEN, said(rows), QWEN.template.replace("if tools", "if false"))
    done = loop(tmp_path, model, rows)
    assert done.returncode == 1
    assert "does not show the tools" in done.stderr
    assert "--set model.prompt=text" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_place_that_cannot_hold_the_weights_is_refused_before_anything_starts(tmp_path):
    rows = records(4)
    model = save_family(tmp_path / "model", QWEN, said(rows))
    settings = json.loads((model / "tokenizer_config.json").read_text())
    (model / "chat_template.jinja").unlink()
    listed = [{"name": name, "template": QWEN.template} for name in ("default", "../../escape")]
    (model / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": listed}))
    done = loop(tmp_path, model, rows)
    assert done.returncode == 1
    assert "could not be saved there" in done.stderr
    assert "nothing is lost" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_without_thinking_such_a_template_trains_answers_and_says_so(tmp_path):
    rows = records(12)
    model = save_family(tmp_path / "model", QWEN, said(rows))
    off = {"template": {"enable_thinking": False}}
    done = loop(tmp_path, model, rows, model=off, fcdr={"require_thinking": False})
    assert done.returncode in (0, 3), done.stderr
    folder, played = round_of(tmp_path)
    assert len(list(folder.texts(1).get("kept"))) > 0
    assert "loss_think" not in played.update.metrics
    notes = [json.loads(line) for line in (folder.events / "loop-000.jsonl").read_text().splitlines()]
    assert any("only the answer is learnt" in note.get("text", "") for note in notes)
