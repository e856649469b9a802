"""Whose fault an exception is, and how to say it in one line."""

from __future__ import annotations

import traceback
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_EXPLAINED = (ValueError, RuntimeError, NotImplementedError, ImportError, OSError)
"""Errors that authors raise with a message for people."""


def is_our_bug(error: BaseException) -> bool:
    """Whether it was raised by fxprof itself rather than by a model's or a library's code that fxprof ran."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(_PACKAGE)


def describe(error: BaseException) -> str:
    """The first line of an error's own message; with its type and place where the message alone would say too little."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    if text and isinstance(error, _EXPLAINED):
        return text
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"
