"""The table from operator to formula, and the decorator that fills it.

A formula is a function whose parameters have the names of the operator's schema. It receives, by name:

* for a tensor, its shape as a tuple of integers, or the whole `Tensor` if the parameter is annotated `Tensor`;
* for a list of tensors, a tuple of shapes; for anything else, the value itself;
* if the caller left the argument out, the parameter's own default, or None without one: a graph does not contain the defaults
  of the operator's schema;
* as `out`, the shape of the first result; as `outs`, the shapes of all results.

It returns an integer: the multiply-accumulates of one execution.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from fxprof.errors import FormulaError
from fxprof.trace import Op, Value

Shape = tuple[int, ...]
Rule = Callable[..., int]
_Rule = TypeVar("_Rule", bound=Rule)

KINDS = (
    "linear",
    "convolution",
    "attention",
    "matmul",
    "recurrent",
    "custom",
    "control",
    "fourier",
    "normalisation",
    "elementwise",
    "reduction",
    "resampling",
    "lookup",
    "movement",
    "view",
    "creation",
    "random",
    "symbolic",
    "check",
    "unknown",
)
"""The kinds of work of operators. The first six can cost MACs; `control` contains other operators; `fourier` is counted in
FLOPs by a separate convention."""


class NoFormulaError(Exception):
    """Raised by a formula: the cost of the operator with these arguments is unknown; the text says why."""


@dataclass(frozen=True, slots=True)
class Formula:
    """One rule and its operators."""

    targets: tuple[str, ...]
    """Operators without overload (`aten.conv2d`), or with one (`aten.add.Tensor`) if overloads differ."""
    kind: str
    function: Rule
    parameters: tuple[str, ...]
    """Names in the operator's schema, and `out` or `outs`."""
    wants_tensor: frozenset[str]
    """The parameters that take a whole `Tensor` instead of its shape."""
    optional: frozenset[str]
    """The parameters with a default, which is used if the caller left the argument out."""
    origin: str
    """`fxprof`, or the file or package that brought the formula."""

    def bind(self, op: Op, plain: Callable[[Value, bool], object]) -> dict[str, object]:
        """The arguments of an operator that the formula takes.

        Args:
            op: the operator.
            plain: turns a value into the formula's argument; its second argument says whether the formula wants whole tensors.
        """
        given = dict(op.args)
        if "out" in self.parameters:
            given["out"] = op.outputs[0] if op.outputs else None
        if "outs" in self.parameters:
            given["outs"] = op.outputs
        return {
            name: plain(given.get(name), name in self.wants_tensor)
            for name in self.parameters
            if name in given or name not in self.optional
        }

    @property
    def doc(self) -> str:
        """The docstring: shapes, the product, and the parts that are not counted."""
        return inspect.getdoc(self.function) or "This formula has no description."


def spellings(target: str) -> tuple[str, str, str]:
    """The names of an operator in tables: with its overload, without, and as its functional form."""
    packet = target.rsplit(".", 1)[0] if target.count(".") > 1 else target
    return target, packet, packet.removesuffix("_")


class Formulas:
    """A table of formulas; it refuses a second formula for one operator unless that overrides on purpose."""

    def __init__(self, table: Mapping[str, Formula] | None = None) -> None:
        """Start from a copy of `table`."""
        self._table = dict(table or {})

    @property
    def table(self) -> Mapping[str, Formula]:
        """Operator to formula, read-only."""
        return MappingProxyType(self._table)

    def __iter__(self) -> Iterator[str]:
        """The operators, in the order of declaration."""
        return iter(self._table)

    def find(self, target: str) -> Formula | None:
        """Find the formula for an operator: by overload, by name, or by the name of its functional form.

        `aten.addmm_.default` is the in-place form of `aten.addmm`, and costs the same.
        """
        return next((self._table[name] for name in spellings(target) if name in self._table), None)

    def formula(
        self, *targets: str, kind: str = "custom", override: bool = False, origin: str = ""
    ) -> Callable[[_Rule], _Rule]:
        """Declare the decorated function as the formula of `targets`.

        Args:
            targets: operators such as `aten.conv2d` or `mylib.fused_attention`, without or with overload.
            kind: their kind of work, one of `KINDS`.
            override: whether it may replace an existing formula.
            origin: the source of the formula; by default the package of the function.

        Raises:
            FormulaError: no target, a malformed target, an unknown kind, a duplicate, or a parameter without a name.
        """

        def declare(function: _Rule) -> _Rule:
            made = _make(targets, kind, function, origin)
            for target in targets:
                if target in self._table and not override:
                    msg = f"two formulas for {target}: {self._table[target].function.__name__} and {function.__name__}"
                    raise FormulaError(msg, "pass override=True to replace the existing one")
            self._table.update(dict.fromkeys(targets, made))
            return function

        return declare


def _make(targets: tuple[str, ...], kind: str, function: Rule, origin: str) -> Formula:
    name = getattr(function, "__name__", "a formula")
    if not targets or any(not isinstance(target, str) or "." not in target.strip(".") for target in targets):
        raise FormulaError(f"{name}: a formula needs operators as namespace.name, such as aten.conv2d; got {targets!r}")
    if kind not in KINDS:
        raise FormulaError(f"{name}: {kind!r} is not a kind", f"one of {', '.join(KINDS)}")
    parameters = inspect.signature(function).parameters
    if any(parameter.kind not in _NAMED for parameter in parameters.values()):
        raise FormulaError(f"{name}: a formula's parameters are names of the operator's schema; *args and **kwargs have none")
    wants_tensor = frozenset(key for key, parameter in parameters.items() if _is_tensor(parameter.annotation))
    optional = frozenset(key for key, parameter in parameters.items() if parameter.default is not parameter.empty)
    made_by = origin or function.__module__.partition(".")[0]
    return Formula(targets, kind, function, tuple(parameters), wants_tensor, optional, made_by)


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _is_tensor(annotation: object) -> bool:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return text.split("|")[0].strip().rsplit(".", 1)[-1] == "Tensor"


BUILT_IN = Formulas()
"""The built-in formulas, and those that `fxprof.formula` adds in this process."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The table and origin for declarations by `formula`."""

    table: Formulas
    origin: str = ""


_PLACE: ContextVar[_Place | None] = ContextVar("place", default=None)


def formula(*targets: str, kind: str = "custom", override: bool = False, origin: str = "") -> Callable[[_Rule], _Rule]:
    """Declare a formula for the whole process, or for the table into which a file or plug-in is being loaded.

    See `Formulas.formula` for the arguments and errors.
    """
    place = _PLACE.get() or _Place(BUILT_IN)
    return place.table.formula(*targets, kind=kind, override=override, origin=origin or place.origin)


@contextmanager
def declaring_into(table: Formulas, origin: str) -> Iterator[None]:
    """Let `formula` declare into `table`, on behalf of `origin`, during the context."""
    token = _PLACE.set(_Place(table, origin))
    try:
        yield
    finally:
        _PLACE.reset(token)
