"""The normal form of sizes: sums of products with equal terms collected. Two spellings of one size have the same normal form.

Any other expression (`s0//2`, `max(s0, s1)`) is a factor of a product, with its own operands in normal form. Expressions that
are evaluated in floating point stay unchanged, because there the order of additions matters.
"""

from __future__ import annotations

from collections.abc import Mapping

from fxprof.trace.symbols import Dim, Expr

_Product = tuple[tuple[Dim, int], ...]
"""Factors with their powers, in the order of their texts."""
_Sum = dict[_Product, int]
"""Product to its integer factor; the empty product is one."""

_EXACT = frozenset({"symbol", "add", "mul", "sub", "neg", "pow", "floordiv", "mod", "max", "min", "abs"})
"""Operators that compute an exact integer from integer operands."""
_MOST_TERMS = 2_000
_HIGHEST = 16
"""The largest power that gets multiplied out."""


def normal(dim: Dim) -> Dim:
    """An expression of the same value in normal form; an inexact one, or one of too many terms, stays unchanged."""
    if isinstance(dim, int):
        return dim
    known: dict[Expr, _Sum] = {}
    try:
        return _written(_terms(dim, known)) if _is_exact(dim) else dim
    except _TooLongError:
        return dim


class _TooLongError(Exception):
    """An expression has more terms than any real size."""


def _is_exact(dim: Dim) -> bool:
    waiting: list[Dim | str] = [dim]
    seen: set[Expr] = set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, Expr) and part not in seen:
            seen.add(part)
            if part.operator not in _EXACT:
                return False
            waiting += part.operands
    return True


def _terms(dim: Dim, known: dict[Expr, _Sum]) -> _Sum:
    if isinstance(dim, int):
        return {(): dim} if dim else {}
    if dim not in known:
        known[dim] = _collected(dim, known)
    return known[dim]


def _collected(dim: Expr, known: dict[Expr, _Sum]) -> _Sum:
    operands = [part for part in dim.operands if not isinstance(part, str)]
    if dim.operator in _COMBINED and operands:
        result = _terms(operands[0], known)
        for operand in operands[1:]:
            result = _COMBINED[dim.operator](result, _terms(operand, known))
        return result
    if dim.operator == "neg" and len(operands) == 1:
        return _scaled(_terms(operands[0], known), -1)
    if dim.operator == "pow" and len(operands) == 2 and type(operands[1]) is int and 0 <= operands[1] <= _HIGHEST:  # noqa: PLR2004
        result = {(): 1}
        for _ in range(operands[1]):
            result = _multiplied(result, _terms(operands[0], known))
        return result
    if dim.operator == "symbol":
        return {((dim, 1),): 1}
    atom = Expr(dim.operator, tuple(_written(_terms(operand, known)) for operand in operands))
    return {((atom, 1),): 1}


def _added(one: _Sum, other: _Sum) -> _Sum:
    result = dict(one)
    for product, factor in other.items():
        result[product] = result.get(product, 0) + factor
    return _checked({product: factor for product, factor in result.items() if factor})


def _scaled(terms: _Sum, by: int) -> _Sum:
    return {product: factor * by for product, factor in terms.items()}


def _multiplied(one: _Sum, other: _Sum) -> _Sum:
    if len(one) * len(other) > _MOST_TERMS:
        raise _TooLongError
    result: _Sum = {}
    for left, by_left in one.items():
        for right, by_right in other.items():
            product = _product(left, right)
            result[product] = result.get(product, 0) + by_left * by_right
    return {product: factor for product, factor in result.items() if factor}


def _product(left: _Product, right: _Product) -> _Product:
    powers = dict(left)
    for atom, power in right:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=lambda item: str(item[0])))


def _checked(terms: _Sum) -> _Sum:
    if len(terms) > _MOST_TERMS:
        raise _TooLongError
    return terms


_COMBINED = {
    "add": _added,
    "sub": lambda one, other: _added(one, _scaled(other, -1)),
    "mul": _multiplied,
}


def _written(terms: Mapping[_Product, int]) -> Dim:
    """The terms as an expression: highest powers first, then in the order of their texts."""
    ordered = sorted(terms.items(), key=lambda item: (-sum(power for _, power in item[0]), _text(item[0])))
    parts = [_term(product, factor) for product, factor in ordered]
    if len(parts) > 1:
        return Expr("add", tuple(parts))
    return parts[0] if parts else 0


def _text(product: _Product) -> str:
    return "*".join(f"{atom}**{power}" for atom, power in product)


def _term(product: _Product, factor: int) -> Dim:
    powers = [atom if power == 1 else Expr("pow", (atom, power)) for atom, power in product]
    parts: list[Dim] = [factor, *powers] if factor != 1 or not powers else powers
    return Expr("mul", tuple(parts)) if len(parts) > 1 else parts[0]
