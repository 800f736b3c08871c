"""Java and JavaScript syntax trees, by tree-sitter at the official versions.

Those versions are part of the score: a call without its semicolon is always a broken statement, and whether the parser
recovers or gives up depends on its costs, not on the language. Imported only when such a case is checked.
"""

from __future__ import annotations

import importlib
import warnings
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from funreason.bfcl.categories import BfclError, Undecodable

Node = Any
"""A tree-sitter node; its types come only with the extra."""

PINNED = {"tree_sitter": "0.21.3", "tree-sitter-java": "0.21.0", "tree-sitter-javascript": "0.21.4"}
PARSE_LIMIT_US = 1_000_000
MAX_TREE_DEPTH = 3_000
"""Printing a tree recurses on the C stack; a real call is some twenty levels deep."""

_SHORT_CHARS = 2_000


def parse_tree(text: str, language: str) -> Node:
    """The root node for `text` in "java" or "javascript".

    Raises Undecodable when the tree has errors that the parser could not recover from, BfclError without the extra.
    """
    parser = _parser(language)
    # The limit is wall time, so on a busy machine it must not reach texts that cannot be slow.
    parser.set_timeout_micros(PARSE_LIMIT_US if len(text) > _SHORT_CHARS else 0)
    try:
        tree = parser.parse(text.encode("utf-8"))
    except ValueError as error:  # a lone surrogate has no UTF-8 form; a parse cut off by its limit has no tree
        parser.reset()
        raise Undecodable(f"no syntax tree: {error}") from error
    root = tree.root_node
    if len(text) > _SHORT_CHARS:
        _check_depth(tree)
    # A place the parser recovered at counts as an error too; only the printed tree tells the two apart.
    if root.has_error and "ERROR" in root.sexp():
        raise Undecodable(f"not {language}")
    return root


def _check_depth(tree: Any) -> None:
    cursor, depth = tree.walk(), 0
    while depth <= MAX_TREE_DEPTH:
        if cursor.goto_first_child():
            depth += 1
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return
            depth -= 1
    raise Undecodable(f"a syntax tree deeper than {MAX_TREE_DEPTH}")


@lru_cache(maxsize=2)
def _parser(language: str) -> Any:
    tree_sitter = _imported("tree_sitter", "tree_sitter")
    grammar = _imported(f"tree_sitter_{language}", f"tree-sitter-{language}")
    with warnings.catch_warnings():  # 0.21 warns of its own coming interface
        warnings.simplefilter("ignore")
        parser = tree_sitter.Parser()
        parser.set_language(tree_sitter.Language(grammar.language(), language))
    return parser


def _imported(module: str, package: str) -> Any:
    wanted = PINNED[package]
    try:
        found = version(package)
        if found == wanted:
            return importlib.import_module(module)
    except (ImportError, PackageNotFoundError):
        found = "nothing"
    raise BfclError(
        f"Java and JavaScript cases need {package}=={wanted}, found {found}. "
        "Install the official versions with: pip install 'funreason[bfcl]'"
    )
