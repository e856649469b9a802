"""Every error that fxprof raises on purpose, and what each one means for the exit code.

An error is a sentence for a person: what was attempted, on what, what happened. `hint` says what to try.
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
            message: what was attempted, on what, and what happened.
            hint: what to try, as a sentence; empty when there is nothing to suggest.
        """
        self._given = (_ends(message), _ends(hint))
        self.message = printable(message, LONGEST - len("fxprof: "))
        self.hint = printable(hint, LONGEST - len("  try: "))
        super().__init__(printable(f"{self.message} ({self.hint})" if self.hint else self.message))

    def renamed(self, old: str, new: str) -> Self:
        """The same error where `new` stands for `old`, which may be longer than a message can be."""
        message, hint = (text.replace(old, new) for text in self._given)
        return type(self)(message, hint)


LONGEST = 400
"""Characters of a line that is told."""
_READ = 16 * LONGEST
"""Characters at either end of a text that are looked at: it may be of megabytes."""


def printable(text: str, most: int = LONGEST) -> str:
    """The text on one line of at most `most` characters, with what would steer a terminal written out.

    What is too long is left out in the middle: its beginning says what was attempted, its end what happened.
    """
    line = " ".join(_ends(text).split())
    if not line.isprintable():
        line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in line)
    return line if len(line) <= most else f"{line[: most // 2]}…{line[len(line) - (most - most // 2 - 1) :]}"


def _ends(text: str) -> str:
    """The text, or what is looked at of a longer one."""
    return text if len(text) <= 2 * _READ else text[:_READ] + text[-_READ:]


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
