"""The errors about a text that names no target."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

from fxprof.errors import TargetError
from fxprof.source.directory import INDEX, MODULAR, holds, refuse_modular
from fxprof.source.zoo import names

_SHOWN = 6
"""Names of a directory's entries in a message."""
_LIST = "`fxprof models` lists the bundled models"


def unresolved(text: str, path: Path) -> TargetError:
    """The error that says why a text is no target, with a hint."""
    if not text.strip():
        return TargetError("no target was named", f"name a pipeline directory or a bundled model; {_LIST}")
    if holds(path.is_dir):
        return _no_index(path)
    if holds(path.exists) and not holds(path.is_file):
        return TargetError(f"cannot profile {text!r}: it is neither a file nor a directory", "check the path")
    if holds(path.exists):
        return TargetError(
            f"cannot profile {text!r}: it is a file, not a pipeline",
            f"name a directory with a {INDEX}, a bundled model, a saved profile, a .pt2, .safetensors or .gguf file",
        )
    missing = _missing(text)
    if missing:
        return TargetError(f"cannot profile {text!r}: there is no such {missing}", "check the path")
    return TargetError(f"cannot profile {text!r}: it is neither a directory nor a bundled model", _suggest(text))


def _missing(text: str) -> str:
    """The missing thing, `file` or `directory`, if a text looks like a path; otherwise ""."""
    if text.endswith((".pt2", ".json")):
        return "file"
    return "directory" if {"/", os.sep} & set(text) or text.startswith(("~", ".")) else ""


def _no_index(path: Path) -> TargetError:
    if holds((path / MODULAR).is_file):
        return refuse_modular(path)
    inside = sorted(child.name for child in _children(path))
    shown = ", ".join([*inside[:_SHOWN], "..."] if len(inside) > _SHOWN else inside) or "nothing"
    # The Hub's cache keeps a repository in `snapshots/<revision>`.
    below = sorted(child for pattern in ("*", "snapshots/*") for child in path.glob(f"{pattern}/{INDEX}"))
    if below:
        hint = f"{below[0].parent} has one"
    else:
        hint = f"a pipeline directory holds a {INDEX} and one folder per component, without weights if you like"
    return TargetError(f"cannot profile {path}: it has no {INDEX}; in it: {shown}", hint)


def _children(path: Path) -> Iterable[Path]:
    try:
        return tuple(path.iterdir())
    except OSError:
        return ()


def _suggest(text: str) -> str:
    asked = text.lower()
    containing = [name for name in names() if asked in name]
    close = difflib.get_close_matches(asked, names(), n=3, cutoff=0.5)
    nearest = list(dict.fromkeys((*containing, *close)))[:3]
    return f"did you mean {' or '.join(map(repr, nearest))}? {_LIST}" if nearest else _LIST
