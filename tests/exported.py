"""Exported programs in files, and what the reader without torch must say of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.export import ExportedProgram

from fxprof.capture.module import capture_program
from fxprof.capture.translate import translate
from fxprof.cost.count import count
from fxprof.trace import Trace
from fxprof.trace.pt2 import Program, read_programs


def save(program: ExportedProgram, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, path)
    return path


def read(path: Path) -> Program:
    """The one program of a file."""
    (program,), _ = read_programs(path)
    return program


def assert_equal(read_one: Trace, live: Trace) -> None:
    """Op for op, so that a difference shows as two operators rather than two graphs."""
    for place, (one, other) in enumerate(zip(read_one.ops, live.ops, strict=False)):
        assert one == other, f"operator {place}: the file has {one}, the program {other}"
    assert len(read_one.ops) == len(live.ops)
    assert read_one.inputs == live.inputs
    assert read_one.symbols == live.symbols
    assert read_one == live


def assert_reads_as_live(program: ExportedProgram, directory: Path) -> Program:
    """Save a program and hold what the file says to what the live program says; return what was read."""
    found = read(save(program, directory / "program.pt2"))
    live = translate(program)
    assert_equal(found.trace, live)
    component = capture_program(program, {}).components[0]
    assert found.modules == component.modules
    assert (found.class_name or "GraphModule") == component.class_name
    assert found.torch_version == torch.__version__
    return found


def export(module: nn.Module, *args: Any, **options: Any) -> ExportedProgram:
    """Export a module in evaluation mode, without the extra pass that `strict` makes unless it is asked for."""
    return torch.export.export(module.eval(), args, **{"strict": False, **options})


class Case(NamedTuple):
    """A function or module to export, what to call it with, and what must come out."""

    run: Any
    args: tuple[Any, ...]
    macs: int | None
    """As derived by hand; None where a part is uncounted."""
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed
    has: tuple[str, ...] = ()
    """Operators that the graph must hold, so that the case is about what it says."""


class Plain(nn.Module):
    """A function as a module with one linear layer that it may call."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 5)
        self.square = nn.Linear(4, 4)
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


def macs_of(trace: Trace) -> int | None:
    counted = count(trace)
    if any(op.macs is None for op in counted):
        return None
    return sum((op.macs or 0) * op.times for op in counted)


def targets(trace: Trace) -> set[str]:
    return {op.target for op in trace.walk()}


def check(case: Case, directory: Path) -> Trace:
    module = case.run if isinstance(case.run, nn.Module) else Plain(case.run)
    program = export(module, *case.args, **case.options)
    found = assert_reads_as_live(program, directory)
    assert set(case.has) <= targets(found.trace), targets(found.trace)
    assert macs_of(found.trace) == case.macs
    return found.trace


def rows(*shape: int) -> torch.Tensor:
    return torch.randn(*shape)


LINEAR = 3 * 4 * 5
"""`Plain.layer` on three rows."""


class Wrapped(nn.Module):
    """A module around others of any names, each called twice."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        for name in names:
            self.add_module(name, nn.Sequential(nn.Linear(4, 4)))

    def forward(self, x: torch.Tensor) -> Any:
        for part in self.children():
            x = part(part(x))
        return x
