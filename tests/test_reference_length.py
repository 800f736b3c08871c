"""The warning about references that are longer than an answer may be."""

from funreason.agents.references import cut_references
from funreason.types import Call, Task


class Words:
    """A tokenizer of words."""

    def __call__(self, texts, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [text.split() for text in texts]}


def tasks(*words: int, category: str = "simple") -> list[Task]:
    """Tasks whose references have so many words of thinking, and a call of one word."""
    return [
        Task.of(
            id=f"{category}{i}",
            query="q",
            tools=[],
            reference=[Call("f", {})],
            reference_thinking=" ".join(["w"] * n),
            category=category,
        )
        for i, n in enumerate(words)
    ]


def test_references_that_are_longer_than_an_answer_may_be_are_counted_with_the_worst_category():
    given = tasks(*[3] * 8) + tasks(3, 9, category="parallel")
    said = cut_references(given, Words(), 8)
    assert "1 of 10 references are longer (50 % of those of category parallel; the longest has 11 tokens)" in said


def test_thinking_and_the_end_of_the_turn_need_room_too():
    assert cut_references(tasks(3), Words(), 4)
    assert cut_references(tasks(3), Words(), 5) == ""


def test_one_long_reference_in_a_hundred_is_no_reason_to_warn():
    assert cut_references(tasks(*[3] * 99, 50), Words(), 8) == ""
    assert cut_references(tasks(*[3] * 98, 50, 50), Words(), 8)


def test_tasks_without_references_say_nothing_about_their_length():
    assert cut_references([], Words(), 1) == ""
    assert cut_references([Task.of(id="t", query="q", tools=[])], Words(), 1) == ""
