"""Java text to one call, with the official decoder's habits.

What cannot be guessed: the first method invocation in the tree is THE call, all values become strings, class bodies
are dropped, and node positions are bytes but cut a string of characters, so a letter beyond ASCII shifts all behind it.
"""

from __future__ import annotations

from funreason.bfcl.errors import Undecodable
from funreason.bfcl.grammars import Node, parse_tree
from funreason.bfcl.python_calls import Decoded

_VERBATIM = frozenset({"identifier", "class_literal", "type_identifier", "method_invocation"})
_QUOTED = frozenset({"string_literal", "character_literal"})
_POSITIONAL = frozenset({"identifier", "class_literal"})
_PUNCTUATION = frozenset({",", "(", ")"})


def decode_java(text: str) -> list[Decoded] | None:
    """The call in bracketed `text`, or None when there is no call. Raises Undecodable on unmended errors."""
    source = text[1:-1]
    try:
        return _Reading(source).first_call(parse_tree(source, "java"))
    except (IndexError, RecursionError) as error:
        raise Undecodable(f"an unusual syntax tree: {error}") from error


class _Reading:
    """One source text and the ways to read a node of its tree."""

    def __init__(self, source: str) -> None:
        self.source = source

    def cut(self, node: Node | None) -> str:
        if node is None:
            raise Undecodable("a part of the expression is missing")
        return self.source[node.start_byte : node.end_byte]

    def first_call(self, node: Node) -> list[Decoded] | None:
        if node.type == "method_invocation":
            return self.call(node)
        for child in node.children:
            found = self.first_call(child)
            if found is not None:
                return found
        return None

    def call(self, node: Node) -> list[Decoded] | None:
        name = self.cut(node.child_by_field_name("name"))
        owner = node.child_by_field_name("object")
        if owner is not None:
            name = f"{self.cut(owner)}.{name}"
        arguments = node.child_by_field_name("arguments")
        return None if arguments is None else [{name: self.arguments(arguments)}]

    def arguments(self, node: Node) -> dict[str | None, str]:
        found: dict[str | None, str] = {}
        for child in node.children:
            if child.type == "assignment_expression":
                self.put(found, self.cut(child.children[0]), self.value(child.children[2]))
            elif child.type in _POSITIONAL:
                self.put(found, None, self.value(child))
        return found

    def put(self, found: dict[str | None, str], name: str | None, value: str) -> None:
        if name in found:
            raise Undecodable(f"two arguments for {name!r}")
        found[name] = value

    def value(self, node: Node) -> str:
        return self.cut(node)[1:-1] if node.type in _QUOTED else self.inner(node)

    def inner(self, node: Node | None) -> str:
        if node is None:
            raise Undecodable("a part of the expression is missing")
        kind = node.type
        if kind in _QUOTED or kind in _VERBATIM:
            return self.cut(node)
        if kind == "array_creation_expression":
            return (
                f"new {self.inner(node.child_by_field_name('type'))}[]{self.inner(node.child_by_field_name('value'))}"
            )
        if kind == "object_creation_expression":
            return self.creation(node)
        if node.child_count == 0:
            return self.cut(node)
        return "".join([self.inner(child) for child in node.children])

    def creation(self, node: Node) -> str:
        kind = self.inner(node.child_by_field_name("type"))
        arguments = node.child_by_field_name("arguments")
        given = [] if arguments is None else arguments.children
        return f"new {kind}({', '.join([self.inner(child) for child in given if child.type not in _PUNCTUATION])})"
