"""The prompts of a round of reinforcement learning: their share of refusals, and that a resumed run draws the same."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from funreason.sources.prompt_stream import PromptStream, kind_of
from funreason.types import Call, Task

CALLS = [Task.of(f"t{i}", "do f", [], [Call("f", {})]) for i in range(7)]
CHATS = [Task.of(f"c{i}", "hello", [], []) for i in range(3)]
counts = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def drawn(stream, sizes):
    """The tasks of several draws, each after what was drawn before."""
    before, found = Counter(), []
    for size in sizes:
        tasks = stream.take(before, size)
        assert len(tasks) == size
        before.update(map(kind_of, tasks))
        found.append(tasks)
    return found, before


@given(counts, st.floats(0, 1), st.integers(0, 3))
def test_refusals_have_their_share_over_all_draws_to_within_one(sizes, share, seed):
    _, total = drawn(PromptStream([*CALLS, *CHATS], share, seed, 1), sizes)
    assert abs(total["none"] - share * sum(sizes)) <= 1 + max(0, len(sizes) - 1) * 1e-9


@given(counts, counts)
def test_what_a_draw_gives_depends_only_on_what_was_drawn_before(first, then):
    """So a resumed run, which knows the counts alone, draws what the first one would have drawn."""
    whole, _ = drawn(PromptStream([*CALLS, *CHATS], 0.2, 0, 1), [*first, *then])
    _, before = drawn(PromptStream([*CALLS, *CHATS], 0.2, 0, 1), first)
    resumed = PromptStream([*CHATS, *CALLS], 0.2, 0, 1)
    for size, expected in zip(then, whole[len(first) :], strict=True):
        tasks = resumed.take(before, size)
        assert tasks == expected
        before.update(map(kind_of, tasks))


def test_every_task_comes_once_before_any_comes_again_and_then_in_another_order():
    stream = PromptStream(CALLS, None, 0, 1)
    once, again = stream.take({}, 7), stream.take({"call": 7}, 7)
    assert {t.id for t in once} == {t.id for t in again} == {t.id for t in CALLS}
    assert once != again
    assert once != PromptStream(CALLS, None, 0, 2).take({}, 7), "another round has another order"


def test_without_a_share_tasks_come_as_they_are_mixed():
    tasks = PromptStream([*CALLS, *CHATS], None, 0, 1).take({}, 10)
    assert Counter(map(kind_of, tasks)) == {"call": 7, "none": 3}


def test_tasks_of_one_kind_alone_give_only_that_kind():
    assert {kind_of(t) for t in PromptStream(CALLS, 0.5, 0, 1).take({}, 6)} == {"call"}
    assert {kind_of(t) for t in PromptStream(CHATS, 0.2, 0, 1).take({}, 6)} == {"none"}
