"""Sentences that say the same of several modules, as one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ABOUT = re.compile(r"(?P<place>[^\s:]+)(?P<said>:? .+)", re.DOTALL)
"""What a sentence is about, and what it says."""
_SYMBOL = re.compile(r"\b([suz])\d+\b")
"""A size that torch has no value for; each export numbers its own."""
_LONGEST = 10_000
"""Characters of a sentence that is looked into; a longer one is a prompt, or none at all, and stands by itself."""
_NAMED = 3
"""Modules that a sentence about many names."""


def fold_remarks(sentences: Iterable[str]) -> tuple[str, ...]:
    """The sentences, where those that differ in the module that they begin with are one, at the place of the first.

    Folded again they stay as they are.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for sentence in dict.fromkeys(sentences):
        match = _ABOUT.fullmatch(sentence) if len(sentence) <= _LONGEST else None
        place, said = (match["place"], match["said"]) if match else ("", sentence)
        groups.setdefault((_root(place), _without(place, said)), []).append(sentence)
    return tuple(_one(members) for members in groups.values())


def _root(place: str) -> str:
    """Sentences about a component as a whole, and about what is no path, are told by themselves."""
    return "" if "." in place else place


def _without(place: str, said: str) -> str:
    """What is said, when the module's own path in it is left out."""
    return _SYMBOL.sub(r"\1", said.replace(place, "…")) if place else said


def _one(sentences: list[str]) -> str:
    if len(sentences) == 1:
        return sentences[0]
    matches = [match for sentence in sentences if (match := _ABOUT.fullmatch(sentence))]
    places = ", ".join(match["place"] for match in matches[:_NAMED])
    more = " …" if len(matches) > _NAMED else ""
    return f"each of {len(matches):,} modules ({places}{more}){matches[0]['said']}"
