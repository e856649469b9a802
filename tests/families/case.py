"""One tiny pipeline and how it is called, in and out of guidance, at two sizes."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch
from PIL import Image


@dataclass(frozen=True)
class Case:
    """How to make a pipeline and what to call it with beside prompt and steps."""

    make: Callable[[], Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    prompt: bool = True
    steps: int = 3
    guided: Mapping[str, Any] | None = None
    """Arguments that put it in guidance; by the names of what the class takes when None."""
    unguided: Mapping[str, Any] | None = None
    """Arguments that put it out of guidance; as above."""
    guidance_costs: bool = True
    """Whether there is more to compute in guidance: not where the model is told a scale and computes the same."""
    make_unguided: Callable[[], Any] | None = None
    """The same pipeline out of guidance, where a component of it decides."""
    make_wide: Callable[[], Any] | None = None
    """The same pipeline at another size, where its configuration decides."""
    wide: Mapping[str, Any] | None = None
    """Arguments for another size; twice the width of everything when None."""
    routed: str = ""
    """A pattern of modules among which values choose, so that only their sum can be known without weights."""
    uncounted: frozenset[str] = frozenset()
    """Operators without a formula that the pipeline runs, which no counter counts."""


@dataclass(frozen=True)
class Point:
    """One way to call the pipeline of a case."""

    make: Callable[[], Any]
    arguments: Mapping[str, Any]


def picture(size: int = 64) -> Any:
    return Image.new("RGB", (size, size), "red")


def mask(size: int = 64) -> Any:
    return Image.new("L", (size, size), 255)


def film(frames: int, size: int) -> list[Any]:
    return [picture(size) for _ in range(frames)]


def pipeline_class(name: str) -> Any:
    """A pipeline class, also one that diffusers hides for want of a package that only its real tokenizer needs."""
    found = getattr(diffusers, name)
    if "_backends" in vars(found):
        home = name.removesuffix("Pipeline").removesuffix("Img2Img").removesuffix("PAG").lower()
        found = getattr(importlib.import_module(f"diffusers.pipelines.{home}"), name)
    return found


def points(name: str, case: Case) -> dict[str, Point]:
    """The ways to call it, by name; those out of guidance only where the class can be in guidance."""
    guided, unguided = _guidance(name, case)
    ways = {"": (case.make, {**case.arguments, **guided})}
    if guided or case.make_unguided:
        ways["unguided"] = (case.make_unguided or case.make, {**case.arguments, **unguided})
    wide = {
        f"{way} wide".strip(): Point(case.make_wide or make, widened(arguments, case.wide))
        for way, (make, arguments) in ways.items()
    }
    return {way: Point(*point) for way, point in ways.items()} | wide


def _guidance(name: str, case: Case) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    accepted = inspect.signature(pipeline_class(name.split(maxsplit=1)[0]).__call__).parameters
    scales = [key for key in accepted if key.endswith("guidance_scale") or key == "true_cfg_scale"]
    negative = {"negative_prompt": "dog"} if "true_cfg_scale" in scales else {}
    guided, unguided = {**dict.fromkeys(scales, 3.0), **negative}, dict.fromkeys(scales, 1.0)
    return guided if case.guided is None else case.guided, unguided if case.unguided is None else case.unguided


def widened(arguments: Mapping[str, Any], wide: Mapping[str, Any] | None) -> dict[str, Any]:
    """Arguments for twice the width, or with the given changes."""
    if wide is not None:
        return {**arguments, **wide}
    return {name: 2 * value if name == "width" else _wide(value) for name, value in arguments.items()}


def _wide(value: Any) -> Any:
    if isinstance(value, Image.Image):
        return value.resize((2 * value.width, value.height))
    if isinstance(value, list):
        return [_wide(item) for item in value]
    return value


def silent(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(0)
    return pipeline
