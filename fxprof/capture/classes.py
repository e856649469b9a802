"""Classes of diffusers and transformers, found by the names that repositories of every age give them.

Old names are resolved as diffusers resolves them: its own renaming, pipelines and models that moved into `deprecated`, and
classes that a library has below its top level, or hides because a package is missing. Only these two libraries are searched.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

import diffusers
import transformers
from diffusers.utils.deprecation_utils import _maybe_remap_transformers_class as renamed

from fxprof.capture.optional import load_past_guard
from fxprof.errors import CaptureError
from fxprof.source.config import ComponentConfig, PipelineConfig

REFUSED = "only classes of diffusers and transformers are built; code that comes with a model is never run"

_MODULE = re.compile(r"[A-Za-z_][\w.]*")
_PREFIX = "FlashPack"
"""The prefix that diffusers gives the name of a class whose weights are stored in another way."""
_PARTS = ("pipelines", "models", "schedulers")
"""The folders of diffusers with the classes of pipelines, models and schedulers."""


def pipeline_class(config: PipelineConfig) -> type:
    """The class of a pipeline.

    Raises:
        CaptureError: diffusers has no such pipeline, or it cannot be imported.
    """
    what = f"could not build {config.name}"
    class_ = _in_diffusers(config.class_name, {part.library for part in config.components.values() if part})
    if is_placeholder(class_):
        class_()  # says which package is missing
    if not inspect.isclass(class_) or not issubclass(class_, diffusers.DiffusionPipeline):
        raise CaptureError(f"{what}: diffusers {diffusers.__version__} has no pipeline {config.class_name}", REFUSED)
    return class_


def component_class(what: str, part: ComponentConfig) -> Any:
    """The class of a component.

    Args:
        what: the attempt, for the message.
        part: the component.

    Raises:
        CaptureError: its library has no such class, or fxprof does not build it.
    """
    name = part.class_name.removeprefix(_PREFIX)
    class_ = find_class(part.library, name, str(part.values.get("model_type", ""))) if name.isidentifier() else None
    if is_placeholder(class_):
        class_()
    if not inspect.isclass(class_):
        raise CaptureError(f"{what}: {part.library} has no class {name}", REFUSED)
    if name.startswith("Auto") and class_.__module__.startswith(("transformers.models.auto.", "diffusers.models.auto_model")):
        hint = f"name the class itself in model_index.json; {REFUSED}"
        raise CaptureError(f"{what}: its files do not say which class of {part.library} that is", hint)
    return class_


def find_class(library: str, name: str, model_type: str = "") -> Any:
    """A class or placeholder of a library; None when it has none of this name."""
    if library == "transformers":
        return _in_transformers(renamed(name) or name, model_type)
    if library == "diffusers":
        return _in_diffusers(name, set())
    home = _pipeline_module(library)
    class_ = getattr(home, name, None) if home is not None else None
    if class_ is not None and not is_placeholder(class_):
        return class_
    return _below(name) if home is not None or library.startswith("diffusers.") else None


def is_placeholder(class_: Any) -> TypeGuard[Callable[[], Any]]:
    """Whether a class is a library's placeholder for one that needs a missing package."""
    return inspect.isclass(class_) and "_backends" in vars(class_)


def _in_transformers(name: str, model_type: str) -> Any:
    class_ = getattr(transformers, name, None)
    if name.endswith("ImageProcessorFast") and (class_ is None or is_placeholder(class_)):
        return _in_transformers(name.removesuffix("Fast"), model_type)  # the class's present name
    if is_placeholder(class_):
        module = getattr(transformers, "_class_to_module", {}).get(name)
        return (load_past_guard(f"transformers.{module}", name) if module else None) or class_
    return class_ if class_ is not None else _below_transformers(name, model_type)


def _below_transformers(name: str, model_type: str) -> Any:
    """A class that transformers has but does not export, such as the encoder of an encoder-decoder."""
    home = Path(transformers.__file__).parent / "models"
    folder = model_type.replace("-", "_")
    files = [home / folder / f"modeling_{folder}.py"] if _MODULE.fullmatch(folder) else []
    files += [path for path in _sources(home) if path.name.startswith("modeling_")]
    return next(_defined("transformers", home.parent, files, name), None)


def _in_diffusers(name: str, libraries: set[str]) -> Any:
    class_ = getattr(diffusers, name, None)
    if class_ is not None and not is_placeholder(class_):
        return class_
    # diffusers hides a pipeline when a package is missing, perhaps one for its tokenizer only; its own module has it.
    homes = filter(None, map(_pipeline_module, sorted(libraries - {"diffusers", "transformers"})))
    inside = (item for home in homes if (item := getattr(home, name, None)) is not None and not is_placeholder(item))
    return next(inside, None) or _below(name) or class_


def _below(name: str) -> Any:
    """A class anywhere in diffusers' pipelines, models and schedulers."""
    home = Path(diffusers.__file__).parent
    files = [path for part in _PARTS for path in _sources(home / part)]
    return next(_defined("diffusers", home, files, name), None)


@cache
def _sources(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.rglob("*.py")))


def _defined(library: str, home: Path, files: list[Path], name: str) -> Iterator[Any]:
    """The classes of this name that modules of a library define."""
    start = re.compile(rf"^class {re.escape(name)}\b", re.MULTILINE)
    for path in files:
        if path.is_file() and start.search(path.read_text(encoding="utf-8")):
            module = ".".join((library, *path.relative_to(home).with_suffix("").parts))
            class_ = load_past_guard(module, name)
            if class_ is not None and not is_placeholder(class_):
                yield class_


def _pipeline_module(library: str) -> Any:
    """The module of diffusers that holds a pipeline and its own models, or None."""
    library = library.removeprefix("diffusers.pipelines.")
    if not _MODULE.fullmatch(library) or ".." in library:
        return None
    names = [f"diffusers.pipelines.{library}", f"diffusers.pipelines.deprecated.{library}"]
    if library.startswith("diffusers."):
        names.append(library)
    return next(filter(None, map(_imported, names)), None)


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None
