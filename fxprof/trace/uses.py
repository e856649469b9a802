"""The readers of a graph's values: operators by value, weights that are read, operators whose results nobody needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from fxprof.trace.aliasing import Alias, aliases, memory_of, writes
from fxprof.trace.higher_order import ENTERED, PREFIX
from fxprof.trace.records import Op, Subgraph, Trace
from fxprof.trace.symbols import Sizes


def readers(trace: Trace) -> dict[int, tuple[Op, ...]]:
    """The operators of `trace.ops` that read each value, by the value's number; unread values are left out."""
    ops_by_value: dict[int, list[Op]] = {}
    for op in trace.ops:
        for number in dict.fromkeys(op.reads):
            ops_by_value.setdefault(number, []).append(op)
    return {number: tuple(ops) for number, ops in ops_by_value.items()}


def weights_read(trace: Trace) -> frozenset[str]:
    """The names of the parameters and buffers that the graph reads or returns.

    The call never reads any other weights of its component.
    """
    used = {number for op in trace.ops for number in op.reads} | set(trace.gives)
    return frozenset(origin.name for number, origin in trace.origins if number in used and origin.kind != "input")


def unneeded(trace: Trace, read: Collection[int] | None = None, *, objects: bool = False) -> tuple[Op, ...]:
    """The operators whose results nobody needs, in order; from a body that is needed only in part, the unneeded operators.

    An operator that writes to older memory, such as a buffer, is needed, and so is one that may do more than return results.

    Args:
        trace: the trace of one call.
        read: positions in `trace.gives` of the results that are read afterwards; None for all.
        objects: whether the call also returned objects, which may hold values that no operator reads.
    """
    ops = trace.ops
    gives = set(trace.gives if read is None else [trace.gives[place] for place in read])
    used = {number for op in ops if not op.target.endswith(_LOOKS_ONLY) for number in op.reads}
    if objects:
        gives |= {number for op in ops for number in op.makes if number not in used and number not in trace.gives}
    used |= gives
    if all((not op.makes or not used.isdisjoint(op.makes)) and not op.subgraphs for op in ops):
        return ()  # the last unneeded operator would have unread results, but there are none: the usual case
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
"""Operators that use only the shapes of their operands, not the values."""


def _read(op: Op, known: Mapping[int, Alias]) -> Iterator[int]:
    """The memory that an operator reads, including memory that one of its values may share."""
    for number in op.reads:
        memory = memory_of(number, known)
        yield memory
        doubt = known.get(memory)
        if doubt is not None and doubt.doubt and doubt.of is not None:
            yield memory_of(doubt.of, known)


def _is_needed(op: Op, needed: Collection[int], made: Collection[int], known: Mapping[int, Alias]) -> bool:
    if not op.makes:
        return True  # it does more than return results
    if any(memory_of(number, known) in needed for number in op.makes):
        return True
    return any(memory_of(number, known) not in made or memory_of(number, known) in needed for number in writes(op))


def _in_bodies(op: Op, needed: Collection[int], known: Mapping[int, Alias], sizes: Sizes) -> Iterator[Op]:
    """The unneeded operators inside a needed one."""
    if op.target.removeprefix(PREFIX) not in ENTERED or len(op.subgraphs) != 1:
        return
    (body,) = op.subgraphs
    if len(body.gives) == len(op.makes):
        pairs = zip(body.gives, op.makes, strict=True)
        gives = [inner for inner, outer in pairs if memory_of(outer, known) in needed]
        yield from _inherited(body, gives, op, sizes)


def _inherited(body: Subgraph, gives: Iterable[int], outer: Op, sizes: Sizes) -> Iterator[Op]:
    """Operators of a body; those without a stack get the stack of its operator."""
    for op in _unneeded(body.ops, gives, sizes):
        stack = op.stack or outer.stack
        yield Op(op.target, op.args, op.outputs, stack, op.source, op.subgraphs, op.reads, op.makes, op.frees, op.inside)
