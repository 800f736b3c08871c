"""The documentation says what there is: written pages, records that are read, commands and keys that exist."""

import ast
import importlib
import json
import re
import runpy
import shlex
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml
from cyclopts import CycloptsError, MissingArgumentError

import funreason
import funreason.bfcl
import funreason.objectives
import funreason.types
from funreason.cli.app import EXIT_CODES, app
from funreason.config import Config, ConfigError, load_config, parse_setting
from funreason.data.forms.known import FORMS, form_of

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
WRITER = runpy.run_path(str(DOCS / "reference_pages.py"))
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *DOCS.rglob("*.md")]}
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
REASON = re.compile(r'"([a-z_]+\.[a-z_]+)"')
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@pytest.mark.parametrize("page", WRITER["PAGES"])
def test_what_the_code_writes_into_the_docs_is_up_to_date(page):
    assert (DOCS / page).read_text() == WRITER["PAGES"][page](), "write it again: python docs/reference_pages.py"


def test_every_page_is_in_the_navigation():
    def pages(entries):
        for entry in entries:
            [value] = entry.values()
            yield from pages(value) if isinstance(value, list) else [value]

    listed = list(pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_the_page_of_data_has_a_record_of_every_form():
    text = TEXTS["docs/data.md"]
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert sorted(sections) == sorted(FORMS)
    for form, section in sections.items():
        files = [content for name, content in WRITER["FILE"].findall(section) if "/" not in name]
        assert files, form
        for content in files:
            assert {form_of(record).name for record in records(content)} == {form}


def records(content):
    """The objects of a literal file: a list of them, or one after the other."""
    found, place = [], 0
    while content[place:].strip():
        place += len(content[place:]) - len(content[place:].lstrip())
        value, place = json.JSONDecoder().raw_decode(content, place)
        found += value if isinstance(value, list) else [value]
    return found


def test_the_page_of_the_api_has_every_public_name():
    listed = re.findall(r"^::: (\S+)$", TEXTS["docs/reference/api.md"], re.MULTILINE)
    public = {f"funreason.{name}" for name in funreason.__all__}
    public |= {f"funreason.bfcl.{name}" for name in funreason.bfcl.__all__}
    public |= {f"funreason.objectives.{name}" for name in set(funreason.objectives.__all__) - set(funreason.__all__)}
    others = set(listed) - public
    assert public <= set(listed)
    assert all(hasattr(funreason.types, name.removeprefix("funreason.types.")) for name in others)


def test_the_start_page_names_the_version_and_every_extra_that_a_user_may_want():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    [rows] = re.findall(r"^\| extra .*\n\|-.*\n((?:\|.*\n)+)", TEXTS["docs/index.md"], re.MULTILINE)
    listed = {name for row in rows.splitlines() for name in SPAN.findall(row.split("|")[1])}
    assert sorted(listed) == sorted(set(extras) - {"dev", "vllm-cpu"})
    assert set(re.findall(r"funreason-([\d.]+)-py3", TEXTS["docs/index.md"])) == {funreason.__version__}


def test_the_table_of_exit_codes_has_those_of_the_help():
    codes = re.findall(r"^\| (\d+) \|", TEXTS["docs/reading-a-run.md"], re.MULTILINE)
    assert codes == re.findall(r"(\d+) [a-z]", EXIT_CODES)


def commands(text):
    """Each `funreason …` of a page as words, and whether it is whole: lines of code, and code within sentences."""
    prose = FENCE.sub("", text)
    blocks = [body.replace("\\\n", " ") for _, body in FENCE.findall(text)]
    lines = [line for block in blocks for line in block.splitlines()] + re.findall(r"^    .+$", prose, re.MULTILINE)
    for line, whole in [*((line.strip(), True) for line in lines), *((span, False) for span in SPAN.findall(prose))]:
        for part in re.split(r" && | \|\| ", re.sub(r"\s+#.*$|\s{2,}.*$", "", line)):  # a comment, or a second column
            if part.startswith("funreason "):
                part = re.sub(r"(?<=\s)\[([^\]]+)\]", r"\1", part)  # what may be left out
                yield [re.sub(r"^([\w.]+)(\|[\w.]+)+$", r"\1", word) for word in shlex.split(part)[1:]], whole


def problem(words, whole):
    """What is wrong with a command; "" where nothing is."""
    said = next((place for place, word in enumerate(words) if "…" in word), None)
    if said is not None:  # the rest is left to the reader
        words, whole = words[: said - words[said - 1].startswith("--")], False
    if words[:1] in (["COMMAND"], ["--help"], ["--version"], ["--install-completion"]):
        return ""
    try:
        _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
        if words[0] != "reward" and (settings := bound.arguments.get("settings")):  # whose --set is the reward's
            load_config("default", dict(map(parse_setting, settings)))
    except MissingArgumentError as error:
        return str(error) if whole else ""
    except (CycloptsError, ConfigError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("page", sorted(set(TEXTS) - {"docs/reference/commands.md"}))  # made from the command line
def test_every_command_in_the_docs_is_taken_by_the_command_line(page):
    wrong = {" ".join(words): found for words, whole in commands(TEXTS[page]) if (found := problem(words, whole))}
    assert wrong == {}


SCHEMA = Config.model_json_schema()
SECTIONS = [SCHEMA, *SCHEMA["$defs"].values()]
"""The configuration, and every group of keys in it: pages also name keys from a group on, such as `update.lora`."""
NO_KEYS = re.compile(
    r"\.(jsonl?|ya?ml|md|py|txt|gz|svg|safetensors)$|^loss\.tags$|^contamination\.(exact|near|tools)$|^augment\.(KIND|from)$"
)
"""Files, an attribute, and reasons and flags that begin like keys."""


def exists(key, field):
    """Whether a dotted key, as a list of its parts, is among those of a field of the schema."""
    if not key:
        return True
    ways = [field, *field.get("anyOf", ()), *field.get("allOf", ())]
    ways += [SCHEMA["$defs"][way["$ref"].rpartition("/")[2]] for way in ways if "$ref" in way]
    for way in ways:
        mapping = way.get("additionalProperties")
        below = way.get("properties", {}).get(key[0]) or (
            mapping if isinstance(mapping, dict) else {} if mapping else None
        )
        if (
            mapping is True
            or (below is not None and exists(key[1:], below))
            or ("items" in way and exists(key, way["items"]))
        ):
            return True
    return False


def keys(text):
    """Every dotted name of a page that begins like a key of the configuration: in sentences, and in blocks of YAML."""
    holders = {name for section in SECTIONS for name, field in section.get("properties", {}).items() if is_group(field)}
    for span in SPAN.findall(FENCE.sub("", text)):
        found = re.match(r"(?:--set )?'?([a-z_]+(?:\.[A-Za-z_]+)+)(?=$|[=:\[ ])", span)
        if found and found[1].split(".")[0] in holders and not NO_KEYS.search(found[1]):
            yield found[1]
    for kind, body in FENCE.findall(text):
        if kind == "yaml" and isinstance(written := yaml.safe_load(body), dict):
            yield from nested(written)


def is_group(field):
    return "$ref" in json.dumps(field)


def nested(written, prefix=""):
    """The dotted keys of a mapping."""
    for name, value in written.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from nested(value, f"{prefix}{name}.")


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_every_key_in_the_docs_is_one_of_the_configuration(page):
    named = set(keys(TEXTS[page]))
    assert {key for key in named if not any(exists(key.split("."), section) for section in SECTIONS)} == set()


def test_a_key_and_an_option_that_do_not_exist_are_found():
    text = "`train.update.lrr=1`, `update.lora.rank`, `gate.suites.mine.path`\n```yaml\nmodel: {pth: a}\n```\n"
    wrong = {key for key in keys(text) if not any(exists(key.split("."), section) for section in SECTIONS)}
    assert wrong == {"train.update.lrr", "model.pth"}
    text = "```bash\nfunreason loop --roundz 3\nfunreason status [RUN]  # fine\n```\n`funreason loop --set sed=1`\n"
    wrong = [words for words, whole in commands(text) if problem(words, whole)]
    assert wrong == [["loop", "--roundz", "3"], ["loop", "--set", "sed=1"]]
    assert sum(len(list(commands(text))) for text in TEXTS.values()) > 300


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_every_python_example_parses_and_imports_names_that_exist(page):
    for kind, body in FENCE.findall(TEXTS[page]):
        if kind != "python":
            continue
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "funreason":
                module = importlib.import_module(node.module)
                named = set(getattr(module, "__all__", dir(module))) | {"bfcl"}
                assert {alias.name for alias in node.names} <= named


def test_every_reason_that_the_faq_explains_is_one_that_the_code_gives():
    given = {code for path in (ROOT / "funreason").rglob("*.py") for code in REASON.findall(path.read_text())}
    [rows] = re.findall(r"^\| commonest reason .*\n\|-.*\n((?:\|.*\n)+)", TEXTS["docs/faq.md"], re.MULTILINE)
    explained = {name for row in rows.splitlines() for name in SPAN.findall(row.split("|")[1])}
    assert {name for name in explained if not any(fnmatchcase(code, name) for code in given)} == set()


def test_each_answer_of_the_faq_names_a_command_or_a_setting():
    answers = re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", TEXTS["docs/faq.md"], re.MULTILINE | re.DOTALL)
    assert len(answers) > 20
    assert [
        name for name, answer in answers if not (list(commands(answer)) or list(keys(answer)) or "`--" in answer)
    ] == []
