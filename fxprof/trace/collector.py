"""Control of Python's search for reference cycles, which slows down long work that builds many lasting objects."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Turn the search off while a million records without cycles are made, and prevent it from starting with them afterwards.

    Otherwise each search visits all records so far, which doubles the time to make them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()  # both together mark all objects as old: they are searched again only after many new ones
            gc.enable()


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Search rarely, and only among new objects, while packages are imported and models exported.

    This work leaves cycles behind, so the search is useful, but it took a fifth of the time.
    """
    before = gc.get_threshold()
    ours = before[0] > 0 and gc.get_freeze_count() == 0  # otherwise a caller has its own settings
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
"""New objects before a search of the youngest generation, and rounds before a search of each older one."""
