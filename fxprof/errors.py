"""Every error that fxprof raises on purpose, with its exit code.

An error is a sentence for a person: the attempt, its object, the event. `hint` suggests a remedy.
Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

from typing import Self


class FxprofError(Exception):
    """The base of all errors that fxprof raises on purpose."""

    exit_code = 3
    """0 done, 1 a threshold or `--strict` failed, 2 usage, 3 could not analyse."""

    def __init__(self, message: str, hint: str = "") -> None:
        """Keep the message on one line of at most `LONGEST` characters, whatever text it quotes.

        Args:
            message: the attempt, its object, and the event, as a sentence.
            hint: a remedy, as a sentence; empty if there is none to suggest.
        """
        self._given = (_ends(message), _ends(hint))
        self.message = printable(message, LONGEST - len("fxprof: "))
        self.hint = printable(hint, LONGEST - len("  try: "))
        super().__init__(printable(f"{self.message} ({self.hint})" if self.hint else self.message))

    def renamed(self, old: str, new: str) -> Self:
        """The same error with `new` in place of `old`, which may be longer than a message."""
        message, hint = (text.replace(old, new) for text in self._given)
        return type(self)(message, hint)


LONGEST = 400
"""Characters of a message line."""
_READ = 16 * LONGEST
"""Characters to read at either end of a text, which may have megabytes."""


def printable(text: str, most: int = LONGEST) -> str:
    """The text on one line of at most `most` characters, with escapes for characters that would steer a terminal.

    A long text loses its middle: its beginning names the attempt, its end the event.
    """
    line = " ".join(_ends(text).split())
    if not line.isprintable():
        line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in line)
    return line if len(line) <= most else f"{line[: most // 2]}…{line[len(line) - (most - most // 2 - 1) :]}"


def _ends(text: str) -> str:
    """The text, or both ends of a long one."""
    return text if len(text) <= 2 * _READ else text[:_READ] + text[-_READ:]


class UsageError(FxprofError, ValueError):
    """An option or argument has a value that no analysis could use."""

    exit_code = 2


class TargetError(FxprofError):
    """The target is unknown, unreadable, or nothing that fxprof can profile."""


class CaptureError(FxprofError):
    """Building, rehearsing or exporting the target failed."""


class FormulaError(FxprofError):
    """A formula is declared wrongly, or does not fit an operator that it has to count."""


class ProfileError(FxprofError):
    """A saved profile is unreadable, of another format, or contradicts itself."""


class OutputError(FxprofError):
    """A result could not be written to the requested place."""
