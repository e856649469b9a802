"""The modules of a component as it was built, called or not, with the weights that each of them holds."""

from __future__ import annotations

from torch import nn

from fxprof.capture.quantised import weights_of
from fxprof.trace.captured import CapturedModule
from fxprof.trace.modules import made_by_torch


def modules_of(component: nn.Module) -> tuple[CapturedModule, ...]:
    """The modules of a component with the parameters that each holds, shared ones at their first holder."""
    seen: set[int] = set()
    modules = []
    made = made_by_torch([path for path, _ in component.named_modules()])
    for path, part in component.named_modules():
        if path in made and next(weights_of(part), None) is None:
            continue
        own = [weight for weight in weights_of(part) if weight.identity not in seen]
        seen.update(weight.identity for weight in own)
        elements, stored = sum(weight.elements for weight in own), sum(weight.stored_bytes for weight in own)
        modules.append(CapturedModule(path, type(part).__name__, elements, stored))
    return tuple(modules)


def modules_since(before: tuple[CapturedModule, ...], component: nn.Module) -> tuple[CapturedModule, ...]:
    """The modules of a component after a rehearsal: as before it, except those that got their parameters during it.

    Packages unpack weights at their first use; the size before that is the size of a module.
    """
    known = {module.path: module for module in before}
    now = modules_of(component)
    return tuple(known[item.path] if item.path in known and known[item.path].params == item.params else item for item in now)
