"""The parts of a pipeline as data: the one source from which capture builds."""

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
    """The directory of its files, for data beyond the configuration (tokenizer vocabularies)."""
    members: tuple[ComponentConfig, ...] = ()
    """The models of a component that is a list of models, such as the ControlNets in one `MultiControlNetModel`."""
    published_params: int | None = None
    """Parameters according to the source; None when the source gives no number."""
    published_where: str = ""
    """The place in the source that gives this number."""
    instantiated_params: int | None = None
    """Parameters of the class built from `values`, as the author of the entry checked them."""
    sources: tuple[str, ...] = ()
    """The sources of the values."""
    confidence: str = ""
    """`verbatim` for a published configuration; otherwise the reconstructed values and their origin."""


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """A pipeline class and the configurations of its components."""

    name: str
    """The user's name for it; for a directory its last part."""
    class_name: str
    """The pipeline class of diffusers."""
    components: Mapping[str, ComponentConfig | None]
    """Argument of the pipeline's constructor to component; None for a component to leave out."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Further plain arguments of the constructor, such as `force_zeros_for_empty_prompt`."""
    hub_id: str = ""
    """The repository that published the model."""
    title: str = ""
    """One line about the model, for lists."""
    note: str = ""
    """A surprise in the model's defaults, as a sentence; mostly empty."""


@dataclass(frozen=True, slots=True)
class SingleComponent:
    """A model by itself: one component's directory or repository."""

    name: str
    """The user's name for it; for a directory its last part."""
    component: ComponentConfig
