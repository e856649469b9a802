"""From a profile to text: a report builds a document (`fxprof.reports.document`), and a format writes it.

Each report is one file here with one function that builds its document; each format is one file under `formats`, and a line
of the table there.
"""

from __future__ import annotations

from fxprof.reports.document import Document
from fxprof.reports.formats import FORMATS, Format, pick_format

__all__ = ["FORMATS", "Document", "Format", "pick_format"]
