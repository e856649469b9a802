"""Exported programs in files, and what the reader without torch must say of them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from fxprof.capture.module import capture_program
from fxprof.capture.translate import translate
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


def export(module: torch.nn.Module, *args: Any, **options: Any) -> ExportedProgram:
    """Export a module in evaluation mode, without the extra pass that `strict` makes unless it is asked for."""
    return torch.export.export(module.eval(), args, **{"strict": False, **options})
