"""Rollouts: a policy in an environment of several turns, with a scripted sampler in place of a model."""

import asyncio

import pytest
from tiny import tiny_tokenizer

from funreason.environments.rollout import SingleTurn, Start, rollout
from funreason.policies.policy import Policy
from funreason.policies.protocol import ChatError, Completion
from funreason.types import Message, Sample, Task, Turn


class Counting:
    """Calls `count` until it has been called as often as the query says, then the sample is done."""

    def reset(self, task):
        return (Message("system", "Count."), *task.messages)

    def step(self, sample):
        calls = sum(turn.role == "assistant" for turn in sample.turns)
        return (Turn("tool", str(calls)),) if calls < int(sample.task.query) else ()


class Scripted:
    """Answers with the id of the request; keeps the requests of each call; may fail after a number of calls."""

    weights_id = "w0"

    def __init__(self, longest=10_000, fails_at=None):
        self.longest, self.fails_at, self.calls = longest, fails_at, []

    def sample(self, requests):
        self.calls.append(requests)
        if len(self.calls) == self.fails_at:
            raise Spent("no more money")
        return [self.completed_before_failure(request) for request in requests]

    def completed_before_failure(self, request):
        chances = (-0.5,) if request.logprobs else None
        text = "<think>so</think>\n\n{}.{}"
        return [Completion(text.format(request.id, i), 1, False, (7,), chances, "w0") for i in range(request.n)]

    def too_long(self, request):
        return len(request.prompt) > self.longest


class Spent(ChatError):
    stops_run = True


def start(name: str, turns: int, count: int = 2) -> Start:
    task = Task.of(name, str(turns), [])
    return Start(name, [Sample.of(f"{name}/{i}", task) for i in range(count)])


def play(sampler, *starts, environment=None, **more):
    done = []
    policy = Policy(sampler, tiny_tokenizer())
    return asyncio.run(rollout(policy, environment or Counting(), starts, done.append, **more)), done


def test_each_turn_is_one_batch_and_a_sample_that_is_done_leaves_it():
    sampler = Scripted()
    found, done = play(sampler, start("a", 1), start("b", 2), start("c", 3, count=1))
    assert [[(r.id, r.n) for r in requests] for requests in sampler.calls] == [
        [("a", 2), ("b", 2), ("c", 1)],
        [("b/0@0#2", 1), ("b/1@0#2", 1), ("c/0@0#2", 1)],
        [("c/0@0#4", 1)],
    ]
    assert [sample.id for sample in done] == ["a/0", "a/1", "b/0", "b/1", "c/0"] == list(found)
    assert [turn.role for turn in found["c/0"].turns] == ["assistant", "tool", "assistant", "tool", "assistant"]
    assert (found["c/0"].answer, found["c/0"].thinking, found["c/0"].weights_id) == ("c/0@0#4.0", "so", "w0")


def test_a_later_prompt_holds_the_environments_messages_and_all_turns_so_far():
    sampler = Scripted()
    play(sampler, start("b", 2, count=1))
    first, second = (requests[0].prompt for requests in sampler.calls)
    assert "Count." in first
    places = [second.index(part) for part in ("Count.", "<think>so</think>\n\nb.0")]
    assert places == sorted(places)
    assert second.startswith(first)


def test_tokens_are_kept_where_log_probabilities_are_asked_for():
    asked, _ = play(Scripted(), start("a", 1), logprobs=True)
    plain, _ = play(Scripted(), start("a", 1))
    assert (asked["a/0"].turns[0].token_ids, asked["a/0"].turns[0].logprobs) == ((7,), (-0.5,))
    assert (plain["a/0"].turns[0].token_ids, plain["a/0"].turns[0].logprobs) == ((), None)


def test_a_conversation_that_outgrows_the_context_ends_truncated():
    found, _ = play(Scripted(longest=120), start("a", 9, count=1))
    assert found["a/0"].truncated
    assert len(found["a/0"].turns) < 17


def test_what_a_failed_call_had_completed_is_handed_out_once():
    policy, done = Policy(Scripted(fails_at=1), tiny_tokenizer()), []
    with pytest.raises(Spent):
        asyncio.run(rollout(policy, Counting(), [start("a", 1), start("b", 2)], done.append))
    assert [sample.id for sample in done] == ["a/0", "a/1"]


def test_a_single_turn_is_done_at_once_and_asks_the_tasks_own_messages():
    sampler = Scripted()
    found, _ = play(sampler, start("a", 5), environment=SingleTurn())
    assert len(sampler.calls) == 1
    assert {len(sample.turns) for sample in found.values()} == {1}
    assert "Count." not in sampler.calls[0][0].prompt
