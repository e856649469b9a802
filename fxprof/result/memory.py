"""The memory of a run on its device, call by call: weights, tensors that Python holds, tensors that a call makes.

The sum of these three is exact where lifetimes were seen and every aliasing is known. What kernels take for themselves is an
estimate, kept apart and never part of a sum.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fxprof.cost.lifetimes import ATTENTION, Lifetimes, Peak
from fxprof.cost.workspace import CUBLAS, rounded
from fxprof.errors import TargetError, UsageError
from fxprof.result.records import Call, ModuleRecord
from fxprof.trace.captured import NOT_CAPTURED

if TYPE_CHECKING:  # for annotations alone: a profile imports this file
    from fxprof.result.profile import Component, Profile

OFFLOADS: Mapping[str, str] = {
    "none": "all weights stay on the device",
    "model": "the weights of one component at a time (enable_model_cpu_offload)",
    "group": "one block of a list of blocks at a time (enable_group_offload, block_level, one block per group)",
    "group-leaf": "one layer at a time, and what is directly in the modules around it (enable_group_offload, leaf_level)",
    "sequential": "the same by accelerate (enable_sequential_cpu_offload); buffers stay on the device",
}
"""Ways to keep weights off the device, by name, with their meaning in diffusers; those further down need less memory."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The most that is on the device while one distinct call runs, or while a component's own Python does; all in bytes."""

    component: str
    entry: str
    """The module that is called, dotted below the component; "" is the component itself."""
    count: int
    """Calls like this one in one run; 0 for the component's own Python outside of all calls."""
    weights: int
    """All weights of the component while the call runs."""
    resident: int
    """Weights of all components that are on the device at the peak."""
    held: int
    """Tensors that Python holds outside of the call, with the call's inputs: latents, embeddings."""
    activations: int
    """Tensors that the call makes, alive at once."""
    workspace: int
    """Bytes by which kernels' own memory raises the peak: an estimate, no part of `total`."""
    eager: Peak | None
    """The peak in eager mode; None if nobody saw how long Python holds tensors."""
    graph: Peak | None
    """The peak by last use; None for a component's own Python."""
    rounding: int = 0
    """Bytes by which the allocator rounds up the weights on the device: an estimate, no part of `total`."""

    @property
    def estimate(self) -> int:
        """`total` with workspace and rounding, without cuBLAS's buffers."""
        return self.total + self.workspace + self.rounding

    @property
    def total(self) -> int:
        """Weights, tensors that Python holds, and tensors that the call makes."""
        return self.resident + self.held + self.activations

    @property
    def peak(self) -> Peak | None:
        """The peak that `activations` are from: in eager mode, or by last use where that is unknown."""
        return self.graph if self.eager is None else self.eager

    @property
    def sign(self) -> str:
        """Empty for an exact sum, "<=" for an upper bound, ">=" for a lower bound, "~" for both at once."""
        bounded, unknown = self.peak is not None and self.peak.bounded, self.peak is not None and self.peak.unknown > 0
        return "~" if bounded and unknown else "<=" if bounded else ">=" if unknown else ""


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of one run on its device."""

    offload: str
    """One of `OFFLOADS`."""
    attention: str
    """`fused` or `math`."""
    weights: Mapping[str, int]
    """Component to the bytes of its weights as loaded, for components of the pipeline, called or not."""
    moments: tuple[Moment, ...]
    """In the order of the components' first calls."""

    @property
    def largest(self) -> Moment | None:
        """The moment with the largest total; None for a pipeline without calls."""
        return max(self.moments, key=lambda moment: moment.total, default=None)

    @property
    def sign(self) -> str:
        """As for a `Moment`: a lower bound if any moment is one."""
        lower = any(moment.sign in {">=", "~"} for moment in self.moments)
        upper = self.largest is not None and self.largest.sign in {"<=", "~"}
        return "~" if lower and upper else ">=" if lower else "<=" if upper else ""

    @property
    def peak_bytes(self) -> int:
        """The largest total, without workspace."""
        return self.largest.total if self.largest else sum(self.weights.values())

    @property
    def workspace_bytes(self) -> tuple[int, int]:
        """Bytes by which kernels and the allocator's rounding are estimated to raise the peak of the run: least and most.

        The range is that of cuBLAS's buffers, on cards before and from Hopper on. A call below the peak can rise above it.
        """
        more = max(max((moment.estimate for moment in self.moments), default=0) - self.peak_bytes, 0)
        return (more + CUBLAS[0], more + CUBLAS[1]) if self.moments else (0, 0)

    def only(self, names: Iterable[str]) -> Memory:
        """The moments of these components; the weights of all others stay on the device as before."""
        wanted = set(names)
        return replace(self, moments=tuple(moment for moment in self.moments if moment.component in wanted))

    def of(self, component: str) -> Moment | None:
        """The largest moment of a component; None if it is never called."""
        return max((item for item in self.moments if item.component == component), key=lambda item: item.total, default=None)


def find_memory(profile: Profile, offload: str = "none", attention: str = "fused") -> Memory:
    """The memory of a run of a profile.

    Args:
        profile: of any target, with weights and lifetimes: not one that an early fxprof saved.
        offload: one of `OFFLOADS`.
        attention: `fused` or `math`.

    Raises:
        UsageError: there is no such way to offload or to compute attention.
        TargetError: the profile does not know its weights or its tensors' lifetimes.
    """
    for value, known, what in ((offload, OFFLOADS, "offload"), (attention, ATTENTION, "attention")):
        if value not in known:
            raise UsageError(f"{what} cannot be {value!r}", f"one of {', '.join(known)}")
    components = profile.components.values()
    weights = {component.name: component.weight_bytes for component in components}
    _check_lifetimes(profile)
    beside = _beside(profile, offload)
    moments = []
    for component in sorted(components, key=_place_in(profile)):
        resident = _RESIDENT[offload](component, weights)
        here = [_moment(component, call, resident, attention, offload) for call in component.calls if call.lifetimes]
        if component.held_bytes:
            here.append(_own(component, resident))
        missing = [call for call in component.calls if _is_unseen(call, component)]
        if missing:
            here.append(_unknown(component, missing, resident))
        more = sum(map(_rounding, components if offload == "none" else (component,))) if offload in _ROUNDED else 0
        others = beside[component.name]
        moments += [replace(moment, resident=moment.resident + others, rounding=more) for moment in here]
    moments += _between(profile, offload, weights, beside)
    shown = {component.name: weights[component.name] for component in sorted(components, key=_place_in(profile))}
    return Memory(offload, attention, shown, tuple(moments))


PIPELINE = "(pipeline)"
"""The name of the pipeline's own Python among components."""


def _between(profile: Profile, offload: str, weights: Mapping[str, int], beside: Mapping[str, int]) -> list[Moment]:
    """The largest moment of the pipeline's own Python, if it ran any operators between calls of components."""
    found = []
    for name, held in profile.held_between.items():
        resident = beside.get(name, 0) + (weights.get(name, 0) if offload == "model" else 0)
        found.append(
            Moment(PIPELINE, "", 0, 0, sum(weights.values()) if offload == "none" else resident, held, 0, 0, None, None)
        )
    return sorted(found, key=lambda moment: -moment.total)[:1]


def _check_lifetimes(profile: Profile) -> None:
    calls = [call for component in profile.components.values() for call in component.calls]
    held = profile.held_between or any(component.held_bytes for component in profile.components.values())
    if any(call.ops for call in calls) and not held and not any(call.lifetimes for call in calls):
        raise TargetError(
            f"the peaks of {profile.target} are unknown: nobody saw how long its tensors live",
            "profile the target again with this fxprof (in Python without lifetimes=False); save it again if it is a file",
        )


def _place_in(profile: Profile) -> Callable[[Component], int]:
    """The place of a component in the order of calls; components that are never called come last."""
    first = {name: place for place, name in reversed(list(enumerate(profile.order)))}
    return lambda component: first.get(component.name, len(first) if component.calls else len(first) + 1)


def _beside(profile: Profile, offload: str) -> dict[str, int]:
    """For each component, the most weights of other ones that an offload mode leaves on the device beside it.

    `model` follows diffusers' hooks: a component that comes sends the one before it in the pipeline's order away. One that has
    no turn, such as a ControlNet, stays after its first call, and so does one whose successor is not called.
    """
    components = tuple(profile.components.values())
    never = {item.name for item in components if item.offload_never and (offload != "model" or item.offload_turn is None)}
    sizes = {item.name: item.weight_bytes for item in components}

    def beside(name: str, here: set[str]) -> int:
        return sum(sizes[other] for other in here if other != name)

    turns = sorted((item for item in components if item.offload_turn is not None), key=lambda item: item.offload_turn or 0)
    if offload != "model" or not turns:
        kept = never if offload in {"model", "sequential"} else set()
        return {name: beside(name, kept) for name in sizes}
    before = {item.name: other.name for other, item in itertools.pairwise(turns)}
    found, here = dict.fromkeys(sizes, 0), never
    for name in profile.order or [item.name for item in components if item.calls]:
        if name in sizes:
            here = here - {before.get(name, "")} | {name}
            found[name] = max(found[name], beside(name, here))
    return found


_ROUNDED = frozenset({"none", "model"})
"""Ways to offload that keep all weights of a component on the device; else those of few layers are there."""


def _rounding(component: Component) -> int:
    return sum((rounded(size) - size) * group.count for group in component.known_weights for _, size in group.parts)


_Resident = Callable[[str], int]
"""From the path of a module, below its component, to the bytes of weights on the device while its own operators run."""


def _moment(component: Component, call: Call, resident: _Resident, attention: str, offload: str) -> Moment:
    found = call.lifetimes.get(attention, call.lifetimes["fused"])
    loaded, peak = component.weight_bytes, found.peak
    if offload == "none":  # weights that the pipeline has converted take more
        now = _constant(resident("") + call.weight_bytes - loaded)
    else:
        now = _scaled(resident, call.weight_bytes, loaded)
    most, at = _most(found, now)
    return Moment(
        component.name,
        call.entry,
        call.count,
        call.weight_bytes,
        resident=at,
        held=call.held_bytes,
        activations=most - at,
        workspace=peak.workspace,
        eager=found.eager,
        graph=found.graph,
    )


def _constant(size: int) -> _Resident:
    return lambda _path: size


def _scaled(resident: _Resident, now: int, loaded: int) -> _Resident:
    """Weights that a pipeline has converted, by the same factor wherever they are."""
    return resident if now == loaded or not loaded else lambda path: resident(path) * now // loaded


def _most(found: Lifetimes, resident: _Resident) -> tuple[int, int]:
    """The most weights and activations at once, and the weights then."""
    sums = [(alive + resident(path), resident(path)) for path, alive in found.by_module.items()]
    return max(sums, default=(found.peak.bytes + resident(""), resident("")))


def _own(component: Component, resident: _Resident) -> Moment:
    """The moment of a component's own Python, outside of its calls."""
    weights = component.weight_bytes
    return Moment(component.name, "", 0, weights, resident(""), component.held_bytes, 0, 0, None, None)


def _is_unseen(call: Call, component: Component) -> bool:
    """Whether nobody saw a call's tensors. Operators that ran one by one were seen, as tensors that Python held."""
    if call.lifetimes or not call.ops:
        return False
    return not component.held_bytes or any(row.op == NOT_CAPTURED for row in call.ops)


def _unknown(component: Component, missing: list[Call], resident: _Resident) -> Moment:
    """The moment of calls whose tensors nobody saw, such as one that failed: a lower bound."""
    held, count = max(call.held_bytes for call in missing), sum(call.count for call in missing)
    return Moment(component.name, "", count, component.weight_bytes, resident(""), held, 0, 0, None, Peak(unknown=1))


def _all(component: Component, weights: Mapping[str, int]) -> _Resident:  # noqa: ARG001  # as the others
    return _constant(sum(weights.values()))


def _model(component: Component, weights: Mapping[str, int]) -> _Resident:
    return _constant(weights[component.name])


def _leaf(component: Component, weights: Mapping[str, int]) -> _Resident:  # noqa: ARG001  # as the others
    """A layer's weights are there while it runs, and those directly in the modules around it."""
    own = {module.path: module.weight_bytes for module in component.modules}
    return _summed(own)


def _sequential(component: Component, weights: Mapping[str, int]) -> _Resident:
    """As `_leaf`, but buffers stay, unless the component itself has parameters."""
    kinds = [group.kind for group in component.known_weights]
    sizes = [group.bytes_each for group in component.known_weights]
    root = next((module for module in component.modules if not module.path), None)
    if root is not None and any(kinds[place] == "parameter" for place in root.weights):
        return _leaf(component, weights)
    buffers = sum(size for module in component.modules for size, kind in _held(module, sizes, kinds) if kind == "buffer")
    own = {
        module.path: sum(size for size, kind in _held(module, sizes, kinds) if kind == "parameter")
        for module in component.modules
    }
    of_module = _summed(own)
    return lambda path: buffers + of_module(path)


def _held(module: ModuleRecord, sizes: list[int], kinds: list[str]) -> Iterator[tuple[int, str]]:
    return ((sizes[place], kinds[place]) for place in module.weights)


def _summed(own: Mapping[str, int]) -> _Resident:
    known: dict[str, int] = {}

    def resident(path: str) -> int:
        if path not in known:
            known[path] = own.get(path, 0) + (resident(path.rpartition(".")[0]) if path else 0)
        return known[path]

    return resident


def _group(component: Component, weights: Mapping[str, int]) -> _Resident:  # noqa: ARG001  # as the others
    """The blocks of lists directly in the component come one by one; everything else in it is there all the time.

    A component can name parts that are treated like components themselves (`Component.offload_blocks`).
    """
    children: dict[str, list[ModuleRecord]] = {}
    for module in component.modules:
        if module.path:
            children.setdefault(module.path.rpartition(".")[0], []).append(module)
    own = {module.path: module.weight_bytes for module in component.modules}

    def whole(path: str) -> int:
        return own.get(path, 0) + sum(whole(child.path) for child in children.get(path, ()))

    always: dict[str, int] = {}
    blocks: dict[str, int] = {}

    def divide(root: str) -> None:
        always[root] = own.get(root, 0)
        for child in children.get(root, ()):
            if child.path in component.offload_blocks:
                divide(child.path)
            elif child.class_name in _LISTS:
                always[root] += own.get(child.path, 0)
                blocks.update({block.path: whole(block.path) for block in children.get(child.path, ())})
            else:
                always[root] += whole(child.path)

    divide("")

    def resident(path: str) -> int:
        around = ("", *("".join(path[:at]) for at, char in enumerate(path) if char == "."), path)
        return sum(always.get(outer, 0) + blocks.get(outer, 0) for outer in dict.fromkeys(around))

    return resident


_LISTS = frozenset({"ModuleList", "Sequential"})

_RESIDENT: Mapping[str, Callable[[Component, Mapping[str, int]], _Resident]] = {
    "none": _all,
    "model": _model,
    "group": _group,
    "group-leaf": _leaf,
    "sequential": _sequential,
}
