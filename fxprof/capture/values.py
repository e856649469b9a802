"""The values of a live graph, or of operators as they run, numbered in the order in which operators name them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from fxprof.trace import Origin, Pairs

_NUMBERS = (torch.SymInt, torch.SymFloat, torch.SymBool)


class Values:
    """The values of one graph, of one block, or of the body of an operator.

    Args:
        origin_of: the origins of the placeholders that belong to the program itself.
        tied: other names of a weight, each with the name that is used.
        given: for a body, its placeholders by the keys of the values that it is given.
    """

    def __init__(
        self, origin_of: Mapping[Node, Origin], tied: Mapping[str, str], given: Mapping[Hashable, Node] | None = None
    ) -> None:
        self.origin_of, self.tied = origin_of, tied
        self._given = given or {}
        self._numbers: dict[Hashable, int] = {}
        self._made: set[Hashable] = set()

    def _number(self, key: Hashable) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def _key(self, node: Node) -> Hashable:
        """The key of a value; that of a weight is its name, because the stand-in for a later block has no node for it."""
        return self._named(self.origin_of.get(node, key_of_value(node)))

    def _elsewhere(self, key: Hashable, old: str, new: str) -> Hashable:
        return self._named(key.elsewhere(old, new)) if isinstance(key, Origin) else key

    def _named(self, key: Hashable) -> Hashable:
        return Origin(key.kind, self.tied[key.name]) if isinstance(key, Origin) and key.name in self.tied else key

    def read(self, values: Iterable[Any]) -> tuple[int, ...]:
        """The numbers of the values among arguments."""
        return tuple(self._number(self._key(node)) for node in _value_nodes(values))

    def made(self, node: Node) -> tuple[int, ...]:
        """The numbers of the results of an operator."""
        keys = list(_keys_of(node, node.meta.get("val")))
        self._made.update(keys)
        return tuple(map(self._number, keys))

    def freed(self, keys: Iterable[Hashable], results: Collection[Hashable]) -> tuple[int, ...]:
        """The numbers of values of this graph among those that die; its results do not die in it."""
        return tuple(self._numbers[key] for key in keys if key in self._made and key in self._numbers and key not in results)

    def dropped(self, keys: Iterable[Hashable]) -> tuple[int, ...]:
        """The numbers of values that this body is given among those that die."""
        return tuple(self._number(self._given[key]) for key in keys if key in self._given)

    def inside(self, given: Sequence[Node | None], inputs: Sequence[Node]) -> Values:
        """The values of a body.

        Args:
            given: nodes of this graph.
            inputs: placeholders of the body; if their number differs from that of `given`, the pairs are unknown.
        """
        if len(given) != len(inputs):
            return Values({}, {})
        known = {key_of_value(node): inner for node, inner in zip(given, inputs, strict=True) if node is not None}
        return Values({}, {}, known | {key: known[node] for key, node in self._given.items() if node in known})

    def own(self) -> Iterator[tuple[Hashable, int]]:
        """The values that this graph's operators make, by key and number."""
        return ((key, number) for key, number in self._numbers.items() if key in self._made)

    def results(self, nodes: Any) -> frozenset[Hashable]:
        """The keys of results that a graph or a block gives."""
        return frozenset(map(self._key, _value_nodes((nodes,))))

    def returned(self, module: GraphModule) -> tuple[int, ...]:
        """The numbers of a graph's results."""
        return self.read(node.args for node in module.graph.nodes if node.op == "output")

    def origins(self) -> tuple[tuple[int, Origin], ...]:
        """The values that no operator makes."""
        return tuple((number, key) for key, number in self._numbers.items() if isinstance(key, Origin))

    def handed(self, given: Sequence[Node | None], inputs: Sequence[Node], outer: Values) -> Pairs:
        """The values that the operators of a body read among those that the body is given.

        Args:
            given: nodes of the graph around it.
            inputs: placeholders of the body; if their number differs from that of `given`, the pairs are unknown.
            outer: the values of the graph around it.
        """
        if len(given) != len(inputs):
            return ()
        pairs = zip(inputs, given, strict=True)
        taken = [(self._numbers[inner], node) for inner, node in pairs if inner in self._numbers and node is not None]
        return tuple((inner, outer._number(outer._key(node))) for inner, node in taken)

    def _taken(self) -> list[tuple[int, Hashable]]:
        return [(number, key) for key, number in self._numbers.items() if key not in self._made]

    def around(self, outer: Values, end: Node, kept: Collection[Hashable]) -> tuple[Pairs, Pairs]:
        """The values that the block with these values takes from those around it, and the values that it gives.

        Args:
            outer: the values of the graph around it.
            end: the mark at its end.
            kept: keys of values that die, whether anybody reads them or not.
        """
        takes = tuple((inner, outer._number(key)) for inner, key in self._taken())
        results = {self._key(node) for node in _nodes(end.args[2])}.intersection(kept)
        given = [
            key for key in self._numbers if key in self._made and (key in results or any(end < user for user in _users(key)))
        ]
        outer._made.update(given)
        return takes, tuple((self._numbers[key], outer._number(key)) for key in given)

    def again(
        self, end: Node, repeat: Node, outer: Values, paths: tuple[str, str], kept: Collection[Hashable]
    ) -> tuple[Pairs, Pairs]:
        """The values that a later call of the same block takes and gives.

        Args:
            end: the mark at the block's end, which lists its inputs and results.
            repeat: the stand-in for the later call, which lists that call's inputs.
            outer: the values of the graph around it.
            paths: that of the block's module, and that of the later one.
            kept: as for `around`.
        """
        _, inputs, results = end.args
        given = dict(zip(map(self._key, _nodes(inputs)), map(outer._key, _nodes(repeat.args[1])), strict=True))
        takes = tuple((inner, outer._number(given.get(key, self._elsewhere(key, *paths)))) for inner, key in self._taken())
        used = {user.args[1] for user in repeat.users if user.users}
        keys = [
            (self._numbers[self._key(node)], (repeat, at))
            for at, node in enumerate(_nodes(results))
            if at in used or (repeat, at) in kept
        ]
        outer._made.update(key for _, key in keys)
        return takes, tuple((inner, outer._number(key)) for inner, key in keys)


class SeenValues:
    """The values of operators that were seen one by one as they ran; a tensor has a number as long as somebody holds it."""

    def __init__(self) -> None:
        self._numbers = WeakTensorKeyDictionary()
        self._fresh = count()

    def read(self, *values: Any) -> tuple[int, ...]:
        """The numbers of the tensors among arguments."""
        return tuple([self._number(tensor) for tensor in _tensors(values)])

    def made(self, result: Any) -> tuple[int, ...]:
        """New numbers for the tensors among results, also for one that an operator in place returned."""
        for tensor in _tensors(result):
            self._numbers[tensor] = next(self._fresh)
        return self.read(result)

    def origins(self, weights: Iterable[tuple[Origin, torch.Tensor]]) -> tuple[tuple[int, Origin], ...]:
        """The weights among the values, by their numbers."""
        return tuple(sorted((self._numbers[tensor], origin) for origin, tensor in weights if tensor in self._numbers))

    def _number(self, tensor: torch.Tensor) -> int:
        if tensor not in self._numbers:
            self._numbers[tensor] = next(self._fresh)
        return self._numbers[tensor]  # type: ignore[no-any-return]  # as was put there


def _tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def is_item(node: Node) -> bool:
    """Whether a node takes one of several results of another node."""
    return getattr(node.target, "__name__", "") == "getitem"


def key_of_value(node: Node) -> Hashable:
    """The key of a node or of an item of several results; equal for every node that takes the item out."""
    if not is_item(node):
        return node
    held, position = node.args
    assert isinstance(held, Node), "the results of another node"
    return (key_of_value(held), position)


def _keys_of(key: Hashable, value: Any) -> Iterator[Hashable]:
    """The keys of the values in a result, or in a list of results."""
    if isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            yield from _keys_of((key, position), item)
    elif _is_value(value):
        yield key


def _users(key: Hashable) -> Iterable[Node]:
    """The nodes that take a value."""
    node = key
    while isinstance(node, tuple):
        node = node[0]
    assert isinstance(node, Node), "the result of an operator"
    items = [node]
    for item in items:  # the list grows
        items += [user for user in item.users if is_item(user)]
    return [user for item in items if key_of_value(item) == key for user in item.users]


def _nodes(values: Any) -> list[Node]:
    assert all(isinstance(item, Node) for item in values), "a mark names values of the graph"
    return list(values)


def _value_nodes(values: Iterable[Any]) -> Iterator[Node]:
    for value in values:
        if isinstance(value, Node):
            if _is_value(value.meta.get("val")):
                yield value
        elif isinstance(value, (list, tuple)):
            yield from _value_nodes(value)
        elif isinstance(value, Mapping):
            yield from _value_nodes(value.values())


def _is_value(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, *_NUMBERS))
