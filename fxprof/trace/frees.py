"""The lifetimes of a trace as plain lists: for a file beside a graph whose own format has no place for them.

Operators go by their position in `Trace.walk` of the expanded trace, and values by their numbers there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from fxprof.trace.records import Op, Subgraph, Trace

Frees = list[list[int]]
"""For each operator with such: its position, then the numbers of the values that Python drops after it."""


def write_frees(trace: Trace) -> tuple[Frees, list[list[int]]]:
    """The deaths of values, and (position, bytes) of the operators that take memory for themselves."""
    ops = list(enumerate(trace.expanded().walk()))
    return [[at, *op.frees] for at, op in ops if op.frees], [[at, op.inside] for at, op in ops if op.inside]


def with_frees(trace: Trace, frees: Mapping[int, tuple[int, ...]], insides: Mapping[int, int]) -> Trace:
    """The trace with lifetimes; `frees` and `insides` go by the positions of operators."""
    expanded = trace.expanded()
    places = iter(range(sum(1 for _ in expanded.walk())))
    ops = tuple(_placed(op, places, frees, insides) for op in expanded.ops)
    return replace(expanded, parts=ops, has_frees=True)


def _placed(op: Op, places: Iterator[int], frees: Mapping[int, tuple[int, ...]], insides: Mapping[int, int]) -> Op:
    at = next(places)
    bodies = tuple(_body(body, places, frees, insides) for body in op.subgraphs)
    return replace(op, subgraphs=bodies, frees=frees.get(at, ()), inside=insides.get(at, 0))


def _body(body: Subgraph, places: Iterator[int], frees: Mapping[int, tuple[int, ...]], insides: Mapping[int, int]) -> Subgraph:
    return replace(body, parts=tuple(_placed(op, places, frees, insides) for op in body.ops))
