"""Every bound that protects a user from a file, a server or a neighbour, in one table. Standard library only.

`docs/security.md` shows the same table; `tests/test_security.py` holds the two equal. Names end in their unit: `_SECONDS`,
`_BYTES`, or nothing for a count.
"""

from __future__ import annotations

HUB_SECONDS = 60
"""The whole fetch of a repository's configuration; the variable `FXPROF_HUB_SECONDS` sets another time."""

HUB_FILES = 200
"""Files that are fetched of one repository."""

HUB_FILE_BYTES = 64 * 2**20
"""One file from the Hub."""

HUB_TOTAL_BYTES = 256 * 2**20
"""All answers of the Hub in one fetch."""

HUB_LISTING_BYTES = 16 * 2**20
"""The Hub's list of the files of a repository."""

HUB_ERROR_BYTES = 64 * 2**10
"""What is read of an answer that says why there is no other."""

HUB_REDIRECTS = 5
"""Redirects in a row that are followed for one file."""

CACHED_RESULTS = 10_000
"""Tensors and plain values that one cached call may return."""

CACHED_TENSOR_BYTES = 2**40
"""One tensor that a cached call returned; its zeros take memory only where somebody writes to them."""

CACHED_NESTING = 50
"""Containers in containers in what a cached call returned."""
