"""What capturing a pipeline yields: traces, how often each was called, and what the modules are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fxprof.trace.records import Trace

NOT_CAPTURED = "fxprof.not_captured"
"""The operator that stands for all that a failed call computes; its argument `reason` says why. It has no formula."""


@dataclass(frozen=True, slots=True)
class CapturedModule:
    """A module as it was built, called or not."""

    path: str
    """Dotted below the component; "" is the component itself."""
    class_name: str
    params: int
    """Elements of the parameters that it holds itself, unpacked; a shared one belongs to the first module that holds it."""
    stored_bytes: int = 0
    """Bytes that they take as they are stored, with the scales and tables of quantised ones; 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class CapturedCall:
    """One distinct way that a component was called."""

    entry: str
    """Path of the module that was called, below the component."""
    count: int
    trace: Trace
    note: str = ""
    """How it was captured, when not simply by exporting the entry."""
    program: object = field(default=None, compare=False, repr=False)
    """The live program that the trace was made of, where there is one; only capture looks into it."""
    read: tuple[int, ...] | None = None
    """The places in `trace.gives` of the results that somebody reads; None where all may be."""
    returns_objects: bool = False
    """Whether it also returns objects, such as a key-value cache, whose tensors the graph does not name as results."""


@dataclass(frozen=True, slots=True)
class CapturedRun:
    """What a call of a component from outside was made of, where its parts were captured one by one."""

    count: int
    """How often it was made of just this."""
    calls: tuple[tuple[int, int], ...]
    """(place among the component's calls, how often in one such call)"""


@dataclass(frozen=True, slots=True)
class CapturedComponent:
    """A component with its modules and calls."""

    name: str
    class_name: str
    modules: tuple[CapturedModule, ...]
    calls: tuple[CapturedCall, ...]
    tiling: bool = False
    """An autoencoder that works tile by tile."""
    slicing: bool = False
    """An autoencoder that works image by image."""
    entered: int = 0
    """How often it was called from outside of it, which `calls` do not say where its children were captured; 0 if not known."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other paths of modules that are shared, to the one path that their calls add up at."""
    runs: tuple[CapturedRun, ...] = ()
    """What its calls from outside were made of; empty where that is not known."""


@dataclass(frozen=True, slots=True)
class Capture:
    """One run of a pipeline, captured."""

    class_name: str
    """The pipeline's class."""
    components: tuple[CapturedComponent, ...]
    """In the order of their first calls; never called ones last."""
    workload: Mapping[str, int | float | str | bool | None]
    """Arguments as they were in force, the pipeline's defaults included."""
    image_size: tuple[int, int] | None = None
    """Height and width of what the pipeline returned."""
    guided: bool | None = None
    """Whether the pipeline says that it applied classifier-free guidance; None when it does not say."""
    approximations: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Stage to seconds, for benchmarks; never part of a profile."""
    target: str = ""
    """What was captured, as the user knows it."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """The packages that captured it, to their versions."""
