"""A stand-in for PyAV: the output of its codecs is their input.

A pipeline that was trained on compressed pictures compresses its input pictures and reads them back. Its work depends on their
size, which the caller has made even, as codecs want it. So the file holds the last frame as an array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np


class VideoFrame:
    """One picture.

    Shape: H x W x 3.
    """

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        """Take the values of the picture."""
        self.array = array

    @classmethod
    def from_ndarray(cls, array: np.ndarray[Any, Any], **_options: Any) -> VideoFrame:
        """A frame of these values."""
        return cls(array)

    def reformat(self, **_options: Any) -> VideoFrame:
        """The same frame: formats hold the same picture."""
        return self

    def to_ndarray(self, **_options: Any) -> np.ndarray[Any, Any]:
        """The values; same shape."""
        return self.array


class _Stream:
    """Makes packets of frames; each packet is the frame itself."""

    type = "video"
    height = width = 0

    def encode(self, frame: VideoFrame | None = None) -> list[VideoFrame]:
        return [] if frame is None else [frame]


class _Writer:
    def __init__(self, file: Any) -> None:
        self.file = file
        self.frames: list[VideoFrame] = []

    def add_stream(self, *_args: Any, **_options: Any) -> _Stream:
        return _Stream()

    def mux(self, packets: list[VideoFrame]) -> None:
        self.frames += packets

    def close(self) -> None:
        for frame in self.frames[-1:]:
            np.save(self.file, frame.array, allow_pickle=False)


class _Reader:
    streams = (_Stream(),)

    def __init__(self, file: Any) -> None:
        self.file = file

    def decode(self, *_streams: Any) -> Iterator[VideoFrame]:
        yield VideoFrame(np.load(self.file, allow_pickle=False))

    def close(self) -> None:
        """Leave the file open, because it belongs to the caller."""


def modules(used: Callable[[], None]) -> dict[str, ModuleType]:
    """The stand-in's module, by name.

    Args:
        used: called whenever a file is opened.
    """

    def open_(file: Any, mode: str = "r", **_options: Any) -> _Writer | _Reader:
        used()
        return _Writer(file) if mode == "w" else _Reader(file)

    made = ModuleType("av")
    vars(made).update(open=open_, VideoFrame=VideoFrame)
    return {"av": made}
