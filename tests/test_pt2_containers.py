"""Archives of every make: names, folders, packing, several programs, the container of before, graphs by hand, and no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from exported import (
    LINEAR,
    Plain,
    Wrapped,
    assert_equal,
    export,
    macs_of,
    read,
    rows,
    save,
)
from torch import nn
from torch._export.serde.serialize import serialize
from torch.export import Dim
from torch.export.pt2_archive._package import package_pt2
from torch.nn import functional

import fxprof
from fxprof.capture.module import capture_program
from fxprof.capture.translate import translate
from fxprof.cost.count import count
from fxprof.trace import Tensor, Trace, contiguous
from fxprof.trace.pt2 import read_programs

# --- objects that are no tensors

OBJECT = "__torch__.torch.classes.library.Packed"


def _with_object(program: Any) -> dict[str, Any]:
    """The JSON of a program with one linear layer, in which a custom object stands for weight and bias."""
    fields = json_of(program)
    graph = fields["graph_module"]["graph"]
    held = {"name": "obj_packed", "class_fqn": OBJECT}
    (node,) = graph["nodes"]
    node["target"] = "torch.ops.higher_order.call_torchbind"
    rows_in = node["inputs"][0]["arg"]
    values = [{"as_custom_obj": held}, {"as_string": "run"}, rows_in]
    node["inputs"] = [{"name": "", "arg": value, "kind": 1} for value in values]
    signature = fields["graph_module"]["signature"]
    spec = {"custom_obj": {"arg": held, "custom_obj_name": "packed"}}
    signature["input_specs"] = [spec, signature["input_specs"][-1]]
    graph["inputs"] = [{"as_custom_obj": held}, graph["inputs"][-1]]
    graph["custom_obj_values"] = {"obj_packed": held}
    return fields


def floats(shape: tuple[int, ...]) -> Tensor:
    return Tensor(shape, "float32", strides=contiguous(shape), device="cpu")


def test_an_object_is_known_by_its_class(tmp_path: Path) -> None:
    """No class with such objects comes with torch: the graph is written by hand."""
    program = export(nn.Linear(4, 5), rows(3, 4))
    write_zip(tmp_path / "object.pt2", {"program/models/model.json": json.dumps(_with_object(program))})
    trace = read(tmp_path / "object.pt2").trace
    (op,) = trace.ops
    assert op.target == "higher_order.call_torchbind"
    assert op.args == (("arg0", OBJECT), ("arg1", "run"), ("arg2", floats((3, 4))))
    assert op.outputs == (floats((3, 5)),)
    assert [name for name, _ in trace.inputs] == ["input"]
    assert [found.macs for found in count(trace)] == [None]


# --- bodies that torch itself cannot export, or cannot save


def json_of(program: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(serialize(program).exported_program)
    return fields


def read_by_hand(fields: dict[str, Any], directory: Path) -> Trace:
    return read(write_zip(directory / "hand.pt2", {"models/model.json": json.dumps(fields)})).trace


def unnamed(*values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "", "arg": value, "kind": 1} for value in values]


def test_a_region_that_is_shared(tmp_path: Path) -> None:
    def run(module: Any, x: torch.Tensor) -> Any:
        with torch.no_grad():
            return module.layer(x)

    program = torch.export.export(Plain(run), (rows(3, 4),), strict=False)
    fields = json_of(program)
    (node,) = fields["graph_module"]["graph"]["nodes"]
    _, body, *operands = [item["arg"] for item in node["inputs"]]
    node["target"] = "torch.ops.higher_order.invoke_subgraph"
    node["inputs"] = unnamed(body, {"as_string": "region_0"}, *operands)
    trace = read_by_hand(fields, tmp_path)
    (op,) = trace.ops
    assert [name for name, _ in op.args] == ["subgraph", "identifier", "operands"]
    assert op.argument("operands") == (floats((3, 4)), floats((5, 4)), floats((5,)))
    assert op.subgraphs[0].ops == translate(program).ops[0].subgraphs[0].ops
    assert macs_of(trace) == LINEAR


def test_flexible_attention(tmp_path: Path) -> None:
    heads = [rows(1, 2, 128, 16) for _ in range(3)]
    fields = json_of(export(Plain(lambda m, *heads: functional.scaled_dot_product_attention(*heads)), *heads))
    modify = json_of(export(Plain(lambda m, score, at: score + at), torch.ones(()), torch.ones(())))["graph_module"]["graph"]
    (node,) = fields["graph_module"]["graph"]["nodes"]
    node["target"] = "torch.ops.higher_order.flex_attention"
    options = {"BLOCK_M": {"as_int": 16}, "BACKEND": {"as_string": "AUTO"}, "PRESCALE_QK": {"as_bool": False}}
    node["inputs"] = unnamed(
        *(item["arg"] for item in node["inputs"][:3]),
        {"as_graph": {"name": "score_mod_0", "graph": modify}},
        {"as_int_lists": [[1, 1], [128]]},
        {"as_float": 0.25},
        {"as_string_to_argument": options},
        {"as_tensors": []},
        {"as_tensors": []},
    )
    trace = read_by_hand(fields, tmp_path)
    (op,) = trace.ops
    assert op.argument("query") == floats((1, 2, 128, 16))
    assert op.argument("block_mask") == ((1, 1), (128,))
    assert op.argument("kernel_options") == (("BLOCK_M", 16), ("BACKEND", "AUTO"), ("PRESCALE_QK", False))
    assert [(body.name, [inner.target for inner in body.ops]) for body in op.subgraphs] == [("score_mod", ["aten.add.Tensor"])]
    assert macs_of(trace) == 2 * 128 * 128 * (16 + 16)


# --- containers


def write_zip(path: Path, entries: Mapping[str, str | bytes], packing: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def entries_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.fixture
def saved_block(tmp_path: Path) -> Path:
    return save(export(Wrapped(["a", "b"]), rows(3, 4)), tmp_path / "block.pt2")


BLOCK = 2 * 2 * (3 * 4 * 4)


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize("root", ["block/", "", "another name/"], ids=["its folder", "no folder", "another folder"])
@pytest.mark.parametrize("name", ["block.pt2", "block.zip", "BLOCK", "a b.ünïcode"])
def test_any_name_folder_and_packing(saved_block: Path, name: str, root: str, packing: int, tmp_path: Path) -> None:
    entries = {f"{root}{key.partition('/')[2]}": content for key, content in entries_of(saved_block).items()}
    (tmp_path / "again").mkdir()
    path = write_zip(tmp_path / "again" / name, entries, packing)
    assert read(path) == read(saved_block)
    profile = fxprof.profile(path)
    assert (profile.target, profile.macs, profile.class_name) == (name, BLOCK, "Wrapped")


def test_only_the_json_texts_are_needed(saved_block: Path, tmp_path: Path) -> None:
    wanted = ("models/model.json", "data/weights/model_weights_config.json")
    entries = {name: content for name, content in entries_of(saved_block).items() if name.endswith(wanted)}
    assert read(write_zip(tmp_path / "part.pt2", entries)) == read(saved_block)


@pytest.mark.parametrize("name", ["models.pt2", "data.pt2", "extra.pt2", "model.json.pt2"])
def test_folders_that_are_called_as_torch_calls_its_own(name: str, tmp_path: Path) -> None:
    assert macs_of(read(save(export(nn.Linear(4, 5), rows(3, 4)), tmp_path / name)).trace) == LINEAR


def test_the_container_of_before_torch_2_8(saved_block: Path, tmp_path: Path) -> None:
    program = export(Wrapped(["a", "b"]), rows(3, 4))
    artifact = serialize(program)
    path = write_zip(
        tmp_path / "old.pt2",
        {
            "version": "8.7",
            "serialized_exported_program.json": artifact.exported_program,
            "serialized_state_dict.pt": artifact.state_dict,
            "serialized_constants.pt": artifact.constants,
            "serialized_example_inputs.pt": artifact.example_inputs,
            "extra_files/dim_names.json": "{}",
        },
    )
    found = read(path)
    assert_equal(found.trace, translate(program))
    assert found == read(saved_block)
    assert fxprof.profile(path).macs == BLOCK
    assert_equal(translate(torch.export.load(path)), found.trace)


def test_the_old_container_keeps_names_of_sizes(tmp_path: Path) -> None:
    program = export(nn.Linear(4, 5), rows(3, 4), dynamic_shapes=({0: Dim("batch", min=2, max=64)},))
    artifact = serialize(program)
    entries: dict[str, str | bytes] = {
        "version": "8.7",
        "serialized_exported_program.json": artifact.exported_program,
        "extra_files/dim_names.json": '{"batch": "input.0"}',
    }
    path = write_zip(tmp_path / "old.pt2", entries)
    assert fxprof.profile(path).macs == LINEAR
    assert fxprof.profile(path, dims={"batch": 7}).macs == 7 * 4 * 5


def test_several_programs_in_one_archive(tmp_path: Path) -> None:
    encode = export(nn.Linear(4, 5), rows(3, 4))
    decode = export(Wrapped(["a"]), rows(2, 4))
    sized = export(nn.Linear(4, 6), rows(3, 4), dynamic_shapes=({0: Dim("batch", max=64)},))
    programs = {"encode": encode, "decode.fine": decode, "sized": sized}
    package_pt2(str(tmp_path / "methods.pt2"), exported_programs=programs)
    found, _ = read_programs(tmp_path / "methods.pt2")
    assert {program.name for program in found} == set(programs)
    for program in found:
        assert_equal(program.trace, translate(programs[program.name]))
        assert program.modules == capture_program(programs[program.name], {}).components[0].modules
    profile = fxprof.profile(tmp_path / "methods.pt2")
    macs = {name: component.macs for name, component in profile.components.items()}
    assert macs == {"encode": LINEAR, "decode.fine": 2 * 2 * 4 * 4, "sized": 3 * 4 * 6}
    assert fxprof.profile(tmp_path / "methods.pt2", dims={"input.0": 10}).components["sized"].macs == 10 * 4 * 6


def test_no_torch_is_imported(saved_block: Path) -> None:
    code = (
        f"import sys, fxprof; print(fxprof.profile({str(saved_block)!r}).macs, 'torch' in sys.modules, 'sympy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(BLOCK), "False", "False"]
