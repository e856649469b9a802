"""Code around a module's `forward`: hooks, replaced forwards, and state that the module's Python sees elsewhere.

Hooks that only move weights are taken out for a rehearsal, which has no weights to move. Hooks that compute run for real,
around the module's own `forward`, which is captured as usual.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn

from fxprof.capture.identity import reason_of_identity
from fxprof.capture.outer_state import outside_state, own_functions

_MOVE_WEIGHTS = frozenset(
    {"GroupOffloadingHook", "LazyPrefetchGroupOffloadingHook", "LayerExecutionTrackerHook"}  # of diffusers
    | {"AlignDevicesHook", "CpuOffload", "LayerwiseDeviceHook"}  # of accelerate
)
"""Classes of hooks that only change where weights are."""

_TABLES = ("_forward_hooks", "_forward_pre_hooks")


def stand_aside(module: nn.Module) -> None:
    """Take out hooks that move weights and torch.compile's replacement of a module's call; the caller puts all back."""
    for part in module.modules():
        attributes = vars(part)
        if attributes.get("_compiled_call_impl") is not None:
            attributes["_compiled_call_impl"] = None
        if _moves_weights(attributes.get("_hf_hook")):
            _take_out_of_accelerate(part)
        registry = attributes.get("_diffusers_hook")
        for name in [name for name, hook in getattr(registry, "hooks", {}).items() if _moves_weights(hook)]:
            _take_out_of_registry(part, registry, name)


def _moves_weights(hook: Any) -> bool:
    if hook is None:
        return False
    parts = getattr(hook, "hooks", None)  # of a SequentialHook
    if isinstance(parts, (list, tuple)):
        return all(map(_moves_weights, parts))
    return any(class_.__name__ in _MOVE_WEIGHTS for class_ in type(hook).__mro__)


def _take_out_of_accelerate(part: nn.Module) -> None:
    attributes = vars(part)
    before = attributes.pop("_old_forward", None)
    attributes.pop("_hf_hook")
    attributes.pop("forward", None)
    if before is not None and not _is_its_own(part, before):
        attributes["forward"] = before


def _is_its_own(part: nn.Module, forward: Any) -> bool:
    """Whether a forward is the one of the module's class."""
    return isinstance(forward, MethodType) and forward.__func__ is type(part).forward


def _take_out_of_registry(part: nn.Module, registry: Any, name: str) -> None:
    """Do the work of the registry's own `remove_hook`, except the hook's last action, which would move weights."""
    position = registry._hook_order.index(name)  # noqa: SLF001 - there is no public way
    references = registry._fn_refs  # noqa: SLF001
    before = references[position].original_forward or references[position].forward
    if position + 1 < len(references):
        following = references[position + 1]
        setattr(following, "original_forward" if following.original_forward is not None else "forward", before)
    elif _is_its_own(part, before):
        vars(part).pop("forward", None)
    else:
        vars(part)["forward"] = before
    del registry.hooks[name]
    registry._hook_order.pop(position)  # noqa: SLF001
    references.pop(position)


class Surroundings:
    """Code and state around the modules of a rehearsal that an export would miss.

    Args:
        own_code: whether modules may be the user's own, whose Python may see state elsewhere.
    """

    def __init__(self, *, own_code: bool) -> None:
        self._own_code = own_code
        self._seeing: dict[int, list[nn.Module]] = {}
        self._identity: dict[int, str] = {}

    def reason_to_run(self, module: nn.Module) -> str:
        """The reason for which a module's Python has to run for real; or ""."""
        return next((reason for part in module.modules() if (reason := _hooked(part))), "") or self._reason_outside(module)

    def reason_inside(self, module: nn.Module) -> str:
        """The same reason, without the hooks around the module itself."""
        parts = (part for part in module.modules() if part is not module)
        return next((reason for part in parts if (reason := _hooked(part))), "") or self._reason_outside(module)

    def outside(self, module: nn.Module) -> tuple[Hashable, ...]:
        """The present plain state that a module and its parts see elsewhere."""
        return tuple(outside_state(part) for part in self._see_outside(module))

    def functions(self, module: nn.Module) -> list[FunctionType]:
        """The user's functions through which a module sees such state."""
        return [function for part in self._see_outside(module) for function in own_functions(part)]

    def _reason_outside(self, module: nn.Module) -> str:
        reason = self._reason_of_identity(module)
        if reason:
            return reason
        objects = any(outside_state(part) is None for part in self._see_outside(module))
        return "its Python sees objects that are not in a module" if objects else ""

    def _reason_of_identity(self, module: nn.Module) -> str:
        if not self._own_code:
            return ""
        if id(module) not in self._identity:
            self._identity[id(module)] = next(filter(None, map(reason_of_identity, module.modules())), "")
        return self._identity[id(module)]

    def _see_outside(self, module: nn.Module) -> list[nn.Module]:
        if not self._own_code:
            return []
        if id(module) not in self._seeing:
            self._seeing[id(module)] = [part for part in module.modules() if outside_state(part) != ()]
        return self._seeing[id(module)]


def _hooked(part: nn.Module) -> str:
    """The reason that the hooks or the forward of one module give; or ""."""
    attributes = vars(part)
    if any(not _is_plain_work(hook) for table in _TABLES for hook in attributes[table].values()):
        return "a hook runs with it"
    registry = attributes.get("_diffusers_hook")
    if registry is not None and getattr(registry, "hooks", None):
        return f"{', '.join(sorted({type(hook).__name__ for hook in registry.hooks.values()}))} of diffusers runs with it"
    if isinstance(part, torch.jit.ScriptModule):
        return "it is a TorchScript module, which torch.export does not look into"
    return "a forward of its own runs in the place of its class's" if "forward" in attributes else ""


def _is_plain_work(hook: Any) -> bool:
    """Whether a hook belongs to how a library's module works, so that an export traces it like the module's own Python."""
    return makes_attribute(hook) is not None or str(getattr(hook, "__module__", "")).startswith("transformers.")


def makes_attribute(hook: Any) -> str | None:
    """The attribute that a hook of `torch.nn.utils` computes anew before each call: weight and spectral norm, pruning."""
    home = str(getattr(type(hook), "__module__", ""))
    name = getattr(hook, "name", None) or getattr(hook, "_tensor_name", None)
    return name if home.startswith("torch.nn.utils") and isinstance(name, str) else None


def made_attributes(part: nn.Module) -> frozenset[str]:
    """The attributes of a module that torch's own hooks compute anew before each call."""
    names = map(makes_attribute, vars(part).get("_forward_pre_hooks", {}).values())
    return frozenset(name for name in names if name is not None)


def has_own_hooks(module: nn.Module) -> bool:
    """Whether a hook that is no part of a module's work runs before or after its `forward`."""
    return any(makes_attribute(hook) is None for table in _TABLES for hook in vars(module)[table].values())


@contextmanager
def bare(module: nn.Module) -> Iterator[None]:
    """Leave out the hooks around a module until the end of the block, so that its class alone decides about a call."""
    attributes = vars(module)
    before = {name: attributes[name] for name in (*_TABLES, "forward", "_diffusers_hook") if name in attributes}
    try:
        for name in before:
            if name in _TABLES:
                attributes[name] = OrderedDict()
            else:
                del attributes[name]
        yield
    finally:
        attributes.update(before)


@contextmanager
def intercepted(module: nn.Module, inner: Callable[..., Any]) -> Iterator[bool]:
    """Call `inner` in the place of the module's own `forward`, with all hooks around it, until the end of the block.

    Yields:
        Whether that is done; a forward that was replaced by hand looks like its class's.
    """
    registry = vars(module).get("_diffusers_hook")
    references = getattr(registry, "_fn_refs", None)
    if references:
        first = references[0]
        name = "original_forward" if first.original_forward is not None else "forward"
        before = getattr(first, name)
        if not _is_its_own(module, before):
            yield False
            return
        setattr(first, name, inner)
        try:
            yield True
        finally:
            setattr(first, name, before)
    elif has_own_hooks(module) and "forward" not in vars(module):
        vars(module)["forward"] = inner
        try:
            yield True
        finally:
            del vars(module)["forward"]
    else:
        yield False
