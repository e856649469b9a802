"""The public functions, each of which calls the other packages in turn. Only a capture imports torch and diffusers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fxprof.errors import CaptureError, FormulaError, OutputError, ProfileError, TargetError, UsageError
from fxprof.result.causal import check_causal
from fxprof.result.profile import Profile
from fxprof.result.saved.read import load_bytes, loads
from fxprof.source.checkpoint import CheckpointFile
from fxprof.source.config import PipelineConfig, SingleComponent
from fxprof.source.environment import loading
from fxprof.source.live import check_dims, check_formulas, check_keywords, check_module, check_program
from fxprof.source.targets import CAPTURED, PROFILE, RUN, Target, find_target, refuse_untaken
from fxprof.source.workload import Workload

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline
    from torch import nn
    from torch.export import ExportedProgram

    from fxprof.cache import Cache
    from fxprof.compare.diff import Diff
    from fxprof.cost.registry import Formulas
    from fxprof.trace.captured import Capture


def profile(
    target: str | os.PathLike[str] | PipelineConfig | SingleComponent | Target | DiffusionPipeline,
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
    enable: Iterable[str] = (),
    arguments: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    dims: Mapping[str, int] | None = None,
    formulas: Formulas | None = None,
    whole: bool = False,
    cache: Cache | None = None,
    progress: Callable[[str], None] | None = None,
    causal: str = "full",
    lifetimes: bool = True,
) -> Profile:
    """Count the MACs of one run of a pipeline, or of one call of a component: exactly, without weights or GPU.

    Args:
        target: a bundled model's name, a directory in the Hub's layout, a Hub id `org/name` or `org/name@revision`, a
            `.safetensors`, `.gguf` or `.pt2` file, a directory that `fxprof capture` wrote, a saved profile, a
            `PipelineConfig`, or a live `DiffusionPipeline`, which is only read: its weights are neither copied nor run.
            A directory or repository may be that of one component. A result of `fxprof.source.find_target` is a target too.
        height: pixels; like everything below, the pipeline's own default when not given.
        width: pixels.
        images: images per prompt.
        steps: denoising steps.
        guidance_scale: strength of classifier-free guidance, or of the pipeline's own form of guidance.
        prompt: the prompt.
        prompt_tokens: length of the prompt in tokens, without special ones, instead of a prompt.
        dtype: element type to build in: `float32`, `float16` or `bfloat16`.
        without: optional components to leave out, such as `safety_checker`.
        enable: features to switch on before the call, such as `vae.tiling` for `pipe.vae.enable_tiling()`.
        arguments: further arguments of the pipeline's `__call__`, real images and tensors included.
        inputs: for one component, the arguments of its `forward`: tensors, plain values, or texts such as
            `"1x16x64x64"` and `"1x77:int64"` for tensors of that shape and `":int64"` for a single number of that type. If
            the model takes only a tensor, a number means one for each sample. By default the class's own dummy inputs.
        dims: for a `.pt2` file with dynamic shapes, sizes by symbol (`s77`), by position (`x.0`: the first size of the input
            `x`) or by a name that the file gives; those of its example inputs by default.
        formulas: the table to count with; by default the built-in one with installed plug-ins.
        whole: export equal modules of a model each time; slower, with the same result.
        cache: the cache for results, such as `fxprof.cache.default_cache()`; None for no cache. An earlier profile of the same
            content with the same packages is read from it, without torch.
        progress: a function that gets one line of text about each step.
        causal: `half` to count attention that says it is causal as the lower triangle of its scores;
            `Profile.count_causal("half")` gives the same of a profile that is there already.
        lifetimes: whether to find the tensors that are alive at once, for `Profile.memory`, in graphs that are read from files,
            which takes as long as counting them. A pipeline that is captured always has them.

    Raises:
        UsageError: a value that no pipeline could use, or an argument that this pipeline does not have.
        TargetError: the target is unknown or unreadable.
        CaptureError: the pipeline cannot be built, refuses the workload, or fails.
    """
    workload = Workload(
        *(height, width, images, steps, guidance_scale, prompt, prompt_tokens, dtype),
        _names(without),
        dict(arguments or {}),
        _names(enable),
    )
    check_causal(causal)
    with find_target(target) as resolved:
        options = {**_values(workload), "inputs": inputs, "dims": dims, "formulas": formulas, "whole": whole}
        refuse_untaken((resolved,), options)
        if resolved.sort in CAPTURED:
            return _profile_captured(resolved, dims or {}, formulas, lifetimes=lifetimes).count_causal(causal)
    source = _to_capture(resolved)
    kept = _Kept(cache, source, workload, inputs or {}, formulas, whole=whole)
    known = kept.find()
    if known is not None:
        return known.count_causal(causal)
    from fxprof.result.assemble import assemble

    table = formulas if formulas is not None else default_formulas()
    try:
        captured = _captured(source, workload, inputs or {}, table, progress, whole=whole, cache=cache)
    finally:
        kept.tell()
    profile = assemble(captured, table)
    kept.keep(profile)
    return profile.count_causal(causal)


class _Kept:
    """A profile's entry in a cache; there is none without a cache, or if the profile depends on unknown content."""

    def __init__(
        self,
        cache: Cache | None,
        target: object,
        workload: Workload,
        inputs: Mapping[str, Any],
        formulas: Formulas | None,
        *,
        whole: bool,
    ) -> None:
        self._cache, self._key = cache, None
        if cache is not None and formulas is None and isinstance(target, (PipelineConfig, SingleComponent)):
            from fxprof.cache.keys import key_of, leads_elsewhere

            # Formulas from elsewhere are code that may change between two runs.
            own = all(formula.origin == "fxprof" for formula in default_formulas().table.values())
            if own and not leads_elsewhere((workload.arguments, inputs)):
                self._key = key_of("profile", target, workload, inputs, whole)

    def find(self) -> Profile | None:
        if self._cache is None or self._key is None:
            return None
        text = self._cache.find("profile", self._key)
        if text is None:
            return None
        try:
            return loads(text)
        except ProfileError:
            self._cache.drop("profile", self._key)
            return None

    def keep(self, profile: Profile) -> None:
        from fxprof.result.views import not_captured

        # The cause that ended a rehearsal, such as a lack of memory, may be gone the next time.
        if self._cache is not None and self._key is not None and not not_captured(profile):
            from fxprof.result.saved.write import dumps

            about = " ".join([profile.target, *(f"{name}={value}" for name, value in profile.workload.items())])
            with suppress(OutputError):  # a number that JSON cannot write
                self._cache.keep("profile", self._key, about, dumps(profile))

    def tell(self) -> None:
        if self._cache is not None:
            from fxprof.cache import tell

            tell()


def _profile_captured(target: Target, dims: Mapping[str, int], formulas: Formulas | None, *, lifetimes: bool) -> Profile:
    """The profile from a file or directory that holds results or graphs."""
    assert target.path is not None, "what was captured is in a file or a directory"
    if target.sort is PROFILE:
        return load_bytes(target.content.pop(), target.path)
    from fxprof.result.assemble import assemble

    captured = _read_graphs(target, target.path, dims)
    from fxprof.cost.agreement import check_capture

    check_capture(captured, str(target.path))
    table = formulas if formulas is not None else default_formulas()
    try:
        named = replace(captured, versions={"fxprof": _own_version(), **captured.versions})
        return assemble(named, table, lifetimes=lifetimes)
    except (FormulaError, TargetError) as error:
        raise type(error)(f"cannot count {target.path}: {error.message}", error.hint) from error


def _read_graphs(target: Target, path: Path, dims: Mapping[str, int]) -> Capture:
    from fxprof.trace.bundle import read_bundle
    from fxprof.trace.pt2 import read_capture

    return read_bundle(path) if target.sort is RUN else read_capture(path, dims, target.content)


def save_graphs(
    target: str | os.PathLike[str] | PipelineConfig | SingleComponent | DiffusionPipeline,
    directory: str | os.PathLike[str],
    *,
    force: bool = False,
    inputs: Mapping[str, Any] | None = None,
    formulas: Formulas | None = None,
    progress: Callable[[str], None] | None = None,
    **workload: Any,
) -> Profile:
    """Write the exported graph of every distinct call of a pipeline's components into a directory, one `.pt2` file each.

    The files hold no weights; `torch.export.load` and other tools open them. With the manifest beside them, the directory
    is a target of `profile` that gives the same profile as the pipeline itself.

    Args:
        target: as for `profile`, but none that is captured already.
        directory: the directory to write, whole or not at all.
        force: replace a directory that an earlier call wrote.
        inputs: as for `profile`.
        formulas: as for `profile`.
        progress: as for `profile`.
        workload: `height`, `width`, `steps`, `arguments` and so on, as for `profile`.

    Returns:
        The profile of the captured graphs.

    Raises:
        UsageError: as `profile`; or the target already holds results or graphs.
        TargetError: as `profile`.
        CaptureError: as `profile`; or torch cannot write a graph.
        OutputError: the directory exists and `force` is not set, or it cannot be written.
    """
    from fxprof.result.assemble import assemble
    from fxprof.result.files import whole_directory
    from fxprof.trace.bundle import MANIFEST, write_manifest

    table = formulas if formulas is not None else default_formulas()
    asked = _workload(workload)
    with whole_directory(Path(directory), force=force, owned=MANIFEST) as part, find_target(target) as resolved:
        if resolved.sort in CAPTURED:
            what = f"{resolved} holds no pipeline that could be captured"
            raise UsageError(what, "name a pipeline; `fxprof profile` takes this target as it is")
        refuse_untaken((resolved,), {**_values(asked), "inputs": inputs, "formulas": formulas})
        captured = _captured(_to_capture(resolved), asked, inputs or {}, table, progress, whole=True)
        if progress is not None:
            progress("writing the graphs")
        with loading():
            from fxprof.capture.save import save_graphs as write_graphs

        profile = assemble(captured, table)
        text = write_manifest(captured, write_graphs(captured, part))
        (part / MANIFEST).write_text(text, encoding="utf-8")
    return profile


def _workload(given: Mapping[str, Any]) -> Workload:
    unknown = [name for name in given if name not in {item.name for item in fields(Workload)}]
    if unknown:
        raise UsageError(f"{', '.join(unknown)} is no part of a workload", "pass other arguments of the call in `arguments`")
    values = {name: value for name, value in given.items() if value is not None}
    names = {key: _names(given.get(key) or ()) for key in ("without", "enable")}
    return Workload(**{**values, **names, "arguments": dict(given.get("arguments") or {})})


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _values(workload: Workload) -> dict[str, Any]:
    return {item.name: getattr(workload, item.name) for item in fields(workload)}


def _to_capture(target: Target) -> PipelineConfig | SingleComponent | DiffusionPipeline:
    """The source of a capture; for a file of weights, the configuration that diffusers finds by its tensors."""
    if not isinstance(target.content, CheckpointFile):
        return target.content
    with loading():
        from fxprof.capture.checkpoints import config_of_checkpoint

    return config_of_checkpoint(target.content)


def _captured(
    target: PipelineConfig | SingleComponent | DiffusionPipeline,
    workload: Workload,
    inputs: Mapping[str, Any],
    table: Formulas,
    progress: Callable[[str], None] | None,
    *,
    whole: bool,
    cache: Cache | None = None,
) -> Capture:
    """The capture of a target, with its name and the versions of the packages that captured it."""
    notable = notable_with(table)
    if isinstance(target, SingleComponent):
        from fxprof.source.stand_ins import input_value

        read = {name: input_value(value) for name, value in inputs.items()}
    from fxprof.trace.collector import seldom_collected

    with seldom_collected():
        progress = _heard(progress)
        _say_imports(progress)
        if isinstance(target, SingleComponent):
            with loading():
                from fxprof.capture.module import capture_component

            def capture(given: Mapping[str, Any]) -> Capture:
                return capture_component(target, given, workload.dtype, notable=notable, whole=whole, progress=progress)

            return replace(_as_meant(capture, read), target=target.name, versions=versions())
        with loading():
            from fxprof.capture.pipeline import capture_pipeline

        captured = capture_pipeline(target, workload, notable=notable, whole=whole, cache=cache, progress=progress)
        if not isinstance(target, PipelineConfig):
            return replace(captured, target=type(target).__name__, versions=versions())
        noted = (f"{target.name}: {target.note}",) if target.note else ()
        return replace(captured, target=target.name, versions=versions(), remarks=(*noted, *captured.remarks))


def _as_meant(capture: Callable[[Mapping[str, Any]], Capture], inputs: Mapping[str, Any]) -> Capture:
    """The capture of a component; a number, such as a timestep, may stand for a tensor with one element per sample.

    Raises:
        CaptureError: as `capture`, about the given inputs.
    """
    from fxprof.source.stand_ins import for_each_sample

    try:
        return capture(inputs)
    except CaptureError as error:
        meant = for_each_sample(inputs)
        if meant != inputs:
            with suppress(CaptureError):
                return capture(meant)
        texts = [name for name, value in inputs.items() if isinstance(value, str)]
        if texts and not error.hint:
            taken = f"{' and '.join(texts)} {'were' if len(texts) > 1 else 'was'} taken for a text"
            hint = f"{taken}; write a tensor by its shape, such as 1x16x64x64 or 1x77:int64"
            raise CaptureError(error.message, hint) from error
        raise


def _heard(progress: Callable[[str], None] | None) -> Callable[[str], None] | None:
    """The same function, printing to the current standard output: while a pipeline runs, that may lead elsewhere."""
    if progress is None:
        return None
    said, stream = progress, sys.stdout

    def say(line: str) -> None:
        if sys.stdout is stream:
            said(line)
        else:
            with redirect_stdout(stream):
                said(line)

    return say


def _say_imports(progress: Callable[[str], None] | None) -> None:
    if progress is not None:
        progress("importing torch, diffusers and transformers")


def diff(
    old: Profile | str | os.PathLike[str] | PipelineConfig | DiffusionPipeline,
    new: Profile | str | os.PathLike[str] | PipelineConfig | DiffusionPipeline,
    *,
    measure: str = "macs",
) -> Diff:
    """Compare two profiles: the run, components, calls, modules and operators.

    Args:
        old: a profile, or a target of `profile`, which is profiled with the pipeline's own defaults.
        new: the same.
        measure: what is compared: `macs`, `traffic` (bytes), `weights` (bytes) or `elementwise` (operations). All totals and
            differences of the result hold it, as `amount`.

    `diff(new, old) == -diff(old, new)`; the differences of the rows add up to that of the totals.

    Raises:
        UsageError, TargetError, CaptureError: as `profile`; or there is no such measure, or a side lacks what it needs.
    """
    from fxprof.compare.profiles import compare_profiles

    first, second = (side if isinstance(side, Profile) else profile(side) for side in (old, new))
    return compare_profiles(first, second, measure)


def profile_module(
    module: nn.Module,
    args: tuple[Any, ...] | torch.Tensor = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    formulas: Formulas | None = None,
    whole: bool = False,
) -> Profile:
    """Count the MACs of one call of any `nn.Module`. Its weights are neither copied nor used.

    Args:
        module: a module on any device, in any mode, with any hooks; it is captured in evaluation mode and restored afterwards.
        args: positional arguments of its `forward`, or a bare tensor as the only one; only the shapes of tensors matter,
            unless `forward` reads them.
        kwargs: keyword arguments.
        formulas: the table to count with.
        whole: export equal modules in it each time; slower, with the same result.

    The profile has one component, called `model`.

    Raises:
        UsageError: `module` is no module, or `args` no tuple.
        CaptureError: the module fails on these arguments.
    """
    args, keywords = check_module(module, args), check_keywords(kwargs)
    check_formulas(formulas)
    table = formulas if formulas is not None else default_formulas()
    with loading():
        from fxprof.capture.module import capture_module
    from fxprof.result.assemble import assemble

    captured = capture_module(module, args, keywords, notable=notable_with(table), whole=whole)
    return assemble(replace(captured, target=type(module).__name__, versions=versions()), table)


def profile_program(
    program: ExportedProgram, *, dims: Mapping[str, int] | None = None, formulas: Formulas | None = None
) -> Profile:
    """Count the MACs of one call of an exported program.

    Args:
        program: from `torch.export.export` or `torch.export.load`.
        dims: for a program with dynamic shapes, sizes by symbol (`s77`) or by position (`x.0`: the first size of the
            input `x`); the example's sizes by default.
        formulas: the table to count with.

    The profile has one component, called `model`.

    Raises:
        UsageError: `dims` names a size that the program does not have, or a value outside its range or refused by it.
        TargetError: the program contradicts itself.
    """
    check_program(program)
    check_formulas(formulas)
    table = formulas if formulas is not None else default_formulas()
    with loading():
        from fxprof.capture.module import capture_program
    from fxprof.cost.agreement import check_capture
    from fxprof.result.assemble import assemble

    captured = capture_program(program, check_dims(dims))
    check_capture(captured, "the program")
    return assemble(replace(captured, target=captured.class_name, versions=versions()), table)


def default_formulas() -> Formulas:
    """The built-in formulas, those declared with `fxprof.formula`, and those of installed plug-ins."""
    from fxprof.cost.plugins import load_entry_points
    from fxprof.cost.registry import BUILT_IN

    return load_entry_points(BUILT_IN)


def versions() -> dict[str, str]:
    """Versions of fxprof and of the packages that a captured graph depends on."""
    from importlib.metadata import version

    return {"fxprof": _own_version(), **{name: version(name) for name in ("torch", "diffusers", "transformers")}}


def _own_version() -> str:
    import fxprof

    return fxprof.__version__


def notable_with(formulas: Formulas) -> Callable[[str], bool]:
    """A test whether to record an operator that runs outside every captured call: all but those known to cost nothing."""
    from fxprof.cost.kinds import kind_of
    from fxprof.cost.registry import KINDS

    costless = frozenset(KINDS[KINDS.index("normalisation") : KINDS.index("unknown")])
    return lambda target: formulas.find(target) is not None or kind_of(target) not in costless
