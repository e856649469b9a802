"""Checks of objects from Python. They go by the names of classes, so they need no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fxprof.errors import UsageError

_PIPELINE = "DiffusionPipeline"
_MODULE = "torch.nn.modules.module.Module"
_PROGRAM = "ExportedProgram"
_GRAPH = "GraphModule"


def check_pipeline(target: Any) -> None:
    """Refuse an object that is no live pipeline of diffusers.

    Raises:
        UsageError: it is something else; the hint names the function that takes it.
    """
    names = _class_names(target)
    name = _said(target)
    if _MODULE in names:
        raise UsageError(
            f"{name} is a module, not a pipeline", "profile one call of it: fxprof.profile_module(module, (example,))"
        )
    if _is(names, "torch.export", _PROGRAM):
        raise UsageError(f"{name} is an exported graph, not a pipeline", "fxprof.profile_program(program) profiles it")
    if _is(names, "diffusers", "ModularPipeline") or _is(names, "diffusers", "ModularPipelineBlocks"):
        hint = (
            "profile the pipeline class that its blocks come from, such as fxprof.profile('flux.1-dev'), or one call of a"
            " component: fxprof.profile_module(pipeline.transformer, (), example_arguments)"
        )
        raise UsageError(
            f"{name} is a modular pipeline, which is put together anew for each call and has no call to rehearse", hint
        )
    if _is(names, "fxprof", "Profile"):
        raise UsageError("this is a profile already", "it has the numbers: profile.macs, profile.components")
    if not _is(names, "diffusers", _PIPELINE):
        hint = "a bundled model's name, a directory, a Hub id, a file, or a live pipeline of diffusers"
        raise UsageError(f"{name} cannot be profiled", hint)


def check_module(module: Any, args: Any) -> tuple[Any, ...]:
    """The positional arguments of a module's call; a bare tensor is the only one.

    Raises:
        UsageError: `module` is no module, and the hint names the function that takes it; or `args` is no tuple.
    """
    names, name = _class_names(module), _said(module)
    if _is(names, "torch.export", _PROGRAM):
        raise UsageError(f"{name} is an exported graph, not a module", "fxprof.profile_program(program) profiles it")
    if _is(names, "diffusers", _PIPELINE):
        raise UsageError(f"{name} is a pipeline, not a module", "fxprof.profile(pipeline) profiles it")
    if _MODULE not in names:
        raise UsageError(f"{name} is no torch.nn.Module", _instead(module))
    if getattr(type(module), "forward", None) is _base_forward(module) and "forward" not in vars(module):
        raise UsageError(f"{name} has no forward that could be called", "profile the module whose forward uses it")
    if "torch.Tensor" in _class_names(args):
        return (args,)
    if not isinstance(args, tuple):
        what = f"the arguments of {name} are given as {_a(args)}"
        raise UsageError(
            what, "pass a tuple of positional arguments, (x,) for one, and keyword arguments as a dictionary in kwargs"
        )
    return args


def check_keywords(kwargs: Any) -> dict[str, Any]:
    """The keyword arguments of a module's call.

    Raises:
        UsageError: `kwargs` is no dictionary with names as its keys.
    """
    if kwargs is None:
        return {}
    hint = "pass a dictionary from the names of forward's arguments to their values"
    if not isinstance(kwargs, Mapping):
        raise UsageError(f"the keyword arguments are given as {_a(kwargs)}", hint)
    wrong = next((key for key in kwargs if not isinstance(key, str)), None)
    if wrong is not None:
        raise UsageError(f"a keyword argument has {_a(wrong)} as its name", hint)
    return dict(kwargs)


def check_dims(dims: Any) -> dict[str, int]:
    """Sizes by name.

    Raises:
        UsageError: `dims` is no dictionary.
    """
    if dims is not None and not isinstance(dims, Mapping):
        raise UsageError(f"dims are given as {_a(dims)}", "pass a dictionary from names of sizes to numbers, {'x.0': 1}")
    return dict(dims or {})


def check_formulas(formulas: Any) -> None:
    """Refuse an object that is no table of formulas.

    Raises:
        UsageError: it is something else.
    """
    if formulas is not None and not hasattr(formulas, "find"):
        raise UsageError(f"formulas are given as {_a(formulas)}", "pass a fxprof.Formulas, or leave it out")


def _instead(thing: Any) -> str:
    """The hint about an object that is no module."""
    if isinstance(thing, type) and _MODULE in {f"{base.__module__}.{base.__qualname__}" for base in thing.__mro__}:
        return f"pass one of its objects, such as {thing.__name__}(...)"
    if _MODULE in _class_names(getattr(thing, "__self__", None)):
        return "pass the module itself: fxprof profiles a call of its forward"
    return "for a function, write a module whose forward calls it" if callable(thing) else "pass a torch.nn.Module"


def _base_forward(module: Any) -> Any:
    return next((vars(base).get("forward") for base in type(module).__mro__ if base.__qualname__ == "Module"), None)


def _a(value: Any) -> str:
    """The class of a value with its article."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def check_program(program: Any) -> None:
    """Refuse an object that is no exported graph.

    Raises:
        UsageError: it is something else; the hint names the function that takes it.
    """
    names, name = _class_names(program), _said(program)
    if _is(names, "torch.export", _PROGRAM):
        return
    if _is(names, "torch.fx", _GRAPH):
        raise UsageError(
            f"{name} is a graph module, not an exported graph", "fxprof.profile_module(module, (example,)) profiles it"
        )
    if _MODULE in names:
        raise UsageError(f"{name} is a module, not an exported graph", "fxprof.profile_module(module, (example,)) profiles it")
    raise UsageError(f"{name} is no exported graph", "pass what torch.export.export or torch.export.load returned")


def _class_names(value: Any) -> frozenset[str]:
    return frozenset(f"{base.__module__}.{base.__qualname__}" for base in type(value).__mro__)


def _is(names: frozenset[str], package: str, class_name: str) -> bool:
    return any(name.startswith(f"{package}.") and name.endswith(f".{class_name}") for name in names)


def _said(value: Any) -> str:
    """The words for an object in a sentence, without its address."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return {"NoneType": "None", "function": "a function"}.get(name, f"an object of class {name}")
