"""Names of earlier configurations and graphs: each is refused with what it is called now."""

import pytest
import yaml

from funreason.bus.agent import GraphError
from funreason.cli import main
from funreason.config import CONFIGS, Config, ConfigError, Fcdr, Update, check_config
from funreason.config.reading import RENAMED, RENAMED_VALUES, new_name
from funreason.runtime.graph import loop_graph

UPDATE = """
lr epochs batch warmup_steps warmup_ratio schedule alpha alpha_mode average max_length micro_tokens head head_chunk pack
gradient_checkpointing lora checkpoint_every replay launch
""".split()
OLD = """
rounds seed run_dir name
model.path model.device model.dtype model.prompt model.think_tags model.template model.threads model.sampler
model.vllm.max_model_len model.vllm.max_num_seqs model.vllm.kv_cache_gb model.vllm.gpu_memory_utilization
model.vllm.enforce_eager model.vllm.tensor_parallel
tasks.path tasks.per_round tasks.mix tasks.strict
warmup.references.path warmup.references.count warmup.references.mix
sample.k sample.temperature sample.top_p sample.max_new_tokens sample.batch_tokens sample.max_staleness
sample.endpoints sample.render
fcdr.graph fcdr.skip fcdr.move fcdr.max_attempts fcdr.regenerate fcdr.require_thinking
fcdr.judging.response fcdr.judging.query_tool fcdr.judging.cot fcdr.judging.parameters fcdr.judging.format
fcdr.llm.model fcdr.llm.endpoints fcdr.llm.temperature fcdr.llm.max_tokens fcdr.llm.draws fcdr.llm.accept
fcdr.llm.threshold fcdr.llm.asks fcdr.llm.concurrency fcdr.llm.cache fcdr.llm.cache_entries
fcdr.accept fcdr.threshold
fcdr.judges.name fcdr.judges.agent fcdr.judges.after fcdr.judges.edge fcdr.judges.seconds fcdr.judges.outcomes
fcdr.judges.stage
fcdr.error_limit fcdr.canaries.share fcdr.canaries.path fcdr.canaries.max_false_pass fcdr.canaries.max_false_drop
fcdr.agreement fcdr.workers
train.learn_from train.init_from train.per_task train.most_solved train.counts train.quotas
gate.suites gate.min_gain gate.significant gate.p gate.max_category_loss gate.max_guard_loss
gate.contamination.mode gate.contamination.near
budget.tokens budget.requests
""".split()
OLD += [f"{section}.update.{key}" for section in ("warmup", "train") for key in UPDATE]
"""Every key of the configuration before its words were changed."""


def known(key: str) -> bool:
    """Whether the configuration has this key today."""
    section = Config
    for part in key.split("."):
        field = section.model_fields.get(part) if section is not None else None
        if field is None:
            return False
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        section = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
    return True


def refused(capsys, *arguments: str) -> list[str]:
    """What `funreason config check` says on its way out."""
    with pytest.raises(SystemExit) as left:
        main(["config", "check", *arguments])
    assert left.value.code == 2
    return capsys.readouterr().err.removeprefix("funreason: ").splitlines()


def only(key: str):
    """A configuration that sets nothing but this key."""
    data = None
    for part in reversed(key.split(".")):
        data = {part: [data] if part == "judges" else data}
    return data


@pytest.mark.parametrize("key", [key for key in OLD if not known(key)])
def test_config_check_names_the_new_key_for_each_old_one(tmp_path, capsys, key):
    file = tmp_path / "old.yaml"
    file.write_text(yaml.safe_dump(only(key)))
    said = refused(capsys, str(file))
    old = key
    while old not in RENAMED:
        old = old.rpartition(".")[0]
    assert f"{file}: unknown key {old}: it is called {RENAMED[old]} now." in said


@pytest.mark.parametrize("key", OLD)
def test_every_old_key_is_known_still_or_has_a_name_that_is(key):
    later = {new.rpartition(".")[2] for old, new in RENAMED.items() if ".update." in old} - set(Update.model_fields)
    now = new_name(key) or key
    assert known(now) or now.rpartition(".")[2] in later


def test_a_setting_by_its_old_name_is_refused_on_the_command_line(capsys):
    assert refused(capsys, "--set", "warmup.references=null", "--set", "sample.k=3") == [
        "the command line: unknown key sample.k: it is called sample.samples_per_task now.",
        "the command line: unknown key warmup: it is called start now.",
    ]


@pytest.mark.parametrize(
    ("data", "now"),
    [
        ({"sample": {"render": "here"}}, "here is called local now"),
        ({"gate": {"suites": {"mine": {"path": "x", "role": "watch"}}}}, "watch is called report now"),
        ({"gate": {"suites": {"mine": {"path": "x", "role": "decide"}}}}, "decide is called decision now"),
    ],
)
def test_an_old_value_is_refused_with_its_new_name(data, now):
    with pytest.raises(ConfigError, match=now):
        check_config(data, "x.yaml")
    assert len(RENAMED_VALUES) == 2


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        ("regenerator retry", "regenerator counted", "it is called 'retry' now"),
        ("exhausted", "spent", "'spent', which is called 'exhausted' now"),
        ("reformatted", "same", "'same', which is called 'reformatted' now"),
        ("resampled", "fresh", "'fresh', which is called 'resampled' now"),
        ("rewritten", "changed", "'changed', which is called 'rewritten' now"),
    ],
)
def test_an_old_word_of_a_graph_file_is_refused_with_its_new_name(tmp_path, new, old, said):
    file = tmp_path / "old.yaml"
    text = (CONFIGS / "fcdr.yaml").read_text()
    file.write_text(text.replace(new, old))
    with pytest.raises(GraphError, match=said):
        loop_graph(Config(fcdr=Fcdr(graph=str(file))))
