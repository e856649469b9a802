"""What a pipeline is made of, as data: the one thing that capture builds from. Imports the standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ComponentConfig:
    """One entry of a pipeline: a model, a scheduler, a tokenizer, an image processor."""

    library: str
    """`diffusers`, `transformers`, or the name of a pipeline module of diffusers, such as `stable_diffusion`."""
    class_name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    """The configuration, as in its `config.json`."""
    directory: Path | None = None
    """Where its files are, for what is more than a configuration (tokenizer vocabularies)."""
    members: tuple[ComponentConfig, ...] = ()
    """The models of a list of them, such as several ControlNets in one `MultiControlNetModel`."""
    published_params: int | None = None
    """Parameters according to the source, when the source says."""
    published_where: str = ""
    """Where the source says so."""
    instantiated_params: int | None = None
    """Parameters of the class built from `values`, as checked when the entry was written."""
    sources: tuple[str, ...] = ()
    """Where the values were seen."""
    confidence: str = ""
    """`verbatim` for a published configuration; otherwise what was reconstructed, and from what."""


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """A pipeline class and the configurations of its components."""

    name: str
    """What the user called it; for a directory its last part."""
    class_name: str
    """The pipeline class of diffusers."""
    components: Mapping[str, ComponentConfig | None]
    """By the names of the pipeline's constructor; None where the pipeline is to have none."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Further plain arguments of the constructor, such as `force_zeros_for_empty_prompt`."""
    hub_id: str = ""
    """Where the model was published."""
    title: str = ""
    """One line about the model, for lists."""
    note: str = ""
    """What surprises about the model's defaults, as a sentence; mostly empty."""


@dataclass(frozen=True, slots=True)
class SingleComponent:
    """A model by itself: one component's directory or repository."""

    name: str
    """What the user called it; for a directory its last part."""
    component: ComponentConfig
