"""Saved graphs of well-known architectures: what the file says without torch is what the live program says.

Configurations are tiny, weights random; nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from exported import assert_equal, assert_reads_as_live
from oracle import macs_of
from torch.export import ExportedProgram

import fxprof
from fxprof.capture.module import capture_program
from fxprof.capture.translate import translate

Made = tuple[Any, dict[str, Any]]

SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
TEXT: dict[str, Any] = {"vocab_size": 100, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
DECODER: dict[str, Any] = {**SMALL, **TEXT, "num_key_value_heads": 2, "use_cache": False}
SEQUENCE: dict[str, Any] = {
    **TEXT,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "decoder_start_token_id": 2,
}
SPEECH: dict[str, Any] = {
    **SMALL,
    "conv_dim": (16, 16),
    "conv_stride": (5, 2),
    "conv_kernel": (10, 3),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 40,
}


def tokens(length: int = 7) -> torch.Tensor:
    return torch.randint(3, 90, (2, length))


def pixels(size: int = 32, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, size, size)


def bert() -> Made:
    return transformers.BertModel(transformers.BertConfig(**SMALL, **TEXT)), {"input_ids": tokens()}


def vit() -> Made:
    config = transformers.ViTConfig(**SMALL, image_size=16, patch_size=4)
    return transformers.ViTForImageClassification(config), {"pixel_values": pixels(16)}


def whisper() -> Made:
    config = transformers.WhisperConfig(
        **SEQUENCE, num_mel_bins=8, max_source_positions=10, max_target_positions=12, use_cache=False
    )
    inputs = {"input_features": torch.randn(2, 8, 20), "decoder_input_ids": tokens(5)}
    return transformers.WhisperForConditionalGeneration(config), inputs


def mamba() -> Made:
    config = transformers.MambaConfig(hidden_size=16, num_hidden_layers=2, state_size=4, use_cache=False, **TEXT)
    return transformers.MambaForCausalLM(config), {"input_ids": tokens(6)}


def mixtral() -> Made:
    config = transformers.MixtralConfig(**DECODER, num_local_experts=4, num_experts_per_tok=2)
    return transformers.MixtralForCausalLM(config), {"input_ids": tokens()}


def qwen_moe() -> Made:
    config = transformers.Qwen2MoeConfig(
        **DECODER, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=16
    )
    return transformers.Qwen2MoeForCausalLM(config), {"input_ids": tokens()}


def resnet() -> Made:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="bottleneck")
    return transformers.ResNetForImageClassification(config), {"pixel_values": pixels()}


def segformer() -> Made:
    config = transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        num_labels=5,
    )
    return transformers.SegformerForSemanticSegmentation(config), {"pixel_values": pixels()}


def wav2vec2() -> Made:
    return transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**SPEECH)), {"input_values": torch.randn(2, 400)}


def hubert() -> Made:
    return transformers.HubertModel(transformers.HubertConfig(**SPEECH)), {"input_values": torch.randn(2, 400)}


def t5() -> Made:
    config = transformers.T5Config(
        d_model=32, d_ff=48, d_kv=8, num_heads=4, num_layers=2, vocab_size=100, use_cache=False, decoder_start_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config), {"input_ids": tokens(), "decoder_input_ids": tokens(4)}


def clip() -> Made:
    config = transformers.CLIPConfig(
        text_config={**SMALL, **TEXT, "max_position_embeddings": 16, "projection_dim": 16},
        vision_config={**SMALL, "image_size": 16, "patch_size": 4, "projection_dim": 16},
        projection_dim=16,
    )
    mask = torch.ones(2, 7, dtype=torch.long)
    return transformers.CLIPModel(config), {"input_ids": tokens(), "pixel_values": pixels(16), "attention_mask": mask}


def llama() -> Made:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**DECODER)), {"input_ids": tokens()}


def gemma3() -> Made:
    config = transformers.Gemma3TextConfig(**DECODER, head_dim=8, sliding_window=4)
    return transformers.Gemma3ForCausalLM(config), {"input_ids": tokens()}


def gpt2() -> Made:
    config = transformers.GPT2Config(**TEXT, n_embd=32, n_layer=2, n_head=4, n_positions=16, use_cache=False)
    return transformers.GPT2LMHeadModel(config), {"input_ids": tokens()}


def deberta() -> Made:
    config = transformers.DebertaV2Config(
        **SMALL, vocab_size=100, relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"]
    )
    return transformers.DebertaV2Model(config), {"input_ids": tokens()}


def convnext() -> Made:
    config = transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)
    return transformers.ConvNextForImageClassification(config), {"pixel_values": pixels()}


def detr() -> Made:
    backbone = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage2"])
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        num_queries=5,
        **{name: value for name, value in SEQUENCE.items() if not name.endswith("_id") and name != "vocab_size"},
    )
    mask = torch.ones(2, 32, 32, dtype=torch.long)
    return transformers.DetrForObjectDetection(config), {"pixel_values": pixels(), "pixel_mask": mask}


def swin() -> Made:
    config = transformers.SwinConfig(embed_dim=8, depths=[1, 2], num_heads=[1, 2], window_size=2, image_size=16, patch_size=2)
    return transformers.SwinForImageClassification(config), {"pixel_values": pixels(16)}


def sam() -> Made:
    config = transformers.SamVisionConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        mlp_dim=48,
        image_size=32,
        patch_size=4,
        window_size=4,
        output_channels=16,
        global_attn_indexes=[1],
    )
    return transformers.SamVisionModel(config), {"pixel_values": pixels(batch=1)}


def bart() -> Made:
    config = transformers.BartConfig(**SEQUENCE, max_position_embeddings=32, use_cache=False)
    return transformers.BartModel(config), {"input_ids": tokens(), "decoder_input_ids": tokens(4)}


def recurrent_gemma() -> Made:
    config = transformers.RecurrentGemmaConfig(
        **{**DECODER, "num_hidden_layers": 3, "num_key_value_heads": 1}, attention_window_size=8
    )
    return transformers.RecurrentGemmaForCausalLM(config), {"input_ids": tokens()}


QUICK: list[Callable[[], Made]] = [
    bert, vit, whisper, mamba, mixtral, resnet, convnext
]  # fmt: skip
"""Encoders and decoders, convolutions, scans and experts: one of each."""
LONG: list[Callable[[], Made]] = [
    segformer, wav2vec2, t5, clip, llama, deberta, detr, qwen_moe, hubert, gemma3, gpt2, swin, sam, bart, recurrent_gemma
]  # fmt: skip
ALL = [
    *(pytest.param(make, id=make.__name__) for make in QUICK),
    *(pytest.param(make, id=make.__name__, marks=pytest.mark.slow) for make in LONG),
]

EXPERTS = {
    # Two layers, 14 tokens at two experts each; the counter does not look into the operator that multiplies them.
    "mixtral": 2 * (14 * 2) * (32 * 2 * 48 + 48 * 32),
    "qwen_moe": 2 * (14 * 2) * (32 * 2 * 16 + 16 * 32),
}
"""MACs of operators of transformers' own, which `FlopCounterMode` counts as nothing."""


@cache
def made(make: Callable[[], Made]) -> tuple[Any, dict[str, Any], ExportedProgram]:
    torch.manual_seed(0)
    module, inputs = make()
    module.eval().requires_grad_(False)
    return module, inputs, torch.export.export(module, (), inputs, strict=False)


@pytest.mark.parametrize("make", ALL)
def test_the_file_says_what_the_live_program_says(make: Callable[[], Made], tmp_path: Path) -> None:
    module, _, program = made(make)
    found = assert_reads_as_live(program, tmp_path)
    assert len(found.trace.ops) > 20
    assert found.class_name == type(module).__name__
    assert sum(part.params for part in found.modules) == sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize("make", ALL)
def test_the_file_costs_what_an_independent_counter_sees(make: Callable[[], Made], tmp_path: Path) -> None:
    module, inputs, program = made(make)
    torch.export.save(program, tmp_path / "program.pt2")
    profile = fxprof.profile(tmp_path / "program.pt2")
    assert profile.total.uncounted == 0
    assert profile.macs == macs_of(lambda: module(**inputs)) + EXPERTS.get(make.__name__, 0)
    live = fxprof.profile_program(program)
    assert live.macs == profile.macs
    assert live.components["model"] == profile.components["model"]


@pytest.mark.parametrize("make", ALL)
def test_a_loaded_program_is_the_saved_one(make: Callable[[], Made], tmp_path: Path) -> None:
    _, _, program = made(make)
    torch.export.save(program, tmp_path / "program.pt2")
    loaded = torch.export.load(tmp_path / "program.pt2")
    assert_equal(translate(loaded), translate(program))
    assert capture_program(loaded, {}).components == capture_program(program, {}).components
    assert_reads_as_live(loaded, tmp_path)


@pytest.mark.parametrize("make", [resnet, *(pytest.param(make, marks=pytest.mark.slow) for make in (vit, t5, llama, detr))])
def test_strict_exports_read_as_live(make: Callable[[], Made], tmp_path: Path) -> None:
    module, inputs, program = made(make)
    strict = torch.export.export(module, (), inputs, strict=True)
    found = assert_reads_as_live(strict, tmp_path)
    assert fxprof.profile(tmp_path / "program.pt2").macs == fxprof.profile_program(program).macs
    assert {op.target for op in found.trace.ops} <= {op.target for op in translate(program).ops}


@pytest.mark.parametrize("make", [convnext, *(pytest.param(make, marks=pytest.mark.slow) for make in (bert, t5, mixtral))])
def test_decomposed_graphs_read_as_live_and_cost_the_same(make: Callable[[], Made], tmp_path: Path) -> None:
    _, _, program = made(make)
    assert_reads_as_live(program.run_decompositions(), tmp_path)
    assert fxprof.profile(tmp_path / "program.pt2").macs == fxprof.profile_program(program).macs
