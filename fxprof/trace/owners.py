"""The owners of a graph's weights: an operator without a module stack is assigned to the module whose weights it takes.

The rules are the same for a live graph and for a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from fxprof.trace.fields import DEEPEST_MODULE, LONGEST_PATH
from fxprof.trace.higher_order import PREFIX
from fxprof.trace.records import Frame
from fxprof.trace.stacks import Entry, StackReader, is_below, true_entries

_T = TypeVar("_T")

Operand = tuple[str, str]
"""The name of an argument, and the name of its value."""


class ProgramPaths:
    """The modules of a graph that are exported programs made callable, with a look-up by the modules inside them.

    Args:
        paths: the paths of these modules.
    """

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self.paths = frozenset(paths)
        self._around: dict[str, str | None] = {}

    def around(self, path: str) -> str | None:
        """The innermost program that is a module itself or contains it; None if there is none."""
        if path not in self._around:
            heads = _with_those_around(path) if self.paths else ()
            self._around[path] = next((head for head in heads if head in self.paths), None)
        return self._around[path]


def _with_those_around(path: str) -> Iterator[str]:
    """A module and the modules around it, innermost first."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


class Owners:
    """The values of a graph, or of a body, that are weights or computed from weights alone, and the modules of these weights.

    Args:
        stacks: makes the frames.
        owner_of: name of a value to the path of its module in the graph's own program.
        outer: the stack of the operator around the body; empty for a program's own graph.
        programs: modules that are exported programs made callable; inside these, torch leaves out all stacks.
    """

    def __init__(
        self,
        stacks: StackReader,
        owner_of: Mapping[str, str],
        outer: tuple[Frame, ...] = (),
        programs: ProgramPaths | None = None,
    ) -> None:
        self._stacks = stacks
        self._programs = programs or ProgramPaths()
        self._owner_of = dict(owner_of)
        self._outer = outer
        self._number = stacks.new_graph()
        self._uses: dict[tuple[str, str], int] = {}

    def placed(self, stack: tuple[Frame, ...], target: str, operands: Sequence[Operand]) -> tuple[Frame, ...]:
        """The stack of an operator: its own, or without one that of the module whose weights it takes."""
        if stack and not (self._programs.paths and self._is_in_program(stack[-1].path, operands)):
            return stack
        return self.frames(target, operands, stack) or stack

    def _is_in_program(self, path: str, operands: Sequence[Operand]) -> bool:
        """Whether an operator of a module takes a weight of a program inside that module."""
        owners = (self._stacks.path(self._owner_of[value]) for _, value in operands if value in self._owner_of)
        # Of several programs around a weight, the innermost is inside the module if any of them is.
        programs = (self._programs.around(owner) for owner in owners)
        return any(program is not None and is_below(program, path) for program in programs)

    def frames(self, target: str, operands: Sequence[Operand], outer: tuple[Frame, ...] = ()) -> tuple[Frame, ...]:
        """The stack for an operator without one; empty if it takes no weight."""
        owned = [(name, value) for name, value in operands if value in self._owner_of]
        if not owned:
            return ()
        # The activation may also come from a weight, such as a table of positions.
        _, value = max(owned, key=lambda item: (item[0] in _WEIGHTS, self._owner_of[item[1]].count(".")))
        use = self._uses[target, value] = self._uses.get((target, value), -1) + 1
        return self._stacks.owned(outer or self._outer, self._owner_of[value], f"{self._number} {use}")

    def define(self, operands: Sequence[Operand], results: Sequence[str]) -> None:
        """Record the results of an operator whose operands are the weights of a single module, such as a transposition."""
        if operands and operands[0][1] in self._owner_of and len(results) == 1:
            owners = {self._owner_of.get(value) for _, value in operands}
            if len(owners) == 1:
                self._owner_of[results[0]] = self._owner_of[operands[0][1]]

    def inside(self, operands: Sequence[str], inputs: Sequence[str], stack: tuple[Frame, ...]) -> Owners:
        """The owners for a body.

        Args:
            operands: names of the values that the operator passes to its body, in the order of `handed_over`.
            inputs: names of the body's inputs.
            stack: the stack of the operator.
        """
        pairs = zip(operands, inputs, strict=True) if len(operands) == len(inputs) else ((name, name) for name in inputs)
        owner_of = {inner: self._owner_of[name] for name, inner in pairs if name in self._owner_of}
        return Owners(self._stacks, owner_of, stack or self._outer, self._programs)


_WEIGHTS = ("weight", "mat2", "other", "w_ih", "w_hh", "params", "qkv_weight", "hx")
"""Arguments for weights, in operators that take the activation as another argument."""

_HANDED: Mapping[str, tuple[str, ...]] = {
    "cond": ("operands",),
    "while_loop": ("carried_inputs", "additional_inputs"),
    "while_loop_stack_output": ("carried_inputs", "additional_inputs"),
    "scan": ("init", "xs", "additional_inputs"),
    "associative_scan": ("xs", "xs", "additional_inputs"),
    "map": ("xs", "pos_args"),
    "map_impl": ("xs", "pos_args"),
    "invoke_subgraph": ("operands",),
}
"""Higher-order operator to the arguments that it passes to its body, in order."""


def handed_over(target: str, arguments: Iterable[tuple[str, Sequence[_T]]]) -> list[_T]:
    """The values that an operator passes to its body.

    Args:
        target: the operator, as in `Op.target`.
        arguments: (name, its values, for example by their names), without the bodies.
    """
    known = dict(arguments)
    names = _HANDED.get(target.removeprefix(PREFIX), ("args",) if "args" in known else tuple(known))
    return [value for name in names for value in known.get(name, ())]


def other_paths(
    stacks: Iterable[tuple[tuple[Entry, ...], Iterable[Operand]]], owner_of: Mapping[str, str], modules: Collection[str]
) -> dict[str, str]:
    """Further paths of modules in a strict export (`m[0]` for a module that is also in a list), to the modules' own paths.

    Args:
        stacks: stacks of operators, with their operands.
        owner_of: name of a weight to the path of its module.
        modules: the modules' own paths.
    """
    own_paths: dict[str, str] = {}
    known: dict[tuple[Entry, ...], tuple[dict[str, str], str | None]] = {}
    """Stack to the further paths in it, and to the path of its innermost module, or None if that is the module's own path."""
    for entries, operands in stacks:
        if entries not in known:
            spelled = _spelled(entries, modules)
            innermost = true_entries(entries)[-1:] if spelled is not None else []
            known[entries] = spelled or {}, next((path for _, path, _ in innermost if path not in modules), None)
        spelled, path = known[entries]
        if spelled:
            own_paths.update(spelled)
        if path is not None:
            owner = next((owner_of[value] for name, value in operands if name in _WEIGHTS and value in owner_of), None)
            if owner is not None:
                own_paths.update(_with_parents(path, owner, modules))
    return own_paths


def _spelled(entries: tuple[Entry, ...], modules: Collection[str]) -> dict[str, str] | None:
    """Misspelled paths in a stack, to the modules' own spelling; None for a stack that reading the operator refuses."""
    if any(len(path) > LONGEST_PATH or path.count(".") >= DEEPEST_MODULE for _, path, _ in entries):
        return None
    own = {path: _SPELLINGS.sub(lambda match: f".{match[1] or match[2]}", path) for _, path, _ in true_entries(entries)}
    return {path: spelled for path, spelled in own.items() if path not in modules and spelled in modules}


_SPELLINGS = re.compile(r"(?:\._modules)?\[(?:'([^']*)'|(\d+))\]")


def _with_parents(path: str, own: str, modules: Collection[str]) -> dict[str, str]:
    """A further path and its own path, and the pairs of their parents as long as both have the same last name."""
    pairs = {path: own}
    while "." in path and "." in own and path.rpartition(".")[2] == own.rpartition(".")[2]:
        path, own = path.rpartition(".")[0], own.rpartition(".")[0]
        if path in modules:
            break
        pairs[path] = own
    return pairs


def renaming(paths: Mapping[str, str]) -> Callable[[str], str]:
    """A function from a path to the module's own path, which replaces the longest known beginning."""

    def rename(path: str) -> str:
        head = path if path.count(".") < DEEPEST_MODULE else ""  # reading the operator reports a deeper one
        while head:
            if head in paths:
                return f"{paths[head]}{path[len(head) :]}"
            head = head.rpartition(".")[0]
        return path

    return rename


def constant_names(names: Iterable[str]) -> dict[str, str]:
    """Names of constants; those that torch numbers through the whole program are numbered within their module instead.

    Two modules that do the same work then have constants with the same names.
    """
    counts: dict[str, int] = {}
    found = {}
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is not None:
            number = counts[match[1]] = counts.get(match[1], -1) + 1
            found[name] = f"{match[1]}{number}"
    return found


_NUMBERED = re.compile(r"((?:.*\.)?(?:lifted_tensor_|_tensor_constant))\d+", re.DOTALL)
