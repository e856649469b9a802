"""Results kept on this machine, found again by what they were computed from. Loads neither torch nor networkx."""

from fxprof.cache.files import Cache, Entry, default_cache
from fxprof.cache.notes import note, noted, tell

__all__ = ["Cache", "Entry", "default_cache", "note", "noted", "tell"]
