"""A run folder that somebody sent: its names, links and sockets lead nowhere but into itself."""

import asyncio
import json
import os
import socket
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
from recorded import Recording, finished

from funreason.config import ConfigError, load_config
from funreason.export import accepted
from funreason.record.control import LONGEST_LINE, SOCKET, can_control, send_request
from funreason.record.folder import RecordError, is_within, open_run
from funreason.record.manifest import prune, seal_run, verify
from funreason.runtime import control_server
from funreason.runtime.control_server import ControlServer
from funreason.stop import StopRequest
from funreason.tui.app import Dashboard
from funreason.tui.feed import LiveFeed
from funreason.types import Weights
from funreason.weights import WeightStore

OUTSIDE = ["../../secret", "/etc/passwd", "a/../../b", "..", "", "a\0b"]


@pytest.fixture
def folder(tmp_path):
    found = finished(tmp_path / "runs" / "a")
    for k in (1, 2):
        found.seal(k)
    seal_run(found, ended=True)
    return found


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.mkdir()
    (path / "model.safetensors").write_bytes(b"mine")
    return path


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_of_its_folder_is_told_from_one_that_does_not(name):
    assert not is_within(name)
    assert is_within("weights/w1/model.safetensors")
    assert is_within("a..b")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_manifest_that_lists_files_outside_is_wrong_and_they_are_not_read(folder, name):
    manifest = folder.path / "manifest.json"
    files = json.loads(manifest.read_text())["files"]
    manifest.write_text(json.dumps({"files": {**files, name: {"sha256": "", "bytes": 0}}}))
    (wrong,) = verify(folder).wrong
    assert "outside the run's folder" in wrong


@pytest.mark.parametrize("where", ["weights/w9", "round-1/kept.jsonl", "events", "gate"])
def test_a_link_out_of_a_run_is_refused_by_every_command_that_opens_it(folder, secret, where):
    path = folder.path / where
    if path.exists():
        path.rename(secret / path.name)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(secret)
    with pytest.raises(RecordError, match=rf"{where} is a symbolic link .* not followed"):
        open_run(folder.path, folder.path.parent)


def test_links_within_a_run_and_a_link_to_a_run_are_followed(folder, tmp_path):
    (folder.weights / "w1").mkdir(parents=True)
    (folder.path / "model").symlink_to("weights/w1")
    (tmp_path / "link").symlink_to(folder.path)
    assert open_run(folder.path, tmp_path).name == "a"
    assert open_run(tmp_path / "link", tmp_path).name == "link"
    assert not verify(folder).wrong


def test_a_run_that_accepted_no_weights_links_the_model_it_began_with_and_is_opened(folder, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (folder.path / "model").symlink_to(base)
    with pytest.raises(RecordError, match="model is a symbolic link"):
        open_run(folder.path, tmp_path)
    (base / "config.json").write_text("{}")
    assert open_run(folder.path, tmp_path).name == "a"


def test_pruning_removes_a_link_and_leaves_what_it_leads_to(folder, secret):
    folder.weights.mkdir(exist_ok=True)
    (folder.weights / "bad").symlink_to(secret)
    assert [thing.path.name for thing in prune(folder)] == ["bad"]
    assert (secret / "model.safetensors").exists()
    assert not (folder.weights / "bad").is_symlink()


def test_weights_that_a_record_names_outside_its_folder_are_not_taken(folder, secret):
    store = WeightStore(Weights("base", folder.path), folder.weights)
    with pytest.raises(RecordError, match="nothing was loaded"):
        store.get("../../../secret")
    with pytest.raises(RecordError, match="no model to export"):
        accepted(folder, SimpleNamespace(weights="../../../secret"))


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", ""])
def test_a_suite_whose_name_is_no_folder_is_refused(name):
    with pytest.raises(ConfigError, match="a name becomes a folder"):
        load_config("default", {"gate.suites": {name: {"path": "tasks:held_out"}}})


@pytest.fixture
def run(tmp_path):
    made = Recording(tmp_path / "run")
    made.life("running", heartbeat=time.time() + 1000)
    return made


def test_a_run_obeys_only_processes_of_its_own_user(run, monkeypatch):
    monkeypatch.setattr(control_server.os, "geteuid", lambda: os.getuid() + 1)
    monkeypatch.setattr(control_server, "ROOT", -1)
    stop = StopRequest()

    async def drive():
        async with ControlServer(run.folder.path, stop, run):
            return await send_request(run.folder.path, "pause")

    reply = asyncio.run(drive())
    assert (reply.ok, reply.text) == (False, "this run belongs to another user")
    assert not stop.paused


def test_a_viewer_that_says_nothing_is_let_go(run, monkeypatch):
    monkeypatch.setattr(control_server, "WAIT_S", 0.05)

    async def drive():
        async with ControlServer(run.folder.path, StopRequest(), run):
            reader, writer = await asyncio.open_unix_connection(str(run.folder.path / SOCKET))
            async with asyncio.timeout(5):
                said = await reader.read()
            writer.close()
            await writer.wait_closed()
            return said

    assert b"no line within" in asyncio.run(drive())


def test_an_endless_reply_is_an_answer_and_no_error(run):
    async def endless(reader, writer):
        with suppress(ConnectionError):
            writer.write(b"x" * (4 * LONGEST_LINE))
            await writer.drain()
            writer.close()

    async def drive():
        server = await asyncio.start_unix_server(endless, str(run.folder.path / SOCKET))
        async with server:
            return await send_request(run.folder.path, "pause")

    reply = asyncio.run(drive())
    assert not reply.ok
    assert "cannot read" in reply.text


def test_a_socket_that_is_a_link_is_not_spoken_to(run, tmp_path):
    other = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(other))
        (run.folder.path / SOCKET).symlink_to(other)
        assert not can_control(run.folder.path)


def test_a_read_only_dashboard_steers_nothing_and_writes_nothing(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stop = StopRequest()
    feed = LiveFeed(run.folder, time.time)
    app = Dashboard(feed, open_feed=lambda found: feed, requeue=lambda folder, reason: "", read_only=True)

    async def drive():
        async with ControlServer(run.folder.path, stop, run), app.run_test(size=(120, 40)) as pilot:
            await pilot.press("P", "y", "S", "y")
            app.action_screenshot_svg()
            await pilot.pause()

    asyncio.run(drive())
    assert not stop.paused
    assert not stop.after_round
    assert app.requeue is None
    assert not list(tmp_path.glob("funreason-*"))
