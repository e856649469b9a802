"""What a captured graph says, without torch: frozen records that everything behind capture reads.

A trace is made by `fxprof.capture.translate` from a live graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from fxprof.trace.arithmetic import Number
from fxprof.trace.symbols import Dim, Expr, Sizes


@dataclass(frozen=True, slots=True)
class Tensor:
    """The shape and type of a tensor; never its contents."""

    shape: tuple[Dim, ...]
    """Sizes, outermost first; an `Expr` where the graph was exported with dynamic shapes."""
    dtype: str
    """As torch prints it without the prefix: `float32`, `bfloat16`, `int64`."""
    stored: str = ""
    """The type that its values were widened from, such as `int8`; "" where they were not."""
    nnz: int | None = None
    """How many elements a sparse tensor stores, `UNKNOWN_NNZ` where a graph does not say; None for one that stores all."""
    strides: tuple[Dim, ...] | None = None
    """How many elements of its memory lie between neighbours, for each size; None where the graph does not say."""
    device: str = ""
    """As torch prints it: `cpu`, `cuda:0`; "" where the graph does not say."""


UNKNOWN_NNZ = -1


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a tensor without gaps, as torch makes new ones."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


class Frame(NamedTuple):  # there are millions of them in sets, which tuples are much faster in
    """One level of the module stack of an operator."""

    path: str
    """Dotted path below the component; "" is the component itself."""
    class_name: str
    """Class without its package: `Linear`, `SD3Transformer2DModel`."""
    visit: int = 0
    """0 for the first time that this module was called in the graph, 1 for the second, and so on."""


Value = Tensor | Expr | int | float | complex | bool | str | None | tuple["Value", ...]
"""What an argument can be. Lists become tuples; types, devices and memory formats become their names."""


Pairs = tuple[tuple[int, int], ...]
"""Values of an inner graph, and the values of the graph around it that they are."""


class Origin(NamedTuple):
    """A value that no operator of its graph makes."""

    kind: str
    """`input`, `parameter`, `buffer` or `constant`."""
    name: str
    """The argument's name, or the dotted path of a weight below the component."""

    def elsewhere(self, old: str, new: str) -> Origin:
        """The same weight of another module which is like one; what is elsewhere stays."""
        return self if self.kind == "input" else Origin(self.kind, _moved(self.name, old, new))


@dataclass(frozen=True, slots=True)
class Subgraph:
    """The body of a higher-order operator, whose values have numbers of their own."""

    name: str
    """The operator's argument that holds it: `true_fn`, `combine_fn`, `subgraph`."""
    parts: tuple[Op | Occurrence, ...]
    """As for a `Trace`."""
    takes: Pairs = ()
    """The values of the graph around it that its operators read."""
    gives: tuple[int, ...] = ()
    """The values that it returns."""

    @property
    def ops(self) -> tuple[Op, ...]:
        """Every operator in its place."""
        return expand(self.parts)


@dataclass(frozen=True, slots=True)
class Op:
    """One node of a graph that computes something."""

    target: str
    """`aten.conv2d.default`; a higher-order operator is `higher_order.cond`, a Python function `operator.mul`."""
    args: tuple[tuple[str, Value], ...]
    """(name in the operator's schema, value), in the schema's order; arguments that the caller left out are not there."""
    outputs: tuple[Value, ...]
    """One entry per result; not a `Tensor` where the operator returns a plain or symbolic number."""
    stack: tuple[Frame, ...] = ()
    """Outermost module first. Empty in some bodies of higher-order operators: they inherit their operator's."""
    source: str | None = None
    """`package/file.py:12`, the innermost line outside torch."""
    subgraphs: tuple[Subgraph, ...] = ()
    reads: tuple[int, ...] = ()
    """The numbers of the values that are its arguments, in their order: tensors, and numbers that other operators compute."""
    makes: tuple[int, ...] = ()
    """The numbers of the values that are its results, in their order."""

    def argument(self, name: str) -> Value:
        """The value of the argument called `name`, or None when the operator has no such argument."""
        return next((value for key, value in self.args if key == name), None)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """What several modules of a graph do alike, held once: as the first of them does it."""

    stack: tuple[Frame, ...]
    """Of the first module, down to itself."""
    parts: tuple[Op | Occurrence, ...]
    """As for a `Trace`, each where it stands in the first module; values have numbers of the block's own."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A module that does what a block says, in its own place."""

    block: Block
    stack: tuple[Frame, ...]
    """Down to the module itself."""
    visits: tuple[tuple[str, int], ...] = ()
    """(path, number) to be added to the visits of a module inside; those of others are the same as in the block."""
    takes: Pairs = ()
    """The values of the graph around the module that the block's operators read."""
    gives: Pairs = ()
    """The values that the block makes and the graph around the module reads."""

    def frames(self, stack: tuple[Frame, ...]) -> tuple[Frame, ...]:
        """Where an operator of the block stands here, from where it stands in the block."""
        if not stack:
            return ()
        inner = stack[len(self.block.stack) :]
        old, new, visits = self.block.stack[-1].path, self.stack[-1].path, dict(self.visits)
        moved = ((_moved(frame.path, old, new), frame) for frame in inner)
        return (*self.stack, *(Frame(path, frame.class_name, frame.visit + visits.get(path, 0)) for path, frame in moved))

    def ops(self, fresh: Iterator[int]) -> Iterator[Op]:
        """The operators, each in its place here.

        Args:
            fresh: numbers for values that nobody outside of the block reads.
        """
        known: dict[tuple[Frame, ...], tuple[Frame, ...]] = {}

        def stack(op: Op) -> tuple[Frame, ...]:
            if op.stack not in known:
                known[op.stack] = self.frames(op.stack)
            return known[op.stack]

        numbers = {**dict(self.takes), **dict(self.gives)}
        return (_renumbered(op, numbers, fresh, stack) for op in expand(self.block.parts))


def _renumbered(
    op: Op, numbers: dict[int, int], fresh: Iterator[int], stack: Callable[[Op], tuple[Frame, ...]] = lambda op: op.stack
) -> Op:
    """An operator whose values have other numbers: those that are known, and for others the next ones."""

    def number(old: int) -> int:
        if old not in numbers:
            numbers[old] = next(fresh)
        return numbers[old]

    reads, bodies = tuple(map(number, op.reads)), tuple(_body(body, number, stack) for body in op.subgraphs)
    return Op(op.target, op.args, op.outputs, stack(op), op.source, bodies, reads, tuple(map(number, op.makes)))


def _body(body: Subgraph, number: Callable[[int], int], stack: Callable[[Op], tuple[Frame, ...]]) -> Subgraph:
    """A body in another place; the numbers of its own values stay."""

    def moved(op: Op) -> Op:
        bodies = tuple(_body(inner, int, stack) for inner in op.subgraphs)
        return Op(op.target, op.args, op.outputs, stack(op), op.source, bodies, op.reads, op.makes)

    takes = tuple((inner, number(outer)) for inner, outer in body.takes)
    return Subgraph(body.name, tuple(map(moved, body.ops)), takes, body.gives)


def _moved(path: str, old: str, new: str) -> str:
    """A path inside of one module as that inside of another; what is elsewhere stays."""
    return f"{new}{path[len(old) :]}" if path == old or path.startswith(f"{old}." if old else "") else path


def expand(parts: tuple[Op | Occurrence, ...], others: Iterable[int] = ()) -> tuple[Op, ...]:
    """The operators, those of occurrences of a block in the places of those; `others` are numbers that they do not name."""
    if all(type(part) is Op for part in parts):
        return parts  # type: ignore[return-value]  # as was just asked
    fresh = itertools.count(1 + max(itertools.chain(others, *map(_numbers, parts)), default=-1))
    return tuple(op for part in parts for op in (part.ops(fresh) if isinstance(part, Occurrence) else (part,)))


def _numbers(part: Op | Occurrence) -> Iterable[int]:
    """The numbers that it has in its graph."""
    if isinstance(part, Op):
        return (*part.reads, *part.makes)
    return (outer for _, outer in (*part.takes, *part.gives))


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One captured graph. Two are equal when they hold the same operators, whether once or repeated."""

    parts: tuple[Op | Occurrence, ...]
    """The operators; what several modules do alike is held once, and each of the modules refers to it."""
    inputs: tuple[tuple[str, Value], ...] = ()
    """(name, value) of the graph's inputs as the caller gave them, nested containers flattened to dotted names."""
    symbols: tuple[tuple[str, int], ...] = ()
    """(symbol, its size in the example inputs), for graphs exported with dynamic shapes."""
    computed: tuple[tuple[Expr, Number], ...] = ()
    """(expression, the value that the program computes for it at these sizes), where that is not its own value."""
    origins: tuple[tuple[int, Origin], ...] = ()
    """(number, what it is) of each value that is read and that no operator makes."""
    gives: tuple[int, ...] = ()
    """The numbers of the values that the graph returns, in their order."""

    def sizes(self) -> Sizes:
        """The values of the trace's expressions."""
        return Sizes(dict(self.symbols), dict(self.computed))

    @property
    def ops(self) -> tuple[Op, ...]:
        """Every operator in its place; bodies of higher-order operators stay inside of them."""
        return expand(self.parts, (*self.gives, *(number for number, _ in self.origins)))

    def walk(self) -> Iterator[Op]:
        """All operators, those of the bodies of higher-order operators after their operator."""
        yield from _walk(self.ops)

    def distinct(self) -> Iterator[Op]:
        """The operators of `walk`, but what several modules do alike once."""
        yield from _distinct(self.parts, set())

    def expanded(self) -> Trace:
        """The same without references, values numbered in the order in which operators name them."""
        numbers: dict[int, int] = {}
        fresh = itertools.count()
        ops = tuple(_renumbered(op, numbers, fresh) for op in self.ops)
        for number in self.gives:
            if number not in numbers:
                numbers[number] = next(fresh)
        gives = tuple(numbers[number] for number in self.gives)
        origins = tuple(sorted((numbers[number], origin) for number, origin in self.origins if number in numbers))
        return Trace(ops, self.inputs, self.symbols, self.computed, origins, gives)

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
