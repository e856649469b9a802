"""Compare figures printed in papers and repositories with ours under the same conditions.

    python scripts/check_published.py

The figures are facts in `tests/data/published.toml`. A figure without attention is compared with ours without attention; the
last column names the parts that a figure leaves out or adds.
"""

from __future__ import annotations

import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from tabulate import tabulate

import fxprof
from fxprof.result.profile import Component

FIGURES = Path(__file__).parents[1] / "tests" / "data" / "published.toml"


def figures() -> list[dict[str, Any]]:
    """The printed figures with their conditions."""
    found: list[dict[str, Any]] = tomllib.loads(FIGURES.read_text(encoding="utf-8"))["figure"]
    return found


@cache
def _profiled(model: str, workload: tuple[tuple[str, Any], ...]) -> fxprof.Profile:
    return fxprof.profile(model, **dict(workload))


@cache
def _module(name: str) -> Component:
    import diffusers
    import torch
    import transformers

    with torch.device("meta"):
        if name == "dit-xl-2":
            shape: dict[str, Any] = {"sample_size": 32, "num_layers": 28, "patch_size": 2, "attention_head_dim": 72}
            width: dict[str, Any] = {"num_attention_heads": 16, "in_channels": 4, "out_channels": 8, "attention_bias": True}
            kind: dict[str, Any] = {"activation_fn": "gelu-approximate", "norm_type": "ada_norm_zero"}
            module = diffusers.DiTTransformer2DModel(**shape, **width, **kind, norm_elementwise_affine=False)
            inputs = {
                "hidden_states": torch.zeros(1, 4, 32, 32),
                "timestep": torch.zeros(1, dtype=torch.int64),
                "class_labels": torch.zeros(1, dtype=torch.int64),
            }
        elif name == "resnet-50":
            module = transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=1000))
            inputs = {"pixel_values": torch.zeros(1, 3, 224, 224)}
        else:
            module = transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=1000))
            inputs = {"pixel_values": torch.zeros(1, 3, 224, 224)}
    return fxprof.profile_module(module.eval(), kwargs=inputs).components["model"]


def ours(figure: dict[str, Any]) -> int:
    """Our MACs of the same model, with the parts that the figure counts."""
    if "module" in figure:
        component = _module(figure["module"])
    else:
        profile = _profiled(figure["model"], tuple(figure["workload"].items()))
        component = profile.components[figure["component"]]
    left_out = {"all": (), "without attention": ("attention",), "linear": ("attention", "convolution")}[figure["counts"]]
    rows = [(row, call.count) for call in component.calls for row in call.ops if row.kind not in left_out]
    return sum((row.macs or 0) * count for row, count in rows)


def table() -> list[list[str]]:
    """One row for each figure."""
    rows = []
    for figure in figures():
        counted = ours(figure)
        off = figure["macs"] / counted - 1
        agrees = "agrees" if abs(off) <= figure["tolerance"] else "DIFFERS"
        words = [figure["what"], figure["printed"], figure["conditions"], figure["where"]]
        rows.append([*words, f"{counted / 1e9:,.4f} G, {figure['counts']}", f"{off:+.4%}", f"{agrees}: {figure['verdict']}"])
    return rows


HEADERS = ["what", "printed", "conditions", "where", "ours", "theirs / ours - 1", "verdict"]


def main() -> None:
    """Print the table; exit with 1 when a figure differs by more than it may."""
    rows = table()
    print(tabulate(rows, HEADERS, tablefmt="github", disable_numparse=True))
    sys.exit(any(row[-1].startswith("DIFFERS") for row in rows))


if __name__ == "__main__":
    main()
