"""Reports of trouble with a cache: once per process and directory, at a time when logging is on."""

from __future__ import annotations

import logging
from collections.abc import Mapping

_LOG = logging.getLogger("fxprof")
_NOTED: dict[str, str] = {}
"""Directory to the report of its first trouble."""
_UNTOLD: list[str] = []


def note(directory: str, line: str) -> None:
    """Report a line, unless the directory already has a report."""
    if directory not in _NOTED:
        _NOTED[directory] = line
        _UNTOLD.append(line)
    tell()


def tell() -> None:
    """Print the reports that had to wait: while a pipeline runs, all logging is switched off."""
    while _UNTOLD and _LOG.isEnabledFor(logging.WARNING):
        _LOG.warning("%s", _UNTOLD.pop(0))


def noted() -> Mapping[str, str]:
    """All reports by directory, for another process to print."""
    return dict(_NOTED)
