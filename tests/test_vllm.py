"""The vLLM sampler on a real engine: right tokens, own draws, new weights alive, and proof or an error."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import chisquare
from tiny import tiny_tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

from funreason.data.toolbox import BASE, generate
from funreason.errors import BrokenWeights, ModelError
from funreason.policies.huggingface.sampler import HuggingFaceSampler
from funreason.policies.model_files import load_model, load_tokenizer, save_model
from funreason.policies.prompts import prompt_text
from funreason.policies.protocol import Request, Sampler
from funreason.policies.vllm.engine import prepare
from funreason.record.events import OptimizerStep, PolicyUpdated
from funreason.record.folder import RunFolder
from funreason.record.log import LogReader

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("vllm") is None, reason="no vLLM here; `make vllm-cpu` and CI run these"),
]
TINY = tiny_tokenizer()
ALIVE: list[Sampler] = []
"""vLLM keeps its process groups once for a process: the first engine that goes would take them from the others."""


def qwen(seed: int, *, tied: bool, vocabulary: int = 259) -> Qwen2ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=vocabulary, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=2048, tie_word_embeddings=tied, initializer_range=0.12,
        eos_token_id=2, pad_token_id=0, bos_token_id=None,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


def engine(model: Qwen2ForCausalLM, folder: Path, **more):
    from funreason.policies.vllm.engine import EngineSettings
    from funreason.policies.vllm.sampler import VllmSampler

    prepare("cpu", compiled=False)
    weights_id = save_model(model, TINY, folder)
    settings = EngineSettings(kv_cache_gb=0.25)
    given = {"weights_id": weights_id, "max_new_tokens": 24} | more
    sampler = VllmSampler(folder, model, TINY, settings=settings, **given)
    ALIVE.append(sampler)
    return sampler


@pytest.fixture(scope="module")
def toolbox():
    """The embedded model in vLLM and in transformers."""
    from funreason.policies.vllm.sampler import VllmSampler

    prepare("cpu", compiled=False)
    model = load_model(BASE)
    tokenizer = load_tokenizer(BASE, model)
    given = {"weights_id": "base", "max_new_tokens": 128}
    return VllmSampler(BASE, model, tokenizer, **given), HuggingFaceSampler(model, tokenizer, **given)


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    return engine(qwen(0, tied=True), tmp_path_factory.mktemp("tied") / "w0")


def asked(sampler, count: int, n: int = 1, *, greedy: bool = False) -> list[Request]:
    tasks = generate("new_gate", count, 0)
    return [Request(t.id, prompt_text(t, sampler.tokenizer), n, seed=7, greedy=greedy) for t in tasks]


def small(n: int = 1, *, greedy: bool = True) -> list[Request]:
    prompts = ["hello there, what is this", "add 1 and 2 please", "one two", "a" * 40]
    return [Request(f"r{i}", prompt, n, seed=5, greedy=greedy) for i, prompt in enumerate(prompts)]


def test_the_sampler_keeps_the_protocol_and_tells_what_its_start_cost(toolbox):
    kept: Sampler = toolbox[0]
    assert kept.weights_id == "base"
    assert toolbox[0].started.started
    assert toolbox[0].started.proved > 50


def test_greedy_answers_to_a_hundred_gate_items_are_those_of_transformers_to_the_token(toolbox):
    vllm, ours = toolbox
    requests = asked(vllm, 100, greedy=True)
    assert vllm.sample(requests) == ours.sample(requests)


def test_draws_belong_to_the_request_whatever_shares_its_batch(toolbox):
    vllm, _ = toolbox
    requests = asked(vllm, 8, 3)
    together = texts(vllm.sample(requests))
    assert texts(vllm.sample(requests)) == together
    assert [texts(vllm.sample([request]))[0] for request in requests] == together
    assert [texts(vllm.sample(asked(vllm, 8, 5)))[i][:3] for i in range(8)] == together
    assert len({text for answer in together for text, _, _ in answer}) > 16


def texts(answers) -> list[list[tuple[str, int, bool]]]:
    return [[(c.text, c.tokens, c.truncated) for c in answer] for answer in answers]


def test_one_step_draws_and_their_log_probabilities_are_those_of_the_nucleus(tmp_path):
    model, count = qwen(0, tied=True), 2000
    one = engine(model, tmp_path / "w0", temperature=0.7, top_p=0.9, max_new_tokens=1)
    (answer,) = one.sample([Request("many", "hello", count, seed=0, logprobs=True)])
    with torch.inference_mode():
        chances = torch.softmax(model(TINY("hello", return_tensors="pt").input_ids).logits[0, -1].double() / 0.7, -1)
    ordered, ids = chances.sort(descending=True)
    ordered[ordered.cumsum(-1) - ordered > 0.9] = 0
    expected = torch.zeros_like(chances).scatter(0, ids, ordered / ordered.sum())
    by_text = {TINY.decode([i]) if i != 2 else "": i for i in range(len(TINY))}
    drawn = [by_text[c.text] for c in answer if "\ufffd" not in c.text]
    assert min(expected[i] for i in drawn) > 0
    for completion in answer[:200]:
        if "\ufffd" not in completion.text:
            chance = expected[by_text[completion.text]]
            assert completion.logprobs == pytest.approx([float(chance.log())], abs=1e-3)
            assert TINY.decode(completion.token_ids) == completion.text or completion.token_ids == (2,)
    common = [i for i in set(by_text.values()) if TINY.decode([i]) != "\ufffd" and expected[i] * count >= 5]
    seen = [drawn.count(i) for i in common]
    wanted = [float(expected[i]) * count for i in common]
    rest = (count - sum(seen), count - sum(wanted))
    assert chisquare([*seen, rest[0]], [*wanted, rest[1]]).pvalue > 0.001


def test_the_same_engine_draws_at_another_temperature_and_length_for_a_judge(tied):
    other = tied.with_settings(0.5, 6)
    answers = other.sample(small(4, greedy=False))
    assert {c.tokens for answer in answers for c in answer} <= set(range(1, 7))
    assert other.weights_id == tied.weights_id
    assert max(c.tokens for answer in tied.sample(small()) for c in answer) == 24


def test_prompts_that_do_not_fit_are_told_apart_and_nothing_asks_for_nothing(tied):
    long = Request("long", "a" * 2048, 1, 0)
    assert tied.too_long(long)
    with pytest.raises(ModelError, match="long: the prompt has 2048 tokens; at most 2024"):
        tied.sample([long])
    assert tied.sample([]) == []
    assert [len(answer) for answer in tied.sample([Request("none", "x", 0, 0), Request("one", "x", 1, 0)])] == [0, 1]


def test_more_requests_than_one_step_can_read_are_all_answered_with_their_own_seeds(tied):
    requests = [Request(f"r{i}", "b" * 900 + str(i), 2, seed=1) for i in range(12)]
    together = tied.sample(requests)
    assert texts(tied.sample(requests[5:6])) == texts(together[5:6])
    assert all(len(answer) == 2 for answer in together)


@pytest.mark.parametrize("is_tied", [True, False])
def test_new_weights_answer_at_once_tied_or_not_and_nothing_cached_survives(is_tied, tmp_path):
    first, second = qwen(0, tied=is_tied), qwen(1, tied=is_tied)
    alive = engine(first, tmp_path / "w0")
    before, first_id = alive.sample(small()), alive.weights_id
    weights_id = save_model(second, TINY, tmp_path / "w1")
    sync = alive.load_weights(tmp_path / "w1", weights_id)
    assert sync.proved > 50
    assert not sync.started
    assert alive.weights_id == weights_id
    after = alive.sample(small())
    assert after == HuggingFaceSampler(second, TINY, weights_id=weights_id, max_new_tokens=24).sample(small())
    assert [[c.token_ids for c in answer] for answer in after] != [[c.token_ids for c in answer] for answer in before]
    alive.load_weights(first, first_id)
    assert alive.sample(small()) == before


def test_an_engine_that_failed_its_proof_samples_nothing_until_it_is_given_weights_again(tied, tmp_path):
    """A file that holds a head of its own beside a tied embedding: transformers ignores it, vLLM takes it."""
    good = qwen(0, tied=True)
    save_model(good, TINY, tmp_path / "torn")
    file = tmp_path / "torn" / "model.safetensors"
    weights = load_file(file)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] * 1.5
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="log-probabilities differ"):
        tied.load_weights(tmp_path / "torn", "torn")
    assert tied.weights_id == ""
    with pytest.raises(ModelError, match="not proved"):
        tied.sample(small())
    tied.load_weights(good, "good")
    assert tied.weights_id == "good"
    assert len(tied.sample(small())) == 4


def test_weights_of_broken_numbers_are_named_as_such_and_the_engine_goes_on_with_good_ones(tied):
    broken = qwen(1, tied=True)
    with torch.no_grad():
        broken.model.norm.weight[0] = float("nan")
    with pytest.raises(BrokenWeights, match="not finite with weights nan"):
        tied.load_weights(broken, "nan")
    assert tied.weights_id == ""
    tied.load_weights(qwen(0, tied=True), "good")
    assert len(tied.sample(small())) == 4


def test_keys_and_values_of_broken_weights_do_not_reach_the_good_ones_after_them(tied):
    broken, good = qwen(1, tied=True), qwen(0, tied=True)
    with torch.no_grad():
        broken.model.embed_tokens.weight[:] = float("nan")
    with pytest.raises(BrokenWeights, match="not finite with weights nan"):
        tied.load_weights(broken, "nan")
    tied.load_weights(good, "good")
    expected = HuggingFaceSampler(good, TINY, weights_id="good", max_new_tokens=24).sample(small())
    assert tied.sample(small()) == expected


@pytest.mark.parametrize("greedy", [True, False])
def test_broken_numbers_that_the_proof_did_not_meet_are_named_where_they_are_met(greedy, tmp_path):
    unseen, broken = "\x07", qwen(1, tied=False)
    [letter] = TINY(unseen, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        broken.model.embed_tokens.weight[letter] = float("nan")
    alive = engine(broken, tmp_path / "w0")
    with pytest.raises(BrokenWeights, match=r"request met: .* not finite"):
        alive.sample([Request("met", f"ab{unseen}", 1, 0, greedy)])


def test_a_folder_without_weights_is_named(tied, tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        tied.load_weights(tmp_path / "nowhere", "w9")
    assert tied.weights_id != "w9"


def test_ids_beyond_the_tokenizer_are_never_said(tmp_path):
    padded = engine(qwen(3, tied=False, vocabulary=512), tmp_path / "w0", temperature=2.0)
    answers = padded.sample(small(16, greedy=False))
    assert all(len(TINY(c.text)["input_ids"]) or c.tokens == 1 for answer in answers for c in answer)
    assert padded.sample(small()) == HuggingFaceSampler(
        qwen(3, tied=False, vocabulary=512), TINY, weights_id=padded.weights_id, max_new_tokens=24
    ).sample(small())


@pytest.mark.parametrize("more", [{"temperature": 2.1}, {"temperature": 0.0}, {"top_p": 1.1}])
def test_a_distribution_the_engine_cannot_draw_from_is_refused_before_it_starts(more, tmp_path):
    with pytest.raises(ModelError, match="temperature"):
        engine(qwen(0, tied=True), tmp_path / "w0", **more)


def test_a_device_the_installed_engine_is_not_built_for_is_named():
    from funreason.policies.vllm.engine import EngineSettings, start_engine

    with pytest.raises(ModelError, match=r"model\.device is 'cuda'"):
        start_engine(BASE, "cuda", "float32", EngineSettings())


def test_torch_keeps_its_threads(toolbox):
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    assert torch.get_num_threads() == before + 1
    torch.set_num_threads(before)


def test_a_start_with_other_weights_than_the_trainers_is_refused_with_both_texts(tmp_path):
    """Last of those in this process: an engine that is thrown away takes the process groups of all others with it."""
    from funreason.policies.vllm.sampler import VllmSampler

    save_model(qwen(0, tied=True), TINY, tmp_path / "w0")
    with pytest.raises(ModelError, match=r"(?s)weights w1.*prompt:.*model:.*engine:"):
        VllmSampler(tmp_path / "w0", qwen(1, tied=True), TINY, weights_id="w1")


@pytest.mark.slow
def test_the_loop_runs_two_rounds_on_the_engine_and_every_change_of_weights_is_proved(tmp_path):
    settings = ["--quiet", "--set", "model.sampler=vllm", "--set", "name=v", "--set", "tasks.per_round=10"]
    command = [sys.executable, "-m", "funreason", "loop", "--config", "smoke", "--rounds", "2", "--run-dir", tmp_path]
    done = subprocess.run(
        [*command, *settings], capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode in (0, 3), done.stderr
    assert done.stderr == ""
    folder = RunFolder(tmp_path / "v")
    state = folder.state()
    syncs = [sync for r in state.rounds.values() for sync in r.syncs]
    assert syncs[0].started
    assert len(syncs) >= 4
    assert all(sync.proved > 50 for sync in syncs)
    known = {sync.weights for sync in syncs}
    for k in (1, 2):
        assert {s.weights_id for s in folder.texts(k).get("sampled")} == {state.rounds[k].gate.old_weights} <= known
        assert state.rounds[k].chosen.stale == 0


@pytest.mark.slow
def test_an_update_that_breaks_the_weights_ends_its_round_with_a_rollback_on_the_engine_too(tmp_path):
    settings = ["model.sampler=vllm", "name=broken", "tasks.path=toolbox:old_dev", "tasks.per_round=6"]
    settings += ["start.references=null", "train.update.lr=1e30", "gate.suites.new.count=12"]
    settings += ["gate.suites.old.count=4", "train.update.replay={path: toolbox:old_replay, count: 10}"]
    command = [sys.executable, "-m", "funreason", "loop", "--config", "smoke", "--rounds", "1", "--run-dir", tmp_path]
    command += [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 3, done.stderr
    state = RunFolder(tmp_path / "broken").state()
    assert (state.status, state.rounds[1].gate.decision) == ("refused", "rollback")
    assert "not finite" in state.rounds[1].gate.reason
    assert state.rounds[1].weights == state.rounds[0].weights


@pytest.mark.slow
def test_a_round_of_rewards_trains_on_the_engines_own_draws_and_proves_every_steps_weights(tmp_path):
    settings = ["model.sampler=vllm", "name=rewards", "tasks.per_round=24", "start.references=null", "model.threads=1"]
    settings += ["sample.max_new_tokens=48", "sample.temperature=0.8", "gate.suites.new.count=4"]
    settings += ["gate.suites.old.count=4", "gate.min_gain=-100", "gate.promote_p=1"]
    # The model as it is calls nothing: what it can learn from is where no call is right.
    settings += ["tasks.mix={irrelevance: 1}", "reinforcement.no_call_share=1", "reinforcement.refusal_floor=null"]
    settings += ["reinforcement.steps_per_round=2", "reinforcement.prompts_per_step=8", "reinforcement.group_size=4"]
    settings += ["reinforcement.update.lr=2e-4"]
    command = [sys.executable, "-m", "funreason", "loop", "--config", "smoke", "--method", "egpo", "--rounds", "1"]
    command += ["--run-dir", tmp_path, *(word for setting in settings for word in ("--set", setting))]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode in (0, 3), done.stderr
    folder = RunFolder(tmp_path / "rewards")
    events = list(LogReader(folder.events).events())
    start = folder.state().rounds[0].syncs[0].weights
    made = [start, *(event.weights for event in events if isinstance(event, PolicyUpdated))]
    assert len(set(made)) == 3
    syncs = [sync for r in folder.state().rounds.values() for sync in r.syncs]
    assert [sync.weights for sync in syncs[:3]] == made
    assert all(sync.proved > 50 for sync in syncs)
    samples = list(folder.texts(1).get("kept"))
    assert {(s.id.split("/")[1], s.weights_id) for s in samples} == {("s1", made[0]), ("s2", made[1])}
    for sample in samples:
        assert len(sample.last_turn.logprobs) == len(sample.last_turn.token_ids) > 0
    steps = [event.metrics for event in events if isinstance(event, OptimizerStep)]
    assert steps[1]["kl"] > 1e-3, "the first step moved the weights, so other log-probabilities would show"
    for metrics in steps:
        # The engine's log-probabilities of its draws are those of the trainer at the same temperature.
        assert metrics["sampler_ratio_max"] == pytest.approx(1, abs=5e-3)
        assert metrics["correction_capped_share"] == 0
