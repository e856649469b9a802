"""The command line: options, one call, one write. The commands import heavy packages themselves."""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from fxprof.cli.ending import ending_at_once

if TYPE_CHECKING:
    from fxprof.cli.commands import fxprof

__all__ = ["fxprof", "main", "program"]


def __getattr__(name: str) -> Any:
    """The click group `fxprof`, imported at its first use: Ctrl-C has to print one line from the first import on."""
    if name != "fxprof":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fxprof.cli.commands import fxprof

    return fxprof


def main() -> None:
    """Run the command line. Like every command of click it raises `SystemExit` at the end."""
    with ending_at_once():
        from fxprof.cli.commands import fxprof

        fxprof(prog_name="fxprof")


def program() -> NoReturn:
    """Run the command line and end the process: the console script `fxprof`, and `python -m fxprof`.

    It skips freeing objects one by one, which takes a fifth of the time of a first profile.
    """
    with ending_at_once():
        try:
            main()
        except SystemExit as ended:
            if not isinstance(ended.code, int):
                raise  # Python prints a code that is no number
            atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to do what is to be done at the end
            os._exit(ended.code if _flushed() else ended.code or 1)
    raise AssertionError("a command of click ends the program")


def _flushed() -> bool:
    """Whether all output is written."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # a shell closed the stream
                stream.flush()
    except (OSError, ValueError):  # a full or closed stream, which the command has reported
        return False
    return True
