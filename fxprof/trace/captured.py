"""The result of capturing a pipeline: traces, the count of each call, and the modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fxprof.trace.records import Trace
from fxprof.trace.weights import WeightGroup

NOT_CAPTURED = "fxprof.not_captured"
"""The operator that represents the whole work of a failed call; its argument `reason` says why. It has no formula."""


@dataclass(frozen=True, slots=True)
class CapturedModule:
    """A module as it was built, called or not."""

    path: str
    """Dotted below the component; "" is the component itself."""
    class_name: str
    params: int
    """Elements of its own parameters, unpacked; a shared parameter belongs to the first module that holds it."""
    stored_bytes: int = 0
    """Bytes that these parameters take in storage, with the scales and tables of quantised ones; 0 if unknown."""
    weights: tuple[int, ...] = ()
    """Positions, in the component's `weights`, of the parameters and buffers that it holds itself, with repeats."""


@dataclass(frozen=True, slots=True)
class CapturedCall:
    """One distinct way that a component was called."""

    entry: str
    """Path of the module that was called, below the component."""
    count: int
    trace: Trace
    note: str = ""
    """The way it was captured, unless simply by exporting the entry."""
    program: object = field(default=None, compare=False, repr=False)
    """The live program behind the trace, if there is one; only capture looks into it."""
    read: tuple[int, ...] | None = None
    """Positions in `trace.gives` of the results that are read later; None if all of them may be."""
    returns_objects: bool = False
    """Whether it also returns objects, such as a key-value cache, with tensors that the graph does not list as results."""
    more_weight_bytes: int = 0
    """Bytes that the component's weights take more during the call than as loaded: the pipeline may have converted them."""
    held: int = 0
    """The most bytes of tensors that Python held outside of the call when it was made, with the call's inputs; 0 if unknown."""
    is_whole: bool = True
    """Whether the trace is a whole graph; false for operators that were seen one by one, and for a call that failed."""


@dataclass(frozen=True, slots=True)
class CapturedRun:
    """The inner calls that one call of a component from outside consists of, if its parts were captured one by one."""

    count: int
    """Number of calls from outside that consist of exactly these."""
    calls: tuple[tuple[int, int], ...]
    """(position among the component's calls, executions in one call from outside)"""


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
    """Number of its calls from outside, which `calls` do not show if its children were captured instead; 0 if unknown."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other paths of shared modules, to the one path that collects their calls."""
    runs: tuple[CapturedRun, ...] = ()
    """The inner calls of its calls from outside; empty if unknown."""
    weights: tuple[WeightGroup, ...] | None = None
    """Its parameters and buffers as loaded; None if unknown."""
    held: int = 0
    """The most bytes of tensors that Python held while the component's own Python ran operators outside of these calls."""
    offload_blocks: tuple[str, ...] = ()
    """The paths of parts that diffusers' offloading in groups treats like components themselves."""
    offload_turn: int | None = None
    """Its turn among the components that take each other's place on the device (`model_cpu_offload_seq`); None for one that has
    no turn, and stays there after its first call."""
    offload_never: bool = False
    """Whether the pipeline excludes it from offloading."""


@dataclass(frozen=True, slots=True)
class Capture:
    """One run of a pipeline, captured."""

    class_name: str
    """The pipeline's class."""
    components: tuple[CapturedComponent, ...]
    """The components in the order of their first calls; those that were never called come last."""
    workload: Mapping[str, int | float | str | bool | None]
    """The effective arguments, including the pipeline's defaults."""
    image_size: tuple[int, int] | None = None
    """Height and width of the images that the pipeline returned."""
    guided: bool | None = None
    """Whether the pipeline reports classifier-free guidance; None if it does not report it."""
    approximations: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Stage to seconds, for benchmarks; never part of a profile."""
    target: str = ""
    """The captured target, as the user named it."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package to version, for the packages that took part in the capture."""
    held: Mapping[str, int] = field(default_factory=dict)
    """Component to the most bytes of tensors that Python held while the pipeline's own Python ran operators after its call, up
    to the next one; "" before all calls."""
    order: tuple[str, ...] = ()
    """The components in the order of their calls, each once in a row; of calls that alternate the first few. Empty: unknown."""
