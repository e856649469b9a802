"""Exports of calls, one for each distinct call: taken from an identical module or from an earlier run, or made now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from fxprof.capture.call_cache import CachedCalls
from fxprof.capture.calls import Key, key_of
from fxprof.capture.export import ExportedCall, NotExportableError, export_call
from fxprof.capture.layouts import is_plain
from fxprof.capture.places import Place
from fxprof.capture.random_numbers import Generators
from fxprof.capture.sharing import fingerprint
from fxprof.trace import Block, Frame, Occurrence, Trace


class KnownCalls:
    """The exports of one rehearsal.

    Args:
        aliases: by component, other paths of shared modules, each with the one path at which their calls add up.
        generators: the generators from which modules can draw random numbers.
        whole: export every module, also identical ones, so that programs are complete.
        cached: cached calls of earlier runs.
    """

    def __init__(
        self, aliases: Mapping[str, Mapping[str, str]], generators: Generators, *, whole: bool, cached: CachedCalls | None
    ) -> None:
        self._aliases, self._generators = aliases, generators
        self._whole = whole
        self._cached = cached
        self._alike: dict[Key, tuple[ExportedCall | NotExportableError, Place]] = {}

    def export(
        self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any], *, alone: bool
    ) -> ExportedCall:
        """Export a call, or repeat the export of an identical module that was called the same way.

        Args:
            module: the module that is called.
            place: its component and path.
            args: positional arguments.
            kwargs: keyword arguments.
            alone: whether the module can see more than a fingerprint covers, so that no other export applies to it.

        Raises:
            NotExportableError: as `export_call`.
        """
        if alone or not self._can_be_alike(place):
            return self._new(module, place, args, kwargs, whole=self._whole or alone)
        key = self.work_of(module, args, kwargs)
        if key not in self._alike:
            try:
                call = self._cached_or_exported(module, place, args, kwargs)
            except NotExportableError as error:
                self._alike[key] = NotExportableError(*error.args), place  # without the frames, which hold tensors
                raise
            self._alike[key] = call, place
        known, first = self._alike[key]
        if isinstance(known, NotExportableError):
            raise NotExportableError(*known.args)
        if first == place:
            return known
        name = type(module).__name__
        trace = known.trace
        block = Block((Frame(first.path, name),), trace.parts)
        takes, gives = ([(number, number) for number in numbers] for numbers in (dict(trace.origins), set(trace.gives)))
        occurrence = Occurrence(block, (Frame(place.path, name),), (), tuple(takes), tuple(gives))
        origins = tuple((number, origin.elsewhere(first.path, place.path)) for number, origin in trace.origins)
        again = Trace((occurrence,), origins=origins, gives=trace.gives, has_frees=trace.has_frees)
        return replace(known, trace=again)

    def again(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedCall | None:
        """The export of a call with the same work, made at any place; None when there is none."""
        known = self._alike.get(self.work_of(module, args, kwargs)) if self._can_be_alike(place) else None
        return known[0] if known is not None and isinstance(known[0], ExportedCall) else None

    def work_of(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key:
        """A key that is equal for calls that compute the same, whichever module makes them."""
        traits = fingerprint(module)
        strides = tuple(
            leaf.stride() for leaf in pytree.tree_leaves((args, kwargs)) if type(leaf) is torch.Tensor and is_plain(leaf)
        )
        return (traits.structure, traits.plain, strides, *key_of(args, kwargs))

    def _can_be_alike(self, place: Place) -> bool:
        inside = f"{place.path}." if place.path else ""
        aliases = self._aliases[place.component]
        return not self._whole and not any(path.startswith(inside) for pair in aliases.items() for path in pair)

    def _cached_or_exported(
        self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> ExportedCall:
        if self._cached is None:
            return self._new(module, place, args, kwargs)
        key = self._cached.key(place, module, args, kwargs)
        known = self._cached.find(key)
        if known is not None:
            return known
        try:
            call = self._new(module, place, args, kwargs)
        except NotExportableError as error:
            self._cached.keep_refusal(key, place, module, error)
            raise
        self._cached.keep(key, place, module, call)
        return call

    def _new(
        self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any], *, whole: bool = False
    ) -> ExportedCall:
        aliases, generators = self._aliases[place.component], self._generators
        return export_call(module, args, kwargs, prefix=place.path, aliases=aliases, generators=generators, whole=whole)
