"""The records of a captured graph, without torch: frozen, and read by every later stage.

`fxprof.capture.translate` makes a trace from a live graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from fxprof.trace.arithmetic import Number
from fxprof.trace.symbols import Dim, Expr, Sizes


@dataclass(frozen=True, slots=True)
class Tensor:
    """The shape and type of a tensor, never its contents."""

    shape: tuple[Dim, ...]
    """Sizes, outermost first; an `Expr` for a dynamic size."""
    dtype: str
    """As torch prints it without the prefix: `float32`, `bfloat16`, `int64`."""
    stored: str = ""
    """The narrow type that its values were stored in, such as `int8`; "" if they were not widened."""
    nnz: int | None = None
    """Number of stored elements of a sparse tensor, `UNKNOWN_NNZ` if the graph does not say; None for a dense tensor."""
    strides: tuple[Dim, ...] | None = None
    """Distance in elements between neighbours, for each size; None if the graph does not say."""
    device: str = ""
    """As torch prints it: `cpu`, `cuda:0`; "" if the graph does not say."""


UNKNOWN_NNZ = -1


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a tensor without gaps, as torch lays out new tensors."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


class Frame(NamedTuple):  # millions of them are in sets, where tuples are much faster
    """One level of the module stack of an operator."""

    path: str
    """Dotted path below the component; "" is the component itself."""
    class_name: str
    """Class without its package: `Linear`, `SD3Transformer2DModel`."""
    visit: int = 0
    """0 for the first call of this module in the graph, 1 for the second, and so on."""


Value = Tensor | Expr | int | float | complex | bool | str | None | tuple["Value", ...]
"""Any argument. Lists become tuples; types, devices and memory formats become their names."""


def tensors_in(values: Iterable[Value]) -> Iterator[Tensor]:
    """The tensors among values, in their order, also those in tuples."""
    for value in values:
        if type(value) is Tensor:
            yield value
        elif isinstance(value, tuple):
            yield from tensors_in(value)


Pairs = tuple[tuple[int, int], ...]
"""(value of an inner graph, the same value in the graph around it)"""


class Origin(NamedTuple):
    """A value that no operator of its graph makes."""

    kind: str
    """`input`, `parameter`, `buffer` or `constant`."""
    name: str
    """The argument's name, or the dotted path of a weight below the component."""

    def elsewhere(self, old: str, new: str) -> Origin:
        """The corresponding weight of a similar module at the path `new`; weights outside `old` stay unchanged."""
        return self if self.kind == "input" else Origin(self.kind, _moved(self.name, old, new))


@dataclass(frozen=True, slots=True)
class Subgraph:
    """The body of a higher-order operator, whose values have numbers of their own."""

    name: str
    """The operator's argument for it: `true_fn`, `combine_fn`, `subgraph`."""
    parts: tuple[Op | Occurrence, ...]
    """As for a `Trace`."""
    takes: Pairs = ()
    """The values of the graph around it that its operators read."""
    gives: tuple[int, ...] = ()
    """The values that it returns."""

    @property
    def ops(self) -> tuple[Op, ...]:
        """All operators, with those of blocks in place."""
        return expand(self.parts)


@dataclass(frozen=True, slots=True)
class Op:
    """One node of a graph that computes."""

    target: str
    """`aten.conv2d.default`; a higher-order operator is `higher_order.cond`, a Python function `operator.mul`."""
    args: tuple[tuple[str, Value], ...]
    """(name in the operator's schema, value), in the schema's order, without arguments that the caller left out."""
    outputs: tuple[Value, ...]
    """One entry per result: a `Tensor`, or a plain or symbolic number."""
    stack: tuple[Frame, ...] = ()
    """Outermost module first. Empty in some bodies of higher-order operators, which inherit their operator's stack."""
    source: str | None = None
    """`package/file.py:12`, the innermost line outside torch."""
    subgraphs: tuple[Subgraph, ...] = ()
    reads: tuple[int, ...] = ()
    """The numbers of the values in its arguments, in order: tensors, and numbers that other operators compute."""
    makes: tuple[int, ...] = ()
    """The numbers of its results, in order."""
    frees: tuple[int, ...] = field(default=(), compare=False)
    """The values that Python drops after this operator and before the next one, as seen while it was captured."""
    inside: int = field(default=0, compare=False)
    """Bytes of tensors that it makes for itself and drops before it returns, beyond its results, at the same time at most."""

    def argument(self, name: str) -> Value:
        """The value of the argument called `name`, or None if the operator has no such argument."""
        return next((value for key, value in self.args if key == name), None)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The common work of several modules of a graph, stored once, as in the first of them."""

    stack: tuple[Frame, ...]
    """The stack of the first module, down to itself."""
    parts: tuple[Op | Occurrence, ...]
    """As for a `Trace`, at their places in the first module; the block numbers its values itself."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A module that does the work of a block, in its own place."""

    block: Block
    stack: tuple[Frame, ...]
    """Down to the module itself."""
    visits: tuple[tuple[str, int], ...] = ()
    """(path, number to add to the visits of this inner module); other modules have the same visits as in the block."""
    takes: Pairs = ()
    """The values from the graph around the module that the block's operators read."""
    gives: Pairs = ()
    """The values of the block that the graph around the module reads, or that Python keeps after it."""
    frees: tuple[int, ...] = field(default=(), compare=False)
    """The values of the graph around it that Python drops after its last operator; see `Op.frees`."""

    def frames(self, stack: tuple[Frame, ...]) -> tuple[Frame, ...]:
        """The stack of an operator in this module, from its stack in the block."""
        if not stack:
            return ()
        inner = stack[len(self.block.stack) :]
        old, new, visits = self.block.stack[-1].path, self.stack[-1].path, dict(self.visits)
        moved = ((_moved(frame.path, old, new), frame) for frame in inner)
        return (*self.stack, *(Frame(path, frame.class_name, frame.visit + visits.get(path, 0)) for path, frame in moved))

    def ops(self, fresh: Iterator[int]) -> Iterator[Op]:
        """The operators with their stacks and values in this module.

        Args:
            fresh: numbers for values that only the block itself reads.
        """
        known: dict[tuple[Frame, ...], tuple[Frame, ...]] = {}

        def stack(op: Op) -> tuple[Frame, ...]:
            if op.stack not in known:
                known[op.stack] = self.frames(op.stack)
            return known[op.stack]

        numbers = {**dict(self.takes), **dict(self.gives)}
        ops = expand(self.block.parts)
        for at, op in enumerate(ops, 1):
            moved = _renumbered(op, numbers, fresh, stack)
            yield replace(moved, frees=(*moved.frees, *self.frees)) if self.frees and at == len(ops) else moved


def _renumbered(
    op: Op, numbers: dict[int, int], fresh: Iterator[int], stack: Callable[[Op], tuple[Frame, ...]] = lambda op: op.stack
) -> Op:
    """The operator with other numbers for its values: known ones from `numbers`, and fresh ones for the others."""

    def number(old: int) -> int:
        if old not in numbers:
            numbers[old] = next(fresh)
        return numbers[old]

    reads, bodies = tuple(map(number, op.reads)), tuple(_body(body, number, stack) for body in op.subgraphs)
    makes, frees = tuple(map(number, op.makes)), tuple(map(number, op.frees))
    return Op(op.target, op.args, op.outputs, stack(op), op.source, bodies, reads, makes, frees, op.inside)


def _body(body: Subgraph, number: Callable[[int], int], stack: Callable[[Op], tuple[Frame, ...]]) -> Subgraph:
    """A body in another place; its own values keep their numbers."""

    def moved(op: Op) -> Op:
        bodies = tuple(_body(inner, int, stack) for inner in op.subgraphs)
        return Op(op.target, op.args, op.outputs, stack(op), op.source, bodies, op.reads, op.makes, op.frees, op.inside)

    takes = tuple((inner, number(outer)) for inner, outer in body.takes)
    return Subgraph(body.name, tuple(map(moved, body.ops)), takes, body.gives)


def _moved(path: str, old: str, new: str) -> str:
    """The path inside the module `old` as a path inside `new`; paths outside `old` stay unchanged."""
    return f"{new}{path[len(old) :]}" if path == old or path.startswith(f"{old}." if old else "") else path


def expand(parts: tuple[Op | Occurrence, ...], others: Iterable[int] = ()) -> tuple[Op, ...]:
    """The operators, with occurrences replaced by their blocks' operators; `others` are further numbers already in use."""
    if all(type(part) is Op for part in parts):
        return parts  # type: ignore[return-value]  # the condition has just checked it
    fresh = itertools.count(1 + max(itertools.chain(others, *map(_numbers, parts)), default=-1))
    return tuple(op for part in parts for op in (part.ops(fresh) if isinstance(part, Occurrence) else (part,)))


def _numbers(part: Op | Occurrence) -> Iterable[int]:
    """The numbers of its values in its graph."""
    if isinstance(part, Op):
        return (*part.reads, *part.makes)
    return (outer for _, outer in (*part.takes, *part.gives))


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One captured graph. Two traces are equal if they have the same operators, with or without shared blocks."""

    parts: tuple[Op | Occurrence, ...]
    """The operators; the common work of several modules is stored once as a block, and each module refers to it."""
    inputs: tuple[tuple[str, Value], ...] = ()
    """(name, value) of the graph's inputs as the caller gave them; nested containers become dotted names."""
    symbols: tuple[tuple[str, int], ...] = ()
    """(symbol, its size in the example inputs), for graphs exported with dynamic shapes."""
    computed: tuple[tuple[Expr, Number], ...] = ()
    """(expression, the program's value for it at these sizes), if that differs from the expression's own value."""
    origins: tuple[tuple[int, Origin], ...] = ()
    """(number, origin) of each value that is read and that no operator makes."""
    gives: tuple[int, ...] = ()
    """The numbers of the values that the graph returns, in order."""
    has_frees: bool = False
    """Whether it was seen when Python drops values, so that a value which no operator frees stays alive to the end."""

    def sizes(self) -> Sizes:
        """The values of the trace's expressions."""
        return Sizes(dict(self.symbols), dict(self.computed))

    @property
    def ops(self) -> tuple[Op, ...]:
        """All operators, with those of blocks in place; bodies of higher-order operators stay inside their operators."""
        return expand(self.parts, (*self.gives, *(number for number, _ in self.origins)))

    def walk(self) -> Iterator[Op]:
        """All operators; each higher-order operator is followed by those of its bodies."""
        yield from _walk(self.ops)

    def distinct(self) -> Iterator[Op]:
        """The operators of `walk`, with each block only once."""
        yield from _distinct(self.parts, set())

    def expanded(self) -> Trace:
        """The same trace without blocks, its values numbered in the order in which operators name them."""
        numbers: dict[int, int] = {}
        fresh = itertools.count()
        ops = tuple(_renumbered(op, numbers, fresh) for op in self.ops)
        for number in self.gives:
            if number not in numbers:
                numbers[number] = next(fresh)
        gives = tuple(numbers[number] for number in self.gives)
        origins = tuple(sorted((numbers[number], origin) for number, origin in self.origins if number in numbers))
        return Trace(ops, self.inputs, self.symbols, self.computed, origins, gives, self.has_frees)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trace):
            return NotImplemented
        one, two = self.expanded(), other.expanded()
        return (one.parts, one.inputs, one.symbols, one.origins, one.gives) == (
            *(two.parts, two.inputs, two.symbols, two.origins, two.gives),
        )

    def __hash__(self) -> int:
        return hash((self.expanded().parts, self.inputs, self.symbols))


def _distinct(parts: tuple[Op | Occurrence, ...], seen: set[Block]) -> Iterator[Op]:
    for part in parts:
        if isinstance(part, Op):
            yield part
            for subgraph in part.subgraphs:
                yield from _distinct(subgraph.parts, seen)
        elif part.block not in seen:
            seen.add(part.block)
            yield from _distinct(part.block.parts, seen)


def _walk(ops: tuple[Op, ...]) -> Iterator[Op]:
    for op in ops:
        yield op
        for subgraph in op.subgraphs:
            yield from _walk(subgraph.ops)
