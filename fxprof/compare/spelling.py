"""Operators that do the same work under different names: `conv2d` and `convolution`, `linear` and `addmm`."""

from __future__ import annotations

from functools import lru_cache
from math import prod

_TRANSPOSED = "transposed convolution"


@lru_cache(maxsize=4096)
def unify_spelling(op: str, kind: str, shapes: str) -> tuple[str, str]:
    """A common name and common shapes for all spellings of an operator; without other spellings, its own name and shapes.

    Args:
        op: the operator, as in `OpRow.op`.
        kind: its kind, as in `OpRow.kind`.
        shapes: its shapes, as in `OpRow.shapes`.
    """
    name = op.split(".")[1] if op.startswith("aten.") else ""
    if kind == "convolution" and name:
        return (_TRANSPOSED if _is_transposed(name, shapes) else "convolution"), shapes
    if kind in {"linear", "matmul"} and name in _PRODUCTS:
        operands, results = _parsed(shapes)
        product = _PRODUCTS[name](operands) if results else None
        return ("product", "x".join(map(str, product))) if product else (op, shapes)
    if kind == "attention" and name.startswith(("scaled_dot_product_", "_scaled_dot_product_")) and "backward" not in name:
        operands, results = _parsed(shapes)
        return "attention", str((operands[:3], results[:1]))
    return op, shapes


_Shape = tuple[int, ...]


def _parsed(shapes: str) -> tuple[list[_Shape], list[_Shape]]:
    """Operands and results; empty if a size is unknown."""
    sides = shapes.split(" -> ")
    try:
        both = [[_shape(text) for text in side.split(", ") if text] for side in sides]
    except ValueError:
        return [], []
    return (both[0], both[1]) if len(both) == 2 else ([], [])  # noqa: PLR2004 - operands and results


def _shape(text: str) -> _Shape:
    return () if text == "scalar" else tuple(int(size) for size in text.split("x"))


def _is_transposed(name: str, shapes: str) -> bool:
    """Whether a convolution is a transposed one.

    For `convolution` only the sizes can decide; if they fit both, it counts as a direct one.
    """
    if name not in {"convolution", "_convolution"}:
        return "transpose" in name
    operands, results = _parsed(shapes)
    if len(operands) < 2 or not results:  # noqa: PLR2004 - input and weight
        return False
    weight, out = operands[1], results[0]
    return len(out) >= len(weight) and out[-len(weight) + 1] != weight[0]


def _linear(operands: list[_Shape]) -> _Shape | None:
    if len(operands) < 2 or not operands[0]:  # noqa: PLR2004 - a saved profile may hold any text
        return None
    rows, weight = operands[:2]
    return (1, prod(rows[:-1]), rows[-1], prod(weight[:-1]))


def _added(operands: list[_Shape]) -> _Shape | None:
    return _multiplied(operands[1:])


def _multiplied(operands: list[_Shape]) -> _Shape | None:
    if len(operands) < 2 or not operands[0]:  # noqa: PLR2004 - as above
        return None
    left, right = operands[:2]
    if len(right) == 2 and left:  # noqa: PLR2004 - a matrix, which multiplies all rows
        return (1, prod(left[:-1]), left[-1], right[1])
    if len(left) == len(right) > 2 and left[:-2] == right[:-2]:  # noqa: PLR2004 - batches
        return (prod(left[:-2]), left[-2], left[-1], right[-1])
    return None


_PRODUCTS = {
    "linear": _linear,
    "addmm": _added,
    "baddbmm": _added,
    "mm": _multiplied,
    "bmm": _multiplied,
    "matmul": _multiplied,
    "linalg_matmul": _multiplied,
}
"""Products of matrices to their batch, rows, inner size and columns."""
