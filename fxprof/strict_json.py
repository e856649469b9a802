"""The one reader of strangers' JSON: within bounds, and with one clear sentence about a fault.

Python's own parser reads the text. Faster parsers make a float of an integer beyond 64 bits, or refuse half a pair of UTF-16.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any, NoReturn

from fxprof import limits
from fxprof.texts import TextTooLargeError, read_text

_QUOTED = 40
"""Characters of a key that an error quotes."""
_LONGEST = 200
"""Characters of a message of Python's parser."""


class JsonError(ValueError):
    """The fault of a JSON text, as the end of a sentence: `nests too deeply`."""


class JsonTooLargeError(JsonError):
    """The text, or its value, takes more memory than any real one."""


def read_json(
    data: bytes | str,
    *,
    values: int | None,
    levels: int | None = None,
    repeats: bool = False,
    infinite: bool = False,
    encoding: str = "utf-8",
) -> Any:
    """The value of a JSON text.

    Args:
        data: the text, whose size the caller has bounded.
        values: number of values that it may hold; commas within texts count as values. None if the caller has counted them.
        levels: levels of objects and lists that it may have; None for as many as Python's parser can read.
        repeats: whether an object may have a key twice. The last one counts then, as for the libraries that read the same file.
        infinite: whether `NaN`, `Infinity` and `-Infinity` are numbers.
        encoding: encoding of bytes.

    Raises:
        JsonTooLargeError: it has more than `values`, or takes too much memory.
        JsonError: it is not JSON, has more than `levels`, or has a key twice or a number that it may not have.
    """
    count = 0 if values is None else count_values(data)
    if values is not None and count > values:
        raise JsonTooLargeError(f"holds some {count:,} values, more than {values:,}")
    text = decoded(data, encoding) if isinstance(data, bytes) else data
    too_deep = f"nests more than {levels} deep" if levels is not None else "nests too deeply"
    try:
        value = json.loads(
            text,
            parse_int=None if 0 < sys.get_int_max_str_digits() <= limits.NUMBER_DIGITS else _integer,
            parse_constant=None if infinite else _no_constant,
            object_pairs_hook=None if repeats else _unique,
        )
    except RecursionError as error:
        raise JsonError(too_deep) from error
    except MemoryError as error:
        raise JsonTooLargeError("takes more memory than there is") from error
    except (JsonError, json.JSONDecodeError) as error:
        raise JsonError(f"is not JSON: {str(error)[:_LONGEST]}") from error
    except ValueError as error:  # Python's own bound on digits
        raise JsonError(f"is not JSON: {_TOO_LONG}") from error
    if levels is not None and nests_deeper(value, levels):
        raise JsonError(too_deep)
    return value


def decoded(data: bytes, encoding: str) -> str:
    """The text of bytes.

    Raises:
        JsonTooLargeError: it would take more than `TEXT_BYTES` in memory.
        JsonError: it is not in this encoding.
    """
    try:
        return read_text(data, encoding)
    except TextTooLargeError as error:
        raise JsonTooLargeError(str(error)) from error
    except UnicodeDecodeError as error:
        raise JsonError(f"is not JSON: it is not text in {encoding}") from error


def count_values(data: bytes | str) -> int:
    """The most values that a JSON text can hold, by its commas and brackets."""
    if isinstance(data, str):
        return sum(map(data.count, ",[{"))
    return sum(map(data.count, (b",", b"[", b"{")))


def nests_deeper(value: Any, most: int) -> bool:
    """Whether a value of JSON has more than so many levels of objects and lists."""
    level = [value]
    for _ in range(most + 1):
        level = [item for item in level if type(item) in (dict, list)]
        if not level:
            return False
        level = [part for item in level for part in (item.values() if type(item) is dict else item)]
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise JsonError(f"the field {twice[:_QUOTED]!r} appears twice in one object")
    return fields


_TOO_LONG = f"it holds an integer of more than {limits.NUMBER_DIGITS:,} digits"


def _integer(text: str) -> int:
    """An integer, for a Python whose bound on digits is larger than ours, or missing."""
    if len(text.lstrip("-")) > limits.NUMBER_DIGITS:
        raise JsonError(_TOO_LONG)
    return int(text)


def _no_constant(text: str) -> NoReturn:
    raise JsonError(f"{text} is no number of JSON")
