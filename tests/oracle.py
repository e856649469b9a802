"""Independent counts: what `FlopCounterMode` sees when a module really runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

Shapes = tuple[tuple[int, ...], ...]


def macs_of(function: Callable[[], Any]) -> int:
    """Half of the FLOPs that `FlopCounterMode` counts; attention in its mathematical form, as it does not see the others."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    flops = int(counter.get_total_flops())
    assert flops % 2 == 0
    return flops // 2


@dataclass
class Observed:
    """Calls of the modules at some entries of a pipeline that really ran."""

    calls: dict[tuple[str, str, Shapes], list[int]] = field(default_factory=dict)
    """(component, entry, shapes of the tensors among the arguments) to the MACs of each call."""
    total: int = 0


def run(pipeline: Any, entries: set[tuple[str, str]], **arguments: Any) -> Observed:
    """Run a pipeline with its weights, counting the calls at `entries` and everything together."""
    observed = Observed()
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten._euclidean_dist: _distances})
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        with _watching(pipeline, entries, counter, observed):
            pipeline(**arguments)
        observed.total = counter.get_total_flops() // 2
    return observed


def _distances(left: torch.Size, right: torch.Size, **_: Any) -> int:
    """FLOPs of distances between many points, into which `FlopCounterMode` does not look: those of what torch makes of them."""
    decomposed = torch._decomp.decomposition_table[torch.ops.aten._euclidean_dist.default]
    with FlopCounterMode(display=False) as counter:
        decomposed(torch.empty(left), torch.empty(right))
    return int(counter.get_total_flops())


@contextmanager
def _watching(pipeline: Any, entries: set[tuple[str, str]], counter: FlopCounterMode, observed: Observed) -> Iterator[None]:
    handles = []
    for component, entry in entries:
        module: nn.Module = getattr(pipeline, component).get_submodule(entry)
        started: list[tuple[int, Shapes]] = []

        def before(_: nn.Module, args: Any, kwargs: Any, started: list[tuple[int, Shapes]] = started) -> None:
            started.append((counter.get_total_flops(), shapes((args, kwargs))))  # a call may change its arguments

        def after(
            _: nn.Module,
            __: Any,
            ___: Any,
            place: tuple[str, str] = (component, entry),
            started: list[tuple[int, Shapes]] = started,
        ) -> None:
            flops, given = started.pop()
            macs = (counter.get_total_flops() - flops) // 2
            observed.calls.setdefault((*place, given), []).append(macs)

        handles += [module.register_forward_pre_hook(before, with_kwargs=True), module.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def shapes(value: Any) -> Shapes:
    return tuple(sorted(tuple(leaf.shape) for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)))
