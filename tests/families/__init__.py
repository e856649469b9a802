"""Tiny pipelines of many classes of diffusers, each with the arguments that it needs, to be profiled and really run."""

from __future__ import annotations

from families import bundled, flow, kandinsky, mechanisms, stable_diffusion, video
from families.case import Case

CASES: dict[str, Case] = {
    **stable_diffusion.CASES,
    **flow.CASES,
    **bundled.CASES,
    **kandinsky.CASES,
    **video.CASES,
    **mechanisms.CASES,
}
"""Class, perhaps with a word on what is special, to how it is made and called."""
