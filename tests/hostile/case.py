"""What a case is, and how to make one out of a sound file by one change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import archives

Make = Callable[[Path], Path]
"""Writes a target below a directory, and says where."""
Case = tuple[Make, str]
"""And a part of the one line that is to be told about it."""
Change = Callable[[Any], Any]
"""Of a JSON value, in place; what it returns takes the value's place, if it returns anything."""

GRAPH = ("graph_module", "graph")
NODES = (*GRAPH, "nodes")
TENSORS = (*GRAPH, "tensor_values")
SIZES = (*TENSORS, "x", "sizes")
SIGNATURE = ("graph_module", "signature")
CALL = ("components", 0, "calls", 0)
RUN = ("components", 0, "calls", 1)

DELETED = object()
"""Given as a value, takes a field away."""


def put(*path: str | int, to: Any) -> Change:
    """Put a value in a place, or take the place away."""

    def change(whole: Any) -> None:
        for key in path[:-1]:
            whole = whole[key]
        if to is DELETED:
            del whole[path[-1]]
        else:
            whole[path[-1]] = to

    return change


def in_turn(*changes: Change) -> Change:
    """One change after another."""

    def change(whole: Any) -> None:
        for one in changes:
            one(whole)

    return change


def file(content: bytes, name: str = "x.pt2") -> Make:
    """A file of these bytes."""

    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return make


def program(change: Change) -> Make:
    """An archive whose graph is changed."""
    return lambda folder: archives.write(folder / "x.pt2", _changed(archives.model(), change))


def places(change: Change) -> Make:
    """An archive whose table of weights is changed."""
    return lambda folder: archives.write(folder / "x.pt2", None, _changed(archives.weights(), change))


def entries(**changed: bytes) -> Make:
    """An archive with further entries, or others; two underscores stand for a slash, `_json` for `.json`."""
    named = {name.replace("__", "/").replace("_json", ".json"): content for name, content in changed.items()}
    return file(archives.packed({**archives.entries(), **named}))


def manifest(change: Change) -> Make:
    """A captured run whose manifest is changed."""
    return lambda folder: archives.write_capture(folder / "run", _changed(archives.manifest(), change))


def _changed(whole: Any, change: Change) -> Any:
    found = change(whole)
    return whole if found is None else found


def replaced(value: Any) -> Change:
    """Something else altogether."""
    return lambda _whole: value


def nested(value: bytes, levels: int, around: tuple[bytes, bytes] = (b"[", b"]")) -> bytes:
    """A value inside many others."""
    return around[0] * levels + value + around[1] * levels
