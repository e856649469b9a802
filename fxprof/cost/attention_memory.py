"""Bytes that scaled dot-product attention takes for itself, beyond its result.

Fused, a kernel keeps one number for each query: the logarithm of its sum of exponentials. Computed as products, as by torch's
mathematical back end, it holds the scores twice (before and after the softmax) and scaled operands; 16-bit operands become
float32 first, and operands whose heads and examples are not neighbours in memory are copied for the products. In either way, a
mask of truths becomes one of numbers. A test compares both rules with operators that run.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from fxprof.trace import Op, Sizes, Tensor
from fxprof.trace.aliasing import is_viewable
from fxprof.trace.element_types import BYTES, bytes_of
from fxprof.trace.records import contiguous

_ATTENTION = "aten.scaled_dot_product_attention.default"
_WIDE = 4
"""Bytes of an element of float32, in which sums of 16-bit elements are computed."""


def attention_bytes(op: Op, sizes: Sizes, attention: str) -> int:
    """Bytes beyond the result at the same time at most; 0 for every other operator.

    Args:
        op: an operator.
        sizes: of the symbols.
        attention: `fused` or `math`.
    """
    if op.target != _ATTENTION:
        return 0
    query, key, value = (op.argument(name) for name in ("query", "key", "value"))
    if not (isinstance(query, Tensor) and isinstance(key, Tensor) and isinstance(value, Tensor)):
        return 0
    result = next(iter(op.outputs), None)
    dtype, converted = query.dtype, 0
    if isinstance(result, Tensor) and result.dtype != dtype:  # in `torch.autocast`
        dtype = result.dtype
        converted = sum(prod(map(sizes.size, tensor.shape)) for tensor in (query, key, value)) * BYTES[dtype]
    own = BYTES[dtype]
    if attention == "fused":
        return converted + prod(map(sizes.size, query.shape[:-1])) * max(own, _WIDE) + _mask_bytes(op, sizes, own)
    return converted + _as_products(op, sizes, (query, key, value), own)


def _as_products(op: Op, sizes: Sizes, operands: tuple[Tensor, Tensor, Tensor], own: int) -> int:
    q, k, v = (_Laid.like(tensor, sizes) for tensor in operands)
    wide = max(own, _WIDE)
    heads = q.shape[:-2]
    scores = prod(heads) * q.shape[-2] * k.shape[-2]
    repeated = 0
    if op.argument("enable_gqa") and len(heads) > 1 and k.shape[-3] != heads[-1]:
        k, v = (_Laid.contiguous((*heads, *one.shape[-2:])) for one in (k, v))
        repeated = (k.elements + v.elements) * own
    causal = q.shape[-2] * k.shape[-2] * wide if op.argument("is_causal") is True else 0
    base = repeated + _mask_bytes(op, sizes, own) + causal
    if own < wide:
        base += (q.elements + k.elements + v.elements) * wide
        v = v.computed()
    scaled_q, scaled_k = q.computed(), k.computed()
    result = prod(heads) * q.shape[-2] * v.shape[-1]
    narrowed = (result + scores) * own if own < wide else 0
    most = max(
        (scaled_k.elements + scaled_q.copied(heads) + scaled_k.copied(heads) + scores) * wide,
        2 * scores * wide,
        (scores + v.copied(heads) + result) * wide,
        (scores + result) * wide + narrowed,
    )
    return base + scaled_q.elements * wide + most - result * own


class _Laid(NamedTuple):
    """A shape as it lies in memory."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def like(cls, tensor: Tensor, sizes: Sizes) -> _Laid:
        shape = tuple(map(sizes.size, tensor.shape))
        if tensor.strides is None:
            return cls.contiguous(shape)
        return cls(shape, tuple(stride if type(stride) is int else int(sizes.value(stride)) for stride in tensor.strides))

    @classmethod
    def contiguous(cls, shape: tuple[int, ...]) -> _Laid:
        return cls(shape, contiguous(shape))

    @property
    def elements(self) -> int:
        return prod(self.shape)

    def computed(self) -> _Laid:
        """The result of elementwise work on it: without gaps, its sizes in the same order in memory."""
        if any(stride == 0 and size > 1 for size, stride in zip(self.shape, self.strides, strict=True)):
            return _Laid.contiguous(self.shape)
        order = sorted(range(len(self.shape)), key=lambda axis: -self.strides[axis])
        strides, step = [0] * len(self.shape), 1
        for axis in reversed(order):
            strides[axis] = step
            step *= self.shape[axis]
        return _Laid(self.shape, tuple(strides))

    def copied(self, heads: tuple[int, ...]) -> int:
        """Elements that a product copies, because it takes one batch: all heads of all examples as one size."""
        shape, strides = self.shape, self.strides
        if shape[:-2] != heads:
            spread = tuple(
                stride if size == wanted else 0 for size, stride, wanted in zip(shape[:-2], strides[:-2], heads, strict=True)
            )
            shape, strides = (*heads, *shape[-2:]), (*spread, *strides[-2:])
        one = (prod(heads), *shape[-2:])
        return 0 if len(shape) <= _PRODUCT or is_viewable(shape, strides, one) else prod(shape)


_PRODUCT = 3
"""Sizes of the operands of a product of many matrices."""


def _mask_bytes(op: Op, sizes: Sizes, own: int) -> int:
    """Bytes of the mask of numbers that is made of a mask of truths."""
    mask = op.argument("attn_mask")
    return bytes_of(mask, sizes) * own if isinstance(mask, Tensor) and mask.dtype == "bool" else 0
