"""Quantised weights: the rule of each scheme by hand, and profiles that have them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click
import pytest
import torch
from profiles import normal
from torch import nn

from fxprof.capture.built_modules import grouped, modules_of
from fxprof.cli.options import scheme
from fxprof.errors import UsageError
from fxprof.result import Profile
from fxprof.result.quantise import SCHEMES, quantise, read_weights
from fxprof.trace.weights import BITSANDBYTES, BUFFER, PARAMETER, TORCHAO, WeightGroup, bytes_by_type, gather


def linear(rows: int, columns: int, dtype: str = "bfloat16", size: int = 2, skipped_by: tuple[str, ...] = ()) -> WeightGroup:
    parts = ((dtype, rows * columns * size),)
    return WeightGroup(PARAMETER, "Linear", "weight", (rows, columns), parts, 3, linear=True, skipped_by=skipped_by)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("int8", (("int8", 3000 * 2048), ("float32", 3000 * 4))),
        ("fp8", (("float8_e4m3fn", 3000 * 2048), ("float32", 3000 * 4))),
        ("nf4", (("nf4", 3000 * 2048 // 2), ("float32", 3000 * 2048 // 64 * 4 + 16 * 4))),
        ("int4", (("int4", 3000 * 2048 // 2), ("bfloat16", 3000 * 2048 // 128 * 2 * 2))),
    ],
)
def test_each_scheme_by_hand(name: str, parts: tuple[tuple[str, int], ...]) -> None:
    (group,) = quantise([linear(3000, 2048)], SCHEMES[name])
    assert group.parts == parts
    assert group.count == 3
    assert group.bytes == 3 * sum(size for _, size in parts)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["int8", "fp8", "nf4"])
@pytest.mark.parametrize(("rows", "columns"), [(384, 1024), (130, 512)])
def test_packages_store_what_the_rules_say(name: str, rows: int, columns: int) -> None:
    layer = nn.Linear(columns, rows, bias=False, dtype=torch.bfloat16)
    (group,) = quantise(grouped(modules_of(layer)).weights, SCHEMES[name])
    if name == "fp8":
        torchao: Any = pytest.importorskip("torchao.quantization")
        whole = nn.Sequential(layer)
        torchao.quantize_(whole, torchao.Float8WeightOnlyConfig())
        made: Any = whole[0]
    else:
        bnb: Any = pytest.importorskip("bitsandbytes")
        random = torch.randn(rows, columns, dtype=torch.bfloat16)
        if name == "nf4":
            made = bnb.nn.Linear4bit(columns, rows, bias=False, quant_type="nf4", compress_statistics=False)
            made.weight = bnb.nn.Params4bit(random, requires_grad=False, quant_type="nf4", compress_statistics=False)
        else:
            made = bnb.nn.Linear8bitLt(columns, rows, bias=False, has_fp16_weights=False)
            made.weight = bnb.nn.Int8Params(random, requires_grad=False, has_fp16_weights=False)
        made = made.to("cpu")
    (real,) = grouped(modules_of(made)).weights
    packed = {"nf4": "uint8"}
    assert real.parts == tuple((packed.get(dtype, dtype), size) for dtype, size in group.parts)


def test_odd_sizes_fill_the_last_block() -> None:
    (group,) = quantise([linear(3, 5)], SCHEMES["nf4"])
    assert group.parts == (("nf4", 8), ("float32", 4 + 64))


def test_int4_pads_for_its_tiles_and_leaves_other_columns() -> None:
    padded, left = quantise([linear(4, 512), linear(8, 100)], SCHEMES["int4"])
    assert padded.parts == (("int4", 8 * 1024 // 2), ("bfloat16", 8 * 1024 // 128 * 4))
    assert left == linear(8, 100)


def test_only_linear_layers_in_a_floating_point_type_are_quantised() -> None:
    others = [
        WeightGroup(PARAMETER, "Conv2d", "weight", (8, 8, 3, 3), (("float16", 1152),)),
        WeightGroup(PARAMETER, "Embedding", "weight", (8, 8), (("float16", 128),)),
        WeightGroup(PARAMETER, "Linear", "bias", (8,), (("float16", 16),)),
        WeightGroup(BUFFER, "Linear", "weight", (8, 8), (("float16", 128),)),
        WeightGroup(PARAMETER, "Linear4bit", "weight", (8, 8), (("uint8", 32), ("float32", 4)), linear=True),
        WeightGroup(PARAMETER, "Linear", "weight", (8, 8), (("int8", 64),), linear=True),
        WeightGroup(PARAMETER, "Linear", "weight", (8, 8), (), linear=True),
    ]
    for name in SCHEMES:
        assert list(quantise(others, SCHEMES[name])) == others


def test_layers_that_a_package_leaves() -> None:
    kept = linear(128, 128, "float32", 4, (BITSANDBYTES,))
    assert quantise([kept], SCHEMES["int8"]) == quantise([kept], SCHEMES["nf4"]) == (kept,)
    assert quantise([kept], SCHEMES["fp8"])[0].dtype == "float8_e4m3fn"
    assert quantise([kept], SCHEMES["nf4"], all_layers=True)[0].dtype == "nf4"
    other = kept._replace(skipped_by=(TORCHAO,))
    assert quantise([other], SCHEMES["int4"]) == (other,)


def test_groups_and_their_sums() -> None:
    one, other = linear(2, 2)._replace(count=1), WeightGroup(BUFFER, "Net", "table", (4,), (("int64", 32),))
    groups, places = gather([[one, other], [], [one, one]])
    assert places == [(0, 1), (), (0, 0)]
    assert [group.count for group in groups] == [3, 1]
    assert bytes_by_type(groups) == {"int64": 32, "bfloat16": 24}
    assert list(bytes_by_type(groups)) == ["int64", "bfloat16"]
    assert bytes_by_type(groups, BUFFER) == {"int64": 32}
    assert (groups[0].dtype, other._replace(parts=()).dtype) == ("bfloat16", "")


# --- profiles


def sums_agree(profile: Profile) -> bool:
    return all(
        sum(module.weight_bytes for module in part.modules) == part.weight_bytes == sum(part.weights_by_type.values())
        for part in profile.components.values()
    )


def test_a_profile_with_quantised_weights() -> None:
    before = normal()
    after = before.with_weights("transformer=nf4")
    assert after.macs == before.macs
    assert after.components["vae"] is before.components["vae"]
    old, new = before.components["transformer"], after.components["transformer"]
    assert set(new.weights_by_type) == {"nf4", "float16", "float32"}
    assert new.weight_bytes < old.weight_bytes / 3
    assert new.calls[0].weight_bytes == new.weight_bytes
    assert sums_agree(before)
    assert sums_agree(after)


def test_a_scheme_without_a_component_is_for_the_others() -> None:
    after = normal().with_weights("int8", "transformer=fp8")
    types = {name: part.weights_by_type for name, part in after.components.items()}
    assert "float8_e4m3fn" in types["transformer"]
    assert "int8" in types["text_encoder"]
    assert set(types["vae"]) == {"float16"}  # it has no linear layers


def test_a_call_keeps_what_its_pipeline_converts() -> None:
    profile = normal()
    part = profile.components["transformer"]
    calls = tuple(replace(call, weight_bytes=part.weight_bytes + 100) for call in part.calls)
    profile = replace(profile, components={"transformer": replace(part, calls=calls)})
    after = profile.with_weights("int8").components["transformer"]
    assert after.calls[0].weight_bytes == after.weight_bytes + 100


@pytest.mark.parametrize(
    ("schemes", "message", "hint"),
    [
        (["nf5"], "'nf5' is no scheme for quantised weights", "did you mean nf4"),
        (["transformer=q"], "'q' is no scheme for quantised weights", "one of int8, fp8, nf4, int4"),
        (["=nf4"], "'=nf4' names no component", "transformer=nf4"),
        (["transfomer=nf4"], "has no component 'transfomer'", "did you mean transformer"),
        (["int8", "nf4"], "the weights of all components are given twice: int8 and nf4", "one scheme"),
        (["vae=int8"], "the weights of vae cannot be quantised to int8: it has no linear layers", "another component"),
    ],
)
def test_mistakes_are_told_in_one_line(schemes: list[str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        normal().with_weights(*schemes)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)


def test_the_option_reads_schemes() -> None:
    assert scheme("unet=int4") == "unet=int4"
    assert read_weights("int4")[0] == ""
    with pytest.raises(click.BadParameter, match="'in4' is no scheme for quantised weights"):
        scheme("in4")
