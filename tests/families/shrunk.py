"""The bundled models with their own flags and forms, but small enough to run for real on a CPU, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
import transformers
from torch import nn

from fxprof.capture.build import _transformers_config
from fxprof.capture.classes import component_class, pipeline_class
from fxprof.capture.processors import is_processor
from fxprof.capture.tokenizers import StandInProcessor, StandInTokenizer
from fxprof.source import load_zoo
from fxprof.source.config import ComponentConfig, PipelineConfig

TOKENS = 128
"""Of every vocabulary."""

_TEXT = {"hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 2}
_CLIP = {**_TEXT, "projection_dim": 32}
_DECODER = {**_TEXT, "num_key_value_heads": 2, "head_dim": 8}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
_JOINT = {"num_attention_heads": 2, "attention_head_dim": 16, "joint_attention_dim": 32, "axes_dims_rope": (4, 4, 8)}
_COGVIEW = {
    "sample_size": 8,
    "num_layers": 2,
    "num_attention_heads": 4,
    "attention_head_dim": 8,
    "text_embed_dim": 32,
    "time_embed_dim": 16,
    "condition_dim": 8,
    "pos_embed_max_size": 16,
}
_VAE = {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4}

SMALL: dict[str, dict[str, Any]] = {
    "T5EncoderModel": _T5,
    "UMT5EncoderModel": _T5,
    "CLIPTextModel": _CLIP,
    "CLIPTextModelWithProjection": _CLIP,
    "CLIPVisionModelWithProjection": {**_CLIP, "image_size": 32, "patch_size": 8},
    "BertModel": _TEXT,
    "MultilingualCLIP": _TEXT,
    "GemmaModel": _DECODER,
    "Gemma2Model": {**_DECODER, "query_pre_attn_scalar": 8},
    "GlmModel": _DECODER,
    "LlamaForCausalLM": _DECODER,
    "Qwen3Model": _DECODER,
    "Qwen3ForCausalLM": _DECODER,
    "Qwen2_5_VLForConditionalGeneration": {
        "text_config": {**_DECODER, "rope_scaling": {"rope_type": "default", "mrope_section": (2, 1, 1)}},
        "vision_config": {
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 37,
            "num_heads": 4,
            "out_hidden_size": 32,
            "fullatt_block_indexes": (0,),
        },
    },
    "Mistral3ForConditionalGeneration": {
        "text_config": _DECODER,
        "vision_config": {**_TEXT, "head_dim": 8, "image_size": 28},
    },
    "ChatGLMModel": {
        "hidden_size": 32,
        "ffn_hidden_size": 37,
        "num_layers": 2,
        "num_attention_heads": 4,
        "kv_channels": 8,
        "seq_length": 512,
    },
    "AutoencoderKL": _VAE,
    "AutoencoderKLFlux2": _VAE,
    "AutoencoderKLQwenImage": {"base_dim": 4, "num_res_blocks": 1},
    "AutoencoderKLHunyuanImage": {"block_out_channels": (32,) * 6, "layers_per_block": 1, "latent_channels": 8},
    "AutoencoderDC": {
        "latent_channels": 4,
        "attention_head_dim": 2,
        "encoder_block_types": ("ResBlock", "EfficientViTBlock"),
        "encoder_block_out_channels": (8, 8),
        "encoder_layers_per_block": (1, 1),
        "encoder_qkv_multiscales": ((), (5,)),
        "decoder_block_types": ("ResBlock", "EfficientViTBlock"),
        "decoder_block_out_channels": (8, 8),
        "decoder_layers_per_block": (1, 1),
        "decoder_qkv_multiscales": ((), (5,)),
    },
    "VQModel": {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1, "num_vq_embeddings": 16},
    "PaellaVQModel": {"embed_dim": 8, "bottleneck_blocks": 1, "num_vq_embeddings": 16},
    "PriorTransformer": {"num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 12, "embedding_dim": 32},
    "UNet2DConditionModel": {
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "cross_attention_dim": 32,
        "sample_size": 8,
    },
    "Kandinsky3UNet": {
        "block_out_channels": (32, 64),
        "time_embedding_dim": 32,
        "groups": 4,
        "attention_head_dim": 8,
        "layers_per_block": 2,
        "cross_attention_dim": 32,
        "encoder_hid_dim": 32,
    },
    "AuraFlowTransformer2DModel": {
        "sample_size": 8,
        "num_mmdit_layers": 1,
        "num_single_dit_layers": 2,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "joint_attention_dim": 32,
        "caption_projection_dim": 16,
        "pos_embed_max_size": 256,
    },
    "ChromaTransformer2DModel": {
        **_JOINT,
        "num_layers": 1,
        "num_single_layers": 2,
        "approximator_hidden_dim": 32,
        "approximator_layers": 2,
    },
    "CogView3PlusTransformer2DModel": _COGVIEW,
    "CogView4Transformer2DModel": _COGVIEW,
    "Flux2Transformer2DModel": {
        **_JOINT,
        "num_layers": 1,
        "num_single_layers": 2,
        "joint_attention_dim": 3 * 32,
        "axes_dims_rope": (4, 4, 4, 4),
    },
    "HiDreamImageTransformer2DModel": {
        "num_layers": 1,
        "num_single_layers": 2,
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "caption_channels": (32, 32),
        "text_emb_dim": 2 * 32,
        "axes_dims_rope": (8, 4, 4),
        "llama_layers": (0, 1, 1),
    },
    "HunyuanDiT2DModel": {
        "sample_size": 8,
        "num_layers": 4,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "attention_head_dim": 8,
        "mlp_ratio": 2.0,
        "cross_attention_dim": 32,
        "cross_attention_dim_t5": 32,
        "pooled_projection_dim": 32,
    },
    "HunyuanImageTransformer2DModel": {
        "in_channels": 8,
        "out_channels": 8,
        "num_layers": 1,
        "num_single_layers": 2,
        "num_refiner_layers": 1,
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "text_embed_dim": 32,
        "text_embed_2_dim": 32,
        "rope_axes_dim": (8, 8),
    },
    "Lumina2Transformer2DModel": {
        "sample_size": 8,
        "hidden_size": 32,
        "num_layers": 2,
        "num_refiner_layers": 1,
        "num_attention_heads": 4,
        "num_kv_heads": 2,
        "multiple_of": 8,
        "cap_feat_dim": 32,
        "axes_dim_rope": (4, 2, 2),
    },
    "LuminaNextDiT2DModel": {
        "sample_size": 8,
        "hidden_size": 32,
        "num_layers": 2,
        "num_attention_heads": 4,
        "num_kv_heads": 2,
        "multiple_of": 8,
        "cross_attention_dim": 32,
    },
    "OvisImageTransformer2DModel": {**_JOINT, "num_layers": 1, "num_single_layers": 2},
    "QwenImageTransformer2DModel": {**_JOINT, "num_layers": 2},
    "SanaTransformer2DModel": {
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 2,
        "num_attention_heads": 2,
        "attention_head_dim": 4,
        "num_cross_attention_heads": 2,
        "cross_attention_head_dim": 4,
        "cross_attention_dim": 8,
        "caption_channels": 32,
        "sample_size": 8,
    },
    "ZImageTransformer2DModel": {
        "dim": 32,
        "n_layers": 2,
        "n_refiner_layers": 1,
        "n_heads": 2,
        "n_kv_heads": 2,
        "cap_feat_dim": 32,
        "axes_dims": (8, 4, 4),
    },
}
"""Class to the values that make it small."""


def shrunk(name: str, *, attributes: Mapping[str, Any] | None = None, **changes: Mapping[str, Any]) -> Callable[[], Any]:
    """A bundled model, small.

    Args:
        name: of the bundled model.
        attributes: of the pipeline, to be set after it is made.
        changes: values of a component beyond `SMALL`.
    """

    def make() -> Any:
        pipeline = live(configuration(name, changes))
        vars(pipeline).update(attributes or {})
        return pipeline

    return make


def configuration(name: str, changes: Mapping[str, Mapping[str, Any]]) -> PipelineConfig:
    config = load_zoo(name)
    components = {key: part and _small(part, changes.get(key, {})) for key, part in config.components.items()}
    return replace(config, components=components)


def _small(part: ComponentConfig, changes: Mapping[str, Any]) -> ComponentConfig:
    values = {key: value for key, value in part.values.items() if key != "token_ids"}
    return replace(part, values=_few_tokens(_merged(_merged(values, SMALL.get(part.class_name, {})), changes)))


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _merged(values[key], item) for key, item in changes.items() if isinstance(values.get(key), Mapping)}
    return {**values, **changes, **both}


def _few_tokens(values: Mapping[str, Any]) -> dict[str, Any]:
    def few(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return _few_tokens(value)
        counts = key in {"vocab_size", "padded_vocab_size"} or key.endswith(("_token_id", "_token_index"))
        return min(value, TOKENS - (not key.endswith("vocab_size"))) if counts and isinstance(value, int) else value

    return {key: few(key, value) for key, value in values.items()}


def live(config: PipelineConfig) -> Any:
    """The pipeline of a configuration with weights, all random."""
    torch.manual_seed(0)
    parts = {name: part and _part(part) for name, part in config.components.items()}
    return pipeline_class(config)(**parts, **config.arguments)


def _part(part: ComponentConfig) -> Any:
    if part.library == "transformers" and is_processor(part.class_name):
        return StandInProcessor(part.class_name, part.values)
    class_ = component_class("a tiny component", part)
    if issubclass(class_, transformers.PreTrainedTokenizerBase):
        return StandInTokenizer(part.class_name, {"model_input_names": class_.model_input_names, **part.values})
    if issubclass(class_, transformers.PreTrainedModel):
        return class_(_transformers_config(class_.config_class, dict(part.values), torch.float32)).eval()
    made = class_.from_config(dict(part.values)) if hasattr(class_, "from_config") else class_(**part.values)
    return made.eval() if isinstance(made, nn.Module) else made
