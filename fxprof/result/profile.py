"""The result: frozen, integers only, without torch. Imports the standard library only.

A profile says what each component of a pipeline computes for one run of the pipeline: every distinct call of it, how
often, and the operators of that call by module. Numbers are multiply-accumulates (MACs), unscaled integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from fxprof import limits

if TYPE_CHECKING:
    from pathlib import Path

    import networkx as nx


LARGEST: int = 10**limits.TOTAL_DIGITS
"""Numbers beyond this are damage: a year of all the world's computers stays below it."""


@dataclass(frozen=True, slots=True)
class Total:
    """A sum of MACs that remembers what it could not count. Add totals with `+` or `Total.sum`, scale with `*`."""

    macs: int = 0
    """MACs that were counted."""
    uncounted: int = 0
    """Executions of operators without a formula in the sum; when not zero, the sum is a lower bound."""
    bounded: int = 0
    """Executions that were counted as an upper bound, such as the dearer branch of a `cond`."""

    def __add__(self, other: Total) -> Total:
        """The total of both."""
        return Total(self.macs + other.macs, self.uncounted + other.uncounted, self.bounded + other.bounded)

    def __mul__(self, times: int) -> Total:
        """The total of `times` executions."""
        return Total(self.macs * times, self.uncounted * times, self.bounded * times)

    @property
    def sign(self) -> str:
        """Nothing for an exact sum, ">=" for a lower bound, "<=" for an upper bound, "~" for both at once."""
        if self.uncounted and self.bounded:
            return "~"
        return ">=" if self.uncounted else "<=" if self.bounded else ""

    @staticmethod
    def sum(totals: Iterable[Total]) -> Total:
        """The total of all."""
        macs = uncounted = bounded = 0
        for total in totals:
            macs += total.macs
            uncounted += total.uncounted
            bounded += total.bounded
        return Total(macs, uncounted, bounded)


class OpRow(NamedTuple):
    """All executions of one operator from one source line on the same shapes in one module, in one call of the component.

    A tuple, because a large model has a hundred thousand of them, and a frozen dataclass takes five times as long to make.
    """

    path: str
    """The innermost module, dotted below the component; "" is the component itself."""
    op: str
    """`aten.conv2d.default`"""
    kind: str
    """`convolution`, `attention`, `elementwise` ...; see `fxprof.cost.registry.KINDS`."""
    source: str
    """`package/file.py:12`; "" where the graph does not say, and for operators that cost nothing."""
    count: int  # type: ignore[assignment]  # what a tuple calls so is of no use here
    """Executions in one call."""
    macs: int | None
    """MACs of all `count` executions; None when the operator has no formula, which is not zero."""
    bounded: bool = False
    """Whether `macs` is an upper bound."""
    note: str = ""
    """Why it is uncounted or bounded, for people."""
    shapes: str = ""
    """Operands and results: `2x4096x1536, 6144x1536, 6144 -> 2x4096x6144`; "" for operators that cost nothing."""
    types: str = ""
    """Element types of the operands: `bfloat16`, or `int8 as float32, float32`; "" for operators that cost nothing."""

    def moved(self, path: str, count: int, macs: int | None) -> OpRow:
        """The same work in another place and amount."""
        return OpRow(path, self.op, self.kind, self.source, count, macs, self.bounded, self.note, self.shapes, self.types)

    @property
    def counts(self) -> bool:
        """Whether it adds anything to a total: most operators cost nothing, and sums need not look at them."""
        return self.macs != 0 or self.bounded

    @property
    def total(self) -> Total:
        """The MACs of the row as a total."""
        if self.macs is None:
            return Total(uncounted=self.count)
        return Total(self.macs, bounded=self.count if self.bounded else 0)


def total_of(rows: Iterable[OpRow]) -> Total:
    """The sum of the rows' totals, without making these: there are a hundred thousand rows, and most cost nothing."""
    macs = uncounted = bounded = 0
    for row in rows:
        if row.macs is None:
            uncounted += row.count
        else:
            macs += row.macs
            bounded += row.count if row.bounded else 0
    return Total(macs, uncounted, bounded) if macs or uncounted or bounded else _NOTHING


_NOTHING = Total()


@dataclass(frozen=True, slots=True)
class Input:
    """One argument of a call."""

    name: str
    """Argument name; elements of containers are dotted: `added_cond_kwargs.time_ids`."""
    shape: tuple[int, ...] | None
    """Sizes of a tensor; None for a plain value."""
    dtype: str
    """Of a tensor; "" for a plain value."""
    value: str = ""
    """A plain value as Python prints it; "" for a tensor."""


@dataclass(frozen=True)
class Call:
    """One distinct way that a component is called in a run of the pipeline."""

    entry: str
    """The module that the pipeline calls, dotted below the component; "" is the component itself."""
    count: int
    """How often in one run of the pipeline."""
    inputs: tuple[Input, ...]
    ops: tuple[OpRow, ...]
    """Operators of one execution of the call, by module."""
    visits: Mapping[str, int] = field(default_factory=dict)
    """Module path to how often it is called in one execution, for the modules that the graph mentions."""
    note: str = ""
    """How it was captured, when not simply by exporting the entry."""

    @cached_property
    def total(self) -> Total:
        """MACs of one execution."""
        return total_of(self.ops)

    @property
    def macs(self) -> int:
        """MACs of one execution; a lower bound when `total.uncounted`."""
        return self.total.macs


@dataclass(frozen=True, slots=True)
class ModuleRecord:
    """A module of a component as it was built, called or not."""

    path: str
    class_name: str
    params: int
    """Parameters that this module itself holds; a shared one belongs to the first module that holds it."""


class Node(NamedTuple):
    """A module in the tree of a component, with its work in one run of the pipeline. A tuple, as `OpRow` is one."""

    path: str
    """Dotted below the component; "" is the component itself."""
    class_name: str
    """"" where only the paths of a graph are known and no operator ran in the module itself."""
    params: int
    """Parameters of the module itself."""
    total_params: int
    """With those of its descendants."""
    calls: int
    """How often the module runs in one run of the pipeline, as far as the graphs mention it."""
    self_total: Total
    """Operators of the module itself."""
    total: Total
    """With those of its descendants."""
    ops: tuple[OpRow, ...]
    """Its own operators, over the whole run: counts and MACs times the calls."""
    children: tuple[Node, ...]
    times: int = 1
    """Modules that the node stands for: more than one only in a view that folds equal ones."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit(".", 1)[-1]

    @property
    def self_macs(self) -> int:
        """MACs of the module's own operators in one run of the pipeline."""
        return self.self_total.macs

    @property
    def total_macs(self) -> int:
        """MACs of the module and its descendants in one run of the pipeline."""
        return self.total.macs

    def walk(self) -> Iterator[Node]:
        """The node and all its descendants, parents first."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))


class Run(NamedTuple):
    """What a call of a component from outside was made of, where its parts were captured one by one."""

    count: int  # type: ignore[assignment]  # what a tuple calls so is of no use here
    """How often in one run of the pipeline it was made of just this."""
    calls: tuple[tuple[int, int], ...]
    """(place among the component's calls, how often in one such call)"""


@dataclass(frozen=True)
class Component:
    """A part of the pipeline that computes, and its work in one run of the pipeline."""

    name: str
    """`transformer`, `unet`, `vae`, `text_encoder_2`"""
    class_name: str
    modules: tuple[ModuleRecord, ...]
    """Its modules as built, depth first: each before those inside it, and these before its siblings."""
    calls: tuple[Call, ...]
    runs: tuple[Run, ...] = ()
    """What its calls from outside were made of; empty where each is one of `calls`, or where that is not known."""
    stored_bytes: int = 0
    """Bytes that its parameters take as they are stored, scales of quantised ones included; 0 where not known."""

    @cached_property
    def params(self) -> int:
        """Parameters, shared ones once. Buffers (tables, position ids) are not parameters."""
        return sum(module.params for module in self.modules)

    @cached_property
    def total(self) -> Total:
        """MACs in one run of the pipeline."""
        return Total.sum(call.total * call.count for call in self.calls)

    @property
    def macs(self) -> int:
        """MACs in one run of the pipeline; a lower bound when `total.uncounted`."""
        return self.total.macs

    def cost_of(self, run: Run) -> Total:
        """MACs of one call from outside."""
        return Total.sum(self.calls[place].total * times for place, times in run.calls)

    @cached_property
    def costs(self) -> dict[Total, int]:
        """What a call from outside costs, to how many cost just that, the first ones first; empty without `runs`."""
        costs: dict[Total, int] = {}
        for run in self.runs:
            cost = self.cost_of(run)
            costs[cost] = costs.get(cost, 0) + run.count
        return costs

    @cached_property
    def tree(self) -> Node:
        """The module tree over one run of the pipeline."""
        from fxprof.result.tree import build_tree

        return build_tree(self)


@dataclass(frozen=True, slots=True)
class Geometry:
    """The sizes that the rehearsal found; what could not be found stays None or empty."""

    pixels_asked: tuple[int, int] | None = None
    """Height and width of the images that the pipeline returns."""
    pixels_computed: tuple[int, int] | None = None
    """Height and width that the autoencoder decodes; differs under resolution binning."""
    latents: tuple[int, ...] | None = None
    """Shape of the tensor that the autoencoder decodes."""
    text_tokens: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """(text encoder, lengths of its distinct inputs)"""
    attention: tuple[tuple[str, tuple[int, int]], ...] = ()
    """(component, query and key length of its longest fused attention)"""
    denoiser: str = ""
    """The component that is called most often."""
    denoiser_calls: int = 0
    denoiser_batch: int = 0
    """Leading size of the denoiser's first input."""
    guidance: str = ""
    """`off`, `in the batch`, `as separate passes`, or "" where the pipeline does not say."""
    tiling: bool = False
    slicing: bool = False


@dataclass(frozen=True)
class Profile:
    """What one run of a pipeline computes."""

    target: str
    """What was profiled, as the user named it; for a directory its last part."""
    class_name: str
    """The pipeline's class."""
    workload: Mapping[str, int | float | str | bool | None]
    """Height, width, images, prompt, steps, guidance_scale, dtype ..., as they were in force."""
    versions: Mapping[str, str]
    """Of fxprof and of the packages that the numbers depend on."""
    components: Mapping[str, Component]
    """By name, in the order in which the pipeline first calls them; those that it never calls come last."""
    geometry: Geometry = Geometry()
    approximations: tuple[str, ...] = ()
    """Sentences about what is not exact, and why. Empty for an exact profile."""
    remarks: tuple[str, ...] = ()
    """Sentences about what was left out or done differently from a real run without touching exactness; first, of a bundled
    model, what to know about the pipeline's own defaults. What is said of several modules is one sentence."""

    @cached_property
    def total(self) -> Total:
        """MACs of one run of the pipeline."""
        return Total.sum(component.total for component in self.components.values())

    @property
    def macs(self) -> int:
        """MACs of one run of the pipeline; a lower bound when `total.uncounted`."""
        return self.total.macs

    @property
    def flops(self) -> int:
        """Two per MAC."""
        return 2 * self.macs

    def only(self, names: Iterable[str]) -> Profile:
        """The same profile with these components alone.

        Raises:
            UsageError: a name is not a component of the profile.
        """
        from fxprof.result.views import only

        return only(self, names)

    def hierarchy(self, component: str) -> nx.DiGraph[str]:
        """The module tree of a component as a `networkx.DiGraph`; see `fxprof.cost.hierarchy`.

        Raises:
            UsageError: no component has this name.
        """
        from fxprof.result.views import hierarchy

        return hierarchy(self, component)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the profile as JSON, whole or not at all.

        Raises:
            OutputError: the file exists and `force` is not set, or it cannot be written.
        """
        from fxprof.result.store import save

        save(self, path, force=force)
