"""Single modules, live or from a configuration, and exported programs, captured as a pipeline of one component."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind
from torch.utils import _pytree as pytree

from fxprof.capture.build import Progress, build_module
from fxprof.capture.built_modules import grouped
from fxprof.capture.error_causes import failure, is_our_bug
from fxprof.capture.function_caches import remembering_nothing
from fxprof.capture.inputs import plain, real
from fxprof.capture.layouts import shape_of
from fxprof.capture.loan import Loan, borrowed, uncompiled
from fxprof.capture.process_state import alone, unchanged
from fxprof.capture.read_remarks import read_remarks
from fxprof.capture.rehearse import Rehearsal
from fxprof.capture.translate import input_values, translate
from fxprof.capture.untrusted_files import among_strangers
from fxprof.errors import CaptureError, TargetError, UsageError
from fxprof.source.config import SingleComponent
from fxprof.source.stand_ins import StandIn
from fxprof.trace import Tensor
from fxprof.trace.captured import Capture, CapturedCall, CapturedComponent
from fxprof.trace.conditions import at_sizes, conditions_of
from fxprof.trace.dims import Dims, bind_dims, told_guards
from fxprof.trace.guards import Inputs, input_paths
from fxprof.trace.modules import called_paths, is_of_torch, modules_of_graph, root_class, with_weights
from fxprof.trace.weights import BUFFER, PARAMETER

COMPONENT = "model"
"""The name of the one component."""


def capture_module(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, notable: Callable[[str], bool], whole: bool = False
) -> Capture:
    """Capture one call of a live module, which is only read; with `whole`, identical modules are all exported.

    Raises:
        CaptureError: the module cannot be copied without its weights, or fails on these arguments.
    """
    module = uncompiled(module)
    with alone(), unchanged(), borrowed((module, args, kwargs), lambda: [module]) as loan, remembering_nothing() as forget:
        forget([module])
        loan.begin()
        try:
            return _capture(module, args, kwargs, loan, notable, whole=whole)
        except CaptureError as error:
            if "does not require grad" not in str(error):
                raise
        # The module needs gradients to be on, as they are outside of `torch.no_grad`.
        loan.again()
        return _capture(module, args, kwargs, loan, notable, whole=whole, call=_differentiating(module))


def _differentiating(module: nn.Module) -> Callable[..., Any]:
    """A call of the module with gradients on, as outside of `torch.no_grad`."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with torch.enable_grad():
            return module(*args, **kwargs)

    return call


def _capture(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    loan: Loan,
    notable: Callable[[str], bool],
    *,
    whole: bool,
    call: Callable[..., Any] | None = None,
) -> Capture:
    name = type(module).__name__
    try:
        rehearsal = Rehearsal({COMPONENT: module}, notable=notable, outside=("outside", name), whole=whole, own_code=True)
        given, named = loan.arguments((args, kwargs))
        rehearsal.run(call or module, *given, **named)
        approximations, unmoved = read_remarks(rehearsal, loan.again, call or module, *given, **named)
    except Exception as error:
        if is_our_bug(error):
            raise
        failed = failure(f"could not capture {name}", error)
        shape = _shape_in(args, kwargs)
        if shape and not failed.hint:
            failed = CaptureError(failed.message, f"a shape is no tensor: pass torch.zeros({', '.join(map(str, shape))})")
        raise failed from error
    reasons = tuple(
        f"{f'{COMPONENT}.{path}' if path else name} ran for real and its children were captured one by one: {reason}"
        for (_, path), reason in rehearsal.ran_for_real.items()
        if not is_of_torch(path)
    )
    built = grouped(loan.modules_of(module))
    component = CapturedComponent(
        COMPONENT,
        name,
        built.modules,
        rehearsal.calls.of(COMPONENT),
        aliases=rehearsal.aliases(COMPONENT),
        runs=rehearsal.calls.runs(COMPONENT),
        held=rehearsal.held(COMPONENT),
        weights=built.weights,
    )
    return Capture(name, (component,), {}, approximations=approximations, remarks=(*reasons, *unmoved))


def _shape_in(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape that was probably given where a tensor was wanted."""
    given = [args, *args, *kwargs.values()]
    return next((tuple(item) for item in given if isinstance(item, (tuple, list)) and item and all(map(_is_size, item))), ())


def _is_size(value: Any) -> bool:
    return type(value) is int and value > 0


def capture_component(
    config: SingleComponent,
    inputs: Mapping[str, Any],
    dtype: str | None,
    *,
    notable: Callable[[str], bool],
    whole: bool = False,
    progress: Progress | None = None,
) -> Capture:
    """Capture one call of a model that is built from its configuration.

    Args:
        config: the model.
        inputs: arguments of its `forward` by name, with placeholders among them; empty for the class's own dummy inputs.
        dtype: element type to build in; placeholders for float32 tensors follow it.
        notable: as for a pipeline.
        whole: as for a pipeline.
        progress: gets a line for each step.

    Raises:
        CaptureError: the model cannot be built, or fails on the inputs.
        UsageError: the inputs do not fit the arguments of `forward`.
    """
    report = progress or (lambda _: None)
    report("building the model")
    built_in = dtype or "float32"
    said: list[str] = []
    with alone(), unchanged(), among_strangers(config):
        module = build_module(config, getattr(torch, built_in), said.append)
    given, remarks = (dict(inputs), ()) if inputs else _dummy_inputs(module)
    _check_inputs(module, given)
    given = pytree.tree_map_only(StandIn, lambda item: _in_dtype(item, built_in), given)
    given = {name: real(value) for name, value in given.items()}
    report("capturing the model")
    captured = capture_module(module, (), given, notable=notable, whole=whole)
    workload = {**{name: plain(value) for name, value in given.items()}, "dtype": built_in}
    return replace(captured, workload=workload, remarks=(*captured.remarks, *said, *remarks))


def _in_dtype(stand_in: StandIn, dtype: str) -> StandIn:
    return replace(stand_in, dtype=dtype) if stand_in.kind == "tensor" and stand_in.dtype == "float32" else stand_in


def _dummy_inputs(module: nn.Module) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The example inputs of a class, where they fit its `forward`."""
    example = getattr(module, "dummy_inputs", None)
    if not isinstance(example, dict) or not example or not example.keys() <= _parameters(module).keys():
        return {}, ()
    return example, (f"the inputs are the example that {type(module).__name__} itself gives; --input sets them",)


def _check_inputs(module: nn.Module, given: Mapping[str, Any]) -> None:
    accepted, name = _parameters(module), type(module).__name__
    known = ", ".join(accepted)
    variadic = any(item.kind is item.VAR_KEYWORD for item in inspect.signature(module.forward).parameters.values())
    for key in given:
        if key not in accepted and not variadic:
            raise UsageError(f"{name} has no input {key}", f"it has {known}")
    required = [key for key, item in accepted.items() if item.default is item.empty]
    missing = [key for key in required if key not in given]
    if missing or not given:
        what = f"needs {', '.join(missing)}" if missing else "would be called without inputs"
        example = (missing or list(accepted) or ["x"])[0]
        hint = f"a shape such as --input {example}=1x4x64x64, a type after it as in 1x77:int64, or JSON; it takes {known}"
        raise UsageError(f"{name} {what}, and no --input sets any", hint)


def _parameters(module: nn.Module) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(module.forward).parameters
    return {key: item for key, item in parameters.items() if item.kind not in {item.VAR_KEYWORD, item.VAR_POSITIONAL}}


def capture_program(program: ExportedProgram, dims: Mapping[str, int]) -> Capture:
    """Capture an exported program.

    Args:
        program: from `torch.export.export` or `torch.export.load`.
        dims: sizes by symbol (`s77`) or by position (`x.0`: the first size of the input `x`); the example's by default.

    Raises:
        UsageError: `dims` names a size that the program does not have, or sets one outside of its range.
        TargetError: the program holds a weight in another shape than its graph takes.
    """
    _check_weights(program)
    trace, ranges = translate(program), _ranges(program)
    conditions = conditions_of(trace, getattr(program, "_guards_code", ()), _named_inputs(program), ranges)
    sides = [Dims(COMPONENT, trace, ranges, conditions)]
    (symbols,) = bind_dims("the program", sides, {}, dims)
    trace = at_sizes(trace, symbols)
    name = root_class(trace.ops) or "GraphModule"
    order = called_paths([entry.fqn for entry in program.module_call_graph])
    modules = modules_of_graph(trace.walk(), _params(program), order)
    modules, weights = with_weights(modules, _held(program))
    component = CapturedComponent(COMPONENT, name, modules, (CapturedCall("", 1, trace),), weights=weights)
    doubts, remarks = told_guards(sides, dims)
    return Capture(name, (component,), dict(sorted(symbols.items())), approximations=doubts, remarks=remarks)


def _check_weights(program: ExportedProgram) -> None:
    """Compare a program's weights with their use in its graph, as is done for a file."""
    values = input_values(program)
    for spec in program.graph_signature.input_specs:
        name = spec.target or ""
        held = program.state_dict.get(name, program.constants.get(name))
        taken = None if isinstance(spec.arg, ConstantArgument) else values.get(spec.arg.name)
        if isinstance(held, torch.Tensor) and isinstance(taken, Tensor):
            shape = shape_of(held)
            if all(type(size) is int for size in taken.shape) and shape != taken.shape:
                written = ["x".join(map(str, sizes)) or "a number" for sizes in (shape, taken.shape)]
                what = f"cannot count the program: it holds {name!r} in {written[0]}, and its graph takes it in {written[1]}"
                raise TargetError(what, "export the model anew with torch.export.export")


def _named_inputs(program: ExportedProgram) -> Inputs:
    """The inputs of a program by their names in guards."""
    specs = [spec.arg for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
    values = input_values(program)
    signature = next((entry.signature for entry in program.module_call_graph if not entry.fqn), None)
    spec = pytree.treespec_dumps(signature.in_spec) if signature is not None else None
    paths = input_paths(spec, signature.forward_arg_names if signature is not None else None)
    fixed = [arg.value if isinstance(arg, ConstantArgument) else values.get(arg.name) for arg in specs]
    return Inputs(fixed, [arg.name or "" for arg in specs], paths)


def _ranges(program: ExportedProgram) -> dict[str, tuple[int | None, int | None]]:
    return {str(name): (_bound(item.lower), _bound(item.upper)) for name, item in program.range_constraints.items()}


def _bound(value: Any) -> int | None:
    try:
        return int(value)
    except (OverflowError, TypeError, ValueError, AttributeError):  # one of several infinities
        return None


def _params(program: ExportedProgram) -> dict[str, int]:
    """The number of parameters that each module holds itself; a shared one belongs to the first module that holds it."""
    params: dict[str, int] = {}
    seen: set[tuple[Any, ...]] = set()
    for name, parameter in program.named_parameters():
        path, memory = name.rpartition(".")[0], _memory_of(parameter)
        params[path] = params.get(path, 0) + (0 if memory in seen else parameter.numel())
        seen.add(memory)
    return params


def _held(program: ExportedProgram) -> Iterator[tuple[str, str, tuple[int, ...], str]]:
    """Kind, name, sizes and element type of each parameter and buffer; the type of one that has another name before is ""."""
    seen: set[tuple[Any, ...]] = set()
    named = ((PARAMETER, program.named_parameters()), (BUFFER, program.named_buffers()))
    for kind, name, tensor in ((kind, name, tensor) for kind, pairs in named for name, tensor in pairs):
        memory = _memory_of(tensor)
        yield kind, name, shape_of(tensor), "" if memory in seen else str(tensor.dtype).removeprefix("torch.")
        seen.add(memory)


def _memory_of(parameter: torch.Tensor) -> tuple[Any, ...]:
    """The memory of a parameter's elements: `torch.export.load` makes two tensors from one shared one, in the same memory."""
    try:
        storage = parameter.untyped_storage()._cdata  # noqa: SLF001 - its address would be 0 for every one without data
    except (NotImplementedError, RuntimeError):  # a subclass without memory of its own
        return (id(parameter),)
    return storage, int(parameter.storage_offset()), tuple(parameter.shape)
