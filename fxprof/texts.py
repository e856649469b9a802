"""Strangers' files and texts, read so that a small file never takes much memory."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from fxprof import limits

_PIECE = 2**20
"""Bytes to read at once."""


class TextTooLargeError(ValueError):
    """A text would take more memory than any real one; the message gives the amount, as the end of a sentence."""


def read_bytes(path: str | Path, most: int) -> bytes:
    """At most so many bytes of a file, and one more if it is larger. They take memory only for actual content."""
    with Path(path).open("rb") as file:
        return read_most(file, most)


def read_most(file: BinaryIO, most: int) -> bytes:
    """As `read_bytes`, for the rest of an open file."""
    pieces: list[bytes] = []
    left = most + 1
    while left > 0 and (piece := file.read(min(_PIECE, left))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def read_text(data: bytes, encoding: str = "utf-8") -> str:
    """The text of these bytes.

    Raises:
        TextTooLargeError: it would take more than `TEXT_BYTES` in memory.
        UnicodeDecodeError: it is not in this encoding.
    """
    size = _size(data, encoding)
    if size > limits.TEXT_BYTES:
        wide = "" if data.isascii() else ", because some characters take several bytes"
        raise TextTooLargeError(f"takes {size >> 20:,} MiB of memory as a text, more than {limits.TEXT_BYTES >> 20} MiB{wide}")
    return data.decode(encoding)


def _size(data: bytes, encoding: str) -> int:
    """The most bytes that the text can take: all its characters are as wide as the widest."""
    if not encoding.startswith("utf-8"):
        return 4 * len(data) // (4 if encoding.startswith("utf-32") else 2)
    if data.isascii():
        return len(data)
    # The first byte of a character gives its length; from 0xC4 on it is beyond Latin-1, from 0xF0 on beyond the first plane.
    rest = len(data.translate(None, _FOLLOWING))
    first = max(data)
    return rest * (1 if first < _BEYOND_LATIN else 2 if first < _BEYOND_PLANE else 4)


_FOLLOWING = bytes(range(0x80, 0xC0))
_BEYOND_LATIN, _BEYOND_PLANE = 0xC4, 0xF0
