"""Saved profiles that are no files, or that are larger or stranger than any; see test_store.py for their fields."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import profiles

from fxprof.result.saved.write import dumps
from hostile.case import Case, Change, Make, file, nested, put
from hostile.containers import many_values


def _saved(change: Change) -> Make:
    def make(folder: Path) -> Path:
        whole = json.loads(dumps(profiles.uncounted()))
        change(whole)
        return file(json.dumps(whole).encode(), "x.json")(folder)

    return make


def _text(content: bytes) -> Make:
    return file(content, "x.json")


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "x.json")
    return folder / "x.json"


def _longest_path(whole: Any) -> None:
    whole["components"][0]["calls"][0]["ops"][0]["path"] = "p" * 2**20


OP = ("components", 0, "calls", 0, "ops", 0)

_MANY_FIELDS = b"".join(b'"%d": 1, ' % place for place in range(300_000))

CASES: dict[str, Case] = {
    "profile a fifo": (_fifo, "it is neither a file nor a directory"),
    "profile with nothing behind its format": (_text(b'{"format": 2'), "x.json is not a profile, or is damaged"),
    "profile that nests": (_text(b'{"format": 2, "a": ' + nested(b"1", 50_000) + b"}"), "it nests too deeply"),
    "profile of 10,000 digits": (_text(b'{"format": 2, "macs": ' + b"1" * 10_000 + b"}"), "is not a profile, or is damaged"),
    "profile of bytes": (_text(b'{"format": 2, "a": "\xff\xfe"}'), "cannot load"),
    "profile of a field that steers": (_text(b'{"format": 2, "\\u001b[31m": 1, "\\u001b[31m": 2}'), "\\x1b[31m"),
    "profile of a field of a megabyte": (_saved(put("f" * 2**20, to=1)), "is not a field of this format"),
    "profile of a path of a megabyte": (_saved(_longest_path), "x.json is not a valid profile: "),
    "profile of a format of 4,000 digits": (_saved(put("format", to=10**4000)), "format is 1000000"),
    "profile of a lone surrogate for a count": (_saved(put(*OP, "count", to="\ud800")), 'count is "\\ud800", not a count'),
}

COSTLY: dict[str, Case] = {
    "profile of many lists": (_text(b'{"format": 2, "a": ' + many_values(40_000_000) + b"}"), "values, more than"),
    "profile of 300 MiB": (_text(b'{"format": 2, "a": "' + b"a" * 300 * 2**20 + b'"}'), "it is larger than any profile"),
    "profile of many fields": (_text(b'{"format": 2, ' + _MANY_FIELDS + b'"a": 1, "a": 2}'), "the field 'a' appears twice"),
}
"""Saved profiles that would take more time or memory than there is, if they were let."""
