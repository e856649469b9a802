"""Saved profiles read back, within bounds: from a file or a JSON text to a profile."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from fxprof import limits
from fxprof.errors import ProfileError
from fxprof.result.files import reason
from fxprof.result.profile import Profile
from fxprof.result.saved.parse import QUOTED, parse_profile
from fxprof.texts import TextTooLargeError, read_bytes, read_text
from fxprof.trace.collector import uncollected

MOST_BYTES = limits.PROFILE_BYTES
MOST_VALUES = limits.PROFILE_VALUES


def most_values(length: int) -> int:
    """How many values a profile of so many bytes may hold: an operator takes a few hundred bytes and has eight of them."""
    return max(MOST_VALUES, length // limits.PROFILE_BYTES_PER_VALUE)


@uncollected()
def loads(text: str, name: str = "the profile") -> Profile:
    """The profile of a JSON text.

    Args:
        text: what `dumps` made.
        name: what to call the text in errors; the file's name as a rule.

    Raises:
        ProfileError: the text is not a profile, is of a newer format, or contradicts itself.
    """
    if sum(map(text.count, ",[{")) > most_values(len(text)):
        raise ProfileError(f"{name} is not a profile: it holds more values than any")
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as error:
        raise ProfileError(f"{name} is not a profile: it nests too deeply") from error
    except MemoryError as error:
        raise ProfileError(f"cannot load {name}: it takes more memory than there is") from error
    except ValueError as error:  # includes json.JSONDecodeError and integers of thousands of digits
        raise ProfileError(f"{name} is not a profile, or is damaged: {error}") from error
    if not isinstance(value, dict) or "format" not in value:
        raise ProfileError(f"{name} is not a profile: it has no field 'format'")
    return parse_profile(value, name)


def load(path: str | Path) -> Profile:
    """The profile in a file.

    Raises:
        ProfileError: the file cannot be read, or what it holds is not a profile.
    """
    try:
        raw = read_bytes(path, MOST_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise ProfileError(f"cannot load {path}: {reason(error)}") from error
    return load_bytes(raw, path)


def load_bytes(raw: bytes, path: str | Path) -> Profile:
    """The profile in the bytes of a file.

    Args:
        raw: all of them, or at least one more than any profile has.
        path: of the file, for errors.

    Raises:
        ProfileError: what it holds is not a profile.
    """
    if len(raw) > MOST_BYTES:
        raise ProfileError(f"cannot load {path}: it is larger than any profile, {MOST_BYTES // 2**20} MiB")
    try:
        text = read_text(raw, json.detect_encoding(raw))
    except TextTooLargeError as error:
        raise ProfileError(f"cannot load {path}: it {error}") from error
    except UnicodeDecodeError as error:
        raise ProfileError(f"cannot load {path}: it is not text") from error
    del raw
    return loads(text, str(path))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the field {twice[:QUOTED]!r} stands twice in one object")
    return fields


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
