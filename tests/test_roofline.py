"""Bounds on a device: figures derived by hand, laws, and devices in files of the user's own."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import run
from profiles import BUILDERS, VERSIONS

from fxprof.cost.traffic import NONE, Traffic
from fxprof.devices import PEAKS, Device, all_devices, device_names, find_device
from fxprof.errors import FxprofError, TargetError, UsageError
from fxprof.result import Call, Component, ModuleRecord, OpRow, Profile
from fxprof.result.roofline import GROUPINGS, find_roofline

DEVICE = Device("d", "A device", {"float32": 1000.0, "float8": 4000.0, "float16": 2000.0}, 100.0, 1.0)
"""A thousand operations and a hundred bytes in a second."""


def op(kind: str, macs: int | None, read: int, written: int, types: str = "float32", **more: Any) -> OpRow:
    return OpRow("", f"aten.{kind}", kind, "", 1, macs, types=types, traffic=Traffic(read, written), **more)


def profile(*rows: OpRow, count: int = 1) -> Profile:
    part = Component("unet", "UNet", (ModuleRecord("", "UNet", 0),), (Call("", count, (), rows),))
    return Profile("t", "P", {}, VERSIONS, {"unet": part})


COMPUTES = op("linear", 5000, 100, 100)  # 10 s of arithmetic, 2 s of traffic
MOVES = op("convolution", 500, 400, 100)  # 1 s of arithmetic, 5 s of traffic
ACTS = op("elementwise", 0, 200, 100)  # 3 s of traffic


def test_each_operator_takes_the_longer_of_two_times() -> None:
    whole = find_roofline(profile(COMPUTES, MOVES, ACTS), DEVICE).whole
    assert (whole.compute_seconds, whole.eager_seconds, whole.fused_seconds) == (10 + 1, 10 + 5 + 3, 10 + 5)
    assert (whole.total.macs, whole.traffic, whole.intensity) == (5500, 1000, 11.0)
    assert (whole.limit, whole.limited_by_compute) == ("compute", 10)
    assert whole.is_exact


def test_calls_multiply() -> None:
    once, twice = (find_roofline(profile(COMPUTES, ACTS, count=count), DEVICE).whole for count in (1, 2))
    assert twice.eager_seconds == 2 * once.eager_seconds
    assert twice.total == once.total * 2


def test_measured_time_gives_the_part_of_the_peak() -> None:
    found = find_roofline(profile(COMPUTES, ACTS), DEVICE, seconds={"unet": 20.0, "": 40.0})
    assert (found.rows[0].utilisation, found.whole.utilisation) == (0.5, 0.25)
    assert not found.whole.is_too_fast
    assert find_roofline(profile(COMPUTES), DEVICE, seconds=9.0).whole.is_too_fast


@pytest.mark.parametrize(
    ("types", "seconds"),
    [
        ("float32", 10.0),
        ("float16, float16", 5.0),
        ("float8_e4m3fn, float32", 2.5),
        ("int8 as float32, float32", 10.0),
        ("float16, int64", 5.0),
    ],
)
def test_the_type_of_the_operands_decides_the_rate(types: str, seconds: float) -> None:
    assert find_roofline(profile(op("linear", 5000, 1, 1, types)), DEVICE).whole.compute_seconds == seconds


def test_unknown_work_adds_nothing_and_upper_bounds_are_told() -> None:
    unknown = replace_traffic(op("unknown", None, 1, 1), None)
    assert find_roofline(profile(COMPUTES, unknown), DEVICE).whole.eager_seconds == 10
    bounded = op("linear", 5000, 1, 1, bounded=True)
    assert not find_roofline(profile(bounded), DEVICE).whole.is_exact
    copied = replace_traffic(ACTS, Traffic(1, 1, bounded=True))
    assert not find_roofline(profile(copied), DEVICE).whole.is_exact
    assert find_roofline(profile(replace_traffic(ACTS, NONE), COMPUTES), DEVICE).whole.eager_seconds == 10


def replace_traffic(row: OpRow, traffic: Traffic | None) -> OpRow:
    return row._replace(traffic=traffic)


@pytest.mark.parametrize("by", GROUPINGS)
@pytest.mark.parametrize("name", ["normal", "uncounted", "bounded"])
def test_rows_add_up_to_the_whole(name: str, by: str) -> None:
    given = with_types(BUILDERS[name]())
    found = find_roofline(given, DEVICE, by)
    assert sum(row.eager_seconds for row in found.rows) == pytest.approx(found.whole.eager_seconds)
    assert sum(row.compute_seconds for row in found.rows) == pytest.approx(found.whole.compute_seconds)
    assert found.whole.fused_seconds <= found.whole.eager_seconds
    assert found.whole.compute_seconds <= found.whole.fused_seconds * (1 + 1e-12)
    assert found.whole.total == given.total


def with_types(given: Profile) -> Profile:
    def call(item: Call) -> Call:
        return replace(item, ops=tuple(row._replace(types="float32") for row in item.ops))

    parts = {name: replace(part, calls=tuple(map(call, part.calls))) for name, part in given.components.items()}
    return replace(given, components=parts)


REFUSED: dict[str, tuple[Any, type[FxprofError], str]] = {
    "no such rate": (lambda: profile(op("linear", 1, 1, 1, "bfloat16")), TargetError, "it has no peak rate for bfloat16"),
    "no types": (lambda: profile(op("linear", 1, 1, 1, "")), TargetError, "it is not known on which type"),
    "no bytes": (lambda: profile(replace_traffic(COMPUTES, None)), TargetError, "does not know the bytes of its operators"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_bound_is_refused(name: str) -> None:
    make, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        find_roofline(make(), DEVICE)


def test_a_time_must_be_one_and_of_a_component() -> None:
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="a measured time is above 0"):
            find_roofline(profile(COMPUTES), DEVICE, seconds=seconds)
    with pytest.raises(UsageError, match="no component 'vae'"):
        find_roofline(profile(COMPUTES), DEVICE, seconds={"vae": 1.0})
    with pytest.raises(UsageError, match="cannot be grouped by 'op'"):
        find_roofline(profile(COMPUTES), DEVICE, "op")


# --- devices


@pytest.mark.parametrize("device", all_devices(), ids=device_names())
def test_every_fact_of_a_bundled_device_says_where_it_comes_from(device: Device) -> None:
    known = {*device.peaks, *({"bandwidth_gb_per_s"} if device.bandwidth else ()), *({"memory_gb"} if device.memory_gb else ())}
    assert known <= set(device.provenance)
    assert set(device.provenance.values()) <= {"read", "derived"}
    assert not set(device.unconfirmed) & set(device.provenance)
    assert device.sources
    assert re.fullmatch(r"[a-z0-9-]+", device.name)
    assert set(device.peaks) <= set(PEAKS)
    tf32, half = device.peaks.get("tf32"), device.peaks.get("bfloat16")
    assert tf32 is None or half is None or tf32 <= half, "rates fall with the width of the type"


def test_an_unconfirmed_rate_is_an_error_that_says_so() -> None:
    with pytest.raises(TargetError, match="no bound on l20: its peak rate for bfloat16 is not confirmed"):
        find_device("l20").find_peak("bfloat16")
    with pytest.raises(TargetError, match="bandwidth is not confirmed"):
        find_device("l4").find_bandwidth()


def test_a_wrong_name_names_near_ones() -> None:
    with pytest.raises(UsageError) as caught:
        find_device("h100")
    assert "h100-sxm" in caught.value.hint
    assert "\n" not in caught.value.message


OWN = 'title = "Mine"\nbandwidth_gb_per_s = 100\n[peak_tflops]\nbfloat16 = 2.5\n'


def test_a_device_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(OWN)
    device = find_device(str(path))
    assert (device.title, device.find_peak("bfloat16"), device.find_bandwidth()) == ("Mine", 2.5e12, 1e11)


DAMAGED = {
    "no rates": ('title = "x"\n', "it has no [peak_tflops]"),
    "a strange field": (OWN.replace("title", "titel"), "titel is no field of a device"),
    "a strange type": (OWN.replace("bfloat16", "bf17"), "bf17 is no type with a peak rate"),
    "a negative rate": (OWN.replace("2.5", "-1"), "bfloat16 is not a number above 0"),
    "an endless rate": (OWN.replace("2.5", "inf"), "bfloat16 is not a number above 0"),
    "no number": (OWN.replace("2.5", "true"), "bfloat16 is not a number above 0"),
    "a long number": (OWN.replace("2.5", "9" * 10_000), "is no device"),
    "no TOML": ("{", "is no device"),
    "deep": ("a = " + "[" * 5000, "is no device"),
    "no UTF-8": ("\udcff", "is no device"),
    "large": ("#" * 2**21, "it holds more than"),
    "a list for a text": (OWN.replace('"Mine"', "[1]"), "title is not a text"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_one_line(name: str, tmp_path: Path) -> None:
    text, message = DAMAGED[name]
    path = tmp_path / "mine.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(TargetError) as caught:
        find_device(str(path))
    assert message in caught.value.message
    assert "\n" not in caught.value.message


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="cannot read the device"):
        find_device(str(tmp_path / "none.toml"))


# --- the commands


@pytest.fixture
def typed(tmp_path: Path) -> Path:
    path = tmp_path / "p.json"
    with_types(BUILDERS["normal"]()).save(path)
    return path


def test_the_command_prints_bounds_and_measured_times(typed: Path) -> None:
    done = run("roofline", str(typed), "--device", "h100-sxm", "--seconds", "4.2", "--seconds", "transformer=3s")
    assert done.exit_code == 0, done.output
    assert "NVIDIA H100 SXM5" in done.stdout
    assert "not predictions" in " ".join(done.stdout.split())
    assert re.search(r"^total .* 4\.2 s ", done.stdout, re.MULTILINE)


def test_programs_get_plain_numbers(typed: Path) -> None:
    done = run("roofline", str(typed), "--device", "h100-sxm", "--by", "kind", "--format", "json")
    told = json.loads(done.stdout)
    assert told["device"] == "h100-sxm"
    (total,) = [row for row in told["rows"] if row["kind"] == "total"]
    bounds = find_roofline(with_types(BUILDERS["normal"]()), find_device("h100-sxm"), "kind")
    assert total["eager_seconds"] == bounds.whole.eager_seconds
    assert total["traffic"] == bounds.whole.traffic


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "Missing option '--device'"),
        (("--device", "h100"), 2, "no device is called h100"),
        (("--device", "l20"), 3, "bandwidth is not confirmed"),
        (("--device", "h100-sxm", "--seconds", "0"), 2, "is not a time above 0 seconds"),
        (("--device", "h100-sxm", "--seconds", "x"), 2, "is not a number"),
        (("--device", "h100-sxm", "--seconds", "nowhere=1"), 2, "no component 'nowhere'"),
    ],
)
def test_wrong_options_are_told(typed: Path, options: tuple[str, ...], code: int, message: str) -> None:
    done = run("roofline", str(typed), *options)
    assert (done.exit_code, message in done.stderr) == (code, True), done.stderr


def test_devices_are_listed() -> None:
    done = run("devices")
    assert set(device_names()) <= set(re.findall(r"^\S+", done.stdout, re.MULTILINE))
    rows = json.loads(run("devices", "--format", "json").stdout)["rows"]
    assert [row["name"] for row in rows] == list(device_names())
