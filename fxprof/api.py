"""The public functions: each wires the rooms together once. Imports torch and diffusers only when a graph is captured."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fxprof.cost.kinds import kind_of
from fxprof.cost.registry import BUILT_IN, KINDS, Formulas
from fxprof.errors import UsageError
from fxprof.result.profile import Profile
from fxprof.source.config import PipelineConfig, SingleComponent
from fxprof.source.workload import Workload

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from torch import nn
    from torch.export import ExportedProgram

_COSTLESS = frozenset(KINDS[KINDS.index("normalisation") : KINDS.index("unknown")])


def profile(
    target: str | os.PathLike[str] | PipelineConfig | SingleComponent | DiffusionPipeline,
    *,
    height: int | None = None,
    width: int | None = None,
    images: int | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    prompt: str | None = None,
    prompt_tokens: int | None = None,
    dtype: str | None = None,
    without: Iterable[str] = (),
    arguments: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    formulas: Formulas | None = None,
    progress: Callable[[str], None] | None = None,
) -> Profile:
    """What one run of a pipeline, or one call of a component, computes, in MACs, exactly; no weights and no GPU.

    Args:
        target: a bundled model's name, a directory in the Hub's layout, a Hub id `org/name` or `org/name@revision`, a saved
            profile, a `PipelineConfig`, or a live `DiffusionPipeline`, which is only read: its weights are neither copied
            nor run. A directory, or repository, may be that of one component.
        height: pixels; like everything below, the pipeline's own default when not given.
        width: pixels.
        images: images per prompt.
        steps: denoising steps.
        guidance_scale: classifier-free guidance, or what the pipeline makes of it.
        prompt: the prompt.
        prompt_tokens: the length of the prompt in tokens, special ones not counted, instead of a prompt.
        dtype: element type to build in: `float32`, `float16` or `bfloat16`.
        without: optional components to leave out, such as `safety_checker`.
        arguments: further arguments of the pipeline's `__call__`, real images and tensors included.
        inputs: for one component, the arguments of its `forward`: tensors, plain values, or texts such as
            `"1x16x64x64"` and `"1x77:int64"` for tensors of that shape. The class's own dummy inputs by default.
        formulas: the table to count with; by default the built-in one with installed plug-ins.
        progress: told what is being done, a line at a time.

    Raises:
        UsageError: a value that no pipeline could use, or an argument that this one does not have.
        TargetError: the target is not known or not readable.
        CaptureError: the pipeline cannot be built, refuses the workload, or fails.
    """
    workload = Workload(
        height, width, images, steps, guidance_scale, prompt, prompt_tokens, dtype, tuple(without), dict(arguments or {})
    )
    if isinstance(target, (str, os.PathLike)):
        from fxprof.result.store import load, looks_like_profile

        if looks_like_profile(Path(target)):
            if workload != Workload() or inputs:
                raise UsageError(f"{os.fspath(target)} is a saved profile, of one workload", "profile the pipeline again")
            return load(Path(target))
        from fxprof.source import resolve

        target = resolve(target)
    if isinstance(target, SingleComponent):
        return _profile_component(target, workload, inputs or {}, formulas, progress)
    if inputs:
        raise UsageError("inputs are those of one component, and the target is a whole pipeline", "--arg sets its arguments")
    return _profile_pipeline(target, workload, formulas, progress)


def _profile_pipeline(
    target: PipelineConfig | DiffusionPipeline,
    workload: Workload,
    formulas: Formulas | None,
    progress: Callable[[str], None] | None,
) -> Profile:
    table = formulas if formulas is not None else default_formulas()
    if progress is not None:
        progress("importing torch, diffusers and transformers")
    from fxprof.capture.pipeline import capture_pipeline
    from fxprof.result.assemble import assemble

    captured = capture_pipeline(target, workload, notable=notable_with(table), progress=progress)
    name = target.name if isinstance(target, PipelineConfig) else type(target).__name__
    return assemble(captured, name, versions(), table)


def _profile_component(
    target: SingleComponent,
    workload: Workload,
    inputs: Mapping[str, Any],
    formulas: Formulas | None,
    progress: Callable[[str], None] | None,
) -> Profile:
    given = [
        item.name for item in fields(workload) if item.name != "dtype" and getattr(workload, item.name) not in (None, (), {})
    ]
    if given:
        verb = "are" if len(given) > 1 else "is"
        what = f"{', '.join(given)} {verb} for a whole pipeline, and {target.name} is one component"
        raise UsageError(what, "--input NAME=SHAPE sets what it is called with")
    from fxprof.source.stand_ins import input_value

    read = {name: input_value(value) for name, value in inputs.items()}
    table = formulas if formulas is not None else default_formulas()
    if progress is not None:
        progress("importing torch, diffusers and transformers")
    from fxprof.capture.module import capture_component
    from fxprof.result.assemble import assemble

    captured = capture_component(target, read, workload.dtype, notable=notable_with(table), progress=progress)
    return assemble(captured, target.name, versions(), table)


def profile_module(
    module: nn.Module,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    formulas: Formulas | None = None,
) -> Profile:
    """What one call of any `nn.Module` computes; the module is only read.

    Args:
        module: on any device, in any mode; it is looked at in evaluation mode.
        args: positional arguments of its `forward`; of tensors only the shapes matter, unless `forward` reads them.
        kwargs: keyword arguments.
        formulas: the table to count with.

    The profile has one component, called `model`.

    Raises:
        CaptureError: the module fails on these arguments.
    """
    table = formulas if formulas is not None else default_formulas()
    from fxprof.capture.module import capture_module
    from fxprof.result.assemble import assemble

    captured = capture_module(module, args, dict(kwargs or {}), notable=notable_with(table))
    return assemble(captured, type(module).__name__, versions(), table)


def profile_program(
    program: ExportedProgram, *, dims: Mapping[str, int] | None = None, formulas: Formulas | None = None
) -> Profile:
    """What one call of an exported program computes.

    Args:
        program: from `torch.export.export` or `torch.export.load`.
        dims: sizes for the symbols of a program that was exported with dynamic shapes; the example's sizes by default.
        formulas: the table to count with.

    The profile has one component, called `model`.

    Raises:
        UsageError: `dims` names a symbol that the program does not have, or a size outside its range.
    """
    table = formulas if formulas is not None else default_formulas()
    from fxprof.capture.module import capture_program
    from fxprof.result.assemble import assemble

    captured = capture_program(program, dict(dims or {}))
    return assemble(captured, captured.class_name, versions(), table)


def default_formulas() -> Formulas:
    """The built-in formulas, those declared with `fxprof.formula`, and those of installed plug-ins."""
    from fxprof.cost.plugins import load_entry_points

    return load_entry_points(BUILT_IN)


def versions() -> dict[str, str]:
    """Versions of fxprof and of the packages that a captured graph depends on."""
    from importlib.metadata import version

    import fxprof

    return {"fxprof": fxprof.__version__, **{name: version(name) for name in ("torch", "diffusers", "transformers")}}


def notable_with(formulas: Formulas) -> Callable[[str], bool]:
    """Whether an operator that runs outside every captured call has to be recorded: all but those known to cost nothing."""
    return lambda target: formulas.find(target) is not None or kind_of(target) not in _COSTLESS
