"""Every error that fxprof raises on purpose, and what each one means for the exit code.

An error is a sentence for a person: what was attempted, on what, what happened. `hint` says what to try.
Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations


class FxprofError(Exception):
    """The base of all errors that fxprof raises on purpose."""

    exit_code = 3
    """0 done, 1 a threshold or `--strict` failed, 2 usage, 3 could not analyse."""

    def __init__(self, message: str, hint: str = "") -> None:
        """Keep the message on one line, whatever text it quotes.

        Args:
            message: what was attempted, on what, and what happened.
            hint: what to try, as a sentence; empty when there is nothing to suggest.
        """
        self.message = _printable(message)
        self.hint = _printable(hint)
        super().__init__(self.message if not self.hint else f"{self.message} ({self.hint})")


def _printable(text: str) -> str:
    """The text on one line, with what would steer a terminal written out."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in line)


class UsageError(FxprofError, ValueError):
    """An option or argument has a value that no analysis could use."""

    exit_code = 2


class TargetError(FxprofError):
    """The target is not known, not readable, or not something that fxprof can profile."""


class CaptureError(FxprofError):
    """Building, rehearsing or exporting the target failed."""


class FormulaError(FxprofError):
    """A formula is declared wrongly, or does not fit the operator that it is asked to count."""


class ProfileError(FxprofError):
    """A saved profile is unreadable, of another format, or contradicts itself."""


class OutputError(FxprofError):
    """A result could not be written where it was asked for."""
