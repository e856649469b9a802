"""The module hierarchy of a component as a networkx graph. The only file of this room that imports networkx."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import networkx as nx

from fxprof.errors import FxprofError


@dataclass(frozen=True, slots=True)
class ModuleRow:
    """The own work of one module, without the modules inside it."""

    path: str
    """Dotted below the component; "" is the component itself."""
    class_name: str
    self_macs: int
    """MACs of its own operators, over all its calls."""
    params: int
    """Its own parameters."""
    calls: int
    uncounted: int = 0
    """Executions of its own operators without a formula."""


def hierarchy(rows: Iterable[ModuleRow]) -> nx.DiGraph[str]:
    """The tree of modules, from parent to child, with the own cost of each and the cost with its descendants.

    One node per module path; the root is "". Attributes: `class_name`, `self_macs`, `total_macs`, `params`, `total_params`,
    `calls`, `uncounted`. Missing parents are inserted with the class "" and no own work. Rows of one path add up, so all calls
    of a shared module are at its one path.

    Args:
        rows: the modules in any order.

    Raises:
        FxprofError: two rows of one path name different classes.
    """
    graph: nx.DiGraph[str] = nx.DiGraph()
    _insert(graph, "")
    for row in rows:
        _insert(graph, row.path)
        _add(graph.nodes[row.path], row)
    _sum_up(graph)
    return graph


def _insert(graph: nx.DiGraph[str], path: str) -> None:
    """Insert a module and its missing parents."""
    missing = []
    while path not in graph:
        missing.append(path)
        if not path:
            break
        path = _parent(path)
    for new in reversed(missing):
        graph.add_node(new, class_name="", self_macs=0, total_macs=0, params=0, total_params=0, calls=0, uncounted=0)
        if new:
            graph.add_edge(_parent(new), new)


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _add(node: dict[str, Any], row: ModuleRow) -> None:
    if node["class_name"] and row.class_name not in {"", node["class_name"]}:
        raise FxprofError(f"module {row.path!r} is given as a {node['class_name']} and as a {row.class_name}")
    node["class_name"] = row.class_name or node["class_name"]
    for name in ("self_macs", "params", "calls", "uncounted"):
        node[name] += getattr(row, name)


def _sum_up(graph: nx.DiGraph[str]) -> None:
    """Set the totals, children before parents, and check each node against the own work of the modules below it."""
    order = list(nx.dfs_preorder_nodes(graph, ""))
    last = {path: place for place, path in enumerate(order)}
    for path in reversed(order):
        node, children = graph.nodes[path], list(graph.successors(path))
        node["total_macs"] = node["self_macs"] + sum(graph.nodes[child]["total_macs"] for child in children)
        node["total_params"] = node["params"] + sum(graph.nodes[child]["total_params"] for child in children)
        last[path] = max([last[path], *(last[child] for child in children)])
    # In preorder every subtree is a run of the list, so running sums of own MACs give its total in a second way.
    running = list(accumulate((graph.nodes[path]["self_macs"] for path in order), initial=0))
    for place, path in enumerate(order):
        assert graph.nodes[path]["total_macs"] == running[last[path] + 1] - running[place], f"MACs of {path!r} do not add up"
