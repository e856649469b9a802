"""The bytes that an operator reads and writes if nothing is fused: each operand once, each result once.

* A view moves nothing, and neither does a question about a shape.
* For an operator that may have to copy, the bytes of the copy are an upper bound.
* A lookup reads the elements that it gathers, at most the whole table, and its indices.
* An operator in place writes to its operand, and reads it unless it only overwrites.
* An expanded operand has the bytes of the original tensor.

The bytes of an operator that is in no table, such as one of another library, are unknown, never zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import NamedTuple

from fxprof.trace import Op, Sizes, Tensor, UnboundSymbolError
from fxprof.trace.aliasing import is_known_library, name_of, results_of, writes
from fxprof.trace.element_types import UnknownTypeError, bytes_of
from fxprof.trace.records import tensors_in


class Traffic(NamedTuple):
    """Bytes of one execution."""

    read: int
    written: int
    bounded: bool = False
    """Whether both are upper bounds."""

    def times(self, count: int) -> Traffic:
        """The bytes of `count` executions."""
        return Traffic(self.read * count, self.written * count, self.bounded)

    def plus(self, other: Traffic) -> Traffic:
        """The bytes of both."""
        return Traffic(self.read + other.read, self.written + other.written, self.bounded or other.bounded)


NONE = Traffic(0, 0)
"""The traffic of views and of questions about a shape."""


def traffic_of(op: Op, sizes: Sizes) -> Traffic | None:
    """The bytes of one execution of an operator, without the bodies of a higher-order one; None if unknown."""
    try:
        return _traffic(op, sizes)
    except (UnboundSymbolError, UnknownTypeError):
        return None
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None  # in a file that contradicts itself, an operator can have operands that it cannot work on


def _traffic(op: Op, sizes: Sizes) -> Traffic | None:
    name = name_of(op.target)
    operands, results = _operands(op), list(tensors_in(op.outputs))
    if name in _ASK or name in _SHAPES_IN_PLACE or not (operands or results):
        return NONE  # the last is a function of numbers
    sparse = [tensor for tensor in (*[operand.tensor for operand in operands], *results) if tensor.nnz is not None]
    if sparse or not (is_known_library(op.target) or op.target in _HIGHER_ORDER):
        return None
    shared, changed = results_of(op, sizes), writes(op)
    doubt, is_view = False, bool(op.makes)
    for alias in shared:
        if alias.doubt and alias.of is None:
            return None
        doubt = doubt or bool(alias.doubt)
        is_view = is_view and alias.of is not None
    if changed:
        return _in_place(op, name, operands, set(changed), sizes)
    if is_view and not doubt:
        return NONE
    written = 0 if name in _EMPTY else sum([bytes_of(result, sizes) for result in results])
    return Traffic(_read(op, name, operands, sizes), written, doubt)


def _read(op: Op, name: str, operands: list[_Operand], sizes: Sizes) -> int:
    """Bytes of the operands, each value once."""
    if name in _ONE:
        return sum([_least(tensor, sizes) for tensor, _ in operands])
    if not operands:
        return 0
    first = operands[0]
    whole = _of_first(op, name, first.tensor, sizes)
    if len(operands) == 1:
        return whole
    return whole + sum([_footprint(tensor, sizes) for tensor in _distinct(operands[1:], None if name in _GATHER else first)])


def _of_first(op: Op, name: str, tensor: Tensor, sizes: Sizes) -> int:
    """Bytes that an operator reads from its first operand."""
    if name in _TEMPLATE:
        return 0
    whole = _footprint(tensor, sizes)
    if name in _BAGS:
        indices = op.argument("indices")
        rows = prod(_shape(indices, sizes)) if isinstance(indices, Tensor) else 0
        return min(whole, rows * whole // max(_shape(tensor, sizes)[0], 1))
    if name in _GATHER or name.endswith("_copy"):
        results = [prod(_shape(result, sizes)) for result in tensors_in(op.outputs)]
        return min(whole, sum(results) * _least(tensor, sizes))
    return whole


def _in_place(op: Op, name: str, operands: list[_Operand], changed: set[int], sizes: Sizes) -> Traffic:
    """The bytes of an operator that writes to operands: it also reads these, unless it only overwrites them."""
    targets = [tensor for tensor, number in operands if number in changed]
    given = [operand for operand in operands if operand.number not in changed]
    read = sum(_footprint(tensor, sizes) for tensor in _distinct(given))
    written = sum(_footprint(tensor, sizes) for tensor in targets)
    if name in _PLACES:
        part = op.argument(_PLACES[name])
        if isinstance(part, Tensor):
            piece = min(prod(_shape(part, sizes)) * _least(targets[0], sizes), written)
            return Traffic(read + (piece if _accumulates(op, name) else 0), piece)
        return Traffic(read + (written if _accumulates(op, name) else 0), written, bounded=True)
    if name in _SOME_PLACES:  # the number of places depends on values, or on broadcasting
        return Traffic(read + (written if _accumulates(op, name) else 0), written, bounded=True)
    overwrites = name in _OVERWRITE or not name.endswith("_")
    return Traffic(read if overwrites else read + written, written)


def _accumulates(op: Op, name: str) -> bool:
    return "add" in name or "reduce" in name or op.argument("accumulate") is True or op.argument("reduce") is not None


class _Operand(NamedTuple):
    """A tensor among the arguments, and the number of its value, or None if the graph does not say."""

    tensor: Tensor
    number: int | None


def _operands(op: Op) -> list[_Operand]:
    tensors = list(tensors_in([value for _, value in op.args]))
    numbers: Sequence[int | None] = op.reads
    if len(numbers) != len(tensors):  # symbolic numbers are among them
        numbers = (*numbers[:1], *(None,) * (len(tensors) - 1)) if numbers else (None,) * len(tensors)
    return list(map(_Operand, tensors, numbers))


def _distinct(operands: Iterable[_Operand], before: _Operand | None = None) -> Iterator[Tensor]:
    """The operands, each value once."""
    seen = {before.number} if before is not None else set()
    for tensor, number in operands:
        if number is None or number not in seen:
            yield tensor
        seen.add(number)


def _shape(tensor: Tensor, sizes: Sizes) -> tuple[int, ...]:
    return tuple([size if type(size) is int else sizes.size(size) for size in tensor.shape])


def _footprint(tensor: Tensor, sizes: Sizes) -> int:
    """Bytes of a tensor in memory: expanded sizes count once."""
    if tensor.strides is None or 0 not in tensor.strides:
        return bytes_of(tensor, sizes)
    pairs = zip(tensor.shape, tensor.strides, strict=True)
    laid = tuple([min(sizes.size(size), 1) if type(stride) is int and stride == 0 else size for size, stride in pairs])
    return bytes_of(Tensor(laid, tensor.dtype), sizes)


def _least(tensor: Tensor, sizes: Sizes) -> int:
    """Bytes of one element."""
    return bytes_of(Tensor((), tensor.dtype), sizes)


_HIGHER_ORDER = frozenset({"higher_order.flex_attention"})
"""Higher-order operators that run as one kernel; the functions they call work on single elements inside it."""

_ASK = frozenset(
    (
        *("_assert_tensor_metadata", "sym_size", "sym_stride", "sym_numel", "sym_storage_offset", "sym_is_contiguous"),
        *("_assert_scalar", "sym_constrain_range", "sym_constrain_range_for_size", "size", "stride", "is_contiguous", "dim"),
    )
)
"""Operators that use only shapes."""

_ONE = frozenset({"_local_scalar_dense", "item", "_assert_async", "is_nonzero"})
"""Operators that read one element."""

_SHAPES_IN_PLACE = frozenset(
    (
        *("t_", "transpose_", "squeeze_", "unsqueeze_", "detach_", "as_strided_", "swapaxes_", "swapdims_", "set_"),
        *("requires_grad_", "rename_"),
    )
)
"""Operators that make a tensor another view of its memory."""

_EMPTY = frozenset({"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted"})
"""Operators that write nothing into their results."""

_TEMPLATE = frozenset(
    (
        *("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "randint_like"),
        *("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided"),
    )
)
"""Operators that use only the shape and type of their first operand."""

_GATHER = frozenset(
    (
        *("embedding", "index_select", "index", "_unsafe_index", "gather", "take", "take_along_dim", "masked_select"),
        *("_unsafe_masked_index", "narrow_copy"),
    )
)
"""Operators that read as many elements of their first operand as they return."""

_BAGS = frozenset({"embedding_bag", "_embedding_bag", "_embedding_bag_forward_only"})
"""Operators that read one row of their first operand for each index."""

_OVERWRITE = frozenset(
    (
        *("copy_", "fill_", "zero_", "normal_", "uniform_", "random_", "bernoulli_", "exponential_", "cauchy_"),
        *("geometric_", "log_normal_"),
    )
)
"""Operators in place that do not read the memory that they write."""

_PLACES = {
    **dict.fromkeys(("index_copy_", "index_add_"), "source"),
    **dict.fromkeys(("scatter_", "scatter_add_", "scatter_reduce_"), "index"),
}
"""Operators that write to some places of their first operand, to the argument with as many elements."""

_SOME_PLACES = frozenset(
    ("index_put_", "_index_put_impl_", "_unsafe_index_put_", "index_fill_", "index_reduce_", "masked_scatter_", "put_")
)
"""Operators that write to some places, at most all, of their first operand."""
