"""Every feature of the archive: small modules, saved, and read without torch as the live program says."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed
import torchao_ops  # noqa: F401 - registers torchao
from exported import assert_equal, assert_reads_as_live, export, read, save
from torch import nn
from torch._export.serde.serialize import serialize
from torch.export import Dim
from torch.export.pt2_archive._package import package_pt2
from torch.nn import functional
from torch.testing._internal.two_tensor import TwoTensor

import fxprof
from fxprof.capture.module import capture_program
from fxprof.capture.translate import translate
from fxprof.cost.count import count
from fxprof.trace import Expr, Tensor, Trace
from fxprof.trace.pt2 import read_programs


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
    "the largest integer": Case(lambda m, x: x[1:], (rows(3, 4),), 0, has=("aten.slice.Tensor",)),
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


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name: str, tmp_path: Path) -> None:
    trace = check(SIZES[name], tmp_path)
    sizes = [size for op in trace.walk() for value in op.outputs if isinstance(value, Tensor) for size in value.shape]
    assert any(isinstance(size, Expr) for size in sizes)


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


def mapped_over_a_batch(module: Any, x: torch.Tensor) -> Any:
    return torch.vmap(lambda row: module.layer(row).sum())(x)


BODIES = {
    "cond": Case(nested, (rows(3, 4),), 3 * 4 * 4, has=("higher_order.cond",)),
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
_OURS.define("numbers(Tensor x) -> (Tensor, int, float)")
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


# --- modules and their weights


class Tied(nn.Module):
    """A weight of two modules, a module of two names, and a view of a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 4)
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.head = nn.Linear(4, 9, bias=False)
        self.head.weight = self.embed.weight
        self.part = nn.Parameter(self.first.weight.detach()[:2])

    def forward(self, ids: torch.Tensor) -> Any:
        hidden = self.second(self.first(self.embed(ids)))
        return self.head(hidden), hidden @ self.part.T


class Buffers(nn.Module):
    """Buffers that are kept, that are not, that change, and constants."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones(4, 4))
        self.register_buffer("lost", torch.ones(4, 4), persistent=False)
        self.register_buffer("calls", torch.zeros(()))
        self.constant = torch.ones(4, 4)
        self.frozen = nn.Parameter(torch.ones(4, 4), requires_grad=False)

    def forward(self, x: torch.Tensor) -> Any:
        buffers: Any = self
        buffers.calls.add_(1)
        buffers.lost = buffers.lost + 1
        return x @ buffers.kept @ buffers.lost @ self.constant @ self.frozen @ torch.full((4, 4), 0.5) * self.calls


class Normed(nn.Module):
    """Batch statistics, which training changes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> Any:
        return self.drop(self.norm(self.conv(x)))


def test_shared_weights_count_once(tmp_path: Path) -> None:
    module = Tied()
    found = assert_reads_as_live(export(module, torch.tensor([[1, 2, 3]])), tmp_path)
    assert {part.path: part.params for part in found.modules if part.params} == {
        "": 2 * 4,
        "embed": 9 * 4,
        "first": 4 * 4 + 4,
    }
    assert sum(part.params for part in found.modules) == sum(weight.numel() for weight in module.parameters())
    loaded = torch.export.load(tmp_path / "program.pt2")
    assert assert_reads_as_live(loaded, tmp_path) == found
    assert macs_of(found.trace) == 3 * (2 * 4 * 4 + 4 * 9 + 4 * 2)


def test_buffers_and_constants(tmp_path: Path) -> None:
    found = assert_reads_as_live(export(Buffers(), rows(3, 4)), tmp_path)
    assert macs_of(found.trace) == 5 * 3 * 4 * 4
    assert sum(part.params for part in found.modules) == 4 * 4
    assert_reads_as_live(export(Buffers(), rows(3, 4)).run_decompositions(), tmp_path)


def test_a_graph_for_training(tmp_path: Path) -> None:
    program = torch.export.export(Normed().train(), (rows(2, 3, 4, 4),), strict=False)
    found = assert_reads_as_live(program, tmp_path)
    assert macs_of(found.trace) == 2 * 4 * 16 * 3
    found = assert_reads_as_live(program.run_decompositions(), tmp_path)
    assert macs_of(found.trace) == 2 * 4 * 16 * 3


NAMES = [
    "plain",
    "Überblick",
    "注意力",
    "with space",
    "comma,inside",
    "semi;colon",
    "a,b;c,d;e",
    "bracket[0]",
    "par(en)s",
    "quote's",
    'double"quote',
    "back\\slash",
    "at@1",
    "sign@sign",
    "1",
    "L__self__",
    "percent%s",
    "équation=x:y",
]


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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strict", [False, True], ids=["", "strict"])
def test_modules_of_any_name(name: str, strict: bool, tmp_path: Path) -> None:
    try:
        program = export(Wrapped([name]), rows(3, 4), strict=strict)
    except Exception as error:  # noqa: BLE001 - whatever it is, the name is refused before there is a graph
        pytest.skip(f"torch itself refuses it: {type(error).__name__}")
    found = assert_reads_as_live(program, tmp_path)
    assert {part.path: part.params for part in found.modules}[f"{name}.0"] == 4 * 4 + 4
    assert macs_of(found.trace) == 2 * 3 * 4 * 4
    if strict:  # where torch itself spells some names as `_modules["name"]`
        return
    assert [part.path for part in found.modules] == ["", name, f"{name}.0"]
    profile = fxprof.profile(tmp_path / "program.pt2")
    assert {row.path: row.macs for row in profile.components["model"].calls[0].ops} == {f"{name}.0": 2 * 3 * 4 * 4}


def test_modules_of_all_names_at_once(tmp_path: Path) -> None:
    found = assert_reads_as_live(export(Wrapped(NAMES), rows(3, 4)), tmp_path)
    assert [part.path for part in found.modules if part.path.endswith(".0")] == [f"{name}.0" for name in NAMES]
    assert macs_of(found.trace) == len(NAMES) * 2 * 3 * 4 * 4


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


# --- objects that are no tensors

OBJECT = "__torch__.torch.classes.library.Packed"


def _with_object(program: Any) -> dict[str, Any]:
    """The JSON of a program with one linear layer, in which a custom object stands for weight and bias."""
    fields: dict[str, Any] = json.loads(serialize(program).exported_program)
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


def test_an_object_is_known_by_its_class(tmp_path: Path) -> None:
    """No class with such objects comes with torch: the graph is written by hand."""
    program = export(nn.Linear(4, 5), rows(3, 4))
    write_zip(tmp_path / "object.pt2", {"program/models/model.json": json.dumps(_with_object(program))})
    trace = read(tmp_path / "object.pt2").trace
    (op,) = trace.ops
    assert op.target == "higher_order.call_torchbind"
    assert op.args == (("arg0", OBJECT), ("arg1", "run"), ("arg2", Tensor((3, 4), "float32")))
    assert op.outputs == (Tensor((3, 5), "float32"),)
    assert [name for name, _ in trace.inputs] == ["input"]
    assert [found.macs for found in count(trace)] == [None]


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
