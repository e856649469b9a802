"""Several module paths, written as one."""

from __future__ import annotations

import pytest

from fxprof.compare.paths import merge_paths


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a.b"], "a.b"),
        ([], ""),
        ([""], ""),
        (["b.0.x", "b.1.x", "b.2.x"], "b.0…2.x"),
        (["b.9.x", "b.10.x"], "b.9…10.x"),
        (["b.0.x", "b.2.x"], "b.{0,2}.x"),
        (["b.0.q", "b.0.k"], "b.0.{k,q}"),
        ([f"b.{name}" for name in "vwxyz"], "b.*"),
        (["down.0.attn.q", "mid.attn.q"], "….{0,mid}.attn.q"),
        (["down.0.attn.q", "down.1.attn.q", "down.2.attn.q", "up.0.attn.q", "mid.attn.q", "out.attn.q"], "….attn.q"),
    ],
)
def test_paths_are_written_as_one(paths: list[str], expected: str) -> None:
    assert merge_paths(paths) == expected
