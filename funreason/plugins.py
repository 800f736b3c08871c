"""Loads what a plug-in or a configuration names: `package.module:NAME` or `path/to/file.py:NAME`.

When loading fails, the error shows the traceback of the plug-in's own lines. Even a module that calls `sys.exit` only
fails itself.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from funreason.trust import require

FAULTS = (Exception, SystemExit)
"""What a plug-in may raise while it is loaded without ending the command."""
MOST_LINES = 40
"""Longest traceback shown; the middle of a longer one is left out."""
_OURS = (f"{Path(__file__).parent}/", f"{Path(importlib.__file__).parent}/", "<frozen importlib")


class PluginError(Exception):
    """A plug-in that cannot be found, imported or used. The message contains its traceback."""


def load_object(spec: str, kind: str, *, from_here: bool = True) -> Any:
    """The object that `spec` names. PluginError, which calls it a `kind`, when there is none.

    With `from_here`, a module is also searched for in the working directory, after installed packages.
    """
    where, found, name = spec.rpartition(":")
    if not found or not where or not name:
        raise PluginError(f"{kind} {spec!r}: expected `module:name` or `path/to/file.py:name`")
    if from_here:
        require(files_of(spec), f"{kind} {spec!r}")
    if where.endswith(".py"):
        module = import_file(Path(where), f"{kind} {spec!r}")
    else:
        module = import_named(where, f"{kind} {spec!r}", from_here=from_here)
    loaded = getattr(module, name, None)
    if loaded is None:
        there = ", ".join(n for n in vars(module) if not n.startswith("_"))
        raise PluginError(f"{kind} {spec!r}: {where} has no {name!r}; it has {there or 'nothing public'}")
    return loaded


def files_of(spec: str) -> list[Path]:
    """The files that loading `spec` would run and that no installed package has. Nothing is imported.

    Of a module, those of its packages are among them. What these files import is not.
    """
    where = spec if spec.endswith(".py") else spec.rpartition(":")[0]
    if where.endswith(".py"):
        return [path] if (path := Path(where).resolve()).is_file() else []
    if not where:
        return []
    names, here = where.split("."), Path.cwd()
    installed = [entry for entry in sys.path if entry and Path(entry).resolve() != here]
    if names[0] in sys.builtin_module_names or PathFinder.find_spec(names[0], installed) is not None:
        return []
    loaded = sys.modules.get(names[0])
    if loaded is not None and not str(getattr(loaded, "__file__", None) or "").startswith(f"{here}/"):
        return []
    packages = [here.joinpath(*names[:count], "__init__.py") for count in range(1, len(names) + 1)]
    found = [path for path in (*packages, here.joinpath(*names).with_suffix(".py")) if path.is_file()]
    return [] if names[0] == __package__ else found


def import_named(name: str, asked: str, *, from_here: bool) -> ModuleType:
    """Import the module `name`, for what was `asked`. With `from_here`, the working directory is searched too."""
    if from_here:
        _reach(Path.cwd())
    try:
        return importlib.import_module(name)
    except FAULTS as error:
        raise PluginError(f"{asked}: importing {name} failed:\n{own_lines(error)}") from error


def import_file(path: Path, asked: str) -> ModuleType:
    """Import a file as a module, for what was `asked`. It may import modules beside it."""
    path = path.resolve()
    if not path.is_file():
        raise PluginError(f"{asked}: there is no file {path}")
    name = f"funreason_plugin_{path.stem}_{hashlib.blake2b(str(path).encode(), digest_size=6).hexdigest()}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise PluginError(f"{asked}: {path} is not a Python file")
    _reach(path.parent)
    # dataclasses look a class's module up here to read its annotations
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except FAULTS as error:
        del sys.modules[name]
        raise PluginError(f"{asked}: running {path} failed:\n{own_lines(error)}") from error
    return module


def own_lines(error: BaseException) -> str:
    """The traceback without the leading frames of funreason and importlib."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    lines = "".join(traceback.format_exception(type(error), error, trace)).rstrip().split("\n")
    if len(lines) > MOST_LINES:
        half = MOST_LINES // 2
        lines = [*lines[:half], f"  … {len(lines) - 2 * half} lines left out", *lines[-half:]]
    return "\n".join(lines)


def _reach(folder: Path) -> None:
    """Add `folder` to the end of the import path, also for later imports by the plug-in."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()  # the folder may have been scanned before the file was written
