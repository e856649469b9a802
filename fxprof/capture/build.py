"""Building a real pipeline object whose models hold no data, from configurations or from a live pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import transformers
from diffusers import DiffusionPipeline, ModularPipeline, ModularPipelineBlocks
from diffusers.configuration_utils import ConfigMixin
from torch import nn

from fxprof import limits
from fxprof.capture.arrays import constructing
from fxprof.capture.classes import REFUSED, component_class, pipeline_class
from fxprof.capture.error_causes import failure, is_from_elsewhere
from fxprof.capture.loaded_types import set_loaded_types
from fxprof.capture.processors import Say, image_processor, is_processor, processor, tokenizer
from fxprof.capture.untrusted_files import cleaned, refuse_backbones, refuse_sizes, refuse_steps, wanted_more
from fxprof.capture.zero_weights import building, counted, empty_out, sizes_bounded
from fxprof.errors import CaptureError, FxprofError, UsageError
from fxprof.source.config import ComponentConfig, PipelineConfig, SingleComponent

_GUARDRAILS = frozenset({"cosmos_guardrail"})
"""Libraries of components that check texts and images; a pipeline makes its own when it is given none."""


@dataclass(frozen=True, slots=True)
class Built:
    """A pipeline that can be rehearsed."""

    pipeline: Any
    """A diffusers pipeline."""
    modules: Mapping[str, nn.Module]
    """Its components that compute."""
    remarks: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    """Components that the user asked to leave out."""

    @property
    def tokenizers(self) -> dict[str, Any]:
        """Its tokenizers, by component name; the tokenizer of a processor stands under the processor's name."""
        parts = {
            name: part.tokenizer if isinstance(part, transformers.ProcessorMixin) and hasattr(part, "tokenizer") else part
            for name, part in vars(self.pipeline).items()
        }
        return {name: part for name, part in parts.items() if isinstance(part, transformers.PreTrainedTokenizerBase)}


def build(config: PipelineConfig, dtype: torch.dtype) -> Built:
    """Construct the pipeline that a configuration describes.

    Raises:
        CaptureError: a class is unknown or not permitted, or rejects its configuration.
    """
    with _explained(f"could not build {config.name}"):
        class_ = pipeline_class(config)
    accepted = inspect.signature(class_).parameters
    said: list[str] = []
    parts = {
        name: None if part is None else _component(config.name, name, part, dtype, said.append)
        for name, part in config.components.items()
        if name in accepted
    }
    missing = {name: None for name, item in accepted.items() if item.default is item.empty and name not in parts}
    plain = {name: value for name, value in config.arguments.items() if name in accepted}
    variadic = {name for name, item in accepted.items() if item.kind in (item.VAR_KEYWORD, item.VAR_POSITIONAL)}
    keywords = {name: value for name, value in {**missing, **plain, **parts}.items() if name not in variadic}
    with _explained(f"could not put {config.class_name} of {config.name} together"):
        pipeline = class_(**keywords)
    left_out = sorted(name for name, part in config.components.items() if name not in accepted and part is not None)
    said += [f"{name} is not a component of {config.class_name} and was left out" for name in left_out]
    return _built(pipeline, tuple(said))


def of_live(pipeline: Any, without: tuple[str, ...] = ()) -> Built:
    """Prepare a borrowed live pipeline for a rehearsal; the caller has to undo the changes.

    Args:
        pipeline: a diffusers pipeline.
        without: components to leave out.

    Raises:
        UsageError: the pipeline has no such component.
    """
    present = [name for name, part in vars(pipeline).items() if isinstance(part, nn.Module)]
    for name in without:
        if name not in present:
            what = f"{type(pipeline).__name__} has no component {name} that could be left out"
            raise UsageError(what, f"it has {', '.join(present)}")
    # Offloading has a list of its hooks, and would install them again from it at the end of a call.
    offloading: dict[str, Any] = {"_all_hooks": []} if "_all_hooks" in vars(pipeline) else {}
    vars(pipeline).update({**dict.fromkeys(without), **offloading})
    return _built(pipeline, ())


def _built(pipeline: Any, remarks: tuple[str, ...]) -> Built:
    modules = {name: part for name, part in vars(pipeline).items() if isinstance(part, nn.Module)}
    pipeline.set_progress_bar_config(disable=True)
    return Built(pipeline, modules, remarks)


def build_module(config: SingleComponent, dtype: torch.dtype, say: Say = lambda _: None) -> nn.Module:
    """Construct the one model that a configuration describes.

    Args:
        config: the model.
        dtype: element type of its parameters.
        say: gets a line for each ignored setting.

    Raises:
        CaptureError: the class is unknown, not permitted or no model, or rejects its configuration.
    """
    part = config.component
    what = f"could not build {config.name} ({part.class_name})"
    with _explained(what):
        part = _harmless(what, part.class_name, part, say)
        class_ = component_class(what, part)
        if not issubclass(class_, nn.Module):
            raise CaptureError(f"{what}: it is not a model, so it computes nothing that could be counted")
        return _module(class_, part.values, dtype)


def _component(target: str, name: str, part: ComponentConfig, dtype: torch.dtype, say: Say) -> Any:
    what = f"could not build {name} ({part.class_name}) of {target}"
    if part.library in _GUARDRAILS:
        return None
    with _explained(what):
        part = _harmless(what, name, part, say)
        if part.library != "diffusers" and is_processor(part.class_name):
            # diffusers writes the name of a pipeline's module when transformers has a module of the same name.
            return processor(what, name, replace(part, library="transformers"), say)
        if "Tokenizer" in part.class_name:
            return tokenizer(what, name, part, say)
        class_ = component_class(what, part)
        if part.members:
            return class_([_component(target, name, member, dtype, say) for member in part.members]).eval()
        return _made(what, class_, part, dtype)


def _made(what: str, class_: Any, part: ComponentConfig, dtype: torch.dtype) -> Any:
    if issubclass(class_, nn.Module):
        return _module(class_, part.values, dtype)
    if issubclass(class_, _PREPARATION):
        return image_processor(what, part)
    if issubclass(class_, ConfigMixin) and not issubclass(class_, _WHOLE):
        refuse_steps(what, part.values)
        with constructing(limits.PREPARED_ELEMENTS):
            return class_.from_config(dict(part.values))
    raise CaptureError(f"{what}: it is no model, scheduler, tokenizer or processor", REFUSED)


_WHOLE = (DiffusionPipeline, ModularPipeline, ModularPipelineBlocks)
"""Classes of whole pipelines: they would read their own parts from any place that their configuration names."""
_PREPARATION = (transformers.ImageProcessingMixin, transformers.FeatureExtractionMixin)


def _harmless(what: str, name: str, part: ComponentConfig, say: Say) -> ComponentConfig:
    """The part without settings that lead to code or to other repositories.

    Raises:
        CaptureError: it cannot be built without another repository.
    """
    values, ignored = cleaned(part.values)
    refuse_backbones(what, values)
    if "Tokenizer" not in part.class_name:  # a tokenizer's longest text may be a number that means "no limit"
        refuse_sizes(what, values)
    for words in ignored:
        say(f"{name}: ignored {words}")
    return replace(part, values=values)


def _module(class_: Any, values: Mapping[str, Any], dtype: torch.dtype) -> nn.Module:
    def construct() -> nn.Module:
        if issubclass(class_, transformers.PreTrainedModel):
            return class_(_own_config(class_, dict(values), dtype))  # type: ignore[no-any-return]
        return class_.from_config(dict(values))  # type: ignore[no-any-return]

    try:
        with building(dtype):
            module = construct()
    except (RuntimeError, NotImplementedError):
        # A constructor that reads values out of tensors cannot run on the meta device.
        with _parameters_on_meta(dtype):
            module = construct()
    set_loaded_types(module, dtype)
    return empty_out(module)


def _transformers_config(class_: Any, values: dict[str, Any], dtype: torch.dtype) -> Any:
    inner = getattr(class_, "base_config_key", "")
    if values.get("model_type") not in {None, class_.model_type}:
        # The file of a larger model: this one is found in it by its key, otherwise by its type, as in transformers.
        typed = (item for item in values.values() if isinstance(item, dict) and item.get("model_type") == class_.model_type)
        values = values[inner] if inner and isinstance(values.get(inner), dict) else next(typed, values)
    # A published configuration names the type that its weights were saved in; the requested type goes before it.
    values = {name: value for name, value in values.items() if name not in {"dtype", "torch_dtype"}}
    config = class_.from_dict(values)
    config.dtype = dtype
    return config


def _own_config(class_: Any, values: dict[str, Any], dtype: torch.dtype) -> Any:
    """The configuration for a model's constructor; a class for half of a model, such as `T5GemmaEncoder`, takes that half's."""
    config = _transformers_config(class_.config_class, values, dtype)
    for name, half in getattr(class_.config_class, "sub_configs", {}).items():
        if class_.__name__.endswith(name.title()) and hasattr(half, "from_dict"):
            return getattr(config, name) if isinstance(values.get(name), dict) else _transformers_config(half, values, dtype)
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
        with counted(), sizes_bounded():
            yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
        torch.set_default_dtype(before)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn any exception of a library into one line that names the attempt."""
    try:
        yield
    except FxprofError:
        raise
    except BaseException as error:
        if not is_from_elsewhere(error):
            raise
        if wanted_more(error):
            message = f"{what}: its files lead to another repository, and other repositories are not fetched"
            raise CaptureError(message, "build it yourself and profile the object from Python") from error
        raise failure(what, error) from error


Progress = Callable[[str], None]
