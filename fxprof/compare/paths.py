"""Module paths in the order that people expect, and several paths merged into one text."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache


@lru_cache(maxsize=1 << 17)
def natural_key(path: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts paths with numbers as numbers."""
    return tuple((0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part) for part in path.split("."))


_NAMES = 4
"""Names that a merged path lists one by one."""


def merge_paths(paths: Iterable[str]) -> str:
    """Several paths as one: `blocks.0…22.attn.{to_k,to_v}`; `*` means many names, and `…` in front many beginnings."""
    parts = [path.split(".") for path in dict.fromkeys(paths)]
    if not parts:
        return ""
    least = min(map(len, parts))
    uneven = any(len(path) != least for path in parts)
    merged = [_merged(names) for names in zip(*(path[len(path) - least :] for path in parts), strict=True)]
    while uneven and merged[:1] == ["*"]:
        del merged[0]
    return ".".join(["…", *merged] if uneven else merged)


def _merged(names: Iterable[str]) -> str:
    distinct = sorted(set(names), key=natural_key)
    if len(distinct) == 1:
        return distinct[0]
    if all(name.isascii() and name.isdecimal() for name in distinct):
        numbers = [int(name) for name in distinct]
        if numbers == list(range(numbers[0], numbers[-1] + 1)):
            return f"{numbers[0]}…{numbers[-1]}"
    return "{" + ",".join(distinct) + "}" if len(distinct) <= _NAMES else "*"
