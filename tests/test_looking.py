"""`funreason show`: one sample told attempt by attempt, whatever it holds."""

import pytest

from funreason.cli.show import show
from funreason.cli.terminal import console, explain
from funreason.record.folder import RecordError, RunFolder
from funreason.types import Call, Sample, Task, Verdict, changed

TASK = Task.of("t", "charge it", [{"name": "f", "parameters": {"properties": {"a": {}}}}], category="simple")
DRAWN = Sample.of("r1/t/0", TASK, "[f(a=)]", "f fits: a 7", weights_id="w")
AGAIN = changed(DRAWN, answer="[f(a=7)]", attempt=1, origin="resampled")
VERDICTS = (
    Verdict("response", "pass"),
    Verdict("format", "regenerate", "form.syntax", "cannot be read"),
    Verdict("response", "pass"),
    Verdict("format", "pass"),
)


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")

    def write(**kinds):
        texts = folder.texts(1)
        for kind, samples in kinds.items():
            for sample in samples:
                texts.append(kind, sample)
        texts.close()
        return folder

    return write


def story_of(folder, capsys, wanted="r1/t/0") -> str:
    assert show(wanted, run=str(folder.path)) == 0
    return capsys.readouterr().out


def test_each_attempt_stands_once_with_its_own_verdicts(run, capsys):
    text = story_of(run(sampled=[DRAWN, AGAIN], kept=[changed(AGAIN, verdicts=VERDICTS)]), capsys)
    first, second = text.split("attempt 1")[1].split("attempt 2")
    assert "[f(a=)]" in first
    assert "format: regenerate form.syntax" in first
    assert "f fits: a 7" in first
    assert "format: pass" in second
    assert "regenerate" not in second
    assert "f fits: a 7" in second
    assert text.count("attempt ") == 2
    assert "kept" in text.splitlines()[0]


def test_what_is_right_is_shown_where_it_is_known(run, capsys):
    for reference, said in (([Call("f", {"a": 7})], "right  [f(a=7)]"), ([], "right  no call"), (None, "")):
        task = Task.of(f"t{said}", "charge it", [{"name": "f", "parameters": {}}], reference)
        name = f"r1/t/{len(said)}"
        folder = run(kept=[Sample.of(name, task, "[f(a=7)]")])
        text = story_of(folder, capsys, name)
        assert said in text
        assert ("right " in text) == bool(said)


def test_what_changed_between_attempts_is_said(run, capsys):
    text = story_of(run(sampled=[DRAWN, AGAIN], kept=[changed(AGAIN, verdicts=VERDICTS)]), capsys)
    assert "change answer: -[f(a=)] +[f(a=7)]" in text
    assert "change thinking" not in text


def test_an_attempt_that_was_never_drawn_is_told_from_its_verdicts(run, capsys):
    back = Verdict("format", "regenerate", "form.syntax")
    ended = changed(AGAIN, attempt=2, verdicts=(*VERDICTS[:2], back, *VERDICTS[2:]))
    text = story_of(run(sampled=[DRAWN], kept=[ended]), capsys)
    assert "attempt 2 · its text was not drawn" in text
    assert "attempt 3 · resampled" in text


def test_a_sample_that_nothing_could_change_has_one_attempt(run, capsys):
    text = story_of(run(dead=[changed(DRAWN, attempt=1, verdicts=VERDICTS[:2])]), capsys)
    assert text.count("attempt ") == 1
    assert text.index("[f(a=)]") < text.index("format: regenerate") < text.index("nothing more could be tried")


def test_a_sample_in_flight_is_shown_without_an_end(run, capsys):
    text = story_of(run(sampled=[DRAWN]), capsys)
    assert "not ended yet" in text
    assert "[f(a=)]" in text


def test_an_exact_id_wins_over_ids_that_end_in_it(run, capsys):
    folder = run(kept=[changed(DRAWN, id="0", answer="mine"), changed(DRAWN, id="x0", answer="other")])
    text = story_of(folder, capsys, "0")
    assert "mine" in text
    assert "other" not in text


def test_several_samples_or_none_are_refused_with_their_names(run):
    folder = run(kept=[changed(DRAWN, id="a0"), changed(DRAWN, id="b0")])
    with pytest.raises(RecordError, match=r"2 samples .* end in 0: a0, b0\. Name one whole"):
        show("0", run=str(folder.path))
    with pytest.raises(RecordError, match="no sample"):
        show("zzz", run=str(folder.path))


def test_escapes_and_markup_in_a_record_are_shown_and_not_obeyed(run, capsys):
    bad = "[/opt/x] \x1b]0;owned\x07\u202e"
    task = Task.of("t", bad, [{"name": bad, "parameters": {"properties": {bad: {}}}}], category=bad)
    sample = Sample.of("s", task, bad, bad, weights_id=bad, verdicts=(Verdict("format", "drop", bad, bad),))
    text = story_of(run(kept=[sample]), capsys, "s")
    assert text.count("[/opt/x] ␛]0;owned␇⟨U+202E⟩") == 9
    assert not set(text) & set("\x1b\x07\u202e")


def test_an_error_that_quotes_a_hostile_path_is_printed_as_text(capsys):
    assert explain(RecordError("no run \x1b[2J in [/x]")) == 1
    assert capsys.readouterr().err == "funreason: no run ␛[2J in [/x]\n"
    assert explain(ZeroDivisionError("\x1b[2J")) == 1
    assert "\x1b" not in capsys.readouterr().err


def test_the_commands_console_reads_no_markup(capsys):
    console().print("[/x] [red]a[/red] :smile: 7")
    assert capsys.readouterr().out == "[/x] [red]a[/red] :smile: 7\n"
