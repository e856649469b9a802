"""Whole tiny pipelines, profiled without running and then really run: number of calls, shapes and MACs must agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import diffusers
import oracle
import pytest
import tiny
import torch
from families.proof import calls_of, entries_of
from PIL import Image
from torch import nn

import fxprof
from fxprof.capture.build import build
from fxprof.capture.tokenizers import StandInTokenizer
from fxprof.errors import CaptureError, UsageError
from fxprof.result.profile import Profile
from fxprof.result.saved.read import loads
from fxprof.source import PipelineConfig, resolve
from fxprof.source.stand_ins import stand_in

SIZE = 32
STEPS = 3


def assert_agrees(pipeline: Any, profile: Profile, **arguments: Any) -> None:
    torch.manual_seed(0)
    pipeline.set_progress_bar_config(disable=True)
    observed = oracle.run(pipeline, entries_of(profile), prompt="a photo of a cat", **arguments)
    assert calls_of(profile) == observed.calls
    assert profile.macs == observed.total
    assert profile.total.uncounted == 0
    assert profile.macs > 0


LONG = {"stable_diffusion", "stable_diffusion_xl", "pixart", "sana"}
"""Those that also run for real in a quick test below, with another workload, or whose parts others have, too."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in tiny.PIPELINES]
)
def test_a_profile_is_what_the_real_run_does(name: str) -> None:
    pipeline = tiny.make(name)
    extra = tiny.UNBINNED.get(name, {})
    profile = fxprof.profile(pipeline, height=SIZE, width=SIZE, steps=STEPS, arguments=extra)
    assert_agrees(pipeline, profile, height=SIZE, width=SIZE, num_inference_steps=STEPS, **extra)


@pytest.mark.parametrize(
    ("name", "workload", "arguments"),
    [
        pytest.param("stable_diffusion", {"guidance_scale": 1.0}, {"guidance_scale": 1.0}, marks=pytest.mark.slow),
        ("stable_diffusion", {"images": 2}, {"num_images_per_prompt": 2}),
        ("stable_diffusion_xl", {"arguments": {"negative_prompt": "dog"}}, {"negative_prompt": "dog"}),
        pytest.param("stable_diffusion_3", {"guidance_scale": 1.0}, {"guidance_scale": 1.0}, marks=pytest.mark.slow),
        ("stable_diffusion_3", {"arguments": {"max_sequence_length": 77}}, {"max_sequence_length": 77}),
        pytest.param(
            "stable_diffusion_3",
            {"arguments": {"skip_guidance_layers": [0]}},
            {"skip_guidance_layers": [0]},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "flux",
            {"arguments": {"negative_prompt": "dog", "true_cfg_scale": 2.0}},
            {"negative_prompt": "dog", "true_cfg_scale": 2.0},
            marks=pytest.mark.slow,
        ),
        ("pixart", {"guidance_scale": 1.0}, {"guidance_scale": 1.0}),
        pytest.param(
            "sana",
            {"arguments": {"complex_human_instruction": None}},
            {"complex_human_instruction": None},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_guidance_batches_and_text_lengths_come_from_the_pipeline(
    name: str, workload: dict[str, Any], arguments: dict[str, Any]
) -> None:
    pipeline = tiny.make(name)
    extra = tiny.UNBINNED.get(name, {})
    asked = {**workload, "arguments": {**extra, **workload.get("arguments", {})}}
    profile = fxprof.profile(pipeline, height=SIZE, width=2 * SIZE, steps=STEPS, **asked)
    assert_agrees(pipeline, profile, height=SIZE, width=2 * SIZE, num_inference_steps=STEPS, **extra, **arguments)


PICTURE = Image.new("RGB", (64, 64), "red")
MASK = Image.new("L", (64, 64), 255)


@pytest.mark.parametrize(
    ("class_name", "arguments"),
    [
        pytest.param("StableDiffusionImg2ImgPipeline", {"image": PICTURE, "strength": 0.5}, marks=pytest.mark.slow),
        pytest.param("StableDiffusionInpaintPipeline", {"image": PICTURE, "mask_image": MASK}, marks=pytest.mark.slow),
        pytest.param("StableDiffusionControlNetPipeline", {"image": [PICTURE, PICTURE]}, marks=pytest.mark.slow),
    ],
)
def test_real_images_are_arguments_like_any_other(class_name: str, arguments: dict[str, Any]) -> None:
    parts = tiny.make("stable_diffusion").components
    if "ControlNet" in class_name:
        parts["controlnet"] = [tiny.controlnet(parts["unet"]), tiny.controlnet(parts["unet"])]
    pipeline = getattr(diffusers, class_name)(**parts, requires_safety_checker=False)
    profile = fxprof.profile(pipeline, steps=4, arguments=arguments)
    assert_agrees(pipeline, profile, num_inference_steps=4, **arguments)
    stood_in = {name: stand_in(str(profile.workload[name])) or value for name, value in arguments.items()}
    assert fxprof.profile(pipeline, steps=4, arguments=stood_in) == profile


def test_a_tokenizer_s_own_files_are_used_when_they_are_there(tmp_path: Path) -> None:
    save_configurations(tiny.make("stable_diffusion"), tmp_path)
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz")]
    vocabulary = {token: index for index, token in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])}
    (tmp_path / "tokenizer" / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    config = resolve(tmp_path)
    assert isinstance(config, PipelineConfig)
    built = build(config, torch.float32)
    assert not isinstance(built.pipeline.tokenizer, StandInTokenizer)
    assert len(built.pipeline.tokenizer("cat").input_ids) == 5  # a letter each, between the two marks
    assert fxprof.profile(tmp_path, height=SIZE, width=SIZE, steps=1, prompt_tokens=9).workload["prompt"] == "a a a a a a a a a"


def broken(tmp_path: Path, **changes: Any) -> Path:
    """A directory of a pipeline, with entries of its index or values of its UNet changed."""
    save_configurations(tiny.make("stable_diffusion"), tmp_path)
    for file, values in (
        (tmp_path / "model_index.json", changes),
        (tmp_path / "unet" / "config.json", changes.pop("config", {})),
    ):
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "NoSuchPipeline"}, "diffusers [0-9.]+ has no pipeline NoSuchPipeline"),
        ({"_class_name": "UNet2DModel"}, "has no pipeline UNet2DModel"),
        (
            {"unet": ["diffusers", "NoSuchModel"]},
            r"could not build unet \(NoSuchModel\) of .*: diffusers has no class NoSuchModel",
        ),
        ({"unet": ["os", "system"]}, r"could not build unet \(system\) of .*: os has no class system"),
        ({"unet": ["stable_diffusion", "os"]}, "stable_diffusion has no class os"),
        (
            {"config": {"block_out_channels": [32]}},
            r"could not build unet \(UNet2DConditionModel\) of .*: Must provide the same number",
        ),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=message) as caught:
        fxprof.profile(broken(tmp_path, **changes), height=SIZE, width=SIZE, steps=1)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.slow
def test_half_precision_and_upcast_autoencoders_count_the_same() -> None:
    pipeline = tiny.make("stable_diffusion_xl")
    pipeline.vae.register_to_config(force_upcast=True)
    single = fxprof.profile(pipeline, height=SIZE, width=SIZE, steps=STEPS)
    half = fxprof.profile(pipeline, height=SIZE, width=SIZE, steps=STEPS, dtype="float16")
    assert half.macs == single.macs
    assert half.workload["dtype"] == "float16"
    decoder = next(call for call in half.components["vae"].calls if call.entry == "decoder")
    assert decoder.inputs[0].dtype == "float32"


@pytest.mark.slow
def test_slicing_does_not_change_the_sum() -> None:
    pipeline = tiny.make("stable_diffusion")
    pipeline.vae.enable_slicing()
    sliced = fxprof.profile(pipeline, height=2 * SIZE, width=2 * SIZE, steps=1, images=2)
    whole = tiny.profile("stable_diffusion", height=2 * SIZE, width=2 * SIZE, steps=1, images=2)
    assert sliced.components["vae"].macs == whole.components["vae"].macs


def test_tiling_changes_the_sum() -> None:
    whole = tiny.profile("stable_diffusion", height=2 * SIZE, width=2 * SIZE, steps=1, images=2)
    pipeline = tiny.make("stable_diffusion")
    pipeline.vae.enable_tiling()
    tiled = fxprof.profile(pipeline, height=2 * SIZE, width=2 * SIZE, steps=1, images=2)
    assert tiled.components["vae"].macs > whole.components["vae"].macs
    assert tiled.geometry.tiling
    assert_agrees(pipeline, tiled, height=2 * SIZE, width=2 * SIZE, num_inference_steps=1, num_images_per_prompt=2)


def test_a_changed_model_is_profiled_as_it_is_not_as_its_configuration_says() -> None:
    pipeline = tiny.make("stable_diffusion_3")
    del pipeline.transformer.transformer_blocks[0]
    pipeline.transformer.transformer_blocks[0].ff.net[0].proj = nn.Linear(32, 64)
    pipeline.transformer.transformer_blocks[0].ff.net[2] = nn.Linear(64, 32)
    profile = fxprof.profile(pipeline, height=SIZE, width=SIZE, steps=STEPS)
    assert_agrees(pipeline, profile, height=SIZE, width=SIZE, num_inference_steps=STEPS)


@pytest.mark.slow  # test_pt2_zoo.py has a quick test of such a denoiser
def test_a_denoiser_that_is_captured_by_its_children_is_called_as_often_as_the_pipeline_calls_it() -> None:
    pipeline = tiny.make("stable_diffusion_3")
    whole = tiny.profile("stable_diffusion_3", height=SIZE, width=SIZE, steps=STEPS)

    class Reading(type(pipeline.transformer)):  # type: ignore[misc]  # a class of diffusers
        def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            assert hidden_states.sum().item() < 1e9  # only real Python can read this
            return super().forward(hidden_states, *args, **kwargs)

    pipeline.transformer.__class__ = Reading
    profile = fxprof.profile(pipeline, height=SIZE, width=SIZE, steps=STEPS)
    assert len(profile.components["transformer"].calls) > 1
    assert profile.components["transformer"].macs == whole.components["transformer"].macs
    assert profile.geometry == whole.geometry


@pytest.mark.slow
def test_several_controlnets_in_one_component_are_read_from_their_directories(tmp_path: Path) -> None:
    parts = tiny.make("stable_diffusion").components
    parts["controlnet"] = [tiny.controlnet(parts["unet"]), tiny.controlnet(parts["unet"])]
    pipeline: Any = diffusers.StableDiffusionControlNetPipeline(**parts, requires_safety_checker=False)
    save_configurations(pipeline, tmp_path)
    pictures = {"image": stand_in("[image:64x64,image:64x64]")}
    live = fxprof.profile(pipeline, steps=2, arguments=pictures)
    read = fxprof.profile(tmp_path, steps=2, arguments=pictures)
    assert read.components == live.components
    assert read.components["controlnet"].params == sum(item.numel() for item in pipeline.controlnet.parameters())
    with pytest.raises(CaptureError, match="`image` must have the same length as the number of controlnets"):
        fxprof.profile(tmp_path, steps=2, arguments={"image": stand_in("[image:64x64]")})


def test_an_optional_component_can_be_left_out(tmp_path: Path) -> None:
    pipeline = tiny.make("stable_diffusion_3")
    without = ("text_encoder_3",)
    profile = fxprof.profile(pipeline, height=SIZE, width=SIZE, steps=STEPS, without=without)
    assert "text_encoder_3" not in profile.components
    assert pipeline.text_encoder_3 is not None
    save_configurations(pipeline, tmp_path)
    assert fxprof.profile(tmp_path, height=SIZE, width=SIZE, steps=STEPS, without=without).macs == profile.macs
    pipeline.text_encoder_3 = None
    assert_agrees(pipeline, profile, height=SIZE, width=SIZE, num_inference_steps=STEPS)
    for target in (pipeline, tmp_path):
        with pytest.raises(UsageError, match="has no component nothing that could be left out"):
            fxprof.profile(target, without=["nothing"])


def test_a_live_pipeline_is_left_as_it_was() -> None:
    pipeline = tiny.make("stable_diffusion")
    pipeline.unet.train()
    kept = {
        name: {key: (id(value), value.clone()) for key, value in part.state_dict(keep_vars=True).items()}
        for name, part in pipeline.components.items()
        if isinstance(part, nn.Module)
    }
    attributes = {name: id(value) for name, value in vars(pipeline).items()}
    scheduler = dict(vars(pipeline.scheduler))
    tokens = pipeline.tokenizer("a b c").input_ids
    fxprof.profile(pipeline, height=SIZE, width=SIZE, steps=STEPS)
    assert {name: id(value) for name, value in vars(pipeline).items()} == attributes
    assert vars(pipeline.scheduler).keys() == scheduler.keys()
    assert all(vars(pipeline.scheduler)[name] is value for name, value in scheduler.items())
    assert pipeline.tokenizer("a b c").input_ids == tokens
    assert pipeline.unet.training
    for name, before in kept.items():
        after = getattr(pipeline, name).state_dict(keep_vars=True)
        assert all(id(after[key]) == identity and torch.equal(after[key], value) for key, (identity, value) in before.items())


@pytest.mark.slow
def test_offloaded_weights_on_the_meta_device_do_not_matter() -> None:
    pipeline = tiny.make("stable_diffusion")
    on_cpu = tiny.profile("stable_diffusion", height=SIZE, width=SIZE, steps=STEPS)
    pipeline.unet.to("meta")
    on_meta = fxprof.profile(pipeline, height=SIZE, width=SIZE, steps=STEPS)
    assert on_meta.components == on_cpu.components


def save_configurations(pipeline: Any, directory: Path) -> None:
    """What a repository on the Hub holds, without weights and without tokenizer files."""
    pipeline.save_config(directory)
    index = json.loads((directory / "model_index.json").read_text())
    for name, part in pipeline.components.items():
        if isinstance(part, StandInTokenizer):
            index[name] = ["transformers", "T5TokenizerFast" if part.model_max_length > 77 else "CLIPTokenizer"]
    (directory / "model_index.json").write_text(json.dumps(index))
    for name, part in pipeline.components.items():
        if part is not None and hasattr(part, "save_config"):
            part.save_config(directory / name)
        elif part is not None and hasattr(part, "config"):
            part.config.save_pretrained(directory / name)
        elif part is not None and not isinstance(part, (nn.Module, StandInTokenizer)):
            part.save_pretrained(directory / name)  # what prepares images
            for path in (directory / name).glob("tokenizer_config.json"):
                path.write_text(path.read_text().replace('"StandInTokenizer"', '"PreTrainedTokenizerFast"'))
        elif isinstance(part, nn.Module):  # a list of models, which has no configuration of its own
            part.save_pretrained(str(directory / name))  # type: ignore[operator]
        elif part is not None:
            (directory / name).mkdir()
            (directory / name / "tokenizer_config.json").write_text(f'{{"model_max_length": {part.model_max_length}}}')


@pytest.mark.parametrize(
    "name", ["pixart", *(pytest.param(name, marks=pytest.mark.slow) for name in ("stable_diffusion", "stable_diffusion_3"))]
)
def test_a_directory_of_configurations_counts_like_the_live_pipeline(name: str, tmp_path: Path) -> None:
    pipeline = tiny.make(name)
    save_configurations(pipeline, tmp_path / "model")
    live = tiny.profile(name, height=SIZE, width=SIZE, steps=STEPS)
    read = fxprof.profile(tmp_path / "model", height=SIZE, width=SIZE, steps=STEPS, arguments=tiny.UNBINNED.get(name, {}))
    assert read.macs == live.macs
    assert read.target == "model"
    assert {name: part.params for name, part in read.components.items()} == {
        name: part.params for name, part in live.components.items()
    }
    resolve(tmp_path / "model")


@pytest.mark.slow  # test_hub.py has a quick test of the same command
def test_the_command_line_profiles_a_directory_and_prints_nothing_but_the_report(tmp_path: Path) -> None:
    pipeline = tiny.make("pixart")  # its pipeline logs that it would like to clean captions
    save_configurations(pipeline, tmp_path / "model")
    workload = ["--height", "32", "--width", "32", "--steps", "3", "--arg", "use_resolution_binning=false"]
    command = [sys.executable, "-m", "fxprof", "profile", str(tmp_path / "model"), *workload, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    profile = fxprof.profile(tmp_path / "model", height=32, width=32, steps=3, arguments=tiny.UNBINNED["pixart"])
    assert loads(done.stdout, "stdout") == profile
    assert str(tmp_path) not in done.stdout
    assert done.stderr == ""


def test_what_the_pipeline_refuses_is_said_in_its_own_words() -> None:
    with pytest.raises(
        CaptureError, match="StableDiffusionPipeline says: `height` and `width` have to be divisible by 8 but are 33"
    ):
        fxprof.profile(tiny.make("stable_diffusion"), height=33, width=32)
    with pytest.raises(UsageError, match="StableDiffusionPipeline has no argument image"):
        fxprof.profile(tiny.make("stable_diffusion"), arguments={"image": "x"})


def test_text_that_is_not_padded_is_called_approximate_and_measured_text_is_not() -> None:
    pipeline = tiny.make("sana")
    workload: dict[str, Any] = {"height": SIZE, "width": SIZE, "steps": 1, "arguments": tiny.UNBINNED["sana"]}
    assert any("length of text is an estimate" in sentence for sentence in fxprof.profile(pipeline, **workload).approximations)
    without = {**workload, "arguments": {**tiny.UNBINNED["sana"], "complex_human_instruction": None}}
    assert fxprof.profile(pipeline, **without).approximations == ()
