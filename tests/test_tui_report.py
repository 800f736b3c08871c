"""The report: one file, no network, nothing taken for markup."""

import json
import re
from html.parser import HTMLParser

import pytest
import yaml
from recorded import Recording, finished

from funreason.cli.export import report
from funreason.display.accuracy import accuracy_by_round
from funreason.display.charts import accuracy_svg, lines_svg
from funreason.display.figures import smoothed
from funreason.display.report import parameters, report_html, report_markdown
from funreason.record import events as ev
from funreason.types import Sample, Task, Verdict


class Tags(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data) -> None:
        self.words.append(data)


def test_the_report_holds_its_pictures_and_asks_no_network(tmp_path):
    folder = finished(tmp_path / "run")
    page = Tags(report_html(folder.state(), folder, "finished"))
    names = [tag for tag, _ in page.tags]
    assert names.count("svg") == 6
    assert not {"script", "link", "img", "iframe", "a"} & set(names)
    assert not [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href")]
    assert any("default-src 'none'" in (attrs.get("content") or "") for _, attrs in page.tags)


def test_what_a_model_wrote_is_words_in_both_reports(tmp_path):
    folder = finished(tmp_path / "run")
    html = report_html(folder.state(), folder, "finished")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script" not in html
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", html)


def test_markdown_escapes_what_would_be_markup(tmp_path):
    run = Recording(tmp_path / "run")
    run.sample(1, 0, "cot", "a|b*c <img src=x> `d`")
    folder = run.end()
    text = report_markdown(folder.state(), folder, "finished")
    assert "a\\|b\\*c \\<img src=x\\> \\`d\\`" in text


def test_both_reports_tell_the_same_numbers(tmp_path):
    folder = finished(tmp_path / "run", rounds=3)
    for text in (report_html(folder.state(), folder, "finished"), report_markdown(folder.state(), folder, "finished")):
        for words in ("3 of 3 rounds over", "37.5", "5/1"):
            assert words in text


def test_a_run_that_has_hardly_begun_has_a_report_too(tmp_path):
    folder = Recording(tmp_path / "run").life("running")
    assert "Nothing yet" in report_html(folder.state(), folder, "running")
    assert "Nothing yet" in report_markdown(folder.state(), folder, "running")


def test_the_command_writes_both_files(tmp_path, capsys):
    finished(tmp_path / "run")
    assert report("run", out=tmp_path / "out", run_dir=tmp_path) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.md"]
    assert "report.html" in capsys.readouterr().out


MACHINE = ev.MachineDescribed(
    command="funreason loop --seed 3",
    versions={"python": "3.12.1", "torch": "2.9.0"},
    cpu="A Processor",
    cores=8,
    memory_gb=64,
    gpus=["NVIDIA H200"],
)


def test_a_report_says_what_came_of_the_run_what_to_change_and_how_it_was_made(tmp_path):
    run = Recording(tmp_path / "run", rounds=2)
    settings = {"seed": 3, "model": {"path": "m/base"}, "tasks": {"path": "my.jsonl", "per_round": 1200}}
    (run.folder.path / "config.yaml").write_text(yaml.safe_dump(settings))
    run(MACHINE)
    run.round(1)
    run.gating(2, "hold")
    run(ev.RoundEnded(round=2, weights="w1"))
    folder = run.end()
    html, markdown = (
        report_html(folder.state(), folder, "finished"),
        report_markdown(folder.state(), folder, "finished"),
    )
    assert Tags(html).words[0] == "Suite new 27.5 → 37.5 %"  # the title says the result
    assert markdown.startswith("# Suite new 27.5 → 37.5 %")
    for text in (html, markdown.replace("\\", "")):
        for words in (
            "funreason loop --seed 3",
            "m/base",
            "my.jsonl, 1,200 tasks a round",
            "torch 2.9.0",
            "NVIDIA H200",
        ):
            assert words in text
        assert "2 of 2 rounds over" in text
        assert "1 promoted, 1 held" in text
        assert "Only 40 items decide" in text
        assert "run run · m/base · my.jsonl, 1,200 tasks a round · seed 3 · finished: 2 of 2 rounds over" in text
        assert re.search(r"What to change next.*Most is left to gain in \w+ \(\d+ % of \d+ right\), ", text, re.DOTALL)
    assert "per_round: 1200" in html  # the whole configuration
    assert markdown.count("\n") < 60  # one screen


def test_the_supervised_start_is_not_counted_among_the_promoted_rounds(tmp_path):
    run = Recording(tmp_path / "run", rounds=1)
    run.gating(0)
    run(ev.RoundEnded(round=0, weights="w0"))
    run.round(1)
    folder = run.end()
    text = report_markdown(folder.state(), folder, "finished")
    assert "1 of 1 rounds over" in text
    assert ", 1 promoted;" in text


def test_examples_are_of_different_tasks_and_show_each_reason_before_one_comes_twice(tmp_path):
    folder = finished(tmp_path / "run", rounds=1)
    texts = folder.texts(1)
    for i, reason in enumerate(["schema.enum"] * 4 + ["form.syntax"]):
        for copy in range(2):
            task = Task.of(id=f"d{i}", query=f"query number {i}", tools=[{"name": "f", "parameters": {}}])
            verdicts = (Verdict("format", "drop", reason),)
            texts.append("dropped", Sample.of(f"r1/d{i}/{copy}", task, answer="[f()]", round=1, verdicts=verdicts))
    texts.close()
    html = report_html(folder.state(), folder, "finished")
    shown = [i for i in range(5) if f"query number {i}" in html]
    assert 4 in shown  # the only one with its reason
    assert len(shown) == 2  # beside the sample that the folder had already
    assert all(html.count(f"<p>[user] query number {i}") <= 1 for i in range(5))


def test_a_refused_candidate_is_off_the_line_of_what_the_run_kept(tmp_path):
    run = Recording(tmp_path / "run", rounds=3)
    for k, decision in ((1, "promote"), (2, "rollback"), (3, "promote")):
        run.gating(k, decision)
    run.log.close()
    points = accuracy_by_round(run.folder.state())[0].points
    assert [(p.name, p.kept) for p in points] == [
        ("base", True), ("round 1 ▲", True), ("round 2 ▼", False), ("round 3 ▲", True),
    ]  # fmt: skip
    assert all(p.low <= p.share <= p.high for p in points)
    drawn = accuracy_svg(accuracy_by_round(run.folder.state()), "accuracy")
    assert drawn.count('class="hollow') == 1
    line = re.search(r'<polyline points="([^"]*)"', drawn)[1]
    assert len(line.split()) == 3


def test_numbers_of_an_axis_lie_inside_the_picture_and_labels_above_the_names_of_places():
    drawn = lines_svg([("a", [0.8754321, 0.0]), ("b", [0.3, 0.0])], ["round 1", "round 2"], "l", low=0, high=0.8754321)
    texts = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="[^"]*" text-anchor="(\w+)">([^<]*)<', drawn)
    for x, _, anchor, words in texts:
        assert anchor != "end" or float(x) - 8 * len(words) >= 0
    names = min(float(y) for _, y, _, words in texts if words.startswith("round"))
    labels = sorted(float(y) for _, y, _, words in texts if words in ("a", "b"))
    assert labels[1] <= names - 14
    assert labels[1] - labels[0] >= 13


def test_a_smoothed_curve_keeps_a_constant_and_lies_between_the_extremes():
    assert smoothed([2.0] * 9) == pytest.approx([2.0] * 9)
    made = smoothed([0.0, 4.0, None, 0.0, 4.0] * 20)
    assert made[2] is None
    assert all(0 <= v <= 4 for v in made if v is not None)
    assert abs(made[-1] - 2) < 1


def test_parameters_are_counted_from_headers_and_a_broken_file_counts_as_none(tmp_path):
    header = json.dumps({"__metadata__": {}, "a": {"shape": [3, 4]}, "b": {"shape": [5]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert parameters(tmp_path) == 17
    (tmp_path / "more.safetensors").write_bytes(b"\xff" * 20)
    assert parameters(tmp_path) == 17
    (tmp_path / "more.safetensors").write_bytes((5).to_bytes(8, "little") + b"{[}..")
    assert parameters(tmp_path) == 0
