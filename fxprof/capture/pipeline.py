"""Capturing a whole pipeline: building it without data, rehearsing its `__call__`, gathering its calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from diffusers.utils import BaseOutput
from torch import nn

from fxprof.cache import Cache
from fxprof.capture.build import Built, Progress, build, of_live
from fxprof.capture.built_modules import HeldModule, grouped, modules_of, modules_since
from fxprof.capture.call_cache import CachedCalls
from fxprof.capture.error_causes import failure, is_from_elsewhere, is_our_bug, lacks
from fxprof.capture.function_caches import Forget, remembering_nothing
from fxprof.capture.inputs import plain, real
from fxprof.capture.loan import Loan, borrowed
from fxprof.capture.optional import standing_in
from fxprof.capture.process_state import alone, unchanged
from fxprof.capture.read_remarks import read_remarks
from fxprof.capture.rehearse import Rehearsal
from fxprof.capture.remedies import missing_arguments, unknown_argument, with_remedy
from fxprof.capture.returned_values import NotCachedError
from fxprof.capture.signature import Watched, default_of, frames_in_force, parameters_of
from fxprof.capture.switches import switch_on
from fxprof.capture.tokenizers import StandInTokenizer, prompt_of_length
from fxprof.capture.untrusted_files import among_strangers
from fxprof.errors import CaptureError, UsageError
from fxprof.source.config import PipelineConfig
from fxprof.source.workload import CALL_ARGUMENTS, DEFAULT_PROMPT, Workload, flag_of
from fxprof.trace.captured import Capture, CapturedComponent

_OUTSIDE = "pipeline"
"""The name of the component for operators that the pipeline's own code runs."""


def capture_pipeline(
    target: PipelineConfig | Any,
    workload: Workload,
    *,
    notable: Callable[[str], bool],
    whole: bool = False,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> Capture:
    """Capture one run of a pipeline.

    Args:
        target: a configuration, or a live `DiffusionPipeline`, which is only read.
        workload: the request to the pipeline.
        notable: whether an operator that runs outside every component's call is to be recorded.
        whole: export every module, also identical ones.
        cache: stores captured calls.
        progress: gets a line for each step.

    Raises:
        CaptureError: the pipeline cannot be built, refuses the workload, or fails.
        UsageError: the pipeline has no argument for a part of the workload.
    """
    report = progress or (lambda _: None)
    with alone(), unchanged(), among_strangers(target):
        try:
            return _attempt(target, workload, notable, report, whole=whole, cache=cache)
        except CaptureError as error:
            if "generator" in workload.arguments or not lacks("generator", error):
                raise
            given = {**workload.arguments, "generator": torch.Generator()}
            return _attempt(target, replace(workload, arguments=given), notable, report, whole=whole, cache=cache)


def _attempt(
    target: PipelineConfig | Any,
    workload: Workload,
    notable: Callable[[str], bool],
    report: Progress,
    *,
    whole: bool,
    cache: Cache | None,
) -> Capture:
    if not isinstance(target, PipelineConfig):
        with borrowed((target, dict(workload.arguments)), lambda: _modules(target)) as loan:
            return _capture(target, workload, notable, report, whole=whole, cache=None, objects=True, loan=loan)
    try:
        return _capture(target, workload, notable, report, whole=whole, cache=cache, objects=True)
    except NotCachedError:
        return _capture(target, workload, notable, report, whole=whole, cache=cache, objects=False)


def _nothing() -> None:
    """Do nothing between two rehearsals: a pipeline built from a configuration needs nothing put back."""


def _modules(pipeline: Any) -> list[nn.Module]:
    return [part for part in vars(pipeline).values() if isinstance(part, nn.Module)]


def _capture(
    target: PipelineConfig | Any,
    workload: Workload,
    notable: Callable[[str], bool],
    report: Progress,
    *,
    whole: bool,
    cache: Cache | None,
    objects: bool,
    loan: Loan | None = None,
) -> Capture:
    with standing_in() as stand_ins, remembering_nothing() as forget:

        def ready(models: Iterable[nn.Module]) -> None:
            stand_ins.bind()
            forget(models)

        captured = _captured(target, workload, notable, report, ready, whole=whole, cache=cache, objects=objects, loan=loan)
        return replace(captured, remarks=(*captured.remarks, *stand_ins.remarks))


def _captured(
    target: PipelineConfig | Any,
    workload: Workload,
    notable: Callable[[str], bool],
    report: Progress,
    ready: Forget,
    *,
    whole: bool,
    cache: Cache | None,
    objects: bool,
    loan: Loan | None,
) -> Capture:
    started = time.perf_counter()
    report("building the pipeline")
    built = _build(target, workload)
    switch_on(built.pipeline, workload.enable)
    ready(built.modules.values())
    if loan is not None:
        loan.begin()
    again = loan.again if loan is not None else _nothing
    name = target.name if isinstance(target, PipelineConfig) else type(built.pipeline).__name__
    arguments, approximations = _arguments(built, workload)
    if loan is not None:
        arguments = loan.arguments(arguments)
    built_at = time.perf_counter()
    outside = (_OUTSIDE if _OUTSIDE not in built.modules else "(pipeline)", type(built.pipeline).__name__)
    parts = target.components if isinstance(target, PipelineConfig) else {}
    known = {part: config for part, config in parts.items() if config is not None and not config.members}
    cached = CachedCalls(cache, known, objects=objects) if cache is not None else None
    live = not isinstance(target, PipelineConfig)
    rehearsal = Rehearsal(
        built.modules, notable=notable, outside=outside, whole=whole, cached=cached, own_code=live, progress=report
    )
    # The weights of a live pipeline are those that it was given with, unless another type is asked for.
    modules = loan.modules_of if loan is not None and workload.dtype is None else _as_loaded(built, live=loan is not None)
    watched = Watched(built.pipeline)
    result, ended = _rehearse(name, rehearsal, built, watched, arguments)
    approximations += ended
    size, guided = _image_size(result), getattr(built.pipeline, "do_classifier_free_guidance", None)
    frames = frames_in_force(result, parameters_of(built.pipeline), arguments)
    rehearsed_at = time.perf_counter()
    decided, unmoved = read_remarks(rehearsal, again, built.pipeline, **arguments)
    approximations += decided
    approximations += _approximate_lengths(name, rehearsal, built, arguments, again)
    seconds = {
        "build": built_at - started,
        "export": rehearsal.export_seconds,
        "rehearse": rehearsed_at - built_at - rehearsal.export_seconds,
        "check text": time.perf_counter() - rehearsed_at,
    }
    return Capture(
        class_name=type(built.pipeline).__name__,
        components=_components(built, rehearsal, outside, modules),
        workload=_in_force(built, workload, arguments, size, {**watched.in_force, "frames": frames}),
        image_size=size,
        guided=bool(guided) if guided is not None else None,
        approximations=tuple(approximations),
        remarks=(*built.remarks, *_remarks(rehearsal), *unmoved),
        seconds=seconds,
        order=tuple(rehearsal.calls.order),
        held=rehearsal.held_between,
    )


def _build(target: PipelineConfig | Any, workload: Workload) -> Built:
    if isinstance(target, PipelineConfig):
        made = build(_without(target, workload.without), getattr(torch, workload.dtype or "float32"))
        return replace(made, without=workload.without)
    built = replace(of_live(target, workload.without), without=workload.without)
    if workload.dtype is not None:
        for module in built.modules.values():
            module.to(getattr(torch, workload.dtype))
    return built


def _without(config: PipelineConfig, names: tuple[str, ...]) -> PipelineConfig:
    present = [name for name, part in config.components.items() if part is not None]
    for name in names:
        if name not in present:
            raise UsageError(f"{config.name} has no component {name} that could be left out", f"it has {', '.join(present)}")
    return replace(config, components={**config.components, **dict.fromkeys(names)})


def _arguments(built: Built, workload: Workload) -> tuple[dict[str, Any], list[str]]:
    """The arguments for the pipeline's call, and sentences on approximations among them."""
    accepted = parameters_of(built.pipeline)
    given = {name: real(value) for name, value in workload.arguments.items()}
    options = {theirs: flag_of(ours) for ours, theirs in _names(accepted).items()}
    asked = {ours: theirs for ours, theirs in _names(accepted).items() if getattr(workload, ours) is not None}
    for ours, theirs in asked.items():
        if theirs in given:
            raise UsageError(f"{ours} and the argument {theirs} mean the same", "give one of them")
    given |= {theirs: getattr(workload, ours) for ours, theirs in asked.items()}
    approximations: list[str] = []
    if "prompt" in accepted and "prompt" not in given and given.get("prompt_embeds") is None:
        given["prompt"], approximations = _prompt(built, workload)
    elif workload.prompt is not None or workload.prompt_tokens is not None:
        raise UsageError(f"{type(built.pipeline).__name__} takes no prompt here")
    for name in given:
        if name not in accepted:
            raise UsageError(*unknown_argument(type(built.pipeline).__name__, name, options.get(name, ""), accepted))
    missing = missing_arguments(type(built.pipeline).__name__, accepted, given)
    if missing:
        raise UsageError(*missing)
    return given, approximations


def _prompt(built: Built, workload: Workload) -> tuple[str, list[str]]:
    if workload.prompt_tokens is None:
        return workload.prompt if workload.prompt is not None else DEFAULT_PROMPT, []
    prompt, exact = prompt_of_length(workload.prompt_tokens, list(built.tokenizers.values()))
    sentence = f"no prompt of exactly {workload.prompt_tokens} tokens was found for every tokenizer of the pipeline"
    return prompt, [] if exact else [sentence]


def _names(accepted: Mapping[str, object]) -> dict[str, str]:
    """The arguments of this pipeline's `__call__` by workload option; one that makes videos counts those."""
    videos = "num_videos_per_prompt"
    return {**CALL_ARGUMENTS, "images": videos} if videos in accepted else CALL_ARGUMENTS


def _rehearse(
    name: str, rehearsal: Rehearsal, built: Built, pipeline: Watched, arguments: Mapping[str, Any]
) -> tuple[Any, list[str]]:
    """The pipeline's result; if a component failed after others were captured, no result and a sentence about the failure."""
    try:
        return _call(name, rehearsal.run, built, pipeline, arguments), []
    except CaptureError as error:
        failure = rehearsal.end(error.__cause__ or error)
        if failure is None:
            raise
    missing = [part for part in built.modules if part not in rehearsal.calls.components]
    later = f", such as all of {' and '.join(missing)}" if missing else ""
    what = f"the dry run ended at {_dotted(failure.place)}: {failure.reason}"
    return None, [f"{what}; the totals leave out everything that the pipeline computes after that{later}"]


def _call(name: str, run: Callable[..., Any], built: Built, pipeline: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    try:
        return run(pipeline, **arguments)
    except CaptureError:
        raise
    except BaseException as error:
        if is_our_bug(error) or not is_from_elsewhere(error):
            raise
        refused = failure(f"the dry run of {name} failed: {type(built.pipeline).__name__} says", error)
        raise with_remedy(refused, error, built.pipeline, arguments, built.without) from error


def _approximate_lengths(
    name: str, rehearsal: Rehearsal, built: Built, arguments: Mapping[str, Any], again: Callable[[], None]
) -> list[str]:
    """A sentence if shapes depend on how stand-in tokenizers split texts: a second rehearsal with longer texts shows it."""
    stand_ins = {key: value for key, value in built.tokenizers.items() if isinstance(value, StandInTokenizer)}
    if not stand_ins:
        return []
    again()
    for tokenizer in stand_ins.values():
        tokenizer.count_extra(1)
    try:
        if _call(name, rehearsal.repeats, built, built.pipeline, arguments):
            return []
    finally:
        for tokenizer in stand_ins.values():
            tokenizer.count_extra(0)
    names = ", ".join(stand_ins)
    return [f"the length of text is an estimate: {names} counted words (no tokenizer files); --prompt-tokens sets it"]


def _components(
    built: Built, rehearsal: Rehearsal, outside: tuple[str, str], modules: _Modules
) -> tuple[CapturedComponent, ...]:
    order = rehearsal.calls.components
    names = [*order, *(name for name in built.modules if name not in order)]
    turns = str(getattr(built.pipeline, "model_cpu_offload_seq", None) or "").split("->")
    never = getattr(built.pipeline, "_exclude_from_cpu_offload", None) or ()
    found = _each_once(built, (_component(name, built, rehearsal, outside, modules) for name in names))
    return tuple(
        replace(item, offload_turn=turns.index(item.name) if item.name in turns else None, offload_never=item.name in never)
        for item in found
    )


def _each_once(built: Built, components: Iterable[CapturedComponent]) -> Iterator[CapturedComponent]:
    """The components; one that has another name already has no weights of its own."""
    seen = set[int]()
    for item in components:
        module = built.modules.get(item.name)
        if module is not None and id(module) in seen:
            bare = tuple(replace(part, weights=()) for part in item.modules)
            yield replace(item, modules=bare, weights=())
        else:
            yield item
        seen.add(id(module))


_Modules = Callable[[nn.Module], tuple[HeldModule, ...]]


def _as_loaded(built: Built, *, live: bool) -> _Modules:
    """The modules of components with the weights that they hold now; those of a live one may get some later."""
    before = {id(module): modules_of(module) for module in built.modules.values()}
    return lambda module: modules_since(before[id(module)], module) if live else before[id(module)]


def _component(name: str, built: Built, rehearsal: Rehearsal, outside: tuple[str, str], modules: _Modules) -> CapturedComponent:
    module = built.modules.get(name)
    if module is None:
        return CapturedComponent(name, outside[1], (), rehearsal.calls.of(name), weights=(), held=rehearsal.held(name))
    parts = grouped(modules(module))
    return CapturedComponent(
        name,
        type(module).__name__,
        parts.modules,
        rehearsal.calls.of(name),
        tiling=bool(getattr(module, "use_tiling", False)),
        slicing=bool(getattr(module, "use_slicing", False)),
        entered=rehearsal.calls.entered[name],
        aliases=rehearsal.aliases(name),
        runs=rehearsal.calls.runs(name),
        held=rehearsal.held(name),
        weights=parts.weights,
        offload_blocks=tuple(getattr(module, "_group_offload_block_modules", None) or ()),
    )


def _remarks(rehearsal: Rehearsal) -> list[str]:
    return [
        f"{_dotted(place)} ran for real and its children were captured one by one: {reason}"
        for place, reason in rehearsal.ran_for_real.items()
        if rehearsal.failure is None or place != rehearsal.failure.place
    ]


def _dotted(place: tuple[str, str]) -> str:
    return ".".join(part for part in place if part)


def _image_size(result: Any) -> tuple[int, int] | None:
    """Height and width of the first image or frame that a pipeline returned, however it is wrapped."""
    while isinstance(result, (BaseOutput, list, tuple)) and len(result):
        result = next(iter(result.values())) if isinstance(result, BaseOutput) else result[0]
    if hasattr(result, "size") and isinstance(result.size, tuple):
        return int(result.size[1]), int(result.size[0])
    shape = tuple(getattr(result, "shape", ()))
    if isinstance(result, torch.Tensor):
        return (int(shape[-2]), int(shape[-1])) if len(shape) >= 2 else None  # noqa: PLR2004 - an image has two sizes
    return (int(shape[-3]), int(shape[-2])) if len(shape) >= 3 else None  # noqa: PLR2004 - and channels come last in numpy


def _in_force(
    built: Built,
    workload: Workload,
    arguments: Mapping[str, Any],
    size: tuple[int, int] | None,
    observed: Mapping[str, Any],
) -> dict[str, int | float | str | bool | None]:
    """The workload with the pipeline's own defaults filled in, and with values that were `observed` in the run instead."""
    accepted = parameters_of(built.pipeline)
    names = _names(accepted)
    values: dict[str, Any] = {ours: arguments.get(theirs, default_of(accepted, theirs)) for ours, theirs in names.items()}
    values |= {name: value for name, value in observed.items() if value is not None}
    if size is not None:
        values["height"], values["width"] = values["height"] or size[0], values["width"] or size[1]
    values["images"] = values["images"] or 1
    values["prompt"] = arguments.get("prompt")
    values["prompt_tokens"] = workload.prompt_tokens
    dtypes = [str(module.dtype).removeprefix("torch.") for module in built.modules.values() if hasattr(module, "dtype")]
    values["dtype"] = max(dtypes, key=dtypes.count, default=None)
    values["without"] = ", ".join(workload.without) or None
    values["enable"] = ", ".join(workload.enable) or None
    extra = {name: value for name, value in arguments.items() if name not in {*names.values(), "prompt", "generator"}}
    return {name: plain(value) for name, value in {**values, **extra}.items() if value is not None}
