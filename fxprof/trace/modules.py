"""The modules of an exported program, as far as its names and stacks tell. Standard library only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from fxprof.trace.captured import CapturedModule
from fxprof.trace.fields import fail
from fxprof.trace.records import Op

MOST_MODULES = 100_000
"""With those around them."""


def modules_of_graph(ops: Iterable[Op], params: Mapping[str, int], order: Iterable[str] = ()) -> tuple[CapturedModule, ...]:
    """The modules that a graph mentions, with those around them, depth first.

    Args:
        ops: all operators of the graph; their stacks tell the classes.
        params: module path to the parameters that the module itself holds.
        order: paths in the order in which the modules were built, where it is known; the others follow as they occur.
    """
    classes = {frame.path: frame.class_name for op in ops for frame in op.stack}
    children: dict[str, dict[str, None]] = {"": {}}
    for path in (*order, *params, *classes):
        _insert(children, path)
        if len(children) > MOST_MODULES:
            fail("", f"it has more than {MOST_MODULES:,} modules, as no model has")
    return tuple(CapturedModule(path, classes.get(path, ""), params.get(path, 0)) for path in _walk(children))


def called_paths(names: Collection[str]) -> Iterator[str]:
    """The paths behind a program's list of calls, in which `blocks.0@1` is a further call of `blocks.0`."""
    known = set(names)
    for name in names:
        head, _, number = name.rpartition("@")
        yield head if number.isdecimal() and head in known else name


def _insert(children: dict[str, dict[str, None]], path: str) -> None:
    """Put in a path and the parents that it lacks."""
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
