"""Small graphs that would cost much, or that hold arguments of another kind: counted as a whole file, or one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import archives
import pytest
from archives import Json, graph, model, name, symbolic, tensor
from commands import run

import fxprof
from fxprof import limits
from fxprof.cost.count import CountedOp, count
from fxprof.errors import TargetError
from fxprof.trace import Op, Subgraph, Tensor, Trace, arithmetic
from fxprof.trace.aliasing import aliases
from fxprof.trace.conditions import computed_values, conditions_of
from fxprof.trace.dims import Dims
from fxprof.trace.guards import GuardError, Inputs, read_guard
from fxprof.trace.owners import ProgramPaths
from fxprof.trace.stacks import true_entries
from fxprof.trace.symbols import Expr, Sizes, compute, in_short
from fxprof.trace.symbols import symbols_in as symbols_in_each
from fxprof.trace.uses import unneeded

A = Expr("symbol", ("a",))
SCALED = Expr("max", (A,) * 1_000)
"""An expression that takes a while, of many operands."""


def bare(target: str, **inputs: Json) -> Json:
    """An operator of which nobody reads results."""
    named = [{"name": key, "arg": value, "kind": 1} for key, value in inputs.items()]
    return {"target": f"torch.ops.{target}", "inputs": named, "outputs": [], "metadata": {}}


def with_nodes(*nodes: Json) -> Json:
    """The model of `archives` with more operators at its end."""
    whole = model()
    whole["graph_module"]["graph"]["nodes"].extend(nodes)
    return whole


def refusal(path: Path) -> str:
    result = run("profile", path)
    assert result.exit_code == 3, result.exception
    (line, *_) = result.stderr.splitlines()
    assert len(line.replace(str(path), "")) <= 400
    return line


def counting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many times the arithmetic of expressions is called."""
    calls, own = [0], arithmetic.apply

    def apply(operator: str, numbers: Any) -> Any:
        calls[0] += 1
        return own(operator, numbers)

    monkeypatch.setattr("fxprof.trace.symbols.apply", apply)
    return lambda: calls[0]


# --- expressions


INPUTS = Inputs([Tensor((A, SCALED), "float32")], ["x"], [("x",)])


def test_a_long_sum_in_a_guard_is_one_expression() -> None:
    value, words = read_guard("+".join(["L['x'].size()[0]"] * 1100) + " > 0", INPUTS)
    assert isinstance(value, Expr)
    assert len(words) <= 1_010
    assert compute(value, {"a": 2}) == 1
    (total, _) = value.operands
    assert isinstance(total, Expr)
    assert (total.operator, len(total.operands)) == ("add", 1100)


@pytest.mark.parametrize("sign", ["+", "-", "*", "/", "//", "%", "|", "&", "^", "<<", ">>"])
def test_a_chain_of_one_sign_is_taken_from_the_left(sign: str) -> None:
    text = sign.join(["977", "3", "2", "1"])
    value, words = read_guard(text, INPUTS)
    assert compute(value, {}) == eval(text)
    assert words == f" {sign} ".join(["977", "3", "2", "1"])


def test_a_chain_as_deep_as_it_is_long_is_not_read() -> None:
    read_guard("1" + " + 1 - 1" * 99, INPUTS)
    with pytest.raises(GuardError, match="too many levels"):
        read_guard("1" + " + 1 - 1" * 101, INPUTS)


def test_guards_and_ranges_of_long_chains_are_counted(tmp_path: Path) -> None:
    whole = model()
    whole["guards_code"] = ["+".join(["L['x'].size()[0]"] * 1100) + " > 0", "1" + " + 1 - 1" * 1100]
    whole["range_constraints"] = {"+".join(["a"] * 2000): {"min_val": 3, "max_val": None}}
    assert fxprof.profile(archives.write(tmp_path / "x.pt2", whole)).macs == archives.MACS


def test_a_deep_expression_is_worked_out_without_a_call_for_each_level() -> None:
    deep: Expr = A
    for _ in range(5_000):
        deep = Expr("add", (deep, 1))
    assert compute(deep, {"a": 1}) == 5_001
    assert in_short(deep).startswith("(((")


def test_a_choice_needs_what_it_chooses_alone() -> None:
    unknown = Expr("symbol", ("u",))
    cases = tuple(Expr("case", (place, Expr("eq", (A, place)))) for place in range(500))
    assert compute(Expr("piecewise", cases), {"a": 499}) == 499
    assert compute(Expr("where", (Expr("lt", (A, 3)), 7, unknown)), {"a": 2}) == 7


def test_an_expression_is_worked_out_once_for_all_conditions_and_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counting(monkeypatch)
    guards = [
        f"{'+'.join(['L[chr].size()[1]'.replace('chr', chr(39) + 'x' + chr(39))] * 50)} > {number}" for number in range(20)
    ]
    asserted = tuple(Op("aten._assert_scalar.default", (("self", SCALED),), ()) for _ in range(500))
    conditions = conditions_of(Trace(asserted), guards, INPUTS, {})
    assert conditions.violated({"a": 3}, {}) is None
    assert calls() == 1 + 2 * len(guards)
    added = Expr("add", (A, 1))
    ops = tuple(Op("operator.add", (("a", SCALED), ("b", 1)), (added,)) for _ in range(500))
    assert computed_values(Trace(ops, symbols=(("a", 3),)), {"a": 3}) == {}
    assert calls() == 1 + 2 * len(guards) + 2


def test_a_value_that_the_program_computes_otherwise_is_used_from_then_on() -> None:
    tenth = Expr("mul", (Expr("float", ("0.1",)), A))
    ops = (
        Op("operator.mul", (("a", 0.3), ("b", 3)), (tenth,)),
        Op("operator.mul", (("a", tenth), ("b", 2)), (Expr("mul", (tenth, 2)),)),
    )
    assert computed_values(Trace(ops), {"a": 9})[tenth] == 0.3 * 3


def test_symbols_of_an_expression_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = [0]

    def symbols_in(size: object) -> Any:
        looked[0] += 1
        return symbols_in_each(size)

    monkeypatch.setattr("fxprof.trace.dims.symbols_in", symbols_in)
    tensors = tuple((f"x{place}", Tensor((SCALED,) * 60, "float32")) for place in range(50))
    program = Dims("model", Trace((), inputs=tensors), {})
    assert (program.needed(), program.symbols()) == (("a",), ("a",))
    assert looked[0] == 1


def test_many_values_of_one_expression_are_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fxprof.trace import graph as reading

    tried: list[Any] = []
    monkeypatch.setattr(reading, "solve", lambda *given: tried.append(given))
    sizes = {f"s{hint}": {"as_sym_int": symbolic("Max(a, Integer(1))", hint)} for hint in range(300)}
    fxprof.profile(archives.write(tmp_path / "x.pt2", with_nodes(bare("mylib.op.default", **sizes))))
    assert len(tried) == 1


def test_numbers_that_python_hashes_alike_are_told_apart() -> None:
    prime = 2**61 - 1
    every = [Expr("max", (A, sign * (1 + step * prime))) for step in range(50) for sign in (1, -1)]
    every += [Expr("max", (A, -1)), Expr("max", (A, -2))]
    assert len({hash(one) for one in every}) == len(set(every)) == 101
    assert hash(Expr("max", (A, True))) == hash(Expr("max", (A, 1)))


def test_an_error_is_raised_anew_each_time() -> None:
    sizes = Sizes({})
    errors = []
    for _ in range(3):
        with pytest.raises(KeyError) as caught:
            sizes.number(SCALED)
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3


# --- modules


def test_programs_in_modules_are_found_by_what_is_in_them() -> None:
    programs = ProgramPaths(["a.b", "a.b.c.d", *(f"m{place}" for place in range(1000))])
    assert [programs.around(path) for path in ("a.b", "a.b.c", "a.b.c.d.e", "m7.x", "a", "")] == [
        *("a.b", "a.b", "a.b.c.d", "m7"),
        *(None, None),
    ]


def test_modules_below_a_second_root_keep_their_paths() -> None:
    entries = [("0", "", "n.Net"), ("0", "_export_root", "n.Net"), ("0", "_export_root.a", "n.A")]
    assert [path for _, path, _ in true_entries(entries)] == ["", "a"]
    assert [path for _, path, _ in true_entries([("0", "", "n.Net"), entries[2]])] == ["", "_export_root.a"]


def test_stacks_that_weights_tell_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = [bare("mylib.op.default", a=name("p_fc_weight")) for _ in range(100)]
    body = graph(["p_fc_weight"], "p_fc_weight", inner, {"p_fc_weight": tensor(archives.HIDDEN, archives.CHANNELS)})
    stacked = bare("higher_order.wrap_with_set_grad_enabled")
    given = ({"as_bool": True}, {"as_graph": {"name": "g", "graph": body}}, name("p_fc_weight"))
    stacked["inputs"] = [{"name": "", "arg": argument} for argument in given]
    stacked["metadata"] = {"nn_module_stack": archives.ROOT}
    path = archives.write(tmp_path / "x.pt2", with_nodes(stacked))
    assert fxprof.profile(path).macs == archives.MACS
    monkeypatch.setattr(limits, "STACKED_MODULES", 100)
    assert "of 2 modules, each in the one before, and all such stacks of 101" in refusal(path)


# --- files and runs as a whole

PROGRAMS = {"models/one.json": archives.written(model()), "models/two.json": archives.written(model())}


@pytest.mark.parametrize(
    ("bound", "value", "told"),
    [
        ("GRAPH_OPERATORS", 12, "is one operator too many: a file or a captured run has at most 12"),
        ("GRAPH_VALUES", 1_200, "values, more than 1,200 with the"),
        ("STACKED_MODULES", 6, "modules, each in the one before, and all such stacks of 7"),
    ],
)
@pytest.mark.parametrize("kind", ["programs", "files"])
def test_what_is_bounded_is_bounded_for_the_whole(
    bound: str, value: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, kind: str
) -> None:
    if kind == "programs":
        path = tmp_path / "x.pt2"
        kept = {entry: data for entry, data in archives.entries().items() if not entry.startswith("models/")}
        path.write_bytes(archives.packed({**kept, **PROGRAMS}))
    else:
        whole = archives.manifest()
        (component,) = whole["components"]
        component["calls"].insert(1, {**component["calls"][0], "file": "other.pt2"})
        path = archives.write_capture(tmp_path / "run", whole)
        shutil.copy(path / "unet.pt2", path / "other.pt2")
    assert fxprof.profile(path).macs > 0
    monkeypatch.setattr(limits, bound, value)
    assert told in refusal(path)


def test_operators_of_a_manifest_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = archives.manifest()
    made = whole["components"][0]["calls"][1]
    made["ops"] = made["ops"] * 10
    path = archives.write_capture(tmp_path / "run", whole)
    monkeypatch.setattr(limits, "GRAPH_OPERATORS", 15)
    assert "is one operator too many" in refusal(path)


def test_steps_of_formulas_are_those_of_all_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = archives.manifest()
    square = {"shape": [2, 2], "dtype": "float32"}
    product = {"target": "aten.chain_matmul.default", "args": [["matrices", [square] * 10]], "outputs": [square]}
    call = {**whole["components"][0]["calls"][1], "ops": [{**product, "stack": [], "source": None}]}
    whole["components"][0]["calls"] = [call] * 3
    path = archives.write_capture(tmp_path / "run", whole)
    monkeypatch.setattr(limits, "FORMULA_STEPS", 2_999)
    assert "aten.chain_matmul.default: the graph has too many products of many operands" in refusal(path)
    monkeypatch.setattr(limits, "FORMULA_STEPS", 3_000)
    assert fxprof.profile(path).macs == 3 * 9 * 8


# --- loops in loops


MM = Op(
    "aten.mm.default", (("self", Tensor((2, 3), "float32")), ("mat2", Tensor((3, 5), "float32"))), (Tensor((2, 5), "float32"),)
)
UNKNOWN = Op("mylib.op.default", (), ())


def nested(target: str, levels: int, *ops: Op) -> Trace:
    for _ in range(levels):
        bodies = (Subgraph("one", ops), Subgraph("two", ())) if target == "cond" else (Subgraph("one", ops),)
        ops = (Op(f"higher_order.{target}", (("xs", Tensor((3, 1), "float32")),), (), subgraphs=bodies),)
    return Trace(ops)


@pytest.mark.parametrize(
    ("target", "each", "bounded"),
    [("scan", 3, False), ("map", 3, False), ("associative_scan", 6, True), ("cond", 1, True), ("wrap", 1, False)],
)
def test_rows_in_many_loops_are_made_once(target: str, each: int, bounded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    remade, own = [], CountedOp._replace

    def noted(counted: CountedOp, **more: Any) -> CountedOp:
        remade.append(counted)
        return own(counted, **more)

    monkeypatch.setattr(CountedOp, "_replace", noted)
    *around, product, unknown = count(nested(target, 6, MM, UNKNOWN))
    assert [op.times for op in around] == [each**level for level in range(6)]
    assert (product.times, product.macs, product.bounded) == (each**6, 2 * 3 * 5, bounded)
    assert (unknown.times, unknown.macs, unknown.bounded) == (each**6, None, False)
    assert len(remade) <= 1


def test_a_loop_in_one_that_is_left_is_told_for_one_iteration() -> None:
    inner = nested("scan", 2, MM).ops
    (loop, *rest) = count(Trace((*nested("while_loop", 1, *inner).parts,)))
    assert (loop.note, rest) == (f"how often it runs depends on data; one iteration costs {9 * 30} MACs", [])


def test_what_the_cheaper_branch_does_not_count_is_told_for_one_execution() -> None:
    bodies = (Subgraph("one", (MM,)), Subgraph("two", (UNKNOWN, UNKNOWN)))
    (_, choice, product) = count(nested("scan", 1, Op("higher_order.cond", (), (), subgraphs=bodies)))
    assert (choice.times, choice.note) == (3, "uncounted operators in the less expensive branch: 2")
    assert product.times == 3


# --- arguments of another kind

X: Json = {"shape": [2, 2], "dtype": "float32"}
OTHERS: list[Any] = [3, 2.5, True, "text", [2.5], [True], ["a"], [[1]], [X], {"number": "nan"}, {"number": "(1+2j)"}, [None]]


@pytest.mark.parametrize("value", OTHERS, ids=str)
@pytest.mark.parametrize(
    ("target", "arguments", "changed"),
    [
        ("aten.new_full", {"self": X}, "size"),
        ("aten.full", {}, "size"),
        ("aten.einsum", {"tensors": [X]}, "equation"),
        ("aten.einsum", {"equation": "ij->i"}, "tensors"),
        ("aten.expand", {"self": X}, "size"),
        ("aten.view", {"self": X}, "size"),
        ("aten.permute", {"self": X}, "dims"),
        ("aten.cat", {}, "tensors"),
        ("aten.split", {"self": X}, "split_size"),
        ("aten.tensordot", {"self": X, "other": X, "dims_self": [0]}, "dims_other"),
        ("aten.repeat", {"self": X}, "repeats"),
        ("aten.convolution", {"input": {**X, "shape": [1, 2, 8]}, "weight": {**X, "shape": [2, 2, 3]}}, "stride"),
        ("aten.lstm", {"input": X, "hx": [X]}, "params"),
        ("aten.matrix_power", {"self": X}, "n"),
    ],
)
def test_an_argument_of_another_kind_is_one_line(
    target: str, arguments: dict[str, Any], changed: str, value: Any, tmp_path: Path
) -> None:
    op = {"target": f"{target}.default", "args": [*map(list, {**arguments, changed: value}.items())], "outputs": [X]}
    whole = archives.manifest()
    whole["components"][0]["calls"] = [{**whole["components"][0]["calls"][1], "ops": [{**op, "stack": [], "source": None}]}]
    path = archives.write_capture(tmp_path / "run", whole)
    result = run("profile", path)
    assert result.exit_code in (0, 3), result.exception
    if result.exit_code == 3:
        assert f"{target}.default" in refusal(path)


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (bare("aten.new_full.default", self=name("x"), size={"as_int": 3}), "its arguments do not fit it (size=3, 2x3x8x8"),
        (
            bare("aten.einsum.default", equation={"as_ints": [1]}, tensors={"as_tensors": [{"name": "x"}]}),
            "its arguments do not fit it (equation=(1,), 2x3x8x8",
        ),
    ],
)
def test_the_operator_and_its_arguments_are_named(node: Json, told: str, tmp_path: Path) -> None:
    path = archives.write(tmp_path / "x.pt2", with_nodes(node))
    line = refusal(path)
    assert told in line
    assert node["target"].removeprefix("torch.ops.") in line


def test_a_rule_that_finds_nothing_wrong_says_nothing(tmp_path: Path) -> None:
    full = {"target": "aten.new_full.default", "args": [["self", X], ["size", [4]]], "outputs": [{**X, "shape": [4]}]}
    whole = archives.manifest()
    whole["components"][0]["calls"][1]["ops"] = [{**full, "stack": [], "source": None}]
    path = archives.write_capture(tmp_path / "run", whole)
    assert fxprof.profile(path).macs == 4 * archives.MACS
    full["outputs"] = [X]
    (path / "capture.json").write_text(json.dumps(whole | {"components": whole["components"]}))
    whole["components"][0]["calls"][1]["ops"] = [{**full, "stack": [], "source": None}]
    (path / "capture.json").write_text(json.dumps(whole))
    with pytest.raises(TargetError, match="its operands give 4, but the graph says 2x2"):
        fxprof.profile(path)


def test_a_chain_of_views_is_followed_once() -> None:
    tensor = Tensor((2,), "float32", strides=(1,))
    args = (("self", tensor), ("size", (2,)))
    views = tuple(Op("aten.view.default", args, (tensor,), reads=(i,), makes=(i + 1,)) for i in range(40_000))
    dead = Op("aten.relu.default", (("self", tensor),), (tensor,), reads=(0,), makes=(50_000,))
    trace = Trace((*views, dead), gives=(40_000,))
    assert {alias.of for alias in aliases(views, Sizes({})).values()} == {0}  # and not the view before, and so on
    assert unneeded(trace) == (dead,)
