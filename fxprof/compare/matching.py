"""Which modules of two trees are the same: by path first, then by structure where they were moved or renamed.

Every rule is the same read from either side, so that matching `b` with `a` gives what matching `a` with `b` gives.
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
    """A module of one of the two trees, and what its subtree looks like. Two are equal when they are the same object."""

    __slots__ = (
        *("__weakref__", "_parent", "children", "index", "name", "node"),
        *("runs", "size", "strong", "traits", "types", "weak", "weight"),
    )

    def __init__(
        self, node: Node, parent: Module | None, index: int, traits: Mapping[str, Traits], types: Types | None = None
    ) -> None:
        """Make the module and those below it.

        Args:
            node: its place in the tree.
            parent: the module that holds it.
            index: its place among its siblings.
            traits: path to what is known about a module.
            types: path to the element types that it works on, which are no part of what it looks like; None where unknown.
        """
        # A reference in both directions would be a cycle, which is only freed by a search through everything.
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
        """The module that holds it."""
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
        """Give equal subtrees equal numbers, apart from the name of their root.

        `strong`: the same in everything. `weak`: with other names inside, and other operators that cost nothing.
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
    """The pairs found so far. `partner` goes both ways."""

    def __init__(self, old: Module, new: Module) -> None:
        """Match the modules of two trees."""
        self.partner: dict[Module, Module] = {}
        self.carried: set[Module] = set()
        """Modules of either side that were matched with all that surrounds them, whatever they are called."""
        self._released: _Pairs = []
        self._rounds = 0
        """How often all that was left was looked at."""
        self._trees = old, new
        self._left = max(limits.MATCHED_MODULES, _LEAST * (old.size + new.size))
        """How many modules may still be looked at."""
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
        """Whether a matched module is where its parent and its name say, or came along with a larger part."""
        if old.parent is None or old in self.carried:
            return True
        new = self.partner[old]
        return new.name == old.name and self.partner.get(old.parent) is new.parent

    def _join(self, old: Module, new: Module) -> None:
        self.partner[old] = new
        self.partner[new] = old

    def _by_path(self, old: Module, new: Module) -> None:
        """Pair the two and, by their names, what is below them."""
        named = {child.name: child for child in new.children if child not in self.partner}
        pairs = [(child, named[child.name]) for child in old.children if child.name in named and child not in self.partner]
        if not pairs and old.parent is not None and _differ_in_class(old, new):
            self._released.append((old, new))  # another module may have taken this place, as when a list got one more
            return
        self._join(old, new)
        for pair in pairs:
            self._by_path(*pair)

    def _by_structure(self) -> None:
        while self._whole_subtrees("strong") or self._whole_subtrees("weak") or self._parents():
            self._rounds += 1
            self._left -= sum(tree.size for tree in self._trees)
            if self._left < 0:
                return  # no real model comes here; what is left counts as added and removed

    def _whole_subtrees(self, look: str) -> bool:
        """Pair subtrees that look the same, the largest first, as far as it is clear which belongs to which."""
        old, new = (
            group_by(
                (module for module in tree.walk() if module not in self.partner),
                lambda module: (module.size, getattr(module, look)),
            )
            for tree in self._trees
        )
        common = group_by((key for key in old if key in new), lambda key: key[0])  # type: ignore[index]  # the size
        found = False
        for size in sorted(common, reverse=True):  # type: ignore[type-var]
            chosen = list(
                chain.from_iterable(self._choose(self._open(old[key]), self._open(new[key]), look) for key in common[size])
            )
            for pair in chosen:
                found = self._join_whole(*pair, look) or found
        return found

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
        """Of modules that look the same, those that belong together.

        First those whose parents do, then those that are the only ones, then those at the same numbers of a list, then those
        in one list. What is ambiguous stays alone.
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
            return []  # an activation or a container looks like any other
        if number == 1:
            return [(old[0], new[0])] if len(old) == len(new) == 1 else []
        one_parent = len({module.parent for module in old}) == len({module.parent for module in new}) == 1
        return self._siblings(old, new, look) if one_parent else []

    def _parent_of_partner(self, module: Module) -> Module | None:
        return self.partner.get(module.parent) if module.parent else None

    def _siblings(self, old: list[Module], new: list[Module], look: str) -> _Pairs:
        """Pair by name, the others in order where there are as many, and otherwise by their neighbours."""
        named = {module.name: module for module in new}
        pairs = [(module, named[module.name]) for module in old if module.name in named]
        taken = {module for pair in pairs for module in pair}
        left = [module for module in old if module not in taken], [module for module in new if module not in taken]
        if len(left[0]) == len(left[1]):
            return [*pairs, *zip(*left, strict=True)]
        return [*pairs, *self._beside(*left, look)]

    def _beside(self, old: list[Module], new: list[Module], look: str) -> _Pairs:
        """Pair those whose neighbours belong together, unless two would go with one.

        Where nothing else can decide about them, those beside these follow at once, and so on: to look at all modules again for
        each of a long list would take forever.
        """
        # Of those that differ in something, a closer look comes first; and where numbers can decide, they do before neighbours.
        numbers = set(map(_numbers, old)), set(map(_numbers, new))
        closely = look == "strong" or self._rounds > _ROUNDS
        numbered = len(numbers[0] | numbers[1]) > 1 and not numbers[0].isdisjoint(numbers[1])
        at_once = (closely and not numbered) or self._rounds > 2 * _ROUNDS
        alike = set(old), set(new)
        rest = set(old), set(new)
        found: _Pairs = []
        near = [pair for module in old for pair in self._next_to_known(module)]
        while True:
            near = [pair for pair in dict.fromkeys(near) if pair[0] in rest[0] and pair[1] in rest[1]]
            if not near or len({module for pair in near for module in pair}) < 2 * len(near):
                return found
            found += near
            for side, modules in zip(rest, zip(*near, strict=True), strict=True):
                side.difference_update(modules)
            sure = [pair for pair in near if at_once and self._whole(*pair)]
            near = [pair for known in sure for pair in _around(*known) if all(map(self._settled, pair, alike))]

    def _settled(self, module: Module, alike: Container[Module]) -> bool:
        """Whether its neighbours belong to others already, or look the same."""
        siblings = (_sibling(module, step) for step in (-1, 1))
        return all(sibling in self.partner or sibling in alike for sibling in siblings if sibling)

    def _next_to_known(self, old: Module) -> Iterator[tuple[Module, Module]]:
        """The module and what it would go with as the neighbour of a sibling that belongs to another one."""
        for step in (-1, 1):
            sibling = _sibling(old, step)
            partner = self.partner.get(sibling) if sibling else None
            new = _sibling(partner, -step) if partner else None
            if new:
                yield old, new

    def _whole(self, old: Module, new: Module) -> bool:
        """Whether nothing in the two belongs elsewhere."""
        return not any(module in self.partner for module in chain(old.walk(), new.walk()))

    def neighbours(self, old: Module, new: Module) -> tuple[tuple[Module, Module] | None, tuple[Module, Module] | None]:
        """The siblings before and behind, each where they belong together."""
        found = []
        for step in (-1, 1):
            before, after = _sibling(old, step), _sibling(new, step)
            known = before is not None and after is not None and self.partner.get(before) is after
            found.append((before, after) if known and before and after else None)
        return found[0], found[1]

    def _parents(self) -> bool:
        """Pair modules of one class most of whose children belong together, and by name what is left below them."""
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
        """The one parent of the partners of at least half of the children."""
        partners = [self.partner[child] for child in module.children if child in self.partner]
        parents = {partner.parent for partner in partners}
        return parents.pop() if len(parents) == 1 and 2 * len(partners) >= len(module.children) else None


_ROUNDS = 20
"""After which also those are paired at once that differ in something: real models need a few."""
_LEAST = 50
"""Rounds that are made in any case."""
_Key = Callable[[Module], Hashable]


def _differ_in_class(old: Module, new: Module) -> bool:
    known = old.traits.class_name and new.traits.class_name
    return bool(known) and old.traits.class_name != new.traits.class_name


def _inside(old: Module, new: Module, look: str) -> Iterator[tuple[Module, Module]]:
    """The pairs below two subtrees that look the same: by name where names are the same, otherwise in order."""
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
    """The pairs of their siblings before and behind."""
    for step in (-1, 1):
        before, after = _sibling(old, step), _sibling(new, step)
        if before and after:
            yield before, after


def _sibling(module: Module, step: int) -> Module | None:
    siblings = module.parent.children if module.parent else []
    place = module.index + step
    return siblings[place] if 0 <= place < len(siblings) else None
