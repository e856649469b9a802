"""The modules of a component as it was built, called or not, with the weights that each of them holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import nn

from fxprof.capture.loaded_types import skipping
from fxprof.capture.quantised import Storages, Weight, buffers_of, weights_of
from fxprof.trace.captured import CapturedModule
from fxprof.trace.modules import made_by_torch
from fxprof.trace.weights import PARAMETER, WeightGroup, gather


class HeldModule(NamedTuple):
    """A module with the weights that it holds itself; a shared weight belongs to the first module that holds it."""

    path: str
    class_name: str
    params: int
    """Elements of its parameters, unpacked."""
    stored_bytes: int
    """Bytes of its parameters."""
    weights: tuple[WeightGroup, ...]
    """Its parameters and buffers, one by one."""


class Built(NamedTuple):
    """The modules of a component, and its weights in groups."""

    modules: tuple[CapturedModule, ...]
    weights: tuple[WeightGroup, ...]


def modules_of(component: nn.Module) -> tuple[HeldModule, ...]:
    """The modules of a component with the parameters and buffers that each holds."""
    seen: set[int] = set()
    modules = []
    made = made_by_torch([path for path, _ in component.named_modules()])
    storages, skipped_by = Storages(), skipping(component)

    def unseen(weights: Iterator[Weight]) -> list[Weight]:
        own = [weight for weight in weights if weight.identity not in seen]
        seen.update(weight.identity for weight in own)
        return own

    for path, part in component.named_modules():
        if path in made and next(weights_of(part), None) is None:
            continue
        own, buffers = unseen(weights_of(part)), unseen(buffers_of(part))
        elements, stored = sum(weight.elements for weight in own), sum(weight.stored_bytes for weight in own)
        groups = tuple(_alone(weight, path, part, storages, skipped_by) for weight in (*own, *buffers))
        modules.append(HeldModule(path, type(part).__name__, elements, stored, groups))
    return tuple(modules)


def _alone(
    weight: Weight, path: str, part: nn.Module, storages: Storages, skipped_by: Callable[[str], tuple[str, ...]]
) -> WeightGroup:
    """A weight as a group of its own."""
    linear = isinstance(part, nn.Linear) and weight.kind == PARAMETER and weight.name == "weight"
    skipped = skipped_by(path) if linear else ()
    return WeightGroup(weight.kind, type(part).__name__, weight.name, weight.shape, storages.parts(weight), 1, linear, skipped)


def modules_since(before: tuple[HeldModule, ...], component: nn.Module) -> tuple[HeldModule, ...]:
    """The modules of a component after a rehearsal: as before it, except those that got their parameters during it.

    Packages unpack weights at their first use, and pipelines convert them; the size before that is the size of a module.
    """
    known = {module.path: module for module in before}
    now = modules_of(component)
    return tuple(known[item.path] if item.path in known and known[item.path].params == item.params else item for item in now)


def grouped(held: tuple[HeldModule, ...]) -> Built:
    """The modules with their weights in groups of those that are alike."""
    groups, places = gather(item.weights for item in held)
    pairs = zip(held, places, strict=True)
    return Built(
        tuple(CapturedModule(item.path, item.class_name, item.params, item.stored_bytes, own) for item, own in pairs), groups
    )


class ResidentWeights:
    """The bytes that the weights of components take while a pipeline runs, which may convert them.

    Args:
        components: modules by component name, at the beginning.
    """

    def __init__(self, components: Mapping[str, nn.Module]) -> None:
        self._modules = {
            name: [part for part in component.modules() if not isinstance(part, torch.jit.ScriptModule) and not _is_lazy(part)]
            for name, component in components.items()
        }
        self._loaded = {name: self._bytes(name) for name in components}

    def more(self, component: str) -> int:
        """Bytes that the weights of a component take now more than at the beginning."""
        return self._bytes(component) - self._loaded[component] if component in self._modules else 0

    def _bytes(self, component: str) -> int:
        tables = ((part._parameters, part._buffers) for part in self._modules[component])  # noqa: SLF001 - each module's own
        held = {id(item): item for pair in tables for table in pair for item in table.values() if item is not None}
        return sum(item.numel() * item.element_size() for item in held.values() if not item.is_nested)


def _is_lazy(part: nn.Module) -> bool:
    """Whether a module gets its weights at its first call."""
    tensors = (*part._parameters.values(), *part._buffers.values())  # noqa: SLF001 - as above
    return any(isinstance(item, (nn.UninitializedParameter, nn.UninitializedBuffer)) for item in tensors)
