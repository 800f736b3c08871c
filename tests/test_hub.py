"""Models and data sets by their names on a hub: fetched on request, pinned in the record, pushed back."""

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from command_line import funreason
from hub_server import Hub
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_model, tiny_tokenizer

from funreason import Loop, refine
from funreason import hub as hub_names
from funreason.data.files.repository import parts_of
from funreason.data.reading import read_tasks
from funreason.data.records import DataError
from funreason.hub import HubError, HubUnreachable, push_target
from funreason.policies.model_files import load_model, save_model, weights_id_of
from funreason.record.folder import LOOP
from funreason.sources.hub_names import pinned_data, pinned_model

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the library's own upload
TOKEN = "hf_SecretSecretSecret"
CONFIG = {"config.json": b"{}", "tokenizer.json": b"{}"}
HOSTILE = {"pytorch_model.bin": b"pickle", "modeling_own.py": b"raise SystemExit", "README.md": b"# Tiny"}
RECORD = {
    "query": "Weather in Oslo?",
    "tools": json.dumps(
        [{"name": "weather", "description": "w", "parameters": {"city": {"type": "str", "description": "c"}}}]
    ),
    "answers": json.dumps([{"name": "weather", "arguments": {"city": "Oslo"}}]),
}


@pytest.fixture(scope="module")
def server():
    served = Hub()
    yield served
    served.close()


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """The hub without repositories, a cache without files, and a token."""
    point_at(server, tmp_path, monkeypatch)
    server.repos.clear()
    server.log.clear()
    yield server
    server.let_go.set()
    server.let_go = type(server.let_go)()
    server.silent, server.cut, server.swapped = (), {}, {}


def point_at(server, folder, monkeypatch):
    """Environment of a process that uses this hub, with a cache in `folder`."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "own"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "60")  # a busy machine is no hub that stalls
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The files of a random model."""
    folder = tmp_path_factory.mktemp("tiny")
    save_model(tiny_model(context=4096), tiny_tokenizer(), folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def weights(letter):
    return {"model.safetensors": letter.encode() * 50_000}


def sha(data):
    return hashlib.sha256(data).hexdigest()


def names_of(paths, repo):
    """The names of files in the paths of downloads; those that the CDN sent by their hash."""
    held = {sha(data): name for files in repo.commits.values() for name, data in files.items()}
    return [held.get(path.rpartition("/")[2]) or path.partition("/resolve/")[2].partition("/")[2] for path in paths]


def test_without_download_one_sentence_says_what_would_be_fetched_and_no_hub_is_asked(hub, tmp_path):
    hub.add("me/tiny", CONFIG | weights("a"))
    hub.add("datasets/me/data", {"train.jsonl": b"{}"})
    done = funreason("eval", "--model", "me/tiny", "--suite", "toolbox:new_dev", cwd=tmp_path)
    assert done.returncode == 1
    assert "--download" in done.stderr
    assert "`hf download me/tiny --local-dir tiny`" in done.stderr
    assert done.stderr.count("\n") == 1
    done = funreason("refine", "hf:me/data", "--out", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "`hf download me/data --repo-type dataset --local-dir data`" in done.stderr
    assert hub.log == []
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_fetched_without_its_pickles_and_code_and_used_from_the_cache_afterwards(hub, tiny, tmp_path):
    repo = hub.add("me/tiny", tiny | HOSTILE)
    words = ["eval", "--model", "me/tiny", "--suite", "toolbox:new_dev", "--limit", 1, "--max-new-tokens", 2]
    done = funreason(*words, "--download", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(names_of(hub.fetched(), repo)) == sorted(tiny)
    asked = len(hub.log)
    done = funreason(*words, "--prompt", "text", "--out", "again", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(hub.log) == asked
    facts = json.loads((tmp_path / "again" / "eval.json").read_text())
    assert facts["model"] == f"me/tiny@{repo.main}"


def test_a_connection_that_breaks_off_is_resumed_within_the_file(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1_000)
    data = weights("a")["model.safetensors"]
    hub.add("me/tiny", CONFIG | weights("a"))
    hub.cut[sha(data)] = 20_500
    seen = []
    pinned = pinned_model("me/tiny", download=True, report=lambda *given: seen.append(given))
    assert "bytes=20000-" in {asked for _, _, asked, _ in hub.log}
    assert seen[-1] == ("model.safetensors", len(data), len(data))
    assert (hub_names.cached(hub_names.model_name(pinned)).folder / "model.safetensors").read_bytes() == data


def test_a_fetch_that_was_interrupted_is_no_whole_model_and_the_next_one_fetches_the_rest(hub):
    shards = {f"model-0000{i}-of-00002.safetensors": bytes([i]) * 9_000 for i in (1, 2)}
    repo = hub.add("me/big", CONFIG | {"model.safetensors.index.json": b"{}"} | shards)
    hub.swapped[sha(bytes([2]) * 9_000)] = bytes([3]) * 9_000
    with pytest.raises(HubError, match=r"model-00002-of-00002\.safetensors arrived with other bytes"):
        pinned_model("me/big", download=True)
    with pytest.raises(HubError, match="only a part of it is in the cache"):
        pinned_model("me/big@" + repo.main)
    hub.swapped.clear()
    hub.log.clear()
    assert pinned_model("me/big", download=True) == f"me/big@{repo.main}"
    assert names_of(hub.fetched(), repo) == ["model-00002-of-00002.safetensors"]


def test_a_file_with_other_bytes_than_the_hub_lists_is_removed(hub):
    good = weights("a")["model.safetensors"]
    hub.add("me/tiny", CONFIG | weights("a"))
    hub.swapped[sha(good)] = good[:-1] + b"!"
    with pytest.raises(HubError, match=r"model\.safetensors arrived with other bytes"):
        pinned_model("me/tiny", download=True)
    hub.swapped.clear()
    pinned_model("me/tiny", download=True)


def test_a_branch_that_moved_is_noticed_and_the_earlier_commit_stays_available(hub):
    repo = hub.add("me/tiny", CONFIG | weights("a"))
    first, said = repo.main, []
    assert pinned_model("me/tiny", download=True, say=said.append) == f"me/tiny@{first}"
    second = repo.commit(CONFIG | weights("b"))
    assert pinned_model("me/tiny") == f"me/tiny@{first}"
    assert said == []
    assert pinned_model("me/tiny", download=True, say=said.append) == f"me/tiny@{second}"
    assert f"main has moved to {second[:12]}" in said[0]
    assert f"me/tiny@{first}" in said[0]
    hub.log.clear()
    assert pinned_model(f"me/tiny@{first}", download=True) == f"me/tiny@{first}"
    assert pinned_model("me/tiny@main") == f"me/tiny@{second}"
    assert hub.log == []


def test_what_is_in_the_cache_is_used_where_the_hub_does_not_answer(hub, monkeypatch):
    repo, said = hub.add("me/tiny", CONFIG | weights("a")), []
    pinned_model("me/tiny", download=True)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert pinned_model("me/tiny", download=True, say=said.append) == f"me/tiny@{repo.main}"
    assert "is used from the cache" in said[0]


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        ((403, "GatedRepo"), "is gated: accept its terms"),
        ((401, "GatedRepo"), "is gated: accept its terms"),
        ((404, "RepoNotFound"), "the hub has no such model, or it is private"),
        ((401, ""), "does not accept the token"),
        ((403, ""), "account may not do this"),
        ((404, ""), "knows no such model"),
        ((429, ""), "limits how often"),
        ((503, ""), "answered with HTTP 503"),
    ],
)
def test_a_refusal_is_one_sentence_without_the_token(hub, tmp_path, refusal, says):
    hub.add("me/closed", {}, refusal=refusal)
    done = funreason("train", "x.jsonl", "--model", "me/closed", "--download", cwd=tmp_path)
    assert done.returncode == 1
    assert "x.jsonl" not in done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert TOKEN not in done.stdout + done.stderr


def test_a_revision_that_is_not_there_is_named(hub):
    hub.add("me/tiny", CONFIG | weights("a"))
    with pytest.raises(HubError, match="no revision 'v2' of this model"):
        pinned_model("me/tiny@v2", download=True)


def test_a_malformed_token_is_not_repeated(hub, monkeypatch):
    hub.add("me/tiny", CONFIG | weights("a"))
    monkeypatch.setenv("HF_TOKEN", "hf_Sécret")
    with pytest.raises(HubError) as refused:
        pinned_model("me/tiny", download=True)
    assert "cret" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_without_the_library_one_sentence_names_the_extra_and_the_cache_still_serves(hub, monkeypatch):
    repo = hub.add("me/tiny", CONFIG | weights("a"))
    pinned_model("me/tiny", download=True)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert pinned_model("me/tiny") == f"me/tiny@{repo.main}"
    with pytest.raises(HubError, match=r"pip install 'funreason\[hub\]'"):
        pinned_model("me/other", download=True)


@pytest.mark.parametrize(
    "name", ["../up.safetensors", "/etc/x.safetensors", "a/../../x.json", "c:\\x.json", "a\nb.json"]
)
def test_a_repository_that_names_a_file_outside_is_refused_before_anything_is_fetched(hub, tmp_path, name):
    hub.add("me/evil", CONFIG | weights("a") | {name: b"x"})
    with pytest.raises(HubError, match="leads out of its folder"):
        pinned_model("me/evil", download=True)
    assert hub.fetched() == []
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"pytorch_model.bin": b"x"}, r"It has pytorch_model\.bin\. A pickle can run code"),
        ({"m.Q4_0.gguf": b"x"}, r"`hf download me/odd m\.Q4_0\.gguf --local-dir \.`"),
        ({"model.safetensors.index.json": b"{}", "model-00001-of-00002.safetensors": b"x"}, "1 of 2 shards"),
        ({"original/model.safetensors": b"x"}, "It has original/model"),
        ({}, "It has no weights"),
    ],
)
def test_a_repository_without_usable_weights_is_refused_before_anything_is_fetched(hub, files, says):
    hub.add("me/odd", CONFIG | files)
    with pytest.raises(HubError, match=says):
        pinned_model("me/odd", download=True)
    assert hub.fetched() == []


@pytest.mark.parametrize("where", ["/api/models", "/me/tiny/resolve"])
def test_a_hub_that_stalls_costs_seconds(hub, monkeypatch, where):
    hub.add("me/tiny", CONFIG | weights("a"))
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.5")
    monkeypatch.setattr(hub_names, "START_S", 1.0)
    hub.silent = (where,)
    began = time.monotonic()
    with pytest.raises(HubUnreachable):
        pinned_model("me/tiny", download=True)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "no hub answers at 127.0.0.1:9"),
        ({"HF_ENDPOINT": "http://me:hf_Secret@127.0.0.1:9"}, "no hub answers at 127.0.0.1:9"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
    ],
)
def test_without_a_hub_one_sentence_says_how_to_place_the_files(hub, monkeypatch, variables, says):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    with pytest.raises(HubUnreachable, match=says) as refused:
        pinned_data("hf:me/data", download=True)
    assert "`hf download me/data --repo-type dataset --local-dir data`" in str(refused.value)
    assert "Secret" not in str(refused.value)
    assert time.monotonic() - began < 20
    assert not [path for _, path, _, _ in hub.log if "me/data" in path]


@pytest.mark.parametrize(("path", "says"), [("/nothing", "knows no such model"), ("/page", "does not speak")])
def test_what_is_no_hub_is_named(hub, monkeypatch, path, says):
    monkeypatch.setenv("HF_ENDPOINT", hub.url + path)
    with pytest.raises(HubError, match=says):
        pinned_model("me/tiny", download=True)


def parquet(count, first=0):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([RECORD | {"id": f"t{first + i}"} for i in range(count)]), sink)
    return sink.getvalue().to_pybytes()


def test_one_of_two_splits_of_a_data_set_is_fetched_and_read(hub):
    files = {"data/train-00000-of-00002.parquet": parquet(2), "data/train-00001-of-00002.parquet": parquet(3, 2)}
    files |= {"data/test-00000-of-00001.parquet": parquet(4), "own.py": b"raise SystemExit"}
    repo = hub.add("datasets/me/data", files)
    with pytest.raises(HubError, match=r"several parts; it has test, train.* as in hf:me/data:test"):
        pinned_data("hf:me/data", download=True)
    with pytest.raises(HubError, match="no part 'dev'"):
        pinned_data("hf:me/data:dev", download=True)
    pinned = pinned_data("hf:me/data:train", download=True)
    assert pinned == f"hf:me/data:train@{repo.main}"
    assert len(names_of(hub.fetched(), repo)) == 2
    read = read_tasks(pinned)
    assert [task.id for task in read.tasks] == ["t0", "t1", "t2", "t3", "t4"]
    with pytest.raises(HubError, match="only a part of it is in the cache"):
        read_tasks("hf:me/data:test")
    (hub_names.cached(hub_names.data_name(pinned)).folder / "data/train-00001-of-00002.parquet").unlink()
    with pytest.raises(HubError, match="only a part"):
        read_tasks(pinned)


def test_shards_that_another_tool_fetched_in_part_are_not_taken_for_a_split(hub, tmp_path):
    folder = tmp_path / "hf/datasets--me--data"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("a" * 40)
    (folder / "snapshots" / ("a" * 40)).mkdir(parents=True)
    first = folder / "snapshots" / ("a" * 40) / "train-00000-of-00002.parquet"
    first.write_bytes(parquet(1))
    with pytest.raises(HubError, match="only a part"):
        read_tasks("hf:me/data")
    first.with_name("train-00001-of-00002.parquet").write_bytes(parquet(1, 1))
    assert len(read_tasks("hf:me/data").tasks) == 2
    assert hub.log == []


def test_a_data_set_that_only_a_script_could_read_is_refused(hub):
    hub.add("datasets/me/old", {"old.py": b"raise SystemExit", "raw.zip": b"PK"})
    with pytest.raises(DataError, match=r"no data file that is read, but old\.py, raw\.zip.*refs/convert/parquet"):
        pinned_data("hf:me/old", download=True)
    assert hub.fetched() == []


@pytest.mark.parametrize("name", ["hf:", "hf:me/data:", "hf:me/../up", "hf:me/data:train@", "hf:a/b/c"])
def test_a_malformed_name_is_refused(hub, name):
    with pytest.raises(HubError, match="expected hf:ORG/NAME"):
        read_tasks(name)


README = """---
configs:
- config_name: single
  data_files:
  - {split: train, path: "one/*.jsonl"}
  - {split: test, path: one-test.json}
- config_name: many
  data_dir: many
- config_name: elsewhere
  data_files: https://example.invalid/x.json
---
"""


def test_the_parts_are_those_that_the_readme_declares(hub):
    files = {"one/b.jsonl": b"{} ", "one/a.jsonl": b"{}", "one-test.json": b"[]", "z.json": b"1"}
    files |= {"many/x/y.csv": b"q\n"}
    repo = hub.add("datasets/me/data", files | {"README.md": README.encode()})
    with pytest.raises(HubError, match=r"it has many/train, single/test, single/train\. "):
        pinned_data("hf:me/data", download=True)
    hub.log.clear()
    pinned_data("hf:me/data:single/train", download=True)
    pinned_data("hf:me/data:many", download=True)
    pinned_data("hf:me/data:z.json", download=True)
    assert names_of(hub.fetched(), repo) == ["one/a.jsonl", "one/b.jsonl", "many/x/y.csv", "z.json"]


@pytest.mark.parametrize(
    "head", ["configs: 3", "configs: [{}]", "configs: [3, {data_files: {a: []}}]", "[", "a: &a [*a]"]
)
def test_a_readme_that_declares_nothing_usable_leaves_the_names_to_decide(hub, head):
    hub.add("datasets/me/data", {"data/train.jsonl": b"{}", "README.md": f"---\n{head}\n---\n".encode()})
    assert pinned_data("hf:me/data:train", download=True).startswith("hf:me/data:train@")


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        (["train.jsonl"], {"train"}),
        (["single.json", "multi.json"], {"single.json", "multi.json"}),
        (["default/train/0000.parquet", "default/train/0001.parquet"], {"default/train"}),
        (["en/train-00000-of-00001.parquet", "de/train-00000-of-00001.parquet"], {"en/train", "de/train"}),
        (
            ["llama-2.json", "llama-3.json", "part-00001.jsonl", "part-00002.jsonl"],
            {"llama-2.json", "llama-3.json", "part"},
        ),
    ],
)
def test_without_a_declaration_names_decide_and_nothing_but_shards_is_joined(files, parts):
    assert parts_of(files).keys() == parts


@given(st.lists(st.text("ab-_./0 train", min_size=1, max_size=20).map(lambda text: f"x{text}.json"), unique=True))
def test_each_data_file_is_in_one_part(files):
    assert sorted(file for part in parts_of(files).values() for file in part) == sorted(files)


def test_patterns_of_a_readme_take_bounded_time():
    files, began = ["a" * 200 + f"/{i}.json" for i in range(10)], time.monotonic()
    assert parts_of(files, [("train", ["**/" + "*a" * 60 + "/*.json"])])["train"] == sorted(files)
    with pytest.raises(DataError, match="more patterns than are tried"):
        parts_of(files * 100, [("train", ["*" + "a*" * 200] * 100)])
    assert time.monotonic() - began < 20


def test_a_refining_of_a_data_set_records_its_commit_and_resumes_from_it(hub, tmp_path):
    repo = hub.add("datasets/me/data", {"train.parquet": parquet(3)})
    done = funreason("refine", "hf:me/data", "--out", "out", "--download", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out/records.json").read_text())["path"] == f"hf:me/data@{repo.main}"


def test_a_data_set_is_refined_from_python(hub):
    hub.add("datasets/me/data", {"train.parquet": parquet(2)})
    with pytest.raises(HubError, match="--download"):
        refine("hf:me/data")
    assert len(refine("hf:me/data", download=True).kept) == 2


@pytest.fixture(scope="module")
def played(server, tiny, tmp_path_factory):
    """A run of a model and a data set from the hub: its folder, and the two repositories."""
    folder = tmp_path_factory.mktemp("played")
    with pytest.MonkeyPatch.context() as patch:
        point_at(server, folder, patch)
        made = funreason("toolbox", "make", "old_dev", "--out", folder / "tasks.jsonl", "--count", 6)
        assert made.returncode == 0, made.stderr
        data = (folder / "tasks.jsonl").read_bytes()
        repos = server.add("me/tiny", tiny), server.add("datasets/me/tasks", {"train.jsonl": data, "test.jsonl": data})
        words = ["loop", "--config", "smoke", "--rounds", 1, "--model", "me/tiny", "--tasks", "hf:me/tasks:train"]
        settings = ["start.references=null", "gate.suites.new.count=2", "gate.suites.old.count=2", "tasks.per_round=3"]
        settings += ["sample.max_new_tokens=4", "train.update.replay.count=8", "model.prompt=text"]
        words += [word for text in settings for word in ("--set", text)]
        pinned_model("me/tiny", download=True)
        pinned_data("hf:me/tasks:train", download=True)
        done = funreason(*words, "--name", "run", cwd=folder)
        assert done.returncode in (0, 3), done.stderr
        yield folder / "runs/run", *repos, patch


def test_a_loop_pins_both_commits_in_its_record(played):
    run, model, data, _ = played
    settings = yaml.safe_load((run / LOOP).read_text())
    assert settings["model"]["path"] == f"me/tiny@{model.main}"
    assert settings["tasks"]["path"] == f"hf:me/tasks:train@{data.main}"
    assert LOOP in json.loads((run / "manifest.json").read_text())["files"]
    inputs = json.loads((run / "marks.json").read_text())["inputs"]
    assert {"tasks.path/0", "model.path/config.json"} <= inputs.keys()


def test_a_resumed_loop_uses_the_pinned_commits_whatever_the_branch_is_now(played, server):
    run, model, data, _ = played
    before = model.main
    server.repos |= {"me/tiny": model, "datasets/me/tasks": data}
    model.commit({"config.json": b"{}"})
    server.log.clear()
    done = funreason("loop", "--resume", run, "--rounds", 1)
    assert done.returncode in (0, 3), done.stderr
    assert server.log == []
    shutil.rmtree(Path(hub_names.cache()) / "models--me--tiny")
    done = funreason("loop", "--resume", run, "--rounds", 1)
    assert done.returncode == 1
    assert f"hf download me/tiny --revision {before}" in done.stderr
    done = funreason("loop", "--resume", run, "--rounds", 1, "--download")
    assert done.returncode in (0, 3), done.stderr
    assert any(f"/resolve/{before}/" in path for path in server.fetched())


def test_a_pushed_model_comes_back_with_the_same_weights_and_the_token_stays_out_of_everything(
    played, server, tmp_path
):
    run, patch = played[0], played[3]
    done = funreason("export", run, "--out", tmp_path / "out", "--push", "me/caller")
    assert done.returncode == 0, done.stderr
    repo = server.repos["me/caller"]
    assert f"{server.url}/me/caller: private, at commit {repo.main[:12]}" in done.stdout
    assert repo.private
    assert {"model.safetensors", "config.json", "README.md", "tokenizer.json", "funreason.json"} <= repo.commits[
        repo.main
    ].keys()
    patch.setenv("HF_HUB_CACHE", str(tmp_path / "other"))
    back = pinned_model("me/caller", download=True)
    folder = hub_names.cached(hub_names.model_name(back)).folder
    assert weights_id_of(load_model(folder)) == weights_id_of(load_model(run / "model"))
    written = [path for place in (run, tmp_path) for path in place.rglob("*") if path.is_file()]
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in done.stdout + done.stderr


def test_a_run_is_pushed_from_python(played, server, tmp_path):
    server.repos.pop("me/caller", None)
    Loop(resume=played[0]).result.export(tmp_path / "out", push="me/caller", public=True)
    assert not server.repos["me/caller"].private


@pytest.fixture
def model_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in (CONFIG | weights("a") | {"README.md": b"# A"}).items():
        (folder / name).write_bytes(data)
    return folder


def test_a_push_deletes_what_the_last_push_wrote_and_keeps_what_its_owner_added(hub, model_folder):
    hub_names.push(model_folder, push_target("me/caller", public=True), {"weights": "a1"})
    repo = hub.repos["me/caller"]
    assert not repo.private
    repo.commit(repo.commits[repo.main] | {"LICENSE": b"mine"})
    (model_folder / "tokenizer.json").unlink()
    (model_folder / "model.safetensors").write_bytes(b"new")
    hub_names.push(model_folder, push_target("me/caller"), {"weights": "b2"})
    files = repo.commits[repo.main]
    assert files.keys() == {
        ".gitattributes",
        "LICENSE",
        "README.md",
        "config.json",
        "funreason.json",
        "model.safetensors",
    }
    assert files["model.safetensors"] == b"new"
    assert json.loads(files["funreason.json"])["weights"] == "b2"


def test_a_repository_that_no_push_from_here_wrote_is_written_over_only_when_told_so(hub, model_folder):
    repo = hub.add("me/theirs", {"model.safetensors": b"theirs", "notes.txt": b"n"})
    with pytest.raises(HubError, match=r"2 files that no push from here wrote, such as model\.safetensors.*--yes"):
        push_target("me/theirs")
    hub_names.push(model_folder, push_target("me/theirs", overwrite=True), {})
    assert repo.commits[repo.main]["notes.txt"] == b"n"
    assert repo.commits[repo.main]["model.safetensors"] == weights("a")["model.safetensors"]


def test_a_hub_that_stalls_during_a_push_is_given_up(hub, model_folder, monkeypatch):
    monkeypatch.setattr(hub_names, "PUSH_S", 0.5)
    hub.silent = ("/api/repos",)
    with pytest.raises(HubUnreachable, match="no hub answers in time"):
        hub_names.push(model_folder, push_target("me/caller"), {})


def test_a_push_over_a_newer_commit_is_refused(hub, model_folder):
    hub_names.push(model_folder, push_target("me/caller"), {})
    target, repo = push_target("me/caller"), hub.repos["me/caller"]
    newer = repo.commit(repo.commits[repo.main] | {"LICENSE": b"mine"})
    (model_folder / "README.md").write_bytes(b"# B")
    with pytest.raises(HubError, match="changed in the meantime"):
        hub_names.push(model_folder, target, {})
    assert repo.main == newer


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--push", "caller"], "expected ORG/NAME"),
        (["--push", "me/caller@main"], "expected ORG/NAME"),
        (["--push", "me/caller"], "set HF_TOKEN, or run `hf auth login`"),
        (["--public"], "are for --push"),
    ],
)
def test_a_push_that_cannot_be_is_refused_before_anything_is_exported(played, tmp_path, words, says):
    patch, missing = {"HF_TOKEN": ""}, tmp_path / "no-login"
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(missing))
        done = funreason("export", played[0], "--out", tmp_path / "out", *words, env=patch)
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert not (tmp_path / "out").exists()
