"""Keys of operators: operators with one key have the same cost, so that a pass counts each of them once.

No look-up depends on the hash of a number from a file. The author of a file could choose numbers with the same hash, and each
look-up would then compare an operator with all others. Python salts the hashes of texts and bytes.
"""

from __future__ import annotations

import itertools
from marshal import dumps

from fxprof.trace import Expr, Op, Tensor, Value

MOST_KNOWN = 4096
"""Operators, and tensors, that are remembered at once: no real graph has more different ones within one module."""

Key = tuple[object, ...]


class Keys:
    """Makes the keys of operators of one trace, which stays alive meanwhile."""

    def __init__(self) -> None:
        self._fresh = itertools.count()
        self._by_identity: dict[int, tuple[Tensor | Expr, int]] = {}  # the object stays alive, and so its identity its own
        self._by_text: dict[bytes, int] = {}

    def of(self, op: Op) -> Key:
        """The key of an operator without bodies: everything but its place, which is its stack and its source line."""
        key: list[object] = [op.target, len(op.args), len(op.outputs)]
        for name, value in op.args:
            key.append(name)
            key.append(self._number(value) if type(value) is Tensor else self._part(value))
        key += [self._number(value) if type(value) is Tensor else self._part(value) for value in op.outputs]
        if op.reads or op.makes:
            key += (_pattern(op.reads), len(op.makes))
        return tuple(key)

    def _part(self, value: Value) -> object:
        if value is None or type(value) is str:
            return value
        if isinstance(value, Tensor | Expr):
            return self._number(value)
        try:
            # The text tells 1, 1.0 and True apart, which are equal in Python.
            return dumps(value, 0)  # type: ignore[arg-type]  # a tensor or an expression in it is an error
        except ValueError:
            return tuple(map(self._part, value)) if isinstance(value, tuple) else ("", next(self._fresh))

    def _number(self, value: Tensor | Expr) -> int:
        """A number that equal tensors share. Expressions are told apart by identity: comparing large ones takes long."""
        known = self._by_identity.get(id(value))
        if known is not None:
            return known[1]
        number = next(self._fresh)
        if type(value) is Tensor:
            try:
                record = (value.shape, value.dtype, value.stored, value.nnz, value.strides, value.device)
                text = dumps(record, 0)  # type: ignore[arg-type]  # an expression in it is an error
            except ValueError:
                pass
            else:
                if len(self._by_text) >= MOST_KNOWN:
                    self._by_text.clear()
                first = self._by_text.setdefault(text, number)
                if first != number:
                    return first  # the graph has equal tensors in place of one, so this one hardly comes again
        if len(self._by_identity) >= MOST_KNOWN:
            self._by_identity.clear()
        self._by_identity[id(value)] = value, number
        return number


def _pattern(numbers: tuple[int, ...]) -> object:
    """Which of an operator's operands are the same value; values are numbered by fxprof, not by a file."""
    if len(set(numbers)) == len(numbers):
        return len(numbers)
    first: dict[int, int] = {}
    return tuple([first.setdefault(number, place) for place, number in enumerate(numbers)])
