"""The report: one file, no network, nothing taken for markup."""

import re
from html.parser import HTMLParser

from recorded import Recording, finished

from funreason.cli.export import report
from funreason.display.report import report_html, report_markdown


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
    assert names.count("svg") == 5
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
