"""Weights in the element types that really loading a model gives them, and the layers that quantisers leave."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers
from diffusers.models import model_loading_utils
from tiny import clip_text, kl_autoencoder, t5_text
from torch import nn

from fxprof.capture.built_modules import grouped, modules_of
from fxprof.capture.loaded_types import set_loaded_types, skipping
from fxprof.capture.zero_weights import building, empty_out
from fxprof.trace.weights import BITSANDBYTES, BUFFER, TORCHAO, bytes_by_type

HALVES = ("float16", "bfloat16")
DTYPES = ("float32", *HALVES)


def wan() -> Any:
    """It keeps six sorts of modules in float32, a parameter and buffers among them."""
    return diffusers.WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, text_dim=16, freq_dim=16, ffn_dim=32, num_layers=2, rope_max_seq_len=32
    )


def sd3() -> Any:
    """Its constructor makes a buffer in float32, which is saved."""
    sizes: dict[str, Any] = {
        "sample_size": 8,
        "num_layers": 1,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "pos_embed_max_size": 4,
    }
    return diffusers.SD3Transformer2DModel(
        **sizes, in_channels=4, joint_attention_dim=16, caption_projection_dim=32, pooled_projection_dim=16, out_channels=4
    )


def pixart() -> Any:
    """Its constructor makes a buffer in float32, which is not saved."""
    return diffusers.PixArtTransformer2DModel(
        sample_size=8, num_layers=1, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16, caption_channels=8
    )


def strict() -> Any:
    """It keeps a part of its routers in float32 whatever it is loaded in."""
    config = transformers.DeepseekV3Config(
        vocab_size=32, hidden_size=16, intermediate_size=16, moe_intermediate_size=8, num_hidden_layers=2, n_routed_experts=4,
        num_attention_heads=2, num_key_value_heads=2, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4, v_head_dim=8,
        qk_nope_head_dim=4, n_group=2, topk_group=1, num_experts_per_tok=2, first_k_dense_replace=1,
    )  # fmt: skip
    return transformers.DeepseekV3Model(config)


MODELS: dict[str, Callable[[], Any]] = {
    "t5": t5_text,
    "clip": lambda: clip_text(projection=True),
    "vae": kl_autoencoder,
    "wan": wan,
    "sd3": sd3,
    "pixart": pixart,
    "strict": strict,
}


def types_of(module: nn.Module) -> dict[str, tuple[torch.dtype, int]]:
    """Name of each parameter and buffer to its element type and its bytes."""
    named = (*module.named_parameters(), *module.named_buffers())
    return {name: (tensor.dtype, tensor.numel() * tensor.element_size()) for name, tensor in named}


def built(model: Any, dtype: torch.dtype) -> nn.Module:
    """The model as fxprof builds it, without data."""
    with building(dtype):
        if isinstance(model, transformers.PreTrainedModel):
            config = type(model.config).from_dict(model.config.to_dict())
            config.dtype = dtype
            made: Any = type(model)(config)
        else:
            made = type(model).from_config(dict(model.config))
    set_loaded_types(made, dtype)
    return empty_out(made)


@pytest.fixture
def accelerate_or_its_part(monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether accelerate is there; otherwise the one function of it that decides nothing about types stands in."""
    there = find_spec("accelerate") is not None
    if not there:

        def put(module: nn.Module, name: str, device: Any, value: torch.Tensor, **other: Any) -> None:
            path, _, last = name.rpartition(".")
            part = module.get_submodule(path)
            table = part._parameters if last in part._parameters else part._buffers
            table[last] = nn.Parameter(value, requires_grad=False) if table is part._parameters else value  # type: ignore[assignment]

        monkeypatch.setattr(model_loading_utils, "set_module_tensor_to_device", put, raising=False)
        monkeypatch.setattr(model_loading_utils, "is_accelerate_version", lambda *_: True)
    return there


def loaded(model: Any, dtype: torch.dtype, directory: Path, *, whole: bool) -> nn.Module:
    """The model really saved, and loaded again in an element type.

    Args:
        model: with random weights.
        dtype: the requested type.
        directory: an empty one.
        whole: whether `from_pretrained` of diffusers can be used; otherwise the function that puts weights in their places.
    """
    if isinstance(model, transformers.PreTrainedModel):
        model.save_pretrained(directory)
        return type(model).from_pretrained(directory, dtype=dtype)  # type: ignore[no-any-return]
    if whole:
        model.save_pretrained(directory)
        return type(model).from_pretrained(directory, torch_dtype=dtype)  # type: ignore[no-any-return]
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        made: Any = type(model).from_config(dict(model.config))
    finally:
        torch.set_default_dtype(before)
    model_loading_utils.load_model_dict_into_meta(
        made, model.state_dict(), dtype=dtype, keep_in_fp32_modules=made._keep_in_fp32_modules or [], device_map={"": "cpu"}
    )
    return made  # type: ignore[no-any-return]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MODELS)
def test_weights_have_the_types_of_loaded_ones(name: str, dtype: str, tmp_path: Path, accelerate_or_its_part: bool) -> None:
    torch.manual_seed(0)
    model, wanted = MODELS[name](), getattr(torch, dtype)
    real, ours = loaded(model, wanted, tmp_path, whole=accelerate_or_its_part), built(model, wanted)
    assert types_of(ours) == types_of(real)
    one, other = grouped(modules_of(ours)), grouped(modules_of(real))
    assert one == other
    assert sum(bytes_by_type(one.weights).values()) == sum(size for _, size in types_of(real).values())


@pytest.mark.parametrize(
    ("name", "dtype", "kept"),
    [
        ("t5", "float16", {"wo"}),
        ("t5", "bfloat16", set()),
        ("wan", "float16", {"time_embedder", "scale_shift_table", "norm2"}),
        ("wan", "bfloat16", {"time_embedder", "scale_shift_table", "norm2"}),
        ("strict", "float16", {"e_score_correction_bias"}),
        ("strict", "bfloat16", {"e_score_correction_bias"}),
        ("clip", "float16", set()),
        ("sd3", "float16", set()),
    ],
)
def test_parts_that_stay_in_float32(name: str, dtype: str, kept: set[str]) -> None:
    model = built(MODELS[name](), getattr(torch, dtype))
    saved = model.state_dict().items()
    found = {name for name, tensor in saved if tensor.dtype is torch.float32}
    assert all(kept & set(name.split(".")) for name in found)
    assert all(any(part in name.split(".") for name in found) for part in kept)


def test_buffers_stand_apart_and_those_that_are_not_saved_count() -> None:
    groups = grouped(modules_of(built(pixart(), torch.float16))).weights
    assert bytes_by_type(groups, BUFFER) == {"float32": 4 * 16 * 16}
    assert "pos_embed" in {group.name for group in groups if group.kind == BUFFER}
    groups = grouped(modules_of(built(clip_text(), torch.float16))).weights
    assert bytes_by_type(groups, BUFFER) == {"int64": 8 * 77}


def test_shared_weights_belong_to_their_first_holder() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.part = (
                nn.Linear(4, 4, bias=False),
                nn.Linear(4, 4, bias=False),
                nn.Linear(4, 2, bias=False),
            )
            self.other.weight = self.one.weight
            self.part.weight = nn.Parameter(self.one.weight.detach()[:2])  # a view of the same memory

    modules, groups = grouped(modules_of(Tied()))
    assert {module.path: sum(groups[place].bytes_each for place in module.weights) for module in modules} == {
        "": 0,
        "one": 64,
        "other": 0,
        "part": 0,
    }


def test_a_view_of_a_large_tensor_holds_all_of_it() -> None:
    layer = nn.Linear(4, 4, bias=False)
    layer.weight = nn.Parameter(torch.zeros(100, 4)[:4])
    assert grouped(modules_of(layer)).weights[0].bytes == 1600


# --- layers that quantisers leave as they are


def skipped(model: nn.Module, package: str) -> set[str]:
    by = skipping(model)
    return {path for path, part in model.named_modules() if isinstance(part, nn.Linear) and package in by(path)}


def test_quantisers_of_transformers_leave_what_it_says() -> None:
    from transformers.quantizers.base import HfQuantizer
    from transformers.quantizers.quantizers_utils import should_convert_module

    models = [t5_text(), clip_text(projection=True), transformers.DeepseekV3ForCausalLM(strict().config)]
    for model in models:
        names = HfQuantizer.get_modules_to_not_convert(model, None, model._keep_in_fp32_modules)
        linear = [path for path, part in model.named_modules() if isinstance(part, nn.Linear)]
        assert skipped(model, BITSANDBYTES) == {path for path in linear if not should_convert_module(path, names)}
        assert skipped(model, TORCHAO) == {path for path in linear if not should_convert_module(f"{path}.weight", names)}
    assert {path.rpartition(".")[2] for path in skipped(models[0], BITSANDBYTES)} == {"wo"}
    assert skipped(models[1], BITSANDBYTES) == {"text_projection"}
    assert skipped(models[2], BITSANDBYTES) == {"lm_head"}


def test_quantisers_of_diffusers_leave_what_it_keeps_in_float32() -> None:
    left = skipped(wan(), BITSANDBYTES)
    assert left
    assert left == {path for path in left if re.search(r"time_embedder", path)}
    assert skipped(sd3(), BITSANDBYTES) == skipped(sd3(), TORCHAO) == set()
    assert skipped(nn.Sequential(nn.Linear(2, 2)), TORCHAO) == set()
