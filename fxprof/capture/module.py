"""Single modules and exported programs, captured as a pipeline of one component."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from fxprof.capture.blame import describe, is_our_bug
from fxprof.capture.hollow import hollow_copy
from fxprof.capture.quiet import unchanged
from fxprof.capture.rehearse import Rehearsal, modules_of
from fxprof.capture.translate import translate
from fxprof.errors import CaptureError, UsageError
from fxprof.trace import Trace
from fxprof.trace.captured import Capture, CapturedCall, CapturedComponent, CapturedModule

COMPONENT = "model"
"""The name of the one component."""


def capture_module(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, notable: Callable[[str], bool]
) -> Capture:
    """Capture one call of a live module, which is only read.

    Raises:
        CaptureError: the module cannot be copied without its weights, or fails on these arguments.
    """
    name = type(module).__name__
    with unchanged():
        try:
            hollow = hollow_copy(module, {})
            rehearsal = Rehearsal({COMPONENT: hollow}, notable=notable, outside=("outside", name))
            given, named = pytree.tree_map_only(torch.Tensor, _zeros_or_values, (args, kwargs))
            rehearsal.run(hollow, *given, **named)
        except Exception as error:
            if is_our_bug(error):
                raise
            raise CaptureError(f"could not capture {name}: {describe(error)}") from error
        calls = rehearsal.recorded(COMPONENT)
    reasons = tuple(
        f"{path or name} ran for real and its children were captured one by one: {reason}"
        for (_, path), reason in rehearsal.ran_for_real.items()
    )
    return Capture(name, (CapturedComponent(COMPONENT, name, modules_of(hollow), calls),), {}, remarks=reasons)


def _zeros_or_values(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_meta or type(tensor) is not torch.Tensor:
        return torch.zeros(tuple(tensor.shape), dtype=tensor.dtype)
    return tensor.detach().cpu()


def capture_program(program: ExportedProgram, dims: Mapping[str, int]) -> Capture:
    """What an exported program says.

    Raises:
        UsageError: `dims` names a symbol that the program does not have, or a size outside its range.
    """
    trace = translate(program)
    known = dict(trace.symbols)
    for symbol, size in dims.items():
        _check_dim(program, known, symbol, size)
    trace = Trace(trace.ops, trace.inputs, tuple((known | dict(dims)).items()))
    stack = next((op.stack for op in trace.ops if op.stack), ())
    name = stack[0].class_name if stack else "GraphModule"
    component = CapturedComponent(COMPONENT, name, _modules(program, trace), (CapturedCall("", 1, trace),))
    return Capture(name, (component,), dict(trace.symbols))


def _check_dim(program: ExportedProgram, known: Mapping[str, int], symbol: str, size: int) -> None:
    if symbol not in known:
        raise UsageError(f"the program has no dynamic size {symbol}", f"it has {', '.join(known) or 'none'}")
    for name, bounds in program.range_constraints.items():
        if str(name) == symbol and not bounds.lower <= size <= bounds.upper:
            raise UsageError(f"{symbol}={size} is outside the program's range, {bounds.lower} to {bounds.upper}")


def _modules(program: ExportedProgram, trace: Trace) -> tuple[CapturedModule, ...]:
    """Modules that hold parameters, by the names of those, with the classes that the graph shows."""
    classes = {frame.path: frame.class_name for op in trace.walk() for frame in op.stack}
    params: dict[str, int] = {"": 0}
    seen: set[int] = set()
    for name, parameter in program.named_parameters():
        path = name.rpartition(".")[0]
        params[path] = params.get(path, 0) + (0 if id(parameter) in seen else parameter.numel())
        seen.add(id(parameter))
    paths = sorted(params.keys() | classes.keys())
    return tuple(CapturedModule(path, classes.get(path, ""), params.get(path, 0)) for path in paths)
