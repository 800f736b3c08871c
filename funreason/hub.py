"""A hub of models and data sets: names on it, what its cache holds, fetching files, pushing a folder.

The only module that imports `huggingface_hub`, and only to ask a server. The cache is read without it, so a name that
was fetched once needs neither a network nor the extra. Which hub, which cache and which token is decided by the
library's own environment variables (HF_ENDPOINT, HF_HUB_CACHE, HF_TOKEN, HF_HUB_OFFLINE).

A fetch first lists a repository at one commit and keeps that list, so an interrupted fetch is never taken for a whole
one. Files are taken one by one and compared with their hashes; what is whole stays, so the next fetch begins with the
file that was interrupted. Nothing that a repository holds is run. No error contains a token.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from threading import Event, Thread
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from funreason.wheels import user_cache

Kind = Literal["model", "dataset"]
Report = Callable[[str, int, int], None]
"""Receives a file's name, the bytes fetched so far, and its size."""
PREFIX = "hf:"
MARK = "funreason.json"
"""The file by which a repository that was pushed from here is recognised."""
ANSWER_S = 5.0
"""Seconds until a hub must answer a question; HF_HUB_ETAG_TIMEOUT overrides it."""
START_S, PIECE_S = 20.0, 120.0
"""Seconds until a download must begin, and seconds that a piece of 10 MB may take. A connection that is silent is given
up earlier by the library: after about a minute, or six times HF_HUB_DOWNLOAD_TIMEOUT."""
PUSH_S = 300.0
"""Seconds until a hub must answer one request of a push: a commit of many files takes it long."""
MOST_LISTED = 100_000
"""A repository with more files is refused."""

_WORD = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REVISION = r"[A-Za-z0-9][A-Za-z0-9_./-]{0,199}"
_MODEL = re.compile(rf"(?P<repo>{_WORD}/{_WORD})(?:@(?P<revision>{_REVISION}))?")
_LONG = re.compile(rf"hf:(?P<repo>(?:{_WORD}/)?{_WORD})(?::(?P<part>[^@:]+))?(?:@(?P<revision>{_REVISION}))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubError(Exception):
    """What a hub or its cache cannot give, or does not take; the message says what to do."""


class HubUnreachable(HubError):
    """No hub answers, or it must not be asked."""


class HubName(NamedTuple):
    """A model or data set on a hub; `revision` is a branch, a tag or a commit, `part` a split or file of a data set."""

    kind: Kind
    repo: str
    revision: str = ""
    part: str = ""

    def __str__(self) -> str:
        prefix = PREFIX if self.kind == "dataset" or "/" not in self.repo else ""
        return f"{prefix}{self.repo}{':' * bool(self.part)}{self.part}{'@' * bool(self.revision)}{self.revision}"

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit."""
        return _COMMIT.fullmatch(self.revision) is not None

    @property
    def branch(self) -> str:
        """The branch or tag; "" for a commit."""
        return "" if self.pinned else self.revision or "main"

    @property
    def by_hand(self) -> str:
        """How to place its files without this package."""
        kind = " --repo-type dataset" if self.kind == "dataset" else ""
        at = f" --revision {self.revision}" if self.revision else ""
        folder = self.repo.rpartition("/")[2]
        return f"`hf download {self.repo}{kind}{at} --local-dir {folder}`, then give the folder: ./{folder}"


class RepoFile(NamedTuple):
    """A file of a repository: its size (-1: not known), and its SHA-256 or else its git hash ("": not known)."""

    size: int = -1
    sha256: str = ""
    git: str = ""


class Listing(NamedTuple):
    """A repository at one commit: `name` has it as revision. `files` by their path in it."""

    name: HubName
    files: dict[str, RepoFile]

    @property
    def folder(self) -> Path:
        """Where the cache has its files."""
        return _storage(self.name) / "snapshots" / self.name.revision

    def missing(self, files: Iterable[str]) -> list[str]:
        """Those of the `files` that the cache does not hold whole."""
        return [file for file in files if not self._holds(file)]

    def _holds(self, file: str) -> bool:
        path, size = self.folder / file, self.files[file].size
        return path.is_file() and size in (-1, path.stat().st_size)


def model_name(text: str) -> HubName | None:
    """`ORG/NAME[@REVISION]`, or `hf:` before it; None for any other text, and where a file or folder has that name."""
    found = _MODEL.fullmatch(text) or (_LONG.fullmatch(text) if text.startswith(PREFIX) else None)
    if found is None or found.groupdict().get("part") or not _plain(found) or Path(text).exists():
        return None
    return HubName("model", found["repo"], found["revision"] or "")


def data_name(text: str) -> HubName | None:
    """`hf:ORG/NAME[:PART][@REVISION]`; None for a text without the prefix. HubError for a malformed one."""
    if not text.startswith(PREFIX):
        return None
    found = _LONG.fullmatch(text)
    if found is None or not _plain(found):
        raise HubError(f"{text}: expected hf:ORG/NAME, with :SPLIT and @REVISION after it where they are needed.")
    return HubName("dataset", found["repo"], found["revision"] or "", found["part"] or "")


def _plain(found: re.Match[str]) -> bool:
    """Whether no piece of a name could lead out of a folder."""
    return not any(bad in (text or "") for text in found.groupdict().values() for bad in ("..", "--", "//"))


def cache() -> Path:
    """The cache that Hugging Face's tools share."""
    if own := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(own).expanduser()
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(home).expanduser() / "hub"


def cached(name: HubName) -> Listing | None:
    """What the cache knows of a repository at the name's revision; None where it never saw that revision.

    A repository that another tool fetched has no list here: then its files are those in the cache.
    """
    if name.pinned:
        commit = name.revision
    else:
        try:
            commit = (_storage(name) / "refs" / name.branch).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return None
    if not _COMMIT.fullmatch(commit):
        return None
    found = Listing(name._replace(revision=commit), {})
    try:
        listed = json.loads(_list_of(found.name).read_text())
        files = {str(path): RepoFile(int(size), str(sha), str(git)) for path, (size, sha, git) in listed.items()}
        if all(map(_is_inside, files)):
            return found._replace(files=files)
    except (OSError, ValueError, TypeError, AttributeError):
        pass  # no list, or one that something else wrote: what is there counts
    there = [path.relative_to(found.folder).as_posix() for path in found.folder.rglob("*") if path.is_file()]
    return found._replace(files=dict.fromkeys(sorted(there), RepoFile())) if there else None


def look(name: HubName) -> Listing:
    """Ask the hub for the list of a repository's files at the commit that the name's revision is now.

    HubUnreachable, within seconds, where no hub answers; HubError where it refuses, or names files outside.
    """
    with _explained(name):
        info = _api().repo_info(
            name.repo, repo_type=name.kind, revision=name.revision or None, timeout=_answer_s(), files_metadata=True
        )
    commit, siblings = str(info.sha), info.siblings or []
    if not _COMMIT.fullmatch(commit) or (name.pinned and commit != name.revision):
        raise HubError(f"{name}: the hub answered with the commit {commit[:60]!r}, which is not what was asked for.")
    if len(siblings) > MOST_LISTED:
        raise HubError(f"{name} has {len(siblings):,} files; at most {MOST_LISTED:,} are listed. {_by_hand(name)}")
    files = {}
    for sibling in siblings:
        if not _is_inside(sibling.rfilename):
            raise HubError(
                f"{name} lists {sibling.rfilename[:100]!r}, a name that leads out of its folder, so nothing of it is "
                "fetched. Tell the hub's operators."
            )
        sha = str(sibling.lfs.sha256) if sibling.lfs is not None else ""
        size = sibling.size if isinstance(sibling.size, int) else -1
        files[sibling.rfilename] = RepoFile(size, sha, "" if sha else str(sibling.blob_id or ""))
    return Listing(name._replace(revision=commit), files)


def fetch(listing: Listing, files: Iterable[str], report: Report | None = None, *, branch: str = "") -> None:
    """Fetch those of the `files` that the cache lacks. With `branch`, that name now means this commit in the cache.

    HubError when the connection breaks off, a file is not what was listed, or the disk has no room for all.
    """
    wanted = listing.missing(files)
    _write(_list_of(listing.name), json.dumps(listing.files))
    need = sum(max(0, listing.files[file].size) for file in wanted)
    cache().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache()).free
    if need > free:
        raise HubError(
            f"{listing.name}: {need / 1e9:.1f} GB are to be fetched, but {cache()} has {free / 1e9:.1f} GB free. Free "
            "some space, or set HF_HUB_CACHE to another disk."
        )
    for file in wanted:
        _download(listing, file, report)
    if branch:
        _write(_storage(listing.name) / "refs" / branch, listing.name.revision)


def _download(listing: Listing, file: str, report: Report | None) -> None:
    """Fetch one file, in a thread: the library waits and retries for minutes, and takes no limit for all of it."""
    from tqdm import tqdm

    name, expected = listing.name, listing.files[file]
    errors, over, stopped = list[BaseException](), Event(), Event()
    done, signs = 0, 0

    class Bar(tqdm):  # type: ignore[misc]
        """A progress bar of the library that is not drawn, and through which a download can be stopped."""

        def __init__(self, *args: Any, **given: Any) -> None:
            given["disable"] = True
            super().__init__(*args, **given)
            self.update(given.get("initial") or 0)

        def update(self, n: float | None = 1) -> None:
            nonlocal done
            done += int(n or 0)
            if report is not None:
                report(file, done, expected.size)
            self.update_transfer(n)

        def update_transfer(self, n: float | None = 1) -> None:
            """Bytes came that are not yet in the file."""
            nonlocal signs
            signs += 1
            if stopped.is_set():
                raise HubUnreachable(f"{name}: stopped")

        def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None:
            """Nothing is drawn."""

    def work() -> None:
        try:
            with _explained(name):
                _api().hf_hub_download(
                    name.repo,
                    file,
                    repo_type=name.kind,
                    revision=name.revision,
                    cache_dir=cache(),
                    etag_timeout=_answer_s(),
                    tqdm_class=Bar,
                    force_download=(listing.folder / file).exists(),  # it has another size
                )
        except BaseException as error:  # raised again in the thread that waits
            errors.append(error)
        finally:
            over.set()

    Thread(target=work, daemon=True).start()
    seen, since = 0, time.monotonic()
    try:
        while not over.wait(0.1):
            if signs != seen:
                seen, since = signs, time.monotonic()
            elif time.monotonic() - since > (limit := PIECE_S if signs else START_S):
                raise HubUnreachable(
                    f"{name}: {file} did not arrive: nothing came for {limit:g} seconds. The files that are whole are "
                    "kept; the same command fetches the rest."
                )
    except BaseException:  # Ctrl-C too: the library removes the unfinished file once it is stopped
        stopped.set()
        over.wait(1)
        raise
    if errors:
        raise errors[0]
    path = listing.folder / file
    if (expected.sha256 or expected.git) and not _is_as_listed(path, expected):
        for part in (path.resolve(), path):
            part.unlink(missing_ok=True)
        raise HubError(f"{name}: {file} arrived with other bytes than the hub lists. It was removed; fetch it again.")


def _is_as_listed(path: Path, expected: RepoFile) -> bool:
    if expected.sha256:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest() == expected.sha256
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest() == expected.git


class Target(NamedTuple):
    """A repository to push to: what it is now (None: it does not exist), and whether only its owners see it."""

    name: HubName
    now: Listing | None
    private: bool


class Pushed(NamedTuple):
    """What a push made: the repository's commit, its address, and whether only its owners see it."""

    commit: str
    url: str
    private: bool


def push_target(text: str, *, overwrite: bool = False, public: bool = False) -> Target:
    """Whether a folder could be pushed to `ORG/NAME`; asked before anything is written.

    HubError without a token, for a name that is not one, and, unless `overwrite`, for a repository with files that no
    push from here wrote.
    """
    found = _MODEL.fullmatch(text)
    if found is None or not _plain(found) or found["revision"]:
        raise HubError(f"--push {text}: expected ORG/NAME, such as my-name/my-caller.")
    name = HubName("model", found["repo"])
    if _library().get_token() is None:
        raise HubError(f"--push {name} needs a token: set HF_TOKEN, or run `hf auth login` once.")
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    private = not public
    now: Listing | None
    try:
        with _explained(name, passing=(RepositoryNotFoundError,)):
            private = bool(_api().repo_info(name.repo, timeout=_answer_s()).private)
        now = look(name)
    except GatedRepoError:
        raise HubError(f"--push {name}: the repository is gated, and the token's account has no access.") from None
    except RepositoryNotFoundError:
        now = None
    own = [file for file in now.files if file != ".gitattributes"] if now is not None else []
    if own and MARK not in own and not overwrite:
        raise HubError(
            f"--push {name}: the repository has {len(own)} files that no push from here wrote, such as {own[0]}. "
            "Choose another name, or add --yes to write over those with the same names."
        )
    return Target(name, now, private)


def push(folder: Path, target: Target, about: dict[str, str]) -> Pushed:
    """Upload every file of `folder` in one commit; files of the last push that are not among them are deleted.

    `about` goes into the repository's `MARK`. HubError when the hub refuses, or when someone else pushed meanwhile.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    name = target.name
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if not any(file.endswith(".safetensors") for file in files):
        raise HubError(f"{folder} holds no *.safetensors, so it is not pushed as a model.")
    mark = json.dumps({"written_by": "funreason", **about, "files": sorted(files)}, indent=1)
    add = [CommitOperationAdd(file, path) for file, path in files.items()]
    add.append(CommitOperationAdd(MARK, mark.encode()))
    gone = [file for file in _of_last_push(target.now) if file not in files]
    with _explained(name), _without_bars(), _answered_within(PUSH_S):
        api = _api()
        if target.now is None:
            api.create_repo(name.repo, private=target.private, exist_ok=False)
        made = api.create_commit(
            name.repo,
            [*add, *(CommitOperationDelete(file) for file in gone)],
            commit_message=f"Weights {about.get('weights', '')} by FunReason".replace("  ", " "),
            parent_commit=target.now.name.revision if target.now is not None else None,
        )
    return Pushed(made.oid, f"{api.endpoint}/{name.repo}", target.private)


def _of_last_push(now: Listing | None) -> list[str]:
    """The files that the last push wrote and that are still there."""
    if now is None or MARK not in now.files:
        return []
    fetch(now, [MARK])
    try:
        written = json.loads((now.folder / MARK).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # changed by someone: nothing is deleted for what it says
    return [str(file) for file in written if file in now.files] if isinstance(written, list) else []


def _by_hand(name: HubName) -> str:
    return f"To place the files by hand: {name.by_hand}."


def absent(name: HubName) -> str:
    """The sentence for a name whose files are not all in the cache and must not be fetched."""
    what = "its safetensors, tokenizer and configuration" if name.kind == "model" else "its data files"
    found = cached(name)
    state = "only a part of it is in" if found is not None and found.files else "it is not in"
    local = "there is no such folder, and as a name on the hub " if name.kind == "model" else ""
    return (
        f"{name}: {local}{state} the cache ({cache()}). --download, or `download: true` in the configuration, fetches "
        f"{what}; or place them by hand: {name.by_hand}."
    )


def _storage(name: HubName) -> Path:
    return cache() / f"{name.kind}s--{name.repo.replace('/', '--')}"


def _list_of(name: HubName) -> Path:
    """The file with the list of a repository at a commit."""
    return user_cache() / "hub" / _storage(name).name / f"{name.revision}.json"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


def _is_inside(file: str) -> bool:
    """Whether a path of a repository stays in the folder it is put into."""
    parts = PurePosixPath(file).parts
    return bool(parts) and file.isprintable() and not (file.startswith("/") or ".." in parts or set("\\:") & set(file))


def _answer_s() -> float:
    return float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or ANSWER_S)


def _library() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise HubError("names on a hub need the extra `hub`: pip install 'funreason[hub]'") from None
    return huggingface_hub


def _api() -> Any:
    return _library().HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


@contextmanager
def _without_bars() -> Iterator[None]:
    bars = _library().utils
    hidden = bars.are_progress_bars_disabled()
    if not hidden:
        bars.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            bars.enable_progress_bars()


@contextmanager
def _answered_within(seconds: float) -> Iterator[None]:
    """Limit the requests that the library sends without a limit of their own, which would wait for ever."""
    client = _library().utils.get_session()
    before = client.timeout
    client.timeout = seconds
    try:
        yield
    finally:
        client.timeout = before


@contextmanager
def _explained(name: HubName, *, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn what the library raises into one sentence, and keep its warnings about retries off the terminal.

    Its own texts are not repeated: they hold addresses and, for a malformed token, the token.
    """
    library = _library()
    if library.is_offline_mode() or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise HubUnreachable(f"{name}: HF_HUB_OFFLINE is set, so no hub is asked. Unset it. {_by_hand(name)}")
    log = logging.getLogger("huggingface_hub")
    level = log.level
    if not os.environ.get("HF_HUB_VERBOSITY"):
        log.setLevel(logging.ERROR)
    try:
        yield
    except Exception as error:  # of the library, of its HTTP client in either version, of what a server sends
        if isinstance(error, (HubError, *passing)):
            raise
        raise _sentence(name, error, library.errors) from None
    finally:
        log.setLevel(level)


def _sentence(name: HubName, error: BaseException, errors: Any) -> HubError:
    """The error as a HubError that says what to do."""
    cause = error.__cause__
    if isinstance(error, errors.LocalEntryNotFoundError | RuntimeError) and cause is not None:
        error = cause
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind, page = {"model": "model", "dataset": "data set"}[name.kind], "its page on the hub"
    account = "a token of that account is needed (HF_TOKEN, or `hf auth login`)"
    if isinstance(error, errors.GatedRepoError):
        return HubError(f"{name} is gated: accept its terms on {page}; then {account}.")
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(f"{name.repo}: the hub has no revision {name.revision!r} of this {kind}.")
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubError(f"{name.repo}: the hub has no such {kind}, or it is private: then {account}.")
    if isinstance(error, errors.EntryNotFoundError):
        return HubError(f"{name}: the hub lists a file of it that it does not have. Try again later.")
    if status == 401:
        return HubError(f"{name}: the hub does not accept the token. Make a new one, and set HF_TOKEN.")
    if status == 403:
        return HubError(f"{name}: the token's account may not do this. Accept the terms on {page}, or use another one.")
    if status in (409, 412):
        return HubError(f"{name}: the repository changed in the meantime. Run the command again.")
    if status == 404:
        return HubError(
            f"{name.repo}: what answers at {_endpoint()} knows no such {kind}. Check the name and HF_ENDPOINT."
        )
    if status == 429:
        return HubError(f"{name}: the hub limits how often it can be asked. Wait some minutes, or set HF_TOKEN.")
    if status is not None:
        return (HubUnreachable if status >= 500 else HubError)(f"{name}: the hub answered with HTTP {status}.")
    if "ProxyError" in kinds:
        return HubUnreachable(f"{name}: the proxy does not answer. Check HTTPS_PROXY. {_by_hand(name)}")
    if "LocalProtocolError" in kinds or isinstance(error, UnicodeEncodeError):
        return HubError(f"{name}: the request could not be made: the token or HF_ENDPOINT holds strange characters.")
    if kinds & {"TransportError", "TimeoutException", "ConnectionError"}:
        late = " in time" if "TimeoutException" in kinds else ""
        return HubUnreachable(f"{name}: no hub answers{late} at {_endpoint()}. {_by_hand(name)}")
    if isinstance(error, errors.HFValidationError):
        return HubError(f"{name.repo} cannot be the name of a {kind} on a hub.")
    if "FileMetadataError" in kinds or isinstance(error, ValueError | KeyError | TypeError | AttributeError):
        return HubError(f"{name}: what answers at {_endpoint()} does not speak a hub's language. Check HF_ENDPOINT.")
    if isinstance(error, OSError) and error.strerror:
        return HubError(f"{name}: {cache()} cannot be written: {error.strerror}.")
    return HubError(f"{name}: the transfer failed ({type(error).__name__}). Run the command again.")


def _endpoint() -> str:
    """The hub's host: without a user or password that the address may hold."""
    parts = urlsplit(os.environ.get("HF_ENDPOINT") or _library().constants.ENDPOINT)
    return f"{parts.hostname}{f':{parts.port}' if parts.port else ''}"
