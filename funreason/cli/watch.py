"""`funreason watch` and `replay`: the dashboard over a run's record; and the dashboard that `loop --tui` opens.

That one is a child process of the run, with the terminal to itself: what the run prints goes to `console.log` in its
folder while it is open, because two programs cannot write to one screen. Quitting or killing it leaves the run as it
is: the plain live view takes over.

`watch --serve` shows the dashboard in a browser, on this machine only. Binding to localhost does not keep out other web
pages that the same browser has open. A request must therefore name this server as its host and, where it states its
origin, come from this server's own page. Nothing is fetched from elsewhere.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from funreason.cli.app import RUNS, RunDir, RunName
from funreason.cli.terminal import redirect_output

if TYPE_CHECKING:
    from funreason.record.folder import RunFolder

CONSOLE = "console.log"
POLL_S = 0.05


def watch(
    run: RunName = None,
    /,
    *,
    against: str | None = None,
    serve: bool = False,
    steer: bool = False,
    read_only: bool = False,
    port: int = 8023,
    run_dir: RunDir = RUNS,
) -> int:
    """Open the dashboard on a live or finished run. It only reads; quitting it leaves the run alone.

    Parameters
    ----------
    against
        Another run to compare with.
    serve
        Serve it to a browser on this machine instead of this terminal, read-only.
    steer
        With --serve: pages may also pause and stop the run, put dead letters back and write tables here.
    read_only
        Only show: no key steers the run or writes a file.
    port
        The port for --serve, on localhost only.
    """
    from funreason.record.folder import open_run

    folder = open_run(run, run_dir)
    if serve:
        return serve_dashboard(folder, run_dir, port, steer=steer)
    _require_dashboard()
    from funreason.tui.app import show
    from funreason.tui.feed import LiveFeed

    other = None if against is None else open_run(against, run_dir)
    show(folder, run_dir, lambda found, clock: LiveFeed(found, clock), _put_back, key_map(), other, read_only=read_only)
    return 0


def replay(run: RunName = None, /, *, speed: float = 1.0, run_dir: RunDir = RUNS) -> int:
    """Play a recorded run again in the dashboard.

    Parameters
    ----------
    speed
        How many times faster than the run was.
    """
    from funreason.record.folder import RecordError, open_run

    folder = open_run(run, run_dir)
    if not speed > 0:
        raise RecordError(f"--speed is {speed:g}; it must be above 0. 1 is the pace the run had.")
    _require_dashboard()
    from funreason.tui.app import show
    from funreason.tui.feed import ReplayFeed

    show(folder, run_dir, lambda found, clock: ReplayFeed(found, clock, speed), None, key_map(), None)
    return 0


def key_map() -> dict[str, str]:
    """The user's keys by binding id, from `keys.yaml`; RecordError when the file is not of that form."""
    from funreason.record.folder import RecordError

    path = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "funreason" / "keys.yaml"
    if not path.exists():
        return {}
    import yaml

    try:
        found = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(word, str) for pair in found.items() for word in pair):
        raise RecordError(f"{path} must hold lines such as `view.quit: ctrl+x`; the ids are in the help (?)")
    return {str(key): str(value) for key, value in found.items()}


def _put_back(folder: RunFolder, reason: str) -> str:
    from funreason.cli.runs import put_back
    from funreason.record.folder import RecordError, command_to_resume

    try:
        return f"{put_back(folder, reason)} samples put back. Resume with: {command_to_resume(folder)}"
    except RecordError as error:
        return str(error)


def _require_dashboard() -> None:
    from funreason.record.folder import RecordError

    if find_spec("textual") is None:
        raise RecordError("the dashboard needs the extra `tui`: pip install 'funreason[tui]'")
    if not sys.stdout.isatty() and "TEXTUAL_DRIVER" not in os.environ:
        raise RecordError("the dashboard needs a terminal. Without one: funreason status, or funreason report.")


def require_terminal() -> None:
    """RecordError where `loop --tui` could show no dashboard; asked before a run's folder is made."""
    from funreason.record.folder import RecordError

    if find_spec("textual") is None:
        raise RecordError("--tui needs the extra `tui`: pip install 'funreason[tui]'")
    if not sys.stdout.isatty():
        raise RecordError("--tui needs a terminal. Without it the run prints one line per phase.")


@contextmanager
def viewed(folder: RunFolder, console: Console) -> Iterator[None]:
    """Show the run in the dashboard while the block plays it; waits, at the end, until the dashboard is quit."""
    from funreason.display.progress import LiveProgress

    terminal = os.dup(1), os.dup(2)
    redirect_output(folder.path / CONSOLE)
    done = threading.Event()

    def show_dashboard() -> None:
        while not (folder.path / "run.json").exists() and not done.wait(POLL_S):
            pass  # the run claims its folder itself; there is nothing to read before
        if not done.is_set():
            command = [sys.executable, "-m", "funreason", "watch", str(folder.path)]
            subprocess.run(command, stdout=terminal[0], stderr=terminal[1], check=False)
        for own, kept in zip((1, 2), terminal, strict=True):
            os.dup2(kept, own)
            os.close(kept)
        if done.is_set():
            return
        console.print(f"the dashboard was closed; the run continues. Again: funreason watch {folder.path}")
        with LiveProgress(folder, console):
            done.wait()

    after = threading.Thread(target=show_dashboard, name="viewer")
    after.start()
    try:
        yield
    finally:
        done.set()
        after.join()


_FONTS = re.compile(r"<link[^>]*fonts\.googleapis\.com[^>]*>", re.DOTALL)
HEAD = '<head><title>{{ application.name | e }}</title><link rel="icon" href="data:,">'
"""The page's title, which its server fills in, and an empty icon, or the browser would ask the server for one."""


def serve_dashboard(folder: RunFolder, runs: Path, port: int, *, steer: bool = False) -> int:
    """Serve a run's dashboard on localhost until Ctrl-C; each page has its own viewer, read-only without `steer`."""
    from funreason.record.folder import RecordError

    try:
        from textual_serve.server import Server
    except ModuleNotFoundError as error:
        raise RecordError("serving needs the extra `serve`: pip install 'funreason[serve]'") from error
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind(("localhost", port))
        except OSError as error:
            raise RecordError(f"--port {port} cannot be used ({error.strerror}); give another --port") from error
    command = [sys.executable, "-m", "funreason", "watch", str(folder.path.resolve()), "--run-dir", str(runs.resolve())]
    command += [] if steer else ["--read-only"]
    with tempfile.TemporaryDirectory() as pages:
        server: Any = Server(shlex.join(command), host="localhost", port=port, title=f"FunReason {folder.name}")
        server.templates_path = titled_pages(Path(server.templates_path), Path(pages))

        make_app = server._make_app

        async def made() -> Any:
            from aiohttp import web

            async def guard(request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
                if not allowed(request.headers.get("Host", ""), request.headers.get("Origin"), port):
                    raise web.HTTPForbidden(text="this dashboard answers only its own page on this machine")
                return await handler(request)

            app = await make_app()
            app.middlewares.append(web.middleware(guard))
            return app

        server._make_app = made
        server.serve()
    return 0


def titled_pages(templates: Path, target: Path) -> Path:
    """Copies the server's pages with a title, and without the font that they would fetch from the network."""
    for page in templates.glob("*.html"):
        (target / page.name).write_text(_FONTS.sub("", page.read_text()).replace("<head>", HEAD, 1))
    return target


def allowed(host: str, origin: str | None, port: int) -> bool:
    """Whether a request with these headers comes from this server's own page."""
    names = {f"localhost:{port}", f"127.0.0.1:{port}"}
    return host in names and (origin is None or origin.removeprefix("http://") in names)
