"""The counting pass: from the operators of a trace to what each costs.

Higher-order operators are followed into their bodies: a `scan` runs its body as often as it is long, and of a `cond` the more
expensive branch is taken. What cannot be counted has cost None and says why; it is never zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from reprlib import Repr

from fxprof.cost.bodies import treatment_of
from fxprof.cost.fourier import FOURIER, KIND
from fxprof.cost.kinds import UNKNOWN, kind_of
from fxprof.cost.registry import BUILT_IN, Formula, Formulas, NoFormulaError
from fxprof.cost.steps import TOO_MANY, Steps
from fxprof.cost.traffic import NONE, Traffic, traffic_of
from fxprof.errors import FormulaError
from fxprof.trace import UNKNOWN_NNZ, Block, Expr, Frame, Occurrence, Op, Sizes, Tensor, Trace, UnboundSymbolError, Value
from fxprof.trace.captured import NOT_CAPTURED
from fxprof.trace.collector import uncollected
from fxprof.trace.higher_order import PREFIX
from fxprof.trace.shapes import write_shapes, write_types


@dataclass(frozen=True, slots=True)
class CountedOp:
    """One operator of a trace and what it costs."""

    target: str
    kind: str
    """One of `fxprof.cost.registry.KINDS`."""
    stack: tuple[Frame, ...]
    """Outermost module first; in a body without stacks, that of the operator around it."""
    source: str | None
    macs: int | None
    """MACs of one execution; None when they are not known."""
    times: int = 1
    """Executions in one run of the trace; more than one in the body of a loop."""
    bounded: bool = False
    """Whether the MACs are an upper bound."""
    note: str = ""
    """Why they are bounded or unknown."""
    shapes: str = ""
    """What it works on, as `fxprof.trace.shapes` writes it."""
    types: str = ""
    """The element types of what it works on, as `fxprof.trace.shapes` writes them."""
    flops: int = 0
    """Of one execution of a Fourier transform, which has no MACs; see `fxprof.cost.fourier`."""
    traffic: Traffic | None = None
    """Bytes of one execution; None when they are not known."""

    def moved(self, stack: tuple[Frame, ...], times: int = 1) -> CountedOp:
        """The same in another module, or so many times as often."""
        return CountedOp(
            self.target,
            self.kind,
            stack,
            self.source,
            self.macs,
            self.times * times,
            self.bounded,
            self.note,
            self.shapes,
            self.types,
            self.flops,
            self.traffic,
        )


@uncollected()
def count(trace: Trace, formulas: Formulas = BUILT_IN) -> tuple[CountedOp, ...]:
    """What every operator of a trace costs, bodies of higher-order operators after their operator.

    Args:
        trace: of one captured graph; its symbols have the sizes that it gives.
        formulas: the table to count with.

    Raises:
        FormulaError: a formula does not fit an operator.
    """
    return tuple(Pass(formulas, trace.sizes()).ops(trace.parts, ()))


class Pass:
    """One walk over a trace; remembers what operators of the same name have in common."""

    def __init__(self, formulas: Formulas, sizes: Sizes) -> None:
        self._formulas = formulas
        self.sizes = sizes
        self._known: dict[str, tuple[Formula | None, str]] = {}
        self._steps = Steps()
        self._blocks: dict[Block, tuple[CountedOp, ...]] = {}

    def ops(self, ops: tuple[Op | Occurrence, ...], outer: tuple[Frame, ...], times: int = 1) -> Iterator[CountedOp]:
        """What operators cost.

        Args:
            ops: of a graph, or of a body.
            outer: the stack of those that have none of their own.
            times: how often the loops around them run, so that no loop makes the rows of its body anew.
        """
        for op in ops:
            if isinstance(op, Occurrence):
                yield from self._block(op, times)
                continue
            found = self._known.get(op.target) or self._look_up(op.target)
            stack = op.stack or outer
            if found[0] is None and op.target.startswith(PREFIX) and found[1] == UNKNOWN:
                yield from self._higher_order(op, stack, times)
            else:
                counted = self._one(op, found, stack)
                yield counted if times == 1 else counted.moved(stack, times)

    def _one(self, op: Op, found: tuple[Formula | None, str], stack: tuple[Frame, ...]) -> CountedOp:
        """What an operator without a body costs, by its formula or its kind."""
        if found[0] is not None:
            return self._by_formula(op, found[0], stack)
        return self._transform(op, stack) if found[1] == KIND else self._without(op, found[1], stack)

    def _block(self, occurrence: Occurrence, times: int) -> Iterator[CountedOp]:
        """What a block does, counted once, in the place of this occurrence."""
        block = occurrence.block
        if block not in self._blocks:
            self._blocks[block] = tuple(self.ops(block.parts, block.stack))
        stacks: dict[tuple[Frame, ...], tuple[Frame, ...]] = {}
        for op in self._blocks[block]:
            if op.stack not in stacks:
                stacks[op.stack] = occurrence.frames(op.stack)
            yield op.moved(stacks[op.stack], times)

    def _look_up(self, target: str) -> tuple[Formula | None, str]:
        formula = self._formulas.find(target)
        self._known[target] = formula, formula.kind if formula else kind_of(target)
        return self._known[target]

    def _by_formula(self, op: Op, formula: Formula, stack: tuple[Frame, ...]) -> CountedOp:
        try:
            macs, note = self._stored_only(op, formula, self.apply(op, formula))
        except UnboundSymbolError as error:
            macs, note = None, f"a size depends on {error.args[0]}, which has no value"
        except NoFormulaError as error:
            macs, note = None, str(error)
        return self._counted(op, formula.kind, stack, macs, note)

    def _transform(self, op: Op, stack: tuple[Frame, ...]) -> CountedOp:
        """A Fourier transform: no MACs, and FLOPs by a convention of its own."""
        formula = FOURIER.find(op.target)
        assert formula is not None, "only operators in the table are of this kind"
        try:
            flops = self.apply(op, formula)
            note = f"{flops:,} FLOPs by 5 N log2 N, apart from the MACs"
        except UnboundSymbolError as error:
            flops, note = 0, f"its FLOPs depend on {error.args[0]}, which has no value"
        return self._counted(op, KIND, stack, 0, note, flops=flops)

    def _stored_only(self, op: Op, formula: Formula, macs: int) -> tuple[int | None, str]:
        """What is left of the MACs of a dense product where an operand is sparse, and why it is not known where it is not."""
        sparse = [value for _, value in op.args if isinstance(value, Tensor) and value.nnz is not None]
        if not sparse or macs == 0:
            return macs, ""
        if len(sparse) > 1 or formula.kind not in _PRODUCTS:
            return (
                None,
                "how much of a product of sparse or nested tensors there is to compute depends on where their elements are",
            )
        nnz = sparse[0].nnz or 0
        if nnz == UNKNOWN_NNZ:
            return None, "the graph does not say how many elements a sparse tensor stores"
        # Each element of the one operand takes part in as many products as any other.
        return macs * nnz // max(prod(self._shape(sparse[0])), 1), ""

    def _without(self, op: Op, kind: str, stack: tuple[Frame, ...]) -> CountedOp:
        """An operator without a formula: one that is known to contract nothing, or one that is not known at all."""
        if kind == UNKNOWN:
            return self._uncounted(op, stack, _why_unknown(op), UNKNOWN)
        return self._costless(op, stack, kind)

    def _costless(self, op: Op, stack: tuple[Frame, ...], kind: str = "control") -> CountedOp:
        return self._counted(op, kind, stack, 0)

    def _counted(
        self, op: Op, kind: str, stack: tuple[Frame, ...], macs: int | None, note: str = "", *, flops: int = 0
    ) -> CountedOp:
        """The operator with all that is the same however its MACs were found."""
        # A higher-order operator with a body moves nothing itself: the operators inside do.
        traffic = NONE if kind == "control" and macs is not None else traffic_of(op, self.sizes)
        shapes, types = write_shapes(op, self.sizes), write_types(op)
        return CountedOp(
            op.target, kind, stack, op.source, macs, note=note, shapes=shapes, types=types, flops=flops, traffic=traffic
        )

    def _uncounted(self, op: Op, stack: tuple[Frame, ...], note: str, kind: str = "control") -> CountedOp:
        return self._counted(op, kind, stack, None, note)

    def apply(self, op: Op, formula: Formula) -> int:
        """MACs of one execution by a formula."""
        self._spend(op, formula)
        bound = formula.bind(op, self._plain)
        try:
            macs = formula.function(**bound)
        except (UnboundSymbolError, NoFormulaError):
            raise
        except Exception as error:
            raise _failure(op, formula, bound, f"failed: {type(error).__name__}: {error}") from error
        if not isinstance(macs, int) or isinstance(macs, bool) or macs < 0:
            raise _failure(op, formula, bound, f"gave {macs!r}")
        return macs

    def _spend(self, op: Op, formula: Formula) -> None:
        """Refuse a graph whose formulas would take for ever, with many operands each."""
        if formula.origin == "fxprof" and not self._steps.enough(op, formula.targets[0]):
            raise FormulaError(f"{op.target}: {TOO_MANY}")

    def _plain(self, value: Value, whole: bool) -> object:
        if isinstance(value, Tensor):
            shape = self._shape(value)
            return Tensor(shape, value.dtype) if whole else shape
        if isinstance(value, tuple):
            return tuple(self._plain(item, whole) for item in value)
        return self.sizes.value(value) if isinstance(value, Expr) else value

    def _shape(self, tensor: Tensor) -> tuple[int, ...]:
        return tuple([size if type(size) is int else self.sizes.size(size) for size in tensor.shape])

    def _higher_order(self, op: Op, stack: tuple[Frame, ...], times: int) -> Iterable[CountedOp]:
        treatment = treatment_of(op.target)
        if treatment is None:
            found: Iterable[CountedOp] = [
                self._uncounted(op, stack, "a higher-order operator that fxprof does not know", UNKNOWN)
            ]
        elif not op.subgraphs:
            found = [self._uncounted(op, stack, "the graph does not hold its body")]
        else:
            found = getattr(self, treatment)(op, stack, times)  # the methods below
        rest = iter(found)
        return chain([next(rest).moved(stack, times)], rest)

    # Each gives the operator as it is executed once, and then what is inside of it, as often as all loops around it run.

    def enter(self, op: Op, stack: tuple[Frame, ...], times: int) -> Iterable[CountedOp]:
        """The operator and its one body."""
        if len(op.subgraphs) > 1:
            return [self._uncounted(op, stack, f"it has {len(op.subgraphs)} bodies, and which of them run is not known")]
        return chain([self._costless(op, stack)], self.ops(op.subgraphs[0].parts, stack, times))

    def choose(self, op: Op, stack: tuple[Frame, ...], times: int) -> Iterable[CountedOp]:
        """The operator and its more expensive branch."""
        if len(op.subgraphs) != _BRANCHES:
            return [self._uncounted(op, stack, "the graph does not hold both branches")]
        branches = [tuple(self.ops(body.parts, stack, times)) for body in op.subgraphs]
        (cheap_cost, cheap), (dear_cost, dear) = sorted(((_cost(ops), ops) for ops in branches), key=lambda branch: branch[0])
        itself = self._costless(op, stack)
        if cheap_cost[1] > dear_cost[1]:
            note = f"uncounted operators in the branch that costs less: {cheap_cost[1] // times}"
            itself = self._uncounted(op, stack, note)
        bounded = cheap_cost[0] != dear_cost[0]
        note = "the more expensive branch of a cond"
        taken = [_bounded(counted, note) if bounded else counted for counted in dear]
        return _at_most(itself, taken, *(_moved_bytes(ops, times) for ops in (dear, cheap)))

    def repeat(self, op: Op, stack: tuple[Frame, ...], times: int) -> Iterable[CountedOp]:
        """The operator and its body, as often as it is long."""
        return self._loop(op, stack, times)

    def combine(self, op: Op, stack: tuple[Frame, ...], times: int) -> Iterable[CountedOp]:
        """The operator and its body, as often as a scan in parallel could combine two elements at most."""
        # n - 1 pairs one after the other; in parallel n/2 pairs, the same for half the elements, n/2 pairs: below 2 n.
        itself, *body = self._loop(op, stack, 2 * times)
        pairs = "at most 2 n pairs of an associative scan"
        return [itself, *(_traffic_bounded(_bounded(counted, pairs)) for counted in body)]

    def leave(self, op: Op, stack: tuple[Frame, ...], _times: int) -> Iterable[CountedOp]:
        """The operator alone, uncounted."""
        macs, uncounted = _cost(chain.from_iterable(self.ops(body.parts, stack) for body in op.subgraphs))
        least = "at least " if uncounted else ""
        return [self._uncounted(op, stack, f"how often it runs depends on data; one iteration costs {least}{macs:,} MACs")]

    def _loop(self, op: Op, stack: tuple[Frame, ...], times: int) -> Iterable[CountedOp]:
        try:
            length = self._length(op)
        except UnboundSymbolError as error:
            return [self._uncounted(op, stack, f"its length depends on {error.args[0]}, which has no value")]
        if length is None:
            return [self._uncounted(op, stack, "it has no xs that would say how often it runs")]
        body = self.ops(op.subgraphs[0].parts, stack, times * length) if length else ()
        return chain([self._costless(op, stack)], body)

    def _length(self, op: Op) -> int | None:
        """The leading size of what a loop runs over."""
        xs = op.argument("xs")
        first = xs[0] if isinstance(xs, tuple) and xs else xs
        return self.sizes.size(first.shape[0]) if isinstance(first, Tensor) and first.shape else None


_BRANCHES = 2
_PRODUCTS = frozenset({"linear", "matmul"})
"""Kinds in which every element of an operand takes part in equally many products."""


def _cost(ops: Iterable[CountedOp]) -> tuple[int, int]:
    """The MACs of a body, and how many executions in it are uncounted."""
    macs = uncounted = 0
    for op in ops:
        macs += (op.macs or 0) * op.times
        uncounted += op.times if op.macs is None else 0
    return macs, uncounted


def _moved_bytes(ops: Iterable[CountedOp], times: int) -> Traffic | None:
    """The bytes of a branch in one of `times` executions; None when those of some operator are not known."""
    read = written = 0
    for op in ops:
        if op.traffic is None:
            return None
        read += op.traffic.read * op.times // times
        written += op.traffic.written * op.times // times
    return Traffic(read, written)


def _at_most(itself: CountedOp, taken: list[CountedOp], one: Traffic | None, other: Traffic | None) -> list[CountedOp]:
    """A `cond` and its branch with the bytes as upper bounds, for its other branch may move more."""
    if one == other and one is not None:
        return [itself, *taken]
    if one is None or other is None:
        return [replace(itself, traffic=None), *taken]
    more = Traffic(max(other.read - one.read, 0), max(other.written - one.written, 0), bounded=True)
    return [replace(itself, traffic=more), *map(_traffic_bounded, taken)]


def _traffic_bounded(counted: CountedOp) -> CountedOp:
    """The same with its bytes as upper bounds, where there are any."""
    traffic = counted.traffic
    return counted if traffic is None or traffic == NONE else replace(counted, traffic=traffic._replace(bounded=True))


def _why_unknown(op: Op) -> str:
    if op.target != NOT_CAPTURED:
        return "no formula"
    reason = op.argument("reason")
    return _short(reason if isinstance(reason, str) else _SHORT.repr(reason), 1000)


def _bounded(counted: CountedOp, note: str) -> CountedOp:
    """The same as an upper bound; what costs nothing or is not known bounds nothing, and what is one stays as it is."""
    if not counted.macs or (counted.bounded and counted.note):
        return counted
    return replace(counted, bounded=True, note=counted.note or note)


def _failure(op: Op, formula: Formula, bound: Mapping[str, object], what: str) -> FormulaError:
    arguments = ", ".join(f"{name}={_short(_SHORT.repr(value), 40)}" for name, value in bound.items())
    absent = [name for name in bound if name not in {"out", "outs", *dict(op.args)}]
    given = _short(", ".join(name for name, _ in op.args), 100)
    has = f"it was called without {' or '.join(absent)}, with {given}; what can be left out needs a default in the formula"
    called = f"{formula.function.__name__}({_short(arguments, 160)})"
    message = f"{op.target}: the formula {called} from {formula.origin} {_short(what, 120)}"
    return FormulaError(message, has if absent else "a formula gives an integer, zero or more")


class _Short(Repr):
    """Writes out the beginning of a value alone, which may be of millions of sizes; texts without quotes."""

    def repr_str(self, value: str, _level: int) -> str:
        """The text as it is, as far as it is shown."""
        return value[:_LONGEST_TEXT]


_LONGEST_TEXT = 100
_SHORT = _Short()
_SHORT.maxtuple = _SHORT.maxlist = 20


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
