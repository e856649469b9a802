"""From torch's records of a computation to torch-free ones: exported programs, and single operators as they run.

What a graph calls an operator, its arguments by schema name with defaults filled in, the shapes of its results, the
modules around it and the source line: all is copied, nothing interpreted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from fxprof.trace import Expr, Frame, Op, Subgraph, Tensor, Trace, Value
from fxprof.trace.higher_order import PARAMETERS, PREFIX

_FRAME_LINE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_TORCH = f"{PurePath(torch.__file__).parent}/"


def translate(program: ExportedProgram, *, prefix: str = "", skip: int = 0, aliases: Mapping[str, str] | None = None) -> Trace:
    """The trace of an exported program.

    Args:
        program: as `torch.export.export` or `torch.export.load` gives it.
        prefix: path of the exported module below its component, put before every module path.
        skip: how many of the outermost modules are scaffolding, to be left out of stacks and paths.
        aliases: other paths of modules that are shared, to the one path that their calls add up at.

    Sizes that depend on symbols become expressions; the trace's `symbols` hold the sizes of the example inputs.
    """
    reader = _GraphReader(prefix, skip, aliases or {})
    ops = reader.ops(program.graph_module)
    return Trace(ops, _program_inputs(program, reader), tuple(sorted(reader.symbols.items())))


def record(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> Op:
    """One operator as it was dispatched on real tensors, without stack and source.

    Args:
        function: an `OpOverload`.
        args: positional arguments.
        kwargs: keyword arguments.
        result: what it returned.
    """
    return Op(target_name(function), bind(function, args, kwargs, plain), _results(plain(result)))


def target_name(target: Any) -> str:
    """The name of what a graph node calls, as in `Op.target`."""
    if isinstance(target, torch._ops.HigherOrderOperator):  # noqa: SLF001 - not exported elsewhere
        return f"{PREFIX}{target.name()}"
    if isinstance(target, torch._ops.OpOverload):  # noqa: SLF001 - as above
        return str(target)
    module = str(getattr(target, "__module__", "") or "python").lstrip("_").removeprefix("torch.fx.experimental.")
    return f"{'torch' if module.startswith(('torch', 'symbolic')) else module}.{getattr(target, '__name__', target)}"


def bind(
    target: Any, args: Iterable[Any], kwargs: Mapping[str, Any], convert: Callable[[Any], Value]
) -> tuple[tuple[str, Value], ...]:
    """Arguments by name: from the operator's schema, or from `PARAMETERS` for higher-order operators."""
    schema = getattr(target, "_schema", None)
    if schema is None:
        named = _bind_by_table(target, tuple(args))
        return tuple((name, convert(value)) for name, value in (*named, *kwargs.items()))
    given = dict(zip((argument.name for argument in schema.arguments), args, strict=False)) | dict(kwargs)
    return tuple((item.name, convert(given.get(item.name, item.default_value))) for item in schema.arguments)


def _bind_by_table(target: Any, args: tuple[Any, ...]) -> list[tuple[str, Any]]:
    names = PARAMETERS.get(target_name(target).removeprefix(PREFIX), ())
    named: list[tuple[str, Any]] = []
    for position, value in enumerate(args):
        if position < len(names) and names[position].startswith("*"):
            return [*named, (names[position][1:], args[position:])]
        named.append((names[position] if position < len(names) else f"arg{position}", value))
    return named


def plain(value: Any) -> Value:
    """A value without torch: tensors by shape and type, containers as tuples, types and devices by name."""
    if isinstance(value, torch.Tensor):
        return Tensor(tuple(int(size) for size in value.shape), dtype_name(value.dtype))
    if isinstance(value, (list, tuple)):
        return tuple(plain(item) for item in value)
    if value is None or isinstance(value, (bool, int, float, complex, str)):
        return value
    return dtype_name(value) if isinstance(value, torch.dtype) else str(value)


def dtype_name(dtype: torch.dtype) -> str:
    """`float32` rather than `torch.float32`."""
    return str(dtype).removeprefix("torch.")


def source_line(file: str, line: int | str) -> str:
    """A source line that reads the same on every machine: from the package, or the last two parts of the path."""
    parts = PurePath(file).parts
    for marker in ("site-packages", "dist-packages"):
        if marker in parts:
            parts = parts[len(parts) - parts[::-1].index(marker) :]
            return f"{'/'.join(parts)}:{line}"
    return f"{'/'.join(parts[-2:])}:{line}" if len(parts) > 2 else f"{parts[-1]}:{line}"  # noqa: PLR2004 - folder and file


def is_torch_file(file: str) -> bool:
    """Whether a source file belongs to torch, or to no file at all."""
    return file.startswith((_TORCH, "<"))


class _GraphReader:
    """Reads one program; remembers what many nodes share."""

    def __init__(self, prefix: str, skip: int, aliases: Mapping[str, str]) -> None:
        self.symbols: dict[str, int] = {}
        self._aliases = aliases
        self._visits: dict[str, dict[str, int]] = {}
        self._prefix = prefix
        self._skip = skip
        self._stacks: dict[tuple[Any, ...], tuple[Frame, ...]] = {}
        self._sources: dict[str, str | None] = {}

    def ops(self, module: GraphModule) -> tuple[Op, ...]:
        return tuple(self._op(module, node) for node in module.graph.nodes if _computes(node))

    def value(self, value: Any) -> Value:
        if isinstance(value, Node):
            return None if _is_graph(value) else self.value(value.meta.get("val"))
        if isinstance(value, torch.Tensor):
            return Tensor(tuple(self._dim(size) for size in value.shape), dtype_name(value.dtype))
        if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            return self._symbolic(value)
        if isinstance(value, (list, tuple)):
            return tuple(self.value(item) for item in value)
        return plain(value)

    def _op(self, module: GraphModule, node: Node) -> Op:
        return Op(
            target_name(node.target),
            bind(node.target, node.args, node.kwargs, self.value),
            _results(self.value(node.meta.get("val"))),
            self._stack(node),
            self._source(node.meta.get("stack_trace")),
            self._subgraphs(module, node),
        )

    def _subgraphs(self, module: GraphModule, node: Node) -> tuple[Subgraph, ...]:
        if not isinstance(node.target, torch._ops.HigherOrderOperator):  # noqa: SLF001 - not exported elsewhere
            return ()
        named = _bind_by_table(node.target, tuple(node.args)) + list(node.kwargs.items())
        return tuple(
            Subgraph(name, self.ops(getattr(module, str(value.target))))
            for name, value in _named_nodes(named)
            if _is_graph(value)
        )

    def _stack(self, node: Node) -> tuple[Frame, ...]:
        stack = node.meta.get("nn_module_stack") or {}
        key = tuple((name, entry[0]) for name, entry in stack.items())
        if key not in self._stacks:
            self._stacks[key] = tuple(self._frames(stack))
        return self._stacks[key]

    def _frames(self, stack: Mapping[str, tuple[str, Any]]) -> Iterable[Frame]:
        outer = ""
        for position, (key, (path, class_)) in enumerate(stack.items()):
            if position <= self._skip:
                outer = path if self._skip else ""
            if position >= self._skip:
                local = path.removeprefix(outer).lstrip(".")
                full = ".".join(part for part in (self._prefix, local) if part)
                one = self._aliases.get(full, full)
                # The key, unlike the path, differs between the calls of a module ("t", "t@1") and between its aliases.
                visits = self._visits.setdefault(one, {})
                yield Frame(one, _class_name(class_), visits.setdefault(key, len(visits)))

    def _source(self, text: str | None) -> str | None:
        if not text:
            return None
        if text not in self._sources:
            lines = [match for match in _FRAME_LINE.finditer(text) if not is_torch_file(match["file"])]
            self._sources[text] = source_line(lines[-1]["file"], lines[-1]["line"]) if lines else None
        return self._sources[text]

    def _dim(self, size: int | torch.SymInt) -> int | Expr:
        value = self._symbolic(size) if isinstance(size, torch.SymInt) else size
        return value if isinstance(value, Expr) else int(value)  # type: ignore[arg-type]

    def _symbolic(self, value: Any) -> Value:
        node = value.node
        expression = node.expr
        if isinstance(expression, sympy.Integer):
            return int(expression)
        hints = getattr(node.shape_env, "backed_var_to_val", None) or getattr(node.shape_env, "var_to_val", {})
        for symbol in expression.free_symbols:
            if symbol in hints:
                self.symbols[str(symbol)] = int(hints[symbol])
        return expression_of(expression)


_SYMPY = {
    "Add": "add",
    "Mul": "mul",
    "FloorDiv": "floordiv",
    "CleanDiv": "floordiv",
    "IntTrueDiv": "floordiv",
    "Mod": "mod",
    "PythonMod": "mod",
    "Pow": "pow",
    "PowByNatural": "pow",
    "Max": "max",
    "Min": "min",
}


def expression_of(expression: Any) -> Value:
    """A sympy expression as an `Expr`; what has no counterpart becomes a symbol of its own text, without a value."""
    if isinstance(expression, sympy.Integer):
        return int(expression)
    if isinstance(expression, sympy.Symbol):
        return Expr("symbol", (str(expression),))
    operator = _SYMPY.get(type(expression).__name__)
    operands = tuple(expression_of(operand) for operand in expression.args)
    if operator is None or not all(isinstance(operand, (int, Expr)) for operand in operands):
        return Expr("symbol", (str(expression),))
    return Expr(operator, operands)  # type: ignore[arg-type]


def _computes(node: Node) -> bool:
    # Unpacking a tuple is how FX spells several results; the .pt2 format has no such nodes.
    return node.op == "call_function" and getattr(node.target, "__name__", "") != "getitem"


def _is_graph(value: Any) -> bool:
    return isinstance(value, Node) and value.op == "get_attr" and "val" not in value.meta


def _named_nodes(named: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Node]]:
    for name, value in named:
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, Node):
                yield name, item


def _results(value: Value) -> tuple[Value, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _class_name(class_: Any) -> str:
    name = class_ if isinstance(class_, str) else getattr(class_, "__qualname__", str(class_))
    return name.rsplit(".", 1)[-1]


def _program_inputs(program: ExportedProgram, reader: _GraphReader) -> tuple[tuple[str, Value], ...]:
    names = set(program.graph_signature.user_inputs)
    nodes = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    return tuple((node.name, reader.value(node.meta.get("val"))) for node in nodes)
