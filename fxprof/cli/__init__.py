"""The command line: options, one call, one write. Everything heavy is imported inside the commands."""

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
    """The click group `fxprof`, imported when it is first used: Ctrl-C has to be one line from the first import on."""
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

    Objects are not freed one by one, which takes a fifth of a first profile.
    """
    with ending_at_once():
        try:
            main()
        except SystemExit as ended:
            if not isinstance(ended.code, int):
                raise  # Python prints what is no number
            atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to do what is to be done at the end
            os._exit(ended.code if _flushed() else ended.code or 1)
    raise AssertionError("a command of click ends the program")


def _flushed() -> bool:
    """Whether all that was written is out."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # as it is where a shell closed it
                stream.flush()
    except (OSError, ValueError):  # a stream that is full or closed, of which the command has told
        return False
    return True
