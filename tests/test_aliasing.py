"""Which results share memory: what the trace says is what torch's own storages say when the same graph runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from exported import Plain, export
from test_pt2_architectures import ALL, made
from test_pt2_features import ARGUMENTS, BODIES
from test_pt2_zoo import SMALL, written
from test_zoo_exact import WORKLOADS
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram
from torch.fx import Interpreter, Node
from torch.utils import _pytree as pytree

from fxprof.capture.translate import translate
from fxprof.source import names
from fxprof.trace import Op, Sizes, Tensor, Trace
from fxprof.trace.aliasing import _IF_IT_CAN, _IN_PLACE, _VIEWS, NEW, aliases, is_given_results, memory_of
from fxprof.trace.captured import Capture


class Storages(Interpreter):
    """Runs a graph and notes where each result lies."""

    def __init__(self, module: Any) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.found: dict[Node, list[int]] = {}

    def run_node(self, node: Node) -> Any:
        result = super().run_node(node)
        self.found[node] = [
            leaf.untyped_storage()._cdata for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)
        ]
        return result


def doubtful(trace: Trace) -> int:
    """Of how many results the trace does not know whether they share memory."""
    return sum(bool(alias.doubt) for alias in aliases(trace.ops, trace.sizes()).values())


def assert_lies_as_torch_has_it(program: ExportedProgram, trace: Trace, inputs: list[Any]) -> int:
    """Run a program, hold what the trace says to what is seen; return how many results were compared."""
    trace = trace.expanded()
    storages = Storages(program.graph_module)
    with torch.no_grad():
        storages.run(*inputs, enable_io_processing=False)
    nodes = [n for n in program.graph.nodes if n.op == "call_function" and getattr(n.target, "__name__", "") != "getitem"]
    assert len(nodes) == len(trace.ops)
    known = aliases(trace.ops, trace.sizes())
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    seen: dict[int, int] = {}  # storage to the value that was first in it
    of_inputs = {storage for node in placeholders.values() for storage in storages.found[node]}
    compared = 0
    for node, op in zip(nodes, trace.ops, strict=True):
        results = storages.found[node]
        if len(results) != len(op.makes):
            continue  # numbers
        for storage, number in zip(results, op.makes, strict=True):
            alias = known[number]
            if alias.doubt:
                continue
            memory = memory_of(number, known)
            if memory in known and known[memory].doubt:
                continue
            where = f"{op.target} {op.args} -> {op.outputs} at {op.source}: {alias}"
            if memory == number:
                assert storage not in {*seen, *of_inputs}, f"shares memory, and is said to have its own: {where}"
                seen[storage] = number
            elif memory in seen.values():
                assert seen.get(storage) == memory, f"is said to share memory, and does not: {where}"
            else:
                assert storage in of_inputs, f"is said to share memory of an input, and does not: {where}"
            compared += 1
    return compared


def inputs_of(program: ExportedProgram) -> list[Any]:
    """Tensors like the inputs and weights of a program, on fake memory."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def like(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        with mode:
            return torch.empty_strided(tuple(map(int, value.shape)), tuple(map(int, value.stride())), dtype=value.dtype)

    return [pytree.tree_map(like, node.meta.get("val")) for node in program.graph.nodes if node.op == "placeholder"]


def real_inputs(program: ExportedProgram) -> list[Any]:
    """The weights of a program and its example inputs, in the order of its placeholders."""
    leaves = iter(pytree.tree_leaves(program.example_inputs))
    held: Mapping[str, Any] = {**program.constants, **program.state_dict}
    return [next(leaves) if spec.target is None else held[spec.target] for spec in program.graph_signature.input_specs]


@pytest.mark.parametrize("make", ALL)
def test_models_of_other_libraries(make: Any) -> None:
    program = made(make)[2]
    assert assert_lies_as_torch_has_it(program, translate(program), real_inputs(program)) > 20


def rows(*shape: int) -> torch.Tensor:
    return torch.arange(float(torch.Size(shape).numel())).reshape(shape)


def call(function: Any, *args: Any) -> Any:
    return function(*args)


VIEWS: dict[str, Any] = {
    "sizes that stay": lambda x: x.reshape(2, 3, 4),
    "sizes merged": lambda x: x.reshape(6, 4),
    "sizes split": lambda x: x.reshape(2, 3, 2, 2),
    "sizes merged over a gap": lambda x: (x[:, :2].reshape(4, 4), x[:, :, :2].reshape(2, 6)),
    "sizes split over a gap": lambda x: x[:, :, :2].reshape(2, 3, 2, 1) + 1,
    "transposed, then merged": lambda x: x.transpose(1, 2).reshape(2, 12) + x.permute(2, 0, 1).reshape(4, 6)[0, 0],
    "transposed twice": lambda x: x.transpose(1, 2).transpose(1, 2).contiguous().flatten(),
    "expanded, then merged": lambda x: x[:, :1].expand(2, 3, 4).reshape(6, 4) + x[:1].expand(2, 3, 4).reshape(2, 12)[0, 0],
    "sizes of one": lambda x: x[:1, :1].reshape(4) + x[:1].reshape(3, 1, 4, 1).reshape(12)[0],
    "flattened": lambda x: (
        x.flatten(),
        x.flatten(1),
        x.flatten(0, 1),
        x.mT.flatten(1),
        x.ravel(),
        x.mT.ravel(),
        x[0, 0, 0].flatten(),
    ),
    "contiguous": lambda x: (x.contiguous(), x.mT.contiguous(), x[:, :1].contiguous(), x[:1].contiguous()),
    "channels last": lambda x: (
        x[None].contiguous(memory_format=torch.channels_last),
        x[None].contiguous(memory_format=torch.channels_last).contiguous(memory_format=torch.channels_last),
        x[:, :1, :, None].contiguous(memory_format=torch.channels_last),
        x[None].to(memory_format=torch.channels_last),
    ),
    "types": lambda x: (
        x.to(torch.float32),
        x.to(torch.float16),
        x.float(),
        x.double(),
        x.to(torch.float32, copy=True),
        x.type_as(x),
    ),
    "types by another": lambda x: (x.to(x.half()), x.to(x[0]), x.type_as(x.double()), x.to("cpu"), x.to("cpu", torch.float64)),
    "no elements": lambda x: x[:0].reshape(0, 12) + x[:, :, :0].reshape(2, 0).sum(),
    "parts": lambda x: (
        *x.chunk(2, -1),
        *x.split(1, 1),
        *x.unbind(0),
        *x.tensor_split(3, 1),
        *x.split([1, 3], -1),
        *x.hsplit(3),
    ),
    "windows": lambda x: (
        x.unfold(2, 2, 1),
        x.diagonal(0, 1, 2),
        x.as_strided((2, 2), (1, 2)),
        x.narrow(1, 0, 2),
        x.select(0, 1),
    ),
    "numbers of two parts": lambda x: (
        torch.view_as_complex(x.reshape(2, 3, 2, 2)).real,
        x.real,
        x.conj(),
        torch.complex(x, x).imag,
    ),
    "in place": lambda x: (x.clone().add_(1), x.clone().mul_(2).relu_().view(-1), x.mT.clone().zero_()),
    "into another": lambda x: torch.add(x, x, out=torch.empty(2, 3, 4)).view(-1),
    "lists": lambda x: (
        *call(torch.broadcast_tensors, x, x[0]),
        *torch.meshgrid(x[0, 0], x[0, :, 0], indexing="ij"),
        *call(torch.atleast_3d, x, x[0]),
    ),
    "dropouts that drop nothing": lambda x: (
        nn.functional.dropout(x, 0.5, False),
        nn.functional.dropout(x, 0.0, True),
        nn.functional.dropout(x, 0.5, True),
    ),
    "dropouts of channels": lambda x: (
        nn.functional.dropout2d(x[None], 0.5, False),
        nn.functional.alpha_dropout(x, 0.5, False),
    ),
    "sums of one operand": lambda x: (
        torch.einsum("abc->cab", x),
        torch.einsum("abc->ab", x),
        torch.einsum("abb->ab", x[:, :, :3]),
        torch.einsum("abc,abc->abc", x, x),
    ),
    "copies": lambda x: (
        x.clone(),
        x.repeat(1, 1, 1),
        x.tile(1),
        torch.cat([x]),
        x.flip(0),
        x.roll(0, 0),
        nn.functional.pad(x, (0, 0)),
        torch.stack([x]),
    ),
    "values and places": lambda x: (*x.max(-1), *x.sort(), *x.topk(2), *torch.std_mean(x, -1)),
    "one of two sizes": lambda x: (
        x.squeeze(),
        x[:1].squeeze(0),
        x.unsqueeze(0),
        x.swapaxes(0, 1),
        x.movedim(0, 2),
        x[0].T,
        x.expand_as(x),
        x.view_as(x),
    ),
}
"""Functions of a tensor of 2x3x4 elements."""


class Function(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


@pytest.mark.parametrize("name", VIEWS)
def test_views_and_copies(name: str) -> None:
    program = torch.export.export(Function(VIEWS[name]), (rows(2, 3, 4),), strict=False)
    trace = translate(program)
    assert not doubtful(trace)
    assert assert_lies_as_torch_has_it(program, trace, real_inputs(program)) > 0


@pytest.mark.parametrize("name", [name for name in (*ARGUMENTS, *BODIES) if name not in ("vmap", "print")])
def test_arguments_and_bodies(name: str) -> None:
    """Without those that torch's own interpreter cannot run: its batched tensors have no storage."""
    case = {**ARGUMENTS, **BODIES}[name]
    program = export(case.run if isinstance(case.run, nn.Module) else Plain(case.run), *case.args, **case.options)
    assert_lies_as_torch_has_it(program, translate(program), real_inputs(program))


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_every_call_of_a_bundled_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workload = WORKLOADS.get(name, {"height": 512, "width": 512, "steps": 2})
    assert_calls_lie_as_torch_has_them(written(name, tmp_path / "run", monkeypatch, **workload)[0])


def test_every_call_of_a_small_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_calls_lie_as_torch_has_them(written(tiny.flux(), tmp_path / "run", monkeypatch, **SMALL)[0])


def assert_calls_lie_as_torch_has_them(capture: Capture) -> None:
    compared = unknown = 0
    for component in capture.components:
        for call in component.calls:
            if isinstance(call.program, ExportedProgram):
                compared += assert_lies_as_torch_has_it(call.program, translate(call.program), inputs_of(call.program))
                unknown += doubtful(call.trace)
    assert compared > 0
    assert unknown == 0


def test_the_tables_are_those_of_torch() -> None:
    """Every operator of torch that returns a view is in the tables, and what writes to its argument is known by its name."""
    missing = []
    others = {f"aten::{name}" for name in ("_test_ambiguous_defaults.a", "fbgemm_linear_fp16_weight.out")}
    others.add("aten::fbgemm_linear_fp16_weight_fp32_activation.out")  # as above: no exported graph calls them
    for name in torch._C._dispatch_get_all_op_names():
        if not name.startswith("aten::") or name in others:
            continue
        base, _, overload = name.removeprefix("aten::").partition(".")
        infos = [item.alias_info for item in torch._C._get_schema(f"aten::{base}", overload).returns]
        if any(info is not None and not info.is_write for info in infos):
            missing += [name] if base not in _VIEWS | _IF_IT_CAN.keys() | {"_test_autograd_multiple_dispatch_view"} else []
        elif infos and all(info is not None and info.is_write for info in infos):
            writes = (base.endswith("_") and not base.endswith("__")) or base in _IN_PLACE
            missing += [] if writes or is_given_results(overload) else [name]
        elif infos:
            missing += [name] if is_given_results(overload) else []  # a result of its own that would be taken for a given one
    assert not missing


def test_values_that_are_views_of_each_other_end() -> None:
    tensor = Tensor((2,), "float32", strides=(1,))
    args = (("self", tensor), ("size", (2,)))
    ops = [Op("aten.view.default", args, (tensor,), reads=(read,), makes=(made,)) for read, made in ((2, 1), (1, 2), (1, 1))]
    known = aliases(ops, Sizes({}))
    assert [memory_of(number, known) for number in (1, 2)] == [2, 2]


def test_results_that_were_given_must_be_among_the_arguments() -> None:
    tensor = Tensor((2,), "float32", strides=(1,))
    (op,) = [Op("aten.aminmax.out", (("self", tensor),), (tensor, tensor), reads=(0,), makes=(1, 2))]
    assert aliases([op], Sizes({})) == {1: NEW, 2: NEW}


def test_operands_that_contradict_an_operator_leave_a_doubt() -> None:
    tensor, result = Tensor((2, 3), "float32", strides=()), Tensor((3, 2), "float32", strides=(2, 1))
    op = Op("aten.reshape.default", (("self", tensor), ("shape", (3, 2))), (result,), reads=(0,), makes=(1,))
    assert aliases([op], Sizes({}))[1].of == 0


def test_an_operator_without_results_shares_nothing() -> None:
    tensor = Tensor((2,), "float32", strides=(1,))
    assert aliases([Op("aten.reshape.default", (("self", tensor),), (), reads=(0,))], Sizes({})) == {}
