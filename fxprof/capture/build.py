"""From configurations, or from a live pipeline, to a real pipeline object whose models hold no data."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

from fxprof.capture.blame import failure
from fxprof.capture.hollow import building, empty_out
from fxprof.capture.tokenizers import StandInProcessor, StandInTokenizer, has_vocabulary, is_processor
from fxprof.errors import CaptureError, UsageError
from fxprof.source.config import ComponentConfig, PipelineConfig, SingleComponent

_REFUSED = "only classes of diffusers and transformers are built; code that comes with a model is never run"


@dataclass(frozen=True, slots=True)
class Built:
    """A pipeline that can be rehearsed."""

    pipeline: Any
    """A diffusers pipeline."""
    modules: Mapping[str, nn.Module]
    """Its components that compute."""
    remarks: tuple[str, ...] = ()

    @property
    def tokenizers(self) -> dict[str, Any]:
        """Its tokenizers, by component name."""
        base = transformers.PreTrainedTokenizerBase
        return {name: part for name, part in vars(self.pipeline).items() if isinstance(part, base)}


def build(config: PipelineConfig, dtype: torch.dtype) -> Built:
    """Construct the pipeline that a configuration describes.

    Raises:
        CaptureError: a class is unknown or not permitted, or rejects its configuration.
    """
    pipeline_class = _pipeline_class(config)
    accepted = inspect.signature(pipeline_class).parameters
    parts = {
        name: None if part is None else _component(config.name, name, part, dtype)
        for name, part in config.components.items()
        if name in accepted
    }
    missing = {name: None for name, item in accepted.items() if item.default is item.empty and name not in parts}
    plain = {name: value for name, value in config.arguments.items() if name in accepted}
    variadic = {name for name, item in accepted.items() if item.kind in (item.VAR_KEYWORD, item.VAR_POSITIONAL)}
    keywords = {name: value for name, value in {**missing, **plain, **parts}.items() if name not in variadic}
    with _explained(f"could not put {config.class_name} of {config.name} together"):
        pipeline = pipeline_class(**keywords)
    left_out = sorted(name for name, part in config.components.items() if name not in accepted and part is not None)
    remarks = tuple(f"{name} is not a component of {config.class_name} and was left out" for name in left_out)
    return _built(pipeline, remarks)


def of_live(pipeline: Any, without: tuple[str, ...] = ()) -> Built:
    """A live pipeline that was borrowed, as something that can be rehearsed; what it changes has to be put back.

    Args:
        pipeline: a diffusers pipeline.
        without: components that it is not to have.

    Raises:
        UsageError: the pipeline has no such component.
    """
    present = [name for name, part in vars(pipeline).items() if isinstance(part, nn.Module)]
    for name in without:
        if name not in present:
            what = f"{type(pipeline).__name__} has no component {name} that could be left out"
            raise UsageError(what, f"it has {', '.join(present)}")
    # What offloading keeps beside its hooks: at the end of a call it would install them again.
    offloading: dict[str, Any] = {"_all_hooks": []} if "_all_hooks" in vars(pipeline) else {}
    vars(pipeline).update({**dict.fromkeys(without), **offloading})
    return _built(pipeline, ())


def _built(pipeline: Any, remarks: tuple[str, ...]) -> Built:
    modules = {name: part for name, part in vars(pipeline).items() if isinstance(part, nn.Module)}
    pipeline.set_progress_bar_config(disable=True)
    return Built(pipeline, modules, remarks)


def _pipeline_class(config: PipelineConfig) -> type:
    what = f"could not build {config.name}"
    # A pipeline is hidden when a package is missing that perhaps only its real tokenizer needs; its own module has it.
    modules = {part.library for part in config.components.values() if part} - {"diffusers", "transformers"}
    homes = (diffusers, *filter(None, map(_pipeline_module, sorted(modules))))
    with _explained(what):
        classes = {home: getattr(home, config.class_name, None) for home in homes}
    home = next((home for home, found in classes.items() if found and not _is_placeholder(found)), diffusers)
    found = _attribute(what, home, config.class_name)
    if not inspect.isclass(found) or not issubclass(found, diffusers.DiffusionPipeline):
        raise CaptureError(f"{what}: diffusers {diffusers.__version__} has no pipeline {config.class_name}", _REFUSED)
    return found


def build_module(config: SingleComponent, dtype: torch.dtype) -> nn.Module:
    """Construct the one model that a configuration describes.

    Raises:
        CaptureError: the class is unknown, not permitted or no model, or rejects its configuration.
    """
    part = config.component
    what = f"could not build {config.name} ({part.class_name})"
    found = _class(what, part)
    if not issubclass(found, nn.Module):
        raise CaptureError(f"{what}: it is not a model, so it computes nothing that could be counted")
    with _explained(what):
        return _module(found, part.values, dtype)


def _attribute(what: str, home: Any, name: str) -> Any:
    """A class of a library, or None; importing it can fail, and it can be a placeholder that names what is missing."""
    with _explained(what):
        found: Any = getattr(home, name, None)
        if _is_placeholder(found):
            found()
        return found


def _is_placeholder(found: Any) -> bool:
    return inspect.isclass(found) and "_backends" in vars(found)


def _pipeline_module(library: str) -> Any:
    """The module of diffusers in which a pipeline and its own models are, or None."""
    library = library.removeprefix("diffusers.pipelines.")
    try:
        return importlib.import_module(f"diffusers.pipelines.{library}") if re.fullmatch(r"[A-Za-z_][\w.]*", library) else None
    except ImportError:
        return None


def _component(target: str, name: str, part: ComponentConfig, dtype: torch.dtype) -> Any:
    what = f"could not build {name} ({part.class_name}) of {target}"
    if part.library == "transformers" and is_processor(part.class_name) and not has_vocabulary(part.directory):
        with _explained(what):
            return StandInProcessor(part.class_name, part.values)
    found = _class(what, part)
    with _explained(what):
        if issubclass(found, nn.Module):
            members = [_component(target, name, member, dtype) for member in part.members]
            return found(members).eval() if members else _module(found, part.values, dtype)
        if issubclass(found, transformers.PreTrainedTokenizerBase):
            return _tokenizer(found, part)
        if hasattr(found, "from_config"):
            return found.from_config(dict(part.values))
        if part.directory is not None and hasattr(found, "from_pretrained"):
            return found.from_pretrained(part.directory, local_files_only=True)
        return found(**part.values)


def _class(what: str, part: ComponentConfig) -> Any:
    home: Any = {"diffusers": diffusers, "transformers": transformers}.get(part.library) or _pipeline_module(part.library)
    found = _attribute(what, home, part.class_name) if part.class_name.isidentifier() else None
    if not inspect.isclass(found):
        raise CaptureError(f"{what}: there is no such class in {part.library}", _REFUSED)
    return found


def _module(class_: Any, values: Mapping[str, Any], dtype: torch.dtype) -> nn.Module:
    def construct() -> nn.Module:
        if issubclass(class_, transformers.PreTrainedModel):
            return class_(_transformers_config(class_.config_class, dict(values), dtype))  # type: ignore[no-any-return]
        return class_.from_config(dict(values))  # type: ignore[no-any-return]

    try:
        with building(dtype):
            module = construct()
    except (RuntimeError, NotImplementedError):
        # A constructor that reads values out of tensors cannot run on the meta device.
        with _parameters_on_meta(dtype):
            module = construct()
    return empty_out(module)


def _transformers_config(class_: Any, values: dict[str, Any], dtype: torch.dtype) -> Any:
    inner = getattr(class_, "base_config_key", "")
    if inner and isinstance(values.get(inner), dict) and values.get("model_type") != class_.model_type:
        values = values[inner]
    # A published configuration names the type that its weights were saved in; what is asked for goes before it.
    config = class_.from_dict({name: value for name, value in values.items() if name not in {"dtype", "torch_dtype"}})
    config.dtype = dtype
    return config


@contextmanager
def _parameters_on_meta(dtype: torch.dtype) -> Iterator[None]:
    """Construct on the CPU, but move each parameter to the meta device as soon as a module takes it."""
    before, register = torch.get_default_dtype(), nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        register(module, name, param)
        if param is not None:
            module._parameters[name] = nn.Parameter(param.to("meta"), requires_grad=False)  # noqa: SLF001 - as register does

    torch.set_default_dtype(dtype)
    nn.Module.register_parameter = register_on_meta  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
        torch.set_default_dtype(before)


def _tokenizer(class_: Any, part: ComponentConfig) -> Any:
    if has_vocabulary(part.directory):
        return class_.from_pretrained(part.directory, local_files_only=True)
    return StandInTokenizer(part.class_name, {"model_input_names": class_.model_input_names, **part.values})


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn whatever a library raises into one line that says what was attempted."""
    try:
        yield
    except CaptureError:
        raise
    except Exception as error:
        raise failure(what, error) from error


Progress = Callable[[str], None]
