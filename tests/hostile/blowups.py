"""Small files that would cost much: what they hold is sound, and there is more of it than anybody ever needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import archives
import profiles
from archives import Json, name, node, symbolic, tensor

from fxprof.result.saved.write import dumps
from hostile.case import GRAPH, NODES, RUN, SIGNATURE, Case, Change, Make, file, manifest, program, put

SPECS = (*SIGNATURE, "input_specs")


def _at(whole: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        whole = whole[key]
    return whole


def _free(row: Json) -> Json:
    """An operator of a profile that neither computes nor moves anything."""
    return {**{key: value for key, value in row.items() if key != "traffic"}, "macs": 0}


def _input(whole: Json, called: str, *sizes: int) -> None:
    """One more input of the graph."""
    graph = _at(whole, GRAPH)
    graph["tensor_values"][called] = tensor(*sizes)
    graph["inputs"].append(name(called))
    _at(whole, SPECS).append({"user_input": {"arg": name(called)}})


def _op(whole: Json, target: str, inputs: dict[str, Json], *sizes: int, called: str = "made") -> None:
    """One more operator, and the sizes of its result."""
    _at(whole, NODES).append(node(target, called, archives.ROOT, inputs))
    _at(whole, GRAPH)["tensor_values"][called] = tensor(*sizes)


def _tensors(count: int, called: str = "m") -> Json:
    return {"as_tensors": [{"name": called}] * count}


def product(target: str, argument: str, count: int, times: int = 1) -> Make:
    """Products of so many square matrices."""

    def change(whole: Json) -> None:
        _input(whole, "m", 4, 4)
        for place in range(times):
            _op(whole, target, {argument: _tensors(count)}, 4, 4, called=f"made{place}")

    return program(change)


def einsum(equation: str, count: int, times: int = 1, **more: Json) -> Make:
    """Contractions of so many square matrices by one equation."""

    def change(whole: Json) -> None:
        _input(whole, "m", 4, 4)
        for place in range(times):
            inputs = {"equation": {"as_string": equation}, "tensors": _tensors(count), **more}
            _op(whole, "aten.einsum.default", inputs, called=f"made{place}")

    return program(change)


def _labels(count: int) -> str:
    """An equation of so many labels, each once."""
    labels = [chr(0x4E00 + place) for place in range(count)]
    return ",".join(one + other for one, other in zip(labels[::2], labels[1::2], strict=True)) + "->"


def _wide(whole: Json) -> None:
    """An operator that nobody knows, on 150,000 tensors of 64 sizes, which is written out in a report."""
    _input(whole, "b", *[1] * 62, 2**30, 2**30)
    _op(whole, "mylib.op.default", {"a": _tensors(150_000, "b")}, 1)


def expressions(of: Callable[[int], str], count: int, hint: int | None = 2) -> Make:
    """So many inputs, the size of each an expression of its own."""

    def change(whole: Json) -> None:
        for place in range(count):
            _input(whole, f"i{place}", 1)
            _at(whole, GRAPH)["tensor_values"][f"i{place}"]["sizes"] = [symbolic(of(place), hint)]

    return program(change)


def _nested(place: int) -> str:
    text = f"Symbol('s{place}')"
    for _ in range(190):
        text = f"Max({text}, s1, Integer({place}))"
    return text


def _fractions(place: int) -> str:
    """A sum whose common denominator has thousands of digits."""
    return "Add(" + ", ".join(f"Rational({place + at}, {2 * at + 3})" for at in range(700)) + ", Symbol('s1'))"


def _symbols(place: int) -> str:
    return "Add(" + ", ".join(f"s{place}_{at}" for at in range(1500)) + ")"


def guards(text: Callable[[int], str], count: int) -> Make:
    """So many guards."""
    return program(put("guards_code", to=[text(place) for place in range(count)]))


def _ranges(whole: Json) -> None:
    whole["range_constraints"] = {f"s{place}": {"min_val": 3, "max_val": 9} for place in range(300_000)}


def _stacks(count: int) -> Change:
    """So many operators, each with a stack of its own that holds nothing but signs."""

    def change(whole: Json) -> None:
        for place in range(count):
            _op(whole, "aten.relu.default", {"self": name("x")}, 2, 3, 8, 8, called=f"r{place}")
            _at(whole, NODES)[-1]["metadata"] = {"nn_module_stack": f"{place};" * 14_000}

    return change


def _operators(count: int) -> Change:
    def change(whole: Json) -> None:
        graph = _at(whole, GRAPH)
        _input(whole, "number")
        for place in range(count):
            made = {"target": "torch.ops.aten.relu.default", "inputs": [{"name": "self", "arg": name("number")}]}
            graph["nodes"].append({**made, "outputs": [name(f"r{place}")], "metadata": {}})
            graph["tensor_values"][f"r{place}"] = {"dtype": archives.FLOAT32, "sizes": []}

    return change


def stack(text: Callable[[], str]) -> Make:
    """The stack of the first operator; made when it is needed, for it is long."""
    return program(put(*NODES, 0, "metadata", "nn_module_stack", to=text()))


def trace(text: Callable[[], str]) -> Make:
    """The same of its stack trace."""
    return program(put(*NODES, 0, "metadata", "stack_trace", to=text()))


# --- saved profiles


def saved(change: Callable[[Json], object]) -> Make:
    """A saved profile that is changed."""

    def make(folder: Path) -> Path:
        whole = json.loads(dumps(profiles.uncounted()))
        change(whole)
        return file(json.dumps(whole).encode(), "x.json")(folder)

    return make


def text(content: Callable[[], bytes]) -> Make:
    """A saved profile of these bytes, made when it is needed."""
    return file(content(), "x.json")


FIRST = ("components", 0)
ROW = (*FIRST, "calls", 0, "ops", 0)
_FACE = "\N{GRINNING FACE}".encode()


def empty(place: int) -> Json:
    """A component that is never called, in a saved profile."""
    totals = {"params": 0, "macs": 0, "uncounted": 0, "bounded": 0}
    tree = {"path": "", "class_name": "C", "params": 0, "total_params": 0, "calls": 0, "self_macs": 0, "total_macs": 0}
    return {"name": f"c{place}", "class_name": "C", **totals, "calls": [], "tree": {**tree, "uncounted": 0, "children": []}}


def _long(*path: str | int, count: int) -> Make:
    return saved(put(*path, to="A" * count))


def _captured(place: int) -> Json:
    parts: Json = {"tiling": False, "slicing": False, "calls": [], "aliases": {}, "modules": [" Net 0"]}
    return {"name": f"c{place}", "class_name": "Net", **parts}


CASES: dict[str, Case] = {
    "product of 3,000 matrices": (
        product("aten.chain_matmul.default", "matrices", 3000),
        "ValueError: a product of 3,000 matrices; the limit is 256",
    ),
    "multi_dot of 3,000 matrices": (
        product("aten.linalg_multi_dot.default", "tensors", 3000),
        "ValueError: a product of 3,000 matrices; the limit is 256",
    ),
    "einsum of 20,000 labels": (
        einsum(_labels(1800), 900),
        "ValueError: an equation with more labels than torch has letters, 52",
    ),
    "einsum of 10,000 operands": (
        einsum(",".join(["ij"] * 10_000) + "->", 10_000),
        "ValueError: an equation of 10,000 operands; the limit is 1,000",
    ),
    "class of 5 MB in a profile": (
        _long(*FIRST, "class_name", count=5_000_000),
        "components[0].class_name holds 5,000,000 characters, more than 4,000",
    ),
    "kind of 5 MB in a profile": (
        _long(*ROW, "kind", count=5_000_000),
        "components[0].calls[0].ops[0].kind holds 5,000,000 characters, more than 4,000",
    ),
    "class of a module of 5 MB in a profile": (
        _long(*FIRST, "tree", "class_name", count=5_000_000),
        "components[0].tree.class_name holds 5,000,000 characters, more than 4,000",
    ),
    "remark of 5 MB in a profile": (
        saved(put("remarks", to=["a b " * 1_250_000])),
        "remarks holds a text of 5,000,000 characters, more than 1,048,576",
    ),
    "prompt of 5 MB in a profile": (
        saved(put("workload", "prompt", to="a b " * 1_250_000)),
        "workload holds a text of 5,000,000 characters, more than 1,048,576",
    ),
    "2,000 components in a profile": (
        saved(lambda whole: whole["components"].extend(map(empty, range(2000)))),
        "components are more than 1,000",
    ),
    "2,000 components in a manifest": (
        manifest(lambda whole: whole["components"].extend(map(_captured, range(2000)))),
        "components are 2,001, more than 1,000",
    ),
    "prompt of 5 MB in a manifest": (
        manifest(put("workload", "prompt", to="a" * 5_000_000)),
        "workload.prompt holds a text of 5,000,000 characters, more than 1,048,576",
    ),
    "note of 5 MB in a manifest": (
        manifest(put(*RUN, "note", to="a" * 5_000_000)),
        "note holds a text of 5,000,000 characters, more than 1,048,576",
    ),
}
"""Those that are refused before they cost anything."""

COSTLY: dict[str, Case] = {
    "many products of 200 matrices": (
        product("aten.chain_matmul.default", "matrices", 200, times=1000),
        "aten.chain_matmul.default: the graph has too many products of many operands",
    ),
    "nested expressions": (
        expressions(_nested, 500, None),
        "sizes holds one expression too many: together they have more than",
    ),
    "sums of fractions": (expressions(_fractions, 40), "x.pt2 does not give the size of s1"),
    "profile of wide characters": (
        text(lambda: b'{"format": 2, "a": "' + _FACE + b"a" * 60_000_000 + b'"}'),
        "x.json: it takes 228 MiB of memory as a text, more than 192 MiB, because some characters take several bytes",
    ),
}
"""Those of a few megabytes that take a second to make, too."""

SLOW: dict[str, Case] = {
    "many einsums": (
        einsum(",".join(["ij"] * 900) + "->", 900, times=1000),
        "aten.einsum.default: the graph has too many products of many operands",
    ),
    "product of a million matrices": (product("aten.chain_matmul.default", "matrices", 1_000_000), "a product of 1,000,000"),
    "many symbols in inputs": (expressions(_symbols, 1000, None), "sizes holds one expression too many: together they have"),
    "many guards": (guards("L['x'].size()[0] % {} >= 0".format, 200_000), "guards_code holds 5,888,890 characters, more than"),
    "many nested guards": (guards(("(" * 39 + "1" + ")" * 39 + " > {}").format, 100_000), "guards_code holds 8,688,890"),
    "many ranges": (program(_ranges), "range_constraints holds 1,988,890 characters, more than 200,000"),
    "stack of 90 MB of semicolons": (stack(lambda: ";" * 90_000_000), "nn_module_stack holds 90,000,000 characters"),
    "stack of 90 MB of commas": (stack(lambda: "," * 90_000_000), "values, more than 6,000,000"),
    "many stacks of signs": (program(_stacks(900)), "modules, each in the one before"),
    "class of 20 MB": (stack(lambda: f"L__self__,,net.{'A' * 20_000_000}"), "nn_module_stack holds 20,000,015 characters"),
    "stack trace of 43 MB": (
        trace(lambda: 'File "/a/b.py", line 8, in f\n' * 1_500_000),
        "stack_trace holds 43,500,000 characters, more than 1,000,000",
    ),
    "half a million operators": (program(_operators(410_000)), "values, more than 6,000,000"),
    "profile of 100,000 components": (
        saved(lambda whole: whole["components"].extend(map(empty, range(100_000)))),
        "components are more than 1,000",
    ),
    "manifest of 100,000 components": (
        manifest(lambda whole: whole["components"].extend(map(_captured, range(100_000)))),
        "components are 100,001, more than 1,000",
    ),
    "target of 20 MB in a profile": (_long("target", count=20_000_000), "target holds 20,000,000 characters, more than 4,000"),
    "profile of nothing but wide characters": (
        text(lambda: b'{"format": 2, "a": "' + _FACE * 24_000_000 + b'"}'),
        "x.json is not a valid profile: ",
    ),
    "profile of 90 MB of escapes": (
        text(lambda: b'{"format": 2, "a": "\\ud83d\\ude00' + b"a" * 90_000_000 + b'"}'),
        "x.json is not a valid profile: ",
    ),
    "profile of UTF-16": (
        text(lambda: ('{"format": 2, "a": "\N{GRINNING FACE}' + "a" * 49_000_000 + '"}').encode("utf-16")),
        "x.json is not a valid profile: ",
    ),
    "profile of 90 MB of digits": (text(lambda: b'{"format": 2, "a": ' + b"1" * 90_000_000 + b"}"), "is not a profile, or is"),
    "profile of 90 MB of brackets": (text(lambda: b'{"format": 2, "a": ' + b"[" * 90_000_000), "values, more than"),
    "profile of fields": (
        text(lambda: b'{"format": 2, "a": {' + b"".join(b'"%d":1,' % place for place in range(3_900_000)) + b'"b": 1}}'),
        "x.json is not a valid profile: ",
    ),
}
"""Those of up to a hundred megabytes."""

_WIDE: Make = program(_wide)
COUNTED: dict[str, Make] = {
    "shapes that are cut": _WIDE,
    "100,000 inputs of one symbol": expressions(lambda _: "s1", 60_000),
    "60,000 symbols": expressions(lambda place: f"s{place}", 60_000),
    "100,000 operators": program(_operators(100_000)),
    "300,000 kinds of work": saved(
        lambda whole: _at(whole, (*FIRST, "calls", 0, "ops")).extend(
            {**_free(_at(whole, ROW)), "kind": f"k{place}"} for place in range(200_000)
        )
    ),
    "a million values of the workload": saved(
        lambda whole: whole.update(workload={f"a{place}": place for place in range(1_000_000)})
    ),
    "a million runs": saved(put(*FIRST, "runs", to=[{"count": 0, "macs": 0, "calls": [[0, 0]]}] * 300_000)),
}
"""Large files that are sound: they are counted within the same limits."""
