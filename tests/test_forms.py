"""Costs as expressions: numbers that are bound to a symbolic trace give what the static trace of those sizes costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import tiny
import torch
from exported import Plain
from hypothesis import given
from hypothesis import strategies as st
from test_pt2_features import SIZES
from torch import nn
from torch.utils import _pytree as pytree

from fxprof.capture.translate import translate
from fxprof.cost.count import CountedOp, count
from fxprof.cost.forms import Forms
from fxprof.cost.registry import BUILT_IN, Formulas
from fxprof.trace import Dim, Expr, Tensor, Trace
from fxprof.trace.algebra import normal
from fxprof.trace.conditions import at_sizes
from fxprof.trace.symbols import UnboundSymbolError, compute

S, T = Expr("symbol", ("s",)), Expr("symbol", ("t",))


def expressions() -> st.SearchStrategy[Dim]:
    def extend(inner: st.SearchStrategy[Dim]) -> st.SearchStrategy[Dim]:
        names = st.sampled_from(["add", "mul", "sub", "floordiv", "mod", "max", "min"])
        return st.builds(lambda name, one, two: Expr(name, (one, two)), names, inner, inner) | st.builds(
            lambda one, power: Expr("pow", (one, power)), inner, st.integers(0, 3)
        )

    return st.recursive(st.integers(-3, 4) | st.sampled_from([S, T]), extend, max_leaves=8)


@given(expressions(), st.integers(1, 50), st.integers(1, 50))
def test_the_normal_form_has_the_same_value(expression: Dim, s: int, t: int) -> None:
    sizes = {"s": s, "t": t}
    try:
        value = compute(expression, sizes)
    except UnboundSymbolError:
        return
    assert compute(normal(expression), sizes) == value


@given(expressions(), expressions(), expressions())
def test_what_says_the_same_is_equal_in_normal_form(one: Dim, two: Dim, three: Dim) -> None:
    assert normal(Expr("add", (one, two))) == normal(Expr("add", (two, one)))
    product = Expr("mul", (one, Expr("add", (two, three))))
    assert normal(product) == normal(Expr("add", (Expr("mul", (one, two)), Expr("mul", (three, one)))))
    assert normal(normal(one)) == normal(one)


def test_the_normal_form_reads_as_people_write() -> None:
    assert str(normal((S + 1) * (S - 1) * 4 + T // 2 * 3)) == "(4*(s**2)) + (3*(t//2)) + -4"
    assert normal(S - S) == 0
    half = Expr("floatdiv", (S, 2))
    assert normal(half) is half  # its value is computed in doubles


def moved(symbols: Mapping[str, int], by: int) -> dict[str, int]:
    return {name: size + by for name, size in symbols.items()}


def counted(trace: Trace, symbols: Mapping[str, int], formulas: Formulas = BUILT_IN) -> tuple[CountedOp, ...]:
    return count(at_sizes(trace, symbols), formulas)


@pytest.mark.parametrize("name", SIZES)
def test_numbers_that_are_bound_give_the_count_at_these_sizes(name: str) -> None:
    case = SIZES[name]
    module = case.run if isinstance(case.run, nn.Module) else Plain(case.run)
    trace = translate(torch.export.export(module.eval(), case.args, strict=False, **case.options))
    forms = Forms(trace)
    for by in (0, 1, 2, 5):
        assert forms.at(moved(dict(trace.symbols), by)) == counted(trace, moved(dict(trace.symbols), by))


def symbolic(module: nn.Module, one: dict[str, Any], other: dict[str, Any]) -> Trace:
    """A trace in which those sizes of inputs are symbols that differ between two calls."""

    def axes(first: Any, second: Any) -> Any:
        if not isinstance(first, torch.Tensor):
            return None
        pairs = enumerate(zip(first.shape, second.shape, strict=True))
        return {axis: torch.export.Dim.AUTO for axis, (left, right) in pairs if left != right}

    shapes = pytree.tree_map(axes, one, other)
    return translate(torch.export.export(module.eval(), (), one, strict=False, dynamic_shapes=shapes))


def bound(trace: Trace, inputs: dict[str, Any]) -> dict[str, int]:
    """The sizes of the symbols where the inputs are these."""
    leaves = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, torch.Tensor)]
    tensors = [value for _, value in trace.inputs if isinstance(value, Tensor)]
    found: dict[str, int] = {}
    for leaf, tensor in zip(leaves, tensors, strict=True):
        for size, wanted in zip(leaf.shape, tensor.shape, strict=True):
            if isinstance(wanted, Expr) and wanted.operator == "symbol":
                found[str(wanted.operands[0])] = size
    return found


def decoder(side: int) -> dict[str, Any]:
    return {"sample": torch.zeros(1, 4, side, side + 2)}


def unet(side: int) -> dict[str, Any]:
    text = torch.zeros(2, side, 32)
    return {"sample": torch.zeros(2, 4, side, side), "timestep": torch.tensor(1), "encoder_hidden_states": text}


CALLED: dict[str, Any] = {
    "decoder": (lambda: tiny.stable_diffusion().vae.decoder, decoder),
    "unet": (lambda: tiny.stable_diffusion().unet, unet),
}


@pytest.mark.parametrize("name", ["decoder", pytest.param("unet", marks=pytest.mark.slow)])
def test_a_symbolic_trace_costs_what_static_ones_do(name: str) -> None:
    make, called = CALLED[name]
    module = make()
    trace = symbolic(module, called(16), called(24))
    forms = Forms(trace)
    assert forms.total() is not None
    for side in (8, 32, 40):
        static = translate(torch.export.export(module.eval(), (), called(side), strict=False))
        symbols = bound(trace, called(side))
        assert macs(forms.at(symbols)) == macs(count(static)) > 0
        assert compute(forms.total() or 0, symbols) == macs(count(static))


def macs(ops: tuple[CountedOp, ...]) -> int:
    return sum((op.macs or 0) * op.times for op in ops)


def test_a_formula_of_the_users_gets_plain_numbers() -> None:
    table, seen = Formulas(), []

    @table.formula("aten.relu")
    def relu(self: tuple[int, ...]) -> int:
        seen.append(self)
        return 7 if self[0] == 4 else 1

    trace = translate(
        torch.export.export(nn.ReLU(), (torch.zeros(3, 5),), strict=False, dynamic_shapes=({0: torch.export.Dim.AUTO},))
    )
    forms = Forms(trace, table)
    assert not seen
    ((symbol, _),) = trace.symbols
    assert [macs(forms.at({symbol: size})) for size in (3, 4)] == [1, 7]
    assert seen == [(3, 5), (4, 5)]
    assert forms.total() is None
