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
"""As a shell reports a program that Ctrl-C ended."""
BROKEN_PIPE = 141
"""As a shell reports a program whose reader went away."""

_DEBUG = "fxprof.debug"
_Command = TypeVar("_Command", bound=Callable[..., Any])


class Group(click.Group):
    """Commands whose `FxprofError`s are told in a line or two; what else they raise is a bug, and keeps its traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The commands in the order of their declaration: the way a first look goes."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options that come before the command."""
        with _printable():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and translate what it raises."""
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
    """Keep what a caller has put into an option from steering the terminal where it is told what is wrong with it."""
    try:
        yield
    except click.ClickException as error:
        # Which click declares final, and before which it writes the name of the option.
        vars(error)["message"] = printable(error.message, LONGEST - _NAMED)
        raise


@contextmanager
def _noted() -> Iterator[None]:
    """Tell what fxprof notes on the side like everything else: paths, and what the environment names, come from outside."""
    import logging  # not with the module: help needs none

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
    """Write one line to stderr, where nothing in it steers a terminal and it is no longer than a message may be."""
    click.echo(printable(line), err=True)


def _silence_stdout() -> None:
    """Let the interpreter flush what is left of stdout into nothing when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
