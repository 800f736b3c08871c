"""The dashboard in a browser: who may ask, and the page opened in a real one."""

import asyncio
import base64
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from command_line import funreason
from recorded import finished

from funreason.cli.watch import allowed, titled_pages

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_server = pytest.mark.skipif(
    importlib.util.find_spec("textual_serve") is None, reason="the extra `serve` is not installed"
)


@pytest.mark.parametrize(
    ("host", "origin", "may"),
    [
        ("localhost:8023", None, True),
        ("127.0.0.1:8023", "http://localhost:8023", True),
        ("localhost:8023", "https://elsewhere.example", False),
        ("localhost:8023", "null", False),
        ("elsewhere.example:8023", None, False),
        ("", None, False),
    ],
)
def test_only_the_servers_own_page_is_answered(host, origin, may):
    assert allowed(host, origin, 8023) is may


def test_the_page_fetches_no_font_from_the_network(tmp_path):
    (tmp_path / "page.html").write_text(
        '<link\n rel="x"\n href="https://fonts.googleapis.com/css?family=R"\n/><p>kept</p>'
    )
    (tmp_path / "made").mkdir()
    made = titled_pages(tmp_path, tmp_path / "made") / "page.html"
    assert made.read_text() == "<p>kept</p>"


@needs_server
def test_a_port_that_is_taken_is_one_sentence_before_anything_is_served(tmp_path):
    folder = finished(tmp_path / "run")
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = funreason("watch", folder.path, "--serve", "--port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"--port {port} cannot be used" in done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def served(tmp_path):
    """A served run: its address."""
    folder, port = finished(tmp_path / "run"), free_port()
    command = [sys.executable, "-m", "funreason", "watch", str(folder.path), "--serve", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://localhost:{port}/"
    for _ in range(100):
        try:
            with urllib.request.urlopen(address, timeout=5):
                break
        except OSError:
            server.poll()
            asyncio.run(asyncio.sleep(0.1))
    yield address
    server.terminate()
    server.wait(10)


@needs_server
def test_the_page_has_the_runs_name_as_title_and_asks_for_no_icon(served):
    with urllib.request.urlopen(served, timeout=5) as page:
        text = page.read().decode()
    assert "<title>FunReason run</title>" in text
    assert '<link rel="icon" href="data:,">' in text


@needs_server
def test_a_page_of_another_site_is_refused(served):
    request = urllib.request.Request(served + "ws", headers={"Origin": "https://elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(request, timeout=5)
    refused.value.close()


@needs_server
@pytest.mark.engine
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_served_page_shows_the_run_in_a_real_browser(served, tmp_path):
    picture = asyncio.run(photographed(served, tmp_path))
    if target := os.environ.get("FUNREASON_PICTURE"):
        with open(target, "wb") as file:
            file.write(picture)
    assert picture.startswith(b"\x89PNG")


async def photographed(address: str, scratch) -> bytes:
    """Open the page, wait until the terminal in it has painted, and take its picture."""
    import aiohttp

    port = free_port()
    options = [f"--remote-debugging-port={port}", "--headless", "--no-sandbox", "--disable-gpu"]
    command = [CHROMIUM, *options, f"--user-data-dir={scratch}/c", "about:blank"]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(await page_socket(session, port), max_msg_size=0) as page,
        ):
            screen = {"width": 1250, "height": 820, "deviceScaleFactor": 1, "mobile": False}
            await told(page, "Emulation.setDeviceMetricsOverride", **screen)
            await told(page, "Page.navigate", url=address)
            await painted(page)
            shot = await told(page, "Page.captureScreenshot", format="png")
            return base64.b64decode(shot["data"])
    finally:
        browser.terminate()
        browser.wait(10)


async def painted(page) -> None:
    for _ in range(150):
        asked = "document.body.classList.contains('-first-byte')"
        found = await told(page, "Runtime.evaluate", expression=asked)
        if found["result"].get("value"):
            await asyncio.sleep(1.5)
            return
        await asyncio.sleep(0.1)
    pytest.fail("the page painted nothing within 15 s")


async def page_socket(session, port: int) -> str:
    for _ in range(100):
        try:
            async with session.get(f"http://localhost:{port}/json") as answer:
                pages = [page for page in await answer.json(content_type=None) if page["type"] == "page"]
                if pages:
                    return pages[0]["webSocketDebuggerUrl"]
        except OSError:
            pass
        await asyncio.sleep(0.1)
    return pytest.fail("the browser did not answer within 10 s")


async def told(page, method: str, **params):
    await page.send_str(json.dumps({"id": 1, "method": method, "params": params}))
    while True:
        answer = json.loads((await page.receive()).data)
        if answer.get("id") == 1:
            return answer.get("result", {})
