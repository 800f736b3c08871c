"""The form of calls a model is taught: prompt, references, stage 5, regenerator, canaries, gate and loop in step."""

import asyncio
import json
import subprocess
import sys

import pytest
from command_line import funreason
from tiny import CHAT_TEMPLATE, tiny_tokenizer

from funreason.agents.judges.canaries import CanarySet
from funreason.agents.judges.registry import check_judges, judges
from funreason.agents.judges.rules.stages import FormatJudge
from funreason.agents.references import reference_sample
from funreason.agents.regenerator import Regenerator
from funreason.bfcl import Case, check, check_in
from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.calls.dialects.catalogue import dialect_named, dialects
from funreason.calls.lenient import looks_like_calls, parse_any
from funreason.calls.parse import CallSyntaxError
from funreason.calls.tools import normalise_tools
from funreason.config import Config, ConfigError
from funreason.config.models import Model
from funreason.data.reading import read_samples
from funreason.data.toolbox import generate
from funreason.errors import ModelError
from funreason.export import export_run
from funreason.policies.endpoint.wire import ApiMessage, Function, ToolCall, message_text
from funreason.policies.native_format import call_format_of, native_format
from funreason.policies.prompts import prompt_text
from funreason.record.folder import RunFolder
from funreason.replay import VerdictValidity
from funreason.types import Call, Sample, Task, Verdict

TOOLS = normalise_tools([{"name": "f", "parameters": {"a": {"type": "str"}, "n": {"type": "int", "required": False}}}])
OSLO = [Call("f", {"a": "Oslo"})]
TASK = Task.of("t", "Oslo please", TOOLS, OSLO)
HERMES = '<tool_call>\n{"name": "f", "arguments": {"a": "Oslo"}}\n</tool_call>'
WRITTEN = [CallFormat(dialect) for dialect in dialects() if dialect.write is not None]


def named(name: str) -> CallFormat:
    return CallFormat(dialect_named(name))


def verdict(form: CallFormat, answer: str):
    return asyncio.run(FormatJudge(form)(Sample.of("s", TASK, answer, "f fits: a is Oslo")))


@pytest.mark.parametrize("form", WRITTEN, ids=lambda form: form.name)
def test_stage_five_takes_the_form_that_is_taught_and_refuses_every_other(form):
    answer = form.render(OSLO, TOOLS)
    assert verdict(form, answer).outcome == "pass"
    assert verdict(form, f"Here it is: {answer}").outcome == "regenerate"
    for other in WRITTEN:
        text = other.render(OSLO, TOOLS)
        if "".join(text.split()) != "".join(answer.split()) and form != PYTHONIC:
            assert verdict(form, text).outcome == "regenerate", other.name


def test_blanks_between_marks_and_json_are_free_and_anything_else_is_not():
    assert verdict(named("hermes"), HERMES.replace("\n", "")).outcome == "pass"
    assert verdict(named("hermes"), HERMES.replace(": ", ":")).outcome == "pass"
    for other in (HERMES + "\nDone.", HERMES.replace('"', "'"), HERMES.removesuffix("</tool_call>"), "[f(a='Oslo')]"):
        assert verdict(named("hermes"), other).outcome == "regenerate"


def test_the_pythonic_form_is_judged_as_ever():
    assert verdict(PYTHONIC, '[f(a="Oslo")]').outcome == "pass"
    assert verdict(PYTHONIC, HERMES).reason == "form.not_a_list"
    assert verdict(PYTHONIC, "[ f(a='Oslo')]").reason == "form.blank_in_name"


@pytest.mark.parametrize("name", ["json", "hermes", "qwen_coder", "mistral"])
def test_the_regenerator_writes_the_same_calls_in_the_form_that_is_taught(name):
    form = named(name)
    made = Sample.of("s", TASK, "[f(a='Oslo')]", "f fits: a is Oslo", attempt=1)
    made = made.judged(asyncio.run(FormatJudge(form)(made)))
    [emit] = asyncio.run(Regenerator(None, form=form)([made]))
    assert (emit.outcome, emit.message.origin) == ("reformatted", "rerendered")
    assert emit.message.answer == form.render(OSLO, TOOLS)
    assert verdict(form, emit.message.answer).outcome == "pass"


def test_a_repair_writes_the_reference_in_the_form_that_is_taught():
    made = Sample.of("s", TASK, "no call at all <tool_call>", attempt=2)
    made = made.judged(verdict(named("hermes"), made.answer))
    [emit] = asyncio.run(Regenerator(None, order=("repair",), form=named("hermes"))([made]))
    assert (emit.message.answer, emit.message.origin) == (HERMES, "repaired")


def test_references_are_written_in_the_form_that_is_taught():
    assert reference_sample(TASK, "r", form=named("hermes")).answer == HERMES
    assert reference_sample(TASK, "r").answer == "[f(a='Oslo')]"
    text = Task.of("t", "hello", TOOLS, [], reference_text="No function fits.")
    assert reference_sample(text, "r", form=named("hermes")).answer == "No function fits."


@pytest.mark.parametrize("form", WRITTEN, ids=lambda form: form.name)
def test_the_text_prompt_shows_the_form_that_is_taught(form):
    system = prompt_text(TASK, tiny_tokenizer(), style="text", call_format=form).partition("<|im_end|>")[0]
    assert form.instruction in system
    shown = [Call("name", {"parameter": "value"}), Call("other", {"parameter": 1})]
    assert form == PYTHONIC or form.render(shown) in system


@pytest.mark.parametrize("name", ["pythonic", "json", "hermes"])
@pytest.mark.parametrize("stage", ["response", "query_tool", "parameters", "format"])
def test_canaries_are_written_in_the_form_so_that_the_rules_misjudge_none(name, stage):
    canaries = CanarySet(generate("new_train", 40, 1), 0, 1, named(name))
    judge = judges(Config(model=Model(call_format=name)))[stage]
    tried = [*canaries.good(stage, 8), *canaries.bad(stage, 8)]
    assert sum(canary.bad for canary in tried) >= 4
    assert not [c.fault for c in tried if c.misjudged(asyncio.run(judge(c.sample)).outcome)]


def test_the_gate_scores_calls_in_the_form_that_is_taught_and_the_pythonic_form_by_the_leaderboards_rule():
    function = {"name": "f", "parameters": {"type": "dict", "properties": {"a": {"type": "string"}}, "required": ["a"]}}
    case = Case(
        "simple_python_0", "simple_python", [[{"role": "user", "content": "?"}]], [function], [{"f": {"a": ["Oslo"]}}]
    )
    assert check_in(case, HERMES, named("hermes")).valid
    assert not check_in(case, "[f(a='Oslo')]", named("hermes")).valid
    assert not check_in(case, HERMES.replace("Oslo", "Lima"), named("hermes")).valid
    for output in ("[f(a='Oslo')]", "f(a='Oslo')", "`[f(a='Oslo')`", HERMES, "nothing"):
        assert check_in(case, output, PYTHONIC) == check(case, output)


def test_calls_that_a_server_has_parsed_are_written_in_the_form_that_is_taught():
    message = ApiMessage(tool_calls=[ToolCall(Function("f", '{"a": "Oslo"}'))])
    assert message_text(message, form=named("hermes")) == HERMES
    assert message_text(message) == "[f(a='Oslo')]"


def test_a_recorded_verdict_on_the_form_is_not_valid_under_another_form():
    old, new = Config(), Config(model=Model(call_format="hermes"))
    sample, passed = Sample.of("s", TASK, "[f(a='Oslo')]"), Verdict("format", "pass", judge="rules")
    assert VerdictValidity(old, old).verdict(sample, "format", passed) == passed
    said = VerdictValidity(old, new).verdict(sample, "format", passed)
    assert said == "model.call_format was pythonic and is hermes"
    other = Verdict("parameters", "pass", judge="rules")
    assert VerdictValidity(old, new).verdict(sample, "parameters", other) == other


CALLING = {
    "hermes": "<tool_call>\\n{{ {'name': f.name, 'arguments': f.arguments} | tojson }}\\n</tool_call>\\n",
    "llama_json": (
        "{% if m.tool_calls | length != 1 %}{{ raise_exception('one call at once') }}{% endif %}"
        "{{ {'name': f.name, 'parameters': f.arguments} | tojson }}"
    ),
    "kimi": (
        "{{ '<|tool_calls_section_begin|>' if loop.first }}<|tool_call_begin|>{{ call.id }}<|tool_call_argument_begin|>"
        "{{ f.arguments | tojson }}<|tool_call_end|>{{ '<|tool_calls_section_end|>' if loop.last }}"
    ),
    "glm": (
        "\\n<tool_call>{{ f.name }}\\n{% for k, v in f.arguments | dictsort %}<arg_key>{{ k }}</arg_key>\\n"
        "<arg_value>{{ v if v is string else v | tojson }}</arg_value>\\n{% endfor %}</tool_call>"
    ),
    "command_a": (
        "{{ '<|START_ACTION|>[' if loop.first }}"
        "{{ {'tool_call_id': loop.index0 | string, 'tool_name': f.name, 'parameters': f.arguments} | tojson }}"
        "{{ ', ' if not loop.last else ']<|END_ACTION|>' }}"
    ),
    "mistral": (
        "{{ '[TOOL_CALLS][' if loop.first }}"
        "{{ {'name': f.name, 'arguments': f.arguments, 'id': call.id} | tojson }}{{ ', ' if not loop.last else ']' }}"
    ),
    "qwen_coder": (
        "<tool_call>\\n<function={{ f.name }}>\\n{% for k, v in f.arguments.items() %}<parameter={{ k }}>\\n"
        "{{ v if v is string else v | tojson }}\\n</parameter>\\n{% endfor %}</function>\\n</tool_call>\\n"
    ),
    "deepseek_v31": (
        "{{ '<｜tool▁calls▁begin｜>' if loop.first }}<｜tool▁call▁begin｜>{{ f.name }}<｜tool▁sep｜>"
        "{{ f.arguments | tojson }}<｜tool▁call▁end｜>{{ '<｜tool▁calls▁end｜>' if loop.last }}"
    ),
}


def tokenizer_that_calls(written: str):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for call in m.tool_calls or [] %}"
        "{% set f = call.function %}" + written.replace("\\n", "\n") + "{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return tokenizer


@pytest.mark.parametrize("name", CALLING)
def test_native_is_what_the_models_own_chat_template_writes(name):
    assert native_format(tokenizer_that_calls(CALLING[name])) == named(name)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("!{{ f.name }}!{{ f.arguments | tojson }}", "no known dialect reads them"),
        ("<my_calls>{{ {'name': f.name, 'arguments': f.arguments} | tojson }}</my_calls>", "writes calls as"),
        ("", "writes no calls"),
    ],
)
def test_a_template_whose_calls_are_not_recognised_is_refused_with_a_sentence(written, said):
    with pytest.raises(ModelError, match=said):
        native_format(tokenizer_that_calls(written))


def test_a_template_that_refuses_calls_is_refused_with_a_sentence():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    with pytest.raises(ModelError, match="Name the form instead"):
        native_format(tokenizer)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"call_format": "klingon"}, "no dialect is named 'klingon'. Known: .*hermes"),
        ({"call_format": "fenced"}, "can be read but not written"),
        ({"call_format": "no_such_module:D"}, "No module named"),
        ({"dialects": ["funreason.calls.parse:MAX_CHARS"]}, "expected a funreason.calls.dialects.dialect.Dialect"),
    ],
)
def test_a_form_that_cannot_be_taught_is_refused_before_anything_runs(settings, said):
    with pytest.raises(ConfigError, match=said):
        check_judges(Config(model=Model(**settings)))


def test_a_model_as_judge_of_the_form_knows_only_the_pythonic_one():
    config = Config.model_validate(
        {
            "model": {"call_format": "hermes"},
            "fcdr": {"stages": {"format": "llm"}, "llm": {"endpoints": [{"url": "http://127.0.0.1:9/v1"}]}},
        }
    )
    with pytest.raises(ConfigError, match=r"fcdr\.stages\.format=rules"):
        check_judges(config)


PLUGIN = """
from funreason.calls.dialects.dialect import Dialect
from funreason.calls.dialects.json_shapes import calls_from_json, json_text, value_of

ARROWS = Dialect(
    name="{name}",
    serves="a test",
    example='=>f {{"a": 1}}',
    marks=("{mark}",),
    read=lambda text, tools: [
        calls_from_json({{"name": name, "arguments": value_of(rest)}})[0]
        for name, _, rest in (piece.strip().partition(" ") for piece in text.split("{mark}")[1:])
    ],
    write=lambda calls, tools: "\\n".join("{mark}" + c.name + " " + json_text(c.arguments) for c in calls),
)
"""


def test_a_dialect_in_a_file_is_taught_and_read_like_those_of_the_package(tmp_path):
    file = tmp_path / "arrows.py"
    file.write_text(PLUGIN.format(name="arrows", mark="=>>"))
    form = call_format_of(Model(call_format=f"{file}:ARROWS"))
    text = form.render([*OSLO, Call("g", {"n": 2})])
    assert text == '=>>f {"a": "Oslo"}\n=>>g {"n": 2}'
    assert parse_any(text) == form.parse(text) == [*OSLO, Call("g", {"n": 2})]
    assert looks_like_calls("=>>f")
    with pytest.raises(CallSyntaxError):
        form.parse("so: " + text)


def test_a_dialect_of_an_installed_package_is_read_and_a_broken_one_only_warns(tmp_path):
    site = tmp_path / "site"
    info = site / "arrows-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: arrows\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[funreason.dialects]\narrows = arrows:ARROWS\nbroken = no_such_thing:X\n")
    (site / "arrows.py").write_text(PLUGIN.format(name="arrows2", mark="==>"))
    code = (
        f"import sys, warnings\nsys.path.insert(0, {str(site)!r})\n"
        "from funreason.calls.lenient import parse_any\n"
        "with warnings.catch_warnings(record=True) as said:\n    warnings.simplefilter('always')\n"
        "    print(parse_any('==>f {\"a\": 1}'))\nprint([str(one.message)[:32] for one in said])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "[Call(name='f', arguments={'a': 1})]",
        "[\"the dialect 'broken' is not used\"]",
    ], done.stderr


@pytest.mark.slow
def test_a_round_of_the_loop_keeps_and_learns_samples_in_the_form_that_is_taught(tmp_path):
    """The embedded model writes the pythonic form, which stage 5 refuses here; the regenerator writes the other."""
    settings = ["name=small", "tasks.path=toolbox:old_dev", "tasks.per_round=6", "sample.samples_per_task=1"]
    settings += ["start.references=null", "train.update.replay=null", "model.call_format=hermes"]
    settings += ["gate.suites.new.count=4", "gate.suites.old.count=4"]
    command = ["loop", "--config", "smoke", "--rounds", "1", "--run-dir", str(tmp_path)]
    command += [word for setting in settings for word in ("--set", setting)]
    done = funreason(*command)
    assert done.returncode in (0, 3), done.stderr
    folder = RunFolder(tmp_path / "small")
    kept = list(folder.texts(1).get("kept"))
    assert kept
    for sample in kept:
        assert named("hermes").parse(sample.answer, sample.task.tools)
        assert [v.outcome for v in sample.verdicts if v.stage == "format"] == ["regenerate", "pass"]
    assert folder.state().rounds[1].steps
    export_run(folder, tmp_path / "out")
    info = json.loads((tmp_path / "out" / "llamafactory" / "dataset_info.json").read_text())["funreason"]
    read = read_samples(tmp_path / "out" / "llamafactory" / info["file_name"])
    answers = {sample.id: sample.answer for sample in read.samples}
    for sample in kept:
        assert parse_any(answers[sample.id]) == parse_any(sample.answer)


def test_refined_records_are_written_in_the_form_and_their_calls_are_read_back(tmp_path):
    file = tmp_path / "in.jsonl"
    record = {
        "id": "x",
        "query": "Oslo please",
        "tools": json.dumps(TOOLS),
        "answers": json.dumps([{"name": "f", "arguments": {"a": "Oslo"}}]),
    }
    file.write_text(json.dumps(record) + "\n")
    done = funreason("refine", file, "--out", tmp_path / "out", "--set", "model.call_format=hermes")
    assert done.returncode == 0, done.stdout + done.stderr
    [line] = (tmp_path / "out" / "refined-xlam.jsonl").read_text().splitlines()
    assert json.loads(json.loads(line)["answers"]) == [{"name": "f", "arguments": {"a": "Oslo"}}]
    assert (
        HERMES in json.loads((tmp_path / "out" / "refined-sharegpt.json").read_text())[0]["conversations"][1]["value"]
    )
