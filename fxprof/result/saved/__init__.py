"""Saved profiles: written as JSON, and read back strictly, because strangers send them."""
