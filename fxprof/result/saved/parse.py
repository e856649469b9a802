"""From the JSON of a saved profile to its records, with strict checks of types, sums, and missing or extra fields."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from math import isfinite
from operator import itemgetter
from sys import intern
from typing import Any, NamedTuple, NoReturn, TypeGuard, TypeVar

from fxprof import limits
from fxprof.cost.causal import KIND as ATTENTION
from fxprof.cost.traffic import NONE, Traffic
from fxprof.errors import ProfileError
from fxprof.result.profile import Component, Profile
from fxprof.result.records import LARGEST, Call, Geometry, Input, ModuleRecord, OpRow, Run, Total
from fxprof.result.saved.lifetimes import read_lifetimes
from fxprof.result.saved.write import FORMAT_VERSION
from fxprof.result.tree import Node, has_plausible_size, parent_of
from fxprof.trace.weights import KINDS, QUANTISERS, WeightGroup

_MASKED = 6
"""The first format that says which attention is causal."""
_LONGEST = limits.MODULE_PATH
_DEEPEST = limits.MODULE_LEVELS

QUOTED = 40
"""Characters of a value that an error quotes."""

_T = TypeVar("_T")
_MISSING = object()


def parse_profile(value: dict[str, Any], name: str) -> Profile:
    """The profile of a JSON object; empties the object on the way.

    Args:
        value: the value of the JSON text.
        name: its name in errors.

    Raises:
        ProfileError: it is not a profile, is of a newer format, or contradicts itself.
    """
    try:
        return _profile(_Fields(value, ""))
    except _FaultError as fault:
        raise ProfileError(f"{name} is not a valid profile: {fault}") from fault


class _FaultError(Exception):
    """A fault, and its place in the file."""


class _Fields:
    """The fields of one JSON object; each is taken once and checked."""

    __slots__ = ("left", "where")

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise _FaultError(f"{where} is not an object")
        self.left: dict[str, Any] = value  # nobody else uses it, so it can be emptied
        self.where = where

    def name(self, field: str) -> str:
        """The place of a field: `components[0].calls[2].macs`."""
        return f"{self.where}.{field}" if self.where else field

    def fail(self, field: str, what: str) -> NoReturn:
        raise _FaultError(f"{self.name(field)} {what}")

    def take(self, field: str, default: object = _MISSING) -> Any:
        value = self.left.pop(field, default)
        if value is _MISSING:
            self.fail(field, "is missing")
        return value

    def integer(self, field: str) -> int:
        value = self.take(field)
        return value if _is_count(value) else self.fail(field, f"is {_brief(value)}, not a count")

    def text(self, field: str, default: object = _MISSING, most: int = limits.LONG_TEXT) -> str:
        value = self.take(field, default)
        if not isinstance(value, str):
            self.fail(field, f"is {_brief(value)}, not a text")
        if len(value) > most:
            self.fail(field, f"holds {len(value):,} characters, more than {most:,}")
        return value

    def short(self, field: str, default: object = _MISSING) -> str:
        """A text that is at most as long as a name."""
        return self.text(field, default, limits.NAME)

    def flag(self, field: str, default: object = _MISSING) -> bool:
        value = self.take(field, default)
        if not isinstance(value, bool):
            self.fail(field, f"is {_brief(value)}, not true or false")
        return bool(value)

    def sizes(self, field: str, default: object = _MISSING) -> tuple[int, ...] | None:
        value = self.take(field, default)
        if value is None:
            return None
        if not isinstance(value, list) or not all(map(_is_count, value)):
            self.fail(field, f"is {_brief(value)}, not a list of sizes")
        return tuple(value)

    def pair(self, field: str) -> tuple[int, int] | None:
        value = self.sizes(field)
        if value is None:
            return None
        if len(value) != 2:  # noqa: PLR2004  # a pair
            self.fail(field, f"has {len(value)} sizes, not two")
        return value[0], value[1]

    def items(self, field: str) -> list[Any]:
        value = self.take(field)
        if not isinstance(value, list):
            self.fail(field, f"is {_brief(value)}, not a list")
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        value = self.items(field)
        if not all(isinstance(item, str) for item in value):
            self.fail(field, "is not a list of texts")
        self.fit(field, value)
        return tuple(value)

    def fit(self, field: str, values: Iterable[object]) -> None:
        """Refuse texts that are longer than any sentence or prompt."""
        longest = max((len(value) for value in values if isinstance(value, str)), default=0)
        if longest > limits.LONG_TEXT:
            self.fail(field, f"holds a text of {longest:,} characters, more than {limits.LONG_TEXT:,}")

    def inner(self, field: str) -> _Fields:
        """The fields of an object in this one."""
        return _Fields(self.take(field), self.name(field))

    def is_null(self, field: str) -> bool:
        """Whether a field is null; it is taken then."""
        if self.left.get(field, _MISSING) is not None:
            return False
        del self.left[field]
        return True

    def objects(self, field: str) -> Iterator[_Fields]:
        name = self.name(field)
        for index, item in enumerate(self.items(field)):
            yield _Fields(item, f"{name}[{index}]")

    def mapping(self, field: str, accept: Callable[[object], bool], what: str) -> dict[str, Any]:
        value = self.take(field)
        if not isinstance(value, dict) or not all(map(accept, value.values())):
            self.fail(field, f"is not an object of {what}")
        self.fit(field, value.values())
        return dict(value)

    def total(self) -> Total:
        macs = self.integer("macs"), self.integer("uncounted"), self.integer("bounded")
        if "bytes_read" not in self.left:  # as in files of early formats
            return Total(*macs)
        moved = self.integer("bytes_read"), self.integer("bytes_written")
        return Total(*macs, *moved, self.integer("bytes_unknown"), self.integer("bytes_bounded"))

    def agree_total(self, stored: Total, found: Total, of: str) -> None:
        """Compare a stored sum with the computed one; a file of an early format has no bytes."""
        self.agree("macs", stored.of_macs, found.of_macs, of)
        if stored != stored.of_macs:
            self.agree("bytes_read", stored, found, of)

    def agree(self, field: str, stored: _T, found: _T, of: str) -> None:
        if stored != found:
            self.fail(field, f"is {_number(stored)}, but {of} {_number(found)}")

    def done(self) -> None:
        for field in self.left:
            self.fail(field[:QUOTED], "is not a field of this format")


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < LARGEST


def _is_plain(value: object) -> bool:
    if type(value) is int:
        return abs(value) < LARGEST
    if isinstance(value, float):
        return isfinite(value)  # 1e999 is valid JSON
    return value is None or isinstance(value, str | bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _brief(value: object) -> str:
    """A short text of the value, for an error."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value[: QUOTED + 1] if isinstance(value, str) else value)  # a text may have megabytes
    return text if len(text) <= QUOTED else text[: QUOTED - 3] + "..."


def _number(value: object) -> str:
    if isinstance(value, Total):
        macs = f"{value.macs} (uncounted {value.uncounted}, bounded {value.bounded})"
        states = f"unknown {value.bytes_unknown}, bounded {value.bytes_bounded}"
        return macs if value == value.of_macs else f"{value.bytes_read} and {value.bytes_written} written ({states})"
    return str(value)


def _profile(fields: _Fields) -> Profile:
    version = _check_version(fields)
    stored = fields.total()
    profile = Profile(
        target=fields.short("target"),
        class_name=fields.short("class_name"),
        workload=fields.mapping("workload", _is_plain, "plain values"),
        versions=fields.mapping("versions", _is_text, "texts"),
        components=_components(fields, version),
        geometry=_geometry(_Fields(fields.take("geometry"), "geometry")),
        approximations=fields.texts("approximations"),
        remarks=fields.texts("remarks"),
        order=fields.texts("order") if "order" in fields.left else (),
        held_between=fields.mapping("held_between", _is_count, "counts") if "held_between" in fields.left else {},
    )
    fields.agree_total(stored, profile.total, "the components add up to")
    fields.done()
    return profile


def _check_version(fields: _Fields) -> int:
    """The version of the format."""
    version = fields.integer("format")
    if version > FORMAT_VERSION:
        fields.fail("format", f"is {version}, written by a newer fxprof; this one reads {FORMAT_VERSION}")
    if version < 1:
        fields.fail("format", f"is {version}; formats start at 1")
    return version


def _geometry(fields: _Fields) -> Geometry:
    geometry = Geometry(
        pixels_asked=fields.pair("pixels_asked"),
        pixels_computed=fields.pair("pixels_computed"),
        latents=fields.sizes("latents"),
        text_tokens=_named_sizes(fields, "text_tokens"),
        attention=tuple((name, (sizes[0], sizes[1])) for name, sizes in _named_sizes(fields, "attention", length=2)),
        denoiser=fields.short("denoiser"),
        denoiser_calls=fields.integer("denoiser_calls"),
        denoiser_batch=fields.integer("denoiser_batch"),
        guidance=fields.short("guidance"),
        tiling=fields.flag("tiling"),
        slicing=fields.flag("slicing"),
    )
    fields.done()
    return geometry


def _named_sizes(fields: _Fields, field: str, length: int | None = None) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """A list of [name, sizes]."""
    found = []
    for item in fields.items(field):
        match item:
            case [str(name), list(sizes)] if all(map(_is_count, sizes)) and length in {None, len(sizes)}:
                found.append((name, tuple(sizes)))
            case _:
                fields.fail(field, f"holds {_brief(item)}, not a name and sizes")
    return tuple(found)


def _components(fields: _Fields, version: int) -> Mapping[str, Component]:
    components: dict[str, Component] = {}
    for place, item in enumerate(fields.objects("components")):
        if place >= limits.COMPONENTS:
            fields.fail("components", f"are more than {limits.COMPONENTS:,}")
        component = _component(item, version)
        if component.name in components:
            item.fail("name", f"is {_brief(component.name)}, as that of another component")
        components[component.name] = component
    return components


def _component(fields: _Fields, version: int) -> Component:
    stored, params = fields.total(), fields.integer("params")
    raw, where = fields.take("tree"), fields.name("tree")
    name, class_name = fields.short("name"), fields.short("class_name")
    calls, weights = tuple(_calls(fields, version)), _weights(fields)
    sizes = [group.bytes_each for group in weights or ()]
    usual = _usual_tree(raw, sizes)
    judged = _judged_tree(raw, where, sizes) if usual is None else None
    modules = tuple((judged or usual).modules)  # type: ignore[union-attr]  # one of both
    calls = _with_weights(fields, calls, weights)
    runs, stored_bytes = _runs(fields, calls), fields.integer("stored_bytes") if "stored_bytes" in fields.left else 0
    held = fields.integer("held_bytes") if "held_bytes" in fields.left else 0
    blocks = fields.texts("offload_blocks") if "offload_blocks" in fields.left else ()
    turn = fields.integer("offload_turn") if "offload_turn" in fields.left else None
    never = fields.flag("offload_never", default=False)
    scheme = fields.short("quantised", "")
    component = Component(name, class_name, modules, calls, runs, stored_bytes, weights, held, blocks, turn, never, scheme)
    if not has_plausible_size(component.modules, component.calls):
        fields.fail("tree", "has more modules than any model")
    fields.agree_total(stored, component.total, "its calls add up to")
    fields.agree("params", params, component.params, "its modules hold")
    _check_weights(fields, weights or (), modules)
    if usual is None or not usual.is_that_of(component.tree):
        _check_tree((judged or _judged_tree(raw, where, sizes)).root, component.tree)
    fields.done()
    return component


def _weights(fields: _Fields) -> tuple[WeightGroup, ...] | None:
    """The weights of a component; None for files of early formats."""
    if "weights" not in fields.left:
        return None
    groups = tuple(_group(item) for item in fields.objects("weights"))
    stored = fields.integer("weight_bytes")
    fields.agree("weight_bytes", stored, sum(group.bytes for group in groups), "its weights add up to")
    return groups


def _group(fields: _Fields) -> WeightGroup:
    group = WeightGroup(
        kind=fields.short("kind"),
        class_name=intern(fields.short("class_name")),
        name=intern(fields.short("name")),
        shape=fields.sizes("shape") or (),
        parts=tuple(_parts(fields)),
        count=fields.integer("count"),
        linear=fields.flag("linear", default=False),
        skipped_by=fields.texts("skipped_by") if "skipped_by" in fields.left else (),
    )
    if group.kind not in KINDS:
        fields.fail("kind", f"is {_brief(group.kind)}, neither {' nor '.join(KINDS)}")
    if len(group.shape) > limits.TENSOR_SIZES:
        fields.fail("shape", f"has {len(group.shape)} sizes, more than {limits.TENSOR_SIZES}")
    if not set(group.skipped_by) <= set(QUANTISERS):
        fields.fail("skipped_by", f"is not among {', '.join(QUANTISERS)}")
    fields.done()
    return group


def _parts(fields: _Fields) -> Iterator[tuple[str, int]]:
    for item in fields.items("parts"):
        match item:
            case [str(dtype), size] if _is_count(size) and len(dtype) <= limits.NAME:
                yield intern(dtype), size
            case _:
                fields.fail("parts", f"holds {_brief(item)}, not an element type and its bytes")


def _check_weights(fields: _Fields, weights: tuple[WeightGroup, ...], modules: Sequence[ModuleRecord]) -> None:
    """Compare the count of each group of weights with the modules that hold them."""
    held = Counter(place for module in modules for place in module.weights)
    for place, group in enumerate(weights):
        if group.count != held[place]:
            fields.fail("weights", f"count {group.count} as number {place}, but the modules hold {held[place]}")


def _with_weights(fields: _Fields, calls: tuple[Call, ...], weights: tuple[WeightGroup, ...] | None) -> tuple[Call, ...]:
    """The calls with the bytes of weights: those that say nothing else run with the weights as loaded."""
    if weights is None:
        if any(call.weight_bytes is not _AS_LOADED for call in calls):
            fields.fail("calls", "have weights, but the component has none")
        return tuple(replace(call, weight_bytes=0) for call in calls)
    loaded = sum(group.bytes for group in weights)
    return tuple(replace(call, weight_bytes=loaded) if call.weight_bytes is _AS_LOADED else call for call in calls)


_AS_LOADED = -1
"""The weights of a call that says nothing about them, until those of its component are known."""


def _calls(fields: _Fields, version: int) -> Iterator[Call]:
    for place, item in enumerate(fields.objects("calls")):
        if place >= limits.CALLS:
            fields.fail("calls", f"are more than {limits.CALLS:,}")
        yield _call(item, version)


def _runs(fields: _Fields, calls: tuple[Call, ...]) -> tuple[Run, ...]:
    """The runs of a component; together they make no call more often than its count."""
    if "runs" not in fields.left:
        return ()
    runs = tuple(_run(item, calls) for item in fields.objects("runs"))
    made: Counter[int] = Counter()
    for run in runs:
        for place, times in run.calls:
            made[place] += run.count * times
    for place, call in enumerate(calls):
        if made[place] > call.count:
            fields.fail("runs", f"make calls[{place}] {made[place]} times, but it is made {call.count} times")
    return runs


def _run(fields: _Fields, calls: tuple[Call, ...]) -> Run:
    count, stored = fields.integer("count"), fields.integer("macs")
    parts = fields.items("calls")
    for part in parts:
        if not (isinstance(part, list) and len(part) == 2 and all(map(_is_count, part)) and part[0] < len(calls)):  # noqa: PLR2004  # a pair
            fields.fail("calls", f"holds {_brief(part)}, not a place among the component's calls and a number of times")
    run = Run(count, tuple((place, times) for place, times in parts))
    found = sum(calls[place].macs * times for place, times in run.calls)
    fields.agree("macs", stored, found, "its calls add up to")
    fields.done()
    return run


def _call(fields: _Fields, version: int) -> Call:
    stored = fields.total()
    texts, types, traffic = _table(fields, "shapes"), _table(fields, "types"), _traffic_table(fields)
    tables = _Tables(texts, types, traffic, texts is not None and types is not None and traffic is not None, version < _MASKED)
    call = Call(
        entry=fields.short("entry"),
        count=fields.integer("count"),
        inputs=tuple(_input(item) for item in fields.objects("inputs")),
        ops=tuple(_ops(fields, tables)),
        visits=fields.mapping("visits", _is_count, "counts"),
        note=fields.text("note"),
        unused=fields.mapping("unused", _is_count, "counts") if "unused" in fields.left else {},
        weight_bytes=fields.integer("weight_bytes") if "weight_bytes" in fields.left else _AS_LOADED,
        held_bytes=fields.integer("held_bytes") if "held_bytes" in fields.left else 0,
    )
    lifetimes = read_lifetimes(fields, call.visits)
    if lifetimes:
        call = replace(call, lifetimes=lifetimes)
    fields.agree_total(stored, call.total, "its operators add up to")
    for path in call.visits:
        if not _is_sound(path):
            _check_depth(fields, "visits", path)
    _check_unused(fields, call)
    fields.done()
    return call


def _check_unused(fields: _Fields, call: Call) -> None:
    """Compare the unneeded MACs of each module with the MACs of its operators."""
    if call.unused:
        macs: Counter[str] = Counter()
        for row in call.ops:
            macs[row.path] += row.macs or 0
        for path, unused in call.unused.items():
            if not 0 < unused <= macs[path]:
                fields.fail("unused", f"says {unused} of {_brief(path)}, whose operators cost {macs[path]}")


def _input(fields: _Fields) -> Input:
    argument = Input(fields.short("name"), fields.sizes("shape", None), fields.short("dtype"), fields.text("value", ""))
    fields.done()
    return argument


class _Tables(NamedTuple):
    """The tables that the operators of a call refer to by numbers."""

    shapes: list[str] | None
    """The texts of shapes; None for files in which each operator has its own texts."""
    types: list[str] | None
    traffic: list[Traffic] | None
    """The bytes; None for files without bytes."""
    are_all: bool
    """Whether all tables are given."""
    lacks_masks: bool
    """Whether the file does not say which attention is causal."""


def _table(fields: _Fields, field: str) -> list[str] | None:
    if field not in fields.left:
        return None
    texts = [intern(text) for text in fields.texts(field)]
    if any(len(text) > limits.NAME for text in texts):
        fields.fail(field, f"holds a text of more than {limits.NAME:,} characters")
    return texts


def _traffic_table(fields: _Fields) -> list[Traffic] | None:
    if "traffic" not in fields.left:
        return None
    found = []
    for item in fields.items("traffic"):
        if type(item) is list and len(item) == 2 and _is_count(item[0]) and _is_count(item[1]):  # noqa: PLR2004 - the usual case
            found.append(Traffic(item[0], item[1]))
            continue
        match item:
            case [read, written, *more] if _is_count(read) and _is_count(written) and more in ([], ["bounded"]):
                found.append(Traffic(read, written, bool(more)))
            case _:
                fields.fail("traffic", f"holds {_brief(item)}, not bytes read and written")
    return found


def _ops(fields: _Fields, tables: _Tables) -> Iterator[OpRow]:
    sound: set[str] = set()
    for index, item in enumerate(fields.items("ops")):
        yield _usual_row(item, sound, tables) or _op(_Fields(item, f"{fields.name('ops')}[{index}]"), tables)


_USUAL = ("path", "op", "kind", "source", "count", "macs")
_usual_values = itemgetter(*_USUAL)
_typed_values = itemgetter(*_USUAL, "shapes", "types")
_all_values = itemgetter(*_USUAL, "shapes", "types", "traffic")


def _values(item: Any, tables: _Tables) -> tuple[Any, ...]:
    """The values of the usual fields, with shapes, types and bytes from their tables.

    Raises:
        TypeError, KeyError, IndexError: the item has other fields, or other values.
    """
    more = len(item) - len(_USUAL)
    if more == 3:  # noqa: PLR2004 - most operators
        values = _all_values(item)
    elif more == 2 and "traffic" not in item:  # noqa: PLR2004 - views
        values = (*_typed_values(item), _MISSING)
    else:
        found = [item.get(name, missing) for name, missing in _OPTIONAL]
        if more != sum(name in item for name, _ in _OPTIONAL):
            raise KeyError
        values = (*_usual_values(item), *found)
    *usual, shapes, types, traffic = values
    if tables.shapes is not None and shapes != "":
        shapes = tables.shapes[shapes] if type(shapes) is int and shapes >= 0 else None
    if tables.types is not None and types != "":
        types = tables.types[types] if type(types) is int and types >= 0 else None
    return (*usual, shapes, types, _traffic(traffic, tables.traffic))


_OPTIONAL = (("shapes", ""), ("types", ""), ("traffic", _MISSING))


def _traffic(number: Any, table: list[Traffic] | None) -> Traffic | None:
    """The bytes behind an operator's number.

    Raises:
        IndexError: the table has no such number.
    """
    if number is None or table is None:
        if number is not None and number is not _MISSING:
            raise IndexError
        return None
    if number is _MISSING:
        return NONE
    if type(number) is not int or number < 0:
        raise IndexError
    return table[number]


def _usual_row(item: Any, sound: set[str], tables: _Tables) -> OpRow | None:
    """A sound row of the usual fields, which most rows are; None for any other, which `_op` reads.

    Args:
        item: the value in the file.
        sound: paths that were already checked.
        tables: the tables of the call.
    """
    try:
        if tables.are_all and len(item) == len(_USUAL) + 3:
            path, op, kind, source, count, macs, shape, written, moved = _all_values(item)
            if not type(shape) is type(written) is type(moved) is int or shape < 0 or written < 0 or moved < 0:
                return None
            shapes, types, traffic = tables.shapes[shape], tables.types[written], tables.traffic[moved]  # type: ignore[index]
        else:
            path, op, kind, source, count, macs, shapes, types, traffic = _values(item, tables)
    except (TypeError, KeyError, IndexError, AttributeError):
        return None
    if not type(path) is type(op) is type(kind) is type(source) is type(shapes) is type(types) is str:
        return None
    if not (type(count) is int and 0 <= count < LARGEST and (macs is None or (type(macs) is int and 0 <= macs < LARGEST))):
        return None
    length = len(op) + len(kind) + len(source) + (len(shapes) + len(types) if tables.shapes is None else 0)
    if length > limits.NAME or (kind == ATTENTION and tables.lacks_masks) or (path not in sound and not _is_sound(path)):
        return None
    sound.add(path)
    if tables.shapes is None:
        shapes, types = intern(shapes), intern(types)
    return OpRow(intern(path), intern(op), intern(kind), intern(source), count, macs, False, "", shapes, types, traffic)


def _op(fields: _Fields, tables: _Tables) -> OpRow:
    row = OpRow(
        path=fields.short("path"),
        op=fields.short("op"),
        kind=fields.short("kind"),
        source=fields.short("source"),
        count=fields.integer("count"),
        macs=None if fields.left.get("macs", _MISSING) is None else fields.integer("macs"),
        bounded=fields.flag("bounded", default=False),
        note=fields.text("note", ""),
        shapes=_named_text(fields, "shapes", tables.shapes),
        types=_named_text(fields, "types", tables.types),
        traffic=_named_traffic(fields, tables.traffic),
    )
    row = row._replace(masked=_masked(fields, row, tables))
    _check_depth(fields, "path", row.path)
    fields.left.pop("macs", None)
    fields.done()
    return row


def _masked(fields: _Fields, row: OpRow, tables: _Tables) -> int | None:
    """The part of its MACs that its own mask hides; unknown for attention in a file that does not say."""
    if row.kind == ATTENTION and row.macs and tables.lacks_masks:
        return None
    if "masked" not in fields.left:
        return 0
    if fields.left["masked"] is None:
        return fields.left.pop("masked")  # type: ignore[no-any-return]  # it is None
    masked = fields.integer("masked")
    if not 0 < masked <= (row.macs or 0):
        fields.fail("masked", f"is {masked}, of {row.macs} MACs")
    return masked


def _named_text(fields: _Fields, field: str, texts: list[str] | None) -> str:
    """A text of an operator: a text, or a number in the list of its call."""
    if texts is None or field not in fields.left:
        return fields.short(field, "")
    number = fields.integer(field)
    return texts[number] if number < len(texts) else fields.fail(field, f"is {number}, and the call lists {len(texts)}")


def _named_traffic(fields: _Fields, table: list[Traffic] | None) -> Traffic | None:
    number = fields.left.pop("traffic", _MISSING)
    try:
        return _traffic(number, table)
    except IndexError:
        fields.fail("traffic", f"is {_brief(number)}, and the call lists {len(table or ())}")


def _check_depth(fields: _Fields, field: str, path: str) -> None:
    if not _is_sound(path):
        deep = path.count(".") >= _DEEPEST
        fields.fail(
            field, f"nests deeper than {_DEEPEST} modules" if deep else f"has {len(path):,} characters, as no module has"
        )


def _is_sound(path: str) -> bool:
    return len(path) <= _LONGEST and path.count(".") < _DEEPEST


_DERIVED = ("total_params", "calls", "self_macs", "total_macs", "uncounted")
_MENTIONED = ("path", "children", *_DERIVED)
_BUILT = len(_MENTIONED) + len(("class_name", "params"))
_mentioned_values = itemgetter(*_MENTIONED)
_INTEGERS = (int,) * len(_DERIVED)


class _Usual(NamedTuple):
    """A stored tree of sound nodes with the usual fields, the common case."""

    modules: list[ModuleRecord]
    """The modules as built, depth first."""
    nodes: list[tuple[str, int, tuple[int, ...]]]
    """(path, number of children, derived fields) of each node, depth first."""

    def is_that_of(self, root: Node) -> bool:
        """Whether it equals the tree that the modules and operators make, in the same order."""
        made = (
            (
                node.path,
                len(node.children),
                (node.total_params, node.calls, node.self_total.macs, node.total.macs, node.total.uncounted),
            )
            for node in root.walk()
        )
        return all(stored == found for stored, found in zip_longest(self.nodes, made))


def _usual_tree(tree: Any, sizes: Sequence[int]) -> _Usual | None:
    """A stored tree; None if any node is unusual, and then `_judged_tree` reads it."""
    modules: list[ModuleRecord] = []
    nodes: list[tuple[str, int, tuple[int, ...]]] = []
    waiting = [(tree, "")]
    while waiting:
        node, around = waiting.pop()
        try:
            if "class_name" in node:
                path, children, *derived = _mentioned_values(node)
                module = _usual_module(node, sizes)
                if module is None:
                    return None
                modules.append(module)
            else:
                path, children, *derived = _mentioned_values(node)
                if len(node) != len(_MENTIONED):
                    return None
        except (TypeError, KeyError):
            return None
        if type(path) is not str or type(children) is not list or path.rpartition(".")[0] != around or not _is_sound(path):
            return None
        if tuple(map(type, derived)) != _INTEGERS or max(derived) >= LARGEST:
            return None
        nodes.append((path, len(children), tuple(derived)))
        waiting.extend([(child, path) for child in reversed(children)])
    # Only the root has no name; another node without one would be a second root, or its own parent.
    return _Usual(modules, nodes) if nodes[0][0] == "" and len({node[0] for node in nodes}) == len(nodes) else None


def _usual_module(node: Any, sizes: Sequence[int]) -> ModuleRecord | None:
    """The module of a stored node; None if any of its own fields is unusual."""
    path, class_name, params, weights = node["path"], node["class_name"], node["params"], node.get("weights", ())
    if type(class_name) is not str or len(class_name) > limits.NAME or not _is_count(params):
        return None
    if len(node) != _BUILT + ("weights" in node) or not _are_places(weights, sizes):
        return None
    return ModuleRecord(path, class_name, params, sum([sizes[place] for place in weights]), tuple(weights))


def _are_places(value: Any, sizes: Sequence[int]) -> bool:
    """Whether a value lists positions among so many groups of weights."""
    return value == () or (
        type(value) is list and all(type(place) is int and 0 <= place < len(sizes) for place in value)  # not True, which is 1
    )


class _Judged(NamedTuple):
    """A stored tree that was read field by field."""

    root: _Stored
    modules: list[ModuleRecord]


def _judged_tree(tree: Any, where: str, sizes: Sequence[int]) -> _Judged:
    fields = _Fields(tree, where)
    modules: list[ModuleRecord] = []
    return _Judged(_read_tree(fields, fields.short("path"), modules, sizes), modules)


class _Stored(NamedTuple):
    """A node of a stored tree, with its remaining fields."""

    fields: _Fields
    children: dict[str, _Stored]


def _read_tree(fields: _Fields, path: str, modules: list[ModuleRecord], sizes: Sequence[int]) -> _Stored:
    """Read the stored tree, and add its modules as built, depth first, to `modules`.

    Nodes that only the graph mentions have no class and no parameters.
    """
    _check_depth(fields, "path", path)
    if "class_name" in fields.left or "params" in fields.left:
        class_name, params, weights = fields.short("class_name"), fields.integer("params"), fields.take("weights", ())
        if not _are_places(weights, sizes):
            fields.fail("weights", f"is {_brief(weights)}, not a list of positions among {len(sizes)} weights")
        modules.append(ModuleRecord(path, class_name, params, sum(sizes[place] for place in weights), tuple(weights)))
    children: dict[str, _Stored] = {}
    for child in fields.objects("children"):
        name = child.short("path")
        if parent_of(name) != path or not name or name in children:
            raise _FaultError(f"{child.name('path')} is {_brief(name)}, which does not belong there")
        children[name] = _read_tree(child, name, modules, sizes)
    return _Stored(fields, children)


def _check_tree(stored: _Stored, node: Node) -> None:
    """Compare the stored tree with the one that the modules and operators make."""
    fields = stored.fields
    derived = node.total_params, node.calls, node.self_macs, node.total_macs, node.total.uncounted
    for field, found in zip(_DERIVED, derived, strict=True):
        fields.agree(field, fields.integer(field), found, "its operators and modules make")
    built = {child.path: child for child in node.children}
    for path, child in stored.children.items():
        if path not in built:
            child.fields.fail("path", f"is {_brief(path)}, a module without class that no operator mentions")
        _check_tree(child, built.pop(path))
    if built:
        fields.fail("children", f"lack {_brief(next(iter(built)))}, which an operator mentions")
    fields.done()
