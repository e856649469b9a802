"""Saved profiles read back, within bounds: from a file or a JSON text to a profile."""

from __future__ import annotations

import json
import re
from pathlib import Path

from fxprof import limits
from fxprof.errors import ProfileError
from fxprof.result.files import reason
from fxprof.result.profile import Profile
from fxprof.result.saved.parse import parse_profile
from fxprof.strict_json import JsonError, JsonTooLargeError, decoded, read_json
from fxprof.texts import read_bytes, read_most
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
    try:
        value = read_json(text, values=most_values(len(text)))
    except JsonTooLargeError as error:
        raise ProfileError(f"cannot load {name}: it {error}") from error
    except JsonError as error:
        raise ProfileError(f"{name} is not a profile, or is damaged: it {error}") from error
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
        text = decoded(raw, json.detect_encoding(raw))
    except JsonError as error:
        raise ProfileError(f"cannot load {path}: it {error}") from error
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
    try:  # whatever is wrong with it otherwise, reading it says
        value = read_json(raw, values=most_values(len(raw)), repeats=True, infinite=True, encoding=json.detect_encoding(raw))
    except JsonError:
        return False
    return isinstance(value, dict) and {"format", "workload", "components"} <= value.keys()
