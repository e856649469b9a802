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
        """Keep the message on one line of at most `LONGEST` characters, whatever text it quotes.

        Args:
            message: what was attempted, on what, and what happened.
            hint: what to try, as a sentence; empty when there is nothing to suggest.
        """
        self.message = printable(message, LONGEST - len("fxprof: "))
        self.hint = printable(hint, LONGEST - len("  try: "))
        super().__init__(printable(f"{self.message} ({self.hint})" if self.hint else self.message))


LONGEST = 400
"""Characters of a line that is told."""
_READ = 16 * LONGEST
"""Characters at either end of a text that are looked at: it may be of megabytes."""


def printable(text: str, most: int = LONGEST) -> str:
    """The text on one line of at most `most` characters, with what would steer a terminal written out.

    What is too long is left out in the middle: its beginning says what was attempted, its end what happened.
    """
    if len(text) > 2 * _READ:
        text = text[:_READ] + text[-_READ:]
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in line)
    return line if len(line) <= most else f"{line[: most // 2]}…{line[len(line) - (most - most // 2 - 1) :]}"


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
