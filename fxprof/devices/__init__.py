"""Devices: peak rates, bandwidth and memory, one TOML file each. A file of the user's own has the same form.

`docs/roofline.md` describes the fields. Rates are dense, never sparse, and accumulate in 32 bits.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from fxprof import limits, texts
from fxprof.errors import TargetError, UsageError, printable

_FACTS = ("memory_gb", "bandwidth_gb_per_s", "cache_mb", "power_w")
PEAKS = ("float32", "tf32", "float16", "float16_accumulated_in_float16", "bfloat16", "float8", "int8")
"""The types that a device may have a peak for; `tf32` is float32 with rounded operands."""
_KEYS = frozenset({"title", "architecture", *_FACTS, "unconfirmed", "sources", "note", "peak_tflops", "provenance"})
_TERA = 10**12
_GIGA = 10**9


@dataclass(frozen=True, slots=True)
class Device:
    """What a device can do at most."""

    name: str
    """Its name as an option: `h100-sxm`; for a file, the file's name."""
    title: str
    peaks: Mapping[str, float]
    """Element type, one of `PEAKS`, to operations in a second: two for a multiply-accumulate."""
    bandwidth: float | None
    """Bytes in a second between its memory and its processors."""
    memory_gb: float | None
    """As it is sold; makers do not say whether a GB has 10**9 bytes or 2**30."""
    unconfirmed: tuple[str, ...] = ()
    """Facts that circulate, and for which no source was read; they are not used."""
    note: str = ""
    architecture: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Fact to `read` in a source, or `derived` from one."""
    sources: tuple[str, ...] = ()

    def find_peak(self, dtype: str) -> float:
        """Operations in a second on an element type of torch.

        For `float32` it is the higher one of float32 and tf32, since a program may allow the latter.

        Raises:
            TargetError: it has none, or none that is confirmed.
        """
        names = _TYPES.get(dtype, (dtype,))
        known = [self.peaks[name] for name in names if name in self.peaks]
        if known:
            return max(known)
        if any(name in self.unconfirmed for name in names):
            why = f"its peak rate for {dtype} is not confirmed by any source that was read"
        else:
            why = f"it has no peak rate for {dtype}"
        types = ", ".join(self.peaks) or "none"
        hint = f"known are {types}; --dtype chooses the type, a file of your own can name the rate (docs/roofline.md)"
        raise TargetError(f"no bound on {self.name}: {why}", hint)

    def find_bandwidth(self) -> float:
        """Bytes in a second.

        Raises:
            TargetError: it is not confirmed.
        """
        if self.bandwidth is None:
            why = "its memory bandwidth is not confirmed by any source that was read"
            raise TargetError(f"no bound on {self.name}: {why}", "a file of your own can name it (docs/roofline.md)")
        return self.bandwidth

    def find_memory(self) -> int:
        """Bytes of its memory: a GB as it is sold counts as 10**9 bytes. Many cards report more, and those with ECC do not.

        Raises:
            TargetError: its size is not confirmed.
        """
        if self.memory_gb is None:
            why = "the size of its memory is not confirmed by any source that was read"
            raise TargetError(f"cannot say what fits on {self.name}: {why}", "say how much there is: --budget 24GiB")
        return int(self.memory_gb * 10**9)


_TYPES = {
    "float32": ("float32", "tf32"),
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"), ("float8",)),
    **dict.fromkeys(("uint8", "qint8", "quint8"), ("int8",)),
}
"""Element types of torch to the rates that they can run at."""


@cache
def device_names() -> tuple[str, ...]:
    """The names of the bundled devices, sorted."""
    return tuple(
        sorted(item.name.removesuffix(".toml") for item in files(__package__).iterdir() if item.name.endswith(".toml"))
    )


def find_device(name: str) -> Device:
    """A bundled device by its name, or that of a file whose name ends in `.toml`.

    Raises:
        UsageError: no bundled device has this name.
        TargetError: the file cannot be read, or is no device.
    """
    if name.endswith(".toml"):
        return _own(Path(name))
    if name not in device_names():
        near = difflib.get_close_matches(name.lower(), device_names(), n=3, cutoff=0.4)
        near += [known for known in device_names() if name.lower() in known and known not in near][:3]
        hint = f"did you mean {' or '.join(near)}?" if near else "`fxprof devices` lists them; a file of your own ends in .toml"
        raise UsageError(f"no device is called {printable(name, 80)}", hint)
    return _device(name, tomllib.loads((files(__package__) / f"{name}.toml").read_text(encoding="utf-8")))


def all_devices() -> tuple[Device, ...]:
    """The bundled devices, by name."""
    return tuple(map(find_device, device_names()))


def _own(path: Path) -> Device:
    try:
        data = texts.read_bytes(path, limits.DEVICE_BYTES)
    except OSError as error:
        raise TargetError(f"cannot read the device {path}: {error.strerror or error}") from error
    if len(data) > limits.DEVICE_BYTES:
        raise TargetError(f"{path} is no device: it holds more than {limits.DEVICE_BYTES:,} bytes")
    try:
        table = tomllib.loads(texts.read_text(data))
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, and texts that are no UTF-8, too
        raise TargetError(f"{path} is no device: {printable(str(error), 120)}", _FORM) from error
    try:
        return _device(path.name, table)
    except ValueError as error:
        raise TargetError(f"{path} is no device: {error}", _FORM) from error


_FORM = "docs/roofline.md shows such a file"


def _device(name: str, table: Mapping[str, Any]) -> Device:
    """The device that a table describes.

    Raises:
        ValueError: it describes none; the text says why.
    """
    strange = [key for key in table if key not in _KEYS]
    if strange:
        raise ValueError(f"{printable(strange[0], 60)} is no field of a device")
    rates = table.get("peak_tflops", {})
    if not isinstance(rates, dict) or (not rates and "unconfirmed" not in table):
        raise ValueError("it has no [peak_tflops]")
    for key in rates:
        if key not in PEAKS:
            raise ValueError(f"{printable(key, 60)} is no type with a peak rate; one of {', '.join(PEAKS)}")
    facts = {key: _positive(key, table[key]) for key in _FACTS if key in table}
    bandwidth = facts.get("bandwidth_gb_per_s")
    return Device(
        name,
        _text("title", table.get("title", name)),
        {key: _positive(key, rate) * _TERA for key, rate in rates.items()},
        None if bandwidth is None else bandwidth * _GIGA,
        facts.get("memory_gb"),
        tuple(_texts("unconfirmed", table.get("unconfirmed", []))),
        _text("note", table.get("note", "")),
        _text("architecture", table.get("architecture", "")),
        _origins(table.get("provenance", {})),
        tuple(_texts("sources", table.get("sources", []))),
    )


def _origins(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("provenance is not a table")  # noqa: TRY004 - of a file, not of a caller
    return {key: _text("provenance", item) for key, item in value.items()}


def _positive(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < _LARGEST or not math.isfinite(value):
        raise ValueError(f"{key} is not a number above 0")
    return float(value)


_LARGEST = 1e9
"""Above it no rate or size in the units of the files can be."""


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key} is not a text")  # noqa: TRY004 - as above
    return value


def _texts(key: str, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise ValueError(f"{key} is not a list of texts")  # noqa: TRY004 - as above
    return [_text(key, item) for item in value]
