"""Who reads which value of a graph: operators by value, weights that nothing reads, operators that nobody needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from fxprof.trace.aliasing import Alias, aliases, memory_of, writes
from fxprof.trace.higher_order import ENTERED, PREFIX
from fxprof.trace.records import Op, Subgraph, Trace
from fxprof.trace.symbols import Sizes


def readers(trace: Trace) -> dict[int, tuple[Op, ...]]:
    """The operators of `trace.ops` that read each value, by the value's number; values that none reads are left out."""
    found: dict[int, list[Op]] = {}
    for op in trace.ops:
        for number in dict.fromkeys(op.reads):
            found.setdefault(number, []).append(op)
    return {number: tuple(ops) for number, ops in found.items()}


def weights_read(trace: Trace) -> frozenset[str]:
    """The names of the parameters and buffers that an operator of the graph reads, or that it returns.

    Whatever else its component holds, a call never reads.
    """
    used = {number for op in trace.ops for number in op.reads} | set(trace.gives)
    return frozenset(origin.name for number, origin in trace.origins if number in used and origin.kind != "input")


def unneeded(trace: Trace, read: Collection[int] | None = None, *, objects: bool = False) -> tuple[Op, ...]:
    """The operators whose results nobody needs, in their order; a body's own, where only a part of what it does is not needed.

    What writes to memory that was there before, such as a buffer, is needed, and so is what may do more than return results.

    Args:
        trace: of one call.
        read: which of the values that the graph returns are read afterwards, by their places in `trace.gives`; None for all.
        objects: whether the call also returned objects, which may hold what no operator reads.
    """
    ops = trace.ops
    gives = set(trace.gives if read is None else [trace.gives[place] for place in read])
    used = {number for op in ops if not op.target.endswith(_LOOKS_ONLY) for number in op.reads}
    if objects:
        gives |= {number for op in ops for number in op.makes if number not in used and number not in trace.gives}
    used |= gives
    if all((not op.makes or not used.isdisjoint(op.makes)) and not op.subgraphs for op in ops):
        return ()  # the last operator of those that nobody needs would be read by none: as nearly always, there is none
    return tuple(_unneeded(ops, gives, trace.sizes()))


def _unneeded(ops: Sequence[Op], gives: Iterable[int], sizes: Sizes) -> Iterator[Op]:
    known = aliases(ops, sizes)
    made = {number for op in ops for number in op.makes}
    needed = {memory_of(number, known) for number in gives}
    dead: list[Op] = []
    for op in reversed(ops):
        if _is_needed(op, needed, made, known):
            inside = list(_in_bodies(op, needed, known, sizes))
            dead += reversed(inside)
            if not op.target.endswith(_LOOKS_ONLY):
                needed.update(_read(op, known))
        else:
            dead.append(op)
    yield from reversed(dead)


_LOOKS_ONLY = ("aten._assert_tensor_metadata.default", "aten.sym_size.int")
"""Operators that look at the shape of what they read, and need no values."""


def _read(op: Op, known: Mapping[int, Alias]) -> Iterator[int]:
    """The memory that an operator reads, also what a value may lie in."""
    for number in op.reads:
        memory = memory_of(number, known)
        yield memory
        doubt = known.get(memory)
        if doubt is not None and doubt.doubt and doubt.of is not None:
            yield memory_of(doubt.of, known)


def _is_needed(op: Op, needed: Collection[int], made: Collection[int], known: Mapping[int, Alias]) -> bool:
    if not op.makes:
        return True  # it does something else than return results
    if any(memory_of(number, known) in needed for number in op.makes):
        return True
    return any(memory_of(number, known) not in made or memory_of(number, known) in needed for number in writes(op))


def _in_bodies(op: Op, needed: Collection[int], known: Mapping[int, Alias], sizes: Sizes) -> Iterator[Op]:
    """What is not needed inside of an operator that is."""
    if op.target.removeprefix(PREFIX) not in ENTERED or len(op.subgraphs) != 1:
        return
    (body,) = op.subgraphs
    if len(body.gives) == len(op.makes):
        pairs = zip(body.gives, op.makes, strict=True)
        gives = [inner for inner, outer in pairs if memory_of(outer, known) in needed]
        yield from _inherited(body, gives, op, sizes)


def _inherited(body: Subgraph, gives: Iterable[int], outer: Op, sizes: Sizes) -> Iterator[Op]:
    """Operators of a body, with the modules around its operator where they have none of their own."""
    for op in _unneeded(body.ops, gives, sizes):
        stack = op.stack or outer.stack
        yield Op(op.target, op.args, op.outputs, stack, op.source, op.subgraphs, op.reads, op.makes)
