"""The matching of modules of two trees: by path first, then by structure for moved or renamed ones.

Every rule is symmetric, so matching `b` with `a` gives the same pairs as matching `a` with `b`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterator, Mapping
from itertools import chain
from weakref import ref

from fxprof import limits
from fxprof.compare.pairing import group_by
from fxprof.compare.traits import NOTHING, Traits, Types
from fxprof.result.tree import Node


class Module:
    """A module of one of the two trees, and the look of its subtree. Only the same object is equal."""

    __slots__ = (
        *("__weakref__", "_parent", "children", "index", "name", "node"),
        *("runs", "size", "strong", "traits", "types", "weak", "weight"),
    )

    def __init__(
        self, node: Node, parent: Module | None, index: int, traits: Mapping[str, Traits], types: Types | None = None
    ) -> None:
        """Make the module and all modules below it.

        Args:
            node: its node in the tree.
            parent: the module that contains it.
            index: its position among its siblings.
            traits: path to the traits of a module.
            types: path to the element types of a module, which are not part of its look; None if unknown.
        """
        # References in both directions would be a cycle, and only a search through all objects frees those.
        self._parent = ref(parent) if parent is not None else None
        self.node, self.index = node, index
        self.name: str = node.name
        """The last part of its path."""
        self.traits = traits.get(node.path, NOTHING)
        self.types = types.get(node.path, frozenset()) if types is not None else frozenset()
        size, weight, runs = 1, self.traits.params + len(self.traits.costly), bool(node.calls or node.ops)
        self.children: list[Module] = []
        for place, inner in enumerate(node.children):
            child = Module(inner, self, place, traits, types)
            self.children.append(child)
            size += child.size
            weight += child.weight
            runs = runs or child.runs
        self.size: int = size
        self.weight: int = weight
        self.runs: bool = runs
        self.strong = self.weak = 0

    @property
    def parent(self) -> Module | None:
        """The module that contains it."""
        return self._parent() if self._parent else None

    @property
    def path(self) -> str:
        """Dotted below the component."""
        return self.node.path

    def walk(self) -> Iterator[Module]:
        """The module and all below it, parents first."""
        waiting = [self]
        while waiting:
            module = waiting.pop()
            yield module
            if module.children:
                waiting.extend(module.children[::-1])

    def number(self, numbers: dict[Hashable, int]) -> None:
        """Give equal numbers to subtrees that are equal apart from the name of their root.

        `strong`: equal in everything. `weak`: names inside, and operators without MACs, may differ.
        """
        children = self.children
        for child in children:
            child.number(numbers)
        traits = self.traits
        names = frozenset([(child.name, child.strong) for child in children])
        order = tuple([child.weak for child in children])
        self.strong = numbers.setdefault((traits, names), len(numbers))
        self.weak = numbers.setdefault((traits.class_name, traits.params, traits.visits, traits.costly, order), len(numbers))


_Pairs = list[tuple[Module, Module]]


class Matching:
    """The pairs so far. `partner` maps both ways."""

    def __init__(self, old: Module, new: Module) -> None:
        """Match the modules of two trees."""
        self.partner: dict[Module, Module] = {}
        self.carried: set[Module] = set()
        """Modules of either side that were matched as parts of a larger subtree, whatever their names."""
        self._released: _Pairs = []
        self._rounds = 0
        """Number of passes over all unmatched modules."""
        self._trees = old, new
        self._left = max(limits.MATCHED_MODULES, _LEAST * (old.size + new.size))
        """Number of modules that may still be visited."""
        numbers: dict[Hashable, int] = {}
        for tree in self._trees:
            tree.number(numbers)
        self._by_path(old, new)
        self._by_structure()
        while self._released:
            released, self._released = self._released, []
            for before, after in released:
                if before not in self.partner and after not in self.partner:
                    self._join(before, after)
            self._by_structure()

    def in_place(self, old: Module) -> bool:
        """Whether a matched module kept its parent and its name, or came along with a larger subtree."""
        if old.parent is None or old in self.carried:
            return True
        new = self.partner[old]
        return new.name == old.name and self.partner.get(old.parent) is new.parent

    def _join(self, old: Module, new: Module) -> None:
        self.partner[old] = new
        self.partner[new] = old

    def _by_path(self, old: Module, new: Module) -> None:
        """Pair the two modules and, by name, the modules below them."""
        named = {child.name: child for child in new.children if child not in self.partner}
        pairs = [(child, named[child.name]) for child in old.children if child.name in named and child not in self.partner]
        if not pairs and old.parent is not None and _differ_in_class(old, new):
            self._released.append((old, new))  # another module may have taken this place, for example if a list grew
            return
        self._join(old, new)
        for pair in pairs:
            self._by_path(*pair)

    def _by_structure(self) -> None:
        while self._whole_subtrees("strong") or self._whole_subtrees("weak") or self._parents():
            self._rounds += 1
            self._left -= sum(tree.size for tree in self._trees)
            if self._left < 0:
                return  # no real model gets here; unmatched modules count as added and removed

    def _whole_subtrees(self, look: str) -> bool:
        """Pair subtrees with the same look, largest first, if the pairs are unambiguous."""
        old, new = (
            group_by(
                (module for module in tree.walk() if module not in self.partner),
                lambda module: (module.size, getattr(module, look)),
            )
            for tree in self._trees
        )
        common = group_by((key for key in old if key in new), lambda key: key[0])  # type: ignore[index]  # the size
        joined = False
        for size in sorted(common, reverse=True):  # type: ignore[type-var]
            chosen = list(
                chain.from_iterable(self._choose(self._open(old[key]), self._open(new[key]), look) for key in common[size])
            )
            for pair in chosen:
                joined = self._join_whole(*pair, look) or joined
        return joined

    def _open(self, modules: list[Module]) -> list[Module]:
        return [module for module in modules if module not in self.partner]

    def _join_whole(self, old: Module, new: Module, look: str) -> bool:
        pairs = [(old, new), *_inside(old, new, look)]
        if any(module in self.partner for pair in pairs for module in pair):
            return False  # a part of it belongs elsewhere
        for before, after in pairs:
            self._join(before, after)
        self.carried.update(module for pair in pairs[1:] for module in pair)
        return True

    def _choose(self, old: list[Module], new: list[Module], look: str) -> _Pairs:
        """Choose pairs among modules with the same look.

        First the modules whose parents are paired, then those that are unique, then those at the same numbers of a list, then
        those in one list. Ambiguous modules stay unpaired.
        """
        pairs: _Pairs = []
        rules: list[tuple[_Key, _Key]] = [(self._parent_of_partner, lambda module: module.parent), (_anywhere, _anywhere)]
        rules += [(_numbers, _numbers), (_anywhere, _anywhere)]
        for number, (key_old, key_new) in enumerate(rules):
            taken = {module for pair in pairs for module in pair}
            olds = group_by((module for module in old if module not in taken), key_old)
            news = group_by((module for module in new if module not in taken), key_new)
            for key in olds:
                if key is not None and key in news:
                    pairs += self._rule(number, olds[key], news[key], look)
        return pairs

    def _rule(self, number: int, old: list[Module], new: list[Module], look: str) -> _Pairs:
        if number == 0:
            return self._siblings(old, new, look)
        if not old[0].weight:
            return []  # all activations look the same, and so do containers
        if number == 1:
            return [(old[0], new[0])] if len(old) == len(new) == 1 else []
        one_parent = len({module.parent for module in old}) == len({module.parent for module in new}) == 1
        return self._siblings(old, new, look) if one_parent else []

    def _parent_of_partner(self, module: Module) -> Module | None:
        return self.partner.get(module.parent) if module.parent else None

    def _siblings(self, old: list[Module], new: list[Module], look: str) -> _Pairs:
        """Pair by name, then the others in order if both sides have equally many, or else by their neighbours."""
        named = {module.name: module for module in new}
        pairs = [(module, named[module.name]) for module in old if module.name in named]
        taken = {module for pair in pairs for module in pair}
        others = [module for module in old if module not in taken], [module for module in new if module not in taken]
        if len(others[0]) == len(others[1]):
            return [*pairs, *zip(*others, strict=True)]
        return [*pairs, *self._beside(*others, look)]

    def _beside(self, old: list[Module], new: list[Module], look: str) -> _Pairs:
        """Pair modules whose neighbours are paired, unless two modules would get the same partner.

        If no other rule can decide about the next neighbours, they follow at once, and so on: a new pass over all modules for
        each module of a long list would take too long.
        """
        # For modules that differ, the strong look decides first; and numbers, if they can, decide before neighbours.
        numbers = set(map(_numbers, old)), set(map(_numbers, new))
        closely = look == "strong" or self._rounds > _ROUNDS
        numbered = len(numbers[0] | numbers[1]) > 1 and not numbers[0].isdisjoint(numbers[1])
        at_once = (closely and not numbered) or self._rounds > 2 * _ROUNDS
        alike = set(old), set(new)
        rest = set(old), set(new)
        pairs: _Pairs = []
        near = [pair for module in old for pair in self._next_to_known(module)]
        while True:
            near = [pair for pair in dict.fromkeys(near) if pair[0] in rest[0] and pair[1] in rest[1]]
            if not near or len({module for pair in near for module in pair}) < 2 * len(near):
                return pairs
            pairs += near
            for side, modules in zip(rest, zip(*near, strict=True), strict=True):
                side.difference_update(modules)
            sure = [pair for pair in near if at_once and self._whole(*pair)]
            near = [pair for known in sure for pair in _around(*known) if all(map(self._settled, pair, alike))]

    def _settled(self, module: Module, alike: Container[Module]) -> bool:
        """Whether each of its neighbours already has a partner or has the same look."""
        siblings = (_sibling(module, step) for step in (-1, 1))
        return all(sibling in self.partner or sibling in alike for sibling in siblings if sibling)

    def _next_to_known(self, old: Module) -> Iterator[tuple[Module, Module]]:
        """The module, and its possible partner beside the partner of a sibling."""
        for step in (-1, 1):
            sibling = _sibling(old, step)
            partner = self.partner.get(sibling) if sibling else None
            new = _sibling(partner, -step) if partner else None
            if new:
                yield old, new

    def _whole(self, old: Module, new: Module) -> bool:
        """Whether all modules inside the two are paired with each other or unpaired."""
        return not any(module in self.partner for module in chain(old.walk(), new.walk()))

    def neighbours(self, old: Module, new: Module) -> tuple[tuple[Module, Module] | None, tuple[Module, Module] | None]:
        """The previous siblings and the next siblings, each as a pair if they match."""
        pairs = []
        for step in (-1, 1):
            before, after = _sibling(old, step), _sibling(new, step)
            known = before is not None and after is not None and self.partner.get(before) is after
            pairs.append((before, after) if known and before and after else None)
        return pairs[0], pairs[1]

    def _parents(self) -> bool:
        """Pair modules of one class if most of their children are paired, and the unpaired modules below them by name."""
        chosen = []
        for old in self._trees[0].walk():
            new = self._shared_parent(old) if old not in self.partner else None
            if (
                new is not None
                and new not in self.partner
                and self._shared_parent(new) is old
                and not _differ_in_class(old, new)
            ):
                chosen.append((old, new))
        chosen.sort(key=lambda pair: sorted(module.size for module in pair))  # the inner ones first
        for old, new in chosen:
            if old not in self.partner and new not in self.partner:
                self._by_path(old, new)
        return bool(chosen)

    def _shared_parent(self, module: Module) -> Module | None:
        """The parent that the partners of at least half of the children share."""
        partners = [self.partner[child] for child in module.children if child in self.partner]
        parents = {partner.parent for partner in partners}
        return parents.pop() if len(parents) == 1 and 2 * len(partners) >= len(module.children) else None


_ROUNDS = 20
"""Rounds before modules that differ are also paired at once; real models need few."""
_LEAST = 50
"""Rounds that are always allowed."""
_Key = Callable[[Module], Hashable]


def _differ_in_class(old: Module, new: Module) -> bool:
    known = old.traits.class_name and new.traits.class_name
    return bool(known) and old.traits.class_name != new.traits.class_name


def _inside(old: Module, new: Module, look: str) -> Iterator[tuple[Module, Module]]:
    """The pairs below two subtrees with the same look: by name if the names are equal, otherwise in order."""
    others = {child.name: child for child in new.children}
    for before, in_order in zip(old.children, new.children, strict=True):
        after = others[before.name] if look == "strong" else in_order
        yield before, after
        yield from _inside(before, after, look)


def _anywhere(module: Module) -> Hashable:  # noqa: ARG001  # a key
    return ""


def _numbers(module: Module) -> Hashable:
    """The numbers in its path, outermost first."""
    return tuple(part for part in module.path.split(".") if part.isdecimal())


def _around(old: Module, new: Module) -> Iterator[tuple[Module, Module]]:
    """The pairs of their previous and next siblings."""
    for step in (-1, 1):
        before, after = _sibling(old, step), _sibling(new, step)
        if before and after:
            yield before, after


def _sibling(module: Module, step: int) -> Module | None:
    siblings = module.parent.children if module.parent else []
    place = module.index + step
    return siblings[place] if 0 <= place < len(siblings) else None
