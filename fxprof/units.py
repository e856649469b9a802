"""Numbers for people: four significant digits and a scale.

MACs are plain integers everywhere else; these functions turn them into text. They follow two rules:
"0" stands for zero and nothing else, and "100%" for the whole and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType

DIGITS = 4
"""Significant digits of a scaled number."""

SIGNS: Mapping[str, str] = MappingProxyType({"": "", ">=": "≥", "<=": "≤", "~": "~"})
"""Sign of `fxprof.result.Total` to its form in a report."""

_SCALES = ("", " k", " M", " G", " T", " P")
_COUNTS = ("", " k", " M", " B", " T")  # people count parameters in billions, as in "FLUX, 12 B"
_UNITS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "auto": ("MACs", "auto"),
        "mac": ("MACs", ""),
        "kmac": ("MACs", " k"),
        "mmac": ("MACs", " M"),
        "gmac": ("MACs", " G"),
        "tmac": ("MACs", " T"),
        "flop": ("FLOPs", ""),
        "kflop": ("FLOPs", " k"),
        "mflop": ("FLOPs", " M"),
        "gflop": ("FLOPs", " G"),
        "tflop": ("FLOPs", " T"),
    }
)

UNITS = tuple(_UNITS)
"""The values of `--unit`: `auto` picks a scale for every number, the others use one for all."""

_OTHERS: Mapping[str, str] = MappingProxyType({"traffic": "traffic", "weights": "weights", "operations": "operations"})
"""Units of other measures, to their names in titles; each number has the scale that fits."""


def unit_name(unit: str) -> str:
    """`MACs` or `FLOPs`, or what another measure is of: the name of a unit in titles."""
    return _OTHERS.get(unit) or _UNITS[unit][0]


def format_macs(macs: int, unit: str = "auto", sign: str = "") -> str:
    """MACs in a unit of `UNITS`: `12.34 G`, or `≥12.34 G` for a lower bound; or an amount of another measure.

    Args:
        macs: the number to write.
        unit: `auto` writes MACs with the scale that fits; `mac` and `flop` write every digit; the unit of another measure
            writes bytes, as `format_bytes` or `format_memory` does, or operations.
        sign: exactness of the number, as in `Total.sign`; a lower bound of zero says nothing and reads `uncounted`.
    """
    if not macs and sign in {">=", "~"}:
        return "unknown" if unit in _OTHERS else "uncounted"
    if unit in _OTHERS:
        write = _WRITERS.get(unit)
        return write(macs, sign) if write else SIGNS[sign] + _auto(macs, _SCALES)
    name, scale = _UNITS[unit]
    number = 2 * macs if name == "FLOPs" else macs
    return SIGNS[sign] + (_auto(number, _SCALES) if scale == "auto" else _scaled(number, _SCALES.index(scale), _SCALES))


def format_delta(macs: int, unit: str = "auto", sign: str = "") -> str:
    """A difference of MACs in a unit of `UNITS`: `+1.204 T`, `-3.1 G`, or `≥+1.204 T` when it may be more.

    A zero difference of uncounted or bounded work says nothing, and reads `unknown`.
    """
    if not macs and sign:
        return "unknown"
    return SIGNS[sign] + ("+" if macs > 0 else "") + format_macs(macs, unit)


def format_growth(old: int, new: int) -> str:
    """The growth of a number: `+5.3%`, `-12.0%`, `new` from zero, `gone` to zero."""
    if old == new:
        return "0%"
    if not old or not new:
        return "gone" if old else "new"
    tenths = _divide(1000 * abs(new - old), old)
    if not tenths:
        return "+<0.1%" if new > old else "-<0.1%"
    if new < old and tenths == 1000:  # noqa: PLR2004  # tenths of a percent: not all of it is gone
        return "->99.9%"
    return f"{'+' if new > old else '-'}{tenths // 10:,}.{tenths % 10}%"


def format_flops(macs: int, sign: str = "") -> str:
    """MACs as FLOPs, two for each, with the scale that fits."""
    return format_macs(2 * macs, sign=sign)


def format_params(count: int) -> str:
    """A number of parameters: `123.1 M`, `8.057 B`."""
    return _auto(count, _COUNTS)


def format_share(part: int, whole: int) -> str:
    """A part of a whole in percent, to a tenth.

    `0%` only for no part at all and `100%` only for all of it; a share that would round to these reads `<0.1%` or `>99.9%`.
    """
    if not part:
        return "0%"
    if part == whole:
        return "100%"
    tenths = _divide(1000 * part, whole)
    if not tenths:
        return "<0.1%"
    return ">99.9%" if tenths == 1000 else f"{tenths // 10}.{tenths % 10}%"  # noqa: PLR2004  # 1000 tenths of a percent


def _auto(number: int, scales: Sequence[str]) -> str:
    """The number in the scale that leaves one to three digits before the point after rounding."""
    step = 0
    while step < len(scales) - 1 and (abs(number) >= 1000 ** (step + 1) or _scaled(number, step, scales).startswith(_FULL)):
        step += 1
    return _scaled(number, step, scales)


_FULL = ("1,000", "-1,000")


def _scaled(number: int, step: int, scales: Sequence[str]) -> str:
    """The number with all digits before the point, and as many after it as make up `DIGITS`."""
    if not number or not step:
        return f"{number:,}"
    whole = 1000**step
    places = max(0, DIGITS - _leading(abs(number), whole))
    rounded = _divide(abs(number) * 10**places, whole)
    if places and rounded >= 10**DIGITS:  # 9.99996 reads 10.00, not 10.000
        places, rounded = places - 1, rounded // 10
    before, after = divmod(rounded, 10**places)
    text = f"{before:,}" + (f".{after:0{places}d}" if places else "")
    return ("-" if number < 0 else "") + text + scales[step]


def _leading(number: int, whole: int) -> int:
    """The number of digits of number / whole before the point; if there are none, minus the zeros after it."""
    if number >= whole:
        return len(str(number // whole))
    places = 0
    while number * 10 ** (places + 1) < whole:
        places += 1
    return -places


def _divide(number: int, by: int) -> int:
    """The quotient rounded to the nearest integer, halves up."""
    return (2 * number + by) // (2 * by)


def format_bytes(count: int, sign: str = "") -> str:
    """Bytes in decimal units, as bandwidths are given: `1.049 TB`, `≥16.76 GB`."""
    text = _auto(count, _SCALES)
    return f"{SIGNS[sign]}{text}B" if " " in text else f"{SIGNS[sign]}{text} B"


_BINARY = (" B", " KiB", " MiB", " GiB", " TiB", " PiB")


def format_memory(count: int, sign: str = "") -> str:
    """Bytes in powers of 1024, as memory is measured: `31.44 GiB`, `≥1.5 MiB`."""
    step, number = 0, abs(count)
    while step < len(_BINARY) - 1 and number >= 1000 * 1024**step:
        step += 1
    places = 0 if not step else max(0, DIGITS - _leading(number, 1024**step))
    before, after = divmod(_divide(number * 10**places, 1024**step), 10**places)
    text = f"{before:,}" + (f".{after:0{places}d}" if places else "")
    return f"{SIGNS[sign]}{'-' if count < 0 else ''}{text}{_BINARY[step]}"


_WRITERS: Mapping[str, Callable[[int, str], str]] = MappingProxyType({"traffic": format_bytes, "weights": format_memory})
"""Traffic is compared with bandwidths, and weights with the sizes of memories."""

_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?) ?(?:([KMGTP])(i?))?B?", re.ASCII | re.IGNORECASE)


def read_memory(text: str) -> int | None:
    """Bytes of `24GiB` (powers of 1024), `24GB` or `24G` (powers of 1000), or of a bare number; None if it is no size."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    power = "KMGTP".index(match[2].upper()) + 1 if match[2] else 0
    return int(Fraction(match[1]) * (1024 if match[3] else 1000) ** power)


def format_seconds(seconds: float) -> str:
    """A time in the unit that fits: `445.8 ms`, `1.2 s`, `17.25 us`."""
    if not seconds:
        return "0"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.4g} {unit}" if seconds < 1e4 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds * 1e9:.4g} ns"
