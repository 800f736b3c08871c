"""Steering a run through the socket in its folder."""

import asyncio
import socket
import stat
import time

import pytest
from recorded import Recording

from funreason.record import events as ev
from funreason.record.control import SOCKET, can_control, send_request
from funreason.runtime.control_server import ControlServer
from funreason.stop import StopRequest, pausable
from funreason.tui.app import Dashboard
from funreason.tui.feed import LiveFeed


@pytest.fixture
def run(tmp_path) -> Recording:
    made = Recording(tmp_path / "run")
    made.life("running", heartbeat=time.time() + 1000)
    return made


def test_a_viewer_pauses_a_run_lets_it_go_on_and_stops_it(run):
    stop, folder = StopRequest(), run.folder.path

    async def drive() -> None:
        async with ControlServer(folder, stop, run):
            assert (await send_request(folder, "pause")).ok
            assert stop.paused
            assert (await send_request(folder, "resume")).ok
            assert not stop.paused
            assert "round" in (await send_request(folder, "stop_after_round")).text
        assert not can_control(folder)

    asyncio.run(drive())
    assert stop.after_round
    assert not stop.asked
    assert not run.folder.state().paused
    assert [e.on for e in run.folder.state().recent_events if isinstance(e, ev.Paused)] == [True, False]


def test_only_the_owner_may_open_the_socket(run):
    async def drive() -> int:
        async with ControlServer(run.folder.path, StopRequest(), run):
            return stat.S_IMODE((run.folder.path / SOCKET).stat().st_mode)

    assert asyncio.run(drive()) == 0o600


def test_a_run_in_a_very_deep_folder_can_be_steered_too(tmp_path):
    run, stop = Recording(tmp_path / ("deep" * 30) / "run"), StopRequest()

    async def drive() -> bool:
        async with ControlServer(run.folder.path, stop, run):
            return (await send_request(run.folder.path, "pause")).ok

    assert asyncio.run(drive())
    assert stop.paused


@pytest.mark.parametrize("line", [b"\n", b'{"verb":"explode"}\n', b"x" * 9000 + b"\n", b""])
def test_what_is_not_understood_changes_nothing_and_breaks_nothing(run, line):
    stop, folder = StopRequest(), run.folder.path

    async def drive() -> None:
        async with ControlServer(folder, stop, run):
            reader, writer = await asyncio.open_unix_connection(str(folder / SOCKET))
            writer.write(line)
            writer.write_eof()
            assert b'"ok":false' in await reader.read()
            writer.close()
            await writer.wait_closed()
            assert (await send_request(folder, "pause")).ok

    asyncio.run(drive())


def test_a_socket_nobody_listens_at_is_an_answer_and_no_error(run):
    path = run.folder.path / SOCKET
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    told = asyncio.run(send_request(run.folder.path, "pause"))
    assert not told.ok
    assert "cannot be reached" in told.text

    async def taken_over() -> bool:
        async with ControlServer(run.folder.path, StopRequest(), run):
            return (await send_request(run.folder.path, "pause")).ok

    assert asyncio.run(taken_over())


def test_a_paused_run_draws_nothing_until_it_may_go_on():
    stop = StopRequest()

    async def drive() -> list[int]:
        seen = []

        async def draw() -> None:
            async for i in pausable(range(6), stop):
                seen.append(i)
                if i == 2:
                    stop.pause()

        task = asyncio.create_task(draw())
        await asyncio.sleep(0.3)
        assert seen == [0, 1, 2]
        stop.resume()
        await task
        return seen

    assert asyncio.run(drive()) == list(range(6))


def test_a_request_to_stop_ends_a_pause():
    stop = StopRequest()
    stop.pause()
    stop.ask()
    assert not stop.paused
    assert stop.asked_after_waiting()
    stop.pause()
    assert not stop.paused


def test_the_dashboard_asks_before_it_steers(run):
    stop = StopRequest()
    app = Dashboard(LiveFeed(run.folder, time.time), open_feed=lambda found: LiveFeed(found, time.time))

    async def drive() -> None:
        async with ControlServer(run.folder.path, stop, run), app.run_test(size=(120, 40)) as pilot:
            await pilot.pause()
            for answer, paused in (("n", False), ("y", True)):
                await pilot.press("P")
                await pilot.press(answer)
                await pilot.pause(0.4)
                assert stop.paused == paused
            app.tick()
            assert app.feed.state.paused
            await pilot.press("P", "y")
            await pilot.pause(0.4)
            assert not stop.paused
            await pilot.press("S", "y")
            await pilot.pause(0.4)

    asyncio.run(drive())
    assert stop.after_round
