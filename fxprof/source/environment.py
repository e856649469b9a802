"""Environment variables that the Hub's client, diffusers and transformers read during their import."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from fxprof.errors import CaptureError, FxprofError, TargetError


def _level(value: str) -> str:
    """A level of a library's log; on any other value the library prints a line of its own."""
    if value.lower() not in _LEVELS:
        raise ValueError(value)
    return value


_LEVELS = frozenset({"detail", "debug", "info", "warning", "error", "critical", "fatal"})

_READ: dict[str, tuple[Callable[[str], object], str]] = {
    "HF_ENDPOINT": (lambda value: urlsplit(value.rstrip("/")).hostname, "no address"),
    "HF_HUB_ETAG_TIMEOUT": (int, "no number of seconds"),
    "HF_HUB_DOWNLOAD_TIMEOUT": (int, "no number of seconds"),
    **dict.fromkeys((f"{name}_VERBOSITY" for name in ("TRANSFORMERS", "DIFFUSERS", "HF_HUB")), (_level, "no level of a log")),
}
"""Variable to its reader, and to words for a value that the reader refuses: with such a value the import fails."""


def refuse_environment() -> None:
    """Refuse a variable that makes the import of the Hub's client fail.

    Raises:
        TargetError: there is one.
    """
    for name, (read, what) in _READ.items():
        value = os.environ.get(name)
        if value is None:
            continue
        try:
            read(value)
        except ValueError as error:
            raise TargetError(f"the environment variable {name} is {value!r}, which is {what}", f"unset {name}") from error


@contextmanager
def loading() -> Iterator[None]:
    """Report in one line, until the end of the block, that torch or another library cannot be loaded, for whatever reason.

    Libraries read environment variables and parts of the system during their import.

    Raises:
        CaptureError: a library cannot be loaded.
    """
    try:
        yield
    except FxprofError:
        raise
    except Exception as error:
        name = _library(error)
        if name is None:
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = lines[-1] if lines else ""
        message = f"{name} cannot be loaded: {type(error).__name__}{': ' if said else ''}{said}"
        hint = f"python -c 'import {name}' shows the whole error; the cause may be an environment variable that {name} reads"
        raise CaptureError(message, hint) from error


def _library(error: Exception) -> str | None:
    """The library in which an import failed, or that is missing; None if fxprof itself failed."""
    modules = (str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__))
    packages = [name for module in modules if (name := module.partition(".")[0]) not in sys.stdlib_module_names]
    if packages and packages[-1] != _OURS:
        return packages[-1]
    missing = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    return missing if missing not in {"", _OURS} else None


_OURS = "fxprof"
