"""What goes wrong with a cache, said once in a process for each directory, and at a time when somebody listens."""

from __future__ import annotations

import logging
from collections.abc import Mapping

_LOG = logging.getLogger("fxprof")
_NOTED: dict[str, str] = {}
"""Directory to the first thing that went wrong with it."""
_UNTOLD: list[str] = []


def note(directory: str, line: str) -> None:
    """Say a line, unless one was said about the same directory before."""
    if directory not in _NOTED:
        _NOTED[directory] = line
        _UNTOLD.append(line)
    tell()


def tell() -> None:
    """Say what could not be said before: while a pipeline runs, everything that logs is switched off."""
    while _UNTOLD and _LOG.isEnabledFor(logging.WARNING):
        _LOG.warning("%s", _UNTOLD.pop(0))


def noted() -> Mapping[str, str]:
    """All that was said, by directory, for another process to say."""
    return dict(_NOTED)
