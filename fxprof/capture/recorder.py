"""Recording of every operator that really runs in a rehearsal, with unknown values followed and large work replaced."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import torch
from torch._ops import HigherOrderOperator
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from fxprof import limits
from fxprof.capture.caught import can_fail, is_caught_here
from fxprof.capture.layouts import is_plain
from fxprof.capture.random_numbers import is_drawing
from fxprof.capture.results_read import taken
from fxprof.capture.unknown import Trial, follow, is_unknown, reads, tensors_in
from fxprof.capture.zero_weights import fresh_zeros
from fxprof.errors import CaptureError

WHOLE = "values of a tensor"
"""The word for a read of a tensor that becomes a list or an array."""

_LARGE = 1 << 15
"""The number of elements from which an operator on unknown values is not computed."""

_NO_DISPATCH = torch._C._disabled_torch_dispatch_impl  # noqa: SLF001 - of classes that leave operators to torch
_COUNTED_WHOLE = frozenset({"flex_attention", "flex_attention_backward"})
"""Higher-order operators that have a formula; of all others the recorder sees the operators inside."""


_CHECKS = frozenset({"aten::_linalg_check_errors", "aten::_assert_async", "aten::_functional_assert_async"})
"""Operators that only check values; for unknown values the outcome is unknown."""


_NO_MATRIX: type[Exception] = torch.linalg.LinAlgError  # type: ignore[attr-defined]  # it is documented there
_ERRORS: Mapping[str, type[Exception]] = {
    **dict.fromkeys(("aten::_linalg_check_errors", "aten::linalg_cholesky"), _NO_MATRIX),
    **dict.fromkeys(("aten::embedding", "aten::index", "aten::index_select"), IndexError),
}
"""The errors of operators that fail, other than `RuntimeError`."""


class Observer(Protocol):
    """Gets each operator that runs."""

    others: Trial | None
    """Values for Python to read instead of unknown ones; None for the present values."""

    def observe(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Take an operator that ran."""

    def read(self, how: str) -> None:
        """Take a read of an unknown value by Python."""


class Recorder(TorchDispatchMode):
    """Shows an observer every operator that really runs."""

    supports_higher_order_operators = True

    def __init__(self, observer: Observer, *, bounded: bool = False) -> None:
        """Take the observer, and whether to refuse tensors that are larger than any pipeline's."""
        super().__init__()
        self._observer, self._bounded = observer, bounded

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator):
            return self._higher_order(func, args, kwargs)
        if any(kind.__torch_dispatch__ is not _NO_DISPATCH for kind in types):
            return NotImplemented  # of a subclass that wraps others: its operators on those are seen
        if self._bounded:
            _check_size(func, args, kwargs)
        unknown = [tensor for tensor in tensors_in((*args, *kwargs.values())) if is_unknown(tensor)]
        taken(unknown)
        if unknown and can_fail(func._schema.name) and is_caught_here():  # noqa: SLF001 - there is no other way to ask
            self._fail(func)
        if not unknown:
            result = func(*args, **kwargs)
        elif func._schema.name in _CHECKS:  # noqa: SLF001 - there is no other way to ask
            result = None
        elif reads(func, args, kwargs):
            result = self._read(func, args, kwargs)
            follow(func, args, kwargs, result)
        else:
            spared = _result_by_shape(func, args, kwargs)
            result = func(*args, **kwargs) if spared is None else spared
            follow(func, args, kwargs, result)
        self._observer.observe(func, args, kwargs, result)
        return result

    def _seen(self, value: Any) -> Any:
        """A function that shows its operators to the recorder; any other value is returned itself."""
        if not callable(value) or isinstance(value, (torch.Tensor, type)):
            return value

        def seen(*args: Any, **kwargs: Any) -> Any:
            with self:
                return value(*args, **kwargs)

        return seen

    def whole(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor that Python reads when it asks for all values of a tensor."""
        if not is_unknown(tensor):
            return tensor
        taken((tensor,))
        self._observer.read(WHOLE)
        return self._observer.others.contents(tensor) if self._observer.others else tensor

    def _read(self, func: Any, args: Any, kwargs: Any) -> Any:
        self._observer.read(func._schema.name.removeprefix("aten::"))  # noqa: SLF001 - there is no other way to ask
        if not self._observer.others:
            return func(*args, **kwargs)
        if torch.Tag.dynamic_output_shape in func.tags or func._schema.name in _OTHER_SIZES:  # noqa: SLF001 - as above
            args, kwargs = pytree.tree_map_only(torch.Tensor, partial(_other_size, func), (args, kwargs))
            return func(*args, **kwargs)
        return self._observer.others.value(func(*args, **kwargs))

    def _fail(self, func: Any) -> None:
        """Record that an operator may fail in the user's own `try`; with other values it fails now and then."""
        self._observer.read(func._schema.name.removeprefix("aten::"))  # noqa: SLF001 - as above
        if self._observer.others and self._observer.others.value(False):
            raise _ERRORS.get(func._schema.name, RuntimeError)("other values were read")  # noqa: SLF001 - as above

    def _decided(self, condition: torch.Tensor) -> bool:
        """The branch that a `cond` takes by an unknown value."""
        self._observer.read("cond")
        truth = bool(torch.ops.aten.is_nonzero(condition))
        return bool(self._observer.others.value(truth)) if self._observer.others else truth

    def _higher_order(self, func: HigherOrderOperator, args: Any, kwargs: Any) -> Any:
        kernel: Callable[..., Any] | None = func.py_kernels.get(torch._C.DispatchKey.CompositeExplicitAutograd)  # noqa: SLF001
        if func.name() not in _COUNTED_WHOLE and kernel is not None:
            if func.name() == "cond" and isinstance(args[0], torch.Tensor) and is_unknown(args[0]):
                args = (self._decided(args[0]), *args[1:])
            # The kernel itself has to run without a mode, but the functions that it calls need one.
            given, named = pytree.tree_map(self._seen, (args, kwargs))
            return kernel(*given, **named)
        result = _shapes_of(func, args, kwargs)
        self._observer.observe(func, args, kwargs, result)
        return result


def _check_size(func: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
    """Refuse to make a tensor of a needlessly large size.

    Raises:
        CaptureError: the tensor is larger than any that a pipeline makes.
    """
    names = [item.name for item in func._schema.arguments[:2]]  # noqa: SLF001 - there is no other way to ask
    if "size" not in names or func._schema.name in _VIEWS:  # noqa: SLF001 - as above
        return
    position = names.index("size")
    size = args[position] if position < len(args) else kwargs.get("size", ())
    sizes = [item for item in size if isinstance(item, int)] if isinstance(size, (list, tuple)) else []
    if math.prod(sizes) > limits.REHEARSED_ELEMENTS:
        shape = "x".join(map(str, sizes))
        raise CaptureError(f"it makes a tensor of {shape}, which is larger than any that a pipeline makes", _SMALLER)


_VIEWS = frozenset(f"aten::{name}" for name in ("view", "expand", "as_strided", "reshape", "_unsafe_view", "broadcast_to"))
_SMALLER = "give it a smaller size, as with --height and --width"


def _other_size(func: Any, tensor: torch.Tensor) -> torch.Tensor:
    """Other contents for an unknown tensor, with which an operator returns a result of another size."""
    if not is_unknown(tensor):
        return tensor
    if tensor.dtype is torch.bool:
        return ~tensor
    name = func._schema.name  # noqa: SLF001 - as above
    return _OTHER_SIZES[name](tensor) if name in _OTHER_SIZES else tensor


def _zeros_exchanged(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor == 0).to(tensor.dtype)


def _all_different(tensor: torch.Tensor) -> torch.Tensor:
    numbers = torch.arange(tensor.numel(), dtype=tensor.dtype).reshape(tensor.shape)
    return torch.zeros_like(tensor) if len(set(tensor.flatten().tolist())) == tensor.numel() else numbers


def _mirrored(tensor: torch.Tensor) -> torch.Tensor:
    """Other indices within the same bounds; if all are equal, the next index."""
    low, high = (tensor.min(), tensor.max()) if tensor.numel() else (tensor, tensor)
    return low + high - tensor if not torch.equal(low, high) else tensor + 1


_OTHER_SIZES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "aten::nonzero": _zeros_exchanged,
    "aten::bincount": _mirrored,
    "aten::repeat_interleave": lambda repeats: repeats + 1,
    **dict.fromkeys((f"aten::_to_sparse{layout}" for layout in ("", "_csr", "_csc", "_bsr", "_bsc")), _zeros_exchanged),
    **dict.fromkeys(("aten::_unique2", "aten::_unique", "aten::unique_dim", "aten::unique_consecutive"), _all_different),
}
"""Changes of an operator's input that change the size of its result, for operators whose values decide that size."""


def _shapes_of(func: HigherOrderOperator, args: Any, kwargs: Any) -> Any:
    """Zeros in the shapes of a higher-order operator's results."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        given, named = pytree.tree_map_only(torch.Tensor, mode.from_tensor, (args, kwargs))
        result = func(*given, **named)
    return pytree.tree_map_only(torch.Tensor, lambda fake: fresh_zeros(tuple(fake.shape), fake.dtype), result)


def _result_by_shape(func: Any, args: Any, kwargs: Any) -> Any:
    """Zeros in the shapes of an operator's results; None where running the operator is as good.

    That is the case for an operator that is small, works in place or on a part of its input, or returns indices that other
    operators then use.
    """
    schema = func._schema  # noqa: SLF001 - as above
    # After an operator that draws, the next user of the generator gets other numbers.
    if is_drawing(func) or schema.is_mutable or any(item.alias_info is not None for item in schema.returns):
        return None
    tensors = list(tensors_in((*args, *kwargs.values())))
    if not all(is_plain(tensor) and tensor.device.type == "cpu" for tensor in tensors):
        return None
    if max(tensor.numel() for tensor in tensors) < _LARGE:
        return None
    try:
        given, named = pytree.tree_map_only(torch.Tensor, _on_meta, (args, {**kwargs, **_device_of(kwargs)}))
        result = func(*given, **named)
    except (RuntimeError, NotImplementedError, TypeError, ValueError):  # no shapes without values: then it runs
        return None
    results = list(tensors_in((result,)))
    if not results or not all(tensor.is_floating_point() or tensor.is_complex() for tensor in results):
        return None
    return pytree.tree_map_only(torch.Tensor, _zeros_like, result)


def _device_of(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {"device": torch.device("meta")} if kwargs.get("device") is not None else {}


def _on_meta(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _zeros_like(shape: torch.Tensor) -> torch.Tensor:
    if shape.is_contiguous():
        return fresh_zeros(tuple(shape.shape), shape.dtype)
    length = shape.untyped_storage().nbytes() // shape.dtype.itemsize
    return fresh_zeros((length,), shape.dtype).as_strided(shape.shape, shape.stride(), shape.storage_offset())
