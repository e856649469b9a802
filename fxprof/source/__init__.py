"""What to profile: a name, a directory or a Hub id, as a configuration.

Imports the standard library only, and `huggingface_hub` for a Hub id.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

from fxprof.errors import TargetError
from fxprof.source.checkpoint import CheckpointFile, looks_like_checkpoint, read_checkpoint
from fxprof.source.config import ComponentConfig, PipelineConfig, SingleComponent
from fxprof.source.directory import CONFIG, INDEX, MODULAR, holds, read, read_component, read_directory, refuse_modular
from fxprof.source.environment import refuse_environment
from fxprof.source.hub import is_hub_id, read_hub, repository
from fxprof.source.zoo import ZooEntry, load_zoo, models, names, zoo_table

__all__ = [
    "CheckpointFile",
    "ComponentConfig",
    "PipelineConfig",
    "SingleComponent",
    "ZooEntry",
    "load_zoo",
    "models",
    "names",
    "read_directory",
    "resolve",
    "zoo_table",
]

_SHOWN = 6
"""Names of a directory's entries in a message."""
_LIST = "`fxprof models` lists the bundled models"


def resolve(target: str | os.PathLike[str]) -> PipelineConfig | SingleComponent | CheckpointFile:
    """What a target is made of: a directory, a file of weights, a bundled model or a repository, tried in this order.

    Raises:
        TargetError: the target is none of them, or its files are not what diffusers or transformers write; or the
            environment keeps those from being loaded.
    """
    refuse_environment()
    text = os.fspath(target)
    path = Path(text)
    if text and holds(path.is_dir) and (holds((path / INDEX).is_file) or holds((path / CONFIG).is_file)):
        return read(path)
    if text and holds(path.is_file):
        found = _from_file(path)
        if found is not None:
            return found
    if text in names():
        return load_zoo(text)
    if is_hub_id(text) and not holds(path.exists):
        return _from_hub(text)
    raise _unresolved(text, path)


def _from_file(path: Path) -> PipelineConfig | SingleComponent | CheckpointFile | None:
    """What a file of a pipeline or model stands for; None for any other file."""
    if path.name == MODULAR:
        raise refuse_modular(path.parent)
    if path.name in {INDEX, CONFIG}:
        return read(path.parent)
    if not looks_like_checkpoint(path):
        return None
    found = read_checkpoint(path)
    # As diffusers and transformers save it, the configuration lies beside the weights.
    return read_component(path.parent) if holds((path.parent / CONFIG).is_file) else found


def _from_hub(text: str) -> PipelineConfig | SingleComponent:
    try:
        return read_hub(text)
    except TargetError as error:
        bundled = [entry.name for entry in models() if entry.hub_id.lower() == repository(text).lower()]
        if not bundled:
            raise
        raise TargetError(error.message, f"{error.hint}; or profile the bundled model {bundled[0]!r}") from error


def _unresolved(text: str, path: Path) -> TargetError:
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
    """What a path that leads nowhere was to be; "" for what is no path."""
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
