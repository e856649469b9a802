"""Sizes for the symbols of programs with dynamic shapes: names and allowed values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from fxprof import limits
from fxprof.errors import FxprofError, TargetError, UsageError
from fxprof.strict_json import JsonError, read_json
from fxprof.trace.conditions import Conditions, Ranges, computed_values
from fxprof.trace.records import Tensor, Trace
from fxprof.trace.symbols import Expr, Sizes, UnboundSymbolError, evaluate, in_short, solve, symbols_in


@dataclass(frozen=True, slots=True)
class Dims:
    """The symbols of one program."""

    program: str
    trace: Trace
    ranges: Ranges
    conditions: Conditions = field(default_factory=Conditions)
    """Further conditions of the program on its sizes."""
    _named: dict[int, tuple[Expr, tuple[str, ...]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def names(self, size: object) -> tuple[str, ...]:
        """The symbols of an expression, each once. Many tensors may share one expression, which is searched once."""
        if not isinstance(size, Expr):
            return ()
        if id(size) not in self._named:
            self._named[id(size)] = size, tuple(dict.fromkeys(symbols_in(size)))
        return self._named[id(size)][1]

    def places(self) -> Iterator[tuple[str, Expr]]:
        """(`x.0`, the expression) for every dynamic size of an input."""
        for name, value in self.trace.inputs:
            if isinstance(value, Tensor):
                for axis, size in enumerate(value.shape):
                    if isinstance(size, Expr):
                        yield f"{name}.{axis}", size
            elif isinstance(value, Expr):
                yield name, value

    def needed(self) -> tuple[str, ...]:
        """The symbols of the inputs."""
        return _all(self.names(size) for size in _distinct(size for _, size in self.places()))

    def symbols(self) -> tuple[str, ...]:
        """All symbols, those of the inputs first."""
        sizes = (size for op in self.trace.walk() for value in op.outputs for size in _sizes(value))
        inside = map(self.names, _distinct(sizes))
        ranged = (name for name in self.ranges if name.isidentifier())  # torch also gives ranges to sizes such as `2*s44 + 1`
        return _all((self.needed(), dict(self.trace.symbols), ranged, *inside))


def _sizes(value: object) -> tuple[object, ...]:
    return value.shape if isinstance(value, Tensor) else (value,)


def _distinct(sizes: Iterable[object]) -> Iterator[Expr]:
    """The expressions among the sizes, each object once."""
    seen: set[int] = set()
    for size in sizes:
        if isinstance(size, Expr) and id(size) not in seen:
            seen.add(id(size))
            yield size


def _all(names: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """The names of several lists, each name once."""
    return tuple(dict.fromkeys(chain.from_iterable(names)))


def read_names(text: str) -> dict[str, str]:
    """Read further names of sizes from a file: name to symbol or `input.axis`. Malformed entries are left out."""
    try:
        names = read_json(text, values=limits.GRAPH_VALUES)
    except JsonError:
        return {}
    return {name: symbol for name, symbol in names.items() if isinstance(symbol, str)} if isinstance(names, dict) else {}


def bind_dims(
    target: str, programs: Sequence[Dims], names: Mapping[str, str], given: Mapping[str, int]
) -> list[dict[str, int]]:
    """Find the size of every symbol of every program: the given size, or that in the example inputs.

    Args:
        target: the name of the file in errors.
        programs: the programs of one file.
        names: further name to a symbol or place.
        given: size by symbol, place or further name; after the name of a program and a colon, for that program alone.

    Raises:
        UsageError: a name is in no program, a size is out of range, a symbol gets two sizes, no value of a symbol gives the
            size, or the program refuses it.
        TargetError: the file does not give the size of an input, or contradicts itself.
    """
    for name in given:
        if not any(_resolve(program, asked, 1) for program in programs for asked in _meant(program, names, name)):
            raise UsageError(f"{target} has no dynamic size {name}", _known(programs, names))
    return [_bind(target, program, names, given, several=len(programs) > 1) for program in programs]


def _meant(program: Dims, names: Mapping[str, str], name: str) -> Iterator[str]:
    """The symbol or place that a name refers to in a program; nothing if the name belongs to another program."""
    if name in names:
        yield names[name]
        return
    head = f"{program.program}:"
    local = name.removeprefix(head)
    if ":" not in local or not name.startswith(head):
        yield names.get(local, local)


def _bind(target: str, program: Dims, names: Mapping[str, str], given: Mapping[str, int], *, several: bool) -> dict[str, int]:
    if several:
        target = f"{program.program} of {target}"
    sizes: dict[str, int] = {}
    for name, size in given.items():
        resolved = next((_resolve(program, asked, size) for asked in _meant(program, names, name)), None)
        if resolved is None:
            continue
        symbol, value = resolved
        if value is None:
            raise UsageError(f"{name}={size} is impossible: {target} has {symbol} there", _known([program], names))
        if sizes.get(symbol, value) != value:
            raise UsageError(f"{name}={size} contradicts another --dim: {symbol} is {sizes[symbol]} there")
        _check_range(program, f"{name}={size}", symbol, value, (target, _known([program], names)))
        sizes[symbol] = value
    bound = {**dict(program.trace.symbols), **sizes}
    missing = [symbol for symbol in program.needed() if symbol not in bound]
    if missing:
        hint = f"set it with --dim {missing[0]}=N; {_known([program], names)}"
        raise TargetError(f"{target} does not give the size of {_listed(missing)}", hint)
    _check_inputs(target, program, bound, UsageError if sizes else TargetError)
    asked = [f"{name}={size}" for name, size in given.items() if any(_meant(program, names, name))]
    _check_conditions(target, program, bound, names, asked if sizes else [])
    return bound


def _check_conditions(
    target: str, program: Dims, bound: Mapping[str, int], names: Mapping[str, str], asked: Sequence[str]
) -> None:
    """Refuse sizes that the program itself refuses."""
    violated = program.conditions.violated(bound, computed_values(program.trace, bound))
    if violated is None:
        return
    if asked:
        message = f"{_listed(asked)} is impossible: {target} refuses to run, because {violated.words} does not hold"
        raise UsageError(message, _known([program], names))
    message = f"{target} contradicts itself: {violated.words} does not hold at the sizes of its example inputs"
    raise TargetError(message, "export the program again with torch.export.save")


def told_guards(programs: Sequence[Dims], given: Mapping[str, int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sentences about guards of a form that fxprof does not know: approximations, and remarks.

    At the sizes of the example inputs such a guard holds: torch recorded it because it held.
    """
    unread = [(program.program, text) for program in programs for text in program.conditions.unread]
    sentences = tuple(
        f"{name} has a guard that could not be checked, {_shortened(text)}; if it fails, torch refuses to run"
        for name, text in unread[:_MOST_TOLD]
    )
    if len(unread) > _MOST_TOLD:
        sentences += (f"{len(unread) - _MOST_TOLD:,} more guards could not be checked; if one fails, torch refuses to run",)
    return (sentences, ()) if given else ((), sentences)


_MOST_TOLD = 100
"""Guards that get a sentence each."""


def _check_inputs(target: str, program: Dims, bound: Mapping[str, int], error: type[FxprofError]) -> None:
    """Refuse sizes of inputs that are negative or not integers."""
    sizes = Sizes(bound)
    for name, value in program.trace.inputs:
        for axis, size in enumerate(value.shape if isinstance(value, Tensor) else ()):
            try:
                sizes.size(size)
            except UnboundSymbolError as unbound:
                raise error(f"{target} has the size {name}.{axis}: {unbound.args[0]}, which is not a size") from unbound


def _listed(names: Sequence[str]) -> str:
    others = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {others:,} more" if others > 0 else "")


_SHOWN = 6
"""Sizes that a message names."""


def _resolve(program: Dims, name: str, size: int) -> tuple[str, int | None] | None:
    """The symbol behind a name and its value, with None as value if none gives the size; None alone for an unknown name."""
    if name in program.symbols():
        return name, size
    for place, expression in program.places():
        if place == name:
            solved = solve(expression, size)
            return solved if solved is not None else (in_short(expression), None)
    return None


def _check_range(program: Dims, asked: str, symbol: str, value: int, about: tuple[str, str]) -> None:
    target, hint = about
    least, largest = program.ranges.get(symbol, (None, None))
    if value < enforced_least(least) or (largest is not None and value > largest):
        raise UsageError(f"{asked} is out of the range of {target}", hint)
    for expression in _distinct(size for _, size in program.places()):
        try:
            if set(program.names(expression)) == {symbol} and evaluate(expression, {symbol: value}) < 0:
                raise UsageError(f"{asked} makes the size {in_short(expression)} of {target} negative")
        except UnboundSymbolError:
            continue


def enforced_least(least: int | None) -> int:
    """The least size that torch lets a program run with: two is that of any dynamic size, and none when it runs."""
    return least if least is not None and least > 2 else 0  # noqa: PLR2004 - as the docstring says


def _range(least: int | None, largest: int | None) -> str:
    least = enforced_least(least)
    if largest is None:
        return f"{least} or more" if least else "any size"
    return f"{least} to {largest}" if least else f"up to {largest}"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


_LONGEST = 120
"""Characters of a guard in a message."""


def _known(programs: Sequence[Dims], names: Mapping[str, str]) -> str:
    """All settable sizes, in words: `s77 (x.0, batch): 2 to 64, 4 in the example`."""
    parts = []
    for program in programs:
        for symbol in program.symbols()[:_SHOWN]:
            at = dict.fromkeys(place for place, size in program.places() if symbol in program.names(size))
            called = [name for name, meant in names.items() if meant == symbol or meant in at]
            example = dict(program.trace.symbols).get(symbol)
            label = f"{symbol} ({_listed([*called, *at])})" if called or at else symbol
            label = f"{program.program}:{label}" if len(programs) > 1 else label
            known = f", {example} in the example" if example is not None else ""
            parts.append(f"{label}: {_range(*program.ranges.get(symbol, (None, None)))}{known}")
    return f"it has {'; '.join(list(dict.fromkeys(parts))[:_SHOWN])}" if parts else "all its sizes are fixed"
