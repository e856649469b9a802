"""The weights of a component: its parameters and buffers, those that are alike as one record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

PARAMETER = "parameter"
BUFFER = "buffer"
KINDS = (PARAMETER, BUFFER)

BITSANDBYTES = "bitsandbytes"
TORCHAO = "torchao"
QUANTISERS = (BITSANDBYTES, TORCHAO)
"""Packages whose choice of layers differs."""


class WeightGroup(NamedTuple):
    """Weights of one component that are alike, each as it is loaded."""

    kind: str
    """`parameter` or `buffer`."""
    class_name: str
    """Class of the module that holds each of them."""
    name: str
    """Name of each in its module: `weight`, `bias`, `pos_embed`."""
    shape: tuple[int, ...]
    """Sizes, unpacked."""
    parts: tuple[tuple[str, int], ...]
    """(element type, bytes) of what one of them is stored in. A quantised weight has several parts, its values first; one whose
    memory another weight has already is stored in none."""
    count: int = 1  # type: ignore[assignment]  # replaces a method of tuples that nobody needs here
    linear: bool = False
    """Whether each is the matrix of a linear layer: only these are quantised."""
    skipped_by: tuple[str, ...] = ()
    """Those of `QUANTISERS` that leave the layers as they are, by the rules of diffusers and transformers."""

    @property
    def dtype(self) -> str:
        """Element type of the values; "" if another weight has them."""
        return self.parts[0][0] if self.parts else ""

    @property
    def bytes_each(self) -> int:
        """Bytes that one of them takes."""
        return sum(size for _, size in self.parts)

    @property
    def bytes(self) -> int:
        """Bytes that all of them take."""
        return self.bytes_each * self.count


def bytes_by_type(groups: Iterable[WeightGroup], kind: str | None = None) -> Mapping[str, int]:
    """Element type to the bytes of all weights, or of those of one kind; the largest first."""
    found: dict[str, int] = {}
    for group in groups:
        if kind in {None, group.kind}:
            for dtype, size in group.parts:
                found[dtype] = found.get(dtype, 0) + size * group.count
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def gather(held: Iterable[Iterable[WeightGroup]]) -> tuple[tuple[WeightGroup, ...], list[tuple[int, ...]]]:
    """Make groups of the weights of all modules.

    Args:
        held: for each module, its weights one by one.

    Returns:
        The groups with their counts, and for each module the positions of its weights among them.
    """
    places: dict[WeightGroup, int] = {}
    counts: list[int] = []
    modules = []
    for weights in held:
        numbers = []
        for weight in weights:
            place = places.setdefault(weight, len(places))
            if place == len(counts):
                counts.append(0)
            counts[place] += 1
            numbers.append(place)
        modules.append(tuple(numbers))
    return tuple(group._replace(count=count) for group, count in zip(places, counts, strict=True)), modules
