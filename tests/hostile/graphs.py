"""Graphs that contradict themselves: what is missing, of another type, dangling, cyclic, or larger than any."""

from __future__ import annotations

from typing import Any

import archives
from archives import name

from hostile.case import DELETED, GRAPH, NODES, SIGNATURE, SIZES, TENSORS, Case, Change, places, program, put, replaced

CONV = (*NODES, 0)
STACK = (*CONV, "metadata", "nn_module_stack")
INPUTS = (*CONV, "inputs")
COND = (*NODES, 4)
SPECS = (*SIGNATURE, "input_specs")
CONFIG = ("config", "conv.weight")
META = (*CONFIG, "tensor_meta")


def argument(value: Any) -> Change:
    """A further argument of the first operator."""
    return lambda whole: _nodes(whole)[0]["inputs"].append({"name": "extra", "arg": value, "kind": 1})


def _nodes(whole: Any) -> Any:
    return whole["graph_module"]["graph"]["nodes"]


def _swapped(whole: Any) -> None:
    nodes = _nodes(whole)
    nodes[0], nodes[1] = nodes[1], nodes[0]


def _same_result(whole: Any) -> None:
    """The mean is given the name of the convolution, which it also takes."""
    _nodes(whole)[1]["outputs"] = [name("conv2d")]


def nested_bodies(levels: int) -> Change:
    """A `cond` in a `cond` in a `cond`."""

    def change(whole: Any) -> None:
        body = archives.branch(activated=False)
        for _ in range(levels):
            around = archives.graph(["p_fc_bias", "p_fc_weight", "mean"], "linear", [], body["tensor_values"])
            bodies = [{"as_graph": {"name": "true_graph_0", "graph": body}}] * 2
            cond = archives.node("higher_order.cond", "linear", "", {})
            cond["inputs"] = [{"name": "", "arg": value, "kind": 1} for value in (name("mean"), *bodies[:1])]
            around["nodes"] = [cond]
            body = around
        _nodes(whole)[4]["inputs"][1]["arg"]["as_graph"]["graph"] = body

    return change


def nested_arguments(levels: int) -> Change:
    """Named arguments of named arguments."""
    value: Any = {"as_int": 1}
    for _ in range(levels):
        value = {"as_string_to_argument": {"a": value}}
    return argument(value)


def _optional(levels: int) -> Change:
    value: Any = name("conv2d")
    for _ in range(levels):
        value = {"as_optional_tensor": value}
    return put(*CONV, "outputs", to=[value])


def deep_stack(levels: int) -> str:
    """Modules in modules."""
    paths = [".".join(["a"] * level) for level in range(levels)]
    return ";".join(f"L__self__{path},{path},net.A" for path in paths)


def _einsum(whole: Any) -> None:
    """An equation that no tensors fit."""
    first = _nodes(whole)[0]
    first["target"] = "torch.ops.aten.einsum.default"
    first["inputs"] = [
        {"name": "equation", "arg": {"as_string": "ab," * 2**18 + "->"}, "kind": 1},
        {"name": "tensors", "arg": {"as_tensors": [{"name": "x"}]}, "kind": 1},
    ]


def _endless(whole: Any) -> None:
    """Sizes that tensors may have, each by itself."""
    tensors = whole["graph_module"]["graph"]["tensor_values"]
    for tensor, sizes in (("p_conv_weight", (1, 2**62)), ("conv2d", (2**62,))):
        tensors[tensor] = archives.tensor(*sizes)


def _everything_null(whole: Any) -> Any:
    return dict.fromkeys(whole)


CASES: dict[str, Case] = {
    # --- the whole
    "scalar": (program(replaced(3)), "the program is 3, not an object"),
    "text for a program": (program(replaced("graph")), "the program is 'graph', not an object"),
    "null program": (program(lambda _whole: b"null"), "the program is None, not an object"),
    "list": (program(replaced([])), "the program is a list, not an object"),
    "empty object": (program(replaced({"a": 1})), "schema_version is None, not an object"),
    "null everywhere": (program(_everything_null), "schema_version is None, not an object"),
    "no schema": (program(put("schema_version", to=DELETED)), "schema_version is None, not an object"),
    "newer schema": (program(put("schema_version", "major", to=9)), "it is of schema 9.20, written by torch 2.13.0"),
    "older schema": (program(put("schema_version", "major", to=7)), "which torch itself no longer reads"),
    "schema of 10,000 digits": (program(put("schema_version", "major", to=10**4000)), "schema_version.major is 1000000"),
    "schema true": (program(put("schema_version", "major", to=True)), "schema_version.major is True, not an integer"),
    "schema text": (program(put("schema_version", "major", to="8")), "schema_version.major is '8', not an integer"),
    "torch version that steers": (program(put("torch_version", to="\x1b[31m" * 900)), "torch_version is '\\x1b[31m"),
    "no graph module": (program(put("graph_module", to=DELETED)), "graph_module is None, not an object"),
    "graph a list": (program(put(*GRAPH, to=[])), "graph is a list, not an object"),
    "graph null": (program(put(*GRAPH, to=None)), "graph is None, not an object"),
    "nodes null": (program(put(*NODES, to=None)), "graph.nodes is None, not a list"),
    "nodes an object": (program(put(*NODES, to={"a": 1})), "graph.nodes is an object, not a list"),
    "node null": (program(put(*CONV, to=None)), "graph.nodes[0] is None, not an object"),
    "signature null": (program(put(*SIGNATURE, to=None)), "signature is None, not an object"),
    "inputs missing": (program(put(*GRAPH, "inputs", to=DELETED)), "graph.inputs is None, not a list"),
    "tensors zero": (program(put(*TENSORS, to=0)), "graph.tensor_values is 0, not an object"),
    "tensors false": (program(put(*TENSORS, to=False)), "graph.tensor_values is False, not an object"),
    "ranges a list": (program(put("range_constraints", to=[])), "range_constraints is a list, not an object"),
    "range of text": (program(put("range_constraints", to={"s1": {"min_val": "x"}})), "range_constraints is 'x'"),
    "modules false": (program(put("graph_module", "module_call_graph", to=False)), "module_call_graph is False, not a list"),
    "module a number": (program(put("graph_module", "module_call_graph", to=[3])), "module_call_graph is 3, not an object"),
    "metadata text": (program(put(*CONV, "metadata", to="")), "graph.nodes[0].metadata is '', not an object"),
    # --- names
    "target null": (program(put(*CONV, "target", to=None)), "graph.nodes[0].target is None, not a name"),
    "target empty": (program(put(*CONV, "target", to="")), "graph.nodes[0].target is '', not a name"),
    "target of a megabyte": (program(put(*CONV, "target", to="t" * 2**20)), "graph.nodes[0].target is 'ttt"),
    "target a list": (program(put(*CONV, "target", to=["a"])), "graph.nodes[0].target is a list, not a name"),
    "argument without a name": (program(put(*INPUTS, 0, "name", to=None)), "graph.nodes[0].inputs.name is None"),
    "result of a megabyte": (program(put(*CONV, "outputs", 0, to=name("n" * 2**20))), "graph.nodes[0].outputs is 'nnn"),
    "parameter of a megabyte": (program(put(*SPECS, 0, "parameter", "parameter_name", to="p" * 2**20)), "parameter_name is 'p"),
    "unknown alternative": (program(argument({"as_nothing": 1})), "is 'as_nothing', which is not a kind of argument"),
    "two alternatives": (program(argument({"as_int": 1, "as_bool": True})), "has 2 fields, but needs exactly one"),
    "no alternative": (program(argument({})), "has 0 fields, but needs exactly one"),
    # --- references
    "undefined tensor": (program(put(*INPUTS, 0, "arg", to=name("y"))), "uses 'y', which is not defined before it"),
    "later tensor": (program(_swapped), "graph.nodes[0] uses 'conv2d', which is not defined before it"),
    "own result": (program(put(*INPUTS, 0, "arg", to=name("conv2d"))), "uses 'conv2d', which is not defined before it"),
    "same result twice": (program(_same_result), "graph.nodes[1].outputs defines 'conv2d' a second time"),
    "same input twice": (program(put(*GRAPH, "inputs", 0, to=name("x"))), "graph.inputs[4] defines 'x' a second time"),
    "input without shape": (program(put(*TENSORS, "x", to=DELETED)), "uses the tensor 'x', which has no shape"),
    "input that is not there": (
        program(put(*SPECS, 4, "user_input", "arg", to=name("ghost"))),
        "uses 'ghost', which is not",
    ),
    "parameter that is not there": (
        program(put(*SPECS, 0, "parameter", "arg", to={"name": "g"})),
        "uses 'g', which is not",
    ),
    "tensor named by a list": (
        program(put(*INPUTS, 0, "arg", to={"as_tensor": {"name": []}})),
        "uses a list, which is not",
    ),
    "number named by a list": (
        program(argument({"as_sym_int": {"as_name": {}}})),
        "uses the number an object, which is not defined",
    ),
    "undefined number": (program(argument({"as_sym_int": {"as_name": "u0"}})), "uses the number 'u0', which is not defined"),
    "body of outer tensors": (
        program(put(*COND, "inputs", 1, "arg", "as_graph", "graph", "nodes", 0, "inputs", 0, "arg", to=name("x"))),
        "true_fn.graph.nodes[0] uses 'x', which is not defined before it",
    ),
    "body a list": (program(put(*COND, "inputs", 1, "arg", "as_graph", to=[])), "graph.nodes[4].true_fn is a list"),
    "result undefined": (
        program(put(*GRAPH, "outputs", to=[name("ghost")])),
        "graph.outputs[0] uses 'ghost', which is not defined",
    ),
    # --- nesting
    "40 bodies": (program(nested_bodies(40)), "nests"),
    "130 bodies": (program(nested_bodies(130)), "nests too deeply"),
    "nested arguments": (program(nested_arguments(40)), "nests"),
    "400 nested arguments": (program(nested_arguments(400)), "nests"),
    "nested optional results": (program(_optional(400)), "uses 'conv2d', which is not defined before it"),
    "1,000 modules deep": (program(put(*STACK, to=deep_stack(1000))), "nn_module_stack"),
    "3,000 modules deep": (program(put(*STACK, to="L__self__,,A;k," + ".".join("a" * 3000) + ",net.B")), "levels deep"),
    "module of a megabyte": (
        program(put(*STACK, to=f"L__self__a,{'a' * 2**20},net.A")),
        "nn_module_stack holds 1,048,593 characters",
    ),
    "class of a megabyte": (
        program(put(*STACK, to=f"L__self__a,a,net.{'A' * 2**20}")),
        "nn_module_stack holds 1,048,593 characters",
    ),
    "stack a number": (program(put(*STACK, to=3)), "nn_module_stack is 3, not a text"),
    "stack zero": (program(put(*STACK, to=0)), "nn_module_stack is 0, not a text"),
    "source a list": (program(put(*CONV, "metadata", "stack_trace", to=[])), "stack_trace is a list, not a text"),
    "deep parameter": (
        program(put(*SPECS, 0, "parameter", "parameter_name", to=".".join("p" * 1500))),
        "parameter_name names a module 1499 levels deep",
    ),
    "deep list of modules": (
        program(put("graph_module", "module_call_graph", to=[{"fqn": "a." * 1500}])),
        "module_call_graph.fqn names a module 1501 levels deep",
    ),
    # --- shapes that fit no operator
    "product without operands": (program(put(*CONV, "target", to="torch.ops.aten.bmm.out")), "aten.bmm.out: the formula"),
    "convolution of no weight": (program(put(*INPUTS, 1, "arg", to={"as_none": True})), "aten.conv2d.default: the formula"),
    "einsum of a megabyte": (program(_einsum), "aten.einsum.default: the formula"),
    "work beyond all computers": (
        program(_endless),
        "weights.config records 'conv.weight' as 4x3x3x3, but the graph",
    ),
    "negative size": (program(put(*SIZES, 0, to={"as_int": -1})), "sizes hold -1, which is not a size"),
    "size true": (program(put(*SIZES, 0, to={"as_int": True})), "sizes is True, not an integer of 64 bits"),
    "size a float": (program(put(*SIZES, 0, to={"as_int": 2.0})), "sizes is 2.0, not an integer of 64 bits"),
    "size as a float": (program(put(*SIZES, 0, to={"as_float": 2.0})), "sizes hold 2.0, which is not a size"),
    "size null": (program(put(*SIZES, 0, to=None)), "sizes is None, not an object"),
    "size of 2**63": (program(put(*SIZES, 0, to={"as_int": 2**63})), "more elements than fit in 64 bits"),
    "size of 4,000 digits": (program(put(*SIZES, 0, to={"as_int": 10**4000})), "is 10000"),
    "sizes whose product is 2**64": (program(put(*SIZES, to=[{"as_int": 2**16}] * 4)), "more elements than fit in 64 bits"),
    "1,000 sizes": (program(put(*SIZES, to=[{"as_int": 1}] * 1000)), "has 1,000 sizes"),
    "sizes null": (program(put(*SIZES, to=None)), "sizes is None, not a list"),
    # --- weights
    "weights a list": (places(replaced([])), "weights is a list, not an object"),
    "weights null": (places(lambda _whole: b"null"), "weights is None, not an object"),
    "weights without a table": (places(replaced({"a": 1})), "weights.config is None, not an object"),
    "weight null": (places(put(*CONFIG, to=None)), "weights.config['conv.weight'] is None, not an object"),
    "weight without a place": (places(put(*CONFIG, "path_name", to=DELETED)), "weights.path_name is None, not a name"),
    "weight at a megabyte": (places(put(*CONFIG, "path_name", to="../" * 2**18)), "weights.path_name is '../../"),
    "weight meta zero": (places(put(*META, to=0)), "weights.tensor_meta is 0, not an object"),
    "weight sizes an object": (places(put(*META, "sizes", to={"a": 1})), "weights.sizes is an object, not a list"),
    "weight size a text": (places(put(*META, "sizes", to=["4"])), "weights.sizes is '4', not an object"),
    "weight offset a list": (places(put(*META, "storage_offset", to=[])), "weights.storage_offset is a list, not an object"),
}


def _long_expressions(whole: Any) -> None:
    """One size of 20,000 characters, which a thousand operators work on."""
    sum_of_all = "Add(" + "s1, " * 4980 + "s1)"
    tensors = whole["graph_module"]["graph"]["tensor_values"]
    tensors["x"]["sizes"] = [archives.symbolic("s1")] * 4
    tensors["conv2d"]["sizes"] = [archives.symbolic(sum_of_all, None)] * 60
    first = _nodes(whole)[0]
    for place in range(1000):
        tensors[f"c{place}"] = tensors["x"]
        inputs = [{"name": key, "arg": name("conv2d"), "kind": 1} for key in ("input", "weight")]
        one = {**first, "inputs": inputs, "outputs": [name(f"c{place}")]}
        _nodes(whole).append(one)


def _many_modules(whole: Any) -> None:
    """Ten thousand modules of 4,000 characters, a hundred levels deep, no two of which share a parent."""
    paths = [".".join([f"{place:040}"[:39]] + ["a" * 38] * 99) for place in range(10_000)]
    whole["graph_module"]["module_call_graph"] = [{"fqn": path, "signature": None} for path in paths]


def _many_symbols(whole: Any) -> None:
    """Every size a symbol of its own, none of which has a value."""
    sizes = [archives.symbolic(f"s{place}", None) for place in range(64)]
    graph = whole["graph_module"]["graph"]
    for place in range(300):
        graph["inputs"].append(name(f"y{place}"))
        named = [{"as_expr": {"expr_str": f"s{place}x{axis}", "hint": None}} for axis in range(len(sizes))]
        graph["tensor_values"][f"y{place}"] = {**graph["tensor_values"]["x"], "sizes": named, "strides": None}
        whole["graph_module"]["signature"]["input_specs"].append({"user_input": {"arg": name(f"y{place}")}})


COSTLY: dict[str, Case] = {
    "stack of two megabytes": (
        program(put(*STACK, to="L__self__,,x,a.b;" * 2**17)),
        "nn_module_stack holds 2,228,224 characters",
    ),
    "stack of commas": (program(put(*STACK, to="L__self__a" + ",a" * 2**20)), "nn_module_stack"),
    "stack of semicolons": (program(put(*STACK, to=",a.b;" * 2**19)), "nn_module_stack holds 2,621,440 characters"),
    "long expressions": (program(_long_expressions), "x.pt2: "),
    "many deep modules": (program(_many_modules), "x.pt2: "),
    "many symbols": (program(_many_symbols), "x.pt2 does not give the size of s0x0, s0x1, "),
}
"""Graphs that would take more time or memory than there is, if they were let."""
