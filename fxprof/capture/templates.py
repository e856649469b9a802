"""Rendering strangers' chat templates with bounds: on repetitions, on sizes, and on the work of filters and methods.

transformers renders in Jinja's sandbox, which keeps a template from running code but not from running forever or from
growing. A rehearsal replaces that sandbox by this one: the same results, and an error at the first excess.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, Sized
from contextlib import contextmanager
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from transformers.utils import chat_template_utils

from fxprof import limits
from fxprof.errors import CaptureError

_MOST_WORK = limits.TEMPLATE_STEPS
_LARGEST = limits.TEMPLATE_VALUE
_LONGEST_NUMBER = 10_000
"""The most bits of a number."""
_LONGEST_TEMPLATE = limits.TEMPLATE
_WIDE = re.compile(r"\d{5}")
"""A needlessly large width in a format."""
_NUMBERS = re.compile(r"\d+")
_WITHIN = re.compile(r"\{[^{}]*\{")
"""A width in a format that comes from the values."""
_GROWING = frozenset({"replace", "join", "translate", "expandtabs", "indent", "wordwrap", "tojson"})
"""Methods and filters whose result may be as long as the product of their arguments."""
_SPACING = frozenset({"expandtabs", "indent", "tojson"})
"""Those among them that take a number of spaces."""
_BY_LEVELS = frozenset({"tojson", "pprint"})
"""Filters whose work also grows with the levels of their arguments."""
_LARGEST_PRODUCT = _LARGEST * 50
_BY_KIND = frozenset(
    {"defined", "undefined", "none", "boolean", "true", "false", "integer", "float", "number", "string", "mapping"}
    | {"callable", "sequence", "iterable", "sameas", "escaped"}
)
"""Tests that examine only the kind of a value."""


class ExcessError(CaptureError, SecurityError):
    """A template needs more than any chat; an error of the sandbox and of the target, not of fxprof."""

    message: str = ""  # jinja has a property of this name


class _Template(jinja2.Template):
    """A template with the whole budget for each rendering."""

    environment: BoundedEnvironment

    def new_context(self, *args: Any, **kwargs: Any) -> jinja2.runtime.Context:
        self.environment.refill()  # every rendering begins with a context
        return super().new_context(*args, **kwargs)


class _Context(jinja2.runtime.Context):
    """Names of a template, all of which are copied for a block that sees the names around it."""

    environment: BoundedEnvironment

    def derived(self, locals: dict[str, Any] | None = None) -> jinja2.runtime.Context:  # noqa: A002 - jinja's name
        self.environment.spend(len(self.parent) + len(self.vars) + len(locals or ()))
        return super().derived(locals)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with a budget for each template."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
    template_class = _Template
    context_class = _Context

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of the sandbox."""
        super().__init__(*args, **kwargs)
        self.optimized = False
        self.refill()
        self.filters = _Filters(self, self.filters)
        self.tests = _Tests(self, self.tests)  # type: ignore[assignment, arg-type]  # jinja's types know no wrapped function
        self.globals.pop("lipsum", None)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if len(source) > _LONGEST_TEMPLATE:
            raise ExcessError("the chat template of the model is too long")
        tree = super()._parse(source, name, filename)
        if _count(tree) > limits.TEMPLATE_NODES:
            raise ExcessError(
                f"the chat template of the model has more than {limits.TEMPLATE_NODES:,} names, values and statements"
            )
        return _Metered().visit(tree)  # type: ignore[no-any-return]

    def refill(self) -> None:
        """Begin a rendering with a full budget."""
        self._left = _MOST_WORK

    def spend(self, amount: int) -> None:
        """Take an amount off the budget.

        Raises:
            ExcessError: the rest of the budget is not enough.
        """
        self._left -= max(amount, 0)
        if self._left < 0:
            raise ExcessError("the chat template of the model does not come to an end")

    def weigh(self, *values: Any) -> None:
        """Pay for values.

        Raises:
            ExcessError: one is larger than any chat needs.
        """
        self.spend(1 + sum(_weight(value) for value in values))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute an arithmetic operator, unless its result would be larger than any chat needs."""
        _check_binop(operator, left, right)
        self.weigh(left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method or macro with the same checks."""
        receiver = getattr(obj, "__self__", None)
        args = tuple(_listed(self, item) for item in args)
        if isinstance(receiver, (str, list, tuple, dict)):
            self.check(getattr(obj, "__name__", ""), (receiver, *args), kwargs)
        else:
            self.weigh(*args, *kwargs.values())
        result = super().call(context, obj, *args, **kwargs)
        self.weigh(result)
        return result

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Wrap the `format` of a text in the same checks."""
        function = super().wrap_str_format(value)
        if function is None:
            return None

        def call(*args: Any, **kwargs: Any) -> str:
            self.check("format", (value.__self__, *args), kwargs)
            return function(*args, **kwargs)

        return call

    def check(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Pay for the arguments of a filter or of a method of a text or a list.

        Raises:
            ExcessError: its result may be larger than any chat needs.
        """
        given = (*args, *kwargs.values())
        self.weigh(*given)
        if any(isinstance(value, int) and abs(value) > _LARGEST for value in given) or _product(name, given) > _LARGEST_PRODUCT:
            raise ExcessError(f"the chat template of the model asks for too much: {name}")
        if name in {"format", "format_map"} and given and _is_wide(given[0], given[1:]):
            raise ExcessError("the chat template of the model asks for too much: format")


_INSIDE = (jinja2.Environment, jinja2.runtime.Context, nodes.EvalContext)
"""Classes of arguments that jinja itself gives to some filters."""


def _listed(environment: BoundedEnvironment, value: Any) -> Any:
    """A list of a lazy value's items, because its size has to be known."""
    return list(_paid(environment, value)) if isinstance(value, (Iterator, range)) else value


def _product(name: str, given: tuple[Any, ...]) -> int:
    """The possible size of a filter's or method's result, or its work, where that exceeds the size of the arguments."""
    sizes = [abs(value) if name in _SPACING and isinstance(value, int) else _weight(value) for value in given]
    sizes.sort(reverse=True)
    if name == "sum" and isinstance(given[0], Sized):  # lists are added one by one, and copied each time
        return len(given[0]) * sizes[0] if any(isinstance(value, (list, tuple)) for value in given[1:]) else 0
    levels = _levels(given[0]) if name in _BY_LEVELS else 1
    return levels * sizes[0] * max(*sizes[1:], 1) if name in _GROWING and len(sizes) > 1 else levels * sizes[0] * (levels > 1)


def _levels(value: Any) -> int:
    """The number of levels of values in values."""
    levels, inside = 0, [value]
    while inside:
        levels += 1
        lists = [item for item in inside if isinstance(item, (Mapping, list, tuple))]
        inside = [part for item in lists for part in (item.values() if isinstance(item, Mapping) else item)]
    return levels


class _Filters(dict[str, Callable[..., Any]]):
    """Filters that pay for their arguments and results."""

    def __init__(self, environment: BoundedEnvironment, filters: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__()
        self._environment = environment
        for name, function in filters.items():
            self[name] = function
        for name, function in _METERS.items():
            super().__setitem__(name, function)

    def __setitem__(self, name: str, function: Callable[..., Any]) -> None:
        environment = self._environment

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            args = tuple(_listed(environment, item) for item in args)
            given = tuple(item for item in args if not isinstance(item, _INSIDE))
            environment.check(name, given, kwargs)
            result = function(*args, **kwargs)
            environment.weigh(result)
            return result

        super().__setitem__(name, call)


class _Tests(dict[str, Callable[..., Any]]):
    """Tests that pay for the values that they compare."""

    def __init__(self, environment: BoundedEnvironment, tests: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__()
        self._environment = environment
        for name, function in tests.items():
            self[name] = function

    def __setitem__(self, name: str, function: Callable[..., Any]) -> None:
        environment = self._environment

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if name in _BY_KIND:
                environment.spend(1)
            elif name == "in" and len(args) > 1:
                environment.weigh(args[0])
                args = (args[0], _searched(environment, args[1]), *args[2:])
            else:
                environment.weigh(*(item for item in args if not isinstance(item, _INSIDE)), *kwargs.values())
            return function(*args, **kwargs)

        super().__setitem__(name, call)


class _Metered(NodeTransformer):
    """Puts the meter into a template: into all repeated parts, and into nodes that examine, copy or make whole values."""

    def visit_For(self, node: nodes.For, *args: Any, **kwargs: Any) -> nodes.Node:  # noqa: N802 - jinja's naming
        test = 0 if node.test is None else _count(node.test)
        self._visit_repeated(node, *args, **kwargs)
        node.iter = _filter(node.iter, "_each")
        if node.test is not None:
            node.test = nodes.And(_steps(test, node.lineno), node.test, lineno=node.lineno)
        return node

    def _visit_repeated(self, node: Any, *args: Any, **kwargs: Any) -> nodes.Node:
        """Make a body of many statements take that many steps each time, whatever they are."""
        steps = nodes.ExprStmt(_steps(sum(map(_count, node.body)), node.lineno), lineno=node.lineno)
        self.generic_visit(node, *args, **kwargs)
        node.body = [steps, *node.body]
        return node  # type: ignore[no-any-return]

    visit_Macro = visit_CallBlock = visit_Block = _visit_repeated  # noqa: N815 - as above

    def visit_Output(self, node: nodes.Output, *args: Any, **kwargs: Any) -> nodes.Node:  # noqa: N802 - as above
        self.generic_visit(node, *args, **kwargs)
        node.nodes = [_filter(_expression(item), "_shown") for item in node.nodes]
        return node

    def visit_Concat(self, node: nodes.Concat, *args: Any, **kwargs: Any) -> nodes.Node:  # noqa: N802 - as above
        self.generic_visit(node, *args, **kwargs)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "_joined")

    def visit_Compare(self, node: nodes.Compare, *args: Any, **kwargs: Any) -> nodes.Node:  # noqa: N802 - as above
        self.generic_visit(node, *args, **kwargs)
        node.expr = _weighed(node.expr)
        for operand in node.ops:
            searched = operand.op in {"in", "notin"}
            if not searched or operand is not node.ops[-1]:
                operand.expr = _weighed(operand.expr)
            if searched:
                operand.expr = _filter(operand.expr, "_searched")
        return node

    def visit_Getitem(self, node: nodes.Getitem, *args: Any, **kwargs: Any) -> nodes.Node:  # noqa: N802 - as above
        self.generic_visit(node, *args, **kwargs)
        if isinstance(node.arg, nodes.Slice):
            return _filter(node, "_copied")
        node.arg = _weighed(node.arg)  # the hash of a tuple needs all of its items
        return node

    def visit_List(self, node: Any, *args: Any, **kwargs: Any) -> nodes.Node:  # noqa: N802 - as above
        self.generic_visit(node, *args, **kwargs)
        return _filter(node, "_shown") if node.items else node

    visit_Dict = visit_List  # noqa: N815 - as above

    def visit_Tuple(self, node: nodes.Tuple, *args: Any, **kwargs: Any) -> nodes.Node:  # noqa: N802 - as above
        return self.visit_List(node, *args, **kwargs) if node.ctx == "load" else node


def _count(node: nodes.Node) -> int:
    return 1 + sum(1 for _ in node.find_all(nodes.Node))


def _steps(count: int, line: int) -> nodes.Filter:
    return _filter(nodes.Const(count, lineno=line), "_steps")


def _weighed(node: nodes.Expr) -> nodes.Expr:
    return node if isinstance(node, nodes.Const) else _filter(node, "_shown")


def _expression(node: nodes.Expr) -> nodes.Expr:
    return nodes.Const(node.data, lineno=node.lineno) if isinstance(node, nodes.TemplateData) else node


def _filter(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


@jinja2.pass_context  # so that nothing is computed when the template is compiled
def _each(context: Any, items: Iterable[Any]) -> Any:
    if isinstance(items, jinja2.Undefined):
        return items
    return _paid(context.environment, items)


def _paid(environment: BoundedEnvironment, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        environment.spend(1)
        yield item


@jinja2.pass_context
def _counted(context: Any, steps: int) -> bool:
    context.environment.spend(steps)
    return True


@jinja2.pass_context
def _copied(context: Any, value: Any) -> Any:
    context.environment.spend(len(value) if isinstance(value, Sized) else 1)
    return value


@jinja2.pass_context
def _sought(context: Any, value: Any) -> Any:
    return _searched(context.environment, value)


def _searched(environment: BoundedEnvironment, value: Any) -> Any:
    """The container to search in, with the search paid for."""
    if isinstance(value, Iterator):
        return _paid(environment, value)
    if isinstance(value, range):
        environment.spend(len(value))
    elif not isinstance(value, Mapping):
        environment.weigh(value)
    return value


@jinja2.pass_context
def _shown(context: Any, value: Any) -> Any:
    context.environment.weigh(value)
    return value


@jinja2.pass_context
def _joined(context: Any, values: list[Any]) -> str:
    context.environment.weigh(*values)
    return "".join(map(str, values))


_METERS: dict[str, Callable[..., Any]] = {
    "_each": _each,
    "_steps": _counted,
    "_shown": _shown,
    "_joined": _joined,
    "_copied": _copied,
    "_searched": _sought,
}
"""The filters that the meter puts into a template, by name."""


def _weight(value: Any, budget: int = _LARGEST) -> int:
    """The size of a value with all its contents, as text.

    Raises:
        ExcessError: it is larger than any chat needs.
    """
    total, pending = 0, [value]
    while pending:
        item = pending.pop()
        total += 1
        if isinstance(item, (str, bytes)):
            total += len(item)
        elif isinstance(item, Mapping):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple, set, frozenset)) or (isinstance(item, MappingView) and isinstance(item, Iterable)):
            pending += item
        elif isinstance(item, jinja2.utils.Namespace):
            pending += item._Namespace__attrs.values()  # noqa: SLF001 - it is written with all in it, and has no other way there
        elif isinstance(item, int):
            total += item.bit_length() // 3
        if total > budget:
            raise ExcessError("the chat template of the model makes something too large")
    return total


def _check_binop(operator: str, left: Any, right: Any) -> None:
    if operator == "**" and isinstance(left, int) and isinstance(right, int):
        excess = left.bit_length() * abs(right) > _LONGEST_NUMBER
    elif operator == "*" and isinstance(left, int) and isinstance(right, int):
        excess = left.bit_length() + right.bit_length() > _LONGEST_NUMBER
    elif operator == "*":
        count, repeated = (left, right) if isinstance(left, int) else (right, left)
        excess = isinstance(count, int) and hasattr(repeated, "__len__") and count * _weight(repeated) > _LARGEST
    elif operator == "%" and isinstance(left, (str, bytes)):
        excess = _is_wide(left, right if isinstance(right, tuple) else (right,))
    else:
        excess = False
    if excess:
        raise ExcessError(f"the chat template of the model asks for too much: {operator}")


def _is_wide(given: Any, values: tuple[Any, ...]) -> bool:
    """Whether a format may make far more text than its values have."""
    text = given.decode("latin-1") if isinstance(given, bytes) else str(given)
    if _WIDE.search(text):
        return True
    fields = text.count("%") + text.count("{")
    own = len(text) + sum(map(int, _NUMBERS.findall(text)))
    if "*" in text or _WITHIN.search(text):  # a width may be any number in the values
        own += fields * max(map(_largest_number, values), default=0)
    return own + fields * sum(map(_weight, values)) > _LARGEST_PRODUCT


def _largest_number(value: Any) -> int:
    if isinstance(value, Mapping):
        value = [*value.values()]
    if isinstance(value, (list, tuple)):
        return max(map(_largest_number, value), default=0)
    return abs(value) if isinstance(value, int) else 0


@contextmanager
def bounded() -> Iterator[None]:
    """Let transformers render chat templates in a bounded sandbox until the end of the block."""
    before = chat_template_utils.ImmutableSandboxedEnvironment
    chat_template_utils.ImmutableSandboxedEnvironment = BoundedEnvironment
    chat_template_utils._compile_jinja_template.cache_clear()  # noqa: SLF001 - or templates compiled before would stay unbounded
    try:
        yield
    finally:
        chat_template_utils.ImmutableSandboxedEnvironment = before
        chat_template_utils._compile_jinja_template.cache_clear()  # noqa: SLF001 - as above
