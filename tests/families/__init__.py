"""Tiny pipelines of many classes of diffusers, each with the arguments that it needs, to be profiled and really run."""

from __future__ import annotations

from families import adapters, bundled, films, flow, mechanisms, packages, sights, stable_diffusion, stages, variants, video
from families.case import Case

CASES: dict[str, Case] = {
    **stable_diffusion.CASES,
    **adapters.CASES,
    **flow.CASES,
    **variants.CASES,
    **bundled.CASES,
    **stages.CASES,
    **video.CASES,
    **films.CASES,
    **mechanisms.CASES,
    **packages.CASES,
    **sights.CASES,
}
"""Class, perhaps with a word on what is special, to how it is made and called."""

BROKEN = {
    "ChromaInpaintPipeline": "diffusers 0.42.1 asks its transformer for `guidance_embeds`, which it does not have",
}
"""Class that does not run at all, to why."""
