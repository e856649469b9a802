"""Strict access to JSON values from strangers: each value is checked where it is used, and errors name the place."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import prod
from typing import Any, NoReturn

from fxprof import limits
from fxprof.strict_json import JsonError
from fxprof.strict_json import read_json as read_strictly
from fxprof.trace.arithmetic import MOST_ELEMENTS

MOST_SIZES = limits.TENSOR_SIZES
LONGEST_NAME = limits.NAME
LONGEST_PATH = limits.MODULE_PATH
DEEPEST_MODULE = limits.MODULE_LEVELS

_QUOTED = 60
_LONGEST_PLACE = 150
"""Characters of the place that an error names."""


class FaultError(Exception):
    """A fault in a graph; the text says what is wrong, and where."""


def fail(where: str, what: str) -> NoReturn:
    """Refuse the file."""
    if len(where) > _LONGEST_PLACE:
        where = f"{where[: _LONGEST_PLACE // 2]}...{where[-_LONGEST_PLACE // 2 :]}"
    raise FaultError(f"{where} {what}" if where else what)


def brief(value: object) -> str:
    """A short text of a value, for a message."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value[:_QUOTED] if isinstance(value, str) else value)  # of a text of megabytes, only the beginning is quoted
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - fits a line


def read_json(data: bytes, where: str) -> Any:
    """Read a JSON text in UTF-8 whose values were already counted.

    Of repeated keys the last one counts, like in torch.
    """
    try:
        return read_strictly(data, values=None, repeats=True)
    except JsonError as error:
        return fail(where, str(error))


def an_object(value: Any, where: str) -> dict[str, Any]:
    """The value, which must be an object."""
    return value if type(value) is dict else fail(where, f"is {brief(value)}, not an object")


def a_list(value: Any, where: str) -> list[Any]:
    """The value, which must be a list."""
    return value if type(value) is list else fail(where, f"is {brief(value)}, not a list")


def a_text(value: Any, where: str) -> str:
    """The value, which must be a text of a sensible length that can be printed."""
    if type(value) is not str or len(value) > LONGEST_NAME or not value.isprintable():
        fail(where, f"is {brief(value)}, not a name")
    return value


def a_code(value: Any, where: str) -> str:
    """The value, which must be a text of any length, such as a line of code that is only parsed."""
    return value if type(value) is str else fail(where, f"is {brief(value)}, not a text")


def a_name(value: Any, where: str) -> str:
    """The value, which must be a text as for `a_text`, and not empty."""
    return a_text(value, where) or fail(where, "is '', not a name")


def an_integer(value: Any, where: str) -> int:
    """The value, which must be an integer of 64 bits."""
    if type(value) is not int or not -MOST_ELEMENTS <= value < 2 * MOST_ELEMENTS:  # signed or unsigned
        fail(where, f"is {brief(value)}, not an integer of 64 bits")
    return value


def check_sizes(sizes: Sequence[object], where: str) -> None:
    """Refuse sizes that no tensor of torch can have; expressions may have any value."""
    if len(sizes) > MOST_SIZES:
        fail(where, f"has {len(sizes):,} sizes, more than any tensor has")
    if prod(size for size in sizes if type(size) is int) >= MOST_ELEMENTS:
        fail(where, "hold more elements than fit in 64 bits")


def given(value: Any, default: Any) -> Any:
    """The value, or the default for a missing or null one."""
    return default if value is None else value


def the_one(value: Any, where: str) -> tuple[str, Any]:
    """The name of a union's alternative, and its value: the union is an object of one field."""
    fields = an_object(value, where)
    if len(fields) != 1:
        fail(where, f"has {len(fields)} fields, but needs exactly one, which names its type")
    return next(iter(fields.items()))


def a_float(value: Any, where: str) -> float:
    """A number; files write infinities and NaN as texts."""
    if type(value) in (int, float) and type(value) is not bool:
        return float(value) if -MOST_FLOAT <= value <= MOST_FLOAT else fail(where, "is a number beyond all floats")
    if value in ("Infinity", "-Infinity", "NaN"):
        return float(value)
    return fail(where, f"is {brief(value)}, not a number")


MOST_FLOAT = sys.float_info.max


def check_path(path: str, where: str) -> None:
    """Refuse a module path that no module has."""
    if len(path) > LONGEST_PATH or path.count(".") >= DEEPEST_MODULE:
        fail(where, f"names a module {path.count('.') + 1} levels deep, with {len(path):,} characters")
    if not path.isprintable():
        fail(where, f"names the module {brief(path)}")
