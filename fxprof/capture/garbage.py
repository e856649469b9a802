"""Fewer searches for reference cycles while much is made that stays. Standard library only.

Importing torch makes a million objects, and exporting a model hundreds of thousands. Python looks through all of them again and
again for cycles that nobody needs any more; a fifth of a capture's time is spent on it, and next to nothing is found.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (100_000, 20, 50)
"""New objects before the youngest are looked through, and how many such rounds come before the older ones' turn."""


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Look for cycles seldom, and not among what is there already; as before afterwards."""
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
