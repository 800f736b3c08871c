"""`funreason watch --serve`: the dashboard in a browser, on this machine only.

Binding to localhost does not keep out other web pages that the same browser has open. A request must therefore name
this server as its host and, where it states its origin, come from this server's own page. Nothing is fetched from
elsewhere.
"""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from funreason.record.folder import RecordError, RunFolder

_FONTS = re.compile(r"<link[^>]*fonts\.googleapis\.com[^>]*>", re.DOTALL)


def serve_dashboard(folder: RunFolder, runs: Path, port: int) -> int:
    """Serve a run's dashboard on localhost until Ctrl-C; each page has its own viewer process."""
    try:
        from textual_serve.server import Server
    except ModuleNotFoundError as error:
        raise RecordError("serving needs the extra `serve`: pip install 'funreason[serve]'") from error
    command = [sys.executable, "-m", "funreason", "watch", str(folder.path.resolve()), "--run-dir", str(runs.resolve())]
    with tempfile.TemporaryDirectory() as pages:
        server: Any = Server(shlex.join(command), host="localhost", port=port, title=f"FunReason {folder.name}")
        server.templates_path = without_fonts(Path(server.templates_path), Path(pages))

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


def without_fonts(templates: Path, target: Path) -> Path:
    """Copies the server's pages without the font that they would fetch from the network."""
    for page in templates.glob("*.html"):
        (target / page.name).write_text(_FONTS.sub("", page.read_text()))
    return target


def allowed(host: str, origin: str | None, port: int) -> bool:
    """Whether a request with these headers comes from this server's own page."""
    names = {f"localhost:{port}", f"127.0.0.1:{port}"}
    return host in names and (origin is None or origin.removeprefix("http://") in names)
