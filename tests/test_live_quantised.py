"""Weights that carry what gives their bytes a meaning: counted as the plain layer, with their bytes as they are stored."""

from __future__ import annotations

from typing import Any, Self

import pytest
import torch
from torch import nn

import fxprof

X = torch.randn(2, 64)
BIAS = 32 * 4


def facts(module: nn.Module, *args: Any) -> tuple[int, int, int, int]:
    """MACs, uncounted operators, parameters, stored bytes."""
    profile = fxprof.profile_module(module, args)
    component = profile.components["model"]
    return profile.macs, profile.total.uncounted, component.params, component.stored_bytes


class Scaled(nn.Parameter):
    """A weight of bytes that carries its scales."""

    scale: torch.Tensor

    def __new__(cls, data: torch.Tensor, scale: torch.Tensor) -> Self:
        made: Self = torch.Tensor._make_subclass(cls, data, False)
        made.scale = scale
        return made


class OfBytes(nn.Module):
    """Multiplies by a scaled weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = Scaled(torch.zeros(32, 64, dtype=torch.int8), torch.ones(32, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight.float() * self.weight.scale)


def test_a_parameter_that_carries_its_scales() -> None:
    module = OfBytes()
    weight, scale = module.weight, module.weight.scale
    assert facts(nn.Sequential(module), X) == (2 * 64 * 32, 0, 64 * 32, 64 * 32 + 32 * 4)
    assert module.weight is weight
    assert weight.scale is scale


@pytest.mark.parametrize("quantised", ["tensor", "channel"])
def test_a_quantised_buffer(quantised: str) -> None:
    given = torch.randn(64, 32)
    held = (
        torch.quantize_per_tensor(given, 0.1, 0, torch.qint8)
        if quantised == "tensor"
        else torch.quantize_per_channel(given, torch.ones(64), torch.zeros(64), 0, torch.qint8)
    )

    class Holds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("held", held)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.held.dequantize()  # type: ignore[operator]

    assert facts(Holds(), X) == (2 * 64 * 32, 0, 0, 0)


@pytest.mark.filterwarnings("ignore")
def test_a_dynamic_layer_of_torch() -> None:
    module = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(64, 32)), {nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]
    macs, uncounted, params, _ = facts(module, X)
    assert (macs, uncounted, params) == (2 * 64 * 32, 0, 64 * 32 + 32)


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_table_costs_nothing() -> None:
    module = nn.Sequential(nn.Embedding(10, 8))
    module.qconfig = torch.ao.quantization.float_qparams_weight_only_qconfig  # type: ignore[assignment]
    torch.ao.quantization.prepare(module, inplace=True)  # type: ignore[no-untyped-call]
    assert facts(torch.ao.quantization.convert(module), torch.tensor([[1, 2]]))[:3] == (0, 0, 80)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("is_double", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bits_of_bitsandbytes(kind: str, is_double: bool) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    layer = bitsandbytes.nn.Linear4bit(64, 32, quant_type=kind, compute_dtype=torch.float32, compress_statistics=is_double)
    layer.weight = bitsandbytes.nn.Params4bit(
        torch.randn(32, 64), requires_grad=False, quant_type=kind, compress_statistics=is_double
    )
    layer.to("cpu")
    # Two weights a byte; 32 blocks of 64 with a scale each; the 16 values of a code. Doubly: scales of one byte, their
    # offset, one scale of the scales, and the 256 values of their code.
    scales = 32 + 4 + 4 + 256 * 4 if is_double else 32 * 4
    before = {name: id(value) for name, value in vars(layer.weight.quant_state).items()}
    assert facts(nn.Sequential(layer), X) == (2 * 64 * 32, 0, 64 * 32 + 32, 64 * 32 // 2 + scales + 16 * 4 + BIAS)
    assert {name: id(value) for name, value in vars(layer.weight.quant_state).items()} == before


@pytest.mark.parametrize("is_used", [False, True])
def test_eight_bits_of_bitsandbytes(is_used: bool) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    layer = bitsandbytes.nn.Linear8bitLt(64, 32, has_fp16_weights=False).to("cpu")
    if is_used:
        layer(X)
    assert facts(nn.Sequential(layer), X) == (2 * 64 * 32, 0, 64 * 32 + 32, 64 * 32 + 32 * 4 + BIAS)


@pytest.mark.parametrize(
    ("kind", "block", "size"), [("Q4_0", 32, 18), ("Q8_0", 32, 34), ("Q4_K", 256, 144), ("Q6_K", 256, 210)]
)
def test_gguf(kind: str, block: int, size: int) -> None:
    gguf = pytest.importorskip("gguf")
    utilities = pytest.importorskip("diffusers.quantizers.gguf.utils")
    layer = utilities.GGUFLinear(256, 32, compute_dtype=torch.float32)
    stored = 32 * 256 // block * size
    packed = torch.zeros(32, stored // 32, dtype=torch.uint8)
    layer.weight = utilities.GGUFParameter(packed, quant_type=getattr(gguf.GGMLQuantizationType, kind))
    assert facts(nn.Sequential(layer), torch.randn(2, 256)) == (2 * 256 * 32, 0, 256 * 32, stored)


@pytest.mark.parametrize(("name", "scales"), [("Int8WeightOnlyConfig", 32 * 4), ("Float8WeightOnlyConfig", 32 * 4)])
def test_torchao(name: str, scales: int) -> None:
    quantization = pytest.importorskip("torchao.quantization")
    module = nn.Sequential(nn.Linear(64, 32))
    quantization.quantize_(module, getattr(quantization, name)())
    macs, uncounted, params, stored = facts(module, X)
    assert (macs, uncounted, params) == (2 * 64 * 32, 0, 64 * 32 + 32)
    assert 64 * 32 + scales + BIAS <= stored <= 64 * 32 + 2 * scales + BIAS  # some keep a zero point for each scale
