"""Tensors that are alive at once: peaks derived by hand, laws, attention, and that files keep what was seen."""

from __future__ import annotations

import cProfile
import itertools
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from alive import Graph, live_bytes
from exported import export, read, save
from hypothesis import strategies
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as attention

from fxprof.capture.export import ExportedCall, export_call
from fxprof.capture.inside import LiveBytes
from fxprof.capture.translate import translate
from fxprof.cost.attention_memory import attention_bytes
from fxprof.cost.lifetimes import find_lifetimes
from fxprof.trace import Block, Frame, Occurrence, Op, Sizes, Subgraph, Tensor, Trace
from fxprof.trace.codec import read_trace, write_trace

X = torch.zeros(10, 10)
"""400 bytes."""


def captured(module: nn.Module, *args: Any, whole: bool = False) -> ExportedCall:
    with torch.no_grad():
        return export_call(module.eval(), args, {}, prefix="", aliases={}, whole=whole)


def peaks(trace: Trace, way: str = "fused") -> tuple[int, int]:
    """Eager, and by last use."""
    found = find_lifetimes(trace)[way]
    assert found.eager is not None
    assert not found.eager.bounded
    return found.eager.bytes, found.graph.bytes


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(10, 40), nn.Linear(40, 10)

    def forward(self, rows: torch.Tensor) -> Any:
        wide = self.one(rows)
        positive = torch.relu(wide)
        narrow = self.two(positive)
        return rows + narrow


class Dropping(nn.Module):
    def forward(self, rows: torch.Tensor) -> Any:
        one = rows * 2
        two = one * 3
        del one
        three = two * 4
        return three * 5


class InPlace(nn.Module):
    def forward(self, rows: torch.Tensor) -> Any:
        one = rows * 2
        one.add_(1)
        two = one.relu_()
        return two + 1


class ViewOfLarge(nn.Module):
    def forward(self, rows: torch.Tensor) -> Any:
        large = torch.cat([rows] * 4)
        row = large[:1]
        del large
        doubled = row * 2
        return torch.cat([doubled] * 10)


class Repeated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Residual() for _ in range(4))

    def forward(self, rows: torch.Tensor) -> Any:
        for block in self.blocks:
            rows = block(rows)
        return rows


class Skips(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.downs = nn.ModuleList(nn.Linear(10, 10) for _ in range(3))
        self.ups = nn.ModuleList(nn.Linear(20, 10) for _ in range(3))

    def forward(self, rows: torch.Tensor) -> Any:
        kept = []
        for down in self.downs:
            rows = down(rows)
            kept.append(rows)
        for up in self.ups:
            rows = torch.cat([rows, kept.pop()], -1)
            rows = up(rows)
        return rows


class Halves(nn.Module):
    def forward(self, rows: torch.Tensor) -> Any:
        one, two = (rows * 2).chunk(2, -1)
        product = one * two
        del one
        return product + 1


class Bodies(nn.Module):
    def forward(self, rows: torch.Tensor) -> Any:
        with torch.enable_grad():
            one = rows * 2
            two = one + 1
        with torch.autocast("cpu", dtype=torch.bfloat16):
            del one
            three = two @ two
        return three + 1


class DroppedInBody(nn.Module):
    def forward(self, rows: torch.Tensor) -> Any:
        one = rows * 2
        with torch.autocast("cpu", dtype=torch.bfloat16):
            two = one + 1
            del one
            three = torch.cat([two] * 3)
        return three[:1] + 1


class Box(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(10, 40), nn.Linear(40, 10)

    def forward(self, box: list[torch.Tensor]) -> Any:
        rows = box.pop()
        wide = self.one(rows)
        del rows
        return self.two(torch.cat([wide, wide])[:10])


class Handed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Box() for _ in range(3))

    def forward(self, rows: torch.Tensor) -> Any:
        rows = rows * 2
        for block in self.blocks:
            box = [rows]
            del rows
            rows = block(box)
        return rows


BY_HAND = {
    # All four results are held at the end: 1600 + 1600 + 400 + 400. By last use, at the ReLU: 1600 + 1600.
    "a residual block": (Residual(), 4000, 3200),
    # `nn.Sequential` holds the result before while a layer runs: 1600 + 800.
    "a chain": (nn.Sequential(nn.Linear(10, 40), nn.Linear(40, 20), nn.Linear(20, 10)), 2400, 2400),
    # Without the first: 3 x 400. By last use two at a time: 2 x 400.
    "a del in the middle": (Dropping(), 1200, 800),
    # One tensor, changed in place, and the result: 2 x 400.
    "in place": (InPlace(), 800, 800),
    # The four copies, one doubled row and its ten copies: 1600 + 40 + 400. By last use, at the doubling: 1600 + 40.
    "a view that keeps its base alive": (ViewOfLarge(), 2040, 1640),
    # As one block, and its input, which is the result of the block before: 4000 + 400, and 3200 + 400.
    "a repeated block": (Repeated(), 4400, 3600),
    # At the first `cat`: three kept and the result, 3 x 400 + 800.
    "skip connections": (Skips(), 2000, 2000),
    # Both halves are views of 400 bytes; product and sum have 200 each: 400 + 200 + 200. By last use, at the product: 600.
    "halves": (Halves(), 800, 600),
    # At the product: the operand, twice more in 16 bits, and the result: 400 + 2 x 200 + 200. By last use, before: 2 x 400.
    "bodies": (Bodies(), 1000, 800),
    # One doubled and its three copies, without the first, and a row: 400 + 1200 + 40. By last use, at the copies: 1600.
    "dropped in a body": (DroppedInBody(), 1640, 1600),
    # Wide ones, both of them again, and the result: 1600 + 3200 + 400. By last use, before: 1600 + 3200.
    "handed over in a list": (Handed(), 5200, 4800),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_peaks_derived_by_hand(name: str) -> None:
    module, eager, graph = BY_HAND[name]
    trace = captured(module, X).trace
    assert peaks(trace) == (eager, graph)
    assert live_bytes(module, (X,), {}).most == eager
    assert any(isinstance(part, Occurrence) for part in trace.parts) == (name == "a repeated block")


def test_the_table_says_what_is_alive_where_and_since_when() -> None:
    found = find_lifetimes(captured(Repeated(), X).trace)["fused"].peak
    assert (found.op, found.path, found.bytes) == ("aten.add.Tensor", "blocks.1", 4400)
    assert [(item.bytes, item.shape, item.op, item.path) for item in found.alive] == [
        (1600, (10, 40), "aten.linear.default", "blocks.1.one"),
        (1600, (10, 40), "aten.relu.default", "blocks.1"),
        (400, (10, 10), "aten.add.Tensor", "blocks.0"),
        (400, (10, 10), "aten.linear.default", "blocks.1.two"),
        (400, (10, 10), "aten.add.Tensor", "blocks.1"),
    ]
    assert [item.since for item in found.alive] == [4, 5, 3, 6, 7]
    assert found.source.startswith("test_lifetimes.py:") or "/test_lifetimes.py:" in found.source


# Laws, on programs at random.

Line = tuple[str, int, int, int]
"""What to do, with which two variables, and which variable gets the result."""
WORK: dict[str, Any] = {
    "times": lambda one, _: one * 2,
    "plus": torch.add,
    "in place": lambda one, _: one.add_(1),
    "view": lambda one, _: one.view(one.shape),
    "first": lambda one, _: one[:, :5].repeat(1, 2),
    "join": lambda one, two: torch.cat([one, two], -1)[:, ::2],
    "norm": lambda one, _: nn.functional.layer_norm(one, one.shape[-1:]),
    "none": lambda one, _: one,
    "to": lambda one, _: one.to(torch.float32),
    "half": lambda one, _: one.to(torch.bfloat16).float(),
    "softmax": lambda one, _: one.softmax(-1),
    "halves": lambda one, _: sum(one.chunk(2, -1)).repeat(1, 2),
}


class Part(nn.Module):
    def __init__(self, lines: list[Line]) -> None:
        super().__init__()
        self.lines = lines
        self.inner = nn.Identity()

    def forward(self, *given: torch.Tensor) -> Any:
        held = dict(enumerate(given))
        for work, one, two, result in self.lines:
            if work == "drop":
                if len(held) > 1:
                    held.pop(result, None)
                continue
            first, second = (held.get(number, next(iter(held.values()))) for number in (one, two))
            held[result] = WORK[work](first, second)
            del first, second
        return tuple(held[number] for number in sorted(held)[-2:])


class Straight(nn.Module):
    """Lines before, several alike modules with lines of their own, and lines after."""

    def __init__(self, before: list[Line], inside: list[Line], after: list[Line]) -> None:
        super().__init__()
        self.before, self.after = Part(before), Part(after)
        self.parts = nn.ModuleList(Part(inside) for _ in range(3))

    def forward(self, rows: torch.Tensor) -> Any:
        values = self.before(rows * 1, rows + 1)
        for part in self.parts:
            values = part(*values)
        return self.after(*values)


_NUMBER = strategies.integers(0, 3)
_LINES = strategies.lists(strategies.tuples(strategies.sampled_from([*WORK, "drop"]), *[_NUMBER] * 3), max_size=6)


def largest_results(trace: Trace) -> int:
    """The most bytes of new results of one operator."""
    return max((max(find_lifetimes(Trace((op,)))["fused"].graph.bytes, 0) for op in trace.ops if not op.subgraphs), default=0)


@hypothesis.settings(max_examples=4, deadline=None, derandomize=True)
@hypothesis.given(before=_LINES, inside=_LINES, after=_LINES)
def test_programs_at_random(before: list[Line], inside: list[Line], after: list[Line]) -> None:
    holds(before, inside, after)


@pytest.mark.slow
@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(before=_LINES, inside=_LINES, after=_LINES)
def test_many_programs_at_random(before: list[Line], inside: list[Line], after: list[Line]) -> None:
    holds(before, inside, after)


def holds(before: list[Line], inside: list[Line], after: list[Line]) -> None:
    module = Straight(before, inside, after)
    call = captured(module, X)
    eager, graph = peaks(call.trace)
    assert eager == live_bytes(module, (X,), {}).most
    assert eager >= graph >= largest_results(call.trace)
    whole = captured(module, X, whole=True)
    assert peaks(whole.trace) == (eager, graph)
    assert whole.program is not None
    assert Graph(whole.program).most() == graph
    assert peaks(captured(module, torch.zeros(20, 10)).trace) == (2 * eager, 2 * graph)


# Attention.

LAYOUTS: dict[str, Any] = {
    "plain": lambda b, h, n, d, dtype: torch.zeros(b, h, n, d, dtype=dtype),
    "heads inside": lambda b, h, n, d, dtype: torch.zeros(b, n, h, d, dtype=dtype).transpose(1, 2),
    "packed": lambda b, h, n, d, dtype: torch.zeros(b, n, 3, h, d, dtype=dtype)[:, :, 1].transpose(1, 2),
    "one for all": lambda b, h, n, d, dtype: torch.zeros(1, h, n, d, dtype=dtype).expand(b, h, n, d),
}
MASKS: dict[str, Any] = {
    "no mask": lambda b, h, n, s, dtype: {},
    "truths": lambda b, h, n, s, dtype: {"attn_mask": torch.ones(n, s, dtype=torch.bool)},
    "truths for all heads": lambda b, h, n, s, dtype: {"attn_mask": torch.ones(b, h, n, s, dtype=torch.bool)},
    "numbers": lambda b, h, n, s, dtype: {"attn_mask": torch.zeros(b, 1, n, s, dtype=dtype)},
    "causal": lambda b, h, n, s, dtype: {"is_causal": True},
}
SHAPES = [
    (2, 4, 4, 16, 77, 16, 16),
    (1, 4, 4, 16, 77, 16, 16),
    (2, 4, 2, 64, 64, 8, 8),
    (2, 3, 3, 5, 7, 64, 32),
    (3, 2, 2, 1, 9, 8, 8),
]
"""Examples, heads of queries and of keys, queries, keys, width of keys and of values."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, pytest.param(torch.float64, marks=pytest.mark.slow)], ids=str)
def test_attention_takes_what_torch_takes(dtype: torch.dtype) -> None:
    function = torch.ops.aten.scaled_dot_product_attention.default
    compared = {"fused": 0, "math": 0}
    for shape, layouts, mask in itertools.product(SHAPES, itertools.product(LAYOUTS, repeat=2), MASKS):
        b, h, few, n, s, width, other = shape
        query = LAYOUTS[layouts[0]](b, h, n, width, dtype)
        key, value = (LAYOUTS[layouts[1]](b, few, s, size, dtype) for size in (width, other))
        more = {**MASKS[mask](b, h, n, s, dtype), "enable_gqa": few != h}
        op = attention_op(function, {"query": query, "key": key, "value": value, **more})
        chosen = SDPBackend(torch._fused_sdp_choice(query, key, value, **more))
        for way in ("math",) if chosen == SDPBackend.MATH else ("fused", "math"):
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH) if way == "math" else nullcontext(), LiveBytes() as live:
                result = attention(query, key, value, **more)
            said = attention_bytes(op, Sizes({}, {}), way) + result.untyped_storage().nbytes()
            assert said == live.most, f"{way} {dtype} {shape} {layouts} {mask}"
            compared[way] += 1
    assert compared["math"] == 400
    assert compared["fused"] == 320


@pytest.mark.parametrize("way", ["fused", "math"])
def test_what_is_converted_for_an_operator_counts(way: str) -> None:
    class Converting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(16, 16)

        def forward(self, rows: torch.Tensor) -> Any:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                rows = self.layer(rows)
                wide = rows.float()
                return nn.functional.layer_norm(attention(wide, wide, wide), (16,))

    rows = torch.zeros(2, 4, 64, 16)
    trace = captured(Converting(), rows).trace
    assert peaks(trace, way)[0] == live_bytes(Converting(), (rows,), {}, as_products=way == "math").most


def attention_op(function: Any, given: dict[str, Any]) -> Op:
    def plain(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return Tensor(tuple(value.shape), str(value.dtype).removeprefix("torch."), strides=value.stride(), device="cpu")

    query, value = given["query"], given["value"]
    result = Tensor((*query.shape[:-1], value.shape[-1]), str(query.dtype).removeprefix("torch."))
    return Op(str(function), tuple((name, plain(item)) for name, item in given.items()), (result,))


# What is written and read again.


def test_a_trace_that_was_written_and_read_keeps_what_was_seen() -> None:
    for module, eager, graph in BY_HAND.values():
        trace = captured(module, X).trace
        again = read_trace(write_trace(trace))
        assert peaks(again) == (eager, graph)
        assert [(op.frees, op.inside) for op in again.walk()] == [(op.frees, op.inside) for op in trace.walk()]
        assert find_lifetimes(again) == find_lifetimes(trace)
    norm = captured(nn.Sequential(nn.GroupNorm(2, 10), nn.Linear(10, 10)), torch.zeros(4, 10)).trace
    assert find_lifetimes(read_trace(write_trace(norm))) == find_lifetimes(norm)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_file_has_the_peak_by_last_use_alone(name: str, tmp_path: Path) -> None:
    module, _, graph = BY_HAND[name]
    program = export(module, X)
    found = find_lifetimes(read(save(program, tmp_path / "program.pt2")).trace)["fused"]
    assert found.eager is None
    assert found.peak == found.graph
    assert found.graph == find_lifetimes(translate(program))["fused"].graph
    if "body" not in name and name != "bodies":  # outside of `torch.no_grad`, another part of it has a body
        assert found.graph.bytes == graph


# Operators that contradict themselves, and very long graphs.

ONE, TWO, ODD = Tensor((), "float32"), Tensor((2,), "float32", strides=(1,)), Tensor((2, 3), "nope")
CUBE, TOO_MANY = Tensor((2, 2, 2), "float16"), Tensor((2,), "float32", strides=(1, 2))
OPERANDS: list[tuple[Any, ...]] = [(), (ONE,), (TWO, TOO_MANY), (ODD, 3, "x"), (None,), (ONE,) * 3, (ODD,) * 3, (CUBE,) * 3]
RESULTS: list[tuple[Any, ...]] = [(), (TWO,), (ONE, TOO_MANY), (5,), ((ONE, TWO),), (CUBE,)]
NUMBERS = [((), ()), ((0,), ()), ((0, 1), ()), ((0,), (1,)), ((0, 1, 2), (3,)), ((0,), (1, 2)), ((5,), (5,)), ((0,), (1, 1))]


def test_operators_that_contradict_themselves_make_no_traceback() -> None:
    names = ["reshape", "einsum", "coalesce", "view", "chunk", "scaled_dot_product_attention", "conv2d", "add_"]
    arguments = {"scaled_dot_product_attention": ("query", "key", "value"), "conv2d": ("input", "weight", "bias")}
    for name, operands, results in itertools.product(names, OPERANDS, RESULTS):
        given = tuple(zip(arguments.get(name, ("self", "index", "source")), operands, strict=False))
        for overload, (reads, makes) in itertools.product(("default", "out"), NUMBERS):
            op = Op(f"aten.{name}.{overload}", given, results, reads=reads, makes=makes, frees=(0, 1, 1, 9))
            find_lifetimes(Trace((op, op), has_frees=True, gives=(77, 1)))


def test_bodies_that_contradict_their_operators_make_no_traceback() -> None:
    inner = Op("aten.add.Tensor", (("self", TWO),), (TWO,), reads=(0,), makes=(1,), frees=(7,))
    for name, takes, gives, makes, many in itertools.product(
        ("cond", "wrap_with_set_grad_enabled", "anything"),
        ((), ((0, 3), (0, 4)), ((1, 3),)),
        ((), (1,), (9,), (0, 1, 9)),
        ((), (5,), (5, 6)),
        (0, 1),
    ):
        body = Subgraph("body", (inner,) * many, takes, gives)
        for bodies in ((), (body,), (body, body)):
            results: tuple[Any, ...] = (TWO,) * len(makes)
            op = Op(f"higher_order.{name}", (("x", TWO),), results, subgraphs=bodies, reads=(3,), makes=makes, frees=(5, 3))
            find_lifetimes(Trace((op,), has_frees=True, gives=makes))
            block = Block((Frame("a", "A"),), (op, op))
            again = Occurrence(block, (Frame("b", "B"),), (), ((3, 1),), ((5, 2),), (2, 8))
            find_lifetimes(Trace((again, again), has_frees=True))


def long(name: str, length: int, *, frees: bool) -> Trace:
    """A chain of operators, each of which reads the result of the one before."""
    given = (("self", TWO),)
    ops = (
        Op(f"aten.{name}", given, (TWO,), reads=(at,), makes=(at + 1,), frees=(at,) if frees else ()) for at in range(length)
    )
    return Trace(tuple(ops), has_frees=True, gives=(length,))


@pytest.mark.parametrize("name", ["view.default", "coalesce.default"])
@pytest.mark.parametrize("frees", [True, False])
def test_the_work_grows_with_the_length_of_a_graph(name: str, frees: bool) -> None:
    calls = []
    for length in (500, 4000):
        trace, seen = long(name, length, frees=frees), cProfile.Profile()
        seen.runcall(find_lifetimes, trace)
        calls.append(sum(entry.callcount for entry in seen.getstats()))
    assert calls[1] < 12 * calls[0]  # 8 times; 64 if it were quadratic


def test_the_work_grows_with_the_number_of_doubtful_results() -> None:
    calls = []
    for many in (500, 4000):
        results, reads = tuple(TWO for _ in range(many)), tuple(range(many))
        op = Op("higher_order.anything", (("x", results),), results, subgraphs=(Subgraph("body", ()),), reads=reads)
        op = replace(op, makes=tuple(range(many, 2 * many)))
        seen = cProfile.Profile()
        found = seen.runcall(find_lifetimes, Trace((op,), has_frees=True))["fused"].peak
        calls.append(sum(entry.callcount for entry in seen.getstats()))
        assert found.bounded
        assert found.bytes == 8 * many
    assert calls[1] < 12 * calls[0]  # 8 times; 64 if it were quadratic
