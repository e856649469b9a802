"""Saved profiles: written as JSON, and read back strictly, for strangers send them."""
