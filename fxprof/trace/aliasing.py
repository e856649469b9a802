"""Results of operators that share memory with another value: by operator, and by strides where it copies only if it must.

Torch marks in an operator's schema the arguments that its results are views of (`Tensor(a)`). A file holds no schemas, so this
file has tables instead. A test compares the tables with torch's schemas, and the answers with torch's own storages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from fxprof.trace.higher_order import ENTERED, PREFIX
from fxprof.trace.records import Op, Subgraph, Tensor
from fxprof.trace.symbols import Sizes, UnboundSymbolError


class Alias(NamedTuple):
    """Whether a result shares memory with another value."""

    of: int | None = None
    """The number of that value; None for a result with memory of its own."""
    doubt: str = ""
    """The reason why the alias is unknown; then the result may share memory with `of`, or if that is None with any argument."""


NEW = Alias()
"""A result with memory of its own."""


def aliases(ops: Sequence[Op], sizes: Sizes) -> dict[int, Alias]:
    """The alias of each result of one graph's operators, by the result's number.

    Args:
        ops: the operators in order, such as `Trace.ops`, or those of a block or a body.
        sizes: of the symbols.
    """
    known: dict[int, Alias] = {}
    for op in ops:
        for number, alias in zip(op.makes, results_of(op, sizes), strict=True):
            # The owner of the memory, and not the view before: chains of views have any length. In a file that contradicts
            # itself a value can be its own view.
            owner = None if alias.of is None else memory_of(alias.of, known)
            known[number] = alias._replace(of=owner) if owner != number else NEW
    return known


def writes(op: Op) -> tuple[int, ...]:
    """The values that an operator writes to, by their numbers."""
    namespace, name, overload = _parts(op.target)
    if namespace not in _TORCHS_OWN or not op.reads:
        return ()
    if is_given_results(overload):
        return op.reads[-len(op.makes) :] if op.makes else ()
    return op.reads[:1] if _is_in_place(name) else ()


def memory_of(number: int, known: Mapping[int, Alias]) -> int:
    """The value that surely owns a value's memory: itself, or the one at the end of its chain of views."""
    while number in known and known[number].of is not None and not known[number].doubt:
        number = known[number].of  # type: ignore[assignment]  # the loop has just checked it
    return number


def results_of(op: Op, sizes: Sizes) -> tuple[Alias, ...]:
    """The alias of each result of an operator, in order."""
    namespace, name, overload = _parts(op.target)
    if op.target.startswith(PREFIX):
        return _of_bodies(op, sizes)
    if namespace not in _TORCHS_OWN:
        return _each(op, _elsewhere(op, namespace))
    if not op.reads:
        return _each(op, NEW)
    if name in _LISTS and len(op.reads) == len(op.makes):
        return tuple(map(Alias, op.reads))
    if is_given_results(overload) and 0 < len(op.makes) <= len(op.reads):
        return tuple(map(Alias, op.reads[-len(op.makes) :]))
    return _each(op, _by_name(op, name, sizes))


def _elsewhere(op: Op, namespace: str) -> Alias:
    """The alias of the results of another library's operator, or of a Python function."""
    if op.target in _BATCHED and op.reads:
        return Alias(op.reads[0])
    return NEW if namespace in _ALLOCATING else Alias(None, f"{op.target} is not known")


def _by_name(op: Op, name: str, sizes: Sizes) -> Alias:
    if name in _VIEWS or _is_in_place(name):
        return Alias(op.reads[0])
    rule = _IF_IT_CAN.get(name)
    return _by_rule(op, rule, sizes) if rule else NEW


def _is_in_place(name: str) -> bool:
    return name in _IN_PLACE or (name.endswith("_") and not name.endswith("__"))


def _each(op: Op, alias: Alias) -> tuple[Alias, ...]:
    return (alias,) * len(op.makes)


@lru_cache(maxsize=1024)
def _parts(target: str) -> tuple[str, str, str]:
    """Namespace, name and overload of an operator."""
    namespace, _, rest = target.partition(".")
    name, _, overload = rest.partition(".")
    return namespace, name, overload


def name_of(target: str) -> str:
    """The name of an operator, without its namespace and overload; of a Python function without a namespace, the function."""
    return _parts(target)[1] or target


_TORCHS_OWN = frozenset({"aten", "prims"})
_ALLOCATING = frozenset({"quantized_decomposed", "torchvision", "torchao", "operator", "math", "torch", "builtins"})
"""Libraries whose operators never return a view, and modules with functions of numbers."""


@lru_cache(maxsize=1024)
def is_known_library(target: str) -> bool:
    """Whether this file knows the aliases of an operator's library."""
    namespace = _parts(target)[0]
    return namespace in _TORCHS_OWN or namespace in _ALLOCATING


_BATCHED = frozenset({"torch._add_batch_dim", "torch._remove_batch_dim"})
"""Functions by which `torch.vmap` reorders the sizes of a tensor."""

_VIEWS = frozenset(
    (
        *("_autocast_to_full_precision", "_conj", "_fw_primal", "_indices", "_make_dual", "_neg_view", "_nested_get_values"),
        *("_nested_view_from_buffer", "_nested_view_from_jagged", "_reshape_alias", "_sparse_broadcast_to", "_unpack_dual"),
        *("_unsafe_view", "_values", "adjoint", "alias", "as_strided", "atleast_1d", "atleast_2d", "atleast_3d"),
        *("broadcast_to", "broadcast_in_dim", "ccol_indices", "chunk", "col_indices", "collapse_view", "conj", "crow_indices"),
        *("detach", "diagonal", "dsplit", "expand", "expand_as", "hsplit", "imag", "indices", "lift_fresh", "linalg_diagonal"),
        *("mH", "mT", "matrix_H", "moveaxis", "movedim", "narrow", "numpy_T", "permute", "positive", "real", "row_indices"),
        *("select", "slice", "slice_in_dim", "slice_inverse", "split", "split_dim", "split_with_sizes", "squeeze", "swapaxes"),
        *("swapdims", "t", "tensor_split", "transpose", "unbind", "unflatten", "unfold", "unsafe_chunk", "unsafe_split"),
        *("unsafe_split_with_sizes", "unsqueeze", "values", "view", "view_as", "view_as_complex", "view_as_real", "view_of"),
        "vsplit",
    )
)
"""Operators whose results always share the memory of their first argument."""

_LISTS = frozenset({"broadcast_tensors", "meshgrid"})
"""Operators that take a list of tensors and return a view of each."""

_IN_PLACE = frozenset(f"__i{name}__" for name in ("and", "or", "xor", "lshift", "rshift"))
"""Operators that write to their first argument and return it, although their name does not end in a single `_`."""

_RESULTS = frozenset(
    (
        *("a", "dim_max", "dim_min", "dim_values", "eigenvalues", "eigvals", "grad_input", "inverse", "L", "output", "Q"),
        *("result", "sign", "U", "values", "values_stable", "X"),
    )
)


@lru_cache(maxsize=1024)
def is_given_results(overload: str) -> bool:
    """Whether the operator writes to its last arguments and returns them: `out`, `dim_max`, `grad_input`."""
    return overload == "out" or overload.startswith(("out_", "Out")) or overload.endswith("_out") or overload in _RESULTS


class _Unknown(Exception):  # noqa: N818 - becomes the doubt of an answer
    """Nobody can tell whether an operator copies; the text says why."""


_Rule = Callable[[Op, Tensor, Tensor, Sizes], bool]
"""Whether a result (the second tensor) shares the memory of the first argument."""


def _by_rule(op: Op, rule: _Rule, sizes: Sizes) -> Alias:
    operand, result = _first_tensor(op), next(iter(op.outputs), None)
    if operand is None or not isinstance(result, Tensor):
        return NEW
    try:
        return Alias(op.reads[0]) if rule(op, operand, result, sizes) else NEW
    except _Unknown as unknown:
        return Alias(op.reads[0], str(unknown))
    except UnboundSymbolError as error:
        return Alias(op.reads[0], f"it depends on {error.args[0]}, which has no value")
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return Alias(op.reads[0], f"the operands of {op.target} contradict it")


def _first_tensor(op: Op) -> Tensor | None:
    values = (item for _, value in op.args for item in (value if isinstance(value, tuple) else (value,)))
    return next((value for value in values if isinstance(value, Tensor)), None)


def _shape(tensor: Tensor, sizes: Sizes) -> tuple[int, ...]:
    return tuple([size if type(size) is int else sizes.size(size) for size in tensor.shape])


def _strides(tensor: Tensor, sizes: Sizes) -> tuple[int, ...]:
    if tensor.strides is None:
        raise _Unknown("the graph does not give the tensor's strides")
    return tuple([stride if type(stride) is int else sizes.value(stride) for stride in tensor.strides])


def _can_be_viewed(_op: Op, operand: Tensor, result: Tensor, sizes: Sizes) -> bool:
    """Whether torch can give a tensor another shape without a copy."""
    old, new = _shape(operand, sizes), _shape(result, sizes)
    return old == new or is_viewable(old, _strides(operand, sizes), new)


def is_viewable(shape: Sequence[int], strides: Sequence[int], other: Sequence[int]) -> bool:
    """Whether a tensor of `shape` with these strides can be viewed as the shape `other`, which has as many elements."""
    if 0 in shape or not shape:
        return True
    # From the last size on: neighbouring sizes without a gap in memory form one run, which the other shape may cut anywhere.
    left, view, run, step = len(other) - 1, 1, 1, strides[-1]
    for place in range(len(shape) - 1, -1, -1):
        run *= shape[place]
        outer = place - 1
        if outer < 0 or (shape[outer] != 1 and strides[outer] != run * step):
            while left >= 0 and (view < run or other[left] == 1):
                view *= other[left]
                left -= 1
            if view != run:
                return False
            if outer >= 0:
                step, view, run = strides[outer], 1, 1
    return left == -1


def _is_laid_out(op: Op, operand: Tensor, _result: Tensor, sizes: Sizes) -> bool:
    """Whether a tensor already has the memory layout that the operator asks for."""
    return _lies(operand, str(op.argument("memory_format") or "contiguous_format"), sizes)


def _lies(tensor: Tensor, layout: str, sizes: Sizes) -> bool:
    shape, strides = _shape(tensor, sizes), _strides(tensor, sizes)
    if 0 in shape:
        return True
    last = {"channels_last": 4, "channels_last_3d": 5}.get(layout)
    if last is not None and len(shape) != last:
        return False
    order = range(len(shape)) if last is None else (0, *range(2, len(shape)), 1)
    step = 1
    for axis in reversed(order):
        if shape[axis] != 1 and strides[axis] != step:
            return False
        step *= shape[axis]
    return True


def _is_converted_already(op: Op, operand: Tensor, result: Tensor, sizes: Sizes) -> bool:
    """Whether the operand already has the type, device and layout that `to` asks for."""
    if operand.dtype != result.dtype or operand.device != result.device or op.argument("copy") is True:
        return False
    if op.argument("layout") not in (None, "strided") or operand.nnz is not None:
        raise _Unknown("the layout may differ")
    layout = op.argument("memory_format")
    return layout in (None, "preserve_format") or _lies(operand, str(layout), sizes)


def _drops_nothing(op: Op, operand: Tensor, _result: Tensor, sizes: Sizes) -> bool:
    """Whether a dropout drops nothing: in evaluation, or with a probability of zero."""
    return op.argument("train") is not True or op.argument("p") in (0, 0.0) or 0 in _shape(operand, sizes)


def _is_real(op: Op, operand: Tensor, _result: Tensor, _sizes: Sizes) -> bool:
    if operand.dtype.startswith("complex"):
        raise _Unknown(f"the graph does not say whether the operand of {op.target} is a lazily conjugated or negated view")
    return True


def _reorders_one(op: Op, _operand: Tensor, _result: Tensor, _sizes: Sizes) -> bool:
    """Whether an einsum only permutes its single operand or takes its diagonal."""
    tensors, equation = op.argument("tensors"), str(op.argument("equation")).replace(" ", "")
    if not isinstance(tensors, tuple) or len(tensors) != 1:
        return False
    labels, arrow, wanted = equation.partition("->")
    return set(labels) == set(wanted) if arrow else len(set(labels)) == len(labels)


def _cannot_tell(op: Op, _operand: Tensor, _result: Tensor, _sizes: Sizes) -> bool:
    raise _Unknown(f"{op.target} returns its operand if it has nothing to do")


_IF_IT_CAN: Mapping[str, _Rule] = {
    **dict.fromkeys(("reshape", "reshape_as", "flatten", "ravel"), _can_be_viewed),
    "contiguous": _is_laid_out,
    **dict.fromkeys(("to", "type_as", "_autocast_to_reduced_precision"), _is_converted_already),
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"), _drops_nothing),
    **dict.fromkeys(("resolve_conj", "resolve_neg"), _is_real),
    "einsum": _reorders_one,
    **dict.fromkeys(("coalesce", "pin_memory", "sum_to_size", "cartesian_prod", "device_put"), _cannot_tell),
}
"""Operators that return their first argument, or a view of it, if they need not copy."""


_STACKING = frozenset({"map", "map_impl", "flex_attention"})
"""Higher-order operators whose results are always new."""


def _of_bodies(op: Op, sizes: Sizes) -> tuple[Alias, ...]:
    name = op.target.removeprefix(PREFIX)
    if name in _STACKING:
        return _each(op, NEW)
    if name in ENTERED and len(op.subgraphs) == 1:
        return _returned(op, op.subgraphs[0], sizes)
    if name == "cond" and len(op.subgraphs) == 2:  # noqa: PLR2004 - one for each answer
        branches = [_returned(op, body, sizes) for body in op.subgraphs]
        return tuple(one if one == other else _either(one, other) for one, other in zip(*branches, strict=True))
    return _each(op, Alias(None, f"{op.target} may return its operands"))


def _either(one: Alias, other: Alias) -> Alias:
    return Alias(one.of if one.of is not None else other.of, "it depends on the branch that is taken")


def _returned(op: Op, body: Subgraph, sizes: Sizes) -> tuple[Alias, ...]:
    """The aliases of a body's results, as results of its operator."""
    if len(body.gives) != len(op.makes):
        return _each(op, Alias(None, f"the body of {op.target} returns another number of values"))
    known, outer = aliases(body.ops, sizes), dict(body.takes)
    made = {number for inner in body.ops for number in inner.makes}

    def found(number: int) -> Alias:
        memory = memory_of(number, known)
        doubt = known.get(memory, NEW)
        if doubt.doubt:
            return Alias(outer.get(doubt.of) if doubt.of is not None else None, doubt.doubt)
        if memory in made:
            return NEW
        return Alias(outer[memory]) if memory in outer else Alias(None, "the value that the body returns is unknown")

    return tuple(map(found, body.gives))
