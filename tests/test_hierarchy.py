"""The module hierarchy of components made by hand. No torch."""

from __future__ import annotations

import random
import time

import networkx as nx
import pytest

from fxprof.cost.hierarchy import ModuleRow, hierarchy
from fxprof.errors import FxprofError


def totals(graph: nx.DiGraph[str]) -> dict[str, tuple[int, int]]:
    return {path: (node["self_macs"], node["total_macs"]) for path, node in graph.nodes(data=True)}


def test_totals_go_up_and_missing_parents_are_put_in() -> None:
    graph = hierarchy(
        [
            ModuleRow("blocks.0.attn", "Attention", 30, 4, 2),
            ModuleRow("blocks.0", "Block", 5, 0, 2),
            ModuleRow("blocks.1.attn", "Attention", 31, 6, 2, uncounted=3),
            ModuleRow("", "Net", 1, 10, 1),
        ]
    )
    assert totals(graph) == {
        "": (1, 67),
        "blocks": (0, 66),
        "blocks.0": (5, 35),
        "blocks.0.attn": (30, 30),
        "blocks.1": (0, 31),
        "blocks.1.attn": (31, 31),
    }
    assert set(graph.edges) == {
        ("", "blocks"),
        ("blocks", "blocks.0"),
        ("blocks", "blocks.1"),
        ("blocks.0", "blocks.0.attn"),
        ("blocks.1", "blocks.1.attn"),
    }
    assert graph.nodes["blocks.1"] == {
        "class_name": "",
        "self_macs": 0,
        "total_macs": 31,
        "params": 0,
        "total_params": 6,
        "calls": 0,
        "uncounted": 0,
    }
    assert graph.nodes["blocks.1.attn"]["uncounted"] == 3
    assert graph.nodes[""]["total_params"] == 20
    assert nx.is_arborescence(graph)


def test_rows_of_one_path_add_up() -> None:
    graph = hierarchy([ModuleRow("t", "Shared", 7, 3, 1), ModuleRow("t", "", 8, 0, 2, 1)])
    assert graph.nodes["t"] == {
        "class_name": "Shared",
        "self_macs": 15,
        "total_macs": 15,
        "params": 3,
        "total_params": 3,
        "calls": 3,
        "uncounted": 1,
    }


def test_nothing_is_a_root_without_work() -> None:
    assert totals(hierarchy([])) == {"": (0, 0)}


def test_a_path_of_two_classes_is_refused() -> None:
    with pytest.raises(FxprofError, match="module 't' is given as a A and as a B"):
        hierarchy([ModuleRow("t", "A", 1, 0, 1), ModuleRow("t", "B", 1, 0, 1)])


def test_every_total_is_the_sum_of_the_own_work_below() -> None:
    random_numbers = random.Random(0)
    paths = [".".join(random_numbers.choices("abc", k=random_numbers.randint(1, 5))) for _ in range(200)]
    rows = [ModuleRow(path, "M", random_numbers.randint(0, 9), random_numbers.randint(0, 9), 1) for path in paths]
    graph = hierarchy(rows)
    for path in graph:
        below = {path, *nx.descendants(graph, path)}
        assert graph.nodes[path]["total_macs"] == sum(row.self_macs for row in rows if row.path in below)
        assert graph.nodes[path]["total_params"] == sum(row.params for row in rows if row.path in below)


def test_time_is_linear_in_the_modules() -> None:
    deep = ["a" + ".a" * depth for depth in range(500)]
    wide = [f"b.{number}" for number in range(20_000)]
    started = time.perf_counter()
    graph = hierarchy(ModuleRow(path, "M", 1, 1, 1) for path in deep + wide)
    assert graph.nodes[""]["total_macs"] == len(deep) + len(wide)
    assert time.perf_counter() - started < 5  # measured 0.2; a quadratic walk takes minutes
