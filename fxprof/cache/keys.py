"""Everything that a result depends on, as one hash: the content of the target, the workload, and the code that computes.

A name or a path is never enough: a directory can change, and a developer can edit a package without a new version.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fxprof.source.config import ComponentConfig
from fxprof.source.stand_ins import StandIn
from fxprof.texts import read_bytes

_PACKAGES = ("torch", "diffusers", "transformers")
_WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5", ".onnx", ".gguf"})
_LARGE = 64 * 10**6
"""Bytes of a file; a larger one is identified by its size and time instead of its content."""
_SWITCHES = ("DIFFUSERS_", "PYTORCH_", "TORCH", "TRANSFORMERS_", "USE_", "_CHECK_PEFT")
"""Beginnings of the names of environment variables that change the packages' results, such as DIFFUSERS_ATTN_BACKEND."""
_UNVERSIONED = "fxprof.egg-info"
"""The metadata in a checkout of fxprof itself; it is on the import path of some commands only."""


class UnknownContentError(Exception):
    """An argument that is no data, so no result that depends on it can be cached."""


def key_of(kind: str, *parts: Any) -> str | None:
    """The hash of everything that a result depends on; None if a part is no plain data.

    Args:
        kind: sort of result.
        parts: configurations, workloads, plain values and stand-ins, in any nesting.
    """
    try:
        content = [kind, environment(), *map(_plain, parts)]
    except UnknownContentError:
        return None
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@cache
def environment() -> str:
    """The hash of the code that computes: fxprof's own files, Python, all installed packages, and their switches."""
    own = _stamps(Path(__file__).resolve().parents[1])
    worked_on = [_worked_on(name) for name in _PACKAGES]
    switches = sorted(item for item in os.environ.items() if item[0].startswith(_SWITCHES))
    return hashlib.sha256(json.dumps([sys.version, _installed(), own, worked_on, switches]).encode()).hexdigest()


def _installed() -> list[str]:
    """The names, with versions, of all importable packages."""
    listed: list[str] = []
    places: set[str] = set()
    for entry in sys.path:
        with suppress(OSError):  # no directory, or an unreadable one: Python imports nothing from there either
            place = os.path.realpath(entry)
            if place not in places:
                places.add(place)
                listed += os.listdir(place)  # noqa: PTH208 - a path object for each of them takes as long as all the rest
    return sorted(name for name in listed if name.endswith((".dist-info", ".egg-info", ".egg-link")) and name != _UNVERSIONED)


def _worked_on(package: str) -> list[Any]:
    """The state of the files of a package that is no installed copy: there the version does not identify them."""
    spec = PathFinder.find_spec(package) or find_spec(package)
    home = Path(spec.origin).resolve().parent if spec and spec.origin else None
    if home is None or {"site-packages", "dist-packages"} & set(home.parts):
        return []
    return _stamps(home)


def _stamps(home: Path) -> list[Any]:
    stamps = []
    for folder, _, names in os.walk(home):
        for name in names:
            if name.endswith((".py", ".toml")):
                with suppress(OSError):  # a link that leads nowhere; editors leave such links beside a file
                    status = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118 - as above
                    stamps.append((os.path.relpath(folder, home), name, status.st_size, status.st_mtime_ns))
    return sorted(stamps)


def _plain(value: Any) -> Any:
    """Plain data that differs where the content does, whatever the types.

    It takes the values that configurations and workloads hold. `fxprof.capture.plain_values` does the same for live values.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, complex, bytes)):
        return [type(value).__name__, repr(value)]
    if isinstance(value, StandIn):
        return [type(value).__name__, str(value)]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(_plain, value)]
    if isinstance(value, Mapping):
        return ["mapping", *([_plain(key), _plain(item)] for key, item in value.items())]
    if is_dataclass(value) and not isinstance(value, type):
        held = {item.name: getattr(value, item.name) for item in fields(value)}
        if isinstance(value, ComponentConfig) and value.directory is not None:
            held["directory"] = _files(value.directory)  # by its content; the content of any other path is unknown
        return [type(value).__name__, *([name, _plain(item)] for name, item in held.items())]
    raise UnknownContentError(type(value).__name__)


def leads_elsewhere(value: Any) -> bool:
    """Whether an argument names a file or an address: a pipeline may read its content, which no key holds."""
    if isinstance(value, str):
        with suppress(OSError, ValueError):  # ValueError: a null character
            return "://" in value or os.path.exists(value)  # noqa: PTH110 - which takes any text
        return False
    if isinstance(value, Mapping):
        return any(map(leads_elsewhere, value.values()))
    return isinstance(value, (list, tuple)) and any(map(leads_elsewhere, value))


def _files(directory: Path) -> list[Any]:
    """The content of a component's directory without weights: vocabularies, templates, configurations."""
    try:
        return [
            (str(path.relative_to(directory)), _content(path))
            for path in sorted(directory.rglob("*"))
            if path.is_file() and path.suffix.lower() not in _WEIGHTS
        ]
    except OSError as error:
        raise UnknownContentError(str(error)) from error


def _content(path: Path) -> Any:
    data = read_bytes(path, _LARGE)
    if len(data) > _LARGE:
        status = path.stat()
        return (status.st_size, status.st_mtime_ns)
    return hashlib.sha256(data).hexdigest()
