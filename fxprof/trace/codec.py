"""A trace as JSON and back, without loss: for the cache of captured calls on this machine.

Parts that many operators share (module stacks, blocks) are written once and referred to by number.
"""

from __future__ import annotations

from typing import Any

from fxprof.trace.records import Block, Frame, Occurrence, Op, Origin, Pairs, Subgraph, Tensor, Trace, Value, contiguous
from fxprof.trace.symbols import Expr

Json = dict[str, Any]


class NotWritableError(Exception):
    """A trace with symbolic sizes or sparse tensors, which the codec does not know."""


class DamagedError(Exception):
    """A value is not a trace."""


def write_trace(trace: Trace) -> Json:
    """Turn a trace into values that `json` can write.

    Raises:
        NotWritableError: it has symbolic sizes.
    """
    if trace.symbols:
        raise NotWritableError
    writer = _Writer()
    parts = writer.parts(trace.parts)
    inputs = [[name, _written(value)] for name, value in trace.inputs]
    origins = [[number, *origin] for number, origin in trace.origins]
    values = {"origins": origins, "gives": list(trace.gives), "has_frees": trace.has_frees}
    return {"stacks": writer.stacks, "blocks": writer.blocks, "parts": parts, "inputs": inputs, **values}


def read_trace(value: Any) -> Trace:
    """Rebuild a trace from a value that `write_trace` returned.

    Raises:
        DamagedError: the value does not come from `write_trace`.
    """
    try:
        reader = _Reader(value["stacks"])
        for block in value["blocks"]:
            reader.blocks.append(Block(reader.stacks[block["stack"]], reader.parts(block["parts"])))
        inputs = tuple((_text(name), _read(item)) for name, item in value["inputs"])
        origins = tuple((_count(number), Origin(_text(kind), _text(name))) for number, kind, name in value["origins"])
        parts, gives, has_frees = reader.parts(value["parts"]), _numbers(value["gives"]), value["has_frees"]
        if not isinstance(has_frees, bool):
            raise DamagedError("frees")
        return Trace(parts, inputs, origins=origins, gives=gives, has_frees=has_frees)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DamagedError(str(error)) from error


class _Writer:
    def __init__(self) -> None:
        self.stacks: list[list[list[Any]]] = []
        self.blocks: list[Json] = []
        self._stacks: dict[tuple[Frame, ...], int] = {}
        self._blocks: dict[Block, int] = {}

    def parts(self, parts: tuple[Op | Occurrence, ...]) -> list[Any]:
        return [self._occurrence(part) if isinstance(part, Occurrence) else self._op(part) for part in parts]

    def _op(self, op: Op) -> list[Any]:
        args = [[name, _written(value)] for name, value in op.args]
        outputs = [_written(value) for value in op.outputs]
        bodies = [[body.name, self.parts(body.parts), list(body.takes), list(body.gives)] for body in op.subgraphs]
        values = [list(op.reads), list(op.makes), list(op.frees)]
        return [op.target, args, outputs, self._stack(op.stack), op.source, bodies, *values, op.inside]

    def _occurrence(self, part: Occurrence) -> Json:
        if part.block not in self._blocks:
            written = {"stack": self._stack(part.block.stack), "parts": self.parts(part.block.parts)}
            self._blocks[part.block] = len(self.blocks)
            self.blocks.append(written)
        pairs = {"visits": list(part.visits), "takes": list(part.takes), "gives": list(part.gives), "frees": list(part.frees)}
        return {"block": self._blocks[part.block], "stack": self._stack(part.stack), **pairs}

    def _stack(self, stack: tuple[Frame, ...]) -> int:
        if stack not in self._stacks:
            self._stacks[stack] = len(self.stacks)
            self.stacks.append([list(frame) for frame in stack])
        return self._stacks[stack]


def _written(value: Value) -> Any:
    match value:
        case Tensor():
            if value.nnz is not None or any(isinstance(size, Expr) for size in value.shape):
                raise NotWritableError
            more: Json = {"stored": value.stored} if value.stored else {}
            if value.strides is None or value.strides != contiguous(value.shape):  # type: ignore[arg-type]  # all are integers
                more["strides"] = None if value.strides is None else list(value.strides)
            if value.device != "cpu":
                more["device"] = value.device
            return {"shape": list(value.shape), "dtype": value.dtype, **more}
        case tuple():
            return [_written(item) for item in value]
        case float() | complex():
            return {type(value).__name__: repr(value)}
        case Expr():
            raise NotWritableError
        case _:
            return value


class _Reader:
    def __init__(self, stacks: list[list[list[Any]]]) -> None:
        self.stacks = [tuple(Frame(_text(path), _text(name), _count(visit)) for path, name, visit in stack) for stack in stacks]
        self.blocks: list[Block] = []

    def parts(self, parts: list[Any]) -> tuple[Op | Occurrence, ...]:
        return tuple(self._occurrence(part) if isinstance(part, dict) else self._op(part) for part in parts)

    def _op(self, part: list[Any]) -> Op:
        target, args, outputs, stack, source, bodies, reads, makes, frees, inside = part
        return Op(
            _text(target),
            tuple((_text(name), _read(value)) for name, value in args),
            tuple(map(_read, outputs)),
            self.stacks[stack],
            None if source is None else _text(source),
            tuple(
                Subgraph(_text(name), self.parts(parts), _pairs(takes), _numbers(gives)) for name, parts, takes, gives in bodies
            ),
            _numbers(reads),
            _numbers(makes),
            _numbers(frees),
            _count(inside),
        )

    def _occurrence(self, part: Json) -> Occurrence:
        visits = tuple((_text(path), _count(shift, least=-(10**9))) for path, shift in part["visits"])
        block, stack = self.blocks[part["block"]], self.stacks[part["stack"]]
        return Occurrence(block, stack, visits, _pairs(part["takes"]), _pairs(part["gives"]), _numbers(part["frees"]))


def _read(value: Any) -> Value:
    match value:
        case {"shape": list() as shape, "dtype": dtype}:
            sizes = tuple(map(_count, shape))
            strides = value.get("strides", contiguous(sizes))
            if strides is not None and len(strides) != len(sizes):
                raise ValueError(strides)
            strides = None if strides is None else tuple(map(_count, strides))
            stored, device = _text(value.get("stored", "")), _text(value.get("device", "cpu"))
            return Tensor(sizes, _text(dtype), stored, strides=strides, device=device)
        case {"float": text}:
            return float(_text(text))
        case {"complex": text}:
            return complex(_text(text))
        case list():
            return tuple(map(_read, value))
        case None | bool() | int() | str():
            return value
        case _:
            raise TypeError(type(value).__name__)


def _numbers(value: list[Any]) -> tuple[int, ...]:
    return tuple(map(_count, value))


def _pairs(value: list[Any]) -> Pairs:
    return tuple((_count(inner), _count(outer)) for inner, outer in value)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(type(value).__name__)
    return value


def _count(value: Any, least: int = 0) -> int:
    if type(value) is not int or value < least:
        raise TypeError(type(value).__name__)
    return value
