"""Words and numbers of a report: on one line, within a width, with a noun in the singular or the plural."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST_FACT = 4_000
"""Characters of a title or a fact for people; longer ones lose their middle."""


def clean(text: str) -> str:
    """The text on one line, without characters that steer a terminal."""
    return "".join(char if char.isprintable() else " " if char.isspace() else "�" for char in text)


def shorten(text: str, width: int, *, tail: bool = False) -> str:
    """The text in at most `width` characters, without its middle: both ends of a name say more than its beginning.

    With `tail`, only its end remains.
    """
    if len(text) <= width:
        return text
    if tail:
        return "…" + text[len(text) - width + 1 :].lstrip("….")
    head = width // 2
    return text[:head] + "…" + text[len(text) - (width - head - 1) :]


def format_sizes(sizes: Iterable[int]) -> str:
    """The sizes of a shape as `1 x 16 x 128 x 128`."""
    return " x ".join(map(str, sizes)) or "scalar"


def format_count(count: int, noun: str) -> str:
    """`1 call`, `2 calls`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
