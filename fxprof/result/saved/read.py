"""Saved profiles read back, within bounds: from a file or a JSON text to a profile."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from fxprof import limits
from fxprof.errors import ProfileError
from fxprof.result.files import reason
from fxprof.result.profile import Profile
from fxprof.result.saved.parse import QUOTED, parse_profile
from fxprof.texts import TextTooLargeError, count_values, read_bytes, read_most, read_text
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
        if len(raw) > MOST_BYTES:
            raise ProfileError(f"cannot load {path}: it is larger than any profile, {MOST_BYTES // 2**20} MiB")
        text = read_text(raw, json.detect_encoding(raw))
    except TextTooLargeError as error:
        raise ProfileError(f"cannot load {path}: it {error}") from error
    except UnicodeDecodeError as error:
        raise ProfileError(f"cannot load {path}: it is not text") from error
    except (OSError, ValueError) as error:
        raise ProfileError(f"cannot load {path}: {reason(error)}") from error
    del raw
    return loads(text, str(path))


_BEGINNING = re.compile(r'\s*\{\s*"format"\s*:\s*-?\d')


def looks_like_profile(path: str | Path) -> bool:
    """Whether a file is a saved profile, damaged or not, by what it holds and not by its name."""
    try:
        if not Path(path).is_file():  # opening a pipe would wait for whoever writes into it
            return False
        with Path(path).open("rb") as file:
            raw = file.read(400)
            text = raw.decode(json.detect_encoding(raw), errors="replace")
            if not text.lstrip().startswith("{"):
                return False
            return bool(_BEGINNING.match(text)) or _has_fields(raw + read_most(file, MOST_BYTES))
    except (OSError, ValueError):  # ValueError: a name with a null character
        return False


def _has_fields(raw: bytes) -> bool:
    """Whether it is a JSON object with the fields of a profile, which another program may have put in another order."""
    if count_values(raw) > most_values(len(raw)):
        return False
    try:
        value = json.loads(read_text(raw, json.detect_encoding(raw)))
    except (ValueError, RecursionError, MemoryError):
        return False
    return isinstance(value, dict) and {"format", "workload", "components"} <= value.keys()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the field {twice[:QUOTED]!r} stands twice in one object")
    return fields


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
