"""The configuration: what is refused, and how."""

import pytest
import yaml

from funreason.config import CONFIGS, ConfigError, check_config, dump_config, load_config, parse_setting


@pytest.mark.parametrize("name", [p.stem for p in CONFIGS.glob("*.yaml") if "\nedges:" not in p.read_text()])
def test_every_shipped_configuration_is_valid_and_says_what_it_costs(name):
    load_config(name)
    assert (CONFIGS / f"{name}.yaml").read_text().startswith("#")


@pytest.mark.parametrize(
    ("data", "nearest"),
    [
        ({"round": 3}, "rounds"),
        ({"sample": {"temprature": 1}}, "temperature"),
        ({"gate": {"suites": {"a": {"pth": "x"}}}}, "path"),
        ({"train": {"update": {"replay": {"path": "x", "cuont": 3}}}}, "count"),
        ({"agents": [{"name": "a", "agnet": "b"}]}, "agent"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_known_one(data, nearest):
    with pytest.raises(ConfigError, match=f"Did you mean {nearest}"):
        check_config(data, "x.yaml")


def test_a_wrong_value_is_named_with_what_was_expected():
    with pytest.raises(ConfigError, match=r"train\.update\.alpha is 1\.5: .*less than or equal to 1"):
        check_config({"train": {"update": {"alpha": 1.5}}}, "x.yaml")


@pytest.mark.parametrize("name", ["", " "])
def test_a_judge_without_a_name_is_refused(name):
    with pytest.raises(ConfigError, match=r"agents\.0\.name is '.?': .*expected a name for its node"):
        check_config({"agents": [{"name": name, "agent": "x:y"}]}, "x.yaml")


def test_all_mistakes_are_named_at_once():
    with pytest.raises(ConfigError) as error:
        check_config({"round": 3, "sed": 1}, "x.yaml")
    assert str(error.value).count("unknown key") == 2


def test_changes_from_the_command_line_win_over_the_file(tmp_path):
    (tmp_path / "c.yaml").write_text("rounds: 5\nsample: {samples_per_task: 2}\n")
    config = load_config(
        tmp_path / "c.yaml", dict([parse_setting("sample.samples_per_task=7"), parse_setting("gate.p_value=0.1")])
    )
    assert (config.rounds, config.sample.samples_per_task, config.gate.p_value) == (5, 7, 0.1)


def test_a_setting_without_an_equals_sign_is_explained():
    with pytest.raises(ConfigError, match="expected key=value"):
        parse_setting("sample.samples_per_task")


def test_a_missing_configuration_lists_those_there_are():
    with pytest.raises(ConfigError, match="default"):
        load_config("nope")


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "just words"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError):
        load_config(tmp_path / "c.yaml")


def test_what_is_shown_can_be_loaded_again():
    config = load_config("default")
    assert check_config(yaml.safe_load(dump_config(config)), "shown") == config


JUDGE = "agents: [{name: a, agent: 'mine.py:judge'}, {name: b, agent: 'package.module:judge'}]\n"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A folder with a configuration that names a judge's file, and another one, in which we stand."""
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    (there / "c.yaml").write_text(JUDGE)
    monkeypatch.chdir(here)
    return there, here


def agents(config):
    return [entry.agent for entry in config.agents]


@pytest.mark.parametrize("lie_in", [["there"], ["there", "here"], []])
def test_a_judges_file_is_looked_for_beside_the_configuration_and_written_whole(folders, lie_in):
    there, here = folders
    for name in lie_in:
        (here.parent / name / "mine.py").touch()
    config = load_config("../there/c.yaml")
    assert agents(config) == [f"{there}/mine.py:judge", "package.module:judge"]
    (here / "config.yaml").write_text(dump_config(config))
    assert load_config(here / "config.yaml") == config


def test_a_judges_file_that_lies_only_in_the_working_directory_is_found_there(folders):
    _, here = folders
    (here / "mine.py").touch()
    assert agents(load_config("../there/c.yaml"))[0] == f"{here}/mine.py:judge"


def test_a_judges_file_named_on_the_command_line_lies_in_the_working_directory(folders):
    there, here = folders
    for folder in folders:
        (folder / "mine.py").touch()
    changes = dict([parse_setting("agents=[{name: a, agent: 'mine.py:judge'}]")])
    assert agents(load_config(there / "c.yaml", changes)) == [f"{here}/mine.py:judge"]


@pytest.mark.parametrize(
    "keys",
    [
        ("tasks", "mix"),
        ("start", "references", "mix"),
        ("start", "update", "replay", "mix"),
        ("train", "update", "replay", "mix"),
    ],
)
@pytest.mark.parametrize(
    ("mix", "told"),
    [({"irelevance": 0.3}, "Did you mean irrelevance"), ({"simple": 0}, "no category has a share above 0")],
)
def test_a_mix_that_could_not_be_drawn_is_refused_by_name(keys, mix, told):
    data = {"path": "toolbox:new_train", "count": 3, "mix": mix} if keys[0] != "tasks" else {"mix": mix}
    for key in reversed(keys[:-1]):
        data = {key: data}
    with pytest.raises(ConfigError, match=rf"x\.yaml: {'.'.join(keys)} is .*{told}"):
        check_config(data, "x.yaml")


def test_a_quota_for_a_category_that_the_embedded_tasks_cannot_have_is_refused_by_name():
    data = {"tasks": {"path": "toolbox:new_train"}, "train": {"max_category_share": {"irelevance": 0.3}}}
    with pytest.raises(
        ConfigError, match=r"^x\.yaml: train\.max_category_share is .*toolbox:new_train.*Did you mean irrelevance"
    ):
        check_config(data, "x.yaml")


def test_records_of_ones_own_may_have_quotas_for_categories_of_their_own():
    data = {"tasks": {"path": "mine.jsonl"}, "train": {"max_category_share": {"weather": 0.3}}}
    assert check_config(data, "x.yaml").train.max_category_share == {"weather": 0.3}


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("sample.topp", 3, "unknown key sample.topp. Did you mean top_p?"),
        ("rounds", 0, "rounds is 0"),
        ("gate.suites.new", {"pth": "x"}, "unknown key gate.suites.new.pth"),
        ("fcdr.llm.vote", "most", "fcdr.llm.vote is 'most'"),
        ("train.max_category_share", {"irelevance": 0.3}, "train.max_category_share is {'irelevance': 0.3}"),
    ],
)
def test_a_wrong_setting_is_not_blamed_on_the_file(tmp_path, key, value, told):
    file = tmp_path / "c.yaml"
    file.write_text("rounds: 2\nfcdr: {llm: {vote: majority}}\n")
    with pytest.raises(ConfigError) as error:
        load_config(file, {key: value})
    assert told in str(error.value)
    assert all(line.startswith("the command line: ") for line in str(error.value).splitlines())


def test_what_a_file_says_wrong_stays_the_files(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("sed: 1\nrounds: 0\n")
    with pytest.raises(ConfigError) as error:
        load_config(file, {"rounds": -1, "gate.p_value": 0.1})
    lines = sorted(str(error.value).splitlines())
    assert [line.split(": ")[0] for line in lines] == [str(file), "the command line"]
    assert "unknown key sed" in lines[0]
    assert "rounds is -1" in lines[1]


def test_a_graph_is_neither_offered_nor_taken_as_a_configuration():
    with pytest.raises(ConfigError) as unknown:
        load_config("nope")
    assert "fcdr" not in str(unknown.value).replace(str(CONFIGS), "")
    with pytest.raises(ConfigError, match=r"is a graph and no configuration.*default.*--set fcdr\.graph=fcdr"):
        load_config("fcdr")


def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("sample:\n  seed: 2\n  top_p: 0.5\n  seed: 3\n")
    with pytest.raises(ConfigError, match=rf"{file}: seed is written twice in one group, in lines 2 and 4: keep one"):
        load_config(file)
    with pytest.raises(ConfigError, match=r"--set tasks\.mix=.*simple is written twice"):
        parse_setting("tasks.mix={simple: 0.1, simple: 0.2}")


def test_the_same_key_in_two_groups_or_over_a_merged_one_is_no_key_twice(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("train: {update: &u {lr: 0.1, epochs: 2}}\nstart: {update: {<<: *u, lr: 0.2}}\n")
    config = load_config(file)
    assert (config.train.update.lr, config.start.update.lr, config.start.update.epochs) == (0.1, 0.2, 2)


def test_a_change_reaches_only_the_group_that_it_names_though_the_file_wrote_two_as_one(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("start:\n  update: &paper {lr: 0.1}\ntrain:\n  update: *paper\n")
    config = load_config(file, {"train.update.lr": 0.2})
    assert (config.start.update.lr, config.train.update.lr) == (0.1, 0.2)
