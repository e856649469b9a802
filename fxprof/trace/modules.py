"""The modules of an exported program, as far as its names and stacks show them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from math import prod

from fxprof import limits
from fxprof.trace.captured import CapturedModule
from fxprof.trace.element_types import BYTES
from fxprof.trace.fields import fail
from fxprof.trace.records import Frame, Op
from fxprof.trace.weights import WeightGroup, gather

MOST_MODULES = limits.GRAPH_MODULES


def modules_of_graph(ops: Iterable[Op], params: Mapping[str, int], order: Iterable[str] = ()) -> tuple[CapturedModule, ...]:
    """The modules that a graph mentions, and their parents, depth first.

    Args:
        ops: all operators of the graph; their stacks give the classes.
        params: module path to the module's own parameters.
        order: paths in the order in which the modules were built, if known; other modules follow in order of appearance.
    """
    classes: dict[str, str] = {}
    last: tuple[Frame, ...] = ()
    for op in ops:
        if op.stack is not last:  # consecutive operators nearly always share it
            last = op.stack
            classes.update((frame.path, frame.class_name) for frame in last if frame.class_name or frame.path not in classes)
    children: dict[str, dict[str, None]] = {"": {}}
    for path in (*order, *params, *classes):
        _insert(children, path)
        if len(children) > MOST_MODULES:
            fail("", f"it has more than {MOST_MODULES:,} modules, more than any model has")
    return tuple(CapturedModule(path, classes.get(path, ""), params.get(path, 0)) for path in _walk(children))


def with_weights(
    modules: tuple[CapturedModule, ...], held: Iterable[tuple[str, str, tuple[int, ...], str]]
) -> tuple[tuple[CapturedModule, ...], tuple[WeightGroup, ...]]:
    """The modules with the weights that a program holds, and these in groups.

    Args:
        modules: as from `modules_of_graph`.
        held: kind, dotted name, sizes and element type of each weight; the type of one that is listed already is "".
    """
    classes = {module.path: module.class_name for module in modules}
    own: dict[str, list[WeightGroup]] = {}
    for kind, dotted, shape, dtype in held:
        path, _, name = dotted.rpartition(".")
        path = path if path in classes else ""
        linear = classes[path] == "Linear" and name == "weight"
        parts = ((dtype, prod(shape) * BYTES[dtype]),) if dtype in BYTES else ()
        if dtype:
            own.setdefault(path, []).append(WeightGroup(kind, classes[path], name, shape, parts, 1, linear))
    groups, places = gather(own.get(module.path, ()) for module in modules)
    return tuple(replace(module, weights=item) for module, item in zip(modules, places, strict=True)), groups


def root_class(ops: Iterable[Op]) -> str:
    """The class of the exported module; "" if no operator shows it."""
    roots = (op.stack[0] for op in ops if op.stack)
    return next((frame.class_name for frame in roots if not frame.path and frame.class_name), "")


def called_paths(names: Collection[str]) -> Iterator[str]:
    """The module paths in a program's list of calls, in which `blocks.0@1` is a further call of `blocks.0`.

    Modules that torch adds to make a program callable are left out, because they are not part of the model.
    """
    known, made = set(names), made_by_torch(names)
    for name in names:
        head, _, number = name.rpartition("@")
        if name not in made:
            yield head if number.isdecimal() and head in known else name


def made_by_torch(names: Iterable[str]) -> set[str]:
    """Modules that torch adds to make a program callable: for its guards, and for bodies of operators such as `cond`."""
    known = set(names)
    parents = {name.rpartition(".")[0] for name in known}
    programs = {name.rpartition(".")[0] for name in known if name.rpartition(".")[2] == GUARDS}

    def is_region(name: str) -> bool:
        above, _, last = name.rpartition(".")
        return above in programs and name not in parents and _REGION.fullmatch(last) is not None

    return {name for name in known if is_of_torch(name) or is_region(name)}


def programs_among(names: Iterable[str]) -> list[str]:
    """The paths of modules that are exported programs made callable."""
    return [name.rpartition(".")[0] for name in names if name.rpartition(".")[2] == GUARDS and "." in name]


GUARDS = "_guards_fn"
"""The attribute with the guards of a program that was made callable."""


_BODY = re.compile(r"(true|false|cond|body|combine|while_loop_\w+|scan_\w+|associative_scan_\w+|map_\w+)_(graph|fn|body)_\d+")
"""The attributes with the bodies of its higher-order operators."""
_REGION = re.compile(r"submod_\d+")
"""Attributes with regions that run without gradients or in another type. Models that were split also have such names."""


def is_of_torch(path: str) -> bool:
    """Whether torch added a module to make a program callable."""
    name = path.rpartition(".")[2]
    return name == GUARDS or any(_BODY.fullmatch(part) for part in path.split("."))


def _insert(children: dict[str, dict[str, None]], path: str) -> None:
    """Insert a path and its missing parents."""
    missing = []
    while path not in children:
        missing.append(path)
        path = path.rpartition(".")[0]
    for new in reversed(missing):
        children[new] = {}
        children[new.rpartition(".")[0]][new] = None


def _walk(children: Mapping[str, Mapping[str, None]]) -> Iterator[str]:
    waiting = [""]
    while waiting:
        path = waiting.pop()
        yield path
        waiting.extend(reversed(list(children[path])))
