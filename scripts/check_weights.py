"""Compare bytes of weights with published ones, and print the table of `docs/weights.md`.

The rows are those of a collection of published measurements that say what was resident after loading, and under conditions
that fxprof can express. Models are built without data; nothing is run, downloaded or measured.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from transformers import T5EncoderModel

from fxprof.capture.build import build, build_module
from fxprof.capture.built_modules import grouped, modules_of
from fxprof.result.quantise import SCHEMES, quantise
from fxprof.source.config import ComponentConfig, SingleComponent
from fxprof.source.zoo import load_zoo
from fxprof.trace.weights import WeightGroup


class Published(NamedTuple):
    """A published size."""

    model: str
    dtype: str
    schemes: Mapping[str, str]
    """Component to the scheme of its weights."""
    all_layers: bool
    """Whether the quantising package was called itself, so that it left no layer as it is."""
    gib: float
    how: str
    """The way it was quantised, and what was printed."""


_FLUX, _PIXART, _SD3 = "flux.1-dev", "pixart-sigma-1024", "sd3-medium"
_FIVE, _TWO = "CogVideoX-5B", "CogVideoX-2B"
_BOTH = ("transformer", "text_encoder")


def _each(names: tuple[str, ...], scheme: str) -> dict[str, str]:
    return dict.fromkeys(names, scheme)


ROWS = (
    Published(_FLUX, "bfloat16", {}, False, 31.438, "resident"),
    Published(_FLUX, "bfloat16", {"transformer": "int8"}, True, 20.386, "torchao, resident"),
    Published(_FLUX, "bfloat16", {"transformer": "fp8"}, True, 20.363, "torchao, resident"),
    Published(_FLUX, "bfloat16", _each(("transformer", "text_encoder_2"), "int8"), False, 17.02, "torchao, reserved"),
    Published(_FLUX, "float16", _each(("transformer", "text_encoder_2"), "int8"), False, 19.273, "bitsandbytes, reserved [1]"),
    Published(_FLUX, "float16", _each(("transformer", "text_encoder_2"), "nf4"), False, 12.383, "bitsandbytes, reserved [1]"),
    Published(_PIXART, "float16", {}, False, 12.086, "resident"),
    Published(_PIXART, "float16", _each(_BOTH, "fp8"), True, 5.363, "quanto, resident"),
    Published(_SD3, "float16", {}, False, 16.403, "resident"),
    Published(_SD3, "float16", _each(("transformer", "text_encoder_3"), "fp8"), True, 8.294, "quanto, resident"),
    Published(_SD3, "float16", _each(("transformer", "text_encoder", "text_encoder_3"), "fp8"), True, 8.2, "quanto [2]"),
    Published(_FIVE, "bfloat16", {}, False, 19.764, "resident"),
    Published(_FIVE, "bfloat16", _each(_BOTH, "int8"), True, 10.302, "torchao, resident"),
    Published(_FIVE, "bfloat16", _each(_BOTH, "fp8"), True, 10.282, "torchao, resident"),
    Published(_FIVE, "bfloat16", _each(_BOTH, "int4"), True, 6.237, "torchao, resident"),
    Published(_TWO, "bfloat16", {}, False, 12.55, "resident [3]"),
    Published(_TWO, "bfloat16", _each(_BOTH, "int8"), True, 6.58, "torchao, resident [3]"),
    Published(_TWO, "bfloat16", _each(_BOTH, "int4"), True, 4.155, "torchao, resident [3]"),
)

_COGVIDEOX: dict[str, dict[str, Any]] = {
    _TWO: {"num_attention_heads": 30, "num_layers": 30},
    _FIVE: {"num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True},
}
"""The sizes of two models that are not bundled; what is left out is the default of the class."""
_T5: dict[str, Any] = {
    "d_model": 4096,
    "d_ff": 10240,
    "d_kv": 64,
    "num_heads": 64,
    "num_layers": 24,
    "vocab_size": 32128,
    "feed_forward_proj": "gated-gelu",
}


@cache
def weights_of(model: str, dtype: str) -> Mapping[str, tuple[WeightGroup, ...]]:
    """The weights of each component of a model."""
    wanted = getattr(torch, dtype)
    if model in _COGVIDEOX:
        parts = {
            "transformer": ("diffusers", CogVideoXTransformer3DModel, _COGVIDEOX[model]),
            "text_encoder": ("transformers", T5EncoderModel, _T5),
            "vae": ("diffusers", AutoencoderKLCogVideoX, {}),
        }
        modules = {
            name: build_module(SingleComponent(name, ComponentConfig(library, class_.__name__, values)), wanted)
            for name, (library, class_, values) in parts.items()
        }
    else:
        modules = dict(build(load_zoo(model), wanted).modules)
    return {name: grouped(modules_of(module)).weights for name, module in modules.items()}


def predicted(row: Published) -> float:
    """The size by fxprof, in GiB."""
    found = 0
    for name, groups in weights_of(row.model, row.dtype).items():
        scheme = row.schemes.get(name)
        stored = groups if scheme is None else quantise(groups, SCHEMES[scheme], all_layers=row.all_layers)
        found += sum(group.bytes for group in stored)
    return found / 2**30


def main() -> int:
    """Print a row for each published size; 1 if one is off by more than 4%."""
    print("| model | loaded in | quantised | published GiB | fxprof GiB | error |")
    print("|---|---|---|---|---|---|")
    worst = 0.0
    for row in ROWS:
        ours = predicted(row)
        error = ours / row.gib - 1
        worst = max(worst, abs(error))
        schemes = ", ".join(f"{name}={scheme}" for name, scheme in row.schemes.items())
        how = f"{schemes} ({row.how})" if schemes else f"no ({row.how})"
        print(f"| {row.model} | {row.dtype} | {how} | {row.gib:.3f} | {ours:.3f} | {error:+.1%} |")
    return int(worst > 0.04)  # noqa: PLR2004  # as far as CogVideoX-2B is off, for the reason in docs/weights.md


if __name__ == "__main__":
    sys.exit(main())
