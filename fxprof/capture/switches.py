"""Switches to set before the call: `pipe.vae.enable_tiling()` is `vae.tiling`, `pipe.enable_freeu()` is `freeu`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from torch import nn

from fxprof.errors import UsageError

_METHOD = "enable_"
_ELSEWHERE = (
    *("offload", "layerwise_casting", "xformers", "flash_attention", "lora", "adapters", "hotswap"),
    *("gradient_checkpointing", "require_grads"),
)
"""Words in switches that move weights, need another package or other weights, or are for training."""


def switch_on(pipeline: Any, names: tuple[str, ...]) -> None:
    """Call `enable_...` of a pipeline or of its components.

    Args:
        pipeline: a pipeline.
        names: `COMPONENT.NAME`, or `NAME` for the pipeline's own.

    Raises:
        UsageError: there is no switch of such a name that needs no arguments.
    """
    if not names:
        return
    methods = dict(_methods(pipeline))
    for name in names:
        if name not in methods:
            what = f"{type(pipeline).__name__} has no switch {name} that could be enabled"
            raise UsageError(what, f"it has {', '.join(methods)}" if methods else "it has no switches")
        methods[name]()


def _methods(pipeline: Any) -> Iterator[tuple[str, Any]]:
    """The switches that need no arguments, by name, those of the components first."""
    parts = {name: part for name, part in vars(pipeline).items() if isinstance(part, nn.Module)}
    for prefix, owner in [*((f"{name}.", part) for name, part in parts.items()), ("", pipeline)]:
        for attribute in sorted(set(dir(type(owner)))):
            method = getattr(type(owner), attribute, None) if attribute.startswith(_METHOD) else None
            if inspect.isfunction(method) and _needs_nothing(method) and not any(word in attribute for word in _ELSEWHERE):
                yield prefix + attribute.removeprefix(_METHOD), getattr(owner, attribute)


def _needs_nothing(method: Any) -> bool:
    _, *parameters = inspect.signature(method).parameters.values()
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return all(item.default is not item.empty or item.kind in variadic for item in parameters)
