"""A hub in this process: the parts of its API that `huggingface_hub` uses to list, fetch and push, and faults.

Repositories are kept in memory, with all their commits. Safetensors, Parquet and other large files are served as LFS
objects from another host name, as a hub's CDN does; both understand Range.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LFS = (".safetensors", ".parquet", ".bin")


@dataclass
class Repo:
    """A repository: its commits with all files of each, and what `main` is. `refusal`: (status, X-Error-Code)."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    main: str = ""
    private: bool = False
    refusal: tuple[int, str] | None = None

    def commit(self, files: dict[str, bytes]) -> str:
        """Make `files` the content of a new commit."""
        text = repr((len(self.commits), sorted((name, git_id(data)) for name, data in files.items())))
        self.main = hashlib.sha1(text.encode()).hexdigest()
        self.commits[self.main] = dict(files)
        return self.main


def git_id(data: bytes) -> str:
    """The id that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub(ThreadingHTTPServer):
    """The server. `log` holds (method, path, Range header, whether a token came with it) of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.log: list[tuple[str, str, str, bool]] = []
        self.cut: dict[str, int] = {}
        """By sha256 of an object: after how many bytes its next download breaks off."""
        self.swapped: dict[str, bytes] = {}
        """By sha256 of an object: what is sent in its place."""
        self.silent: tuple[str, ...] = ()
        """Requests whose path begins so are never answered."""
        self.let_go = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """Its address, for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End it, and every request that it keeps waiting."""
        self.let_go.set()
        self.shutdown()
        self.server_close()

    def add(self, name: str, files: dict[str, bytes], **about: Any) -> Repo:
        """A new repository, `ORG/NAME` or `datasets/ORG/NAME`."""
        repo = self.repos[name] = Repo(**about)
        repo.commit(files)
        return repo

    def fetched(self) -> list[str]:
        """The paths of the files that were downloaded, in order."""
        return [path for method, path, _, _ in self.log if method == "GET" and ("/resolve/" in path or "/cdn/" in path)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def _note(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.server.log.append((self.command, path, self.headers.get("Range", ""), "Authorization" in self.headers))
        if self.server.silent and path.startswith(self.server.silent):
            self.server.let_go.wait()
        return path

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, data: Any, status: int = 200, **headers: str) -> None:
        self._send(status, json.dumps(data).encode(), Content_Type="application/json", **headers)

    def _missing(self, code: str = "RepoNotFound") -> None:
        self._json({"error": "not found"}, 404, X_Error_Code=code)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self._note()
        if path.startswith("/cdn/"):
            return self._object(path.removeprefix("/cdn/"))
        if path.startswith("/api/"):
            kind, _, rest = path.removeprefix("/api/").partition("/")
            name, _, revision = rest.partition("/revision/")
            return self._info(f"datasets/{name}" if kind == "datasets" else name, revision)
        if path.startswith("/page/"):
            return self._send(200, b"<html>Sign in</html>")
        if "/resolve/" not in path:
            return self._missing("")
        name, _, rest = path[1:].partition("/resolve/")
        revision, _, file = rest.partition("/")
        repo = self.server.repos.get(name)
        if repo is None:
            return self._missing()
        if repo.refusal is not None:
            return self._json({}, repo.refusal[0], X_Error_Code=repo.refusal[1])
        commit = repo.main if revision == "main" else revision
        data = repo.commits.get(commit, {}).get(file)
        if data is None:
            return self._missing("EntryNotFound")
        if not file.endswith(LFS):
            return self._bytes(data, ETag=f'"{git_id(data)}"', X_Repo_Commit=commit)
        sha = hashlib.sha256(data).hexdigest()
        self.server.objects[sha] = data
        where = f"http://localhost:{self.server.port}/cdn/{sha}"
        self._send(
            302, Location=where, X_Repo_Commit=commit, X_Linked_Etag=f'"{sha}"', X_Linked_Size=str(len(data))
        )  # fmt: skip

    def _info(self, name: str, revision: str) -> None:
        repo = self.server.repos.get(name)
        if repo is None:
            return self._missing()
        if repo.refusal is not None:
            return self._json({}, repo.refusal[0], X_Error_Code=repo.refusal[1])
        commit = repo.main if revision in ("", "main") else revision
        if commit not in repo.commits:
            return self._missing("RevisionNotFound")
        siblings = []
        for file, data in repo.commits[commit].items():
            entry: dict[str, Any] = {"rfilename": file, "size": len(data), "blobId": git_id(data)}
            if file.endswith(LFS):
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            siblings.append(entry)
        short = name.removeprefix("datasets/")
        self._json({"id": short, "sha": commit, "private": repo.private, "siblings": siblings, "tags": []})

    def _object(self, sha: str) -> None:
        data = self.server.swapped.get(sha, self.server.objects[sha])
        most = self.server.cut.pop(sha, None)
        self._bytes(data, most, ETag=f'"{sha}"')

    def _bytes(self, data: bytes, most: int | None = None, **headers: str) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[start:] if most is None else data[start : start + most])
            if most is not None:
                self.close_connection = True

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_PUT(self) -> None:
        path, data = self._note(), self._body()
        sha = path.removeprefix("/lfs/")
        assert hashlib.sha256(data).hexdigest() == sha
        self.server.objects[sha] = data
        self._send(200)

    def do_POST(self) -> None:
        path, body = self._note(), self._body()
        if path == "/api/repos/create":
            about = json.loads(body)
            name = f"{about['organization']}/{about['name']}"
            self.server.repos[name] = repo = Repo(private=about.get("visibility") == "private")
            repo.commit({".gitattributes": b""})
            return self._json({"url": f"{self.server.url}/{name}"})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path.endswith("/info/lfs/objects/batch"):
            actions = [
                entry | {"actions": {"upload": {"href": f"{self.server.url}/lfs/{entry['oid']}"}}}
                for entry in json.loads(body)["objects"]
            ]
            return self._json({"transfer": "basic", "objects": actions})
        name, _, _ = path.removeprefix("/api/models/").rpartition(
            "/preupload/" if "/preupload/" in path else "/commit/"
        )
        repo = self.server.repos[name]
        if repo.refusal is not None:
            return self._json({}, repo.refusal[0], X_Error_Code=repo.refusal[1])
        if "/preupload/" in path:
            files = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith(LFS) else "regular",
                    "shouldIgnore": False,
                }
                for f in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        files = dict(repo.commits[repo.main])
        for line in body.splitlines():
            entry = json.loads(line)
            key, value = entry["key"], entry["value"]
            if key == "header" and value.get("parentCommit", repo.main) != repo.main:
                return self._json({"error": "a newer commit is there"}, 412)
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        commit = repo.commit(files)
        self._json({"success": True, "commitOid": commit, "commitUrl": f"{self.server.url}/{name}/commit/{commit}"})
