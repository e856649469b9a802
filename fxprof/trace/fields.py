"""Strict access to values of JSON from strangers: each is checked where it is used, and what is wrong says where.

Standard library only.
"""

from __future__ import annotations

from typing import Any, NoReturn

MOST_ELEMENTS = 2**63
"""Of a tensor, and the largest number anywhere: torch counts in 64 bits."""
LONGEST_NAME = 4000
DEEPEST_MODULE = 100
"""Levels of modules; real ones stay below twenty."""


class FaultError(Exception):
    """What is wrong with a graph, and where."""


def fail(where: str, what: str) -> NoReturn:
    """Refuse the file."""
    raise FaultError(f"{where} {what}" if where else what)


def brief(value: object) -> str:
    """A value for a message."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - fits a line


def an_object(value: Any, where: str) -> dict[str, Any]:
    """The value, which must be an object."""
    return value if type(value) is dict else fail(where, f"is {brief(value)}, not an object")


def a_list(value: Any, where: str) -> list[Any]:
    """The value, which must be a list."""
    return value if type(value) is list else fail(where, f"is {brief(value)}, not a list")


def a_text(value: Any, where: str) -> str:
    """The value, which must be a text of a sensible length."""
    if type(value) is not str or len(value) > LONGEST_NAME:
        fail(where, f"is {brief(value)}, not a name")
    return value


def an_integer(value: Any, where: str) -> int:
    """The value, which must be an integer of 64 bits."""
    if type(value) is not int or abs(value) > MOST_ELEMENTS:
        fail(where, f"is {brief(value)}, not an integer of 64 bits")
    return value


def the_one(value: Any, where: str) -> tuple[str, Any]:
    """Which alternative of a union a value is, and the alternative: an object of one field."""
    fields = an_object(value, where)
    if len(fields) != 1:
        fail(where, f"has {len(fields)} fields, where one says what it is")
    return next(iter(fields.items()))


def a_float(value: Any, where: str) -> float:
    """A number; infinities and what is not a number are written as texts."""
    if type(value) in (int, float) and type(value) is not bool:
        return float(value) if abs(value) < MOST_FLOAT else fail(where, "is a number beyond all floats")
    if value in ("Infinity", "-Infinity", "NaN"):
        return float(value)
    return fail(where, f"is {brief(value)}, not a number")


MOST_FLOAT = 10**300


def check_path(path: str, where: str) -> None:
    """Refuse a module path that no module has."""
    if len(path) > LONGEST_NAME or path.count(".") >= DEEPEST_MODULE:
        fail(where, f"names a module {path.count('.') + 1} levels deep, in {len(path):,} characters")
