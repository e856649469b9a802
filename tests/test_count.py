"""The counting pass on traces made by hand. No torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fxprof.cost.count import CountedOp, count
from fxprof.cost.registry import BUILT_IN, Formulas, Shape
from fxprof.cost.traffic import Traffic
from fxprof.errors import FormulaError
from fxprof.trace import Dim, Expr, Frame, Op, Subgraph, Tensor, Trace, Value

ROOT = Frame("", "Net")
BLOCK = (ROOT, Frame("block", "Block"))
N = Expr("symbol", ("s0",))


def tensor(*shape: Dim) -> Tensor:
    return Tensor(shape, "float32")


def mm(rows: Dim, inner: int, columns: int, **fields: Any) -> Op:
    return Op(
        "aten.mm.default", (("self", tensor(rows, inner)), ("mat2", tensor(inner, columns))), (tensor(rows, columns),), **fields
    )


def holder(name: str, *bodies: tuple[str, tuple[Op, ...]], args: tuple[tuple[str, Value], ...] = (), **fields: Any) -> Op:
    return Op(f"higher_order.{name}", args, (), subgraphs=tuple(Subgraph(*body) for body in bodies), **fields)


def run(*ops: Op, formulas: Formulas = BUILT_IN, **symbols: int) -> list[CountedOp]:
    return list(count(Trace(ops, symbols=tuple(symbols.items())), formulas))


def costs(counted: list[CountedOp]) -> list[tuple[str, int | None, int, bool]]:
    return [(op.target.split(".")[1], op.macs, op.times, op.bounded) for op in counted]


def test_an_operator_keeps_its_place() -> None:
    (found,) = run(mm(3, 5, 4, stack=BLOCK, source="net.py:7"))
    assert found == CountedOp(
        "aten.mm.default",
        "matmul",
        BLOCK,
        "net.py:7",
        3 * 5 * 4,
        1,
        False,
        "",
        "3x5, 5x4 -> 3x4",
        "float32",
        traffic=Traffic(4 * (15 + 20), 4 * 12),
    )


def test_what_contracts_nothing_costs_zero_and_what_is_unknown_does_not() -> None:
    free, unknown, inverse = run(
        *(
            Op(target, (("self", tensor(3, 3)),), (tensor(3, 3),))
            for target in ("aten.relu_.default", "my.op.default", "aten.linalg_svd.default")
        )
    )
    assert (free.kind, free.macs, free.note) == ("elementwise", 0, "")
    assert (unknown.kind, unknown.macs, unknown.note) == ("unknown", None, "no formula")
    assert (inverse.kind, inverse.macs) == ("unknown", None)


# --- shapes


def test_shapes_are_those_of_tensors_alone_in_the_order_of_the_schema() -> None:
    tensors = (("tensors", (tensor(2, 3), (tensor(3, 4),))), ("alpha", 2), ("bias", None), ("scale", tensor()))
    op = Op("my.op.default", tensors, (tensor(2, 4), 7, tensor(5)))
    assert [found.shapes for found in run(op)] == ["2x3, 3x4, scalar -> 2x4, 5"]


def test_sizes_of_shapes_are_evaluated_and_unknown_ones_named() -> None:
    size = Expr("mul", (8, Expr("symbol", ("s0",))))
    op = mm(3, 5, 4)
    op = replace(op, args=(("self", Tensor((size, 5), "float32")), op.args[1]))
    assert [found.shapes for found in run(op, s0=2)] == ["16x5, 5x4 -> 3x4"]
    assert [found.shapes for found in run(replace(op, target="my.op"))] == ["8*s0x5, 5x4 -> 3x4"]


def test_what_costs_nothing_has_shapes_too() -> None:
    relu = Op("aten.relu.default", (("self", tensor(3, 3)),), (tensor(3, 3),))
    assert [(found.macs, found.shapes) for found in run(relu, mm(0, 5, 4))] == [(0, "3x3 -> 3x3"), (0, "0x5, 5x4 -> 0x4")]


# --- symbols


def test_symbols_are_evaluated() -> None:
    assert run(mm(Expr("mul", (8, N)), 5, 4), s0=16)[0].macs == 8 * 16 * 5 * 4


def test_an_unbound_symbol_leaves_the_operator_uncounted() -> None:
    (found,) = run(mm(Expr("symbol", ("u0",)), 5, 4))
    assert (found.kind, found.macs, found.note) == ("matmul", None, "a size depends on u0, which has no value")


def test_only_the_sizes_that_the_formula_reads_need_values() -> None:
    linear = (("input", tensor(3, 5)), ("weight", tensor(4, 5)), ("bias", tensor(Expr("symbol", ("u0",)))))
    assert run(Op("aten.linear.default", linear, (tensor(3, 4),)))[0].macs == 3 * 5 * 4


# --- binding


def test_a_formula_gets_what_it_names() -> None:
    seen: dict[str, object] = {}
    table = Formulas()

    @table.formula("my.op")
    def _(
        *, x: Shape, whole: Tensor, many: tuple[Shape, ...], number: int, absent: Shape | None, out: Shape, outs: object
    ) -> int:
        seen.update(x=x, whole=whole, many=many, number=number, absent=absent, out=out, outs=outs)
        return 7

    args: tuple[tuple[str, Value], ...] = (
        ("x", tensor(N, 2)),
        ("whole", tensor(3, N)),
        ("many", (tensor(1), tensor(N))),
        ("number", N),
    )
    (found,) = run(Op("my.op.default", args, (tensor(N), None, 5)), formulas=table, s0=9)
    assert (found.kind, found.macs) == ("custom", 7)
    assert seen == {
        "x": (9, 2),
        "whole": Tensor((3, 9), "float32"),
        "many": ((1,), (9,)),
        "number": 9,
        "absent": None,
        "out": (9,),
        "outs": ((9,), None, 5),
    }


@pytest.mark.parametrize("wrong", [-1, 2.0, None, True, "7"])
def test_a_formula_that_gives_no_count_is_an_error(wrong: Any) -> None:
    table = Formulas()
    table.formula("my.op")(lambda x: wrong)
    with pytest.raises(
        FormulaError, match=rf"my\.op\.default: the formula <lambda>\(x=\(3, 4\)\) from test_count gave {wrong!r}"
    ):
        run(Op("my.op.default", (("x", tensor(3, 4)),), ()), formulas=table)


def test_a_formula_that_raises_is_an_error_with_its_cause() -> None:
    with pytest.raises(
        FormulaError, match=r"aten\.mm\.default: the formula matmul\(self=\(\), out=\(\)\) from fxprof failed: IndexError"
    ) as caught:
        run(Op("aten.mm.default", (("self", tensor()),), (tensor(),)))
    assert isinstance(caught.value.__cause__, IndexError)


def test_a_misnamed_parameter_is_pointed_out() -> None:
    table = Formulas()
    table.formula("my.op")(lambda imput: imput[0])
    with pytest.raises(FormulaError, match=r"it was called without imput, with input, scale"):
        run(Op("my.op.default", (("input", tensor(3, 4)), ("scale", 2.0)), ()), formulas=table)


# --- bodies


@pytest.mark.parametrize(
    "name", ["wrap", "wrap_with_set_grad_enabled", "wrap_with_autocast", "invoke_subgraph", "checkpoint", "wrap_of_tomorrow"]
)
def test_a_wrapped_body_is_entered_and_inherits_the_stack_that_it_lacks(name: str) -> None:
    inner = (*BLOCK, Frame("block.fc", "Linear"))
    found = run(holder(name, ("body", (mm(3, 5, 4), mm(1, 2, 3, stack=inner))), stack=BLOCK))
    assert costs(found) == [(name, 0, 1, False), ("mm", 60, 1, False), ("mm", 6, 1, False)]
    assert [op.stack for op in found] == [BLOCK, BLOCK, inner]
    assert found[0].kind == "control"


def test_bodies_in_bodies_inherit_from_the_nearest() -> None:
    found = run(holder("wrap", ("f", (holder("wrap", ("f", (mm(3, 5, 4),))),)), stack=BLOCK))
    assert [op.stack for op in found] == [BLOCK] * 3


@pytest.mark.parametrize("order", [1, -1])
def test_of_a_cond_the_dearer_branch_is_counted_as_a_bound(order: int) -> None:
    relu = Op("aten.relu.default", (), ())
    branches = [("true_fn", (mm(1, 2, 3),)), ("false_fn", (mm(3, 5, 4), relu))][::order]
    found = run(holder("cond", *branches))
    assert costs(found) == [("cond", 0, 1, False), ("mm", 60, 1, True), ("relu", 0, 1, False)]
    assert found[1].note == "the more expensive branch of a cond"


def test_branches_of_one_cost_are_exact() -> None:
    found = run(holder("cond", ("true_fn", (mm(1, 2, 3),)), ("false_fn", (mm(3, 2, 1),))))
    assert costs(found) == [("cond", 0, 1, False), ("mm", 6, 1, False)]


def test_a_cheaper_branch_with_something_unknown_may_be_the_dearer_one() -> None:
    found = run(holder("cond", ("true_fn", (mm(1, 2, 3),)), ("false_fn", (Op("my.op.default", (), ()),))))
    assert costs(found) == [("cond", None, 1, False), ("mm", 6, 1, True)]
    assert found[0].note == "uncounted operators in the less expensive branch: 1"


@pytest.mark.parametrize("name", ["scan", "map", "map_impl"])
def test_a_loop_multiplies_its_body(name: str) -> None:
    inner = holder("scan", ("combine_fn", (mm(1, 2, 3), Op("my.op.default", (), ()))), args=(("xs", (tensor(5, 2),)),))
    found = run(holder(name, ("body", (mm(3, 5, 4), inner)), args=(("xs", (tensor(N, 2), tensor(N))),)), s0=7)
    assert costs(found) == [
        (name, 0, 1, False),
        ("mm", 60, 7, False),
        ("scan", 0, 7, False),
        ("mm", 6, 35, False),
        ("op", None, 35, False),
    ]


def test_a_loop_over_nothing_runs_nothing() -> None:
    assert costs(run(holder("scan", ("f", (mm(3, 5, 4),)), args=(("xs", (tensor(0, 2),)),)))) == [("scan", 0, 1, False)]


def test_a_branch_in_a_loop_is_weighed_with_its_repetitions() -> None:
    loop = holder("scan", ("f", (mm(1, 2, 3),)), args=(("xs", (tensor(100),)),))
    found = run(holder("cond", ("true_fn", (mm(3, 5, 4),)), ("false_fn", (loop,))))
    assert costs(found) == [("cond", 0, 1, False), ("scan", 0, 1, False), ("mm", 6, 100, True)]


def test_an_associative_scan_is_bounded() -> None:
    found = run(holder("associative_scan", ("f", (mm(3, 5, 4),)), args=(("xs", (tensor(7, 3, 5),)),)))
    assert costs(found) == [("associative_scan", 0, 1, False), ("mm", 60, 14, True)]


@pytest.mark.parametrize(
    ("op", "note"),
    [
        (holder("scan", ("f", (mm(3, 5, 4),)), args=(("xs", ()),)), "it has no xs, so the number of its runs is unknown"),
        (
            holder("scan", ("f", (mm(3, 5, 4),)), args=(("xs", (tensor(Expr("symbol", ("u0",))),)),)),
            "its length depends on u0, which has no value",
        ),
        (
            holder("while_loop", ("cond_fn", ()), ("body_fn", (mm(30, 50, 4),))),
            "how often it runs depends on data; one iteration costs 6,000 MACs",
        ),
        (
            holder("while_loop", ("cond_fn", ()), ("body_fn", (mm(3, 5, 4), Op("my.op.default", (), ())))),
            "how often it runs depends on data; one iteration costs at least 60 MACs",
        ),
        (holder("cond"), "the graph does not contain its body"),
        (holder("cond", ("true_fn", (mm(3, 5, 4),))), "the graph does not contain both branches"),
        (holder("wrap", ("f", ()), ("g", ())), "it has 2 bodies, and it is unknown which of them run"),
        (holder("of_tomorrow", ("f", (mm(3, 5, 4),))), "a higher-order operator that fxprof does not know"),
    ],
)
def test_what_cannot_be_followed_is_uncounted_and_says_why(op: Op, note: str) -> None:
    (found,) = run(op)
    assert (found.macs, found.note) == (None, note)


def test_flexible_attention_is_counted_whole() -> None:
    args = tuple((name, tensor(2, 8, 10, 16)) for name in ("query", "key", "value"))
    attention = Op(
        "higher_order.flex_attention", args, (tensor(2, 8, 10, 16),), subgraphs=(Subgraph("score_mod", (mm(3, 5, 4),)),)
    )
    assert [(op.kind, op.macs) for op in run(attention)] == [("attention", 2 * 8 * 10 * 10 * (16 + 16))]


def test_a_hundred_thousand_operators_are_counted() -> None:
    relu = Op("aten.relu.default", (("self", tensor(3, 5)),), (tensor(3, 5),), BLOCK)
    trace = Trace((mm(3, 5, 4, stack=BLOCK), relu) * 50_000)
    assert sum(op.macs or 0 for op in count(trace)) == 50_000 * 60
