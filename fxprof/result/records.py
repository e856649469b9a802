"""The parts of a profile: totals, operators, calls, modules, sizes. Frozen records of integers and texts.

Numbers are multiply-accumulates (MACs), unscaled integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from fxprof import limits
from fxprof.cost.lifetimes import Lifetimes
from fxprof.cost.traffic import Traffic

LARGEST: int = 10**limits.TOTAL_DIGITS
"""Larger numbers are damage: a year of all the world's computers stays below this one."""


@dataclass(frozen=True, slots=True)
class Total:
    """A sum of MACs, and one of bytes, with counts of missing parts. Add totals with `+` or `Total.sum`, scale with `*`."""

    macs: int = 0
    """MACs that were counted."""
    uncounted: int = 0
    """Executions of operators without a formula; if not zero, the sum is a lower bound."""
    bounded: int = 0
    """Executions counted as an upper bound, such as the more expensive branch of a `cond`."""
    bytes_read: int = 0
    """Bytes that the operators read if nothing is fused; see `fxprof.cost.traffic`."""
    bytes_written: int = 0
    """Bytes that the operators write."""
    bytes_unknown: int = 0
    """Executions with unknown bytes; if not zero, both sums of bytes are lower bounds."""
    bytes_bounded: int = 0
    """Executions with an upper bound of the bytes, such as those of an operator that may have to copy."""

    def __add__(self, other: Total) -> Total:
        """The total of both."""
        return Total.sum((self, other))

    def __mul__(self, times: int) -> Total:
        """The total of `times` executions."""
        return Total(
            self.macs * times,
            self.uncounted * times,
            self.bounded * times,
            self.bytes_read * times,
            self.bytes_written * times,
            self.bytes_unknown * times,
            self.bytes_bounded * times,
        )

    @property
    def counts(self) -> bool:
        """Whether any operator in the sum costs MACs, or may cost some."""
        return bool(self.macs or self.uncounted or self.bounded)

    @property
    def amount(self) -> int:
        """The sum, whatever it measures: MACs, unless the total belongs to a report or a diff of another measure."""
        return self.macs

    @property
    def of_macs(self) -> Total:
        """The sum of MACs alone."""
        return Total(self.macs, self.uncounted, self.bounded)

    @property
    def sign(self) -> str:
        """Empty for an exact sum, ">=" for a lower bound, "<=" for an upper bound, "~" for both at once."""
        if self.uncounted and self.bounded:
            return "~"
        return ">=" if self.uncounted else "<=" if self.bounded else ""

    @staticmethod
    def sum(totals: Iterable[Total]) -> Total:
        """The total of all."""
        macs = uncounted = bounded = read = written = unknown = at_most = 0
        for total in totals:
            macs += total.macs
            uncounted += total.uncounted
            bounded += total.bounded
            read += total.bytes_read
            written += total.bytes_written
            unknown += total.bytes_unknown
            at_most += total.bytes_bounded
        return Total(macs, uncounted, bounded, read, written, unknown, at_most)


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
    """`package/file.py:12`; "" if the graph does not say, and for operators without MACs."""
    count: int  # type: ignore[assignment]  # replaces a method of tuples that nobody needs here
    """Executions in one call."""
    macs: int | None
    """MACs of all `count` executions; None, which is not zero, if the operator has no formula."""
    bounded: bool = False
    """Whether `macs` is an upper bound."""
    note: str = ""
    """The reason why it is uncounted or bounded, for people."""
    shapes: str = ""
    """Operands and results: `2x4096x1536, 6144x1536, 6144 -> 2x4096x6144`; "" if an early fxprof did not save it."""
    types: str = ""
    """Element types of the operands: `bfloat16`, or `int8 as float32, float32`; "" as for `shapes`."""
    traffic: Traffic | None = None
    """Bytes of all `count` executions; None, which is not zero, if unknown."""
    masked: int | None = 0
    """The part of `macs` that a causal attention computes for pairs that its own mask hides; None if unknown."""

    def moved(self, path: str, count: int, macs: int | None, traffic: Traffic | None, masked: int | None) -> OpRow:
        """The same work in another place and amount."""
        return OpRow(
            path,
            self.op,
            self.kind,
            self.source,
            count,
            macs,
            self.bounded,
            self.note,
            self.shapes,
            self.types,
            traffic,
            masked,
        )

    def repeated(self, times: int) -> OpRow:
        """The row for `times` times as many executions."""
        if times == 1:
            return self
        macs, traffic = self.macs, self.traffic
        return self.moved(
            self.path,
            self.count * times,
            None if macs is None else macs * times,
            None if traffic is None else traffic.times(times),
            None if self.masked is None else self.masked * times,
        )

    def plus(self, other: OpRow) -> OpRow:
        """The row for its executions and those of another row that differs only in amounts."""
        macs = None if self.macs is None or other.macs is None else self.macs + other.macs
        traffic = None if self.traffic is None or other.traffic is None else self.traffic.plus(other.traffic)
        masked = None if self.masked is None or other.masked is None else self.masked + other.masked
        return self.moved(self.path, self.count + other.count, macs, traffic, masked)

    @property
    def counts(self) -> bool:
        """Whether it adds anything to a total: most operators cost nothing, and sums can skip them."""
        return self.macs != 0 or self.bounded

    @property
    def total(self) -> Total:
        """The row as a total."""
        return total_of((self,))


def total_of(rows: Iterable[OpRow]) -> Total:
    """The sum of the rows' totals, without building each total: there are a hundred thousand rows, and most cost nothing."""
    macs = uncounted = bounded = bytes_read = bytes_written = unknown = at_most = 0
    for row in rows:
        if row.macs is None:
            uncounted += row.count
        else:
            macs += row.macs
            bounded += row.count if row.bounded else 0
        if row.traffic is None:
            unknown += row.count
        else:
            read, written, is_bound = row.traffic
            bytes_read += read
            bytes_written += written
            at_most += row.count if is_bound else 0
    return Total(macs, uncounted, bounded, bytes_read, bytes_written, unknown, at_most)


@dataclass(frozen=True, slots=True)
class Input:
    """One argument of a call."""

    name: str
    """Argument name; elements of containers are dotted: `added_cond_kwargs.time_ids`."""
    shape: tuple[int, ...] | None
    """Sizes of a tensor; None for a plain value."""
    dtype: str
    """Element type of a tensor; "" for a plain value."""
    value: str = ""
    """A plain value as Python prints it; "" for a tensor."""


@dataclass(frozen=True)
class Call:
    """One distinct way that a component is called in a run of the pipeline."""

    entry: str
    """The module that the pipeline calls, dotted below the component; "" is the component itself."""
    count: int
    """Number of executions in one run of the pipeline."""
    inputs: tuple[Input, ...]
    ops: tuple[OpRow, ...]
    """Operators of one execution of the call, by module."""
    visits: Mapping[str, int] = field(default_factory=dict)
    """Module path to its calls in one execution, for the modules that the graph mentions."""
    note: str = ""
    """The way it was captured, unless simply by exporting the entry."""
    unused: Mapping[str, int] = field(default_factory=dict)
    """Module path to the MACs, in one execution, of its own operators whose results nobody needs. They are part of all totals,
    because the call computes them."""
    weight_bytes: int = 0
    """Bytes of the component's weights while the call runs, which are more than as loaded if the pipeline has converted them,
    as it does with SDXL's autoencoder in float16; 0 if unknown."""
    held_bytes: int = 0
    """The most bytes of tensors that Python held outside of the call when it was made, with the call's inputs."""
    lifetimes: Mapping[str, Lifetimes] = field(default_factory=dict)
    """The peaks by the way to compute attention, `fused` or `math`; a call without such a choice has `fused` alone. Empty if
    unknown: in files of early formats, and for operators that were recorded one by one."""

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
    """Number of its own parameters; a shared one belongs to the first module that holds it."""
    weight_bytes: int = 0
    """Bytes of its own parameters and buffers as loaded; shared ones as for `params`. 0 if unknown."""
    weights: tuple[int, ...] = ()
    """Their positions in the component's `weights`, with repeats."""


class Run(NamedTuple):
    """The inner calls that one call of a component from outside consists of, if its parts were captured one by one."""

    count: int  # type: ignore[assignment]  # replaces a method of tuples that nobody needs here
    """Number of calls from outside, in one run of the pipeline, that consist of exactly these."""
    calls: tuple[tuple[int, int], ...]
    """(position among the component's calls, executions in one call from outside)"""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The sizes that the rehearsal found; unknown sizes stay None or empty."""

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
    """The name of the most often called component."""
    denoiser_calls: int = 0
    denoiser_batch: int = 0
    """Leading size of the denoiser's first input."""
    guidance: str = ""
    """`off`, `in the batch`, `as separate passes`, or "" if the pipeline does not say."""
    tiling: bool = False
    slicing: bool = False
