"""Rounds of reinforcement learning from inside: a scripted policy and learner; real bus, reward, gate and record."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from round_world import TOOLS, Killed, RoundWorld, task

from funreason.agents.policy_trainer import StepOutcome
from funreason.agents.selection import StaleError
from funreason.bus.agent import BrokenAgent
from funreason.cli.show import story
from funreason.config import ConfigError, check_config, load_config
from funreason.errors import NothingToLearn
from funreason.policies.protocol import Completion
from funreason.record.events import LogMessage, OptimizerStep, PhaseStarted, PolicyUpdated, SampleEnded
from funreason.record.sample_files import Credit
from funreason.training.types import NotFinite
from funreason.types import Task, Weights

STEP = [("generator", "drained", "trainer"), ("trainer", "stepped", "generator")]
LAST = [
    ("generator", "drained", "trainer"),
    ("trainer", "candidate", "evaluator"),
    ("evaluator", "accepted", "generator"),
]


def chat(i: int) -> Task:
    return Task.of(id=f"c{i}", query=f"how are you {i}", tools=TOOLS, reference=[], category="irrelevance")


MIXED = [task(i) for i in range(2, 80, 4)]
"""Tasks that the sampler below answers right half of the time."""
EASY, HARD = [task(i) for i in range(0, 80, 4)], [task(i) for i in range(1, 80, 4)]


class ScriptedSampler:
    """Of numbers divisible by four all answers are right, of those after them none, of all others every second one."""

    def __init__(self, killed_at=None, thinks=True, logprobs=True):
        self.weights_id, self.asked, self.killed_at = "w0", 0, killed_at
        self.thinks, self.logprobs, self.drawn = thinks, logprobs, []

    def sample(self, requests):
        return [self.answers(request) for request in requests]

    def answers(self, request):
        query = request.dialogue.messages[-1]["content"]
        number, found = int(query.split()[-1]), []
        for i in range(request.n):
            self.asked += 1
            if self.asked == self.killed_at:
                raise Killed
            right = number % 4 == 0 or (number % 4 != 1 and i % 2 == 0)
            if request.greedy:
                right = self.weights_id != "w0" or number % 2 == 0
            else:
                assert request.logprobs
                self.drawn.append((request.id, self.weights_id))
            wanted = f"[f(x={number})]" if query.startswith("do f") else "I cannot do that."
            answer = wanted if right else f"[f(x={number + 1})]"
            thinking = "<think>As asked.</think>\n\n" if self.thinks else ""
            chances = (-0.5, -0.25) if request.logprobs and self.logprobs else None
            found.append(Completion(thinking + answer, 2, False, (7, 2), chances, self.weights_id))
        return found

    def too_long(self, request):
        return False

    def load_weights(self, folder, weights_id):
        self.weights_id = weights_id


class World(RoundWorld):
    """`play` plays the run from where its record ends."""

    def __init__(self, path: Path, tasks=None, method="grpo", rounds=1, agents=(), **settings):
        sizes = {"steps_per_round": 3, "prompts_per_step": 4, "group_size": 4, "no_call_share": None, "max_resample": 0}
        data = {"rounds": rounds, "method": method, "reinforcement": sizes | settings, "agents": list(agents)}
        super().__init__(path, data, MIXED if tasks is None else tasks)
        self.requests = []

    def learn(self, request):
        """Makes weights named after round and step, and says what the groups were."""
        self.requests.append(request)
        made = self.folder.weights / f"w{request.round}.{request.step}"
        made.mkdir(parents=True, exist_ok=True)
        credits = [
            Credit(sample.id, request.step, group.fate, reward, advantage=reward - 0.5, bonus=0.125, entropy=0.25)
            for group in request.groups
            for sample, reward in zip(group.samples, group.rewards, strict=True)
        ]
        return StepOutcome(Weights(made.name, made), {"loss": 0.5} | self.metrics(request.step), credits)

    def metrics(self, step):
        return {"kl": 0.01, "entropy": 0.1}

    def play(self, sampler=None, learn=None):
        self.sampler = sampler or ScriptedSampler()
        return self.session_with(self.sampler, None, learn or self.learn)

    def steps(self):
        return {event.step: event.metrics for event in self.events(OptimizerStep)}


def test_a_round_is_small_steps_that_travel_the_edges_and_the_gate_decides_at_its_end(tmp_path):
    world = World(tmp_path)
    session = world.play()
    assert world.route() == [*STEP, *STEP, *LAST]
    assert [(r.step, r.policy.id, r.start.id) for r in world.requests] == [
        (1, "w0", "w0"),
        (2, "w1.1", "w0"),
        (3, "w1.2", "w0"),
    ]
    assert session.weights.accepted.id == "w1.3"
    assert world.folder.state().rounds[1].gate.decision == "promote"


def test_each_step_samples_from_the_weights_of_the_last_one(tmp_path):
    world = World(tmp_path)
    world.play()
    makers = {id.split("/")[1]: weights for id, weights in world.sampler.drawn}
    assert makers == {"s1": "w0", "s2": "w1.1", "s3": "w1.2"}
    for request in world.requests:
        assert {s.weights_id for group in request.groups for s in group.samples} == {request.policy.id}


def test_samples_keep_token_ids_log_probabilities_and_their_reward_with_its_parts(tmp_path):
    world = World(tmp_path)
    world.play()
    kept = list(world.folder.texts(1).get("kept"))
    assert len(kept) == 3 * 4 * 4
    for sample in kept:
        assert (sample.last_turn.token_ids, sample.last_turn.logprobs) == ((7, 2), (-0.5, -0.25))
        (verdict,) = sample.verdicts
        assert verdict.parts == {"template": 1.0, "answer": verdict.reward}
        assert bool(verdict.reason) == (verdict.reward == 0)


def test_groups_without_a_signal_are_counted_by_fate_and_never_reach_the_learner(tmp_path):
    world = World(tmp_path, tasks=[*EASY[:1], *HARD[:2], *MIXED[:1]], steps_per_round=1)
    world.play()
    ((group,),) = (request.groups for request in world.requests)
    assert Counter(group.right) == {True: 2, False: 2}
    metrics = world.steps()[1]
    fates = {name: metrics[f"groups_{name}"] for name in ("all_right", "all_wrong", "mixed", "incomplete")}
    assert fates == {"all_right": 1, "all_wrong": 2, "mixed": 1, "incomplete": 0}
    credits = world.folder.texts(1).credits().values()
    assert Counter(credit.fate for credit in credits) == {"all_right": 4, "all_wrong": 8, "mixed": 4}
    assert all(not credit.advantage for credit in credits if credit.fate != "mixed")


def test_groups_without_a_signal_are_replaced_up_to_a_limit(tmp_path):
    world = World(tmp_path, tasks=[*EASY, *HARD, *MIXED], steps_per_round=1, max_resample=2)
    world.play()
    route = world.route()
    waves = route.count(("trainer", "more", "generator"))
    assert 1 <= waves <= 2
    metrics = world.steps()[1]
    drawn = sum(metrics[f"groups_{fate}"] for fate in ("all_right", "all_wrong", "mixed"))
    assert drawn == 4 + metrics["groups_resampled"] > 4
    assert sum(world.events(PolicyUpdated)[0].prompts.values()) == drawn
    assert len(world.sampler.drawn) == len({id for id, _ in world.sampler.drawn}) * 4


def test_a_step_without_any_signal_changes_no_weights(tmp_path):
    world = World(tmp_path, tasks=HARD)
    session = world.play()
    assert not world.requests
    assert session.weights.accepted.id == "w0"
    assert [event.idle for event in world.events(PolicyUpdated)] == [1, 2, 3]
    assert world.folder.state().rounds[1].gate.reason == "the weights did not change"


def test_rewards_that_are_equal_for_ten_steps_stop_the_run_with_a_sentence(tmp_path):
    world = World(tmp_path, tasks=[*EASY[:2], *HARD[:2]], steps_per_round=6, rounds=2, max_idle_steps=10)
    world.config = world.config.model_copy(update={"when_nothing_learned": "continue"})
    with pytest.raises(NothingToLearn, match=r"10 steps in a row.*2 all_right, 2 all_wrong"):
        world.play()
    assert len(world.steps()) <= 10


def test_a_step_that_bfloat16_rounds_away_is_no_idle_step(tmp_path):
    """Its weights have the same id, but the optimizer's float32 copy has moved."""
    world = World(tmp_path, max_idle_steps=1)
    world.play(learn=lambda request: StepOutcome(request.policy, {}, []))
    assert [event.idle for event in world.events(PolicyUpdated)] == [0, 0, 0]


def test_prompts_where_no_call_is_right_have_their_share(tmp_path):
    world = World(tmp_path, tasks=[*MIXED, *map(chat, range(2, 6))], prompts_per_step=5, no_call_share=0.2)
    world.play()
    assert [metrics["no_call_share"] for metrics in world.steps().values()] == pytest.approx([0.2] * 3)
    assert world.events(PolicyUpdated)[-1].prompts == {"call": 12, "none": 3}
    metrics = world.steps()[1]
    assert {"reward_calls", "reward_refusals", "refusal_rate"} <= metrics.keys()
    assert 0 < metrics["length_p50"] <= metrics["length_p95"]


def test_a_share_of_refusals_that_the_tasks_cannot_give_is_said(tmp_path):
    world = World(tmp_path, no_call_share=0.2)
    world.play()
    assert any("no_call_share=0.2 cannot be kept" in note.text for note in world.events(LogMessage))


def test_tasks_without_a_reference_are_left_out_and_counted(tmp_path):
    world = World(tmp_path, tasks=[*MIXED, Task.of("open", "do f to 6", TOOLS)])
    world.play()
    assert any("1 of 21 tasks have no reference" in note.text for note in world.events(LogMessage))
    assert not any("/open/" in event.sample for event in world.events(SampleEnded))


@pytest.mark.parametrize("killed_at", [16 + 3, 16 + 16 + 5, 16 + 32 + 10, 16 + 48 + 7])
def test_a_killed_round_is_resumed_and_ends_as_an_uninterrupted_one(tmp_path, killed_at):
    """The base is measured first (16 items); then come three steps of 16 samples, then the candidate is measured."""
    whole, broken = World(tmp_path / "whole"), World(tmp_path / "broken")
    whole.play()
    with pytest.raises(Killed):
        broken.play(ScriptedSampler(killed_at))
    session = broken.play()
    assert session.weights.accepted.id == "w1.3"
    assert sorted(e.sample for e in broken.events(SampleEnded)) == sorted(e.sample for e in whole.events(SampleEnded))
    assert [r.step for r in broken.requests] == [1, 2, 3], "no step is made twice"
    for mine, other in zip(broken.requests, whole.requests, strict=True):
        assert [group.id for group in mine.groups] == [group.id for group in other.groups]
        assert [group.rewards for group in mine.groups] == [group.rewards for group in other.groups]
    assert broken.folder.texts(1).credits() == whole.folder.texts(1).credits()


@pytest.mark.parametrize("killed_at", range(20, 100, 11))
def test_a_round_that_was_killed_while_it_asked_for_more_prompts_asks_for_the_same_ones_again(tmp_path, killed_at):
    settings = {"tasks": [*EASY, *HARD, *MIXED], "max_resample": 2}
    whole, broken = World(tmp_path / "whole", **settings), World(tmp_path / "broken", **settings)
    whole.play()
    with pytest.raises(Killed):
        broken.play(ScriptedSampler(killed_at))
    broken.play()
    assert {k: (p.prompts, p.weights) for k, p in policies(broken).items()} == {
        k: (p.prompts, p.weights) for k, p in policies(whole).items()
    }
    assert [[g.id for g in r.groups] for r in broken.requests] == [[g.id for g in r.groups] for r in whole.requests]


def policies(world):
    return {event.step: event for event in world.events(PolicyUpdated)}


def test_a_step_that_was_killed_before_it_was_logged_is_made_again_from_the_same_samples(tmp_path):
    world = World(tmp_path)

    def dies(request):
        outcome = world.learn(request)
        if request.step == 2:
            raise Killed
        return outcome

    with pytest.raises(Killed):
        world.play(learn=dies)
    first = world.requests[-1]
    world.play()
    again = world.requests[2]
    assert (again.step, again.policy, again.groups) == (2, first.policy, first.groups)


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({"kl": 0.5}, "KL divergence from the accepted weights is 0.5"),
        ({"kl": float("nan")}, "KL divergence from the accepted weights is nan"),
        ({"kl": 0.01, "entropy": 7.5}, "mean entropy is 7.5"),
    ],
)
def test_kl_or_entropy_that_explode_end_the_round_with_a_rollback_that_says_why(tmp_path, metrics, reason):
    world = World(tmp_path)
    world.metrics = lambda step: metrics if step == 2 else {"kl": 0.01}
    session = world.play()
    assert world.route() == [*STEP, *LAST]
    gate = world.folder.state().rounds[1].gate
    assert (gate.decision, session.weights.accepted.id) == ("rollback", "w0")
    assert reason in gate.reason
    assert "at step 2" in gate.reason
    assert world.sampler.weights_id == "w0", "the accepted weights answer again"


def test_a_loss_that_is_not_finite_ends_the_round_with_a_rollback(tmp_path):
    world = World(tmp_path)

    def explodes(request):
        raise NotFinite("loss or gradient not finite")

    session = world.play(learn=explodes)
    assert "loss or gradient not finite" in world.folder.state().rounds[1].gate.reason
    assert session.weights.accepted.id == "w0"


DIES_ONCE = """
from pathlib import Path

class Killed(BaseException):
    pass

async def dies(candidate):
    seen = Path(__file__).with_name("seen")
    if not seen.exists():
        seen.touch()
        raise Killed("once")
    return "pass"
"""


def test_a_round_that_must_be_rolled_back_is_rolled_back_after_a_kill_too(tmp_path):
    (tmp_path / "mine.py").write_text(DIES_ONCE)
    entry = {"name": "dies", "agent": f"{tmp_path}/mine.py:dies", "after": "trainer", "edge": "candidate"}
    world = World(tmp_path, agents=[entry])
    world.metrics = lambda step: {"kl": 0.5}
    with pytest.raises(BaseException, match="once"):
        world.play()
    assert not world.folder.state().rounds[1].ended
    session = world.play()
    assert (session.weights.accepted.id, len(world.requests)) == ("w0", 1)
    assert "KL divergence" in world.folder.state().rounds[1].gate.reason


class AlwaysCalls(ScriptedSampler):
    """Calls where no call is right, at first half of the time, with later weights always."""

    def answers(self, request):
        found = super().answers(request)
        if "how are you" not in request.dialogue.messages[-1]["content"] or self.weights_id == "w0":
            return found
        return [Completion("<think>Yes.</think>\n\n[f(x=1)]", 2, False, (7, 2), (-0.5, -0.25), self.weights_id)] * len(
            found
        )


def test_a_model_that_learns_to_call_always_is_rolled_back(tmp_path):
    tasks = [*MIXED, *map(chat, range(2, 6))]
    world = World(tmp_path, tasks=tasks, no_call_share=0.5, refusal_window=2, refusal_floor=0.1)
    world.play(AlwaysCalls())
    gate = world.folder.state().rounds[1].gate
    assert gate.decision == "rollback"
    assert "learns to call always" in gate.reason


REWARDS = """
def nan(sample):
    return float("nan")

def raises(sample):
    raise KeyError("gold")
"""


@pytest.mark.parametrize(("name", "said"), [("nan", "nan"), ("raises", "KeyError")])
def test_a_reward_that_fails_stops_the_round_and_names_sample_and_function(tmp_path, name, said):
    (tmp_path / "mine.py").write_text(REWARDS)
    world = World(tmp_path, reward=f"{tmp_path}/mine.py:{name}")
    with pytest.raises(BrokenAgent, match=f"(?s)'reward' is broken.*mine.py:{name}.*r1/s1/.*{said}"):
        world.play()


@pytest.mark.parametrize("name", ["mine.py", "mine.py:reward"])
def test_a_rewards_file_is_found_beside_the_configuration_wherever_the_run_is_resumed(tmp_path, name):
    (tmp_path / "mine.py").write_text("def reward(sample):\n    return 1.0\n")
    (tmp_path / "config.yaml").write_text(f"method: grpo\nreinforcement: {{reward: '{name}'}}\n")
    assert load_config(tmp_path / "config.yaml").reinforcement.reward == f"{tmp_path}/{name}"


def test_a_custom_reward_without_reasons_is_right_where_it_is_positive(tmp_path):
    (tmp_path / "mine.py").write_text("def reward(sample):\n    return float(sample.id.endswith('/0')) - 0.5\n")
    world = World(tmp_path, reward=f"{tmp_path}/mine.py", steps_per_round=1)
    world.play()
    assert all(group.right == (True, False, False, False) for group in world.requests[0].groups)


def test_rewards_that_differ_only_in_their_shaping_carry_no_signal(tmp_path):
    """ToolRL pays every call something, so the answers of a group that are all wrong may still differ."""
    source = "def reward(sample):\n    return -1.0 - sample.id.count('0') / 10\n"
    (tmp_path / "mine.py").write_text(source)
    world = World(tmp_path, reward=f"{tmp_path}/mine.py", steps_per_round=1)
    world.play()
    assert not world.requests
    assert world.steps()[1]["groups_all_wrong"] == 4


def test_egpo_without_any_thinking_says_that_its_bonus_does_nothing(tmp_path):
    world = World(tmp_path, method="egpo")
    world.config = world.config.model_copy(
        update={"fcdr": world.config.fcdr.model_copy(update={"require_thinking": False})}
    )
    world.play(ScriptedSampler(thinks=False))
    notes = [note.text for note in world.events(LogMessage) if "E is 0 for all" in note.text]
    assert len(notes) == 1, "once a round"
    assert world.steps()[1]["unthought_rate"] == 1


def test_an_agent_may_refuse_a_step_and_the_round_is_rolled_back(tmp_path):
    (tmp_path / "mine.py").write_text("async def look(step):\n    return 'pass' if step.step < 2 else 'drop'\n")
    entry = {"name": "look", "agent": f"{tmp_path}/mine.py:look", "after": "trainer", "edge": "stepped"}
    world = World(tmp_path, agents=[entry])
    session = world.play()
    assert ("look", "drop", "generator") in world.route()
    assert world.folder.state().rounds[1].gate.reason.startswith("look")
    assert session.weights.accepted.id == "w0"


def test_an_agent_may_refuse_more_prompts_and_the_round_is_rolled_back(tmp_path):
    (tmp_path / "mine.py").write_text("async def look(message):\n    return 'drop'\n")
    entry = {"name": "look", "agent": f"{tmp_path}/mine.py:look", "after": "trainer", "edge": "more"}
    world = World(tmp_path, tasks=[*EASY, *HARD, *MIXED], agents=[entry], max_resample=1)
    world.play()
    assert world.route()[:3] == [STEP[0], ("trainer", "more", "look"), ("look", "drop", "generator")]
    assert world.folder.state().rounds[1].gate.reason.startswith("look")


def test_a_sample_of_other_weights_than_those_of_the_step_is_refused(tmp_path):
    class Stale(ScriptedSampler):
        def answers(self, request):
            return [msgspec.structs.replace(one, weights_id="w7") for one in super().answers(request)]

    with pytest.raises(StaleError, match="made by w7, and the step trains w0"):
        World(tmp_path).play(Stale())


def test_show_tells_a_rollouts_reward_part_by_part_and_what_was_learned_from_it(tmp_path):
    world = World(tmp_path, steps_per_round=1)
    world.play()
    texts = world.folder.texts(1)
    ended = next(sample for sample in texts.get("kept") if sample.id.endswith("/1"))
    lines = "\n".join(str(line) for line in story([ended], ended, "kept", texts.credits(ended.id).get(ended.id)))
    assert "reward 0 = template 1 · answer 0" in lines
    assert "reference.value" in lines
    assert "advantage -0.500, of which bonus 0.125 · E 0.250 nats · group mixed · step 1" in lines


def test_sampling_shows_how_many_samples_the_round_has_had_so_far(tmp_path):
    world = World(tmp_path)
    world.play()
    assert [event.todo for event in world.events(PhaseStarted) if event.phase == "sample"] == [16, 32, 48]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"reinforcement": {"group_size": 1}}, "group_size"),
        ({"sample": {"top_p": 0.9}}, "sample.top_p is 0.9"),
        ({"sample": {"top_k": 20}}, "unknown key sample.top_k"),
        ({"sample": {"endpoints": [{"url": "http://localhost:1/v1"}]}}, "sample.endpoints"),
        ({"reinforcement": {"update": {"epochs": 2}}}, "loss.updates"),
        ({"reinforcement": {"loss": {"bonus": {}}}}, "method: egpo"),
    ],
)
def test_settings_that_reinforcement_learning_cannot_use_are_refused_with_a_sentence(settings, said):
    with pytest.raises(ConfigError, match=said):
        check_config({"method": "grpo"} | settings, "test")
    if "reinforcement" not in settings and "top_k" not in said:
        check_config(settings, "test")
