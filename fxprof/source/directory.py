"""A local directory of a pipeline or of one component, as `save_pretrained` writes it and the Hub holds it.

The reader reads JSON files alone. It never opens weights, and never runs code of the directory.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from fxprof import limits
from fxprof.errors import TargetError
from fxprof.source.config import ComponentConfig, PipelineConfig, SingleComponent
from fxprof.strict_json import JsonError, read_json
from fxprof.texts import read_bytes

INDEX = "model_index.json"
CONFIG = "config.json"
MODULAR = "modular_model_index.json"
MAX_BYTES = limits.CONFIG_BYTES

_CONFIG_FILES = {
    "Tokenizer": "tokenizer_config.json",
    "Scheduler": "scheduler_config.json",
    "Processor": "preprocessor_config.json",
    "FeatureExtractor": "preprocessor_config.json",
    "": CONFIG,
}
"""Part of a class name to the file with the configuration; the first part that fits decides."""
_WITHOUT_FILES = frozenset({"cosmos_guardrail"})
"""Libraries whose components have no folder."""
_AUTO = re.compile(r"(Flax|TF)?Auto(?=[A-Z])")
"""The names of factories: classes that pick the class of a model themselves, even from code that comes with the model."""
_PREPARATION = tuple(("preprocessor_config.json", key) for key in ("image_processor_type", "feature_extractor_type"))
_CONCRETE = {
    "Tokenizer": (("tokenizer_config.json", "tokenizer_class"),),
    "ImageProcessor": _PREPARATION,
    "FeatureExtractor": _PREPARATION,
    "Processor": tuple(
        (file, "processor_class") for file in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
    ),
    "": ((CONFIG, "_class_name"), (CONFIG, "architectures")),
}
"""End of a factory's name to the (file, key) pairs that may name the class itself."""
_OTHER_FILES = (CONFIG, "processor_config.json", "guider_config.json")
"""Files to read where that file is missing."""


def read(directory: Path, *, code: Collection[str] = ()) -> PipelineConfig | SingleComponent:
    """The configuration in a directory: of a pipeline if there is a `model_index.json`, otherwise of one component.

    Args:
        directory: a directory with a `model_index.json` or a `config.json`.
        code: Python files that belong to the repository but are missing in the directory.

    Raises:
        TargetError: as `read_directory` and `read_component`.
    """
    if holds((directory / INDEX).is_file):
        return read_directory(directory, code=code)
    return read_component(directory)


def read_component(directory: Path) -> SingleComponent:
    """The configuration of a model from its own directory.

    Raises:
        TargetError: `config.json` is unreadable, or names no class.
    """
    path = directory / CONFIG
    values = read_object(path)
    plain = {key: value for key, value in values.items() if not key.startswith("_")}
    match (values.get("_class_name"), values.get("architectures")):
        case (str() as class_name, _) if class_name:
            part = ComponentConfig("diffusers", class_name, plain, directory)
        case (list() as class_name, _):
            raise _remote_code(path, f"`_class_name` names a class of the repository, {class_name}")
        case (_, [str() as class_name, *_]) if class_name:
            part = ComponentConfig("transformers", class_name, plain, directory)
        case _:
            raise TargetError(
                f"cannot read {path}: it has neither a `_class_name` nor `architectures`, so it names no class",
                "name the directory of a pipeline, or of one model of diffusers or transformers",
            )
    return SingleComponent(_name(directory), part)


def read_directory(directory: Path, *, code: Collection[str] = ()) -> PipelineConfig:
    """The configuration of a pipeline from its directory.

    Args:
        directory: a directory with a `model_index.json`.
        code: Python files that belong to the repository but are missing in the directory.

    Raises:
        TargetError: `model_index.json` or the configuration of a component is missing, unreadable or not what
            diffusers writes, or the pipeline would run code from the directory.
    """
    path = directory / INDEX
    index = read_object(path)
    components: dict[str, ComponentConfig | None] = {}
    arguments: dict[str, Any] = {}
    for name, value in index.items():
        if name.startswith("_"):
            continue
        if _is_argument(value):
            arguments[name] = value
        else:
            components[name] = _read_component(directory, name, value, code)
    return PipelineConfig(_name(directory), _pipeline_class(path, index), components, arguments)


def holds(test: Callable[[], bool]) -> bool:
    """The result of a test of a path; False if the system refuses the test."""
    try:
        return test()
    except OSError:
        return False


def _name(directory: Path) -> str:
    # The last part of ".", ".." and "/" is no name.
    return directory.name if directory.name not in {"", ".."} else directory.resolve().name or str(directory)


def _pipeline_class(path: Path, index: Mapping[str, Any]) -> str:
    name = index.get("_class_name")
    if isinstance(name, list):
        raise _remote_code(path, f"`_class_name` names a class of the repository, {name}")
    if not isinstance(name, str) or not name:
        fault = "it has no `_class_name`" if name is None else f"its `_class_name` is {reprlib.repr(name)}, not a name"
        raise TargetError(f"cannot read {path}: {fault}", "a pipeline directory of diffusers names its class there")
    return name


def _is_argument(value: Any) -> bool:
    """Whether an entry of the index is a plain argument; components are lists of names."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, int | float) for item in value)
    return True


def _read_component(directory: Path, name: str, entry: list[Any], code: Collection[str]) -> ComponentConfig | None:
    path = directory / INDEX
    if not name.isidentifier():
        raise TargetError(f"cannot read {path}: {name!r} is no name for a component")
    match entry:
        case [None, None]:
            return None
        case [str() as library, str() as class_name] if library and class_name:
            pass
        case _:
            raise TargetError(f"cannot read {path}: the entry {name!r} is {reprlib.repr(entry)}, not [library, class]")
    _refuse_code(directory, name, library, code)
    if library in _WITHOUT_FILES:
        return ComponentConfig(library, class_name)
    folder = directory / name
    if _AUTO.match(class_name):
        class_name = _concrete(folder, class_name)
    return ComponentConfig(library, class_name, _read_values(folder, class_name), folder, _read_members(folder, class_name))


def _concrete(folder: Path, class_name: str) -> str:
    """The class that the files of a component name; the factory itself if they name none."""
    places = next(places for end, places in _CONCRETE.items() if class_name.endswith(end))
    for file, key in places:
        path = folder / file
        named = read_object(path).get(key) if holds(path.is_file) else None
        if isinstance(named, list) and named:
            named = named[0]
        if isinstance(named, str) and named and not _AUTO.match(named):
            return named
    return class_name


def _read_members(folder: Path, class_name: str) -> tuple[ComponentConfig, ...]:
    """The models of a component that is a list; diffusers saves them side by side: `controlnet`, `controlnet_1`, and so on."""
    path = folder / CONFIG
    is_list = re.search("Multi[A-Z]", class_name) and holds(path.is_file)
    if not is_list or read_object(path).get("_class_name") == class_name:
        return ()
    folders = [folder]
    while holds((following := folder.with_name(f"{folder.name}_{len(folders)}")).is_dir):
        folders.append(following)
    return tuple(read_component(item).component for item in folders)


def _refuse_code(directory: Path, name: str, library: str, code: Collection[str]) -> None:
    """Refuse a library that is a Python file of the directory; diffusers would import it."""
    for file in (f"{library}.py", f"{name}/{library}.py"):
        if file in code or holds((directory / file).is_file):
            raise _remote_code(directory / INDEX, f"the component {name!r} is defined in {directory / file}")


def _remote_code(path: Path, reason: str) -> TargetError:
    return TargetError(
        f"cannot profile {path.parent}: {reason}, and remote code is never run",
        "build the pipeline yourself and profile the object from Python",
    )


def _read_values(folder: Path, class_name: str) -> dict[str, Any]:
    if not holds(folder.is_dir):
        raise TargetError(
            f"cannot read the component {folder.name!r}: {folder} is not a directory",
            f"a pipeline directory has one folder for each component that its {INDEX} names",
        )
    expected = next(file for part, file in _CONFIG_FILES.items() if part in class_name)
    more = ("tokenizer_config.json",) if class_name.endswith("Processor") else ()
    candidates = (folder / file for file in (expected, *_OTHER_FILES, *more))
    path = next((file for file in candidates if holds(file.is_file)), None)
    if path is None:
        raise TargetError(f"cannot read the component {folder.name!r}: {folder / expected} does not exist")
    return {key: value for key, value in read_object(path).items() if not key.startswith("_")}


def refuse_modular(path: Path) -> TargetError:
    """The error for a modular pipeline, whose blocks are put together by the code that calls them."""
    values = read_object(path / MODULAR).values()
    specs = [entry[-1] for entry in values if isinstance(entry, list) and entry and isinstance(entry[-1], dict)]
    keys = ("pretrained_model_name_or_path", "repo")
    sources = sorted({spec[key] for spec in specs for key in keys if isinstance(spec.get(key), str)})
    whose = f"name the pipeline that its components come from ({', '.join(sources[:3])})" if sources else "name its pipeline"
    return TargetError(
        f"cannot profile {path}: a {MODULAR} describes blocks, not a pipeline that could be called",
        f"{whose} as a directory with a {INDEX} or as org/name, or the folder of one component",
    )


def read_object(path: Path, values: int = limits.CONFIG_VALUES) -> dict[str, Any]:
    """The JSON object in a file. NaN and infinities are numbers here, as schedulers write them.

    Raises:
        TargetError: the file is unreadable, larger than `MAX_BYTES`, no JSON, or no object.
    """
    try:
        data = read_bytes(path, MAX_BYTES)
        if len(data) > MAX_BYTES:
            raise TargetError(f"cannot read {path}: it is larger than {MAX_BYTES // 2**20} MiB, too large for a configuration")
        value = read_json(
            data,
            values=values,
            levels=limits.CONFIG_NESTING,
            repeats=True,  # real files repeat some keys
            infinite=True,
            encoding="utf-8-sig",
        )
    except JsonError as error:
        raise TargetError(f"cannot read {path}: it {error}") from error
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror or error}") from error
    if not isinstance(value, dict):
        raise TargetError(f"cannot read {path}: it holds {reprlib.repr(value)}, not an object")
    return value
