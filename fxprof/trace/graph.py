"""From the JSON of one graph to operators: the same records that `fxprof.capture.translate` makes from the live graph.

Reading checks everything: types, sizes, and the definition of every name before its use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from marshal import dumps
from typing import Any

from fxprof import limits
from fxprof.trace.allowance import Allowance
from fxprof.trace.arithmetic import MOST_ELEMENTS, Number
from fxprof.trace.expressions import ExpressionError, parse_expression
from fxprof.trace.fields import (
    FaultError,
    a_float,
    a_list,
    a_name,
    a_text,
    an_integer,
    an_object,
    brief,
    check_path,
    check_sizes,
    fail,
    given,
    the_one,
)
from fxprof.trace.higher_order import PREFIX, bind_by_table, function_name
from fxprof.trace.owners import Operand, Owners, handed_over
from fxprof.trace.records import UNKNOWN_NNZ, Frame, Op, Subgraph, Tensor, Value
from fxprof.trace.schema import DTYPES, LAYOUTS, MEMORY_FORMATS
from fxprof.trace.stacks import Entry, StackReader, parse_stack, source_of
from fxprof.trace.stored import with_stored
from fxprof.trace.symbols import Dim, Expr, solve

_SPARSE = frozenset(number for number, name in LAYOUTS.items() if name.startswith("sparse"))
"""Layouts of tensors that store only some of their elements."""


class ProgramReader:
    """Reads the graphs of one program; caches values that many operators share.

    Args:
        prefix: see `StackReader`.
        aliases: see `StackReader`.
        allowance: the amount that may still be read; the programs of one file share it.
    """

    def __init__(self, prefix: str = "", aliases: Mapping[str, str] | None = None, allowance: Allowance | None = None) -> None:
        self.symbols: dict[str, int] = {}
        """Symbol to its size in the example inputs, for every symbol so far with a known size."""
        self.hints: list[tuple[Expr, Number, str]] = []
        """(expression, its value at the example inputs according to the file, its place in the file)"""
        self._hinted: set[tuple[str, str, str]] = set()  # values as texts: a stranger can choose numbers with the same hash
        self.allowance = allowance or Allowance()
        self.stacks = StackReader(prefix, aliases=aliases)
        self._frames: dict[str, tuple[Frame, ...]] = {}
        self._sources: dict[str, str | None] = {}
        self._targets: dict[str, str] = {}
        self._expressions: dict[str, Dim] = {}
        self._alike: dict[tuple[object, ...], Tensor] = {}
        self._records: dict[bytes, Tensor] = {}
        self.parsed: dict[str, tuple[Entry, ...]] = {}
        """Texts of module stacks that `stacks_of` has parsed."""
        self._equal: dict[Expr, Expr] = {}

    def finish(self) -> None:
        """Find the sizes of symbols that occur only inside expressions."""
        tried: set[int] = set()
        for expression, size, _ in self.hints:
            if type(size) is int and id(expression) not in tried:
                tried.add(id(expression))  # another check reports a second value of one expression
                solved = solve(expression, size)
                if solved is not None:
                    self.symbols.setdefault(*solved)

    def target(self, name: Any, where: str, field: str = "") -> str:
        """The name of an operator as in `Op.target`, from a field of the object at a place."""
        known = self._targets.get(name) if type(name) is str else None
        if known is None:
            text = a_name(name, f"{where}{field}")
            module, _, function = text.rpartition(".")
            plain = text.startswith(("torch.ops.", "#")) or not module
            known = self._targets[text] = text.removeprefix("torch.ops.") if plain else function_name(module, function)
        return known

    def frames(self, text: Any, where: str) -> tuple[Frame, ...]:
        """The module stack of the operator at a place."""
        if text is None or text == "":
            return ()
        known = self._frames.get(text) if type(text) is str else None
        if known is None:
            known = self._new_frames(text, f"{where}.metadata.nn_module_stack")
        return known

    def _new_frames(self, text: Any, where: str) -> tuple[Frame, ...]:
        if type(text) is not str:
            fail(where, f"is {brief(text)}, not a text")
        self.allowance.stack(text, where)
        entries = self.parsed.get(text) or parse_stack(text)
        self.allowance.modules(len(entries), where)
        frames = self._frames[text] = self.stacks.frames(entries)
        for frame in frames:
            check_path(frame.path, where)
            a_text(frame.class_name, f"{where}: a class")
        return frames

    def source(self, text: Any, where: str) -> str | None:
        """The source line of the operator at a place."""
        if text is None or text == "":
            return None
        where = where if type(text) is str and text in self._sources else f"{where}.metadata.stack_trace"
        if type(text) is not str:
            fail(where, f"is {brief(text)}, not a text")
        if text not in self._sources:
            if len(text) > limits.SOURCE:
                fail(where, f"holds {len(text):,} characters, more than {limits.SOURCE:,}")
            self._sources[text] = a_text(source_of(text) or "", f"{where}: a file") or None
        return self._sources[text]

    def tensor(self, value: Any, where: str) -> Tensor:
        """The shape and type of a tensor."""
        try:
            text = dumps(value, 0)  # much less work than reading the record again; Python salts the hashes of bytes
        except ValueError:  # it nests too deeply for this, and reading it reports that
            return self._tensor(value, where)
        known = self._records.get(text)
        if known is None:
            known = self._records[text] = self._tensor(value, where)
        return known

    def _tensor(self, value: Any, where: str) -> Tensor:
        fields = an_object(value, where)
        number = fields.get("dtype")
        dtype = DTYPES.get(number) if type(number) is int else None
        if dtype is None:
            fail(f"{where}.dtype", f"is {brief(number)}, which is not a type of torch")
        place, layout = f"{where}.sizes", fields.get("layout")
        sizes = tuple([self.size(size, place) for size in a_list(fields.get("sizes"), place)])
        sparse = type(layout) is int and layout in _SPARSE
        strides = None if sparse else self._strides(fields.get("strides"), sizes, where)
        device = "" if sparse else self._device(fields.get("device"), f"{where}.device")
        key = (sizes, dtype, sparse, strides, device)
        known = self._alike.get(key)  # a graph has few different tensors
        if known is None:
            check_sizes(sizes, place)
            nnz = UNKNOWN_NNZ if sparse else None
            known = self._alike[key] = Tensor(sizes, dtype, nnz=nnz, strides=strides, device=device)
        return known

    def _strides(self, value: Any, sizes: tuple[Dim, ...], where: str) -> tuple[Dim, ...] | None:
        if value is None:
            return None
        place = f"{where}.strides"
        strides = tuple([self.size(stride, place) for stride in a_list(value, place)])
        if len(strides) != len(sizes):
            check_sizes(sizes, f"{where}.sizes")
            fail(f"{where}.strides", f"has {len(strides):,} strides for {len(sizes):,} sizes")
        return strides

    def _device(self, value: Any, where: str) -> str:
        if value == _CPU:  # the usual case, and each value has a device
            return "cpu"
        return sys.intern(_device(value, where)) if value is not None else ""

    def size(self, value: Any, where: str) -> Dim:
        """One size: an integer, or an expression."""
        if type(value) is dict and len(value) == 1:
            size = value.get("as_int")
            if type(size) is int and 0 <= size < MOST_ELEMENTS:
                return size
        size = self.symbolic(value, where)
        if not isinstance(size, int | Expr) or isinstance(size, bool) or (isinstance(size, int) and size < 0):
            fail(where, f"hold {brief(size)}, which is not a size")
        return size

    def symbolic(self, value: Any, where: str) -> Value:
        """A number that may be symbolic: a size, a float or a truth value."""
        kind, number = the_one(value, where)
        if kind == "as_expr":
            return self._expression(an_object(number, where), where)
        if kind == "as_int":
            return an_integer(number, where)
        if kind == "as_bool" and type(number) is bool:
            return number
        if kind == "as_float":
            return a_float(number, where)
        return fail(where, f"is {brief(kind)} {brief(number)}, which is not a symbolic number")

    def _expression(self, fields: dict[str, Any], where: str) -> Dim:
        text = fields.get("expr_str")
        if type(text) is not str:
            fail(where, f"has the expression {brief(text)}, which is not a text")
        if text not in self._expressions:
            self.allowance.expression(text, where)
            try:
                parsed = parse_expression(text)
            except ExpressionError as error:
                fail(where, f"has an expression that cannot be read: {error}")
            # Equal expressions become one object, so that they need not be compared again and again.
            self._expressions[text] = self._equal.setdefault(parsed, parsed) if isinstance(parsed, Expr) else parsed
        expression = self._expressions[text]
        hint = fields.get("hint")
        if isinstance(expression, Expr) and hint is not None:
            kind, value = the_one(hint, f"{where}.hint")
            if type(value) in _HINTS.get(kind, ()) and (text, kind, repr(value)) not in self._hinted:
                self._note(expression, value, where)
                self._hinted.add((text, kind, repr(value)))
        return expression

    def _note(self, expression: Expr, value: Number, where: str) -> None:
        if expression.operator == "symbol" and type(value) is int:
            name = str(expression.operands[0])
            if self.symbols.setdefault(name, an_integer(value, f"{where}.hint")) != value:
                fail(where, f"says that {name} is {value} in the example inputs, but elsewhere it is {self.symbols[name]}")
        elif self.allowance.hints < limits.HINTS:
            self.allowance.hints += 1
            self.hints.append((expression, value, where))


_CPU = {"type": "cpu", "index": None}
_NO_METADATA: dict[str, Any] = {}
_HINTS: Mapping[str, tuple[type, ...]] = {"as_int": (int,), "as_float": (int, float), "as_bool": (bool,)}
_DEEPEST = limits.NESTING


_Arguments = tuple[list[tuple[str, Any]], list[tuple[str, Value]], list[Operand], list[int]]
"""Of the arguments of one operator: (name, JSON), (name, value), their tensors, and the numbers of the values in them."""


def _refuse_twice(named: list[tuple[str, Any]], where: str) -> None:
    """Refuse a name that two arguments have."""
    names: set[str] = set()
    for name, _ in named:
        if name in names:
            fail(where, f"gives {brief(name)} a second time")
        names.add(name)


class GraphReader:
    """Reads one graph, or the body of a higher-order operator, with the values that are defined in it."""

    def __init__(self, program: ProgramReader, graph: Any, where: str, depth: int = 0, owners: Owners | None = None) -> None:
        if depth > _DEEPEST:
            fail(where, "nests too deeply")
        self._program = program
        self._where = where
        self._depth = depth
        self._graph = an_object(graph, where)
        self._metas = self._table("tensor_values")
        self._tensors: dict[str, Tensor] = {}
        self._numbers = {**self._table("sym_int_values"), **self._table("sym_bool_values"), **self._table("sym_float_values")}
        self._values: dict[str, Value] = {}
        self._defined: set[str] = set()
        self._argument_names: set[str] = set()  # already checked
        self.owners = owners or Owners(program.stacks, {})
        self._placed: tuple[Frame, ...] = ()
        self.numbers: dict[str, int] = {}
        """The number of each value, in the order in which operators name them."""
        for place, argument in enumerate(a_list(self._graph.get("inputs"), f"{where}.inputs")):
            self.output(argument, f"{where}.inputs[{place}]")

    def _table(self, name: str) -> dict[str, Any]:
        return an_object(given(self._graph.get(name), {}), f"{self._where}.{name}")

    def ops(self) -> Iterator[Op]:
        """The operators, in order."""
        for place, node in enumerate(a_list(self._graph.get("nodes"), f"{self._where}.nodes")):
            yield self._op(node, f"{self._where}.nodes[{place}]")
        for place, argument in enumerate(a_list(self._graph.get("outputs"), f"{self._where}.outputs")):
            self.argument(argument, f"{self._where}.outputs[{place}]")

    def _op(self, node: Any, where: str) -> Op:
        program = self._program
        program.allowance.operator(where)
        fields = an_object(node, where)
        target = program.target(fields.get("target"), where, ".target")
        named, args, operands, reads = self._arguments(target, a_list(fields.get("inputs"), f"{where}.inputs"), where)
        metadata = an_object(given(fields.get("metadata"), _NO_METADATA), f"{where}.metadata")
        stack = program.frames(metadata.get("nn_module_stack"), where)
        placed = self.owners.placed(stack, target, operands)
        if placed is not stack and placed is not self._placed:  # a new stack, which has not been counted with a text
            program.allowance.modules(len(placed), where)
        stack = self._placed = placed
        bodies = tuple(self._bodies(target, named, stack, where)) if target.startswith(PREFIX) else ()
        outputs = a_list(fields.get("outputs"), f"{where}.outputs")
        source = program.source(metadata.get("stack_trace"), where)
        if len(outputs) == 1 and type(outputs[0]) is dict and len(outputs[0]) == 1 and "as_tensor" in outputs[0]:
            # The usual case. A result may have been stored in a narrower type.
            name, result = self._result(outputs[0]["as_tensor"], f"{where}.outputs")
            first = next((self._tensors[value] for _, value in operands if value in self._tensors), None)
            stored = with_stored(target, [first] if first is not None else [], result)
            if stored is not result:
                self._tensors[name] = stored
            results = [name]
            values: tuple[Value, ...] = (stored,)
            makes: tuple[int, ...] = (self.number(name),)
        else:
            values, makes = self._outputs(outputs, f"{where}.outputs"), self._numbered(outputs)
            results = [name for output in outputs for name in tensor_names(output)]
        self.owners.define(operands, results)
        return Op(target, tuple(args), values, stack, source, bodies, tuple(reads), makes)

    def _result(self, value: Any, where: str) -> tuple[str, Tensor]:
        """The name of a result, which it defines, and its tensor."""
        name = self._define(an_object(value, where).get("name"), where)
        return name, self._tensor(value, where)

    def _arguments(self, target: str, inputs: list[Any], where: str) -> _Arguments:
        """The arguments of an operator; the usual ones, a tensor each, are read without a call for each of their parts."""
        named: list[tuple[str, Any]] = []
        args: list[tuple[str, Value]] = []
        operands: list[Operand] = []
        reads: list[int] = []
        numbers, tensors, checked = self.numbers, self._tensors, self._argument_names
        for item in inputs:
            fields = item if type(item) is dict else an_object(item, f"{where}.inputs")
            name, argument = fields.get("name"), fields.get("arg")
            if type(name) is not str or name not in checked:
                a_text(name, f"{where}.inputs.name")
                if not name:  # the table of the operator names it
                    return self._named_arguments_of(target, inputs, where)
                checked.add(name)
            if type(argument) is dict and len(argument) == 1 and "as_tensor" in argument:
                value = argument["as_tensor"]
                used: Any = value.get("name") if type(value) is dict else None
                tensor = tensors.get(used) if type(used) is str else None
                if tensor is None:
                    tensor = self._tensor(value, where)  # also refuses what is not a name
                args.append((name, tensor))
                operands.append((name, used))
                reads.append(numbers.setdefault(used, len(numbers)))
            else:
                args.append((name, self.argument(argument, where)))
                operands += [(name, value) for value in tensor_names(argument)]
                reads += self._numbered((argument,))
            named.append((name, argument))
        if len(named) > 1 and len(dict(named)) < len(named):
            _refuse_twice(named, f"{where}.inputs")
        return named, args, operands, reads

    def _named_arguments_of(self, target: str, inputs: list[Any], where: str) -> _Arguments:
        """The arguments of an operator, some of them without a name."""
        named = self._named(target, inputs, f"{where}.inputs")
        args = [(name, self._bound(value, where)) for name, value in named]
        return named, args, _operands(named), list(self._numbered(argument for _, argument in named))

    def number(self, name: str) -> int:
        """The number of a value."""
        return self.numbers.setdefault(name, len(self.numbers))

    def _numbered(self, arguments: Iterable[Any]) -> tuple[int, ...]:
        numbers = self.numbers
        numbered: list[int] = []
        for argument in arguments:
            if type(argument) is dict and "as_tensor" in argument:  # the usual case, and each was already checked
                name = argument["as_tensor"]["name"]
                numbered.append(numbers.setdefault(name, len(numbers)))
            else:
                numbered += [numbers.setdefault(name, len(numbers)) for name in references(argument)]
        return tuple(numbered)

    def gives(self) -> tuple[int, ...]:
        """The numbers of the returned values; call it after the operators were read."""
        return self._numbered(a_list(self._graph.get("outputs"), f"{self._where}.outputs"))

    def _named(self, target: str, inputs: list[Any], where: str) -> list[tuple[str, Any]]:
        """Arguments by name; the table of the operator names those without one."""
        named: list[tuple[str, Any]] = []
        positional: list[Any] = []
        place = f"{where}.name"
        for item in inputs:
            fields = an_object(item, where)
            name = a_text(fields.get("name"), place)
            if name:
                named.append((name, fields.get("arg")))
            else:
                positional.append(fields.get("arg"))
        _refuse_twice(named, where)
        return [*bind_by_table(target, positional), *named]

    def _bound(self, argument: Any, where: str) -> Value:
        if type(argument) is tuple:  # the arguments behind a star in the table of higher-order operators
            return tuple(self.argument(item, where) for item in argument)
        return self.argument(argument, where)

    def _bodies(self, target: str, named: list[tuple[str, Any]], stack: tuple[Frame, ...], where: str) -> Iterator[Subgraph]:
        handed = handed_over(target, [(name, _value_names(argument)) for name, argument in named])
        for name, argument in named:
            for item in argument if type(argument) is tuple else (argument,):
                if type(item) is dict and "as_graph" in item:
                    fields = an_object(item["as_graph"], f"{where}.{name}")
                    graph = an_object(fields.get("graph"), f"{where}.{name}.graph")
                    inputs = [name for item in a_list(graph.get("inputs"), where) for name in _value_names(item)]
                    owners = self.owners.inside(handed, inputs, stack)
                    reader = GraphReader(self._program, graph, f"{where}.{name}.graph", self._depth + 1, owners)
                    ops = tuple(reader.ops())
                    pairs = zip(inputs, handed, strict=True) if len(inputs) == len(handed) else ()
                    taken = [(reader.numbers[inner], outer) for inner, outer in pairs if outer and inner in reader.numbers]
                    yield Subgraph(name, ops, tuple((inner, self.number(outer)) for inner, outer in taken), reader.gives())

    def _outputs(self, outputs: list[Any], where: str) -> tuple[Value, ...]:
        values = tuple([self.output(argument, where) for argument in outputs])
        if len(values) == 1 and (type(values[0]) is tuple or values[0] is None):
            return values[0] or ()
        return values

    def output(self, argument: Any, where: str) -> Value:
        """The value of a result or an input; defines its names."""
        kind, value = the_one(argument, where)
        if kind == "as_tensor":  # the usual case
            self._define(an_object(value, where).get("name"), where)
            return self._tensor(value, where)
        match kind:
            case "as_custom_obj" | "as_token":
                self._define(an_object(value, where).get("name"), where)
            case "as_tensors":
                for item in a_list(value, where):
                    self._define(an_object(item, where).get("name"), where)
            case "as_sym_int" | "as_sym_float" | "as_sym_bool":
                name = an_object(value, where).get("as_name")
                if name is not None:
                    self._define(name, where)
            case "as_optional_tensor":
                kind, _ = the_one(value, where)
                return self.output(value, where) if kind == "as_tensor" else None
        return self.argument(argument, where)

    def _define(self, name: Any, where: str) -> str:
        text = a_name(name, where)
        if text in self._defined:
            fail(where, f"defines {brief(text)} a second time")
        self._defined.add(text)
        return text

    def argument(self, argument: Any, where: str) -> Value:
        """The value of an argument."""
        if type(argument) is dict and len(argument) == 1:
            if "as_tensor" in argument:
                return self._tensor(argument["as_tensor"], where)
            kind, value = next(iter(argument.items()))
        else:
            kind, value = the_one(argument, where)
        reader = _ARGUMENTS.get(kind)
        if reader is None:
            fail(where, f"is {brief(kind)}, which is not a kind of argument; was it written by a newer torch?")
        return reader(self, value, where)

    def _tensor(self, value: Any, where: str) -> Tensor:
        name = an_object(value, where).get("name")
        tensor = self._tensors.get(name) if type(name) is str else None
        if tensor is None:
            if type(name) is not str or name not in self._defined:
                fail(where, f"uses {brief(name)}, which is not defined before it")
            if name not in self._metas:
                fail(where, f"uses the tensor {brief(name)}, which has no shape")
            try:
                tensor = self._program.tensor(self._metas[name], "")
            except FaultError:  # again, with its place: writing the place for each tensor takes a tenth of the time
                tensor = self._program.tensor(self._metas[name], f"{self._where}.tensor_values[{brief(name)}]")
            self._tensors[name] = tensor
        return tensor

    def _number(self, value: Any, where: str) -> Value:
        kind, name = the_one(value, where)
        if kind != "as_name":
            return self._program.symbolic(value, where)
        if type(name) is not str or name not in self._defined or name not in self._numbers:
            fail(where, f"uses the number {brief(name)}, which is not defined before it")
        if name not in self._values:
            self._values[name] = self._program.symbolic(self._numbers[name], f"{self._where}.{brief(name)}")
        return self._values[name]

    def _optional_tensor(self, value: Any, where: str) -> Value:
        kind, tensor = the_one(value, where)
        return self._tensor(tensor, where) if kind == "as_tensor" else None

    def _named_arguments(self, value: Any, where: str) -> Value:
        if self._depth > _DEEPEST:
            fail(where, "nests too deeply")
        self._depth += 1
        named = tuple([(a_text(name, where), self.argument(item, where)) for name, item in an_object(value, where).items()])
        self._depth -= 1
        return named


def stacks_of(
    graph: dict[str, Any], parsed: dict[str, tuple[Entry, ...]], *, operands: bool = True
) -> Iterator[tuple[tuple[Entry, ...], Iterable[Operand]]]:
    """The module stack of each operator of a graph, with the operator's tensors, as far as both can be read.

    Args:
        graph: the JSON of the graph in the file.
        parsed: entries of stacks by their text, to which this function adds.
        operands: whether to return the tensors; without them, each stack comes once.
    """
    known: dict[str, tuple[Entry, ...]] = {}
    characters, modules = limits.STACKS, limits.STACKED_MODULES
    nodes = graph.get("nodes")
    for node in nodes if type(nodes) is list else []:
        metadata = node.get("metadata") if type(node) is dict else None
        text = metadata.get("nn_module_stack") if type(metadata) is dict else None
        if type(text) is str and 0 < len(text) <= limits.STACK:  # reading the operator reports a longer one
            entries = known.get(text)
            if entries is None:
                characters -= len(text)
                if characters < 0:
                    return  # as above
                entries = known[text] = parsed[text] = parsed.get(text) or parse_stack(text)
                modules -= len(entries)
                if len(entries) > limits.STACK_MODULES or modules < 0:
                    return  # as above
            elif not operands:
                continue
            yield entries, _operands_of(node) if operands else ()


def _operands_of(node: dict[str, Any]) -> Iterator[Operand]:
    """The tensors among the arguments of an operator that was not read yet; few operators are asked for them."""
    inputs = node.get("inputs")
    for item in inputs if type(inputs) is list else []:
        if type(item) is dict:
            for value in tensor_names(item.get("arg")):
                yield str(item.get("name")), value


def tensor_names(argument: Any) -> list[str]:
    """The names of the tensors in an argument."""
    if type(argument) is not dict or len(argument) != 1:
        return []
    ((kind, value),) = argument.items()
    if kind not in _NAMING:
        return []
    if kind == "as_optional_tensor":
        return tensor_names(value)
    items = value if kind in {"as_tensors", "as_optional_tensors"} and type(value) is list else [value]
    if kind == "as_optional_tensors":
        return [name for item in items for name in tensor_names(item)]
    return [item["name"] for item in items if type(item) is dict and type(item.get("name")) is str]


_NAMING = frozenset({"as_tensor", "as_tensors", "as_optional_tensor", "as_optional_tensors"})


def references(argument: Any) -> Iterator[str]:
    """The names of the graph's values (tensors and symbolic numbers) in an argument that was already read."""
    if type(argument) is tuple or type(argument) is list:
        for item in argument:
            yield from references(item)
    elif type(argument) is dict and len(argument) == 1:
        ((kind, value),) = argument.items()
        if kind == "as_name":
            yield value
        elif kind == "as_string_to_argument":
            yield from references(list(value.values()))
        elif kind in _TENSORS:
            for item in value if type(value) is list else (value,):
                yield from (tensor["name"] for tensor in (item if type(item) is list else (item,)))
        elif kind in _REFERRING:
            yield from references(value)


_TENSORS = frozenset({"as_tensor", "as_tensors", "as_nested_tensors"})
_REFERRING = frozenset(
    {"as_optional_tensor", "as_optional_tensors"}
    | {f"as_sym_{kind}{number}" for kind in ("int", "float", "bool") for number in ("", "s")}
)


def _operands(named: list[tuple[str, Any]]) -> list[Operand]:
    return [(name, value) for name, argument in named for value in tensor_names(argument)]


def _value_names(argument: Any) -> list[str]:
    """One name for every value in an argument; "" for a value without a name, such as a number."""
    if type(argument) is tuple:
        return [name for item in argument for name in _value_names(item)]
    if type(argument) is not dict or "as_graph" in argument:
        return []
    value = next(iter(argument.values()), None)
    if type(value) is list:
        return [item["name"] if type(item) is dict and type(item.get("name")) is str else "" for item in value]
    return tensor_names(argument) or [""]


_Argument = Callable[[GraphReader, Any, str], Value]


def _nothing(_reader: GraphReader, _value: Any, _where: str) -> None:
    return None


def _plain(check: Callable[[Any, str], Value]) -> _Argument:
    return lambda _reader, value, where: check(value, where)


def _each(one: _Argument) -> _Argument:
    return lambda reader, value, where: tuple([one(reader, item, where) for item in a_list(value, where)])


def _truth(value: Any, where: str) -> bool:
    return value if type(value) is bool else fail(where, f"is {brief(value)}, not true or false")


def _text(value: Any, where: str) -> str:
    return value if type(value) is str else fail(where, f"is {brief(value)}, not a text")


def _enum(names: Mapping[int, str], noun: str) -> _Argument:
    def read(_reader: GraphReader, value: Any, where: str) -> str:
        name = names.get(value) if type(value) is int else None
        return name if name is not None else fail(where, f"is {brief(value)}, which is not a {noun} of torch")

    return read


def _device(value: Any, where: str) -> str:
    fields = an_object(value, where)
    index = fields.get("index")
    kind = a_text(fields.get("type"), where)
    return kind if index is None else f"{kind}:{an_integer(index, where)}"


def _complex(value: Any, where: str) -> complex:
    fields = an_object(value, where)
    return complex(a_float(fields.get("real"), where), a_float(fields.get("imag"), where))


def _class(value: Any, where: str) -> str:
    return a_text(an_object(value, where).get("class_fqn"), where)


def _token(value: Any, where: str) -> str:
    return a_text(an_object(value, where).get("name"), where)


def _operator(reader: GraphReader, value: Any, where: str) -> str:
    return reader._program.target(value, where)  # noqa: SLF001 - of this file


_ARGUMENTS: Mapping[str, _Argument] = {
    "as_none": _nothing,
    "as_graph": _nothing,
    "as_tensor": GraphReader._tensor,  # noqa: SLF001 - of this file, as all below
    "as_tensors": _each(GraphReader._tensor),  # noqa: SLF001
    "as_optional_tensor": GraphReader._optional_tensor,  # noqa: SLF001
    "as_optional_tensors": _each(GraphReader._optional_tensor),  # noqa: SLF001
    "as_nested_tensors": _each(_each(GraphReader._tensor)),  # noqa: SLF001
    "as_int": _plain(an_integer),
    "as_ints": _each(_plain(an_integer)),
    "as_int_lists": _each(_each(_plain(an_integer))),
    "as_float": _plain(a_float),
    "as_floats": _each(_plain(a_float)),
    "as_float_lists": _each(_each(_plain(a_float))),
    "as_bool": _plain(_truth),
    "as_bools": _each(_plain(_truth)),
    "as_string": _plain(_text),
    "as_strings": _each(_plain(_text)),
    "as_complex": _plain(_complex),
    "as_sym_int": GraphReader._number,  # noqa: SLF001
    "as_sym_ints": _each(GraphReader._number),  # noqa: SLF001
    "as_sym_float": GraphReader._number,  # noqa: SLF001
    "as_sym_floats": _each(GraphReader._number),  # noqa: SLF001
    "as_sym_bool": GraphReader._number,  # noqa: SLF001
    "as_sym_bools": _each(GraphReader._number),  # noqa: SLF001
    "as_scalar_type": _enum(DTYPES, "type"),
    "as_layout": _enum(LAYOUTS, "layout"),
    "as_memory_format": _enum(MEMORY_FORMATS, "memory format"),
    "as_device": _plain(_device),
    "as_operator": _operator,
    "as_custom_obj": _plain(_class),
    "as_token": _plain(_token),
    "as_string_to_argument": GraphReader._named_arguments,  # noqa: SLF001
}
"""Alternative of an argument to the function that reads it."""
