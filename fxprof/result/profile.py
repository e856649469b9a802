"""The profile: the work of each component in one run of a pipeline, and its sums.

It contains every distinct call of a component with its count, and the operators of that call by module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fxprof.errors import TargetError, UsageError
from fxprof.result.files import write_whole
from fxprof.result.records import Call, Geometry, ModuleRecord, Run, Total
from fxprof.result.saved.write import dumps
from fxprof.result.tree import Node, build_tree
from fxprof.trace.weights import WeightGroup, bytes_by_type

if TYPE_CHECKING:
    import networkx as nx

    from fxprof.devices import Device
    from fxprof.result.memory import Memory
    from fxprof.result.roofline import Roofline


@dataclass(frozen=True)
class Component:
    """A part of the pipeline that computes, and its work in one run of the pipeline."""

    name: str
    """`transformer`, `unet`, `vae`, `text_encoder_2`"""
    class_name: str
    modules: tuple[ModuleRecord, ...]
    """Its modules as built, depth first: each before its children, and these before its siblings."""
    calls: tuple[Call, ...]
    runs: tuple[Run, ...] = ()
    """The inner calls of its calls from outside; empty if each of these is one of `calls`, or if unknown."""
    stored_bytes: int = 0
    """Bytes that its parameters take in storage, including scales of quantised ones; 0 if unknown."""
    weights: tuple[WeightGroup, ...] | None = None
    """Its parameters and buffers as loaded, in groups of those that are alike; None if an early fxprof did not save them."""
    held_bytes: int = 0
    """The most bytes of tensors that Python held while the component's own Python ran operators outside of its calls."""
    offload_blocks: tuple[str, ...] = ()
    """The paths of parts that diffusers' offloading in groups treats like components themselves."""
    offload_turn: int | None = None
    """Its turn among the components that take each other's place on the device (`model_cpu_offload_seq`); None for one that has
    no turn, and stays there after its first call."""
    offload_never: bool = False
    """Whether the pipeline excludes it from offloading."""
    quantised: str = ""
    """The scheme to which `with_weights` quantised its weights; its work is still that of the weights as loaded."""

    @cached_property
    def params(self) -> int:
        """Number of parameters, with shared ones once. Buffers (tables, position ids) are not parameters."""
        return sum(module.params for module in self.modules)

    @property
    def known_weights(self) -> tuple[WeightGroup, ...]:
        """Its weights.

        Raises:
            TargetError: an early fxprof did not save them.
        """
        if self.weights is None:
            raise TargetError(
                f"the weights of {self.name} are unknown: the profile was saved by an early fxprof",
                "profile the target again",
            )
        return self.weights

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of its parameters and buffers as loaded.

        Raises:
            TargetError: as `known_weights`.
        """
        return sum(group.bytes for group in self.known_weights)

    @cached_property
    def weights_by_type(self) -> Mapping[str, int]:
        """Element type to the bytes of its parameters and buffers, the largest first.

        Raises:
            TargetError: as `known_weights`.
        """
        return bytes_by_type(self.known_weights)

    @cached_property
    def total(self) -> Total:
        """MACs in one run of the pipeline."""
        return Total.sum(call.total * call.count for call in self.calls)

    @property
    def macs(self) -> int:
        """MACs in one run of the pipeline; a lower bound when `total.uncounted`."""
        return self.total.macs

    @cached_property
    def unused_macs(self) -> int:
        """MACs in one run of the pipeline whose results nobody needs."""
        return sum(sum(call.unused.values()) * call.count for call in self.calls)

    def cost_of(self, run: Run) -> Total:
        """MACs of one call from outside."""
        return Total.sum(self.calls[place].total.of_macs * times for place, times in run.calls)

    @cached_property
    def costs(self) -> dict[Total, int]:
        """Cost of a call from outside to the number of such calls, in order of appearance; empty without `runs`."""
        costs: dict[Total, int] = {}
        for run in self.runs:
            cost = self.cost_of(run)
            costs[cost] = costs.get(cost, 0) + run.count
        return costs

    @cached_property
    def tree(self) -> Node:
        """The module tree over one run of the pipeline."""
        tree = build_tree(self.modules, self.calls)
        assert tree.total == self.total, "the tree holds every operator of every call once"
        return tree


@dataclass(frozen=True)
class Profile:
    """The work of one run of a pipeline."""

    target: str
    """The profiled target, as the user named it; for a directory, the last part of its path."""
    class_name: str
    """The pipeline's class."""
    workload: Mapping[str, int | float | str | bool | None]
    """Height, width, images, prompt, steps, guidance_scale, dtype ...: the effective values."""
    versions: Mapping[str, str]
    """Versions of fxprof and of the packages that the numbers depend on."""
    components: Mapping[str, Component]
    """The components by name, in the order of their first calls; those that the pipeline never calls come last."""
    geometry: Geometry = field(default_factory=Geometry)
    approximations: tuple[str, ...] = ()
    """Sentences about inexact numbers, with the reason. Empty for an exact profile."""
    remarks: tuple[str, ...] = ()
    """Sentences about differences from a real run that do not affect exactness; for a bundled model, the first ones are about
    the pipeline's own defaults. Equal remarks about several modules are one sentence."""
    held_between: Mapping[str, int] = field(default_factory=dict)
    """Component to the most bytes of tensors that Python held while the pipeline's own Python ran operators after its call, up
    to the next one; "" before all calls."""
    order: tuple[str, ...] = ()
    """The components in the order of their calls, each once in a row; of calls that alternate the first few. Empty: unknown."""

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
        """FLOPs of one run of the pipeline: two per MAC."""
        return 2 * self.macs

    def find_component(self, name: str) -> Component:
        """Find the component of this name.

        Raises:
            UsageError: no component has it.
        """
        if name not in self.components:
            raise UsageError(f"{self.target} has no component {name!r}", f"one of {', '.join(self.components) or 'none'}")
        return self.components[name]

    def only(self, names: Iterable[str]) -> Profile:
        """The same profile with only these components, in its own order.

        Raises:
            UsageError: a name is not a component of the profile.
        """
        wanted = {name: self.find_component(name) for name in names}
        components = {name: component for name, component in self.components.items() if name in wanted}
        return replace(self, components=components)

    def hierarchy(self, component: str) -> nx.DiGraph[str]:
        """The module tree of a component as a `networkx.DiGraph`; see `fxprof.cost.hierarchy`.

        Raises:
            UsageError: no component has this name.
        """
        from fxprof.cost.hierarchy import ModuleRow, hierarchy  # imports networkx, which takes long

        return hierarchy(
            ModuleRow(node.path, node.class_name, node.self_macs, node.params, node.calls, uncounted=node.self_total.uncounted)
            for node in self.find_component(component).tree.walk()
        )

    def roofline(
        self, device: Device | str, by: str = "component", seconds: float | Mapping[str, float] | None = None
    ) -> Roofline:
        """The least time that a device needs for one run, by part.

        Args:
            device: a bundled one by its name, or a file that ends in `.toml`.
            by: `component`, `kind`, `class` or `layer`.
            seconds: measured for one run, or for all calls of a component in one run, by its name.

        Raises:
            UsageError: there is no such device, grouping or component, or a time is not above 0.
            TargetError: the device's facts do not suffice, or the profile does not know its bytes.
        """
        from fxprof.devices import find_device
        from fxprof.result.roofline import find_roofline

        return find_roofline(self, find_device(device) if isinstance(device, str) else device, by, seconds)

    def with_weights(self, *schemes: str) -> Profile:
        """The same run with quantised weights: their bytes change, the work does not.

        Args:
            schemes: `int8`, `fp8`, `nf4` or `int4`, for one component as in `transformer=nf4`.

        Raises:
            UsageError: there is no such scheme or component, or nothing in the component can be quantised.
            TargetError: an early fxprof saved the profile, so its weights are unknown.
        """
        from fxprof.result.quantise import with_weights

        return with_weights(self, schemes)

    def count_causal(self, causal: str) -> Profile:
        """The same profile with attention that says it is causal counted `full`, as it is by default, or `half`.

        Half is the lower triangle of the scores, with its diagonal; see `docs/counting.md`. Remarks of the profile say so.

        Raises:
            UsageError: `causal` is neither.
            TargetError: the profile is one that an early fxprof saved, and does not say which attention is causal.
        """
        from fxprof.result.causal import count_causal

        return count_causal(self, causal)

    def memory(
        self, offload: str = "none", *, attention: str = "fused", weights: str | Iterable[str] = (), dtype: str | None = None
    ) -> Memory:
        """The memory of one run on its device, call by call.

        Args:
            offload: `none`, `model`, `group`, `group-leaf` or `sequential`, as diffusers means them.
            attention: `fused`, or `math` for attention as products, which holds all scores.
            weights: ways to quantise weights, as for `with_weights`.
            dtype: checked against the profile's own element type: another one needs another profile.

        Raises:
            UsageError: there is no such way, scheme or component, or the profile is of another `dtype`.
            TargetError: an early fxprof saved the profile, which knows no weights or no lifetimes.
        """
        from fxprof.result.memory import find_memory
        from fxprof.trace.element_types import SHORT_DTYPES

        own = self.workload.get("dtype")
        if dtype is not None and own is not None and SHORT_DTYPES.get(dtype, dtype) != own:
            raise UsageError(
                f"the profile of {self.target} is of {own}, not of {dtype}", f"profile the target with dtype={dtype!r}"
            )
        schemes = (weights,) if isinstance(weights, str) else tuple(weights)
        return find_memory(self.with_weights(*schemes) if schemes else self, offload, attention)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the profile as JSON, whole or not at all.

        Raises:
            OutputError: the file exists and `force` is not set, it cannot be written, or the workload contains a number that
                JSON cannot represent, such as infinity.
        """
        write_whole(path, dumps(self), force=force)
