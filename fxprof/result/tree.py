"""The module tree of a component, with the sums of its calls' operators."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fxprof import limits
from fxprof.result.records import Call, ModuleRecord, OpRow, Total, total_of


class Node(NamedTuple):
    """A module in the tree of a component, with its work in one run of the pipeline. A tuple, like `OpRow`."""

    path: str
    """Dotted below the component; "" is the component itself."""
    class_name: str
    """"" if only the paths of a graph are known and no operator ran in the module itself."""
    params: int
    """Parameters of the module itself."""
    total_params: int
    """Parameters of the module and its descendants."""
    calls: int
    """Number of its calls in one run of the pipeline, as far as the graphs mention it."""
    self_total: Total
    """Cost of the module's own operators."""
    total: Total
    """Cost of the operators of the module and its descendants."""
    ops: tuple[OpRow, ...]
    """Its own operators, over the whole run: counts and MACs times the calls."""
    children: tuple[Node, ...]
    times: int = 1
    """Number of modules that the node represents: more than one only in a view that folds equal ones."""
    unused: int = 0
    """The part of `total.macs` whose results nobody needs."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit(".", 1)[-1]

    @property
    def self_macs(self) -> int:
        """MACs of the module's own operators in one run of the pipeline."""
        return self.self_total.macs

    @property
    def total_macs(self) -> int:
        """MACs of the module and its descendants in one run of the pipeline."""
        return self.total.macs

    def walk(self) -> Iterator[Node]:
        """The node and all its descendants, parents first."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))


def build_tree(modules: Sequence[ModuleRecord], calls: Sequence[Call]) -> Node:
    """Build the tree of a component's modules, with its work in one run of the pipeline.

    Its nodes are the modules as built, every path that an operator or a visit mentions, and the parents of both. Equal
    operators of all calls become one row, with counts and MACs times the call's count.
    """
    ops: dict[str, list[OpRow]] = {}
    for row in merge_ops(row.repeated(call.count) for call in calls for row in call.ops):
        ops.setdefault(row.path, []).append(row)
    visits: dict[str, int] = {}
    for call in calls:
        for path, times in call.visits.items():
            visits[path] = visits.get(path, 0) + times * call.count
    unused: dict[str, int] = {}
    for call in calls:
        for path, macs in call.unused.items():
            unused[path] = unused.get(path, 0) + macs * call.count
    records = {record.path: record for record in modules}
    assert len(records) == len(modules), "a module is listed once"
    root = _assemble(_children([*records, *ops, *visits]), records, ops, visits)
    return _with_unused(root, unused) if unused else root


def _with_unused(node: Node, unused: Mapping[str, int]) -> Node:
    """The tree with the unneeded MACs of every module."""
    children = tuple([_with_unused(child, unused) if child.total.macs else child for child in node.children])
    return node._replace(children=children, unused=unused.get(node.path, 0) + sum(child.unused for child in children))


def has_plausible_size(modules: Iterable[ModuleRecord], calls: Iterable[Call]) -> bool:
    """Whether the modules of a component, including those that only contain others, fit into memory."""
    known = {""}
    for path in dict.fromkeys(_mentioned(modules, calls)):
        while path not in known:
            known.add(path)
            path = parent_of(path)  # noqa: PLW2901  # climbs to the first known parent
        if len(known) > _MOST_MODULES:
            return False
    return True


_MOST_MODULES = limits.PROFILE_MODULES


def _mentioned(modules: Iterable[ModuleRecord], calls: Iterable[Call]) -> Iterator[str]:
    yield from (record.path for record in modules)
    for call in calls:
        yield from call.visits
        yield from (row.path for row in call.ops)


def parent_of(path: str) -> str:
    """The path of the module that contains the one at `path`."""
    return path.rpartition(".")[0]


def merge_ops(rows: Iterable[OpRow]) -> tuple[OpRow, ...]:
    """Add up rows that differ only in amounts, in order of first appearance."""
    merged: dict[tuple[object, ...], OpRow] = {}
    for row in rows:
        traffic = None if row.traffic is None else row.traffic.bounded
        unknown = row.macs is None, row.masked is None
        key = (row.path, row.op, row.kind, row.source, unknown, row.bounded, row.note, row.shapes, row.types, traffic)
        before = merged.get(key)
        merged[key] = row if before is None else before.plus(row)
    return tuple(merged.values())


def _children(paths: Iterable[str]) -> dict[str, list[str]]:
    """Every path and the paths right below it, parents before their children."""
    children: dict[str, list[str]] = {"": []}
    for path in paths:
        if path in children:
            continue
        around = parent_of(path)
        if around in children:  # the usual case, without a list
            children[path] = []
            children[around].append(path)
            continue
        missing = []
        while path not in children:
            missing.append(path)
            path = parent_of(path)  # noqa: PLW2901  # climbs to the first known parent
        for new in reversed(missing):
            children[new] = []
            children[parent_of(new)].append(new)
    return children


def _assemble(
    children: dict[str, list[str]], records: dict[str, ModuleRecord], ops: dict[str, list[OpRow]], visits: dict[str, int]
) -> Node:
    built: dict[str, Node] = {}
    for path in reversed(children):  # in `children`, children come after their parents, so they are already built here
        record = records.get(path)
        class_name, params = (record.class_name, record.params) if record else ("", 0)
        below = tuple([built.pop(child) for child in children[path]])
        own = tuple(ops.get(path, ()))
        self_total = total = total_of(own)
        total_params = params
        if below:
            total = Total.sum([self_total, *[child.total for child in below]])
            total_params += sum([child.total_params for child in below])
        # By position: keywords take a third longer, and there is one node per module.
        built[path] = Node(path, class_name, params, total_params, visits.get(path, 0), self_total, total, own, below)
    return built[""]
