"""The pipeline that a single file of weights belongs to, by diffusers' own rules, and a check of the file's shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from diffusers.loaders.single_file_utils import fetch_diffusers_config

from fxprof.capture.build import build_module
from fxprof.capture.process_state import unchanged
from fxprof.errors import CaptureError, TargetError
from fxprof.source import load_zoo, models
from fxprof.source.checkpoint import CheckpointFile
from fxprof.source.config import ComponentConfig, PipelineConfig, SingleComponent

_DENOISERS = ("transformer", "unet", "decoder", "prior")
"""The components that such files are made for; the first that a pipeline has counts."""
_HINT = "name the directory of its pipeline, or the Hub's id, as org/name"


def config_of_checkpoint(file: CheckpointFile) -> PipelineConfig:
    """The configuration of the bundled pipeline that a file of weights belongs to.

    Args:
        file: names and shapes of its tensors.

    Raises:
        TargetError: diffusers does not know such a file, its pipeline is not bundled, or its shapes differ.
    """
    _refuse_parts(file)
    with unchanged():
        tensors = {name: torch.empty(shape, device="meta") for name, shape in file.tensors.items()}
        published = _published(file, tensors)
        pipeline = _bundled(file, published["pretrained_model_name_or_path"])
        name = next(name for name in (published.get("subfolder", ""), *_DENOISERS) if pipeline.components.get(name))
        part = pipeline.components[name]
        assert part is not None, "a bundled pipeline has the component that its files are published as"
        _check(file, pipeline, name, part, tensors)
    note = f"{file.name} holds the {name}; everything else comes from the bundled model {pipeline.name}"
    return replace(pipeline, name=file.name, note=note)


def _published(file: CheckpointFile, tensors: Mapping[str, Any]) -> dict[str, str]:
    """The repository and folder from which diffusers takes the configuration for such tensors."""
    try:
        return dict(fetch_diffusers_config(dict(tensors)))
    except Exception as error:
        raise _unknown(file) from error


_LORA = re.compile(r"(^|[._])lora_|\.(hada|lokr)_|\.(alpha|dora_scale|diff|diff_b)$")
"""A pattern in the name of each tensor of a LoRA, for all the ways in which such files are written."""
_WORDS = re.compile(r"emb_params|string_to_param(\..*)?|clip_[lg]|<[^<>]+>")
"""The names of a textual inversion's tensors."""


def _refuse_parts(file: CheckpointFile) -> None:
    """Refuse a file that plainly holds an addition to a model, and no model.

    Raises:
        TargetError: it holds a LoRA or a textual inversion.
    """
    for content, is_one, method in (
        ("a LoRA, which changes the weights of a model", _LORA.search, "load_lora_weights"),
        ("a textual inversion, which adds words to a model", _WORDS.fullmatch, "load_textual_inversion"),
    ):
        if file.tensors and all(map(is_one, file.tensors)):
            hint = f"profile the pipeline that it is for; in Python, fxprof.profile(pipe) after pipe.{method}(...)"
            raise TargetError(f"cannot profile {file.path}: it is {content}, and no model", hint)


def _unknown(file: CheckpointFile) -> TargetError:
    return TargetError(
        f"cannot profile {file.path}: diffusers {diffusers.__version__} knows no model with tensors of these names and shapes",
        _HINT,
    )


def _bundled(file: CheckpointFile, published: str) -> PipelineConfig:
    names = [entry.name for entry in models() if entry.hub_id.lower() == published.lower()]
    if not names:
        message = f"cannot profile {file.path}: it seems to belong to {published}, whose configuration is not bundled"
        raise TargetError(message, f"name the pipeline itself: its directory, or {published} to fetch its configuration")
    return load_zoo(names[0])


def _check(
    file: CheckpointFile, pipeline: PipelineConfig, name: str, part: ComponentConfig, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Compare the shapes in the file with those of the model that it should hold.

    Raises:
        TargetError: they differ.
    """
    try:
        model = build_module(SingleComponent(pipeline.name, part), torch.float32)
    except CaptureError as error:
        raise TargetError(error.message, error.hint) from error
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in _converted(file, part, model, tensors, expected).items()}
    wrong = next((key for key, shape in expected.items() if given.get(key) != shape), None)
    if wrong is not None and not given.keys() & expected.keys():
        raise _unknown(file)
    if wrong is not None:
        there = "x".join(map(str, given[wrong])) if wrong in given else "missing"
        wanted = "x".join(map(str, expected[wrong]))
        message = (
            f"cannot profile {file.path}: the {name} of {pipeline.name} has a tensor {wrong} of {wanted}; here it is {there}"
        )
        raise TargetError(message, _HINT)


def _converted(
    file: CheckpointFile, part: ComponentConfig, model: Any, tensors: Mapping[str, torch.Tensor], expected: Mapping[str, Any]
) -> Mapping[str, torch.Tensor]:
    """The tensors under their names in diffusers' model."""
    if expected.keys() <= tensors.keys():
        return tensors
    function = SINGLE_FILE_LOADABLE_CLASSES.get(part.class_name, {}).get("checkpoint_mapping_fn")
    if function is None:
        raise _unknown(file)
    try:
        return function(checkpoint=dict(tensors), config=dict(model.config))  # type: ignore[no-any-return]
    except Exception as error:
        raise _unknown(file) from error
