"""The roofline of a profile on a device: the least time that its arithmetic and its traffic take there.

For each operator, the bound is the longer one of two times: its operations at the device's peak rate for their element type,
and its bytes at the bandwidth of the device's memory. Both bounds of a run are sums over operators:

* the eager bound, of all operators, each on its own;
* the fused bound, of contractions alone: a compiler may fuse all others into these.

Neither is a prediction. Work that is uncounted and bytes that are unknown add nothing, so that both stay bounds. Figures that
are upper bounds themselves do not: a row that holds some says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from fxprof.devices import Device
from fxprof.errors import TargetError, UsageError
from fxprof.result.records import OpRow, Total
from fxprof.result.tree import Node
from fxprof.result.views import fold_repeats
from fxprof.trace.element_types import BYTES

if TYPE_CHECKING:  # for annotations alone: a profile imports this file
    from fxprof.result.profile import Component, Profile


@dataclass(frozen=True, slots=True)
class Bound:
    """The least time of a part of a run on a device; times are in seconds of one run of the pipeline."""

    label: str
    """The component, kind, class or layer."""
    total: Total
    """MACs and bytes of the part."""
    compute_seconds: float
    """Operations at the peak rates of their types."""
    eager_seconds: float
    """The eager bound."""
    fused_seconds: float
    """The fused bound."""
    limited_by_compute: float
    """The part of `eager_seconds` in operators that take longer to compute than to move."""
    measured_seconds: float | None = None
    """As the user gave it."""

    @property
    def traffic(self) -> int:
        """Bytes read and written."""
        return self.total.bytes_read + self.total.bytes_written

    @property
    def intensity(self) -> float | None:
        """Operations per byte, two operations for a multiply-accumulate; None where no bytes are known."""
        return 2 * self.total.macs / self.traffic if self.traffic else None

    @property
    def limit(self) -> str:
        """`compute` or `bandwidth`, whichever bounds more of the time; "" for a part without work."""
        if not self.eager_seconds:
            return ""
        return "compute" if 2 * self.limited_by_compute >= self.eager_seconds else "bandwidth"

    @property
    def utilisation(self) -> float | None:
        """The part of the device's peak rate that the measured time reaches, 1 for all of it."""
        return self.compute_seconds / self.measured_seconds if self.measured_seconds else None

    @property
    def is_too_fast(self) -> bool:
        """Whether the measured time is less than the arithmetic takes at the peak rate, which is impossible."""
        return bool(self.measured_seconds) and self.is_exact and self.measured_seconds < self.compute_seconds  # type: ignore[operator]  # it is there

    @property
    def is_exact(self) -> bool:
        """Whether it is a bound for sure: no figure in it is an upper bound."""
        return not (self.total.bounded or self.total.bytes_bounded)


@dataclass(frozen=True, slots=True)
class Roofline:
    """The bounds of a profile on a device."""

    device: Device
    by: str
    rows: tuple[Bound, ...]
    """By the eager bound, the longest first; components in their own order."""
    whole: Bound
    """The sum of all components."""


GROUPINGS = ("component", "kind", "class", "layer")
"""What a row can stand for."""


def find_roofline(
    profile: Profile, device: Device, by: str = "component", seconds: float | Mapping[str, float] | None = None
) -> Roofline:
    """The bounds of a profile on a device.

    Args:
        profile: of any target, with bytes: not one that an early fxprof saved.
        device: as `fxprof.devices.find_device` gives it.
        by: one of `GROUPINGS`.
        seconds: measured for one run; or for all calls of a component in one run, by its name.

    Raises:
        UsageError: `by` is no grouping, or a time is not above 0, or of a component that there is none of.
        TargetError: weights were quantised by `with_weights`; the device has no confirmed rate for a type that the profile
            computes on, or no confirmed bandwidth; or the profile does not say what its operators work on.
    """
    if by not in GROUPINGS:
        raise UsageError(f"a roofline cannot be grouped by {by!r}", f"one of {', '.join(GROUPINGS)}")
    quantised = [f"{part.name} to {part.quantised}" for part in profile.components.values() if part.quantised]
    if quantised:
        raise TargetError(
            f"no bound for {profile.target}: the kernels for weights quantised by rule are unknown ({', '.join(quantised)})",
            "profile a live pipeline whose weights are quantised, or take the weights as loaded",
        )
    times = _times(profile, seconds)
    rate = _Rates(profile, device)
    components = tuple(
        _bound(name, ((row, call.count) for call in part.calls for row in call.ops), rate, times.get(name))
        for name, part in profile.components.items()
        if part.calls
    )
    whole = _sum("total", components, times.get(""))
    rows = components if by == "component" else tuple(_grouped(profile, by, rate))
    return Roofline(device, by, rows, whole)


def _times(profile: Profile, seconds: float | Mapping[str, float] | None) -> dict[str, float]:
    """Measured times by component; that of the run is named ""."""
    if seconds is None:
        return {}
    given = dict(seconds) if isinstance(seconds, Mapping) else {"": seconds}
    for name, time in given.items():
        if not 0 < time < _LONGEST:
            raise UsageError(f"a measured time is above 0 seconds, and no longer than a year; not {time!r}")
        if name:
            profile.find_component(name)
    return given


_LONGEST = 366 * 24 * 3600


class _Moments(NamedTuple):
    """What an operator takes, in seconds."""

    compute: float
    move: float


class _Rates:
    """The rates of a device, each looked up when an operator needs it."""

    def __init__(self, profile: Profile, device: Device) -> None:
        executions = profile.total.bytes_unknown
        if executions and not profile.total.bytes_read + profile.total.bytes_written:
            raise TargetError(
                f"no bound for {profile.target}: the profile does not know the bytes of its operators",
                "profile the target again: an early fxprof did not save them",
            )
        self._device, self._bandwidth = device, device.find_bandwidth()
        self._peaks: dict[str, float] = {}

    def moments(self, row: OpRow) -> _Moments:
        """Of one row."""
        compute = 2 * row.macs / self._peak(row) if row.macs else 0.0
        moved = row.traffic.read + row.traffic.written if row.traffic else 0
        return _Moments(compute, moved / self._bandwidth)

    def _peak(self, row: OpRow) -> float:
        """Operations in a second on the fastest type of its operands: scales and biases of another one compute nothing."""
        if row.types not in self._peaks:
            types = [name.rpartition(" as ")[2] for name in row.types.split(", ")]
            rates = [self._device.find_peak(name) for name in types if _computes(name)]
            if not rates:
                raise TargetError(f"no bound on {self._device.name}: it is not known on which type {row.op} computes")
            self._peaks[row.types] = max(rates)
        return self._peaks[row.types]


def _computes(dtype: str) -> bool:
    """Whether contractions work on a type; indices and masks are of others."""
    return dtype.startswith(("float", "bfloat", "complex")) or BYTES.get(dtype) == 1


def _bound(label: str, rows: Iterable[tuple[OpRow, int]], rates: _Rates, measured: float | None = None) -> Bound:
    """The bound of rows, each as often as the number beside it."""
    totals: list[Total] = []
    compute = eager = fused = limited = 0.0
    for row, times in rows:
        needs, moves = rates.moments(row)
        longer = max(needs, moves) * times
        compute += needs * times
        eager += longer
        fused += longer if row.macs else 0.0
        limited += longer if needs >= moves and needs else 0.0
        totals.append(row.total * times)
    return Bound(label, Total.sum(totals), compute, eager, fused, limited, measured)


def _sum(label: str, bounds: Iterable[Bound], measured: float | None) -> Bound:
    parts = tuple(bounds)
    return Bound(
        label,
        Total.sum(part.total for part in parts),
        sum(part.compute_seconds for part in parts),
        sum(part.eager_seconds for part in parts),
        sum(part.fused_seconds for part in parts),
        sum(part.limited_by_compute for part in parts),
        measured,
    )


def _grouped(profile: Profile, by: str, rates: _Rates) -> list[Bound]:
    groups: dict[str, list[Bound]] = {}
    for part in profile.components.values():
        for label, rows in _LABELLED[by](part):
            groups.setdefault(label, []).append(_bound(label, ((row, 1) for row in rows), rates))
    found = [_sum(label, bounds, None) for label, bounds in groups.items()]
    return sorted((bound for bound in found if bound.eager_seconds), key=lambda bound: (-bound.eager_seconds, bound.label))


_Labelled = Iterator[tuple[str, tuple[OpRow, ...]]]


def _by_kind(component: Component) -> _Labelled:
    for node in component.tree.walk():
        yield from ((row.kind, (row,)) for row in node.ops)


def _by_class(component: Component) -> _Labelled:
    for node in component.tree.walk():
        yield node.class_name or "(class unknown)", node.ops


def _by_layer(component: Component) -> _Labelled:
    for node in fold_repeats(component.tree).walk():
        yield _path(component, node), node.ops


def _path(component: Component, node: Node) -> str:
    return f"{component.name}.{node.path}" if node.path else component.name


_LABELLED: Mapping[str, Callable[[Component], _Labelled]] = {"kind": _by_kind, "class": _by_class, "layer": _by_layer}
