"""Tensors that are more than memory with strides: sparse and nested ones, which lack a shape or strides of their own."""

from __future__ import annotations

from typing import Any

import torch

SPARSE = frozenset({torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc})
"""Layouts of tensors that do not store all their elements."""

_BY_ROWS = frozenset({torch.sparse_csr, torch.sparse_bsr})


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is memory with strides, each element of which is one number."""
    return tensor.layout is torch.strided and not tensor.is_nested and not tensor.is_quantized


def shape_of(tensor: torch.Tensor) -> tuple[int, ...]:
    """The sizes of a tensor; of a nested one, those of the padded tensor that would hold all its parts."""
    if not tensor.is_nested:
        return tuple(int(size) for size in tensor.shape)
    parts = _part_shapes(tensor)
    return (len(parts), *(max(sizes) for sizes in zip(*parts, strict=True)))


def stored_elements(tensor: torch.Tensor) -> int | None:
    """The number of elements that a sparse or nested tensor stores; None for a tensor that stores all of its shape."""
    if tensor.is_nested:
        return sum(torch.Size(part).numel() for part in _part_shapes(tensor))
    return int(values_of(tensor).numel()) if tensor.layout in SPARSE else None


def look_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """A key that tells tensors that are not plain apart, except by their contents."""
    sizes = tuple(_part_shapes(tensor)) if tensor.is_nested else shape_of(tensor)
    return (str(tensor.layout), sizes, stored_elements(tensor), tensor.dtype)


def stored_bytes(tensor: torch.Tensor) -> int:
    """Bytes of the elements that a tensor stores, and of the indices of these elements."""
    if tensor.is_nested:
        return (stored_elements(tensor) or 0) * tensor.element_size()
    return sum(part.numel() * part.element_size() for part in memory_of(tensor))


def memory_of(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The plain tensors that a tensor consists of: a sparse one has indices and values."""
    if tensor.layout not in SPARSE:
        return (tensor,)
    if tensor.is_sparse:
        return tensor._indices(), tensor._values()  # noqa: SLF001 - also of one that is not coalesced
    if tensor.layout in _BY_ROWS:
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    return tensor.ccol_indices(), tensor.row_indices(), tensor.values()


def values_of(tensor: torch.Tensor) -> torch.Tensor:
    """The elements that a sparse tensor stores."""
    return memory_of(tensor)[-1]


def _part_shapes(tensor: Any) -> list[tuple[int, ...]]:
    """The sizes of each part of a nested tensor."""
    if tensor.layout is torch.strided:
        return [tuple(sizes) for sizes in tensor._nested_tensor_size().tolist()]  # noqa: SLF001 - there is no public way
    # The size along which the parts of a jagged tensor differ is no number.
    lengths = tensor.lengths() if tensor.lengths() is not None else tensor.offsets().diff()
    ragged = tensor._ragged_idx  # noqa: SLF001 - as above
    return [
        tuple(length if at == ragged else int(size) for at, size in enumerate(tensor.shape))[1:] for length in lengths.tolist()
    ]
