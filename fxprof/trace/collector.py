"""Python's search for reference cycles, which makes long work that keeps what it makes slow."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Do without the search while a million records without a cycle are made, and do not have it start with them afterwards.

    Each search looks at all records so far, which takes as long again as making them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()  # both together: what there is counts as old, and is looked at when as much came to it
            gc.enable()


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Search seldom, and not among what is there already, while packages are imported and models exported.

    There are cycles among what that leaves behind, so that the search is of use; but it took a fifth of the time.
    """
    before = gc.get_threshold()
    ours = before[0] > 0 and gc.get_freeze_count() == 0  # who has set it aside already knows what it is good for
    if ours:
        gc.freeze()
        gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        if ours:
            gc.set_threshold(*before)
            gc.unfreeze()


_THRESHOLDS = (100_000, 20, 50)
"""New objects before the youngest are looked through, and how many such rounds come before the older ones' turn."""
