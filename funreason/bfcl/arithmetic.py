"""Arithmetic on literals, as an argument may hold it: `2 + 3`, `'a' + 'b'`, `[0] * 3`, `len('abcd') + 1`.

The official decoder runs Python's own evaluator on such text. Here a small walk over the syntax tree gives the same
values and nothing more: no names but True, False, None and the built-in types, no calls but `len` of a literal.
Every value made is charged to a budget by its full size, shared parts counted as often as they appear,
so `10**10**9` or nested repetition ends at once instead of filling the memory.
"""

from __future__ import annotations

import ast
import builtins
import operator
import re
from collections.abc import Callable
from typing import Any

from funreason.bfcl.categories import Undecodable

MAX_BITS = 1 << 18
MAX_SIZE = 1_000_000
MAX_DEPTH = 320
"""Operations inside one another. The official route through source text gives up at about this depth too."""

_PRINTABLE_BITS = 14_000
_WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(?:\*|\d{4})")
_SIZED = (str, bytes, list, tuple)
_TYPES = {name: thing for name, thing in vars(builtins).items() if isinstance(thing, type)}

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.MatMult: operator.matmul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.BitAnd: operator.and_,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, group: item in group,
    ast.NotIn: lambda item, group: item not in group,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}


def evaluate(node: ast.expr) -> Any:
    """The value of an expression of literals. Raises Undecodable for all else, and past the bounds."""
    try:
        return _Evaluation().value(node, 0)
    except (ArithmeticError, TypeError, ValueError, LookupError, RecursionError, MemoryError) as error:
        raise Undecodable(f"no value: {error}") from error


class _Evaluation:
    """One walk over a syntax tree, and the budget it has left."""

    def __init__(self) -> None:
        self.left = MAX_SIZE

    def value(self, node: ast.expr, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise Undecodable(f"arithmetic nested deeper than {MAX_DEPTH}")
        read = _READERS.get(type(node))
        if read is None:
            raise Undecodable(f"{type(node).__name__} is not literal arithmetic")
        return self.charge(read(self, node, depth + 1))

    def values(self, nodes: list[ast.expr], depth: int) -> list[Any]:
        found: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                found.extend(self.value(node.value, depth))
            else:
                found.append(self.value(node, depth))
        return found

    def charge(self, value: Any) -> Any:
        self.left -= full_size(value)
        if self.left < 0:
            raise Undecodable(f"arithmetic makes more than {MAX_SIZE} items")
        return value

    def binary(self, node: ast.BinOp, depth: int) -> Any:
        left, right = self.value(node.left, depth), self.value(node.right, depth)
        kind = type(node.op)
        if not self.is_affordable(kind, left, right):
            raise Undecodable("the result is too large to compute")
        return _BINARY[kind](left, right)

    def is_affordable(self, kind: type[ast.operator], left: Any, right: Any) -> bool:
        if isinstance(left, int) and isinstance(right, int):
            if kind is ast.Pow:  # at least as many bits as the result has, here and below
                return abs(left) <= 1 or right <= 0 or left.bit_length() * right <= MAX_BITS
            if kind is ast.LShift:
                return not left or left.bit_length() + right <= MAX_BITS
            return left.bit_length() + right.bit_length() <= MAX_BITS
        if kind is ast.Mult and isinstance(left, (*_SIZED, int)) and isinstance(right, (*_SIZED, int)):
            times, repeated = (left, right) if isinstance(left, int) else (right, left)
            return not isinstance(times, int) or full_size(repeated) * times <= MAX_SIZE
        if kind is ast.Mod and isinstance(left, str | bytes):
            text = left if isinstance(left, str) else left.decode("latin-1")
            return _WIDE_FORMAT.search(text) is None
        return True

    def constant(self, node: ast.Constant, _: int) -> Any:
        # The official route writes the number out in decimal first, and Python refuses that for longer ones.
        if isinstance(node.value, int) and node.value.bit_length() > _PRINTABLE_BITS:
            repr(node.value)
        return node.value

    def type_name(self, node: ast.Name, _: int) -> Any:
        if node.id not in _TYPES:
            raise Undecodable(f"the name {node.id!r} has no value")
        return _TYPES[node.id]

    def unary(self, node: ast.UnaryOp, depth: int) -> Any:
        return _UNARY[type(node.op)](self.value(node.operand, depth))

    def dictionary(self, node: ast.Dict, depth: int) -> dict[Any, Any]:
        keys = [key for key in node.keys if key is not None]
        if len(keys) < len(node.keys):
            raise Undecodable("** inside a dictionary")
        return dict(zip(self.values(keys, depth), self.values(node.values, depth), strict=True))

    def length(self, node: ast.Call, depth: int) -> int:
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        if called != "len" or len(node.args) != 1 or node.keywords:
            raise Undecodable("the only call allowed in arithmetic is len of one literal")
        return len(self.value(node.args[0], depth))

    def item(self, node: ast.Subscript, depth: int) -> Any:
        return self.value(node.value, depth)[self.value(node.slice, depth)]

    def either(self, node: ast.IfExp, depth: int) -> Any:
        return self.value(node.body if self.value(node.test, depth) else node.orelse, depth)

    def logic(self, node: ast.BoolOp, depth: int) -> Any:
        stops_at = isinstance(node.op, ast.Or)
        for part in node.values:
            value = self.value(part, depth)
            if bool(value) is stops_at:
                break
        return value

    def comparison(self, node: ast.Compare, depth: int) -> Any:
        left, result = self.value(node.left, depth), True
        for kind, part in zip(node.ops, node.comparators, strict=True):
            right = self.value(part, depth)
            result = _COMPARISONS[type(kind)](left, right)
            if not result:
                break
            left = right
        return result

    def text(self, node: ast.JoinedStr, depth: int) -> str:
        return "".join([str(self.value(part, depth)) for part in node.values])

    def slice(self, node: ast.Slice, depth: int) -> slice:
        parts = (node.lower, node.upper, node.step)
        return slice(*(None if part is None else self.value(part, depth) for part in parts))


def full_size(value: Any) -> int:
    """Items, characters and 64-bit words in `value`, counting a shared part each time it appears."""
    if isinstance(value, int):
        return 1 + value.bit_length() // 64
    if isinstance(value, str | bytes):
        return 1 + len(value)
    if isinstance(value, dict):
        return 1 + sum(full_size(key) + full_size(item) for key, item in value.items())
    if isinstance(value, list | tuple | set):
        return 1 + sum(map(full_size, value))
    return 1


_READERS: dict[type[ast.expr], Callable[[_Evaluation, Any, int], Any]] = {
    ast.Constant: _Evaluation.constant,
    ast.Name: _Evaluation.type_name,
    ast.BinOp: _Evaluation.binary,
    ast.UnaryOp: _Evaluation.unary,
    ast.List: lambda walk, node, depth: walk.values(node.elts, depth),
    ast.Tuple: lambda walk, node, depth: tuple(walk.values(node.elts, depth)),
    ast.Set: lambda walk, node, depth: set(walk.values(node.elts, depth)),
    ast.Dict: _Evaluation.dictionary,
    ast.Call: _Evaluation.length,
    ast.Subscript: _Evaluation.item,
    ast.Slice: _Evaluation.slice,
    ast.IfExp: _Evaluation.either,
    ast.BoolOp: _Evaluation.logic,
    ast.Compare: _Evaluation.comparison,
    ast.JoinedStr: _Evaluation.text,
}
