"""What a result has to say where a rehearsal decided by values that only a real run knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fxprof.capture.rehearse import Read, Rehearsal


def read_remarks(
    rehearsal: Rehearsal, again: Callable[[], None], function: Callable[..., Any], *args: Any, **kwargs: Any
) -> tuple[str, ...]:
    """A sentence for each module whose Python decided by a value that is not known.

    Args:
        rehearsal: has run `function`.
        again: makes everything what it was before that.
        function: what was run.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    if not rehearsal.deciding_reads():
        return ()
    reads = rehearsal.decisive_reads(again, function, *args, **kwargs)
    again()
    places: dict[tuple[str, str], Read] = {}
    for read in reads:
        places.setdefault((read.component, read.line), read)
    return tuple(_sentence(read) for read in places.values())


def _sentence(read: Read) -> str:
    where = ".".join(part for part in (read.component, read.path) if part)
    line = f" in {read.line}" if read.line else ""
    how = _WORDS.get(read.how, read.how)
    return f"what {where} computes depends on values that only a real run knows ({how}{line}); it is counted as for zeros"


_WORDS = {
    "_local_scalar_dense": "a number read out of a tensor",
    "equal": "a comparison of tensors",
    "index": "a selection by a mask",
    "masked_select": "a selection by a mask",
    "nonzero": "a search for what is not zero",
}
"""Operators that read, in words."""
