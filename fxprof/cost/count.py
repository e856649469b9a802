"""The counting pass: from the operators of a trace to the cost of each.

The pass follows higher-order operators into their bodies: a `scan` runs its body once per element, and a `cond` counts its more
expensive branch. An operator that cannot be counted has the cost None, never zero, and a note with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from math import prod
from reprlib import Repr
from typing import NamedTuple

from fxprof.cost.alike import MOST_KNOWN, Key, Keys
from fxprof.cost.bodies import treatment_of
from fxprof.cost.causal import KIND as KIND_OF_ATTENTION
from fxprof.cost.causal import masked_macs
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


class CountedOp(NamedTuple):  # there are as many as operators, and a frozen dataclass takes three times as long to make
    """One operator of a trace and its cost."""

    target: str
    kind: str
    """One of `fxprof.cost.registry.KINDS`."""
    stack: tuple[Frame, ...]
    """Outermost module first; in a body without stacks, the stack of the operator around it."""
    source: str | None
    macs: int | None
    """MACs of one execution; None if unknown."""
    times: int = 1
    """Executions in one run of the trace; more than one in the body of a loop."""
    bounded: bool = False
    """Whether the MACs are an upper bound."""
    note: str = ""
    """The reason why they are bounded or unknown."""
    shapes: str = ""
    """Its operands and results, as `fxprof.trace.shapes` writes them."""
    types: str = ""
    """The element types of its operands, as `fxprof.trace.shapes` writes them."""
    flops: int = 0
    """FLOPs of one execution of a Fourier transform, which has no MACs; see `fxprof.cost.fourier`."""
    traffic: Traffic | None = None
    """Bytes of one execution; None if unknown."""
    masked: int = 0
    """The MACs of one execution of causal attention for pairs that its own mask hides; see `fxprof.cost.causal`."""

    def moved(self, stack: tuple[Frame, ...], times: int = 1) -> CountedOp:
        """The same operator in another module, with `times` as many executions."""
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
            self.masked,
        )

    def alike(self, stack: tuple[Frame, ...], source: str | None) -> CountedOp:
        """An operator that differs only in its place."""
        target, kind, _, _, macs, times, bounded, note, shapes, types, flops, traffic, masked = self
        return CountedOp(target, kind, stack, source, macs, times, bounded, note, shapes, types, flops, traffic, masked)


@uncollected()
def count(trace: Trace, formulas: Formulas = BUILT_IN) -> tuple[CountedOp, ...]:
    """Count every operator of a trace; the operators of a body follow their higher-order operator.

    Args:
        trace: the trace of one captured graph, counted at its own sizes of the symbols.
        formulas: the table to count with.

    Raises:
        FormulaError: a formula does not fit an operator.
    """
    return tuple(Pass(formulas, trace.sizes()).ops(trace.parts, ()))


class Pass:
    """One walk over a trace; caches the common properties of operators of the same name, and the costs of equal operators."""

    def __init__(self, formulas: Formulas, sizes: Sizes) -> None:
        self._formulas = formulas
        self.sizes = sizes
        self._known: dict[str, tuple[Formula | None, str]] = {}
        self._steps = Steps()
        self._blocks: dict[Block, tuple[CountedOp, ...]] = {}
        self._keys = Keys()
        self._counted_ops: dict[Key, CountedOp] = {}
        self._looked_up = self._new = 0

    def ops(self, ops: tuple[Op | Occurrence, ...], outer: tuple[Frame, ...], times: int = 1) -> Iterator[CountedOp]:
        """Count operators.

        Args:
            ops: the operators of a graph or of a body.
            outer: the stack for operators without one.
            times: the number of runs of all loops around them, so that no loop has to copy the results of its body.
        """
        for op in ops:
            if isinstance(op, Occurrence):
                yield from self._block(op, times)
                continue
            rule = self._known.get(op.target) or self._look_up(op.target)
            stack = op.stack or outer
            if rule[0] is None and op.target.startswith(PREFIX) and rule[1] == UNKNOWN:
                yield from self._higher_order(op, stack, times)
            else:
                counted = self._one(op, rule, stack)
                yield counted if times == 1 else counted.moved(stack, times)

    def _one(self, op: Op, rule: tuple[Formula | None, str], stack: tuple[Frame, ...]) -> CountedOp:
        """Count an operator without a body, or look up an equal one; a formula of a user may also depend on other things."""
        own = rule[0] is None or rule[0].origin == "fxprof"
        if not own or op.subgraphs or (self._new > MOST_KNOWN and _USELESS * self._new > self._looked_up):
            return self._anew(op, rule, stack)
        key = self._keys.of(op)
        self._looked_up += 1
        known = self._counted_ops.get(key)
        if known is not None:
            return known.alike(stack, op.source)
        self._new += 1
        if len(self._counted_ops) >= MOST_KNOWN:
            self._counted_ops.clear()
        counted = self._counted_ops[key] = self._anew(op, rule, stack)
        return counted

    def _anew(self, op: Op, rule: tuple[Formula | None, str], stack: tuple[Frame, ...]) -> CountedOp:
        """Count an operator without a body, by its formula or its kind."""
        if rule[0] is not None:
            return self._by_formula(op, rule[0], stack)
        return self._transform(op, stack) if rule[1] == KIND else self._without(op, rule[1], stack)

    def _block(self, occurrence: Occurrence, times: int) -> Iterator[CountedOp]:
        """The operators of a block, counted once, in the place of this occurrence."""
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
        counted = self._counted(op, formula.kind, stack, macs, note)
        if formula.kind == KIND_OF_ATTENTION and macs and formula.origin == "fxprof":
            hidden = masked_macs(op, macs, self._shape)
            return counted._replace(masked=hidden) if hidden else counted
        return counted

    def _transform(self, op: Op, stack: tuple[Frame, ...]) -> CountedOp:
        """Count a Fourier transform: no MACs, and FLOPs by a separate convention."""
        formula = FOURIER.find(op.target)
        assert formula is not None, "only operators in the table are of this kind"
        try:
            flops = self.apply(op, formula)
            note = f"{flops:,} FLOPs by 5 N log2 N, apart from the MACs"
        except UnboundSymbolError as error:
            flops, note = 0, f"its FLOPs depend on {error.args[0]}, which has no value"
        return self._counted(op, KIND, stack, 0, note, flops=flops)

    def _stored_only(self, op: Op, formula: Formula, macs: int) -> tuple[int | None, str]:
        """The MACs of a product for the stored elements of a sparse operand, and the reason if they are unknown."""
        sparse = [value for _, value in op.args if isinstance(value, Tensor) and value.nnz is not None]
        if not sparse or macs == 0:
            return macs, ""
        if len(sparse) > 1 or formula.kind not in _PRODUCTS:
            return (
                None,
                "the cost of a product of sparse or nested tensors depends on the positions of their elements",
            )
        nnz = sparse[0].nnz or 0
        if nnz == UNKNOWN_NNZ:
            return None, "the graph does not say how many elements a sparse tensor stores"
        # All elements of an operand take part in equally many products.
        return macs * nnz // max(prod(self._shape(sparse[0])), 1), ""

    def _without(self, op: Op, kind: str, stack: tuple[Frame, ...]) -> CountedOp:
        """Count an operator without a formula: it contracts nothing, or it is unknown."""
        if kind == UNKNOWN:
            return self._uncounted(op, stack, _why_unknown(op), UNKNOWN)
        return self._costless(op, stack, kind)

    def _costless(self, op: Op, stack: tuple[Frame, ...], kind: str = "control", *, extra: Traffic | None = NONE) -> CountedOp:
        return self._counted(op, kind, stack, 0, extra=extra)

    def _counted(
        self,
        op: Op,
        kind: str,
        stack: tuple[Frame, ...],
        macs: int | None,
        note: str = "",
        *,
        flops: int = 0,
        extra: Traffic | None = NONE,
    ) -> CountedOp:
        """The counted operator; all fields except the MACs are found here, whatever rule gave the MACs.

        A higher-order operator with a body moves nothing itself, because the operators inside do; `extra` is what it is
        charged for bytes that these do not have.
        """
        traffic = extra if kind == "control" and macs is not None else traffic_of(op, self.sizes)
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
        """Refuse a graph whose formulas would take too long because of many operands."""
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
            counted: Iterable[CountedOp] = [
                self._uncounted(op, stack, "a higher-order operator that fxprof does not know", UNKNOWN)
            ]
        elif not op.subgraphs:
            counted = [self._uncounted(op, stack, "the graph does not contain its body")]
        else:
            counted = getattr(self, treatment)(op, stack, times)  # the methods below
        rest = iter(counted)
        return chain([next(rest).moved(stack, times)], rest)

    # Each method gives the operator for one execution, and then the operators inside, for all runs of the loops around them.

    def enter(self, op: Op, stack: tuple[Frame, ...], times: int) -> Iterable[CountedOp]:
        """The operator and its single body."""
        if len(op.subgraphs) > 1:
            return [self._uncounted(op, stack, f"it has {len(op.subgraphs)} bodies, and it is unknown which of them run")]
        return chain([self._costless(op, stack)], self.ops(op.subgraphs[0].parts, stack, times))

    def choose(self, op: Op, stack: tuple[Frame, ...], times: int) -> Iterable[CountedOp]:
        """The operator and its more expensive branch."""
        if len(op.subgraphs) != _BRANCHES:
            return [self._uncounted(op, stack, "the graph does not contain both branches")]
        branches = [tuple(self.ops(body.parts, stack, times)) for body in op.subgraphs]
        (low_cost, low), (high_cost, high) = sorted(((_cost(ops), ops) for ops in branches), key=lambda branch: branch[0])
        high_bytes, low_bytes = _moved_bytes(high, times), _moved_bytes(low, times)
        itself = self._costless(op, stack, extra=_extra(high_bytes, low_bytes))
        if low_cost[1] > high_cost[1]:
            note = f"uncounted operators in the less expensive branch: {low_cost[1] // times}"
            itself = self._uncounted(op, stack, note)
        note, macs, traffic = "the more expensive branch of a cond", low_cost[0] != high_cost[0], low_bytes != high_bytes
        return [itself, *(_bounded(counted, note, macs=macs, traffic=traffic) for counted in high)]

    def repeat(self, op: Op, stack: tuple[Frame, ...], times: int) -> Iterable[CountedOp]:
        """The operator and its body, once per element."""
        return self._loop(op, stack, times)

    def combine(self, op: Op, stack: tuple[Frame, ...], times: int) -> Iterable[CountedOp]:
        """The operator and its body, with the most pairs that a parallel scan could combine."""
        # In sequence there are n - 1 pairs; in parallel n/2 pairs, then the same for half the elements, then n/2: below 2 n.
        itself, *body = self._loop(op, stack, 2 * times)
        pairs = "at most 2 n pairs of an associative scan"
        return [itself, *(_bounded(counted, pairs) for counted in body)]

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
            return [self._uncounted(op, stack, "it has no xs, so the number of its runs is unknown")]
        body = self.ops(op.subgraphs[0].parts, stack, times * length) if length else ()
        return chain([self._costless(op, stack)], body)

    def _length(self, op: Op) -> int | None:
        """The leading size of a loop's elements."""
        xs = op.argument("xs")
        first = xs[0] if isinstance(xs, tuple) and xs else xs
        return self.sizes.size(first.shape[0]) if isinstance(first, Tensor) and first.shape else None


_BRANCHES = 2
_USELESS = 1.1
"""Look-ups per new operator below which a look-up takes longer than it saves."""
_PRODUCTS = frozenset({"linear", "matmul"})
"""Kinds in which all elements of an operand take part in equally many products."""


def _cost(ops: Iterable[CountedOp]) -> tuple[int, int]:
    """The MACs of a body, and the number of its uncounted executions."""
    macs = uncounted = 0
    for op in ops:
        macs += (op.macs or 0) * op.times
        uncounted += op.times if op.macs is None else 0
    return macs, uncounted


def _moved_bytes(ops: Iterable[CountedOp], times: int) -> Traffic | None:
    """The bytes of a branch in one of `times` executions; None if those of some operator are unknown."""
    read = written = 0
    for op in ops:
        if op.traffic is None:
            return None
        read += op.traffic.read * op.times // times
        written += op.traffic.written * op.times // times
    return Traffic(read, written)


def _extra(high: Traffic | None, low: Traffic | None) -> Traffic | None:
    """The bytes that a `cond` is charged because its less expensive branch may move more; None if they are unknown."""
    if high is None or low is None:
        return None
    if high == low:
        return NONE
    return Traffic(max(low.read - high.read, 0), max(low.written - high.written, 0), bounded=True)


def _why_unknown(op: Op) -> str:
    if op.target != NOT_CAPTURED:
        return "no formula"
    reason = op.argument("reason")
    return _short(reason if isinstance(reason, str) else _SHORT.repr(reason), 1000)


def _bounded(counted: CountedOp, note: str, *, macs: bool = True, traffic: bool = True) -> CountedOp:
    """The same operator with its MACs and bytes as upper bounds; one without any, or with bounds already, stays unchanged."""
    moved = counted.traffic
    macs = macs and bool(counted.macs) and not (counted.bounded and counted.note)
    if not traffic or moved is None or moved == NONE or moved.bounded:
        return counted._replace(bounded=True, note=counted.note or note) if macs else counted
    moved = moved._replace(bounded=True)
    if not macs:
        return counted._replace(traffic=moved)
    return counted._replace(bounded=True, note=counted.note or note, traffic=moved)


def _failure(op: Op, formula: Formula, bound: Mapping[str, object], what: str) -> FormulaError:
    arguments = ", ".join(f"{name}={_short(_SHORT.repr(value), 40)}" for name, value in bound.items())
    absent = [name for name in bound if name not in {"out", "outs", *dict(op.args)}]
    given = _short(", ".join(name for name, _ in op.args), 100)
    hint = f"it was called without {' or '.join(absent)}, with {given}; optional arguments need a default in the formula"
    called = f"{formula.function.__name__}({_short(arguments, 160)})"
    message = f"{op.target}: the formula {called} from {formula.origin} {_short(what, 120)}"
    return FormulaError(message, hint if absent else "a formula must return an integer, zero or more")


class _Short(Repr):
    """Writes only the beginning of a value, which may have millions of sizes; texts without quotes."""

    def repr_str(self, value: str, _level: int) -> str:
        """The beginning of the text, without quotes."""
        return value[:_LONGEST_TEXT]


_LONGEST_TEXT = 100
_SHORT = _Short()
_SHORT.maxtuple = _SHORT.maxlist = 20


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
