"""Files that no honest program writes, by name: each makes one below a directory, and says what is to be told about it."""

from __future__ import annotations

from hostile import captures, containers, graphs, saved, values
from hostile.case import Case

CASES: dict[str, Case] = {
    **containers.CASES,
    **graphs.CASES,
    **values.CASES,
    **captures.CASES,
    **saved.CASES,
}

COSTLY: dict[str, Case] = {**containers.COSTLY, **graphs.COSTLY, **captures.COSTLY, **saved.COSTLY}
"""Those that would take a gigabyte or a minute, if they were let."""
