"""One call of a module through `torch.export`: its trace and its results."""

from __future__ import annotations

import copy
import itertools
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch._dynamo
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode, ShapeEnv
from torch.utils import _pytree as pytree

from fxprof.capture.calls import has_containers, write_back
from fxprof.capture.caught import can_fail, is_caught_in
from fxprof.capture.compiler import as_in_a_run
from fxprof.capture.deaths import Deaths
from fxprof.capture.layouts import is_plain
from fxprof.capture.outer_state import own_functions
from fxprof.capture.process_state import muted
from fxprof.capture.quantised import carries_more
from fxprof.capture.random_numbers import Draw, Generators, draws_of, draws_of_others, moved
from fxprof.capture.reachable import Holder, is_own, put_back
from fxprof.capture.refusals import refusal
from fxprof.capture.results_read import watch
from fxprof.capture.returned_values import Given, Zeros, made
from fxprof.capture.sharing import repeated_once
from fxprof.capture.state import kept_since, restore, snapshot
from fxprof.capture.translate import translate
from fxprof.capture.zero_weights import fresh_zeros
from fxprof.trace import Expr, Tensor, Trace, Value

WRAPPED = "module"
"""The name of the called module in a captured program."""


class NotExportableError(Exception):
    """The module's Python needs more than shapes: values of tensors, other processes, state that it keeps."""


@dataclass(frozen=True, slots=True)
class ExportedCall:
    """A captured call, which can answer the same call again."""

    trace: Trace
    program: ExportedProgram | None
    """The program that the trace was made from; None for a cached call."""
    objects: Mapping[int, Any]
    """Results other than tensors, plain values and containers of them, such as a cache: by position among the leaves."""
    returns_arguments: bool
    """Whether the graph also returns the arguments as the module left them."""
    results: tuple[Any, ...]
    """A plain value, a `Given` or a `Zeros` for each leaf of the results."""
    spec: pytree.TreeSpec
    draws: tuple[Draw, ...] = ()
    """A run's draws from torch's random generator; an answer repeats them, so that later draws are those after a run."""

    def given_back(self, read: Collection[int]) -> tuple[int, ...] | None:
        """The positions in `trace.gives` of arguments and of results that were read; None where they cannot be determined."""
        tensors = [position for position, item in enumerate(self.results) if isinstance(item, (Given, Zeros))]
        if len(tensors) != len(self.trace.gives):
            return None
        return tuple(at for at, position in enumerate(tensors) if position in read or isinstance(self.results[position], Given))

    def answer(self, args: tuple[Any, ...], kwargs: dict[str, Any], read: set[int] | None = None) -> Any:
        """The results of the call as zeros of the right shapes; an argument that it passes through is returned itself.

        Containers among the arguments change as the module would change them.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.
            read: gets the positions of those results that somebody reads.
        """
        for draw in self.draws:
            draw.again()
        given = pytree.tree_leaves((args, kwargs))
        leaves = [made(item, given) for item in self.results]
        for position, item in enumerate(self.results if read is not None else ()):
            if isinstance(item, Zeros) and read is not None:
                watch(leaves[position], read, position)
        for position, value in self.objects.items():
            leaves[position] = copy.deepcopy(value)
        result, (args_after, kwargs_after) = pytree.tree_unflatten(leaves, self.spec)
        if self.returns_arguments:
            write_back(args, tuple(args_after))
            for name, value in kwargs.items():
                write_back(value, kwargs_after[name])
        return result


@dataclass(slots=True)
class _Seen:
    """A wrapper's observations that are not in the graph."""

    objects: dict[int, Any] = field(default_factory=dict)
    kept: str = ""


class _Wrapper(nn.Module):
    """Calls a module, and also returns the arguments after the call, so that both show in the graph."""

    def __init__(self, module: nn.Module, *, returns_arguments: bool) -> None:
        super().__init__()
        self.module = module
        self.training = False  # alone: all modules below it are evaluating already
        # Not attributes of the module itself: torch.export resets those before it returns.
        self.seen = _Seen()
        self._returns_arguments = returns_arguments

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        before = snapshot(self.module)
        leaves, spec = pytree.tree_flatten(self.module(*args, **kwargs))
        self.seen.kept = kept_since(before)
        for position, leaf in enumerate(leaves):
            if not isinstance(leaf, _GRAPH_VALUES):
                self.seen.objects[position] = leaf
                leaves[position] = 0  # not None, which the outputs of transformers drop
        return pytree.tree_unflatten(leaves, spec), (args, kwargs) if self._returns_arguments else ((), {})


_GRAPH_VALUES = (torch.Tensor, torch.SymInt, torch.SymFloat, torch.SymBool, int, float, complex, str, type(None))
"""The types of values that torch.export can return."""


def export_call(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    prefix: str,
    aliases: Mapping[str, str],
    generators: Generators | None = None,
    whole: bool = False,
) -> ExportedCall:
    """Capture one call.

    Afterwards random generators are in the state after one run, except torch's own, which an answer advances.

    Args:
        module: the module that is called.
        args: positional arguments, real tensors; only their shapes are used.
        kwargs: keyword arguments.
        prefix: the module's path below its component.
        aliases: see `translate`.
        generators: the generators that the module could draw from; the global ones by default.
        whole: trace every module, also those that are alike, so that the program is complete.

    Raises:
        NotExportableError: torch.export refuses the call, or the module changed itself while it ran. Then generators have the
            state from before.
    """
    states = (generators or Generators()).states()
    try:
        call = _exported_call(module, args, kwargs, prefix=prefix, aliases=aliases, states=states, whole=whole)
        if not any(own_functions(part) for part in module.modules()):
            return call  # modules of libraries draw for training, and ignore the draws otherwise
        _refuse_draws(call.trace, states)
        return replace(call, draws=draws_of(call.trace))
    except BaseException:
        put_back(states)
        raise


def _exported_call(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    prefix: str,
    aliases: Mapping[str, str],
    states: list[tuple[Holder, Any]],
    whole: bool,
) -> ExportedCall:
    _refuse_parameters(module)
    _refuse_layouts(pytree.tree_leaves((args, kwargs)))
    returns_arguments = any(has_containers(value) for value in (*args, *kwargs.values()))
    wrapper = _Wrapper(module, returns_arguments=returns_arguments)
    before = snapshot(module)
    try:
        with no_gradients(), compiling_unseen(), values_asked() as asked:
            program, deaths = _export(wrapper, *_without_meta(args, kwargs), states=states, whole=whole)
    except NotExportableError:
        raise
    except Exception as error:
        raise NotExportableError(refusal(error)) from error
    finally:
        restore(before)
    if asked:
        raise NotExportableError("it continues where torch.export could not give it a value")
    if any(can_fail(str(node.target)) and is_caught_in(node.meta.get("stack_trace")) for node in program.graph.nodes):
        raise NotExportableError("it catches an error that depends on values")
    if wrapper.seen.kept:
        raise NotExportableError(f"it keeps state in {wrapper.seen.kept}")
    _refuse_transforms(program)
    program.example_inputs = None  # otherwise it would keep every argument alive as long as itself
    weights = dict(
        itertools.chain(module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    )
    trace = translate(program, prefix=prefix, skip=1, aliases=aliases, weights=weights, deaths=deaths)
    if any(_is_symbolic(value) for op in trace.distinct() for value in op.outputs):
        # Sizes were given, so a symbolic size depends on the contents of a tensor.
        raise NotExportableError("it computes sizes from the contents of tensors")
    if any(op.target == "higher_order.flat_apply" for op in trace.distinct()):
        raise NotExportableError("it calls a Python function that torch.export leaves untraced")
    # Only now: while torch.export traces, every new tensor is a fake one.
    objects = {position: _without_data(value) for position, value in wrapper.seen.objects.items()}
    output = next(node for node in reversed(program.graph.nodes) if node.op == "output")
    placeholders = _user_placeholders(program)
    results = tuple(_result(value, placeholders) for value in output.args[0])
    return ExportedCall(trace, program, objects, returns_arguments, results, program.call_spec.out_spec)


def _export(
    wrapper: _Wrapper, args: tuple[Any, ...], kwargs: dict[str, Any], *, states: list[tuple[Holder, Any]], whole: bool
) -> tuple[ExportedProgram, Deaths]:
    with muted("stderr"):  # torch prints an unfinished graph there
        if whole:
            return _watched_export(wrapper, args, kwargs)
        before = snapshot(wrapper.module)
        for may_run in (True, False):
            with repeated_once(wrapper.module, may_run=may_run) as sharing:
                try:
                    return _watched_export(wrapper, args, kwargs)
                except Exception:
                    if not sharing.stand_ins:
                        raise
            # The stand-in for a call did not fit that call, or the code after it.
            restore(before)
            put_back(states)
            if not sharing.differed:
                break
        return _watched_export(wrapper, args, kwargs)


def _watched_export(wrapper: _Wrapper, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[ExportedProgram, Deaths]:
    deaths = Deaths()
    with as_in_a_run(), deaths.watched():
        return torch.export.export(wrapper, args, kwargs, strict=False), deaths


def _refuse_draws(trace: Trace, states: list[tuple[Holder, Any]]) -> None:
    """Refuse a module whose Python draws random numbers: its next call draws others, and the same graph would not fit."""
    if moved(states) or draws_of_others(trace):
        raise NotExportableError("its Python draws random numbers")


def _refuse_parameters(module: nn.Module) -> None:
    """Refuse parameters whose class gives their bytes a meaning: a trace would take them for plain tensors."""
    for part in module.modules():
        for name, tensor in part._parameters.items():  # noqa: SLF001 - one module's own
            if tensor is not None and carries_more(tensor):
                raise NotExportableError(f"the parameter {name} of {type(part).__name__} is a {type(tensor).__name__}")


def _refuse_layouts(leaves: list[Any]) -> None:
    """Refuse sparse and nested tensors: a graph does not record their number of elements; a run does."""
    for leaf in leaves:
        if isinstance(leaf, torch.Tensor) and not is_plain(leaf):
            raise NotExportableError(f"it is given a {'nested' if leaf.is_nested else 'sparse or quantised'} tensor")


def _refuse_transforms(program: ExportedProgram) -> None:
    """Refuse `torch.vmap` and its like, where shapes are those of one example, and sparse tensors, whose size no graph has."""
    for node in program.graph.nodes:
        home = str(getattr(node.target, "__module__", "")) if node.op == "call_function" else ""
        if home.startswith("torch._functorch") or getattr(node.target, "__name__", "").startswith("_vmap_"):
            raise NotExportableError("it uses a transformation of torch.func")
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor) and value.layout is not torch.strided:
            raise NotExportableError("it works with sparse tensors")


def _without_meta(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with fake tensors in place of those on the meta device, which may be larger than any memory."""
    if not any(isinstance(leaf, torch.Tensor) and leaf.is_meta for leaf in pytree.tree_leaves((args, kwargs))):
        return args, kwargs
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv(), static_shapes=True)

    def fake(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_meta:
            return mode.from_tensor(tensor, static_shapes=True)
        with mode:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")

    changed: tuple[tuple[Any, ...], dict[str, Any]] = pytree.tree_map_only(torch.Tensor, fake, (args, kwargs))
    return changed


@contextmanager
def no_gradients() -> Iterator[None]:
    """Refuse to trace a gradient: the work of torch's engine for it shows only in a run."""
    functions = {name: getattr(torch.autograd, name) for name in ("grad", "backward")}

    def refused(*_: Any, **__: Any) -> Any:
        raise NotExportableError("it computes a gradient")

    for name in functions:
        setattr(torch.autograd, name, refused)
    try:
        yield
    finally:
        for name, function in functions.items():
            setattr(torch.autograd, name, function)


@contextmanager
def values_asked() -> Iterator[list[str]]:
    """Collect requests of the module's own code for a value that raise no error: in an `except` of its own, or by `repr`."""
    asked: list[str] = []
    before: dict[tuple[Any, str], Any] = {(error, "__init__"): error.__init__ for error in _WANT_OF_VALUES}
    before[torch.Tensor, "__repr__"] = shown = torch.Tensor.__repr__

    def noting(error: Any) -> Any:
        original = error.__init__

        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it is one
            asked.append(error.__name__)
            original(self, *args, **kwargs)

        return __init__

    def __repr__(tensor: torch.Tensor, **kwargs: Any) -> str:  # noqa: N807 - as above
        if isinstance(tensor, FakeTensor) and is_own(_caller()):
            asked.append("repr")
        return str(shown(tensor, **kwargs))

    for error in _WANT_OF_VALUES:
        error.__init__ = noting(error)
    torch.Tensor.__repr__ = __repr__  # type: ignore[method-assign, assignment]
    try:
        yield asked
    finally:
        for (owner, name), original in before.items():
            setattr(owner, name, original)


@contextmanager
def compiling_unseen() -> Iterator[None]:
    """Give the user's own code, when it asks whether it is compiled or exported, the answer of a run.

    Libraries get the true answer: they leave out checks of values, which cost nothing that is counted.
    """
    before = {(owner, name): getattr(owner, name) for owner in _TELLING for name in _STATES if hasattr(owner, name)}

    def telling(original: Any) -> Any:
        @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # as the compiler's front end itself takes these
        def answer(*args: Any, **kwargs: Any) -> bool:
            return not is_own(_caller()) and bool(original(*args, **kwargs))

        return answer

    for (owner, name), original in before.items():
        setattr(owner, name, telling(original))
    try:
        yield
    finally:
        for (owner, name), original in before.items():
            setattr(owner, name, original)


_TELLING = (torch.compiler, torch._dynamo)  # noqa: SLF001 - older code asks there
_STATES = ("is_compiling", "is_exporting")


def _caller() -> str:
    """The module that asks, also where torch passes the question on."""
    frame = sys._getframe(2)  # noqa: SLF001 - there is no other way to ask
    while frame.f_back is not None and frame.f_globals.get("__name__") == "torch._tensor":
        frame = frame.f_back
    return str(frame.f_globals.get("__name__"))


_WANT_OF_VALUES: tuple[Any, ...] = (GuardOnDataDependentSymNode, DataDependentOutputException, DynamicOutputShapeException)


def _is_symbolic(value: Value) -> bool:
    if isinstance(value, Tensor):
        return any(isinstance(size, Expr) for size in value.shape)
    return isinstance(value, Expr)


def _without_data(value: Any) -> Any:
    """A copy of an object in which every tensor, however deep, is zeros."""
    if isinstance(value, torch.Tensor):
        return fresh_zeros(tuple(int(size) for size in value.shape), value.dtype)
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(_without_data(item) for item in value)
    if isinstance(value, dict):
        return type(value)((key, _without_data(item)) for key, item in value.items())
    if not hasattr(value, "__dict__") or isinstance(value, (type, nn.Module)) or callable(value):
        return value
    duplicate = copy.copy(value)
    vars(duplicate).update({name: _without_data(item) for name, item in vars(value).items()})
    return duplicate


def _user_placeholders(program: ExportedProgram) -> dict[str, int]:
    names = [item.arg.name for item in program.graph_signature.input_specs if item.kind is InputKind.USER_INPUT]
    return {name: position for position, name in enumerate(names)}


def _result(value: Any, placeholders: Mapping[str, int]) -> Any:
    if not isinstance(value, Node):
        return value
    if value.name in placeholders:
        return Given(placeholders[value.name])
    result = value.meta["val"]
    return Zeros(tuple(map(int, result.shape)), result.dtype) if isinstance(result, torch.Tensor) else result
