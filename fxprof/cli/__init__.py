"""The command line: options, one call, one write. Everything heavy is imported inside the commands."""

from __future__ import annotations

from fxprof.cli.commands import fxprof

__all__ = ["fxprof", "main"]


def main() -> None:
    """Run the command line; the console script `fxprof`."""
    fxprof(prog_name="fxprof")
