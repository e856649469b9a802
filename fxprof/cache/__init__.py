"""Results kept on this machine, found again by what they were computed from. Loads neither torch nor networkx."""

from fxprof.cache.files import Cache, Entry, default_cache

__all__ = ["Cache", "Entry", "default_cache"]
