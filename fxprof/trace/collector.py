"""Python's search for reference cycles, which makes many records in a row slow. Standard library only."""

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
