"""Results cached on this machine, under keys made of everything that they depend on."""

from fxprof.cache.files import Cache, Entry, default_cache
from fxprof.cache.notes import note, noted, tell

__all__ = ["Cache", "Entry", "default_cache", "note", "noted", "tell"]
