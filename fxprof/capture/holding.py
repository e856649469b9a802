"""The tensors that a pipeline's own Python holds while it calls its components, such as latents and embeddings.

Every tensor that an operator makes outside of the exported calls, and every answer to such a call, is followed until its memory
is dropped. Weights do not count.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils import _pytree as pytree


class Holding:
    """The bytes of all tensors that are held at this time."""

    def __init__(self) -> None:
        self.now = 0
        self.most: dict[str, int] = {}
        """For each component, the most bytes that were held while its own Python ran an operator outside of exported calls."""
        self.between: dict[str, int] = {}
        """For each component, the most bytes that were held while the pipeline's own Python ran an operator after its call."""
        self._known: dict[int, int] = {}
        self._run = 0

    def begin(self, values: Any) -> None:
        """Begin a run that is given these values."""
        self._run += 1
        self.now, self._known = 0, {}
        self.add(values)

    def add(self, values: Any) -> None:
        """Follow the tensors among values."""
        for tensor in _tensors(values):
            storage = _storage(tensor)
            if storage is not None:
                self._follow(storage)

    def note(self, component: str, given: Any, result: Any) -> None:
        """Follow the results of an operator that a component's own Python ran; views of what it was given are no new memory."""
        results = [storage for storage in map(_storage, _tensors(result)) if storage is not None]
        if results:
            before = {_key(storage) for storage in map(_storage, _tensors(given)) if storage is not None}
            for storage in results:
                if _key(storage) not in before:
                    self._follow(storage)
        self.most[component] = max(self.most.get(component, 0), self.now)

    def note_between(self, last: str) -> None:
        """Note what is held while the pipeline's own Python runs, after a call of the component `last`."""
        self.between[last] = max(self.between.get(last, 0), self.now)

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key = _key(storage)
        if key not in self._known:
            self._known[key] = storage.nbytes()
            self.now += storage.nbytes()
            weakref.finalize(storage, self._dropped, key, self._run).atexit = False

    def _dropped(self, key: int, run: int) -> None:
        if run == self._run:
            self.now -= self._known.pop(key, 0)


def _tensors(values: Any) -> Iterable[torch.Tensor]:
    # Not `isinstance`: the stand-in for an object that is not cached allows no question for its class.
    return (leaf for leaf in pytree.tree_leaves(values) if issubclass(type(leaf), torch.Tensor))


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage | None:
    """A tensor's memory; None for one without, such as a sparse one."""
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


def _key(storage: torch.UntypedStorage) -> int:
    return int(storage._cdata)  # noqa: SLF001 - an address is 0 for all without data
