"""What a target holds of an earlier analysis, by what is in it and not by its name. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fxprof.result.saved.read import looks_like_profile
from fxprof.trace.archive import looks_like_archive
from fxprof.trace.bundle import looks_like_bundle


@dataclass(frozen=True, slots=True)
class Kept:
    """A result, or graphs, that need no pipeline any more."""

    words: str
    takes: frozenset[str]
    """The options of an analysis that still change something, as `fxprof.profile` names them."""


PROFILE = Kept("a saved profile", frozenset())
GRAPH = Kept("an exported graph", frozenset({"dims", "formulas"}))
RUN = Kept("a captured run", frozenset({"formulas"}))


def find_kept(target: str | Path) -> Kept | None:
    """What a file or directory holds; None for a pipeline, a component, and all that is neither."""
    if looks_like_profile(target):
        return PROFILE
    if looks_like_archive(target):
        return GRAPH
    return RUN if looks_like_bundle(target) else None
