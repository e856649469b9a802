"""One tiny pipeline and how it is called, in and out of guidance, at two sizes."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import diffusers
from PIL import Image

_HIDDEN = {
    "KolorsPipeline": "diffusers.pipelines.kolors",
    "KolorsImg2ImgPipeline": "diffusers.pipelines.kolors",
    "KolorsPAGPipeline": "diffusers.pipelines.pag.pipeline_pag_kolors",
}
"""Class that diffusers hides for want of a package that only its real tokenizer needs, to the module that has it."""


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
    always_guided: bool = False
    """Whether the class itself fails out of guidance."""
    make_unguided: Callable[[], Any] | None = None
    """The same pipeline out of guidance, where a component of it decides."""
    make_wide: Callable[[], Any] | None = None
    """The same pipeline at another size, where its configuration decides."""
    wide: Mapping[str, Any] | None = None
    """Arguments for another size; twice the width of everything when None."""
    routed: str = ""
    """A pattern of modules among which values choose, so that only their sum can be known without weights."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """Arguments without which the class itself fails, and which change nothing of what is computed."""
    needs: str = ""
    """A package without which the pipeline does not run."""

    uncounted: frozenset[str] = frozenset()
    """Operators without a formula that the pipeline runs, which no counter counts."""

    @property
    def runs(self) -> bool:
        """Whether what it needs is installed."""
        return not self.needs or importlib.util.find_spec(self.needs) is not None


@dataclass(frozen=True)
class Point:
    """One way to call the pipeline of a case."""

    make: Callable[[], Any]
    arguments: Mapping[str, Any]


def picture(size: int = 32) -> Any:
    return Image.new("RGB", (size, size), "red")


def mask(size: int = 32) -> Any:
    return Image.new("L", (size, size), 255)


def film(frames: int, size: int) -> list[Any]:
    return [picture(size) for _ in range(frames)]


def pipeline_class(name: str) -> Any:
    """A pipeline class, also one that diffusers hides for want of a package that only its real tokenizer needs."""
    found = getattr(diffusers, name)
    if "_backends" in vars(found):
        home = importlib.import_module(_HIDDEN[name])
        found = getattr(home, name)
    return found


def points(name: str, case: Case) -> dict[str, Point]:
    """The ways to call it, by name; those out of guidance only where the class can be in guidance."""
    guided, unguided = _guidance(name, case)
    ways = {"": Point(case.make, {**case.arguments, **guided})}
    if (guided or case.make_unguided) and not case.always_guided:
        ways["unguided"] = Point(case.make_unguided or case.make, {**case.arguments, **unguided})
    return ways | {f"{way} wide".strip(): _widened(case, point) for way, point in ways.items()}


def _guidance(name: str, case: Case) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    accepted = inspect.signature(pipeline_class(name.split(maxsplit=1)[0]).__call__).parameters
    scales = [key for key in accepted if key.endswith("guidance_scale") or key == "true_cfg_scale"]
    negative = {"negative_prompt": "dog"} if "true_cfg_scale" in scales else {}
    guided, unguided = {**dict.fromkeys(scales, 3.0), **negative}, dict.fromkeys(scales, 1.0)
    return guided if case.guided is None else case.guided, unguided if case.unguided is None else case.unguided


def _widened(case: Case, point: Point) -> Point:
    """The same at another size."""
    doubled = {name: 2 * value if name == "width" else _wide(value) for name, value in point.arguments.items()}
    return Point(case.make_wide or point.make, doubled if case.wide is None else {**point.arguments, **case.wide})


def _wide(value: Any) -> Any:
    if isinstance(value, Image.Image):
        return value.resize((2 * value.width, value.height))
    if isinstance(value, list):
        return [_wide(item) for item in value]
    return value
