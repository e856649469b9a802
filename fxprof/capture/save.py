"""Writing the graphs of a captured run as `.pt2` files that torch and other tools open. They hold no weights.

A weight is written as one zero for all its elements, so files are as small as their graphs, and
`torch.export.load` gives a program whose weights have the right shapes and take no memory.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputSpec, OutputSpec
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from fxprof.capture.error_causes import failure
from fxprof.capture.export import WRAPPED
from fxprof.trace.captured import Capture, CapturedCall, CapturedComponent

_PLAIN = (tuple, list, dict, OrderedDict, type(None))
"""Containers that torch can read back in a process without diffusers and transformers."""


def save_graphs(capture: Capture, directory: Path) -> dict[tuple[str, int], str]:
    """Write the graph of every distinct call into a directory.

    Args:
        capture: a run that was captured in this process; its programs are changed.
        directory: an existing directory.

    Returns:
        The file's name for each call that has a graph, by (component, position among its calls).

    Raises:
        CaptureError: torch cannot write a graph.
    """
    files: dict[tuple[str, int], str] = {}
    taken: set[str] = set()
    for component in capture.components:
        for position, call in enumerate(component.calls):
            if isinstance(call.program, ExportedProgram):
                name = _free_name(component, call, taken)
                _save(call.program, directory / name)
                files[component.name, position] = name
    return files


def _free_name(component: CapturedComponent, call: CapturedCall, taken: set[str]) -> str:
    """A free name: `unet.pt2`, `vae.decoder.pt2`; with a number where a component is called in several ways."""
    stem = re.sub(r"[^\w.-]+", "_", ".".join(part for part in (component.name, call.entry) if part))[:_LONGEST].lstrip(".")
    names = (f"{stem}.pt2", *(f"{stem}-{number}.pt2" for number in range(2, len(component.calls) + 2)))
    name = next(name for name in names if name.lower() not in taken)
    taken.add(name.lower())
    return name


_LONGEST = 150
"""The most characters of a file's name."""


def _save(program: ExportedProgram, path: Path) -> None:
    _remove_scaffolding(program)
    _drop_texts(program)
    _empty_weights(program)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")  # torch would warn that single zeros are no complete weights
            torch.export.save(program, path)
    except Exception as error:
        raise failure(f"could not write the graph of {path.stem}", error) from error


def _remove_scaffolding(program: ExportedProgram) -> None:
    """Remove the wrapper from every name, so that the called module is the root."""
    for meta in _metas(program):
        if meta.get("nn_module_stack"):
            meta["nn_module_stack"] = dict(_unwrapped(meta["nn_module_stack"]))
    for spec in (*program.graph_signature.input_specs, *program.graph_signature.output_specs):
        _rename(spec)
    for table in (program.state_dict, program.constants):
        renamed = {_inner(name): value for name, value in table.items()}
        table.clear()
        table.update(renamed)
    entries = program.module_call_graph
    entries[:] = [entry for entry in entries if entry.fqn != WRAPPED]
    for entry in entries:
        entry.fqn = _inner(entry.fqn)
    _flatten_containers(program)


def _metas(program: ExportedProgram) -> Iterator[dict[str, Any]]:
    """Torch's notes on each node, every note once: nodes in the body of an operator can share one."""
    graphs = [part.graph for part in program.graph_module.modules() if isinstance(part, GraphModule)]
    yield from {id(node.meta): node.meta for graph in graphs for node in graph.nodes}.values()


def _unwrapped(stack: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, (path, class_) in stack.items():
        if path == WRAPPED:
            yield key.replace(f"L__self__{WRAPPED}", "L__self__", 1), ("", class_)
        elif path:
            yield key.replace(f"L__self__{WRAPPED}.", "L__self__", 1), (_inner(path), class_)


def _inner(name: str) -> str:
    return name.removeprefix(f"{WRAPPED}.")


def _rename(spec: InputSpec | OutputSpec) -> None:
    if spec.target is not None:
        spec.target = _inner(spec.target)


def _drop_texts(program: ExportedProgram) -> None:
    """Return None for a text, such as an argument that was passed through: torch writes it, but does not read it back."""
    specs = program.graph_signature.output_specs
    output = next(node for node in reversed(program.graph.nodes) if node.op == "output")
    texts = {position for position, value in enumerate(output.args[0]) if isinstance(value, str)}
    output.args = (tuple(None if position in texts else value for position, value in enumerate(output.args[0])),)
    for position in texts:
        specs[position].arg = ConstantArgument(specs[position].arg.name, None)


def _flatten_containers(program: ExportedProgram) -> None:
    """Put plain tuples in place of containers that torch reads back only where their library is imported."""
    signature = program.module_call_graph[0].signature
    if signature is None:
        return
    if not _is_plain(signature.out_spec):
        signature.out_spec = pytree.tree_structure([0] * signature.out_spec.num_leaves)
    if not _is_plain(signature.in_spec):
        signature.in_spec = pytree.tree_structure(((0,) * signature.in_spec.num_leaves, {}))
        signature.forward_arg_names = None


def _is_plain(spec: pytree.TreeSpec) -> bool:
    return (spec.is_leaf() or spec.type in _PLAIN) and all(_is_plain(child) for child in spec.children())


def _empty_weights(program: ExportedProgram) -> None:
    made: dict[int, torch.Tensor] = {}
    for table in (program.state_dict, program.constants):
        for name, value in table.items():
            if isinstance(value, torch.Tensor):
                table[name] = made.setdefault(id(value), _one_zero(value))


def _one_zero(tensor: torch.Tensor) -> torch.Tensor:
    # A tensor without elements needs no substitute, and torch would take a view of it for a slice that it cannot complete.
    empty = (
        torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) if tensor.numel() else torch.empty_like(tensor, device="cpu")
    )
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
