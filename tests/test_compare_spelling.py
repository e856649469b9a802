"""Operators that do the same work under other names."""

from __future__ import annotations

import pytest

from fxprof.compare.spelling import unify_spelling


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (
            ("aten.conv2d.default", "1x3x8x8, 4x3x3x3 -> 1x4x6x6"),
            ("aten.convolution.default", "1x3x8x8, 4x3x3x3 -> 1x4x6x6"),
            True,
        ),
        (
            ("aten.conv_transpose2d.input", "1x4x6x6, 4x3x3x3 -> 1x3x8x8"),
            ("aten.convolution.default", "1x4x6x6, 4x3x3x3 -> 1x3x8x8"),
            True,
        ),
        (
            ("aten.conv2d.default", "1x4x6x6, 4x4x3x3 -> 1x4x6x6"),
            ("aten.conv_transpose2d.input", "1x4x6x6, 4x4x3x3 -> 1x4x6x6"),
            False,
        ),
        (
            ("aten.conv2d.default", "1x3x8x8, 4x3x3x3 -> 1x4x6x6"),
            ("aten.convolution.default", "1x3x9x9, 4x3x3x3 -> 1x4x7x7"),
            False,
        ),
    ],
)
def test_the_same_work_by_its_shapes(one: tuple[str, str], other: tuple[str, str], *, same: bool) -> None:
    assert (unify_spelling(one[0], "convolution", one[1]) == unify_spelling(other[0], "convolution", other[1])) is same
