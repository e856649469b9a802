"""A model in a single file: the header of a `.safetensors` or `.gguf` file.

The reader takes names and shapes of tensors, and no tensor. It checks all statements of a header against the file's size.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, BinaryIO

from fxprof import limits
from fxprof.errors import TargetError
from fxprof.strict_json import JsonError, read_json

SUFFIXES = (".safetensors", ".gguf")
MAX_HEADER = limits.HEADER_BYTES  # headers of the largest models have less than a tenth
MAX_TENSORS = limits.HEADER_TENSORS
_MAX_DIMENSIONS = 8
_MAX_SIZE = 2**40
"""Elements of one dimension, and of all together."""
_MAX_NAME = 1000
_DEEPEST = 4
"""Levels of arrays within arrays, in the metadata of a GGUF file."""

_TYPES = {
    4: ("F4",),
    6: ("F6_E2M3", "F6_E3M2"),
    8: ("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"),
    16: ("I16", "U16", "F16", "BF16"),
    32: ("I32", "U32", "F32"),
    64: ("I64", "U64", "F64", "C64"),
}
_ELEMENT_BITS = {name: bits for bits, names in _TYPES.items() for name in names}
_GGUF = b"GGUF"
_GGUF_VERSIONS = (2, 3)
_GGUF_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Type of a value in the metadata to its size in bytes; 8 is a text, 9 an array."""
_TEXT, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """A single file with weights, known by its header alone."""

    name: str
    """The last part of the user's path."""
    path: Path
    tensors: Mapping[str, tuple[int, ...]]
    """Name of a tensor to its shape."""


def looks_like_checkpoint(path: Path, head: bytes) -> bool:
    """Whether a file has a suffix of such files, or begins as a GGUF file does."""
    return path.suffix.lower() in SUFFIXES or head.startswith(_GGUF)


def read_checkpoint(path: Path, opened: FileIO | None = None) -> CheckpointFile:
    """The names and shapes of the tensors in a file.

    Args:
        path: path of the file.
        opened: the file if the caller has opened it, at its beginning; closed afterwards.

    Raises:
        TargetError: the file is unreadable, or its header breaks its format.
    """
    try:
        with BufferedReader(opened or FileIO(path)) as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(len(_GGUF))
            file.seek(0)
            tensors = _read_gguf(file, size) if start == _GGUF else _read_safetensors(file, size)
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror or error}") from error
    except (_BadHeaderError, struct.error) as error:
        raise TargetError(f"cannot read {path}: {error}", "the file may be damaged, or of another format") from error
    return CheckpointFile(path.name, path, tensors)


class _BadHeaderError(Exception):
    """The fault of a header, as the end of a sentence."""


def _read_safetensors(file: BinaryIO, size: int) -> dict[str, tuple[int, ...]]:
    start = file.read(8)
    if len(start) < 8:  # noqa: PLR2004 - the bytes of the header's length
        raise _BadHeaderError("it is too short for a header")
    (length,) = struct.unpack("<Q", start)
    if length > min(MAX_HEADER, size - 8):
        raise _BadHeaderError(
            f"its header would have {length:,} bytes, which is more than the file or the limit of {MAX_HEADER:,}"
        )
    try:
        header = read_json(file.read(length), values=limits.JSON_VALUES)
    except JsonError as error:
        raise _BadHeaderError(f"its header {error}") from error
    if not isinstance(header, dict):
        raise _BadHeaderError("its header is no JSON object")
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    _check_count(len(entries))
    shapes = {name: _safetensors_shape(name, entry, size - 8 - length) for name, entry in entries.items()}
    _refuse_overlaps(entries)
    return shapes


def _refuse_overlaps(entries: Mapping[str, Any]) -> None:
    """Refuse tensors that overlap: with them a small file could hold any number of large tensors."""
    places = sorted((*entry["data_offsets"], name) for name, entry in entries.items())
    for (_, end, _), (start, after, name) in itertools.pairwise(places):
        if start < end and start < after:
            raise _BadHeaderError(f"the tensor {_short(name)} overlaps another one")


def _safetensors_shape(name: str, entry: Any, room: int) -> tuple[int, ...]:
    match entry:
        case {"dtype": str() as dtype, "shape": [*sizes], "data_offsets": [int() as start, int() as end]}:
            shape = _shape(name, sizes)
        case _:
            raise _BadHeaderError(f"the entry {_short(name)} has no dtype, shape and data_offsets")
    if dtype not in _ELEMENT_BITS:
        raise _BadHeaderError(f"the tensor {_short(name)} is of the unknown type {_short(dtype)}")
    if not 0 <= start <= end <= room or (end - start) * 8 != _elements(shape) * _ELEMENT_BITS[dtype]:
        raise _BadHeaderError(f"the position of the tensor {_short(name)} does not fit its shape and the file")
    return shape


def _read_gguf(file: BinaryIO, size: int) -> dict[str, tuple[int, ...]]:
    reader = _Reader(file, min(size, MAX_HEADER))
    reader.take(len(_GGUF))
    version = reader.number("<I")
    if version not in _GGUF_VERSIONS:
        raise _BadHeaderError(f"it is a GGUF file of version {version}, but fxprof reads versions 2 and 3")
    count, pairs = reader.number("<Q"), reader.number("<Q")
    _check_count(count)
    _check_count(pairs)
    for _ in range(pairs):
        reader.text()
        reader.skip_value(reader.number("<I"), 0)
    return dict(_gguf_tensor(reader, size) for _ in range(count))


def _gguf_tensor(reader: _Reader, size: int) -> tuple[str, tuple[int, ...]]:
    name = reader.text()
    dimensions = reader.number("<I")
    if dimensions > _MAX_DIMENSIONS:
        raise _BadHeaderError(f"the tensor {_short(name)} has {dimensions:,} dimensions")
    sizes = [reader.number("<Q") for _ in range(dimensions)]
    reader.take(4)  # the type of its elements
    if reader.number("<Q") > size:
        raise _BadHeaderError(f"the tensor {_short(name)} lies outside of the file")
    return name, _shape(name, sizes[::-1])  # a GGUF file lists the innermost dimension first


class _Reader:
    """Reader of a GGUF header, up to a number of bytes."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._left, self._values = file, most, limits.HEADER_VALUES

    def take(self, count: int) -> bytes:
        self._left -= count
        data = self._file.read(count) if self._left >= 0 else b""
        if len(data) < count:
            raise _BadHeaderError("its header goes beyond the end of the file, or beyond the limit")
        return data

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def text(self) -> str:
        length = self.number("<Q")
        if length > MAX_HEADER:
            raise _BadHeaderError(f"it holds a text of {length:,} bytes")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise _BadHeaderError("it holds a text that is no UTF-8") from error

    def skip_value(self, kind: int, depth: int) -> None:
        self._values -= 1
        if self._values < 0:
            raise _BadHeaderError(f"it holds more than {limits.HEADER_VALUES:,} texts and lists")
        if kind == _TEXT:
            self.take(self.number("<Q"))
        elif kind == _ARRAY and depth < _DEEPEST:
            item, count = self.number("<I"), self.number("<Q")
            if item in _GGUF_SIZES:
                self.take(count * _GGUF_SIZES[item])
                return
            for _ in range(count):  # each item takes bytes and counts, so a limit ends the loop
                self.skip_value(item, depth + 1)
        elif kind in _GGUF_SIZES:
            self.take(_GGUF_SIZES[kind])
        else:
            raise _BadHeaderError(f"it holds a value of the unknown kind {kind}")


def _check_count(count: int) -> None:
    if count > MAX_TENSORS:
        raise _BadHeaderError(f"it names {count:,} tensors or values, more than the limit of {MAX_TENSORS:,}")


def _shape(name: str, sizes: list[Any]) -> tuple[int, ...]:
    if len(name) > _MAX_NAME:
        raise _BadHeaderError(f"it holds a name of {len(name):,} characters")
    if len(sizes) > _MAX_DIMENSIONS or not all(type(size) is int and 0 <= size <= _MAX_SIZE for size in sizes):
        raise _BadHeaderError(f"the tensor {_short(name)} has an impossible shape")
    if _elements(sizes) > _MAX_SIZE:
        raise _BadHeaderError(f"the tensor {_short(name)} is impossibly large")
    return tuple(sizes)


def _elements(sizes: Any) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}...")  # noqa: PLR2004 - a line on a terminal
