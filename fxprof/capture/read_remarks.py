"""Sentences for a result about decisions of a rehearsal by values that only a real run knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fxprof.capture.caught import can_fail
from fxprof.capture.reads import Read
from fxprof.capture.rehearse import Rehearsal


def read_remarks(
    rehearsal: Rehearsal, again: Callable[[], None], function: Callable[..., Any], *args: Any, **kwargs: Any
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Approximations, and remarks: a sentence for each module whose Python read an unknown value.

    The counts are approximate if other values change them. If none of the tried values does, a remark names the lines in the
    user's own code: it may decide by a value that was not tried.

    Args:
        rehearsal: has run `function`.
        again: restores the state from before that run.
        function: the function that was run.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    reads = rehearsal.deciding_reads()
    if not reads:
        return (), ()
    tried = rehearsal.decisive_reads(again, function, *args, **kwargs)
    again()
    if tried is None:
        return tuple(map(_approximate, _first_of_lines(reads))), ()
    return (), tuple(_unmoved(read, tried) for read in _first_of_lines(reads) if read.is_own)


def _first_of_lines(reads: Iterable[Read]) -> tuple[Read, ...]:
    """The first read of each line."""
    reads_by_line: dict[tuple[str, str], Read] = {}
    for read in reads:
        reads_by_line.setdefault((read.component, read.line), read)
    return tuple(reads_by_line.values())


def _approximate(read: Read) -> str:
    return f"the work of {_where(read)} depends on values that only a real run knows ({_how(read)}); it is counted as for zeros"


def _unmoved(read: Read, tried: int) -> str:
    what = f"{_where(read)} reads a value that only a real run knows ({_how(read)})"
    return f"{what}; {tried} other values changed nothing counted"


def _where(read: Read) -> str:
    return ".".join(part for part in (read.component, read.path) if part)


def _how(read: Read) -> str:
    other = "an error that is caught" if can_fail(f"aten.{read.how}") else read.how
    return _WORDS.get(read.how, other) + (f" in {read.line}" if read.line else "")


_WORDS = {
    "_local_scalar_dense": "a number read out of a tensor",
    "equal": "a comparison of tensors",
    "index": "a selection by a mask",
    "masked_select": "a selection by a mask",
    "nonzero": "a search for nonzero values",
    "cond": "the branch of a cond",
    "_to_sparse": "a sparse tensor made of a dense one",
}
"""Operators that read values, in words."""
