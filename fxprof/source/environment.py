"""Variables of the environment that the Hub's client reads while it is loaded, with diffusers and transformers behind it."""

from __future__ import annotations

import os
from collections.abc import Callable
from urllib.parse import urlsplit

from fxprof.errors import TargetError


def _level(value: str) -> str:
    """A level of a library's log, which says in a line of its own that it knows no other."""
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
"""How the client reads each, and what a value is that it cannot read: it would not be loaded, whatever it is loaded for."""


def refuse_environment() -> None:
    """Refuse a variable that keeps the Hub's client from being loaded.

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
            raise TargetError(
                f"the variable {name} of the environment is {value!r}, which is {what}", f"unset {name}"
            ) from error
