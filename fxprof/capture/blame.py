"""Whose fault an exception is, and how to say it in one line."""

from __future__ import annotations

import traceback
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def is_our_bug(error: BaseException) -> bool:
    """Whether it was raised by fxprof itself rather than by a model's or a library's code that fxprof ran."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(_PACKAGE)


def describe(error: BaseException) -> str:
    """The first line of an error's own message, or its type where the message alone would say too little."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    return text if text and not isinstance(error, KeyError) else f"{type(error).__name__} {text}".strip()
