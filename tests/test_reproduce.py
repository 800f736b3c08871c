"""The papers' experiments: arms are played once and resumed, compared in pairs, and published with their sources."""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from statistics import fmean

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funreason.bfcl.intervals import paired
from funreason.cli import app
from funreason.config import Config, ConfigError
from funreason.experiments.differences import difference, mean_interval
from funreason.experiments.experiment import (
    Arm,
    ArmDifference,
    ArmPoint,
    Experiment,
    Row,
    Scale,
    TableColumn,
    WrittenFile,
)
from funreason.experiments.measured import ArmResult, groups, score
from funreason.experiments.papers import EXPERIMENTS, NO_ROUNDS, SCALES
from funreason.experiments.player import Player, data_hashes
from funreason.experiments.published import Publication, load, markdown, picture, save
from funreason.record import events as ev
from funreason.record.folder import RunFolder
from funreason.record.log import EventLog
from funreason.stop import Interrupted

ROOT = Path(__file__).resolve().parents[1]
CALLS = TableColumn("calls", "new", "calls")
SMALL = Scale(
    "toolbox",
    "a world of eight items",
    ("default",),
    {"gate.suites": {"new": {"path": "toolbox:new_gate", "count": 8}}},
    (CALLS, TableColumn("refusals", "new", "refusals"), TableColumn("balanced", "new", "balanced")),
)


def experiment(*arms: Arm, **fields) -> Experiment:
    rows = tuple(Row(arm.name, ArmPoint(arm.name)) for arm in arms)
    given = {"title": "A table", "question": "Which?", "source": "no paper", "comparisons": ()} | fields
    return Experiment(name="table4", arms=arms, rows=rows, **given)


class Plays:
    """Plays runs without a model: each round trains five samples, and weights get an item right as their alpha says."""

    def __init__(self, interrupted: int = 0) -> None:
        self.configs: list[Config] = []
        self.resumed: list[bool] = []
        self.interrupted = interrupted

    def __call__(self, config, folder, stop, *, resume, run_code):
        self.configs.append(config)
        self.resumed.append(resume)
        if self.interrupted:
            self.interrupted -= 1
            raise Interrupted
        log, at = EventLog(folder.events), 1.0

        def write(event):
            nonlocal at
            at += 1
            log.append(msgspec.structs.replace(event, at=at))

        parent = Path(config.model.path).name
        old = parent if (Path(config.model.path) / "parent").exists() else "base"
        write(ev.RunStarted(run=folder.name, rounds=config.rounds, nodes=[], base_weights=old, edges=[]))
        overall = ev.Score(total=8, old=0, new=0, gained=0, lost=0, p=1.0)
        for k in range(config.rounds + 1):
            new = f"{folder.name}-{k}" if k or config.start.references else old
            (folder.weights / new).mkdir(parents=True, exist_ok=True)
            (folder.weights / new / "parent").write_text(old)
            write(ev.TrainingSetSelected(round=k, kept=9, trained=5, by_category={"simple": 3 + k}))
            metrics = {"alpha": config.start.update.alpha}
            write(ev.OptimizerStep(round=k, step=1, steps=1, metrics=metrics))
            gate = {"round": k, "decision": "promote", "reason": "", "overall": overall}
            write(ev.GateDecided(old_weights=old, new_weights=new, **gate))
            write(ev.RoundEnded(round=k, weights=new))
            for weights in (old, new):
                path = folder.path / "gate" / f"{weights}.json"
                path.parent.mkdir(exist_ok=True)
                if not path.exists():
                    wins = round(10 * config.start.update.alpha) + k if weights == new else 0
                    right = [i < wins for i in range(6)] + [True, False]
                    kept = [["simple"] * 6 + ["irrelevance"] * 2, right, right]
                    path.write_text(json.dumps({"new": kept}))
            old = new


def player(folder, found, plays, **fields) -> Player:
    given = {"command": "funreason reproduce table4", "say": lambda text: None} | fields
    return Player(found, SMALL, "default", folder, play=plays, **given)


def only(name: str, alpha: float = 0.3, **fields) -> Arm:
    return Arm(name, {**NO_ROUNDS, "start.update.alpha": alpha}, **fields)


def test_an_arm_is_played_once_and_read_back_with_its_command_and_commit(tmp_path):
    plays, found = Plays(), experiment(only("a"))
    first = player(tmp_path, found, plays).result(found.arms[0], 0)
    again = player(tmp_path, found, plays, command="another").result(found.arms[0], 0)
    assert len(plays.configs) == 1
    assert again == first
    assert first.command == "funreason reproduce table4"
    assert first.commit
    assert score(CALLS, first, "start") == pytest.approx(50)
    assert score(CALLS, first, "base") == 0


def test_two_names_of_the_same_configuration_are_played_once(tmp_path):
    plays, found = Plays(), experiment(only("a"), only("b"), only("c", 0.4))
    results = [player(tmp_path, found, plays).result(arm, 0) for arm in found.arms]
    assert len(plays.configs) == 2
    assert results[0].right == results[1].right
    assert [r.arm for r in results] == ["a", "b", "c"]


def test_another_seed_setting_code_or_data_file_plays_an_arm_again(tmp_path, monkeypatch):
    data = tmp_path / "data.jsonl"
    data.write_text("one\n")
    arm = Arm("a", {**NO_ROUNDS, "tasks.path": str(data)})
    found = experiment(arm)

    def key(seed=0, **fields):
        return player(tmp_path / "runs", found, Plays(), **fields).key(arm, seed)

    keys = [key(), key(seed=1), key(settings={"start.update.lr": 0.1})]
    other = tmp_path / "other.jsonl"
    other.write_text("two\n")
    keys.append(key(settings={"tasks.path": str(other)}))
    monkeypatch.setattr("funreason.experiments.player.code_version", lambda: "changed")
    keys.append(key())
    assert len(set(keys)) == len(keys)
    assert data_hashes({"a": [{"path": str(data)}]}) != data_hashes({"a": [{"path": str(other)}]})


def test_where_runs_are_kept_is_no_part_of_an_arms_key(tmp_path):
    found = experiment(only("a"))
    keys = {player(tmp_path / name, found, Plays()).key(found.arms[0], 0) for name in ("x", "y")}
    assert len(keys) == 1


def test_an_interrupted_arm_is_resumed_by_the_same_call(tmp_path):
    plays, found = Plays(interrupted=1), experiment(only("a"))
    with pytest.raises(Interrupted):
        player(tmp_path, found, plays).result(found.arms[0], 0)
    assert player(tmp_path, found, plays).finished(found.arms[0], 0) is None
    result = player(tmp_path, found, plays).result(found.arms[0], 0)
    assert plays.resumed == [False, True]
    assert plays.configs[0] == plays.configs[1]
    assert result.resumed


def test_a_stop_that_is_asked_for_while_an_arm_ends_comes_before_the_next_arm(tmp_path):
    plays, found = Plays(), experiment(only("a"), only("b", 0.4))

    def asked_late(config, folder, stop, **fields):
        plays(config, folder, stop, **fields)
        stop.ask()

    one = player(tmp_path, found, asked_late)
    assert one.result(found.arms[0], 0).trained
    with pytest.raises(Interrupted):
        one.result(found.arms[1], 0)
    assert len(plays.configs) == 1


def test_an_arm_begins_with_another_arms_last_weights_and_counts_and_plays_nothing_else(tmp_path):
    rounds = Arm("rounds", {"rounds": 2}, starts_from="a")
    control = Arm("control", {"rounds": 1, "train.data": "unfiltered"}, starts_from="a", counts_of="rounds")
    plays, found = Plays(), experiment(only("a"), rounds, control, only("unrelated", 0.5))
    result = player(tmp_path, found, plays).result(control, 0)
    begun = player(tmp_path, found, plays).finished(found.arms[0], 0)
    assert [config.name.rpartition("-0-")[0] for config in plays.configs] == ["a", "rounds", "control"]
    assert {Path(config.model.path).name for config in plays.configs[1:]} == {begun.weights["last"]}
    assert plays.configs[2].train.exact_counts == [{"simple": 4}, {"simple": 5}]
    assert plays.configs[2].start.references is None
    assert result.right["base"] == begun.right["last"]


def test_weights_that_an_arm_measured_are_not_measured_again_on_the_same_items(tmp_path):
    plays, found = Plays(), experiment(only("a"), only("b", 0.4))
    one = player(tmp_path, found, plays)
    one.result(found.arms[0], 0)
    (RunFolder(tmp_path / plays.configs[0].name).path / "gate" / "base.json").write_text(
        json.dumps({"new": [["simple"] * 8, [True] * 8, [True] * 8]})
    )
    assert score(CALLS, one.result(found.arms[1], 0), "base") == 100
    elsewhere = {"gate.suites.new.count": 9}
    assert score(CALLS, player(tmp_path, found, plays, settings=elsewhere).result(found.arms[1], 0), "base") == 0


def test_an_experiment_whose_method_is_missing_is_refused_in_a_sentence(tmp_path):
    found = experiment(only("a"), method="telepathy")
    with pytest.raises(ConfigError, match="needs method: telepathy, and this version knows only srml"):
        player(tmp_path, found, Plays())


def test_references_without_thinking_keep_queries_tools_and_calls(tmp_path):
    changes = {"start.references.path": WrittenFile("references_without_thinking"), "start.references.count": 12}
    arm, plays = Arm("bare", {**NO_ROUNDS, **changes}), Plays()
    player(tmp_path, experiment(arm), plays).result(arm, 0)
    path = Path(plays.configs[0].start.references.path)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(records) == 12
    assert all(record["messages"][0]["content"] and record["tools"] for record in records)
    assert any("tool_calls" in record["messages"][-1] for record in records)
    assert "think" not in path.read_text()


def result(arm: str, seed: int, right: str, categories="ssssss", **fields) -> ArmResult:
    names = {"s": "simple", "i": "irrelevance", "m": "multiple"}
    known = sorted(set(categories))
    items = {"names": [names[k] for k in known], "of": "".join(str(known.index(k)) for k in categories)}
    given = {"key": "k", "run": "r", "command": "c", "commit": "h", "cpu_s": 1.0, "wall_s": 1.0} | fields
    return ArmResult(
        arm,
        seed,
        **given,
        items={"new": items},
        right={"last": {"new": right}},
        bits={"last": {}},
        weights={"last": "w"},
    )


A_MINUS_B = ArmDifference("a − b", (ArmPoint("a"),), (ArmPoint("b"),))


def test_a_difference_is_paired_by_item_and_agrees_with_the_gates_own_interval():
    old, new = "1010000110", "1111100010"
    arms = {("a", 0): result("a", 0, new, "s" * 10), ("b", 0): result("b", 0, old, "s" * 10)}
    found = difference(CALLS, arms, A_MINUS_B)
    known = paired([c == "1" for c in old], [c == "1" for c in new])
    assert found.mean == pytest.approx(100 * known.difference)
    # The gate divides by n, a sample's variance by n - 1.
    assert found.items.high - found.mean == pytest.approx(100 * 1.959964 * known.error * (10 / 9) ** 0.5, rel=1e-5)
    assert found.seeds is None


def test_the_interval_over_seeds_is_students():
    low, high = mean_interval([1.0, 2.0, 3.0])
    assert (low, high) == (
        pytest.approx(2 - 4.302653 / 3**0.5, abs=1e-5),
        pytest.approx(2 + 4.302653 / 3**0.5, abs=1e-5),
    )
    assert mean_interval([1.0, 1.0]) is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.text("01", min_size=8, max_size=8)] * 2), min_size=1, max_size=4))
def test_a_difference_is_the_mean_of_the_seeds_differences_of_scores(pairs):
    column = TableColumn("balanced", "new", "balanced")
    arms = {}
    for seed, texts in enumerate(pairs):
        arms |= {(name, seed): result(name, seed, text, "ssmmsiii") for name, text in zip("ab", texts, strict=True)}
    found = difference(column, arms, A_MINUS_B)
    expected = [score(column, arms["a", s], "last") - score(column, arms["b", s], "last") for s in range(len(pairs))]
    assert found.each == pytest.approx(expected)
    assert found.mean == pytest.approx(fmean(expected))
    assert found.items.low <= found.mean <= found.items.high
    same = difference(column, arms, ArmDifference("0", (ArmPoint("a"),), (ArmPoint("a"),)))
    assert (same.mean, same.items) == (0, (0, 0))


def test_arms_that_answered_other_items_are_not_compared():
    arms = {("a", 0): result("a", 0, "111111"), ("b", 0): result("b", 0, "111111", "sssssm")}
    with pytest.raises(ValueError, match="did not answer the same items of new"):
        difference(CALLS, arms, A_MINUS_B)


def test_only_seeds_that_both_arms_have_are_compared():
    arms = {("a", s): result("a", s, "111111") for s in (0, 1)} | {("b", 1): result("b", 1, "000000")}
    assert difference(CALLS, arms, A_MINUS_B).each == [100]
    assert difference(CALLS, arms, ArmDifference("", (ArmPoint("a"),), (ArmPoint("c"),))) is None


def test_the_weights_of_bfcls_numbers_are_the_leaderboards():
    from funreason.bfcl.scores import LIVE_AST, NON_LIVE_AST

    of = [name for place, name in enumerate((*NON_LIVE_AST, *LIVE_AST)) for _ in range(place + 1)]
    for kind in ("non-live", "live", "overall"):
        assert sum(weight for weight, _ in groups(TableColumn(kind, "bfcl", kind), of)) == pytest.approx(1)
    non_live = dict(zip(NON_LIVE_AST, groups(TableColumn("n", "bfcl", "non-live"), of), strict=True))
    assert non_live["simple_java"][0] == pytest.approx(1 / 12)
    assert non_live["parallel"][0] == pytest.approx(1 / 4)
    assert groups(TableColumn("n", "bfcl", "overall"), of[1:]) == []


def published(tmp_path) -> Publication:
    found = EXPERIMENTS["table4"]
    arms = {}
    for arm in ("SRML", "SFT"):
        for seed in (0, 1):
            each = result(arm, seed, "110100" if arm == "SRML" else "100000", command="funreason reproduce table4")
            each.weights = {"base": "b", "start": "s", "last": "s"}
            each.right = dict.fromkeys(each.weights, each.right["last"])
            arms[arm, seed] = each
    return Publication(found, SCALES["toolbox"], "default", arms)


def test_a_results_file_gives_the_same_table_again_and_what_has_not_run_is_named(tmp_path):
    found = published(tmp_path)
    paths = save(found, tmp_path)
    assert [path.suffix for path in paths] == [".json", ".md", ".svg"]
    again = load(paths[0])
    assert again == found
    text = markdown(again)
    assert "| SRML | 2 | 50.0 (50.0–50.0) |" in text
    assert "| SRML, two rounds | 0 | not run |" in text
    assert "87.00 / 80.31 / 83.66" in text
    assert (
        "Not run: SRML, rounds (0, 1); SFT, rounds (0, 1). The command: `funreason reproduce table4 --seeds 0 1`"
        in text
    )
    assert "`funreason reproduce table4`, commit h, 4 CPU-s: SRML (0, 1); SFT (0, 1)" in text
    assert "| SRML − SFT | calls | +33.3 |" in text


def test_a_picture_is_one_whole_svg_with_its_style(tmp_path):
    import xml.etree.ElementTree as tree

    found = published(tmp_path)
    drawn = [picture(found)]
    alphas = {
        (arm.name, seed): result(arm.name, seed, "110100", series={"alpha": [0.7, 0.6, 0.5]})
        for arm in EXPERIMENTS["ssb"].arms
        for seed in (0, 1)
    }
    for each in alphas.values():
        each.weights = {"start": "s", "last": "s"}
        each.right = dict.fromkeys(each.weights, each.right["last"])
    drawn.append(picture(found._replace(experiment=EXPERIMENTS["ssb"], results=alphas)))
    curve = EXPERIMENTS["figure4"]
    renamed = {(arm.name, 0): alphas["SRML", 0] for arm in curve.arms}
    drawn.append(picture(found._replace(experiment=curve, results=renamed)))
    for text in drawn:
        assert tree.fromstring(text).tag.endswith("svg")
        assert "<style>" in text


def test_every_experiment_can_be_resolved_at_every_scale_and_its_rows_name_its_arms(tmp_path):
    from typing import get_args

    from funreason.config import Method

    for found in EXPERIMENTS.values():
        names = {arm.name for arm in found.arms}
        points = [row.point for row in found.rows]
        points += [point for comparison in found.comparisons for point in (*comparison.one, *comparison.other)]
        assert {point.arm for point in points} <= names
        for scale in SCALES.values():
            if found.method not in get_args(Method):
                continue
            served = {"start.teacher.endpoints": [{"url": "http://localhost:8000/v1"}]}
            one = Player(found, scale, scale.configs[0], tmp_path, settings=served)
            for arm in found.arms:
                config = one.resolved(arm, 3)
                assert config.seed == 3
                assert config.gate.promote_p == 1


def test_the_command_lists_refuses_plans_and_publishes(tmp_path, capsys, monkeypatch):
    def call(*words):
        code = app(["reproduce", *words, "--run-dir", str(tmp_path)], result_action="return_value")
        return code, capsys.readouterr().out

    assert all(name in call("--list")[1] for name in EXPERIMENTS)
    assert json.loads(call("--list", "--json")[1])["figure4"]["title"].startswith("Figure 4")
    with pytest.raises(ConfigError, match="no experiment table9: expected one of table2"):
        call("table9")
    with pytest.raises(ConfigError, match="--arm sft: table4 has the arms SRML, SFT"):
        call("table4", "--arm", "sft")
    code, text = call("figure4", "--dry-run", "--json", "--arm", "alpha 0.1", "--seeds", "4", "5")
    assert code == 0
    assert {seed: found["state"] for seed, found in json.loads(text)[0]["seeds"].items()} == {
        "4": "not played",
        "5": "not played",
    }
    code, text = call("table4", "--scale", "paper", "--dry-run", "--json", "--seeds", "0")
    lines = json.loads(text)
    assert {line["config"] for line in lines} == {"qwen2.5-coder-7b", "llama-3.2-3b"}
    assert all(line["gpus"] == 8 and line["hours_a_seed"] > 0 for line in lines)


@pytest.fixture(scope="module")
def results_page():
    script = ROOT / "benchmarks" / "results_page.py"
    spec = spec_from_file_location("results_page", script)
    module = module_from_spec(spec)
    sys.path.insert(0, str(script.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(script.parent))
    return module


def test_the_page_of_results_and_the_readmes_table_are_made_from_the_kept_results(results_page):
    for path, text in results_page.made(ROOT / "benchmarks" / "results").items():
        assert path.read_text() == text, f"run: python benchmarks/results_page.py ({path.name} differs)"


def test_a_changed_number_in_the_kept_results_changes_page_and_readme(results_page, tmp_path):
    kept = ROOT / "benchmarks" / "results"
    (tmp_path / "evidence").mkdir()
    (tmp_path / "reproduce").mkdir()
    rows, _, _ = results_page.evidence(kept / "evidence")
    rows[0]["accuracy"]["fresh"][-1] = 12.3
    data = {"command": "the command", "commit": "abc1234", "rows": rows}
    (tmp_path / "evidence" / "evidence.json").write_text(json.dumps(data))
    (tmp_path / "evidence" / "evidence.md").write_text("`the command`\n")
    (tmp_path / "egpo.json").write_bytes((kept / "egpo.json").read_bytes())
    save(published(tmp_path), tmp_path / "reproduce")
    readme, page = results_page.made(tmp_path).values()
    assert "→ 12.3" in readme
    assert "→ 12.3" in page
    assert "the command, commit abc1234" in page
    assert "| SRML − SFT | calls | +33.3 |" in page


@pytest.mark.slow
def test_a_real_arm_is_played_published_and_read_back(tmp_path, capsys):
    small = ["start.references.count=8", "start.update.epochs=1", "start.update.replay=null"]
    small += ["gate.suites.new.count=12", "gate.suites.old.count=8", "sample.max_new_tokens=24"]
    words = ["reproduce", "figure4", "--arm", "alpha 0.1", "--seeds", "0", "--run-dir", str(tmp_path), "--json"]
    words += [word for setting in small for word in ("--set", setting)]
    outs = []
    for _ in range(2):
        assert app(words, result_action="return_value") == 0
        outs.append(capsys.readouterr())
    kept = (tmp_path / "results" / "figure4-toolbox.json").read_text()
    first = json.loads(kept)["arms"][0]
    assert first["trained"][0] == 8
    assert len(first["right"]["start"]["new"]) == 12
    assert first["bits"]["base"]["old_text"] > 0
    assert first["series"]["alpha"] == [0.1]
    assert "starts" in outs[0].err
    assert "starts" not in outs[1].err
    assert outs[1].out == kept  # of the first call, whose stdout may hold what libraries print
    assert (tmp_path / "results" / "figure4-toolbox.svg").exists()
