"""A hook of the docs site: it makes Markdown that reads well in the repository into Markdown that the site understands.

- Pages link to results, notebooks and scripts outside `docs/`, as `../benchmarks/results/egpo.md`. Such a file is added
  to the site, and so is what it links to in turn; then the links are those of the site. A link to nothing stays as it
  is, and the strict build names it.
- In code within a table, repositories need a pipe as `\\|`, and the site would show the backslash.
"""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs/"
LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=(?:#[^)\s]*)?\))")
"""The target of a Markdown link to a file, without its anchor."""
CODE = re.compile(r"(`+)[^`].*?\1")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add each file outside `docs/` that a page links to, and what that links to."""
    waiting = [(DOCS + file.src_uri, ROOT / DOCS / file.src_uri) for file in files.documentation_pages()]
    while waiting:
        place, path = waiting.pop()
        for target in LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8"))):
            name = normpath(join(dirname(place), target))
            if not (ROOT / name).is_file() or name.startswith((DOCS, "..")) or files.get_file_from_path(name):
                continue
            files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
            if name.endswith(".md"):
                waiting.append((name, ROOT / name))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point the links of a page at where the files are in the site, and free the pipes in its tables."""
    in_site = page.file.src_uri
    place = in_site if page.file.src_dir == str(ROOT) else DOCS + in_site

    def moved(found: re.Match[str]) -> str:
        name = normpath(join(dirname(place), found[1])).removeprefix(DOCS)
        return relpath(name, dirname(in_site) or ".") if files.get_file_from_path(name) else found[1]

    lines = LINK.sub(moved, markdown).split("\n")
    return "\n".join(CODE.sub(_with_pipes, line) if line.startswith("|") else line for line in lines)


def _with_pipes(found: re.Match[str]) -> str:
    return found[0].replace("\\|", "|")
