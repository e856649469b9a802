"""The moments at which a module's Python drops tensors, seen while torch traces it.

In eager mode a tensor lives as long as Python holds it, and a graph does not say how long that is. A traced module runs its
own Python, so its tensors die as they do in a run, and weak references on them tell when.
"""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.experimental import proxy_tensor
from torch.utils.weak import WeakIdKeyDictionary

from fxprof.capture.values import is_item, key_of_value

_SERIAL = "fxprof_serial"
"""The entry of a node's `meta` that numbers the results of operators as torch traces them; passes over a graph copy it."""


class Deaths:
    """The deaths of the tensors of one traced call, by the numbers of the results that they are."""

    def __init__(self) -> None:
        self._latest = -1
        self._events: list[tuple[int, tuple[int, ...]]] = []
        """(the newest result when a tensor died, all results that were this tensor), in order."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Follow every tensor that torch traces until the end of the block."""
        original = proxy_tensor.track_tensor
        results: Any = WeakIdKeyDictionary()

        def track(tensor: torch.Tensor, proxy: Any, **options: Any) -> None:
            original(tensor, proxy, **options)
            self._latest += 1
            proxy.node.meta[_SERIAL] = self._latest
            if tensor in results:  # an operator in place returned it
                results[tensor].append(self._latest)
            else:
                results[tensor] = serials = [self._latest]
                weakref.finalize(tensor, self._died, serials).atexit = False

        proxy_tensor.track_tensor = track
        try:
            yield
        finally:
            proxy_tensor.track_tensor = original

    def _died(self, serials: list[int]) -> None:
        self._events.append((self._latest, tuple(serials)))

    def after(self, program: GraphModule) -> DeathsInGraph:
        """The deaths in the graphs of a program, which have fewer nodes than were traced."""
        return DeathsInGraph(self._events, [part for part in program.modules() if isinstance(part, GraphModule)])


class DeathsInGraph:
    """The deaths after each operator of a program.

    Args:
        events: as `Deaths` notes them.
        graphs: the program and the bodies of its higher-order operators.
    """

    def __init__(self, events: list[tuple[int, tuple[int, ...]]], graphs: list[GraphModule]) -> None:
        self.keys: dict[int, list[Hashable]] = defaultdict(list)
        """For each number of a result, the value in each graph that has it."""
        self._last: dict[Node, int] = {}
        for graph in graphs:
            for node in graph.graph.nodes:
                serial = node.meta.get(_SERIAL)
                if serial is not None and node.op == "call_function":
                    self.keys[serial].append(key_of_value(node))
                    owner = _operator(node)
                    self._last[owner] = max(self._last.get(owner, -1), serial)
        order = sorted(set(self._last.values()))
        self._after: dict[int, list[int]] = defaultdict(list)
        for latest, serials in events:
            at = bisect_right(order, latest)
            if at:
                self._after[order[at - 1]] += serials
        self.dying = {key for serials in self._after.values() for serial in serials for key in self.keys.get(serial, ())}
        """The values that die at any time."""

    def after(self, node: Node) -> list[int]:
        """The numbers of the results that die after an operator, before the next one; each is told once."""
        return self._after.pop(self._last.get(node, -1), [])


def _operator(node: Node) -> Node:
    while is_item(node):
        held = node.args[0]
        assert isinstance(held, Node), "the results of another node"
        node = held
    return node
