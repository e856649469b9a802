"""What to profile: a name or a directory, as a `PipelineConfig`. Imports the standard library only."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from fxprof.errors import TargetError
from fxprof.source.config import ComponentConfig, PipelineConfig
from fxprof.source.directory import INDEX, holds, read_directory
from fxprof.source.zoo import ZooEntry, load_zoo, models, names, zoo_table

__all__ = [
    "ComponentConfig",
    "PipelineConfig",
    "ZooEntry",
    "load_zoo",
    "models",
    "names",
    "read_directory",
    "resolve",
    "zoo_table",
]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
_SHOWN = 6
"""Names of a directory's entries in a message."""
_LIST = "`fxprof models` lists the bundled models"


def resolve(target: str | os.PathLike[str]) -> PipelineConfig:
    """What a target is made of: a pipeline directory, or else a bundled model.

    Raises:
        TargetError: the target is neither, or its files are not what diffusers writes.
    """
    text = os.fspath(target)
    path = Path(text)
    if text and holds(path.is_dir) and holds((path / INDEX).is_file):
        return read_directory(path)
    if text in names():
        return load_zoo(text)
    raise _unresolved(text, path)


def _unresolved(text: str, path: Path) -> TargetError:
    if not text.strip():
        return TargetError("no target was named", f"name a pipeline directory or a bundled model; {_LIST}")
    if holds(path.is_dir):
        return _no_index(path)
    if holds(path.exists):
        return TargetError(
            f"cannot profile {text!r}: it is a file, not a pipeline",
            f"name a directory with a {INDEX}, a bundled model, a saved profile or a .pt2 file",
        )
    if _HUB_ID.fullmatch(text):
        return _hub_id(text)
    if {"/", os.sep} & set(text) or text.startswith(("~", ".")):
        return TargetError(f"cannot profile {text!r}: there is no such directory", "check the path")
    return TargetError(f"cannot profile {text!r}: it is neither a directory nor a bundled model", _suggest(text))


def _no_index(path: Path) -> TargetError:
    inside = sorted(child.name for child in _children(path))
    shown = ", ".join([*inside[:_SHOWN], "..."] if len(inside) > _SHOWN else inside) or "nothing"
    # The Hub's cache keeps a repository in `snapshots/<revision>`.
    below = sorted(child for pattern in ("*", "snapshots/*") for child in path.glob(f"{pattern}/{INDEX}"))
    if below:
        hint = f"{below[0].parent} has one"
    elif (path / "config.json").is_file():
        hint = "it looks like one component; name the directory of the whole pipeline"
    else:
        hint = f"a pipeline directory holds a {INDEX} and one folder per component, without weights if you like"
    return TargetError(f"cannot profile {path}: it has no {INDEX}; in it: {shown}", hint)


def _children(path: Path) -> Iterable[Path]:
    try:
        return tuple(path.iterdir())
    except OSError:
        return ()


def _hub_id(text: str) -> TargetError:
    bundled = [entry.name for entry in models() if entry.hub_id.lower() == text.partition("@")[0].lower()]
    hint = "download the repository's JSON files, without weights, and name that directory"
    if bundled:
        hint = f"it is bundled as {bundled[0]!r}; or {hint}"
    return TargetError(f"cannot profile {text!r}: there is no such directory, and Hub ids are not read yet", hint)


def _suggest(text: str) -> str:
    asked = text.lower()
    containing = [name for name in names() if asked in name]
    close = difflib.get_close_matches(asked, names(), n=3, cutoff=0.5)
    nearest = list(dict.fromkeys((*containing, *close)))[:3]
    return f"did you mean {' or '.join(map(repr, nearest))}? {_LIST}" if nearest else _LIST
