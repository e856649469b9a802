"""JSON: a profile in its saved form; any other report as the values of its overview, and its rows.

The object has the keys `target`, `class_name`, `workload`, `versions`, `macs`, `uncounted` and `bounded` (the totals of the
whole report), `approximations`, `remarks` and `rows`. The list of models has `rows` alone, the cached results have
`directory`, `bytes`, `most_bytes`, `removed` and `rows`, and `fxprof.reports.diff_rows` lists the keys of a diff. A report of
another measure has `measure`, and names of its own for the totals. A row is an object with the keys of the CSV format. Every
number is an unscaled integer; an empty cell is null.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from fxprof.reports.document import Document
from fxprof.result.saved.write import dumps


def render(document: Document) -> str:
    """The saved profile if the document has one; otherwise an object with `rows`, one row a line."""
    overview = document.overview
    if overview.saved is not None:
        return dumps(overview.saved)
    values = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in overview.values.items()]
    rows = map(json.dumps, document.rows.pair_up())
    return "{\n " + ",\n ".join([*values, f'"rows": {_join_lines(rows)}']) + "\n}\n"


def _join_lines(rows: Iterable[str]) -> str:
    joined = ",\n  ".join(rows)
    return f"[\n  {joined}\n ]" if joined else "[]"
