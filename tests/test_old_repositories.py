"""Repositories of every age: classes that were renamed, moved, hidden or never exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny
import transformers
from diffusers.pipelines.deprecated.wuerstchen import PaellaVQModel
from families.packages import prx
from test_pipelines import save_configurations
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

import fxprof
from fxprof.capture.classes import find_class
from fxprof.errors import CaptureError

SMALL: dict[str, Any] = {"height": 32, "width": 32, "steps": 1}


def change(directory: Path, **entries: Any) -> None:
    path = directory / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}), encoding="utf-8")


@pytest.mark.parametrize(
    ("library", "name", "class_"),
    [
        ("transformers", "CLIPFeatureExtractor", transformers.CLIPImageProcessor),
        ("transformers", "T5GemmaEncoder", T5GemmaEncoder),
        ("transformers", "T5TokenizerFast", transformers.T5Tokenizer),
        ("wuerstchen", "PaellaVQModel", PaellaVQModel),
        ("deprecated.wuerstchen", "PaellaVQModel", PaellaVQModel),
        ("diffusers.pipelines.wuerstchen", "PaellaVQModel", PaellaVQModel),
        ("diffusers.pipelines.deprecated.wuerstchen", "PaellaVQModel", PaellaVQModel),
        ("diffusers.models.autoencoders.autoencoder_kl", "AutoencoderKL", diffusers.AutoencoderKL),
        ("diffusers.models.vae", "AutoencoderKL", diffusers.AutoencoderKL),
        ("diffusers", "UNet2DConditionModel", diffusers.UNet2DConditionModel),
    ],
)
def test_a_class_is_found_by_its_old_name_and_place(library: str, name: str, class_: type) -> None:
    found = find_class(library, name)
    assert found is class_ or issubclass(found, class_)


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("os", "system"),
        ("transformers", "NoSuchModel"),
        ("diffusers", "NoSuchModel"),
        ("wuerstchen", "NoSuchModel"),
        ("subprocess", "Popen"),
        ("diffusers..x", "A"),
        ("../x", "A"),
        ("diffusers_modules.local.x", "A"),
    ],
)
def test_nothing_else_is_looked_in(library: str, name: str) -> None:
    assert find_class(library, name) is None


def test_a_feature_extractor_of_old_is_the_image_processor_of_today(tmp_path: Path) -> None:
    save_configurations(tiny.make("stable_diffusion"), tmp_path)
    (tmp_path / "feature_extractor").mkdir()
    values = {"feature_extractor_type": "CLIPFeatureExtractor", "crop_size": 224, "size": 224, "do_resize": True}
    (tmp_path / "feature_extractor" / "preprocessor_config.json").write_text(json.dumps(values))
    change(tmp_path, feature_extractor=["transformers", "CLIPFeatureExtractor"])
    assert fxprof.profile(tmp_path, **SMALL).macs == tiny.profile("stable_diffusion", **SMALL).macs


@pytest.mark.parametrize("library", ["wuerstchen", "diffusers.pipelines.wuerstchen"])
def test_a_model_that_moved_into_deprecated_is_built(tmp_path: Path, library: str) -> None:
    vqgan = PaellaVQModel(up_down_scale_factor=2, levels=2, bottleneck_blocks=1, embed_dim=8, latent_channels=4)
    config = fxprof.PipelineConfig(
        "tiny",
        "StableCascadeDecoderPipeline",
        {
            "vqgan": fxprof.ComponentConfig(library, "PaellaVQModel", dict(vqgan.config)),
            "text_encoder": None,
            "tokenizer": None,
            "decoder": None,
            "scheduler": None,
        },
    )
    from torch import float32

    from fxprof.capture.build import build

    built = build(config, float32)
    assert sum(item.numel() for item in built.modules["vqgan"].parameters()) == sum(item.numel() for item in vqgan.parameters())


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(False, id="the encoder's file", marks=pytest.mark.slow),
        pytest.param(True, id="the file of both halves"),
    ],
)
def test_the_encoder_of_an_encoder_and_decoder_is_built_from_either_file(tmp_path: Path, whole: bool) -> None:
    pipeline = prx()
    save_configurations(pipeline, tmp_path)
    change(tmp_path, text_encoder=["transformers", "T5GemmaEncoder"])
    if whole:
        half = pipeline.text_encoder.config.to_dict()
        transformers.T5GemmaConfig(encoder=half, decoder=half).save_pretrained(tmp_path / "text_encoder")
    expected = fxprof.profile(pipeline, arguments={"use_resolution_binning": False}, **SMALL)
    found = fxprof.profile(tmp_path, arguments={"use_resolution_binning": False}, **SMALL)
    assert found.components["text_encoder"].macs == expected.components["text_encoder"].macs > 0


def test_what_no_library_has_is_refused_by_name(tmp_path: Path) -> None:
    save_configurations(tiny.make("stable_diffusion"), tmp_path / "tiny")
    change(tmp_path / "tiny", unet=["diffusers", "UNet9000"])
    with pytest.raises(CaptureError) as caught:
        fxprof.profile(tmp_path / "tiny", **SMALL)
    assert caught.value.message == "could not build unet (UNet9000) of tiny: diffusers has no class UNet9000"
