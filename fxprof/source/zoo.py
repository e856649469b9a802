"""The bundled models: TOML files of `fxprof.zoo`, read into configurations.

`docs/zoo.md` describes the files. They belong to the package, so a mistake in one is a bug: it raises `ValueError`, and
the tests read every file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from fxprof.errors import TargetError
from fxprof.source.config import ComponentConfig, PipelineConfig

_MODEL_KEYS = frozenset({"title", "class", "hub_id", "sources", "note", "none", "arguments", "components"})
_MODEL_REQUIRED = frozenset({"title", "class", "hub_id", "sources", "components"})
_COMPONENT_KEYS = frozenset(
    {
        "use",
        "library",
        "class",
        "values",
        "none",
        "instantiated_params",
        "published_params",
        "published_where",
        "sources",
        "confidence",
    },
)
_COMPONENT_REQUIRED = frozenset({"library", "class", "sources", "confidence"})


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """A bundled model, for lists."""

    name: str
    """The name that `fxprof profile` takes."""
    title: str
    class_name: str
    """The pipeline class of diffusers."""
    hub_id: str
    """The repository that published the model."""
    params: int
    """Parameters of all components together."""
    note: str
    """A surprise in the model's defaults, as a sentence; mostly empty."""
    confidence: str
    """`verbatim` if every configuration is a published one; otherwise the reconstructed components."""


@cache
def names() -> tuple[str, ...]:
    """The names of the bundled models, sorted."""
    return tuple(sorted(_stems()))


def models() -> tuple[ZooEntry, ...]:
    """The bundled models, by name."""
    return tuple(_entry(load_zoo(name)) for name in names())


def load_zoo(name: str) -> PipelineConfig:
    """The configuration of a bundled model.

    Args:
        name: one of `names()`.

    Raises:
        TargetError: no model of this name is bundled.
    """
    if name not in names():
        raise TargetError(f"cannot profile {name!r}: no model of this name is bundled", "`fxprof models` lists them")
    table = _read(f"{name}.toml")
    _check_keys(f"{name}.toml", table, known=_MODEL_KEYS, required=_MODEL_REQUIRED)
    components: dict[str, ComponentConfig | None] = dict.fromkeys(table.get("none", ()))
    for key, entry in table["components"].items():
        where = f"{name}.toml, component {key!r}"
        if key in components:
            raise ValueError(f"{where}: listed under `none`, too")
        components[key] = _component(where, entry)
    return PipelineConfig(
        name=name,
        class_name=table["class"],
        components=components,
        arguments=deepcopy(table.get("arguments", {})),
        hub_id=table["hub_id"],
        title=table["title"],
        note=table.get("note", ""),
    )


def zoo_table() -> str:
    """The bundled models as a Markdown table, for `docs/zoo.md`."""
    rows = ["| name | pipeline class | published as | parameters |", "|---|---|---|---|"]
    for name in names():
        config = load_zoo(name)
        counts = [f"{key} {part.instantiated_params:,}" for key, part in _counted(config)]
        rows.append(f"| `{name}` | {config.class_name} | {config.hub_id} | {', '.join(counts)} |")
    return "\n".join(rows) + "\n"


def _entry(config: PipelineConfig) -> ZooEntry:
    reconstructed = [key for key, part in _counted(config) if part.confidence != "verbatim"]
    return ZooEntry(
        name=config.name,
        title=config.title,
        class_name=config.class_name,
        hub_id=config.hub_id,
        params=sum(part.instantiated_params or 0 for _, part in _counted(config)),
        note=config.note,
        confidence=f"reconstructed: {', '.join(reconstructed)}" if reconstructed else "verbatim",
    )


def _counted(config: PipelineConfig) -> list[tuple[str, ComponentConfig]]:
    """The components that have parameters."""
    return [(key, part) for key, part in config.components.items() if part and part.instantiated_params is not None]


def _component(where: str, entry: Mapping[str, Any]) -> ComponentConfig:
    table = _merged(where, entry, seen=())
    _check_keys(where, table, known=_COMPONENT_KEYS, required=_COMPONENT_REQUIRED)
    return ComponentConfig(
        library=table["library"],
        class_name=table["class"],
        values=deepcopy(table["values"]),  # files are read once; a caller may change its lists without changing those of others
        published_params=table.get("published_params"),
        published_where=table.get("published_where", ""),
        instantiated_params=table.get("instantiated_params"),
        sources=tuple(table["sources"]),
        confidence=table["confidence"],
    )


def _merged(where: str, entry: Mapping[str, Any], *, seen: tuple[str, ...]) -> dict[str, Any]:
    """An entry with everything that it takes from the part that it uses."""
    _check_keys(where, entry, known=_COMPONENT_KEYS, required=())
    inherited = _part(where, entry["use"], seen=seen) if "use" in entry else {}
    if "instantiated_params" in entry:
        # Another size is another model: published facts about the part do not hold for it.
        inherited = {key: value for key, value in inherited.items() if not key.startswith("published_")}
    own = {key: value for key, value in entry.items() if key not in {"use", "none"}}
    return {**inherited, **own, "values": {**inherited.get("values", {}), **_values(where, entry)}}


def _part(where: str, name: str, *, seen: tuple[str, ...]) -> dict[str, Any]:
    if name in seen:
        raise ValueError(f"{where}: the part {name!r} uses itself")
    if name not in _stems("parts"):
        raise ValueError(f"{where}: no part is called {name!r}")
    return _merged(f"parts/{name}.toml", _read("parts", f"{name}.toml"), seen=(*seen, name))


def _values(where: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an entry, with None for the names under `none`: TOML has no word for it."""
    values: dict[str, Any] = dict(entry.get("values", {}))
    for name in entry.get("none", ()):
        if name in values:
            raise ValueError(f"{where}: {name!r} has a value and is listed under `none`, too")
        values[name] = None
    return values


def _check_keys(where: str, table: Mapping[str, Any], *, known: frozenset[str], required: Iterable[str]) -> None:
    if unknown := sorted(set(table) - known):
        raise ValueError(f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    if missing := sorted(set(required) - set(table)):
        raise ValueError(f"{where}: missing {', '.join(missing)}")


@cache
def _stems(*folder: str) -> frozenset[str]:
    """The names of the TOML files in a folder of the package data."""
    paths = files("fxprof.zoo").joinpath(*folder).iterdir()
    return frozenset(path.name.removesuffix(".toml") for path in paths if path.name.endswith(".toml"))


@cache
def _read(*path: str) -> dict[str, Any]:
    return tomllib.loads(files("fxprof.zoo").joinpath(*path).read_text(encoding="utf-8"))
