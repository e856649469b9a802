"""Files that no honest program writes, by name: each makes one below a directory, and says what is to be told about it."""

from __future__ import annotations

from hostile import blowups, captures, containers, graphs, saved, values
from hostile.case import Case, Make

CASES: dict[str, Case] = {
    **containers.CASES,
    **graphs.CASES,
    **values.CASES,
    **captures.CASES,
    **saved.CASES,
    **blowups.CASES,
}

COSTLY: dict[str, Case] = {**containers.COSTLY, **graphs.COSTLY, **captures.COSTLY, **saved.COSTLY, **blowups.COSTLY}
"""Those that would take a gigabyte or a minute, if they were let."""

SLOW: dict[str, Case] = blowups.SLOW
"""The same, of files that take seconds to make."""

COUNTED: dict[str, Make] = blowups.COUNTED
"""Large files that nothing is wrong with."""
