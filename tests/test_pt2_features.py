"""Every feature of graphs: arguments, sizes, bodies and types of small modules, read from a file as the live program says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed
import torchao_ops  # noqa: F401 - registers torchao
from exported import (
    LINEAR,
    Case,
    Plain,
    assert_reads_as_live,
    check,
    export,
    macs_of,
    rows,
    save,
    targets,
)
from torch import nn
from torch.export import Dim
from torch.nn import functional
from torch.testing._internal.two_tensor import TwoTensor

import fxprof
from fxprof.capture.translate import translate
from fxprof.cost.count import count
from fxprof.errors import UsageError
from fxprof.trace import Expr, Tensor, Trace, Value
from fxprof.trace.symbols import symbols_in

# --- arguments


ARGUMENTS = {
    "a list of tensors": Case(lambda m, x: torch.cat([x, m.square(x), x]), (rows(3, 4),), 3 * 4 * 4, has=("aten.cat.default",)),
    "a list of optional tensors": Case(
        lambda m, x, at: m.layer(x)[:, at], (rows(3, 4), torch.tensor([0, 2])), LINEAR, has=("aten.index.Tensor",)
    ),
    "tensors that are not there": Case(
        lambda m, x: functional.layer_norm(m.layer(x), (5,)), (rows(3, 4),), LINEAR, has=("aten.layer_norm.default",)
    ),
    "numbers of every kind": Case(
        lambda m, x: functional.pad(x, (1, -1), value=-0.5).clamp(-1.5, 2) * 3 + torch.full_like(x, float("-inf")),
        (rows(3, 4),),
        0,
    ),
    "an infinity, and the least number": Case(
        lambda m, x: x.masked_fill(x > 0, float("-inf")).clamp(max=torch.finfo(torch.float32).max), (rows(3, 4),), 0
    ),
    "the largest integers": Case(
        lambda m, x: (x[1:], torch.full((2,), -(2**63)), torch.full((2,), 2**64 - 1, dtype=torch.uint64)),
        (rows(3, 4),),
        0,
        has=("aten.slice.Tensor",),
    ),
    "the largest and the least floats": Case(
        lambda m, x: (x.double() * torch.finfo(torch.float64).max, x.double() * 5e-324, x.double() * -0.0), (rows(3, 4),), 0
    ),
    "a complex number": Case(
        lambda m, x: torch.mul(torch.complex(x, x), 1 + 2j), (rows(3, 4),), 0, has=("aten.complex.default",)
    ),
    "types, devices, layouts and memory formats": Case(
        lambda m, x: torch.zeros(2, 3, 4, 4, dtype=torch.float64, device="cpu", layout=torch.strided).to(
            memory_format=torch.channels_last
        ),
        (rows(3, 4),),
        0,
    ),
    "texts": Case(lambda m, x: torch.einsum("ij,kj->ik", x, x), (rows(3, 4),), 3 * 3 * 4, has=("aten.einsum.default",)),
    "lists of flags, floats and sizes": Case(
        lambda m, x: functional.interpolate(x, scale_factor=[2.0, 1.5], mode="bilinear"), (rows(1, 1, 4, 4),), 0
    ),
    "a convolution without bias": Case(
        lambda m, x: functional.conv2d(x, torch.ones(2, 3, 3, 3), None, 1, [1, 1]), (rows(1, 3, 8, 8),), 2 * 8 * 8 * 3 * 9
    ),
    "several results, some unused": Case(lambda m, x: m.layer(x).topk(2)[1], (rows(3, 4),), LINEAR, has=("aten.topk.default",)),
    "a list of results": Case(
        lambda m, x: [part @ part.T for part in x.split(2)], (rows(6, 4),), 3 * 2 * 2 * 4, has=("aten.split.Tensor",)
    ),
    "the same result twice": Case(lambda m, x: (x.chunk(2)[0], x.chunk(2)[0] + 1), (rows(4, 4),), 0),
    "a recurrent layer": Case(nn.LSTM(4, 6), (rows(5, 2, 4),), 5 * 2 * 4 * 6 * (4 + 6) + 0, has=("aten.lstm.input",)),
    "a scalar tensor": Case(lambda m, x: m.layer(x) * torch.tensor(2.0), (rows(3, 4),), LINEAR),
    "inputs that are no tensors": Case(
        lambda m, x, n, flag, name: m.layer(x) * n if flag else x, (rows(3, 4), 3, True, "name"), LINEAR
    ),
    "a text that is the name of an input": Case(lambda m, x, mode: m.layer(x), (rows(3, 4), "p_layer_weight"), LINEAR),
    "an input that is not there": Case(lambda m, x, y: m.layer(x) if y is None else x, (rows(3, 4), None), LINEAR),
    "nested inputs and outputs": Case(
        lambda m, x: {"a": (m.layer(x["one"]), [x["two"][0]]), "b": None}, ({"one": rows(3, 4), "two": [rows(2)]},), LINEAR
    ),
    "an input returned": Case(lambda m, x: (x, m.layer(x)), (rows(3, 4),), LINEAR),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name: str, tmp_path: Path) -> None:
    check(ARGUMENTS[name], tmp_path)


# --- sizes that are not fixed

BATCH = Dim("batch", min=2, max=64)
SIZES = {
    "a named size": Case(lambda m, x: m.layer(x), (rows(3, 4),), LINEAR, {"dynamic_shapes": (({0: BATCH},),)}),
    "a derived size": Case(
        lambda m, x: m.layer(x), (rows(7, 4),), 7 * 4 * 5, {"dynamic_shapes": (({0: 2 * Dim("half", max=50) + 1},),)}
    ),
    "automatic sizes": Case(
        lambda m, x, y: m.layer(torch.cat([x, y])),
        (rows(3, 4), rows(6, 4)),
        9 * 4 * 5,
        {"dynamic_shapes": (({0: Dim.AUTO}, {0: Dim.AUTO}),)},
    ),
    "floor divisions": Case(
        lambda m, x: m.layer(x[: x.shape[0] // 2]), (rows(7, 4),), 3 * 4 * 5, {"dynamic_shapes": (({0: Dim.AUTO},),)}
    ),
    "remainders": Case(
        lambda m, x: m.layer(x[: x.shape[0] % 4 + 1]), (rows(7, 4),), 4 * 4 * 5, {"dynamic_shapes": (({0: Dim.AUTO},),)}
    ),
    "the greater and the lesser": Case(
        lambda m, x, y: (
            m.layer(x.new_ones(torch.sym_max(x.shape[0], y.shape[0]), 4))
            + m.layer(x.new_ones(torch.sym_min(x.shape[0], y.shape[0]), 4)).sum()
        ),
        (rows(3, 4), rows(6, 4)),
        (6 + 3) * 4 * 5,
        {"dynamic_shapes": (({0: Dim.AUTO}, {0: Dim.AUTO}),)},
        ("torch.sym_max", "torch.sym_min"),
    ),
    "products of sizes": Case(
        lambda m, x: m.layer(x.reshape(x.shape[0] * x.shape[1], 4)),
        (rows(3, 5, 4),),
        15 * 4 * 5,
        {"dynamic_shapes": (({0: Dim.AUTO, 1: Dim.AUTO},),)},
        ("operator.mul",),
    ),
    "strided convolutions": Case(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        (rows(2, 3, 16, 20),),
        2 * 8 * 8 * 10 * 3 * 9,
        {"dynamic_shapes": ({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},)},
    ),
    "a number as input": Case(
        lambda m, x, n: m.layer(x.new_ones(n, 4)), (rows(3, 4), 6), 6 * 4 * 5, {"dynamic_shapes": ((None, Dim.DYNAMIC),)}
    ),
    "rounded sizes": Case(
        lambda m, x: functional.interpolate(x, scale_factor=1.5, mode="nearest"),
        (rows(1, 1, 6, 8),),
        0,
        {"dynamic_shapes": (({2: Dim.AUTO, 3: Dim.AUTO},),)},
    ),
    "averages over a size": Case(
        lambda m, x: m.layer(x).sum(0) / x.shape[0] + 1 / x.shape[0],
        (rows(3, 4),),
        LINEAR,
        {"dynamic_shapes": (({0: BATCH},),)},
    ),
    "comparisons of sizes": Case(
        lambda m, x: torch.cond(x.shape[0] > 4, m.layer, lambda x: m.layer(x) * 2, (x,)),
        (rows(3, 4),),
        LINEAR,
        {"dynamic_shapes": (({0: BATCH},),)},
        ("higher_order.cond",),
    ),
    "sizes from contents": Case(
        lambda m, x: m.layer(x.nonzero().float().repeat(1, 2)), (rows(3, 4),), None, has=("aten.nonzero.default",)
    ),
}


def turned_out_to_be_given(module: Any, x: torch.Tensor) -> Any:
    size: Any = x.shape[0]
    branch = torch.cond(size > 2, module.square, lambda x: module.square(x) * 2, (x,))
    return branch * (torch.sym_float(size) * 0.5) * torch.sym_sqrt(size), x + torch.ones(3, 4)


def test_a_size_that_turns_out_to_be_given(tmp_path: Path) -> None:
    """What was computed from it before that was known is a number or a truth value, not an expression."""
    options = {"dynamic_shapes": (({0: Dim.AUTO},),)}
    trace = check(Case(turned_out_to_be_given, (rows(3, 4),), 3 * 4 * 4, options), tmp_path)
    numbers = {op.target: op.outputs for op in trace.ops if not isinstance(op.outputs[0], Tensor)}
    assert numbers == {
        "aten.sym_size.int": (3,),
        "operator.gt": (True,),
        "operator.mul": (1.5,),
        "torch.sym_float": (3.0,),
        "torch._sym_sqrt": (3**0.5,),
    }


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name: str, tmp_path: Path) -> None:
    trace = check(SIZES[name], tmp_path)
    sizes = [size for op in trace.walk() for value in op.outputs if isinstance(value, Tensor) for size in value.shape]
    assert any(isinstance(size, Expr) for size in sizes)
    loaded = torch.export.load(tmp_path / "program.pt2")
    found = assert_reads_as_live(loaded, tmp_path).trace
    # Torch knows the ranges of a loaded program, and writes a stride of `min(4, 4*s50)` as 4 then.
    if not any(symbol.startswith("u") for size in sizes for symbol in symbols_in(size)):
        assert with_strides_of_the_example(found) == with_strides_of_the_example(trace)


def with_strides_of_the_example(trace: Trace) -> Trace:
    """A trace whose strides are numbers: those at the sizes of the example inputs."""

    def bound(value: Value) -> Value:
        if isinstance(value, tuple):
            return tuple(map(bound, value))
        if not isinstance(value, Tensor) or value.strides is None:
            return value
        return replace(value, strides=tuple(map(trace.sizes().value, value.strides)))

    ops = [replace(op, args=bound(op.args), outputs=bound(op.outputs)) for op in trace.ops]  # type: ignore[arg-type]
    inputs = tuple((name, bound(value)) for name, value in trace.inputs)
    return Trace(tuple(ops), inputs, trace.symbols, trace.computed, trace.origins, trace.gives)


def test_a_derived_size_is_set_by_its_symbol_or_its_place(tmp_path: Path) -> None:
    program = export(nn.Linear(4, 5), rows(7, 4), dynamic_shapes=({0: 2 * Dim("half", max=50) + 1},))
    path = save(program, tmp_path / "derived.pt2")
    (symbol,) = (name for name, _ in translate(program).symbols)
    assert fxprof.profile(path).macs == 7 * 4 * 5
    for dims in ({symbol: 10}, {"input.0": 21}):
        assert fxprof.profile(path, dims=dims).macs == 21 * 4 * 5
        assert fxprof.profile_program(torch.export.load(path), dims=dims).macs == 21 * 4 * 5
    for dims in ({f"2*{symbol} + 1": 21}, {"input.0": 20}, {symbol: 51}):
        with pytest.raises(
            UsageError, match=re.escape(f"it has {symbol} (input.0): up to 50, 3 in the example") + "|another size"
        ):
            fxprof.profile(path, dims=dims)


def test_a_size_out_of_a_tensor(tmp_path: Path) -> None:
    def run(module: Any, x: torch.Tensor, length: torch.Tensor) -> Any:
        n: Any = length.item()
        torch._check(n >= 2)
        torch._check(n <= 10)
        return module.layer(x.new_ones(n, 4))

    check(Case(run, (rows(3, 4), torch.tensor(3)), None, has=("aten.item.default",)), tmp_path)


# --- operators that hold others


def loop(module: Any, x: torch.Tensor) -> Any:
    from torch._higher_order_ops.while_loop import while_loop

    return while_loop(lambda i, x: i < 5, lambda i, x: (i + 1, module.square(x)), (torch.tensor(0), x))


def scanned(module: Any, x: torch.Tensor) -> Any:
    from torch._higher_order_ops.scan import scan

    return scan(lambda carry, row: (module.square(carry + row), carry @ carry.T), torch.zeros(2, 4), x)


def mapped(module: Any, x: torch.Tensor) -> Any:
    over: Any = torch._higher_order_ops.map
    return over(lambda row, y: module.layer(row + y), x, torch.ones(3, 4))


def scanned_in_parallel(module: Any, x: torch.Tensor) -> Any:
    from torch._higher_order_ops.associative_scan import associative_scan_op

    return associative_scan_op(lambda a, b: (a @ b,), [x], ())


def nested(module: Any, x: torch.Tensor) -> Any:
    def inner(x: torch.Tensor) -> Any:
        return torch.cond(x.mean() > 0, module.square, lambda x: module.square(x) + 1, (x,))

    return torch.cond(x.sum() > 0, inner, lambda x: x * 2, (x,))


def without_gradients(module: Any, x: torch.Tensor) -> Any:
    with torch.enable_grad():
        x = module.square(x)
    with torch.no_grad():
        return module.layer(x)


def in_other_precision(module: Any, x: torch.Tensor) -> Any:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = module.square(x)
        with torch.autocast("cpu", enabled=False):
            return module.layer(x.float())


def hinted(module: Any, x: torch.Tensor) -> Any:
    from torch._higher_order_ops.hints_wrap import hints_wrapper

    return hints_wrapper(lambda x: x @ torch.ones(4, 5), (x,), {}, hints={"a": 1, "b": "text", "c": 0.5, "d": True})


def printed(module: Any, x: torch.Tensor) -> Any:
    torch._higher_order_ops.print("{rows} rows", rows=x.shape[0])
    return module.layer(x)


def by_the_truth_of_a_value(module: Any, x: torch.Tensor) -> Any:
    n: Any = x.sum().to(torch.int64).item()
    torch._check(n >= 0)
    return torch.cond(n > 4, module.square, lambda x: module.square(x) * 2, (x,)), x * torch.sym_float(n)


def mapped_over_a_batch(module: Any, x: torch.Tensor) -> Any:
    return torch.vmap(lambda row: module.layer(row).sum())(x)


BODIES = {
    "cond": Case(nested, (rows(3, 4),), 3 * 4 * 4, has=("higher_order.cond",)),
    "numbers that are not known": Case(by_the_truth_of_a_value, (rows(3, 4).abs(),), 3 * 4 * 4, has=("operator.gt",)),
    "while_loop": Case(loop, (rows(3, 4),), None, has=("higher_order.while_loop",)),
    "scan": Case(scanned, (rows(6, 2, 4),), 6 * (2 * 4 * 4 + 2 * 2 * 4), has=("higher_order.scan",)),
    "map": Case(mapped, (rows(6, 3, 4),), 6 * 3 * 4 * 5, has=("higher_order.map_impl",)),
    "associative_scan": Case(
        scanned_in_parallel, (rows(6, 3, 4, 4),), 2 * 6 * (3 * 4 * 4 * 4), has=("higher_order.associative_scan",)
    ),
    "set_grad_enabled": Case(
        without_gradients, (rows(3, 4),), 3 * 4 * 4 + LINEAR, has=("higher_order.wrap_with_set_grad_enabled",)
    ),
    "autocast": Case(in_other_precision, (rows(3, 4),), 3 * 4 * 4 + LINEAR, has=("higher_order.wrap_with_autocast",)),
    "hints_wrapper": Case(hinted, (rows(3, 4),), LINEAR, has=("higher_order.hints_wrapper",)),
    "strict hints_wrapper": Case(hinted, (rows(3, 4),), LINEAR, {"strict": True}, ("higher_order.hints_wrapper",)),
    # Its operators have the shapes of one row, and whether they run once or for every row the graph does not say.
    "vmap": Case(mapped_over_a_batch, (rows(3, 4),), None, has=("torch._vmap_increment_nesting",)),
    "print": Case(printed, (rows(3, 4),), LINEAR, has=("higher_order.print",)),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies(name: str, tmp_path: Path) -> None:
    check(BODIES[name], tmp_path)


# --- operators and objects of one's own

_OURS = torch.library.Library("fxprof_test", "FRAGMENT")
_OURS.define(
    "mixed(Tensor x, Tensor?[] maybe, Tensor[] all, float[] scales, bool[] flags, str[] names, int[] sizes, Scalar number, "
    "ScalarType kind, Device? device=None, MemoryFormat? format=None, *, str mode='a', float? rate=None) -> (Tensor, Tensor[])"
)
_OURS.define("nested(Tensor[][] tensors, float[][] scales) -> Tensor")
_OURS.define("nothing(Tensor x) -> ()")
_OURS.define("change(Tensor(a!) x, Tensor y) -> ()")
_OURS.define("maybe(Tensor x) -> Tensor?")


@torch.library.impl(_OURS, "mixed", "CompositeExplicitAutograd")
def _mixed(x: torch.Tensor, *_: Any, **__: Any) -> Any:
    return x.clone(), [x.clone(), x.clone()]


@torch.library.impl(_OURS, "nothing", "CompositeExplicitAutograd")
def _nothing(x: torch.Tensor) -> None:
    return None


@torch.library.impl(_OURS, "change", "CompositeExplicitAutograd")
def _change(x: torch.Tensor, y: torch.Tensor) -> None:
    x.add_(y)


@torch.library.impl(_OURS, "nested", "CompositeExplicitAutograd")
def _nested(tensors: list[list[torch.Tensor]], scales: list[list[float]]) -> torch.Tensor:
    return tensors[0][0] + 1


@torch.library.impl(_OURS, "maybe", "CompositeExplicitAutograd")
def _maybe(x: torch.Tensor) -> None:
    return None


def lists_of_lists(module: Any, x: torch.Tensor) -> Any:
    return torch.ops.fxprof_test.nested([[module.layer(x), x], [x]], [(0.5,), (1.5, 2.5)])


def no_result(module: Any, x: torch.Tensor) -> Any:
    return module.layer(x), torch.ops.fxprof_test.maybe(x)


def mixed(module: Any, x: torch.Tensor) -> Any:
    return torch.ops.fxprof_test.mixed(
        module.layer(x), [x, None], [x, x], [0.5, 2.0], [True, False], ["a", "b"], [], 1.5, torch.float16, "cpu",
        torch.channels_last, rate=float("inf"),
    )  # fmt: skip


def changed(module: Any, x: torch.Tensor) -> Any:
    x = module.layer(x)
    torch.ops.fxprof_test.change(x, torch.ones(5))
    torch.ops.fxprof_test.nothing(x)
    return x


OWN = {
    "arguments of every sort": Case(mixed, (rows(3, 4),), None, has=("fxprof_test.mixed.default",)),
    "lists of lists": Case(lists_of_lists, (rows(3, 4),), None, has=("fxprof_test.nested.default",)),
    "a result that may be missing": Case(no_result, (rows(3, 4),), None, has=("fxprof_test.maybe.default",)),
    "no results": Case(changed, (rows(3, 4),), None, has=("fxprof_test.change.default", "fxprof_test.nothing.default")),
}


@pytest.mark.parametrize("name", OWN)
def test_operators_of_one_s_own(name: str, tmp_path: Path) -> None:
    trace = check(OWN[name], tmp_path)
    own = [op for op in count(trace) if op.macs is None]
    assert {op.note for op in own} == {"no formula"}


def test_an_operator_that_changes_its_argument_once_decomposed(tmp_path: Path) -> None:
    program = export(Plain(changed), rows(3, 4)).run_decompositions()
    found = assert_reads_as_live(program, tmp_path)
    assert "higher_order.auto_functionalized_v2" in targets(found.trace)


# --- numbers of fewer bits


class Quantised(nn.Module):
    """A linear layer with a weight of 8 bits, by the operators of torch's own quantisation, written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(5, 4, dtype=torch.int8))
        self.register_buffer("scales", torch.ones(5))
        self.register_buffer("zeros", torch.zeros(5, dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> Any:
        ops = torch.ops.quantized_decomposed
        scale, zero = ops.choose_qparams.tensor(x, -128, 127, 1e-5, torch.int8)
        x = ops.quantize_per_tensor.tensor(x, scale, zero, -128, 127, torch.int8)
        x = ops.dequantize_per_tensor.tensor(x, scale, zero, -128, 127, torch.int8)
        weight = ops.dequantize_per_channel(self.weight, self.scales, self.zeros, 0, -128, 127, torch.int8)
        return functional.linear(x, weight)


class Affine(nn.Module):
    """The same by the operators of torchao."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(5, 4, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(5, 2))
        self.register_buffer("zero", torch.zeros(5, 2, dtype=torch.int8))

    def forward(self, x: torch.Tensor) -> Any:
        ops = torch.ops.torchao
        scale, zero = ops.choose_qparams_affine(x, "SYMMETRIC", [1, 4], torch.int8, -127, 127, 1e-5, torch.float32)
        x = ops.quantize_affine(x, [1, 4], scale, zero, torch.int8, -127, 127)
        x = ops.dequantize_affine(x, [1, 4], scale, zero, torch.int8, -127, 127)
        weight = ops.dequantize_affine(self.weight, [1, 2], self.scale, self.zero, torch.int8, -8, 7)
        return functional.linear(x, weight)


def in_eight_bits(module: Any, x: torch.Tensor) -> Any:
    weight = module.layer.weight.to(torch.float8_e4m3fn)
    one = torch.ones(())
    return torch._scaled_mm(x.to(torch.float8_e5m2), weight.t(), one, one, out_dtype=torch.bfloat16), x.to(torch.float8_e8m0fnu)


def of_unusual_types(module: Any, x: torch.Tensor) -> Any:
    names = ("uint16", "uint32", "uint64", "complex64", "complex128", "bool", "float64", "float8_e4m3fnuz", "float8_e5m2fnuz")
    return [x.to(getattr(torch, name)) for name in names]


BITS = {
    "by torch": Case(Quantised(), (rows(3, 4),), LINEAR, has=("quantized_decomposed.dequantize_per_channel.default",)),
    "by torchao": Case(Affine(), (rows(3, 4),), LINEAR, has=("torchao.dequantize_affine.default",)),
    "8-bit floats": Case(in_eight_bits, (rows(3, 4),), LINEAR, has=("aten._scaled_mm.default",)),
    "unusual types": Case(of_unusual_types, (rows(3, 4),), 0),
    "products of complex numbers": Case(lambda m, x: x.to(torch.complex64) @ torch.ones(4, 5) * 1j, (rows(3, 4),), LINEAR),
    "whole integers": Case(
        lambda m, x: torch._int_mm(x.to(torch.int8), torch.ones(16, 8, dtype=torch.int8)), (rows(32, 16),), 32 * 16 * 8
    ),
}


@pytest.mark.parametrize("name", BITS)
def test_numbers_of_other_types(name: str, tmp_path: Path) -> None:
    check(BITS[name], tmp_path)


def test_a_weight_that_is_made_of_others(tmp_path: Path) -> None:
    """A tensor subclass, as quantised weights are: one operator of the graph, or what it is made of once decomposed."""
    module = nn.Linear(4, 5)
    module.weight = nn.Parameter(TwoTensor(torch.ones(5, 4), torch.ones(5, 4)))
    program = torch.export.export(module, (rows(3, 4),), strict=False)
    assert macs_of(assert_reads_as_live(program, tmp_path).trace) == LINEAR
    assert macs_of(assert_reads_as_live(program.run_decompositions(), tmp_path).trace) == 2 * LINEAR
