"""JSON: a profile as it is saved; any other report as what it is about, and its rows.

The object has the keys `target`, `class_name`, `workload`, `versions`, `macs`, `uncounted` and `bounded` (the totals of the
whole report) and `rows`; the list of models has `rows` alone, and a diff has what `fxprof.reports.diff` says. A row is an
object whose keys are those of the CSV format, too. Every number is an unscaled integer; an empty cell is null.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from fxprof.reports.tables import Document, Format
from fxprof.result.saved.write import dumps


def render(document: Document) -> str:
    """The saved profile where the document has one; otherwise an object with `rows`, one row a line."""
    if document.saved is not None:
        return dumps(document.saved)
    rows = document.rows()
    about = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in document.about.items()]
    return "{\n " + ",\n ".join([*about, f'"rows": {_lines(map(json.dumps, rows))}']) + "\n}\n"


FORMAT = Format("json", (".json",), render)


def _lines(rows: Iterable[str]) -> str:
    joined = ",\n  ".join(rows)
    return f"[\n  {joined}\n ]" if joined else "[]"
