"""Merging of equal sentences about several modules into one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ABOUT = re.compile(r"(?P<place>[^\s:]+)(?P<said>:? .+)", re.DOTALL)
"""The subject of a sentence, and its statement."""
_SYMBOL = re.compile(r"\b([suz])\d+\b")
"""A size without a value in torch; each export numbers its own sizes."""
_LONGEST = 10_000
"""Characters of the longest sentence that is merged; a longer text, such as a prompt, stays separate."""
_NAMED = 3
"""Modules that a merged sentence names."""


def fold_remarks(sentences: Iterable[str]) -> tuple[str, ...]:
    """Merge sentences that differ only in the module at their beginning; the merged one takes the position of the first.

    Merging them again changes nothing.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for sentence in dict.fromkeys(sentences):
        match = _ABOUT.fullmatch(sentence) if len(sentence) <= _LONGEST else None
        place, said = (match["place"], match["said"]) if match else ("", sentence)
        groups.setdefault((_root(place), _without(place, said)), []).append(sentence)
    return tuple(_one(members) for members in groups.values())


def _root(place: str) -> str:
    """The subject, if it is a component as a whole or not a path: such sentences stay separate; "" for a module path."""
    return "" if "." in place else place


def _without(place: str, said: str) -> str:
    """The statement without the module's own path in it."""
    return _SYMBOL.sub(r"\1", said.replace(place, "…")) if place else said


def _one(sentences: list[str]) -> str:
    if len(sentences) == 1:
        return sentences[0]
    matches = [match for sentence in sentences if (match := _ABOUT.fullmatch(sentence))]
    places = ", ".join(match["place"] for match in matches[:_NAMED])
    dots = " …" if len(matches) > _NAMED else ""
    return f"each of {len(matches):,} modules ({places}{dots}){matches[0]['said']}"
