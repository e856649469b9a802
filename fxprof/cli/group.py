"""The one place where errors become lines on stderr and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import click

from fxprof.errors import LONGEST, FxprofError, printable

INTERRUPTED = 130
"""The exit code by which a shell reports a program that Ctrl-C ended."""
BROKEN_PIPE = 141
"""The exit code by which a shell reports a program whose reader closed the pipe."""

_DEBUG = "fxprof.debug"
_Command = TypeVar("_Command", bound=Callable[..., Any])


class Group(click.Group):
    """Commands that report an `FxprofError` in a line or two; any other exception is a bug and keeps its traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The commands in the order of their declaration, which is the order of a first look."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options that come before the command."""
        with _printable():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and translate its exceptions."""
        try:
            with _printable(), _noted():
                return super().invoke(ctx)
        except FxprofError as error:
            _tell(ctx, error)
        except KeyboardInterrupt:
            click.echo("fxprof: interrupted; nothing was written", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            _silence_stdout()
            ctx.exit(BROKEN_PIPE)


@contextmanager
def _printable() -> Iterator[None]:
    """Keep text of a caller from steering the terminal in the error about an option."""
    try:
        yield
    except click.ClickException as error:
        # click declares the message final, and writes the name of the option before it.
        vars(error)["message"] = printable(error.message, LONGEST - _NAMED)
        raise


@contextmanager
def _noted() -> Iterator[None]:
    """Print fxprof's log with the same care as errors: its paths and environment variables come from outside."""
    import logging  # not at the top: help needs no logging

    class Telling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(record.getMessage())

    handler, logger = Telling(logging.WARNING), logging.getLogger("fxprof")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


_NAMED = 80
"""Characters that click puts before a message."""


def debug_option(command: _Command) -> _Command:
    """Add `--debug` to a command."""
    help_text = "Show the traceback of an error too."
    option = click.option("--debug", is_flag=True, expose_value=False, is_eager=True, callback=_remember, help=help_text)
    return option(command)


def _remember(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    ctx.meta[_DEBUG] = value or ctx.meta.get(_DEBUG, False)  # `meta` is shared by the group and its commands


def _tell(ctx: click.Context, error: FxprofError) -> NoReturn:
    if ctx.meta.get(_DEBUG):
        traceback.print_exception(error, file=sys.stderr)
    click.echo(f"fxprof: {error.message}", err=True)
    if error.hint:
        click.echo(f"  try: {error.hint}", err=True)
    ctx.exit(error.exit_code)


def say(line: str) -> None:
    """Write one line to stderr, within the length of a message and without characters that steer a terminal."""
    click.echo(printable(line), err=True)


def _silence_stdout() -> None:
    """Let the interpreter flush the rest of stdout into nothing when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
