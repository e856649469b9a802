"""Torch-free traces from torch's records of a computation: exported programs, and single operators as they run.

The reader copies the graph's names of operators, their arguments by schema name, the shapes of results, the modules around
an operator and its source line, and interprets nothing. A `.pt2` file holds the same texts, and `fxprof.trace.graph` reads
the same trace from them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any

import sympy
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, CustomObjArgument, InputKind
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from fxprof.capture.deaths import Deaths, DeathsInGraph
from fxprof.capture.inside import Insides
from fxprof.capture.layouts import SPARSE, shape_of, stored_elements
from fxprof.capture.marks import BEGIN, END, REPEAT, number_of
from fxprof.capture.quantised import unpacked
from fxprof.capture.unknown import is_unknown
from fxprof.capture.values import Values
from fxprof.trace import UNKNOWN_NNZ, Block, Expr, Frame, Occurrence, Op, Origin, Subgraph, Tensor, Trace, Value
from fxprof.trace.expressions import parse_expression
from fxprof.trace.higher_order import PREFIX, bind_by_table, function_name
from fxprof.trace.modules import called_paths, programs_among
from fxprof.trace.owners import Operand, Owners, ProgramPaths, constant_names, handed_over, other_paths, renaming
from fxprof.trace.stacks import Entry, StackReader, source_of
from fxprof.trace.stored import with_stored
from fxprof.trace.symbols import solve


def translate(
    program: ExportedProgram,
    *,
    prefix: str = "",
    skip: int = 0,
    aliases: Mapping[str, str] | None = None,
    weights: Mapping[str, torch.Tensor] | None = None,
    deaths: Deaths | None = None,
) -> Trace:
    """The trace of an exported program.

    Args:
        program: a program from `torch.export.export` or `torch.export.load`.
        prefix: path of the exported module below its component, put before every module path.
        skip: the number of outermost modules that are scaffolding, to be left out of stacks and paths.
        aliases: other paths of shared modules, each with the one path at which their calls add up.
        weights: parameters and buffers of the module by name, where the program may have some as constants.
        deaths: the deaths of tensors that were seen while the program was traced.

    Sizes that depend on symbols become expressions; the trace's `symbols` hold the sizes of the example inputs.
    """
    dead = (deaths or Deaths()).after(program.graph_module)
    reader = _GraphReader(prefix, skip, aliases or {}, _blocks(program.graph_module), dead)
    owner_of = _owners(program, skip)
    if not skip:  # a pipeline's modules are exported under their own paths
        reader.rename(program, owner_of)
    names = [_below_scaffolding(entry.fqn, skip) for entry in program.module_call_graph]
    owners = Owners(reader.stacks, owner_of, programs=ProgramPaths(map(reader.stacks.path, programs_among(names))))
    values = Values(_origins(program, reader.stacks, skip, weights or {}), _tied(weights or {}, reader.stacks))
    ops, inputs = reader.ops(program.graph_module, owners, values), _program_inputs(program, reader)
    gives = values.returned(program.graph_module)
    reader.finish()
    return Trace(
        ops, inputs, tuple(sorted(reader.symbols.items())), origins=values.origins(), gives=gives, has_frees=deaths is not None
    )


def record(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> Op:
    """One operator as it was dispatched on real tensors, without stack and source.

    Args:
        function: an `OpOverload`.
        args: positional arguments.
        kwargs: keyword arguments.
        result: its result.
    """
    return Op(target_name(function), bind(function, args, kwargs, plain), _results(plain(result)))


def target_name(target: Any) -> str:
    """The name of a graph node's target, as in `Op.target`."""
    if isinstance(target, torch._ops.HigherOrderOperator):  # noqa: SLF001 - not exported elsewhere
        return f"{PREFIX}{target.name()}"
    if isinstance(target, torch._ops.OpOverload):  # noqa: SLF001 - as above
        return str(target)
    return function_name(str(getattr(target, "__module__", "") or ""), getattr(target, "__name__", str(target)))


def bind(
    target: Any, args: Iterable[Any], kwargs: Mapping[str, Any], convert: Callable[[Any], Value]
) -> tuple[tuple[str, Value], ...]:
    """Arguments by name: from the operator's schema or signature, or from a table for higher-order operators.

    Arguments that the caller left out stay out, as in a file, so that a trace from either source is the same.
    """
    schema = getattr(target, "_schema", None)
    if schema is None:
        named = [*_bind_without_schema(target, tuple(args)), *kwargs.items()]
        return tuple((name, convert(value)) for name, value in named)
    given = dict(zip((argument.name for argument in schema.arguments), args, strict=False)) | dict(kwargs)
    return tuple((item.name, convert(given[item.name])) for item in schema.arguments if item.name in given)


def _bind_without_schema(target: Any, args: tuple[Any, ...]) -> list[tuple[str, Any]]:
    name = target_name(target)
    # A file names the arguments of arithmetic on sizes, and of no other function.
    return (
        list(zip(signature(target).parameters, args, strict=False))
        if name.startswith(_ARITHMETIC)
        else bind_by_table(name, args)
    )


_ARITHMETIC = ("operator.", "math.", "torch.sym_", "torch._sym_")


def plain(value: Any) -> Value:
    """A value without torch: tensors by shape and type, containers as tuples, types, devices and operators by name."""
    if isinstance(value, torch.Tensor):
        return Tensor(shape_of(value), dtype_name(value.dtype), nnz=_nnz(value))
    if isinstance(value, (list, tuple)):
        return tuple(plain(item) for item in value)
    if value is None or isinstance(value, (bool, int, float, complex, str)):
        return value
    held = unpacked(value)
    if held is not None:
        return tuple(plain(item) for item in held)
    if isinstance(value, dict):
        return tuple((str(key), plain(item)) for key, item in value.items())
    return _name(value)


def _nnz(tensor: torch.Tensor) -> int | None:
    """Elements that a tensor stores; for a matrix of unknown values, the number of nonzero elements is unknown."""
    return UNKNOWN_NNZ if tensor.layout in SPARSE and is_unknown(tensor) else stored_elements(tensor)


def _name(value: Any) -> str:
    if isinstance(value, (torch._ops.OpOverload, torch._ops.HigherOrderOperator)):  # noqa: SLF001 - not exported elsewhere
        return target_name(value)
    if isinstance(value, CustomObjArgument):
        return value.class_fqn
    return str(value).removeprefix("torch.")


def dtype_name(dtype: torch.dtype) -> str:
    """The name of an element type: `float32` rather than `torch.float32`."""
    return str(dtype).removeprefix("torch.")


@dataclass(frozen=True, slots=True)
class _Known:
    """A block, its end, and the values in it."""

    block: Block
    end: Node
    values: Values


@dataclass(slots=True)
class _Level:
    """A graph, a block or a body while it is read."""

    values: Values
    results: frozenset[Hashable] = frozenset()
    """The keys of the values that it gives; these die outside of it."""
    parts: list[Op | Occurrence] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    """Values that died in it, and that are not its own."""


class _GraphReader:
    """Reads one program, and caches texts and expressions that many nodes share."""

    def __init__(
        self, prefix: str, skip: int, aliases: Mapping[str, str], ends: Mapping[int, Node], deaths: DeathsInGraph
    ) -> None:
        self.symbols: dict[str, int] = {}
        self.stacks = StackReader(prefix, skip, aliases)
        self._sources: dict[str, str | None] = {}
        self._expressions: dict[Any, Value] = {}
        self._hints: dict[Any, int] = {}
        self._ends, self._deaths = ends, deaths
        self._insides = Insides()
        self._left: list[int] = []
        """Values that died in the body that was read last, and that are not its own."""
        self._blocks: dict[int, _Known] = {}
        self._stored: dict[Node, Tensor] = {}
        self._calls: dict[Block, dict[str, tuple[int, int]]] = {}

    def finish(self) -> None:
        """Find the sizes of symbols that occur only inside of expressions: loaded programs hold no others."""
        for expression, size in self._hints.items():
            parsed = self._expressions[expression]
            solved = solve(parsed, size) if isinstance(parsed, Expr) else None
            if solved is not None:
                self.symbols.setdefault(*solved)

    def rename(self, program: ExportedProgram, owner_of: Mapping[str, str]) -> None:
        """Give modules their own paths, where the program has some under others."""
        modules = {"", *called_paths([entry.fqn for entry in program.module_call_graph]), *owner_of.values()}
        nodes = [node for node in program.graph.nodes if node.op == "call_function" and node.meta.get("nn_module_stack")]
        paths = {path for node in nodes for path, _ in node.meta["nn_module_stack"].values()}
        if paths <= modules:
            return
        renamed = other_paths(((_entries(node), _operands(_named(node))) for node in nodes), owner_of, modules)
        self.stacks.rename = renaming(renamed) if renamed else None

    def ops(self, module: GraphModule, owners: Owners, values: Values) -> tuple[Op | Occurrence, ...]:
        level = _Level(values, values.results([node.args for node in module.graph.nodes if node.op == "output"]))
        outer: list[_Level] = []
        for node in module.graph.nodes:
            if node.target in (BEGIN, END) and number_of(node) not in self._ends:
                continue
            if node.target is BEGIN:
                outer.append(level)
                level = _Level(Values(level.values.origin_of, level.values.tied))
                level.results = level.values.results(self._ends[number_of(node)].args[2])
            elif node.target is END:
                inside, level = level, outer.pop()
                self._free_behind_views(inside, self._ends[number_of(node)].args[2])
                block = Block(self._stack(node), tuple(inside.parts))
                self._blocks[number_of(node)] = _Known(block, node, inside.values)
                takes, gives = inside.values.around(level.values, node, self._deaths.dying)
                level.parts.append(Occurrence(block, block.stack, (), takes, gives))
                self._free(level, inside.left)
            elif node.target is REPEAT:
                level.parts.append(self._occurrence(self._blocks[number_of(node)], node, level.values))
                self._free(level, self._deaths.after(node))
            elif _computes(node):
                level.parts.append(self._op(module, node, owners, level.values))
                self._free(level, [*self._left, *self._deaths.after(node)])
                self._left = []
        assert not outer, "every block that begins in a graph ends in it"
        self._free_behind_views(level, [node.args for node in module.graph.nodes if node.op == "output"])
        self._left += level.left
        return tuple(level.parts)

    def _free(self, level: _Level, dead: list[int]) -> None:
        """Note at the last operator the values that died after it; those of the graph around a block wait for its end."""
        for serial in dead:
            keys = self._deaths.keys.get(serial, ())
            own = level.values.freed(keys, level.results)
            numbers = own or level.values.dropped(keys)
            if numbers:
                level.parts[-1] = replace(level.parts[-1], frees=(*level.parts[-1].frees, *numbers))
            if not own:
                level.left.append(serial)

    def _free_behind_views(self, level: _Level, results: Any) -> None:
        """Note at the end of a block the values with views among its results, which keep the memory from there on.

        Torch drops such a value only with its last view, outside of the block.
        """
        kept = {_storage(node.meta.get("val")) for node in pytree.tree_leaves(results) if isinstance(node, Node)} - {None}
        freed = {number for part in level.parts for number in part.frees}
        alive = ((key, number) for key, number in level.values.own() if key not in level.results and number not in freed)
        behind = tuple(number for key, number in alive if _storage(_value_of(key)) in kept)
        if behind:
            level.parts[-1] = replace(level.parts[-1], frees=(*level.parts[-1].frees, *behind))

    def _occurrence(self, known: _Known, node: Node, values: Values) -> Occurrence:
        """A later module's occurrence, with the numbers of its calls as if each had been traced."""
        block, stack = known.block, self._stack(node)
        old, new, dying = block.stack[-1].path, stack[-1].path, self._deaths.dying
        takes, gives = known.values.again(known.end, node, values, (old, new), dying)
        shifts = []
        for path, (first, calls) in self._calls_in(block).items():
            moved = f"{new}{path[len(old) :]}"
            shift = self.stacks.visit(moved, calls) - first
            shifts += [(moved, shift)] if shift else []
        return Occurrence(block, stack, tuple(shifts), takes, gives)

    def _calls_in(self, block: Block) -> dict[str, tuple[int, int]]:
        """For each module inside of a block, the number of its first call there, and the number of its calls."""
        if block not in self._calls:
            frames = {frame for op in Trace(block.parts).walk() for frame in op.stack[len(block.stack) :]}
            visits: dict[str, list[int]] = {}
            for frame in frames:
                visits.setdefault(frame.path, []).append(frame.visit)
            self._calls[block] = {path: (min(numbers), len(numbers)) for path, numbers in visits.items()}
        return self._calls[block]

    def value(self, value: Any) -> Value:
        if isinstance(value, Node):
            return None if _is_graph(value) else self._stored.get(value) or self.value(value.meta.get("val"))
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            return self._symbolic(value)
        if isinstance(value, (list, tuple)):
            return tuple(self.value(item) for item in value)
        if isinstance(value, dict):
            return tuple((str(key), self.value(item)) for key, item in value.items())
        return plain(value)

    def _tensor(self, value: torch.Tensor) -> Tensor:
        shape, dtype = tuple(self._dim(size) for size in value.shape), dtype_name(value.dtype)
        if value.layout in SPARSE:
            return Tensor(shape, dtype, nnz=UNKNOWN_NNZ)
        return Tensor(shape, dtype, strides=tuple(map(self._dim, value.stride())), device=str(value.device))

    def _op(self, module: GraphModule, node: Node, owners: Owners, values: Values) -> Op:
        named = _named(node)
        operands = _operands(named)
        stack = owners.placed(self._stack(node), target_name(node.target), operands)
        reads = values.read(value for _, value in named)
        op = Op(
            target_name(node.target),
            bind(node.target, node.args, node.kwargs, self.value),
            _results(self.value(node.meta.get("val"))),
            stack,
            self._source(node.meta.get("stack_trace")),
            self._subgraphs(module, node, owners, stack, values),
            reads,
            values.made(node),
            inside=self._insides.of(node),
        )
        if isinstance(node.meta.get("val"), torch.Tensor):
            owners.define(operands, [node.name])
            return self._noted(op, node)
        return op

    def _noted(self, op: Op, node: Node) -> Op:
        """The operator, with the type in which its result was stored."""
        tensors = [self.value(operand) for _, operand in _named_nodes(_named(node))]
        (result,) = op.outputs
        assert isinstance(result, Tensor), "as the node's value is one"
        result = with_stored(op.target, [tensor for tensor in tensors if isinstance(tensor, Tensor)], result)
        if not result.stored:
            return op
        self._stored[node] = result
        return replace(op, outputs=(result,))

    def _subgraphs(
        self, module: GraphModule, node: Node, owners: Owners, stack: tuple[Frame, ...], values: Values
    ) -> tuple[Subgraph, ...]:
        if not isinstance(node.target, torch._ops.HigherOrderOperator):  # noqa: SLF001 - not exported elsewhere
            return ()
        named = _named(node)
        handed = handed_over(target_name(node.target), [(name, _value_names(value)) for name, value in named])

        nodes = handed_over(target_name(node.target), [(name, _nodes_of(value)) for name, value in named])

        def read(name: str, body: GraphModule) -> Subgraph:
            inputs = [inner for inner in body.graph.nodes if inner.op == "placeholder"]
            inside = values.inside(nodes, inputs)
            with self._insides.within(node):
                ops = self.ops(body, owners.inside(handed, [inner.name for inner in inputs], stack), inside)
            return Subgraph(name, ops, inside.handed(nodes, inputs, values), inside.returned(body))

        return tuple(
            read(name, body)
            for name, value in _named_nodes(named)
            if _is_graph(value) and isinstance(body := getattr(module, str(value.target)), GraphModule)
        )

    def _stack(self, node: Node) -> tuple[Frame, ...]:
        return self.stacks.frames(_entries(node))

    def _source(self, text: str | None) -> str | None:
        if not text:
            return None
        if text not in self._sources:
            self._sources[text] = source_of(text)
        return self._sources[text]

    def _dim(self, size: int | torch.SymInt) -> int | Expr:
        value = self._symbolic(size) if isinstance(size, torch.SymInt) else size
        return value if isinstance(value, Expr) else int(value)  # type: ignore[arg-type]

    def _symbolic(self, value: Any) -> Value:
        node = value.node
        expression = node.expr
        fixed = next((kind for theirs, kind in _FIXED if isinstance(expression, theirs)), None)
        if fixed is not None:  # sizes that turned out to be given, and their results
            return fixed(expression)
        known = "backed_var_to_val" if hasattr(node.shape_env, "backed_var_to_val") else "var_to_val"  # of older torch
        hints = getattr(node.shape_env, known, {})
        for symbol in expression.free_symbols:
            if symbol in hints:
                self.symbols[str(symbol)] = int(hints[symbol])
            elif expression in hints:
                self._hints[expression] = int(hints[expression])
        if expression not in self._expressions:
            # The text is the one that a file would hold, so that both give the same expression.
            self._expressions[expression] = parse_expression(sympy.srepr(expression))
        return self._expressions[expression]


_FIXED: tuple[tuple[Any, Callable[[Any], Value]], ...] = (
    (sympy.Integer, int),
    (sympy.Float, float),
    (sympy.logic.boolalg.BooleanAtom, bool),
)
"""Expressions that are plain numbers and truth values."""


def _blocks(module: GraphModule) -> dict[int, Node]:
    """The ends of the blocks that have a later call with a stand-in, by number."""
    nodes = [node for part in module.modules() if isinstance(part, GraphModule) for node in part.graph.nodes]
    repeated = {number_of(node) for node in nodes if node.target is REPEAT}
    return {number_of(node): node for node in nodes if node.target is END and number_of(node) in repeated}


def _computes(node: Node) -> bool:
    # Unpacking a tuple is how FX spells several results; the .pt2 format has no such nodes.
    return node.op == "call_function" and getattr(node.target, "__name__", "") != "getitem"


def _is_graph(value: Any) -> bool:
    return isinstance(value, Node) and value.op == "get_attr" and "val" not in value.meta


def _entries(node: Node) -> tuple[Entry, ...]:
    stack = node.meta.get("nn_module_stack") or {}
    return tuple((key, path, _class_name(class_)) for key, (path, class_) in stack.items())


def _named(node: Node) -> list[tuple[str, Any]]:
    """The arguments of a node by name."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return [*_bind_without_schema(node.target, tuple(node.args)), *node.kwargs.items()]
    given = dict(zip((argument.name for argument in schema.arguments), node.args, strict=False)) | dict(node.kwargs)
    return [(item.name, given[item.name]) for item in schema.arguments if item.name in given]


def _operands(named: Iterable[tuple[str, Any]]) -> list[Operand]:
    """The tensors among arguments, by the names of their nodes."""
    return [(name, node.name) for name, node in _named_nodes(named) if isinstance(node.meta.get("val"), torch.Tensor)]


def _value_names(value: Any) -> list[str]:
    """One name for every value in an argument; "" for an item without a name, such as a number."""
    return [item.name if item is not None else "" for item in _nodes_of(value)]


def _nodes_of(value: Any) -> list[Node | None]:
    """One node for every value in an argument; None for an item without a node, such as a number."""
    items = value if isinstance(value, (list, tuple)) else (value,)
    return [item if isinstance(item, Node) else None for item in items if not _is_graph(item)]


def _owners(program: ExportedProgram, skip: int) -> dict[str, str]:
    """The path of the module that holds each weight, by the weight's name in the graph."""
    owners = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind in _HELD and spec.target is not None and spec.arg.name:
            owners[spec.arg.name] = _below_scaffolding(spec.target.rpartition(".")[0], skip)
    return owners


def _origins(
    program: ExportedProgram, stacks: StackReader, skip: int, weights: Mapping[str, torch.Tensor]
) -> dict[Node, Origin]:
    """The origins of a program's placeholders."""
    held = {_memory(tensor): (name, tensor) for name, tensor in weights.items()}
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs if not isinstance(spec.arg, ConstantArgument)}
    constants = [spec.target or "" for spec in specs.values() if spec.kind is InputKind.CONSTANT_TENSOR]
    numbered, origins = constant_names(constants), {}
    for node in program.graph.nodes:
        spec = specs.get(node.name) if node.op == "placeholder" else None
        if spec is not None and spec.kind is InputKind.USER_INPUT:
            origins[node] = Origin("input", node.name)
        elif spec is not None and spec.kind in _HELD:
            # Torch takes a weight that was not declared for a constant.
            name, tensor = held.get(_memory(program.constants.get(spec.target or "")), ("", None))
            kind = "parameter" if isinstance(tensor, nn.Parameter) else "buffer"
            path = name or _below_scaffolding(numbered.get(spec.target or "", spec.target or ""), skip)
            origins[node] = Origin(kind if name else _HELD[spec.kind], _below_component(path, stacks))
    return origins


def _tied(weights: Mapping[str, torch.Tensor], stacks: StackReader) -> dict[str, str]:
    """For names of weights that are one tensor, the last of them, which is the one that torch uses."""
    last = {id(tensor): name for name, tensor in weights.items()}
    others = {name: last[id(tensor)] for name, tensor in weights.items() if last[id(tensor)] != name}
    return {_below_component(name, stacks): _below_component(one, stacks) for name, one in others.items()}


def _below_component(name: str, stacks: StackReader) -> str:
    """The name of a weight below its component."""
    path, _, leaf = name.rpartition(".")
    return ".".join(filter(None, (stacks.path(path), leaf)))


def _memory(tensor: Any) -> Any:
    """A key of a tensor's memory and shape; None for a tensor without memory of its own."""
    storage = _storage(tensor)
    return None if storage is None else (storage, tensor.shape)


def _storage(tensor: Any) -> Any:
    """A key of a tensor's memory; None for a tensor without memory of its own."""
    try:
        return tensor.untyped_storage()._cdata  # noqa: SLF001 - an address is 0 for all without data
    except (AttributeError, NotImplementedError, RuntimeError):
        return None


def _value_of(key: Hashable) -> Any:
    """The value of a result, as torch traced it."""
    if isinstance(key, Node):
        return key.meta.get("val")
    assert isinstance(key, tuple), "the item of a node's results"
    return _value_of(key[0])[key[1]]


def _below_scaffolding(path: str, skip: int) -> str:
    return ".".join(path.split(".")[skip:])


_HELD = {InputKind.PARAMETER: "parameter", InputKind.BUFFER: "buffer", InputKind.CONSTANT_TENSOR: "constant"}


def _named_nodes(named: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Node]]:
    for name, value in named:
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, Node):
                yield name, item


def _results(value: Value) -> tuple[Value, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _class_name(class_: Any) -> str:
    return class_ if isinstance(class_, str) else f"{class_.__module__}.{class_.__qualname__}"


def _program_inputs(program: ExportedProgram, reader: _GraphReader) -> tuple[tuple[str, Value], ...]:
    # Not `user_inputs`: where an input is no tensor, that holds its value instead of its name.
    specs = [spec for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
    names = {spec.arg.name for spec in specs if not isinstance(spec.arg, ConstantArgument)}
    nodes = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    return tuple((node.name, reader.value(node.meta.get("val"))) for node in nodes)


def input_values(program: ExportedProgram) -> dict[str, Value]:
    """The inputs of a program's graph by name, weights included."""
    reader = _GraphReader("", 0, {}, {}, DeathsInGraph([], []))
    return {node.name: reader.value(node.meta.get("val")) for node in program.graph.nodes if node.op == "placeholder"}
