"""One component's directory as a target: built from its configuration, called with the inputs that are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny
import torch
import transformers
from commands import run
from oracle import macs_of

import fxprof
from fxprof.errors import CaptureError, TargetError, UsageError
from fxprof.source.stand_ins import StandIn, input_value

BATCH, TOKENS, HIDDEN, INNER, LAYERS, WORDS = 2, 7, 32, 37, 3, 100
"""Of `tiny.clip_text`."""


def save(model: Any, directory: Path) -> Path:
    """Write the configuration, as it is published beside weights."""
    if isinstance(model, transformers.PreTrainedModel):
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(directory)
    else:
        model.save_config(directory)
    return directory


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny.clip_text(), tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny.make("stable_diffusion").unet, tmp_path_factory.mktemp("models") / "unet")


UNET_INPUTS = {"sample": "2x4x8x8", "timestep": 1, "encoder_hidden_states": "2x7x32"}


def clip_macs(batch: int, tokens: int) -> int:
    """A layer has four projections, two attention products and two linear layers."""
    linear = 4 * HIDDEN * HIDDEN + 2 * HIDDEN * INNER
    return LAYERS * batch * (tokens * linear + 2 * tokens * tokens * HIDDEN)


# --- what is counted


def test_a_text_model_costs_what_its_layers_cost(clip: Path) -> None:
    profile = fxprof.profile(clip, inputs={"input_ids": f"{BATCH}x{TOKENS}:int64"})
    assert profile.macs == clip_macs(BATCH, TOKENS)
    assert (profile.target, profile.class_name, list(profile.components)) == ("clip", "CLIPTextModel", ["model"])
    assert profile.workload == {"input_ids": f"tensor:{BATCH}x{TOKENS}:int64", "dtype": "float32"}
    assert profile.components["model"].params == sum(weight.numel() for weight in tiny.clip_text().parameters())
    assert str(clip.parent) not in json.dumps(profile.workload) + "".join(profile.remarks)


MODELS: dict[str, tuple[Callable[[], Any], dict[str, Any], dict[str, Any]]] = {
    "unet": (
        lambda: tiny.make("stable_diffusion").unet,
        UNET_INPUTS,
        {"sample": torch.zeros(2, 4, 8, 8), "timestep": 1, "encoder_hidden_states": torch.zeros(2, 7, 32)},
    ),
    "unet with further conditions": (
        lambda: tiny.make("stable_diffusion_xl").unet,
        {
            "sample": "tensor:1x4x8x8",
            "timestep": "1:int64",
            "encoder_hidden_states": "1x7x64",
            "added_cond_kwargs": {"text_embeds": "1x32", "time_ids": "1x6"},
        },
        {
            "sample": torch.zeros(1, 4, 8, 8),
            "timestep": torch.zeros(1, dtype=torch.int64),
            "encoder_hidden_states": torch.zeros(1, 7, 64),
            "added_cond_kwargs": {"text_embeds": torch.zeros(1, 32), "time_ids": torch.zeros(1, 6)},
        },
    ),
    "transformer": (
        lambda: tiny.make("stable_diffusion_3").transformer,
        {
            "hidden_states": "1x8x8x8",
            "encoder_hidden_states": "1x9x64",
            "pooled_projections": "1x64",
            "timestep": torch.zeros(1),
            "return_dict": False,
        },
        {
            "hidden_states": torch.zeros(1, 8, 8, 8),
            "encoder_hidden_states": torch.zeros(1, 9, 64),
            "pooled_projections": torch.zeros(1, 64),
            "timestep": torch.zeros(1),
        },
    ),
    "autoencoder": (tiny.kl_autoencoder, {"sample": "1x3x32x32"}, {"sample": torch.zeros(1, 3, 32, 32)}),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "unet with further conditions" else ()) for name in MODELS]
)
def test_a_model_costs_what_it_costs_when_it_runs(name: str, tmp_path: Path) -> None:
    make, inputs, real = MODELS[name]
    model = make().eval()
    profile = fxprof.profile(save(model, tmp_path / "model"), inputs=inputs)
    assert profile.macs == macs_of(lambda: model(**real))
    assert profile.total.uncounted == 0


def test_the_element_type_changes_nothing_but_itself(unet: Path) -> None:
    single, half = fxprof.profile(unet, inputs=UNET_INPUTS), fxprof.profile(unet, inputs=UNET_INPUTS, dtype="float16")
    assert half.macs == single.macs
    assert half.workload["sample"] == "tensor:2x4x8x8:float16"


def test_without_inputs_a_class_gives_its_own(clip: Path) -> None:
    profile = fxprof.profile(clip)
    batch, tokens = tiny.clip_text().dummy_inputs["input_ids"].shape
    assert profile.macs == clip_macs(batch, tokens)
    assert profile.remarks == ("the inputs are the example that CLIPTextModel itself gives; --input sets them",)


def test_the_command_takes_inputs(clip: Path, tmp_path: Path) -> None:
    result = run("profile", clip, "--input", f"input_ids={BATCH}x{TOKENS}:int64", "--format", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["macs"] == clip_macs(BATCH, TOKENS)
    same = run("profile", clip, "--input", f"input_ids=tensor:{BATCH}x{TOKENS}:int64", "--format", "json")
    assert same.stdout == result.stdout
    plain = run("profile", clip, "--input", "input_ids=2x7:int64", "--input", "output_hidden_states=true", "--format", "json")
    assert json.loads(plain.stdout)["workload"]["output_hidden_states"] is True


# --- what is refused


def refused(message: str, hint: str, target: Path, **options: Any) -> None:
    with pytest.raises(UsageError) as caught:
        fxprof.profile(target, **options)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_inputs_that_are_missing_are_listed(unet: Path) -> None:
    message = "UNet2DConditionModel needs sample, timestep, encoder_hidden_states, and no --input sets any"
    refused(message, "such as --input sample=1x4x64x64", unet)
    refused("UNet2DConditionModel needs timestep, enc", "--input timestep=", unet, inputs={"sample": "1x4x8x8"})


def test_inputs_that_are_none_are_refused(unet: Path) -> None:
    refused("UNet2DConditionModel has no input image", "it has sample, timestep", unet, inputs={**UNET_INPUTS, "image": 1})


def test_a_workload_is_for_pipelines(unet: Path) -> None:
    refused(f"--height needs a pipeline, but {unet} is one component", "--input", unet, height=8)
    refused("--steps, --arg need a pipeline", "--input", unet, steps=1, arguments={"a": 1}, inputs=UNET_INPUTS)


def test_inputs_are_for_components(saved: Path) -> None:
    result = run("profile", "sd-1.5", "--input", "sample=1x4x8x8")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("fxprof: --input needs one component, but sd-1.5 is a pipeline\n")
    result = run("profile", saved / "normal.json", "--input", "sample=1x4x8x8")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--input needs one component, but" in result.stderr


@pytest.mark.parametrize("text", ["1x4xq", "0x4", "1x4:complex", "99999x99999"])
def test_a_shape_that_is_none_is_refused(unet: Path, text: str) -> None:
    with pytest.raises(UsageError):
        fxprof.profile(unet, inputs={**UNET_INPUTS, "sample": text})


def test_a_shape_that_does_not_fit_is_told_by_the_model(unet: Path) -> None:
    with pytest.raises(CaptureError, match="could not capture UNet2DConditionModel: "):
        fxprof.profile(unet, inputs={**UNET_INPUTS, "sample": "1x3x8x8"})


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"_class_name": "NoSuchModel"}, "diffusers has no class NoSuchModel"),
        ({"architectures": ["NoSuchModel"]}, "transformers has no class NoSuchModel"),
        ({"_class_name": "DDPMScheduler"}, "it is not a model"),
        ({"_class_name": "UNet2DConditionModel", "down_block_types": ["Nonsense"]}, "could not build model"),
    ],
)
def test_what_cannot_be_built_is_said(tmp_path: Path, config: dict[str, Any], reason: str) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(CaptureError) as caught:
        fxprof.profile(directory, inputs={"sample": "1x1"})
    assert reason in caught.value.message


def test_code_of_a_component_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": ["my_module", "MyModel"]}))
    (tmp_path / "my_module.py").write_text("raise SystemExit")
    with pytest.raises(TargetError, match="remote code is never run"):
        fxprof.profile(tmp_path)


# --- the grammar of inputs


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1x16x64x64", StandIn("tensor", (1, 16, 64, 64))),
        ("1x77:int64", StandIn("tensor", (1, 77), "int64")),
        ("1:int64", StandIn("tensor", (1,), "int64")),
        ("tensor:7", StandIn("tensor", (7,))),
        ("[tensor:7, tensor:8]", [StandIn("tensor", (7,)), StandIn("tensor", (8,))]),
        ({"a": ["2x3", 1.5], "b": None}, {"a": [StandIn("tensor", (2, 3)), 1.5], "b": None}),
        ("bilinear", "bilinear"),
        (3, 3),
    ],
)
def test_inputs_are_read(value: object, expected: object) -> None:
    assert input_value(value) == expected


def test_a_live_pipeline_takes_no_inputs() -> None:
    with pytest.raises(UsageError, match="--input needs one component"):
        fxprof.profile(tiny.make("stable_diffusion"), inputs=UNET_INPUTS)


def test_a_component_can_be_given_as_a_configuration() -> None:
    blocks = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2, "layers_per_block": 1}
    values = {"block_out_channels": [8, 8], "norm_num_groups": 4, **blocks}
    part = fxprof.ComponentConfig("diffusers", "UNet2DModel", values)
    profile = fxprof.profile(fxprof.SingleComponent("mine", part), inputs={"sample": "1x3x8x8", "timestep": 1})
    assert profile.target == "mine"
    model = diffusers.UNet2DModel(**values).eval()
    assert profile.macs == macs_of(lambda: model(torch.zeros(1, 3, 8, 8), 1))
