"""The carriers: what a sample's properties read, and what a changed copy keeps."""

import msgspec

from funreason.types import Message, Sample, Task, Turn, changed

TASK = Task.of("t", "how warm is it", [])


def test_a_sample_reads_its_last_assistant_turn():
    turns = (Turn("assistant", "[f()]", "so f", weights_id="w1"), Turn("tool", "3"), Turn("assistant", "It is 3."))
    sample = Sample("s", TASK, turns)
    assert (sample.answer, sample.thinking, sample.truncated, sample.weights_id) == ("It is 3.", None, False, "")
    assert Sample("s", TASK, turns[:2]).answer == "[f()]"
    assert (Sample("s", TASK).answer, Sample("s", TASK).thinking) == ("", None)


def test_a_changed_answer_is_another_last_turn_and_loses_the_tokens_of_the_old_one():
    first = Turn("assistant", "[f()]", "so f", weights_id="w1", token_ids=(1, 2), logprobs=(-0.1, -0.2))
    old = Sample("s", TASK, (first, Turn("tool", "3")))
    new = changed(old, answer="[g()]", origin="repaired")
    assert new.turns == (Turn("assistant", "[g()]", "so f", weights_id="w1"), Turn("tool", "3"))
    assert (new.origin, old.answer) == ("repaired", "[f()]")
    assert changed(old, weights_id="w2").turns[0].token_ids == (1, 2)
    assert changed(old, id="other").turns is old.turns


def test_an_answer_given_to_a_sample_without_turns_becomes_its_first():
    assert changed(Sample("s", TASK), answer="", thinking="hm").turns == (Turn("assistant", "", "hm"),)
    assert Sample.of("s", TASK).turns == ()
    assert Sample.of("s", TASK, "").turns == (Turn("assistant", ""),)


def test_a_tasks_query_is_what_the_user_says():
    messages = (Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "?"), Message("user", "f"))
    assert Task("t", messages, []).query == "Hi\nf"
    assert Task("t", messages[:2], []).query == "Hi"
    assert Task("t", messages[:1], []).query == ""


def test_a_sample_survives_the_way_to_json_and_back():
    sample = Sample.of("s", TASK, "[f()]", "so f", truncated=True, weights_id="w", round=2)
    assert msgspec.json.decode(msgspec.json.encode(sample), type=Sample) == sample
