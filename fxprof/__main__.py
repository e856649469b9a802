"""`python -m fxprof`, the same as the command `fxprof`."""

from fxprof.cli import program

program()
