"""Reading of saved profiles, within bounds: from a file or a JSON text to a profile."""

from __future__ import annotations

import json
from pathlib import Path

from fxprof import limits
from fxprof.errors import ProfileError
from fxprof.result.files import reason
from fxprof.result.profile import Profile
from fxprof.result.saved.parse import parse_profile
from fxprof.strict_json import JsonError, JsonTooLargeError, decoded, read_json
from fxprof.texts import read_bytes
from fxprof.trace.collector import uncollected

MOST_BYTES = limits.PROFILE_BYTES


def loads(text: str, name: str = "the profile") -> Profile:
    """Read the profile from a JSON text.

    Args:
        text: a text from `dumps`.
        name: the name of the text in errors, usually the file's name.

    Raises:
        ProfileError: the text is not a profile, is of a newer format, or contradicts itself.
    """
    return _loaded(text, name)


def _loaded(text: str, name: str) -> Profile:
    """The profile from a text, which may have hundreds of megabytes and is dropped as soon as it is parsed."""
    with uncollected():
        try:
            value = read_json(text, values=limits.profile_values(len(text)))
        except JsonTooLargeError as error:
            raise ProfileError(f"cannot load {name}: it {error}") from error
        except JsonError as error:
            raise ProfileError(f"{name} is not a profile, or is damaged: it {error}") from error
        del text
        if not isinstance(value, dict) or "format" not in value:
            raise ProfileError(f"{name} is not a profile: it has no field 'format'")
        return parse_profile(value, name)


def load(path: str | Path) -> Profile:
    """Read the profile in a file.

    Raises:
        ProfileError: the file cannot be read, or does not contain a profile.
    """
    try:
        content = [read_bytes(path, MOST_BYTES)]
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise ProfileError(f"cannot load {path}: {reason(error)}") from error
    return load_bytes(content.pop(), path)


def load_bytes(raw: bytes, path: str | Path) -> Profile:
    """Read the profile from the bytes of a file.

    Args:
        raw: all bytes of the file, or at least one more than the limit for a profile.
        path: the path of the file, for errors.

    Raises:
        ProfileError: the bytes are not a profile.
    """
    if len(raw) > MOST_BYTES:
        raise ProfileError(f"cannot load {path}: it is larger than any profile, {MOST_BYTES // 2**20} MiB")
    try:
        texts = [decoded(raw, json.detect_encoding(raw))]
    except JsonError as error:
        raise ProfileError(f"cannot load {path}: it {error}") from error
    del raw
    return _loaded(texts.pop(), str(path))  # nothing else holds the text
