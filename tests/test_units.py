"""Numbers as text: zero is the only 0, the whole is the only 100%, and rounding changes the scale where it must."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxprof import units


@pytest.mark.parametrize(
    ("macs", "expected"),
    [
        (0, "0"),
        (1, "1"),
        (999, "999"),
        (1_000, "1.000 k"),
        (9_999, "9.999 k"),
        (12_345, "12.35 k"),
        (12_344, "12.34 k"),
        (99_995, "100.0 k"),
        (999_949, "999.9 k"),
        (999_950, "1.000 M"),
        (999_950_000_000, "1.000 T"),
        (999_949_999_999, "999.9 G"),
        (123_456_789_012_345, "123.5 T"),
        (5 * 10**15, "5.000 P"),
        (999_950 * 10**12, "1,000 P"),
        (12_345_678 * 10**15, "12,345,678 P"),
        (-1_500, "-1.500 k"),
        (-999_950, "-1.000 M"),
    ],
)
def test_automatic_scale(macs: int, expected: str) -> None:
    assert units.format_macs(macs) == expected


@pytest.mark.parametrize(
    ("unit", "macs", "expected"),
    [
        ("mac", 1_234_567, "1,234,567"),
        ("flop", 1_234_567, "2,469,134"),
        ("kmac", 1_234_567, "1,235 k"),
        ("mmac", 1_234_567, "1.235 M"),
        ("gmac", 1_234_567, "0.001235 G"),
        ("tmac", 1, "0.000000000001000 T"),
        ("gmac", 99_999_600_000, "100.0 G"),
        ("gmac", 9_999_960_000, "10.00 G"),
        ("gmac", 999_996, "0.001000 G"),
        ("kflop", 500, "1.000 k"),
        ("mflop", 500_000, "1.000 M"),
        ("gflop", 677_900_000_000, "1,356 G"),
        ("tflop", 677_900_000_000, "1.356 T"),
        ("tflop", 0, "0"),
    ],
)
def test_fixed_units(unit: str, macs: int, expected: str) -> None:
    assert units.format_macs(macs, unit) == expected


@pytest.mark.parametrize(
    ("sign", "macs", "expected"),
    [
        ("", 1500, "1.500 k"),
        (">=", 1500, "≥1.500 k"),
        ("<=", 1500, "≤1.500 k"),
        ("~", 1500, "~1.500 k"),
        ("<=", 0, "≤0"),
        (">=", 0, "uncounted"),
        ("~", 0, "uncounted"),
    ],
)
def test_signs(sign: str, macs: int, expected: str) -> None:
    assert units.format_macs(macs, sign=sign) == expected


def test_flops_are_two_per_mac() -> None:
    assert units.format_flops(1_000_000, sign=">=") == "≥2.000 M"


def test_what_a_unit_counts() -> None:
    named = {unit: units.unit_name(unit) for unit in units.UNITS}
    assert [unit for unit, name in named.items() if name == "MACs"] == ["auto", "mac", "kmac", "mmac", "gmac", "tmac"]
    assert [unit for unit, name in named.items() if name == "FLOPs"] == ["flop", "kflop", "mflop", "gflop", "tflop"]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0"),
        (110, "110"),
        (123_060_480, "123.1 M"),
        (8_057_000_000, "8.057 B"),
        (999_950_000, "1.000 B"),
        (10**16, "10,000 T"),
    ],
)
def test_parameters(count: int, expected: str) -> None:
    assert units.format_params(count) == expected


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        (0, 0, "0%"),
        (0, 7, "0%"),
        (7, 7, "100%"),
        (1, 3, "33.3%"),
        (2, 3, "66.7%"),
        (1, 2_000, "0.1%"),
        (1, 2_001, "<0.1%"),
        (1, 10**30, "<0.1%"),
        (9_994, 10_000, "99.9%"),
        (9_995, 10_000, ">99.9%"),
        (10**30 - 1, 10**30, ">99.9%"),
    ],
)
def test_shares(part: int, whole: int, expected: str) -> None:
    assert units.format_share(part, whole) == expected


_SCALE = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}


@given(st.integers(1, 10**19), st.sampled_from(["auto", "gmac", "tmac", "mac"]))
def test_text_is_within_half_a_unit_of_its_last_digit(macs: int, unit: str) -> None:
    number, _, scale = units.format_macs(macs, unit).replace(",", "").partition(" ")
    places = len(number.partition(".")[2])
    assert abs(int(number.replace(".", "")) * _SCALE[scale] - macs * 10**places) * 2 <= _SCALE[scale]
    assert number.strip("0.") != ""
