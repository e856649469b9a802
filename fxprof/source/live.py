"""Objects that people hand to fxprof from Python, told apart by their classes' names: torch need not be imported for it."""

from __future__ import annotations

from typing import Any

from fxprof.errors import UsageError

_PIPELINE = "DiffusionPipeline"
_MODULE = "torch.nn.modules.module.Module"
_PROGRAM = "ExportedProgram"
_GRAPH = "GraphModule"


def check_pipeline(target: Any) -> None:
    """Make sure that something is a live pipeline of diffusers.

    Raises:
        UsageError: it is something else, with the function that takes it.
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
        raise UsageError(f"{name} is nothing that can be profiled", hint)


def check_module(module: Any, args: Any) -> tuple[Any, ...]:
    """The positional arguments of a module's call, a bare tensor as the only one.

    Raises:
        UsageError: `module` is no module, with the function that takes it; or `args` is no tuple.
    """
    names, name = _class_names(module), _said(module)
    if _is(names, "torch.export", _PROGRAM):
        raise UsageError(f"{name} is an exported graph, not a module", "fxprof.profile_program(program) profiles it")
    if _is(names, "diffusers", _PIPELINE):
        raise UsageError(f"{name} is a pipeline, not a module", "fxprof.profile(pipeline) profiles it")
    if _MODULE not in names:
        hint = "for a function, write a module whose forward calls it"
        raise UsageError(f"{name} is no torch.nn.Module", hint if callable(module) else "pass a torch.nn.Module")
    if "torch.Tensor" in _class_names(args):
        return (args,)
    if not isinstance(args, tuple):
        what = f"the arguments of {name} are given as a {type(args).__name__}"
        raise UsageError(
            what, "pass a tuple of positional arguments, (x,) for one, and keyword arguments as a dictionary in kwargs"
        )
    return args


def check_program(program: Any) -> None:
    """Make sure that something is an exported graph.

    Raises:
        UsageError: it is something else, with the function that takes it.
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
    """What something is called in a sentence: never its address."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return {"NoneType": "None", "function": "a function"}.get(name, f"an object of class {name}")
