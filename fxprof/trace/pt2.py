"""A `.pt2` file as a capture: every exported program in it is a component that is called once. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fxprof.errors import TargetError
from fxprof.trace.archive import read_archive
from fxprof.trace.captured import Capture, CapturedCall, CapturedComponent, CapturedModule
from fxprof.trace.collector import uncollected
from fxprof.trace.dims import Dims, bind_dims, read_names
from fxprof.trace.fields import (
    FaultError,
    a_list,
    a_text,
    an_integer,
    an_object,
    brief,
    check_path,
    fail,
    given,
    the_one,
)
from fxprof.trace.graph import GraphReader, ProgramReader
from fxprof.trace.modules import called_paths, modules_of_graph
from fxprof.trace.records import Tensor, Trace, Value
from fxprof.trace.schema import NEWEST_MAJOR, READ_MAJORS
from fxprof.trace.symbols import Sizes, UnboundSymbolError

DIM_NAMES = "dim_names.json"
"""A text in an archive that gives symbols the names that they had in `dynamic_shapes`, which torch does not keep."""


@dataclass(frozen=True, slots=True)
class Program:
    """What one exported program says."""

    name: str
    """`model` where an archive holds one program; otherwise the method's."""
    trace: Trace
    modules: tuple[CapturedModule, ...]
    ranges: Mapping[str, tuple[int | None, int | None]]
    """Symbol to its least and largest size, None where there is no bound."""
    torch_version: str
    """Of the torch that wrote it."""

    @property
    def class_name(self) -> str:
        """The class of the exported module; "" where no operator tells."""
        return next((op.stack[0].class_name for op in self.trace.ops if op.stack and not op.stack[0].path), "")


def read_programs(
    path: str | Path, *, prefix: str = "", aliases: Mapping[str, str] | None = None
) -> tuple[tuple[Program, ...], Mapping[str, str]]:
    """The programs of a `.pt2` file, and further names of their symbols.

    Args:
        path: of the file.
        prefix: path of the exported module below its component, put before the path of every module.
        aliases: other paths of modules that are shared, to the one path that their calls add up at.

    Raises:
        TargetError: the file is none, is damaged, of a newer schema, or contradicts itself.
    """
    try:
        with uncollected():
            archive = read_archive(path, extra=(DIM_NAMES,))
            programs = tuple(
                _program(
                    name,
                    value,
                    _places(archive.weights.get(name, {"config": {}}), archive.empty),
                    ProgramReader(prefix, aliases),
                )
                for name, value in archive.programs.items()
            )
            return programs, read_names(archive.extra.get(DIM_NAMES, "{}"))
    except FaultError as fault:
        raise TargetError(f"cannot read {path}: {fault}", "export the program anew with torch.export.save") from fault
    except RecursionError as error:
        raise TargetError(f"cannot read {path}: its graph nests too deeply") from error
    except MemoryError as error:
        raise TargetError(f"cannot read {path}: it takes more memory than there is") from error


def read_capture(path: str | Path, dims: Mapping[str, int]) -> tuple[Capture, str]:
    """A `.pt2` file as a capture, at the sizes of its example inputs or at those given, and the torch that wrote it.

    Args:
        path: of the file.
        dims: sizes by symbol (`s77`), by place (`x.0`: the first size of the input `x`), or by a name that the file gives.

    Raises:
        TargetError: as `read_programs`.
        UsageError: `dims` names a size that no program has, or is outside of its range.
    """
    programs, names = read_programs(path)
    bound = bind_dims(Path(path).name, [_dims(program) for program in programs], names, dims)
    components = tuple(_component(program, symbols) for program, symbols in zip(programs, bound, strict=True))
    workload = {name: size for symbols in bound for name, size in sorted(symbols.items())}
    class_name = programs[0].class_name if len(programs) == 1 else ""
    return Capture(class_name or "ExportedProgram", components, workload), programs[0].torch_version


def _dims(program: Program) -> Dims:
    return Dims(program.name, program.trace, program.ranges)


def _component(program: Program, symbols: Mapping[str, int]) -> CapturedComponent:
    trace = replace(program.trace, symbols=tuple(sorted(symbols.items())))
    calls = (CapturedCall("", 1, trace),)
    return CapturedComponent(program.name, program.class_name or "GraphModule", program.modules, calls)


def _program(name: str, value: Any, places: Mapping[str, _Place], reader: ProgramReader) -> Program:
    where = "" if name == "model" else f"{name}: "
    fields = an_object(value, f"{where}the program")
    _check_schema(fields)
    module = an_object(fields.get("graph_module"), f"{where}graph_module")
    graph = GraphReader(reader, module.get("graph"), f"{where}graph")
    signature = an_object(module.get("signature"), f"{where}signature")
    specs = [the_one(item, f"{where}input_specs") for item in a_list(signature.get("input_specs"), f"{where}input_specs")]
    inputs = tuple(_inputs(graph, specs))
    trace = Trace(tuple(graph.ops()), inputs)
    reader.finish()
    params = _params(graph, specs, places)
    order = called_paths(list(_order(module.get("module_call_graph"))))
    return Program(
        name,
        replace(trace, symbols=tuple(sorted(reader.symbols.items()))),
        modules_of_graph(trace.walk(), params, order),
        _ranges(fields.get("range_constraints")),
        _torch_version(fields.get("torch_version")),
    )


def _check_schema(fields: dict[str, Any]) -> None:
    version = an_object(fields.get("schema_version"), "schema_version")
    major, minor = (an_integer(version.get(part), f"schema_version.{part}") for part in ("major", "minor"))
    written = f"written by torch {_torch_version(fields.get('torch_version'))}"
    if major > NEWEST_MAJOR:
        fail("", f"it is of schema {major}.{minor}, {written}; this fxprof reads {NEWEST_MAJOR} and is too old for it")
    if major not in READ_MAJORS:
        fail("", f"it is of schema {major}.{minor}, {written}, which torch itself no longer reads")


def _torch_version(value: Any) -> str:
    return a_text(value if value is not None else "unknown", "torch_version")


def _inputs(graph: GraphReader, specs: list[tuple[str, Any]]) -> Iterator[tuple[str, Value]]:
    seen: set[str] = set()
    for kind, spec in specs:
        if kind == "user_input":
            argument = an_object(spec, "user_input").get("arg")
            held, value = the_one(argument, "user_input.arg")
            name = an_object(value, "user_input.arg") if held in _NAMED else {}
            named = name.get("name", name.get("as_name"))
            if named is not None:
                if a_text(named, "user_input.arg") in seen:
                    fail("user_input.arg", f"names {brief(named)} a second time")
                seen.add(named)
                yield a_text(named, "user_input.arg"), graph.argument(argument, "user_input.arg")


_NAMED = ("as_tensor", "as_sym_int", "as_sym_float", "as_sym_bool", "as_custom_obj")


_Place = tuple[Any, ...]


def _places(weights: Any, empty: frozenset[str]) -> dict[str, _Place]:
    """Name of a weight to where it lies: two names of one place are one weight. Those without data have no place."""
    table = an_object(an_object(weights, "weights").get("config"), "weights.config")
    found = {name: _place(an_object(item, f"weights.config[{brief(name)}]")) for name, item in table.items()}
    return {name: place for name, place in found.items() if place[0] not in empty}


def _place(item: dict[str, Any]) -> _Place:
    meta = an_object(given(item.get("tensor_meta"), {}), "weights.tensor_meta")
    offset = an_object(given(meta.get("storage_offset"), {}), "weights.storage_offset").get("as_int")
    sizes = [an_object(size, "weights.sizes").get("as_int") for size in a_list(given(meta.get("sizes"), []), "weights.sizes")]
    return a_text(item.get("path_name"), "weights.path_name"), str(offset), str(sizes)


def _params(graph: GraphReader, specs: list[tuple[str, Any]], places: Mapping[str, _Place]) -> dict[str, int]:
    """Module path to the parameters that it holds itself; a shared one belongs to the first module that holds it."""
    params: dict[str, int] = {}
    seen: set[_Place] = set()
    for kind, spec in specs:
        if kind == "parameter":
            fields = an_object(spec, "parameter")
            name = a_text(fields.get("parameter_name"), "parameter_name")
            tensor = graph.argument({"as_tensor": fields.get("arg")}, "parameter.arg")
            path = name.rpartition(".")[0]
            check_path(path, "parameter_name")
            params.setdefault(path, 0)
            place = places.get(name, (name,))
            if place not in seen and isinstance(tensor, Tensor):
                params[path] += _elements(tensor)
            seen.add(place)
    return params


def _elements(tensor: Tensor) -> int:
    elements = 1
    for size in tensor.shape:
        try:
            elements *= Sizes({}).size(size)
        except UnboundSymbolError:
            fail("parameter", "has a symbolic size")
    return elements


def _order(entries: Any) -> Iterator[str]:
    """Paths of the modules as they were built."""
    for entry in a_list(given(entries, []), "module_call_graph"):
        path = a_text(an_object(entry, "module_call_graph").get("fqn"), "module_call_graph.fqn")
        check_path(path, "module_call_graph.fqn")
        yield path


def _ranges(value: Any) -> dict[str, tuple[int | None, int | None]]:
    ranges = {}
    for name, item in an_object(given(value, {}), "range_constraints").items():
        fields = an_object(item, "range_constraints")
        least, largest = fields.get("min_val"), fields.get("max_val")
        ranges[name] = (_bound(least), _bound(largest))
    return ranges


def _bound(value: Any) -> int | None:
    if value is None or value in ("Infinity", "-Infinity"):
        return None
    return an_integer(value, "range_constraints")
