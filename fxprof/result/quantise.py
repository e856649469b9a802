"""Weights as they would be if linear layers were quantised: a rule for each scheme, applied to the groups of a component.

Only matrices of linear layers in a floating-point type are quantised. All other weights (biases, norms, embeddings,
convolutions, experts that are one stack of matrices) stay as loaded, and so do the layers that diffusers and transformers leave
as they are by default; `fxprof.capture.loaded_types` says which. `docs/weights.md` has the rules in words, and their sources.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from fxprof.errors import UsageError, printable
from fxprof.result.records import Call, ModuleRecord
from fxprof.trace.weights import BITSANDBYTES, TORCHAO, WeightGroup

if TYPE_CHECKING:  # for annotations alone: a profile imports this file
    from fxprof.result.profile import Component, Profile

Parts = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Scheme:
    """A way to store the matrix of a linear layer."""

    name: str
    """Its name as an option."""
    package: str
    """The package that stores it so, one of `QUANTISERS`."""
    rule: str
    """What is stored, in words."""
    parts: Callable[[int, int], Parts | None]
    """From rows (outputs) and columns (inputs) to (element type, bytes) of what is stored; None for a size that it leaves."""


_BLOCK = 64
_TABLE = 16
_GROUP = 128


def _int8(rows: int, columns: int) -> Parts:
    return ("int8", rows * columns), ("float32", 4 * rows)


def _fp8(rows: int, columns: int) -> Parts:
    return ("float8_e4m3fn", rows * columns), ("float32", 4 * rows)


def _nf4(rows: int, columns: int) -> Parts:
    elements = rows * columns
    blocks = -(-elements // _BLOCK)
    return ("nf4", -(-elements // 2)), ("float32", 4 * (blocks + _TABLE))


def _int4(rows: int, columns: int) -> Parts | None:
    if columns % _GROUP:
        return None
    elements = -(-rows // 8) * 8 * -(-columns // 1024) * 1024
    return ("int4", elements // 2), ("bfloat16", 2 * 2 * elements // _GROUP)


SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("int8", BITSANDBYTES, "LLM.int8 of bitsandbytes: int8, and a scale in float32 for each row", _int8),
        Scheme("fp8", TORCHAO, "weights alone in torchao: float8_e4m3fn, and a scale in float32 for each row", _fp8),
        Scheme(
            "nf4",
            BITSANDBYTES,
            "NF4 of bitsandbytes: 4 bits, a float32 for each 64 values, a table of 16 float32; no double quantisation",
            _nf4,
        ),
        Scheme(
            "int4",
            TORCHAO,
            "weights alone in torchao, packed in tiles: rows to a multiple of 8, columns of 1024; 4 bits, and a scale and a "
            "zero point in bfloat16 for each 128 values of a row; a layer whose columns are no multiple of 128 stays",
            _int4,
        ),
    )
}


def read_weights(text: str) -> tuple[str, Scheme]:
    """Read `SCHEME` or `COMPONENT=SCHEME`; without a component, its name is "".

    Raises:
        UsageError: there is no such scheme.
    """
    component, _, name = text.rpartition("=")
    if name not in SCHEMES:
        near = difflib.get_close_matches(name.lower(), SCHEMES, n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(SCHEMES)}"
        raise UsageError(f"{printable(name, _QUOTED)!r} is no scheme for quantised weights", hint)
    if "=" in text and not component:
        raise UsageError(f"{printable(text, _QUOTED)!r} names no component", "[COMPONENT=]SCHEME, such as transformer=nf4")
    return component, SCHEMES[name]


_QUOTED = 60
"""Characters of an option that an error quotes."""


def quantise(groups: Iterable[WeightGroup], scheme: Scheme, *, all_layers: bool = False) -> tuple[WeightGroup, ...]:
    """The weights with those quantised that the scheme applies to, in the same order.

    Args:
        groups: the weights of a component as loaded.
        scheme: one of `SCHEMES`.
        all_layers: whether to quantise also the layers that diffusers and transformers leave as they are, as a call of the
            quantising package itself does.
    """
    return tuple(_quantised(group, scheme, all_layers=all_layers) for group in groups)


def _quantised(group: WeightGroup, scheme: Scheme, *, all_layers: bool) -> WeightGroup:
    skipped = scheme.package in group.skipped_by and not all_layers
    if not group.linear or skipped or group.dtype not in _FLOATS or len(group.parts) > 1 or len(group.shape) < 2:  # noqa: PLR2004  # a matrix
        return group
    parts = scheme.parts(group.shape[0], prod(group.shape[1:]))
    return group if parts is None else group._replace(parts=parts)


_FLOATS = frozenset({"float32", "float16", "bfloat16"})


def with_weights(profile: Profile, schemes: Iterable[str]) -> Profile:
    """The profile with quantised weights, whose bytes follow in its components, modules and calls. The work stays as it is.

    Args:
        profile: a profile that knows its weights.
        schemes: `SCHEME` or `COMPONENT=SCHEME`; a scheme without a component is for all those that no other one names.

    Raises:
        UsageError: there is no such scheme or component, a component is named twice, or nothing in it can be quantised.
        TargetError: an early fxprof saved the profile, so its weights are unknown.
    """
    named = _by_component(profile, schemes)
    components = {}
    for name, component in profile.components.items():
        scheme = named.get(name, named.get(""))
        components[name] = component if scheme is None else _with_scheme(component, scheme, named=name in named)
    return replace(profile, components=components)


def _by_component(profile: Profile, schemes: Iterable[str]) -> dict[str, Scheme]:
    named: dict[str, Scheme] = {}
    for text in schemes:
        name, scheme = read_weights(text)
        if name and name not in profile.components:
            near = difflib.get_close_matches(name, profile.components, n=2, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(profile.components) or 'none'}"
            raise UsageError(f"{profile.target} has no component {printable(name, _QUOTED)!r}", hint)
        if name in named:
            what = f"the weights of {name}" if name else "the weights of all components"
            raise UsageError(f"{what} are given twice: {named[name].name} and {scheme.name}", "give one scheme")
        named[name] = scheme
    return named


def _with_scheme(component: Component, scheme: Scheme, *, named: bool) -> Component:
    before = component.known_weights
    after = quantise(before, scheme)
    if named and after == before:
        why = "it has no linear layers in a floating-point type that the scheme applies to"
        raise UsageError(
            f"the weights of {component.name} cannot be quantised to {scheme.name}: {why}", "name another component"
        )
    sizes = [group.bytes_each for group in after]
    less = component.weight_bytes - sum(group.bytes for group in after)
    return replace(
        component,
        weights=after,
        quantised=scheme.name,
        modules=tuple(_module(item, sizes) for item in component.modules),
        calls=tuple(_call(item, less) for item in component.calls),
    )


def _module(module: ModuleRecord, sizes: list[int]) -> ModuleRecord:
    return replace(module, weight_bytes=sum(sizes[place] for place in module.weights))


def _call(call: Call, less: int) -> Call:
    return replace(call, weight_bytes=max(0, call.weight_bytes - less))
