"""Tensors that an operator makes for itself: means and scales of norms, copies before a product.

An operator that torch composes of others runs here on meta tensors, which hold no data, and a dispatch mode follows the memory
of every tensor that it makes.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Node
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class LiveBytes(TorchDispatchMode):
    """Follows the bytes of all tensors that operators make while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.most = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_memory(leaf) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        if func is torch.ops.aten.lift_fresh.default:  # it is given the tensor that `torch.tensor` has just made, unseen
            given = set()
        result = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and _memory(leaf) not in given:
                self._born(leaf)
        return result

    def _born(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = _memory(tensor)
        if key not in self._known:
            self._known[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._died, key).atexit = False

    def _died(self, key: int) -> None:
        self.now -= self._known.pop(key)


def _memory(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - meta tensors have no other address


class Insides:
    """The bytes that operators take for themselves; equal calls run once."""

    def __init__(self) -> None:
        self._known: dict[Any, int] = {}
        self._autocast: tuple[Any, ...] | None = None
        """The device, type and switch of the `torch.autocast` around the operators."""

    @contextmanager
    def within(self, node: Node) -> Iterator[None]:
        """Measure the operators of a body of this node until the end of the block."""
        before = self._autocast
        if node.target is torch.ops.higher_order.wrap_with_autocast:
            self._autocast = tuple(node.args[:3])
        try:
            yield
        finally:
            self._autocast = before

    def of(self, node: Node) -> int:
        """Bytes beyond the results of a node, at the same time at most; 0 where sizes are symbols."""
        target = node.target
        if not isinstance(target, OpOverload) or not (_is_composed(target) or self._converts(target)):
            return 0
        leaves, spec = pytree.tree_flatten((node.args, node.kwargs))
        leaves = [leaf.meta.get("val") if isinstance(leaf, Node) else leaf for leaf in leaves]
        if any(isinstance(leaf, torch.Tensor) and not _has_numbers(leaf) for leaf in leaves):
            return 0
        key = (target, spec, self._autocast, *map(_look, leaves))
        if key not in self._known:
            self._known[key] = self._measured(target, leaves, spec)
        return self._known[key]

    def _measured(self, target: OpOverload, leaves: list[Any], spec: pytree.TreeSpec) -> int:
        if self._autocast is None or not self._autocast[2]:
            return _measured(target, nullcontext(), *pytree.tree_unflatten(list(map(_without_data, leaves)), spec))
        device, dtype, enabled = self._autocast  # it converts tensors on its own device alone, so these are fake ones
        mode = FakeTensorMode()
        args, kwargs = pytree.tree_unflatten([_fake(leaf, mode) for leaf in leaves], spec)
        with torch.autocast(device, dtype, enabled, cache_enabled=False):
            return _measured(target, mode, args, kwargs)

    def _converts(self, target: OpOverload) -> bool:
        """Whether torch may convert the operands first, which shows in no graph."""
        return self._autocast is not None and bool(self._autocast[2]) and not _is_left_out(target)


def _has_numbers(tensor: torch.Tensor) -> bool:
    """Whether all sizes of a dense tensor are numbers, so that it can be made again."""
    return tensor.layout is torch.strided and all(type(size) is int for size in (*tensor.shape, *tensor.stride()))


def _look(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return (tuple(leaf.shape), leaf.stride(), leaf.dtype)
    return (type(leaf), repr(leaf))


def _without_data(leaf: Any) -> Any:
    """An argument on the meta device.

    Channels that come last are a layout that kernels of a CPU prefer, and torch copies it for a norm on every other device:
    such a tensor becomes a usual one.
    """
    if not isinstance(leaf, torch.Tensor):
        return torch.device("meta") if isinstance(leaf, torch.device) else leaf
    layout = _CHANNELS_LAST.get(leaf.dim())
    if layout is not None and leaf.is_contiguous(memory_format=layout):
        return torch.empty(leaf.shape, dtype=leaf.dtype, device="meta")
    return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device="meta")


_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def _fake(leaf: Any, mode: FakeTensorMode) -> Any:
    if not isinstance(leaf, torch.Tensor):
        return leaf
    with mode:
        return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device=leaf.device)


def _measured(target: OpOverload, mode: AbstractContextManager[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    try:
        with torch.no_grad(), mode, LiveBytes() as live:
            result = target(*args, **kwargs)
    except (RuntimeError, NotImplementedError, TypeError):
        return 0  # it reads values, as no operator does whose work a graph shows
    kept = live.now
    del result
    return int(live.most - kept)


_COMPOSED: dict[OpOverload, bool] = {}
_LEFT_OUT = frozenset({"aten::scaled_dot_product_attention"})
"""Operators whose own tensors depend on the device; `fxprof.cost.attention_memory` has rules for them."""


def _is_composed(target: OpOverload) -> bool:
    if target not in _COMPOSED:
        has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key  # noqa: SLF001 - there is no other way to ask
        composed = has_kernel(target.name(), "CompositeImplicitAutograd")
        _COMPOSED[target] = composed and not _is_left_out(target)
    return _COMPOSED[target]


def _is_left_out(target: OpOverload) -> bool:
    return target.is_view or target._schema.name in _LEFT_OUT  # noqa: SLF001 - as above
