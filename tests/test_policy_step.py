"""One optimizer step on real rollouts: the embedded model samples, is scored and trained, and its state continues."""

import asyncio
import os
import shutil

import msgspec
import pytest
import torch

from funreason.agents.policy_trainer import StepRequest, require_fresh
from funreason.agents.reward import RewardAgent
from funreason.agents.rollouts import groups_of, seed_id
from funreason.agents.selection import StaleError
from funreason.agents.updating import PolicyStep, k3
from funreason.config import Config, check_config
from funreason.data.toolbox import generate
from funreason.environments.rollout import SingleTurn, Start, rollout
from funreason.errors import ModelError
from funreason.objectives.rewards import RewardScore
from funreason.policies.factory import build_policy
from funreason.policies.model_files import load_model
from funreason.record.folder import RunFolder
from funreason.stop import StopRequest
from funreason.training.types import NotFinite, TrainingError
from funreason.types import Sample, changed


def settings(**reinforcement) -> Config:
    sizes = {"steps_per_round": 2, "prompts_per_step": 4, "group_size": 4, "update": {"lr": 1e-4}}
    data = {"method": "egpo", "model": {"threads": 1}, "sample": {"temperature": 0.7, "max_new_tokens": 24}}
    return check_config(data | {"reinforcement": sizes | reinforcement}, "test")


class World:
    """The embedded model as policy, groups of its own samples, and what a step needs."""

    def __init__(self, path, **reinforcement):
        self.config = settings(**reinforcement)
        self.policy, self.base = build_policy(self.config)
        self.folder, self.events = RunFolder(path / "run"), []
        self.learn = PolicyStep(self.policy, self.folder, self.events.append, StopRequest(), self.config)

    def groups(self, step, weights):
        asyncio.run(self.policy.load(weights))
        tasks = generate("new_train", 4, seed=step)
        starts = []
        for place, task in enumerate(tasks):
            id = seed_id(1, step, place, task)
            starts.append(Start(id, [Sample.of(f"{id}/{i}", task, round=1) for i in range(4)]))
        done = asyncio.run(rollout(self.policy, SingleTurn(), starts, lambda sample: None, logprobs=True))
        # Half of each group is right, whatever it says: what is tested is the step.
        agent = RewardAgent("test", lambda sample: RewardScore(float(int(sample.id[-1]) % 2)))
        judged = [sample.judged(asyncio.run(agent(sample))) for sample in done.values()]
        return groups_of(judged, 4, 4)

    def step(self, step, policy):
        return self.learn(StepRequest(1, step, self.groups(step, policy), policy, self.base))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield World(tmp_path_factory.mktemp("egpo"))
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def outcomes(world):
    first = world.step(1, world.base)
    return first, world.step(2, first.weights)


def parameters(folder):
    model = load_model(folder, "cpu", "float32")
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_a_step_saves_other_weights_and_the_state_that_the_next_step_continues_from(world, outcomes):
    first, second = outcomes
    assert len({world.base.id, first.weights.id, second.weights.id}) == 3
    assert parameters(second.weights.folder).isfinite().all()
    assert [path.name for path in sorted(world.folder.checkpoint(1).iterdir())] == ["step-1", "step-2"]


def test_advantages_are_those_of_egpo_and_stay_within_their_bounds(outcomes):
    for credit in (credit for outcome in outcomes for credit in outcome.credits):
        plain = credit.advantage - credit.bonus
        assert plain == pytest.approx(1.0 if credit.reward else -1.0, abs=1e-4)
        assert 0 <= credit.bonus <= abs(plain) / 2 + 1e-9
        assert credit.bonus == pytest.approx(min(0.4 * credit.entropy, abs(plain) / 2))
    assert any(credit.bonus for credit in outcomes[0].credits)


def test_metrics_say_what_the_step_was_like(outcomes):
    first, second = (outcome.metrics for outcome in outcomes)
    assert first["kl"] == 0, "the policy is the reference"
    assert second["kl"] > 0
    for metrics in (first, second):
        wanted = {"entropy", "entropy_think", "entropy_group_sd", "bonus", "clip_low_share", "clip_high_share"}
        assert wanted | {"correction_capped_share", "lr", "grad_norm", "seconds_logp"} <= metrics.keys()
        # The sampler decodes with a cache and the trainer reads whole rows: the same distribution, rounded otherwise.
        assert abs(metrics["sampler_ratio_max"] - 1) < 1e-3


def test_the_same_step_from_the_same_state_gives_the_same_weights(tmp_path, world, outcomes, one_thread):
    again = World(tmp_path)
    first = again.step(1, again.base)
    assert first.weights.id == outcomes[0].weights.id
    assert again.step(2, first.weights).weights.id == outcomes[1].weights.id


def test_without_the_state_of_the_step_before_the_weights_are_others(tmp_path, outcomes, one_thread):
    """Adam's moments: a step that forgot them would be as large as the first one."""
    forgetful = World(tmp_path)
    first = forgetful.step(1, forgetful.base)
    shutil.rmtree(forgetful.folder.checkpoint(1))
    request = StepRequest(1, 2, forgetful.groups(2, first.weights), first.weights, first.weights)
    assert forgetful.learn(request).weights.id != outcomes[1].weights.id


def test_several_updates_and_a_reference_get_the_log_probabilities_they_need(tmp_path, one_thread):
    world = World(tmp_path, loss={"updates": 2, "beta": 1e-3, "bonus": {"span": "response"}})
    first = world.step(1, world.base)
    assert {"ratio_max", "kl_k3"} <= first.metrics.keys()
    assert first.metrics["ratio_max"] != 1


def test_the_scores_are_skipped_where_nothing_needs_them(tmp_path, monkeypatch, one_thread):
    monkeypatch.setattr("funreason.training.scoring.score", lambda *given, **named: pytest.fail("scored"))
    world = World(tmp_path)
    world.config = world.learn.config = world.config.model_copy(update={"method": "grpo"})
    assert world.step(1, world.base).credits[0].entropy is None


def test_a_sampler_without_log_probabilities_is_refused_where_the_correction_needs_them(world, outcomes, one_thread):
    groups = world.groups(1, world.base)
    for fields, said in (({"logprobs": None}, "correction_cap=null"), ({"token_ids": ()}, "no token ids")):
        mute = [without(group, **fields) for group in groups]
        with pytest.raises(ModelError, match=said):
            world.learn(StepRequest(1, 3, mute, world.base, world.base))


def without(group, **fields):
    """The group as a sampler gives it that keeps less of its turns."""
    turns = [msgspec.structs.replace(sample.last_turn, **fields) for sample in group.samples]
    return group._replace(
        samples=tuple(changed(s, turns=(turn,)) for s, turn in zip(group.samples, turns, strict=True))
    )


def test_the_kl_divergence_is_measured_without_a_samplers_log_probabilities_too(tmp_path, world, outcomes, one_thread):
    policy = outcomes[1].weights
    given = world.groups(3, policy)
    mute = [without(group, logprobs=None) for group in given]
    found = []
    for name, groups in (("given", given), ("mute", mute)):
        folder = RunFolder(tmp_path / name)
        shutil.copytree(world.folder.checkpoint(1), folder.checkpoint(1))
        config = settings(loss={"correction_cap": None}).model_copy(update={"method": "grpo"})
        learn = PolicyStep(world.policy, folder, lambda event: None, StopRequest(), config)
        found.append(learn(StepRequest(1, 3, groups, policy, world.base)).metrics["kl"])
    assert found[1] == pytest.approx(found[0], rel=1e-3)
    assert found[1] > 0


def test_a_step_without_the_state_that_made_its_weights_is_refused(tmp_path, world, outcomes):
    learn = PolicyStep(world.policy, RunFolder(tmp_path), lambda event: None, StopRequest(), world.config)
    policy = outcomes[0].weights
    with pytest.raises(TrainingError, match=f"answers of {policy.id}.*no state.*begin from {world.base.id}"):
        learn(StepRequest(1, 2, world.groups(2, policy), policy, world.base))


def test_a_step_that_is_not_finite_is_an_error_and_leaves_no_state_to_continue_from(tmp_path, one_thread):
    world = World(tmp_path, loss={"std": "none"})
    huge = [g._replace(rewards=tuple(1e300 * reward for reward in g.rewards)) for g in world.groups(1, world.base)]
    with pytest.raises(NotFinite):
        world.learn(StepRequest(1, 1, huge, world.base, world.base))
    assert not list(world.folder.checkpoint(1).glob("*"))


def test_adapters_reach_the_sampler_and_every_version_of_them_has_its_own_weights_id(tmp_path, one_thread):
    if os.environ.get("CI"):
        import peft  # noqa: F401
    pytest.importorskip("peft", reason="the extra `lora` is not installed")
    world = World(tmp_path, update={"lr": 1e-2, "lora": {"rank": 2}})
    first = world.step(1, world.base)
    groups = world.groups(2, first.weights)
    second = world.learn(StepRequest(1, 2, groups, first.weights, world.base))
    assert len({world.base.id, first.weights.id, second.weights.id}) == 3
    assert second.metrics["kl"] > 1e-3, "the adapters changed what is sampled"
    assert abs(second.metrics["sampler_ratio_max"] - 1) < 1e-3, "with the adapters, not without them"
    require_fresh(groups, first.weights)
    for other in (world.base, second.weights):
        with pytest.raises(StaleError, match=f"made by {first.weights.id}, and the step trains {other.id}"):
            require_fresh(groups, other)
    # The second step trained the first one's adapters on; it did not put others on top of them.
    before, after = (load_model(weights.folder).state_dict() for weights in (world.base, second.weights))
    name = next(name for name in before if name.endswith("q_proj.weight"))
    assert torch.linalg.matrix_rank((after[name] - before[name]).double(), tol=1e-5) == 2

    # A sampler that takes the new name and keeps the old weights: the record shows it.
    asyncio.run(world.policy.load(world.base))
    world.policy.sampler.weights_id = second.weights.id
    third = world.learn(StepRequest(1, 3, world.groups(3, second.weights), second.weights, world.base))
    assert abs(third.metrics["sampler_ratio_max"] - 1) > 0.1


@pytest.mark.parametrize(("policy", "reference"), [(-1.0, -1.0), (-0.5, -2.0), (-3.0, -0.1), (-700.0, -0.1)])
def test_the_kl_estimate_is_zero_for_equal_policies_and_positive_for_others(policy, reference):
    assert (k3(policy, reference) == 0) == (policy == reference)
    assert 0 <= k3(policy, reference) < 1e9
