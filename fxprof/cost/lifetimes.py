"""The tensors that are alive at once while a call runs, and the most bytes that they take.

Two answers for one graph:

* *eager*: a tensor lives as long as Python holds it, which was seen while the call was captured (`Op.frees`). What an operator
  takes for itself and drops before it returns counts too.
* *graph*: a tensor lives until the last operator that uses it, as a compiler may arrange.

Only tensors that the call makes count: no weights, no buffers, none of its inputs. Views share the memory of their tensor. A
result whose aliasing is unknown counts as new, and keeps alive what it may share: then the sum is an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fxprof.cost.attention_memory import attention_bytes
from fxprof.cost.workspace import workspace_bytes
from fxprof.trace import Op, Sizes, Subgraph, Tensor, Trace, UnboundSymbolError, Value
from fxprof.trace.aliasing import results_of
from fxprof.trace.element_types import UnknownTypeError, bytes_of
from fxprof.trace.higher_order import ENTERED, PREFIX

ATTENTION = ("fused", "math")
"""The ways to compute attention: in one kernel that never holds all scores, or as products."""


_LISTED = 12
"""Tensors that are listed as alive at a peak; the others are counted."""


class AliveTensor(NamedTuple):
    """A tensor that is alive at the peak."""

    bytes: int
    shape: tuple[int, ...]
    dtype: str
    op: str
    """The operator that made it: `aten.linear.default`."""
    path: str
    """The module that made it, dotted below the component."""
    source: str
    """`package/file.py:12`, or "" if the graph does not say."""
    since: int
    """The position of that operator among those of the call."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The most bytes that are alive at once in one execution of a call."""

    bytes: int = 0
    bounded: bool = False
    """Whether it is an upper bound, because the aliasing of some result is unknown."""
    unknown: int = 0
    """The number of results of unknown size; if not zero, the sum is a lower bound."""
    op: str = ""
    """The operator that runs at the peak; "" if the call makes no tensors."""
    path: str = ""
    """The module of that operator, dotted below the component."""
    source: str = ""
    """`package/file.py:12`, or "" if the graph does not say."""
    at: int = 0
    """The position of that operator among those of the call."""
    inside: int = 0
    """Bytes in the sum that the operator takes for itself and drops before it returns."""
    workspace: int = 0
    """Bytes by which the kernels' own memory raises the peak, as an estimate; no part of the sum."""
    alive: tuple[AliveTensor, ...] = ()
    """The largest tensors that are alive then, the largest first."""
    others: int = 0
    """The number of further tensors."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """The peaks of one call, with attention in one of `ATTENTION`."""

    eager: Peak | None
    """None if nobody saw how long Python holds tensors, as in a file."""
    graph: Peak
    by_module: Mapping[str, int] = field(default_factory=dict)
    """For each module, the most bytes that are alive while one of its own operators runs: eager, or by last use if unknown."""

    @property
    def peak(self) -> Peak:
        """The eager peak, or the one by last use if that is unknown."""
        return self.graph if self.eager is None else self.eager


def find_lifetimes(trace: Trace) -> dict[str, Lifetimes]:
    """The peaks of a call, at the trace's own sizes of its symbols, by the way to compute attention.

    A call without attention that can be computed in two ways has `fused` alone.
    """
    flat, numbers = _Flat(trace.sizes()), dict[int, int]()
    steps = flat.steps(trace.ops, numbers, "")
    last = _last_uses(steps, [numbers[number] for number in trace.gives if number in numbers])
    frees = [step.frees for step in steps] if trace.has_frees else None
    ways = ATTENTION if any(step.needs.products for step in steps) else ATTENTION[:1]
    return {way: _lifetimes(steps, last, frees, as_products=way == "math") for way in ways}


def _lifetimes(
    steps: Sequence[_Step],
    last: Sequence[tuple[int, ...]],
    frees: Sequence[tuple[int, ...]] | None,
    *,
    as_products: bool,
) -> Lifetimes:
    products = [step.needs.bodies + (step.needs.products if as_products else 0) for step in steps]
    graph, by_module = _swept(steps, last, products)
    if frees is None:
        return Lifetimes(None, graph, by_module)
    eager, by_module = _swept(steps, frees, [step.needs.eager(as_products=as_products) for step in steps])
    return Lifetimes(eager, graph, by_module)


class _Needs(NamedTuple):
    """Bytes that an operator takes beyond its results, and drops before it returns."""

    bodies: int = 0
    """In its bodies, as an upper bound."""
    own: int = 0
    """As seen when it ran alone."""
    fused: int = 0
    """For attention in one kernel."""
    products: int = 0
    """For attention as products."""
    workspace: int = 0
    """Outside of torch's tensors, as an estimate."""

    def eager(self, *, as_products: bool) -> int:
        return self.bodies + self.own + (self.products if as_products else self.fused)


class _Result(NamedTuple):
    """A result of an operator, as memory."""

    bytes: int
    """Bytes of memory of its own; 0 for a view."""
    shares: tuple[int, ...]
    """The values whose memory it shares, or may share."""
    doubt: bool
    unknown: bool
    value: Value


class _Step(NamedTuple):
    """An operator where it runs, with the bodies that run once in place of their operators."""

    op: Op
    path: str
    reads: tuple[int, ...]
    makes: tuple[tuple[int, _Result], ...]
    frees: tuple[int, ...]
    needs: _Needs


class _Examined(NamedTuple):
    """What an operator does to memory, wherever it stands in a graph."""

    results: tuple[tuple[int, tuple[int, ...], bool, bool], ...]
    """Bytes of own memory, positions among `Op.reads` that it shares, doubt about that, and whether the bytes are unknown."""
    needs: _Needs


class _Flat:
    """Makes one list of steps of a graph; equal operators of repeated blocks are examined once."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._fresh = 0
        self._known: dict[int, _Examined] = {}
        self._alive: list[object] = []

    def steps(self, ops: Sequence[Op], numbers: dict[int, int], outer: str) -> list[_Step]:
        """The steps of a graph or of a body.

        Args:
            ops: its operators.
            numbers: its values that have numbers outside; gets numbers for all others.
            outer: the module of operators without one.
        """
        made: list[_Step] = []

        def number(old: int) -> int:
            if old not in numbers:
                numbers[old] = self._fresh
                self._fresh += 1
            return numbers[old]

        for op in ops:
            path = op.stack[-1].path if op.stack else outer
            reads, makes, frees = (tuple(map(number, values)) for values in (op.reads, op.makes, op.frees))
            body = op.subgraphs[0] if op.target.removeprefix(PREFIX) in ENTERED and len(op.subgraphs) == 1 else None
            if body is None or len(body.gives) != len(makes):
                made.append(self._step(op, path, reads, makes, frees))
                continue
            made += self._entered(op, body, path, makes, number)
            if frees and made:
                made[-1] = made[-1]._replace(frees=(*made[-1].frees, *frees))
        return made

    def _entered(self, op: Op, body: Subgraph, path: str, makes: tuple[int, ...], number: Callable[[int], int]) -> list[_Step]:
        """The steps of a body that runs once, in place of its operator."""
        inside = {inner: number(value) for inner, value in body.takes}
        again = []
        for inner, outer in zip(body.gives, makes, strict=True):
            if inner in inside:
                again.append((inside[inner], outer))
            else:
                inside[inner] = outer
        steps = self.steps(body.ops, inside, path)
        if again:  # results that are values from outside, or the same value twice
            shared = tuple((outer, _Result(0, (value,), False, False, None)) for value, outer in again)
            steps.append(_Step(op, path, tuple(value for value, _ in again), shared, (), _Needs()))
        return steps

    def _step(self, op: Op, path: str, reads: tuple[int, ...], makes: tuple[int, ...], frees: tuple[int, ...]) -> _Step:
        results, needs = self._examined(op)
        made: list[tuple[int, _Result]] = []
        everything: tuple[int, ...] = ()
        for number, (size, shares, doubt, unknown), value in zip(makes, results, _values(op), strict=True):
            if len(shares) > 1 and not everything:  # results that may share all operands do so through one value
                everything, self._fresh = (self._fresh,), self._fresh + 1
                made.append((everything[0], _Result(0, reads, False, False, None)))
                frees = (*frees, *everything)
            kept = everything if len(shares) > 1 else tuple(reads[at] for at in shares)
            made.append((number, _Result(size, kept, doubt, unknown, value)))
        return _Step(op, path, reads, tuple(made), frees, needs)

    def _examined(self, op: Op) -> _Examined:
        key = id(op.args)
        if key not in self._known or not op.args:
            self._alive.append(op.args)  # so that no other one gets its identity
            self._known[key] = self._examine(op)
        return self._known[key]

    def _examine(self, op: Op) -> _Examined:
        positions = {number: at for at, number in reversed(list(enumerate(op.reads)))}
        everything, results = tuple(range(len(op.reads))), []
        for alias, value in zip(results_of(op, self._sizes), _values(op), strict=True):
            shares: tuple[int, ...] = ()
            if alias.of is not None and alias.of in positions:
                shares = (positions[alias.of],)
            elif alias.doubt:
                shares = everything
            is_view = alias.of is not None and not alias.doubt
            size = 0 if is_view else self._bytes(value)
            results.append((size or 0, shares, bool(alias.doubt), size is None))
        bodies, bounded = self._bodies(op, sum(size for size, *_ in results))
        if bounded:
            results = [(size, shares, True, unknown) for size, shares, _, unknown in results]
        try:
            fused, products = (attention_bytes(op, self._sizes, how) for how in ATTENTION)
        except (UnboundSymbolError, ArithmeticError, LookupError, TypeError, ValueError):
            fused = products = 0
        return _Examined(tuple(results), _Needs(bodies, op.inside, fused, products, workspace_bytes(op, self._sizes)))

    def _bytes(self, value: Value) -> int | None:
        if not isinstance(value, Tensor):
            return 0
        try:
            return bytes_of(value, self._sizes) if value.nnz is None else None
        except (UnboundSymbolError, UnknownTypeError):
            return None

    def _bodies(self, op: Op, results: int) -> tuple[int, bool]:
        """Bytes that the bodies of a higher-order operator take beyond its results, as an upper bound."""
        if not op.subgraphs:
            return 0, False
        peaks = []
        for body in op.subgraphs:
            flat = _Flat(self._sizes)
            takes = {inner: flat._fresh + at for at, (inner, _) in enumerate(body.takes)}
            flat._fresh = len(takes)
            steps = flat.steps(body.ops, takes, "")
            gives = [takes[number] for number in body.gives if number in takes]
            peaks.append(_swept(steps, _last_uses(steps, gives), [step.needs.bodies for step in steps])[0].bytes)
        most = max(peaks, default=0)
        return (max(most - results, 0) if op.target == f"{PREFIX}cond" else most), True


def _values(op: Op) -> Iterator[Value]:
    """One value for each number among the results."""
    values = list(_leaves(op.outputs))
    if len(values) != len(op.makes):
        values = [value for value in values if isinstance(value, Tensor)]
    return iter(values if len(values) == len(op.makes) else [None] * len(op.makes))


def _leaves(values: Iterable[Value]) -> Iterator[Value]:
    for value in values:
        if isinstance(value, tuple):
            yield from _leaves(value)
        else:
            yield value


def _last_uses(steps: Sequence[_Step], gives: Iterable[int]) -> list[tuple[int, ...]]:
    """For each step, the values that no later one uses."""
    last: dict[int, int] = {}
    for at, step in enumerate(steps):
        for number in step.reads:
            last[number] = at
        for number, _ in step.makes:
            last[number] = at
    for number in gives:
        last.pop(number, None)
    frees: list[list[int]] = [[] for _ in steps]
    for number, at in last.items():
        frees[at].append(number)
    return [tuple(numbers) for numbers in frees]


class _Memory:
    """The memory that is taken while the steps of a call run.

    A value keeps those alive whose memory it shares, as a view keeps its base, until nobody holds it.
    """

    def __init__(self) -> None:
        self.now = 0
        self.sizes: dict[int, int] = {}
        """The bytes of each value that has memory of its own and is alive."""
        self._holders: list[int] = []
        """For each value in the order in which they were made, the number of those that keep it."""
        self._made: list[tuple[int, int, tuple[int, ...]]] = []
        """Its number, its bytes, and the places of the values that it keeps."""
        self._places: dict[int, int] = {}
        """The place of each value that its graph still holds, by number."""

    def make(self, number: int, result: _Result) -> None:
        kept = tuple(self._places[value] for value in result.shares if value in self._places)
        for place in kept:
            self._holders[place] += 1
        self.free(number)
        self._places[number] = len(self._made)
        self._made.append((number, result.bytes, kept))
        self._holders.append(1)
        if result.bytes:
            self.sizes[number] = result.bytes
            self.now += result.bytes

    def free(self, number: int) -> None:
        dropped = [self._places.pop(number)] if number in self._places else []
        for place in dropped:  # the list grows
            self._holders[place] -= 1
            if not self._holders[place]:
                number, size, kept = self._made[place]
                if size:
                    self.now -= size
                    self.sizes.pop(number, None)
                dropped += kept


def _swept(steps: Sequence[_Step], frees: Sequence[tuple[int, ...]], insides: Sequence[int]) -> tuple[Peak, dict[str, int]]:
    """The peak of steps, and for each module the most bytes while one of its own operators runs."""
    memory, by_module = _Memory(), dict[str, int]()
    most, place, bounded, unknown, with_workspace = 0, -1, False, 0, 0
    for at, (step, dead, inside) in enumerate(zip(steps, frees, insides, strict=True)):
        for number, result in step.makes:
            memory.make(number, result)
            bounded = bounded or result.doubt
            unknown += result.unknown
        now = memory.now + inside
        if now > by_module.get(step.path, -1):
            by_module[step.path] = now
        if now > most:
            most, place = now, at
        if step.needs.workspace:
            with_workspace = max(with_workspace, now + step.needs.workspace)
        for number in dead:
            memory.free(number)
    more = max(with_workspace - most, 0)
    if place < 0:
        return Peak(bounded=bounded, unknown=unknown, workspace=more), by_module
    step = steps[place]
    alive = _alive_at(steps, frees, place)
    listed, others = alive[:_LISTED], max(len(alive) - _LISTED, 0)
    op = step.op
    peak = Peak(
        most,
        bounded,
        unknown,
        op.target,
        step.path,
        op.source or "",
        place,
        insides[place],
        more,
        listed,
        others,
    )
    return peak, by_module


def _alive_at(steps: Sequence[_Step], frees: Sequence[tuple[int, ...]], place: int) -> tuple[AliveTensor, ...]:
    """The tensors that are alive while a step runs, the largest first."""
    memory, makers = _Memory(), dict[int, tuple[int, Value]]()
    for at, (step, dead) in enumerate(zip(steps[: place + 1], frees, strict=False)):
        for number, result in step.makes:
            memory.make(number, result)
            if result.bytes:
                makers[number] = (at, result.value)
        if at < place:
            for number in dead:
                memory.free(number)
    tensors = []
    for number, size in memory.sizes.items():
        at, value = makers[number]
        assert isinstance(value, Tensor), "only tensors have bytes"
        step = steps[at]
        shape = tuple(size if isinstance(size, int) else 0 for size in value.shape)
        source = step.op.source or ""
        tensors.append(AliveTensor(size, shape, value.dtype, step.op.target, step.path, source, at))
    return tuple(sorted(tensors, key=lambda tensor: (-tensor.bytes, tensor.since)))
