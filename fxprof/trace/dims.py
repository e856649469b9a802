"""Sizes for the symbols of programs with dynamic shapes: their names, and what they may be."""

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
    """What else it asks of its sizes."""
    _named: dict[int, tuple[Expr, tuple[str, ...]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def names(self, size: object) -> tuple[str, ...]:
        """The symbols of an expression, each once; many tensors may have one expression, which is looked through once."""
        if not isinstance(size, Expr):
            return ()
        if id(size) not in self._named:
            self._named[id(size)] = size, tuple(dict.fromkeys(symbols_in(size)))
        return self._named[id(size)][1]

    def places(self) -> Iterator[tuple[str, Expr]]:
        """(`x.0`, the expression) for every size of an input that is not fixed."""
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
        ranged = (name for name in self.ranges if name.isidentifier())  # torch gives sizes such as `2*s44 + 1` a range, too
        return _all((self.needed(), dict(self.trace.symbols), ranged, *inside))


def _sizes(value: object) -> tuple[object, ...]:
    return value.shape if isinstance(value, Tensor) else (value,)


def _distinct(sizes: Iterable[object]) -> Iterator[Expr]:
    """The expressions among sizes, each object once."""
    seen: set[int] = set()
    for size in sizes:
        if isinstance(size, Expr) and id(size) not in seen:
            seen.add(id(size))
            yield size


def _all(names: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """All of several lists of names, each name once."""
    return tuple(dict.fromkeys(chain.from_iterable(names)))


def read_names(text: str) -> dict[str, str]:
    """Further names of sizes, as whoever wrote a file gave them: name to symbol or `input.axis`. What is none is left out."""
    try:
        names = read_json(text, values=limits.GRAPH_VALUES)
    except JsonError:
        return {}
    return {name: symbol for name, symbol in names.items() if isinstance(symbol, str)} if isinstance(names, dict) else {}


def bind_dims(
    target: str, programs: Sequence[Dims], names: Mapping[str, str], given: Mapping[str, int]
) -> list[dict[str, int]]:
    """The size of every symbol of every program: as given, or as in the example inputs.

    Args:
        target: what to call the whole in errors.
        programs: of one file.
        names: further names to a symbol or place.
        given: size by symbol, place or further name; behind the name of a program and a colon, of that program alone.

    Raises:
        UsageError: a name that no program has, a size out of range, two sizes for one symbol, one that makes no sizes, or that
            the program refuses.
        TargetError: the file does not say how large an input is, or says what cannot be.
    """
    for name in given:
        if not any(_resolve(program, asked, 1) for program in programs for asked in _meant(program, names, name)):
            raise UsageError(f"{target} has no dynamic size {name}", _known(programs, names))
    return [_bind(target, program, names, given, several=len(programs) > 1) for program in programs]


def _meant(program: Dims, names: Mapping[str, str], name: str) -> Iterator[str]:
    """The symbol or place that a name asks for in a program; nothing where it is of another program."""
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
        found = next((_resolve(program, asked, size) for asked in _meant(program, names, name)), None)
        if found is None:
            continue
        symbol, value = found
        if value is None:
            raise UsageError(f"{name}={size} cannot be: {target} has {symbol} there", _known([program], names))
        if sizes.get(symbol, value) != value:
            raise UsageError(f"{name}={size} contradicts another --dim: {symbol} is {sizes[symbol]} there")
        _check_range(program, f"{name}={size}", symbol, value, (target, _known([program], names)))
        sizes[symbol] = value
    bound = {**dict(program.trace.symbols), **sizes}
    missing = [symbol for symbol in program.needed() if symbol not in bound]
    if missing:
        hint = f"say it with --dim {missing[0]}=N; {_known([program], names)}"
        raise TargetError(f"{target} does not say how large {_listed(missing)} is", hint)
    _check_inputs(target, program, bound, UsageError if sizes else TargetError)
    asked = [f"{name}={size}" for name, size in given.items() if any(_meant(program, names, name))]
    _check_conditions(target, program, bound, names, asked if sizes else [])
    return bound


def _check_conditions(
    target: str, program: Dims, bound: Mapping[str, int], names: Mapping[str, str], asked: Sequence[str]
) -> None:
    """Refuse sizes that the program itself would refuse."""
    violated = program.conditions.violated(bound, computed_values(program.trace, bound))
    if violated is None:
        return
    if asked:
        what = f"{_listed(asked)} cannot be: {target} refuses to run, because {violated.words} does not hold"
        raise UsageError(what, _known([program], names))
    what = f"{target} contradicts itself: {violated.words} does not hold at the sizes of its example inputs"
    raise TargetError(what, "export the program anew with torch.export.save")


def told_guards(programs: Sequence[Dims], given: Mapping[str, int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sentences about guards that are not of a form that is known here: approximations, and remarks.

    At the sizes of the example inputs such a guard holds, for torch noted it because it did.
    """
    unread = [(program.program, text) for program in programs for text in program.conditions.unread]
    told = tuple(
        f"{name} has a guard that could not be checked, {_shortened(text)}; where it fails, torch refuses to run"
        for name, text in unread[:_MOST_TOLD]
    )
    if len(unread) > _MOST_TOLD:
        told += (f"{len(unread) - _MOST_TOLD:,} more guards could not be checked; where one fails, torch refuses to run",)
    return (told, ()) if given else ((), told)


_MOST_TOLD = 100
"""Guards that are told one by one."""


def _check_inputs(target: str, program: Dims, bound: Mapping[str, int], error: type[FxprofError]) -> None:
    """Refuse sizes of inputs that are negative or no integers."""
    sizes = Sizes(bound)
    for name, value in program.trace.inputs:
        for axis, size in enumerate(value.shape if isinstance(value, Tensor) else ()):
            try:
                sizes.size(size)
            except UnboundSymbolError as found:
                raise error(f"{target} has the size {name}.{axis}: {found.args[0]}, which no size is") from found


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


_SHOWN = 6
"""Sizes that a message names."""


def _resolve(program: Dims, name: str, size: int) -> tuple[str, int | None] | None:
    """The symbol that a name stands for and its value, None where no value gives the size; None for an unknown name."""
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
    if value < max(least or 0, 0) or (largest is not None and value > largest):
        raise UsageError(f"{asked} is out of the range of {target}", hint)
    for expression in _distinct(size for _, size in program.places()):
        try:
            if set(program.names(expression)) == {symbol} and evaluate(expression, {symbol: value}) < 0:
                raise UsageError(f"{asked} makes the size {in_short(expression)} of {target} negative")
        except UnboundSymbolError:
            continue


def _range(least: int | None, largest: int | None) -> str:
    return f"{least or 0} to {largest}" if largest is not None else f"{least or 0} or more"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


_LONGEST = 120
"""Characters of a guard in a message."""


def _known(programs: Sequence[Dims], names: Mapping[str, str]) -> str:
    """All sizes that can be set, in words: `s77 (x.0, batch): 2 to 64, 4 in the example`."""
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
