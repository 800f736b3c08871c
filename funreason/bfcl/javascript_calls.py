"""JavaScript text to one call, with the official decoder's habits.

What cannot be guessed: only a statement that is a call itself counts and the first one wins; an identifier or `true`
without a name goes under the key None while `false`, numbers and objects vanish.
"""

from __future__ import annotations

from funreason.bfcl.errors import Undecodable
from funreason.bfcl.grammars import Node, parse_tree
from funreason.bfcl.python_calls import Decoded

_POSITIONAL = frozenset({"identifier", "true"})


def decode_javascript(text: str) -> list[Decoded] | None:
    """The call in bracketed `text`, or None when there is no call. Raises Undecodable on unmended errors."""
    for statement in parse_tree(text[1:-1], "javascript").children:
        if statement.type != "expression_statement":
            continue
        for node in statement.children:
            if node.type == "call_expression":
                return [{_text(node.children[0]): _arguments(node.children[1])}]
    return None


def without_quotes(text: str) -> str:
    """`text` less one pair of equal outer quotes, if it has them."""
    return text[1:-1] if text[:1] in {"'", '"'} and text.endswith(text[0]) else text


def _text(node: Node) -> str:
    text: str = node.text.decode("utf-8")
    return text


def _arguments(node: Node) -> dict[str | None, str]:
    found: dict[str | None, str] = {}
    for child in node.children:
        if child.type == "assignment_expression":
            _put(found, _text(child.children[0]), without_quotes(_text(child.children[2])))
        elif child.type in _POSITIONAL:
            _put(found, None, _text(child))
    return found


def _put(found: dict[str | None, str], name: str | None, value: str) -> None:
    if name in found:
        raise Undecodable(f"two arguments for {name!r}")
    found[name] = value
