"""The places of the modules of a pipeline's components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class Place:
    """The component of a module and its path there."""

    component: str
    path: str


def find_modules(components: Mapping[str, nn.Module]) -> tuple[dict[int, Place], dict[str, dict[str, str]]]:
    """Each module's place, by identity; and by component, the other paths of modules that have several."""
    places: dict[int, Place] = {}
    aliases: dict[str, dict[str, str]] = {}
    for name, component in components.items():
        aliases[name] = {}
        for path, part in component.named_modules(remove_duplicate=False):
            place = places.setdefault(id(part), Place(name, path))
            if place.component == name and place.path != path:
                aliases[name][path] = place.path
    return places, aliases
