"""Lines where Python read values that only a real run knows, and whether it can have decided by them."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from fxprof.capture.reachable import is_own
from fxprof.capture.real_runs import Running, calling_line
from fxprof.capture.recorder import WHOLE
from fxprof.errors import CaptureError

_MOST_READS = 10_000
_BOUNDED = "give the loop a bound, or profile the parts that it calls"


class EndlessLoopError(CaptureError):
    """The user's code loops until a value is reached that zeros never reach."""


class Read(NamedTuple):
    """A line where Python read a value that only a real run knows."""

    component: str
    path: str
    line: str
    """`package/file.py:12`."""
    how: str
    """The operator that read the value."""

    @property
    def is_own(self) -> bool:
        """Whether the user's own code reads, which may decide by any value."""
        return is_own(self.line.partition("/")[0].partition(".")[0])


class Reads:
    """The reads of one rehearsal, and of its repetitions.

    Args:
        outside: the name for code that is in no component.
    """

    def __init__(self, outside: str) -> None:
        self._outside = outside
        self._first: dict[Read, int] = {}
        """The number of recorded events before the first read at each place."""
        self._times: Counter[Read] = Counter()

    def begin(self) -> None:
        """Begin a run: the count of reads for each loop starts again."""
        self._times.clear()

    def note(self, running: Running, how: str, events: int) -> None:
        """Note that a value was read.

        Args:
            running: the module whose Python reads.
            how: the operator that reads.
            events: the number of events recorded before.

        Raises:
            EndlessLoopError: a loop that does not end reads the value.
        """
        path = running.stack[-1].path if running.component != self._outside else ""
        read = Read(running.component, path, calling_line() or "", how)
        self._first.setdefault(read, events)
        self._times[read] += 1
        if self._times[read] > _MOST_READS:
            what = f"a loop reads a value that only a real run knows {_MOST_READS:,} times"
            raise EndlessLoopError(f"{what}{f' in {read.line}' if read.line else ''}; for zeros it does not end", _BOUNDED)

    def deciding(self, events: int) -> list[Read]:
        """The reads by which Python may have decided.

        A module can return early, so that nothing is called after the read. A pipeline that reads whole tensors at its very
        end makes pictures of them, and decides nothing.

        Args:
            events: the number of events recorded in all.
        """
        return [read for read, event in self._first.items() if event < events or not self._is_output(read)]

    def _is_output(self, read: Read) -> bool:
        return read.component == self._outside and read.how == WHOLE
