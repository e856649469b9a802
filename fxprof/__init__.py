"""What an image-generation pipeline computes, where, and what changed between two versions."""

from __future__ import annotations

__version__ = "0.1.0"
